"""What stands behind the ports on an ordinary computer: its clocks, the server over HTTP, the link, AES-GCM."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import httpx
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from clients.runtime.ports import LinkState
from sync_core import link as engine
from sync_core.errors import RefusedError, RetryableError
from sync_core.facts import Json
from sync_core.identity import Signer, token_message
from sync_core.replica import Replica

_NONCE_BYTES: Final = 12


class SystemClock:
    """The computer's clocks; implements `Clock`."""

    def wall_ms(self) -> int:
        """Now, since 1970 UTC."""
        return time.time_ns() // 1_000_000

    def steady_ms(self) -> int:
        """Milliseconds since the computer started, sleep included where the system counts it."""
        return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1_000_000

    def boot(self) -> str:
        """Name the run of the steady clock."""
        return _boot_id()


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"process-{time.time_ns()}"


class AesUnsealer:
    """Opens base64 of nonce + AES-GCM; implements `Unsealer`."""

    def unseal(self, sealed: str, key: bytes) -> Mapping[str, Json] | None:
        """Return the receiver, or None when the key does not fit."""
        try:
            raw = base64.b64decode(sealed, validate=True)
            value = json.loads(AESGCM(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], None))
        except (InvalidTag, ValueError, binascii.Error):
            return None
        return value if isinstance(value, dict) else None


class HttpDoor:
    """The server's few HTTP questions; implements `ServerDoor`. Tokens are fetched with a signature of this device's key."""

    def __init__(self, url: str, signer: Signer, replica: Replica, *, is_on: Any = None) -> None:
        self._url = url.rstrip("/")
        self._signer = signer
        self._replica = replica
        self.is_on = is_on or (lambda: True)
        """The signal switch: off, no question leaves the device."""
        self.on_certificate: Callable[[Json], None] = lambda _: None
        """What keeps the certificate that came with a token."""
        # Reading all authorities' certificates takes a start up to a third of a second; a plain address has no use for them.
        verify = not self._url.startswith("http:")
        self._client = httpx.AsyncClient(base_url=self._url, timeout=10, trust_env=False, verify=verify)

    @property
    def websocket_url(self) -> str:
        """The hub's address for the link."""
        return "ws" + self._url.removeprefix("http") + "/sync"

    async def enrol(self, body: Mapping[str, Json]) -> Mapping[str, Json]:
        """Redeem a one-time code."""
        return await self._post("/api/enrol", dict(body))

    async def renumber(self, body: Mapping[str, Json]) -> Mapping[str, Json]:
        """Ask for a new number for this restored or copied device."""
        token = await self.token()
        return await self._ask("POST", "/api/device/renumber", dict(body), {"authorization": f"Bearer {token}"})

    async def token(self) -> str:
        """Return a fresh bearer token for the link."""
        number = self._replica.number
        nonce = str((await self._ask("GET", "/api/device/nonce", None, {})).get("nonce", ""))
        signature = self._signer.sign(token_message(number or 0, nonce)).hex()
        answer = await self._post("/api/device/token", {"device": number, "nonce": nonce, "signature": signature})
        self.on_certificate(answer.get("certificate"))
        return str(answer["token"])

    async def parcel_keys(self, parcels: Sequence[str]) -> Mapping[str, str]:
        """Return {parcel: hex key} of those the server still has."""
        token = await self.token()
        answer = await self._ask("POST", "/api/keys", {"parcels": list(parcels)}, {"authorization": f"Bearer {token}"})
        keys = answer.get("keys")
        return {str(k): str(v) for k, v in keys.items()} if isinstance(keys, dict) else {}

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _post(self, path: str, body: Mapping[str, Json]) -> dict[str, Json]:
        return await self._ask("POST", path, body, {})

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Json] | None, headers: Mapping[str, str]
    ) -> dict[str, Json]:
        if not self.is_on():
            raise RetryableError("the signal is switched off")
        try:
            answer = await self._client.request(
                method, path, json=dict(body) if body is not None else None, headers=dict(headers)
            )
        except httpx.HTTPError as error:
            where = str(self._client.base_url).rstrip("/")
            raise RetryableError(f"{where} 连不上 / the server cannot be reached: check address and signal") from error
        try:
            value = answer.json()
        except ValueError:
            value = {}
        if not isinstance(value, dict):
            value = {}
        if answer.status_code >= 500 or answer.status_code == 429:
            raise RetryableError(f"the server answered {answer.status_code}")
        if answer.status_code >= 400:
            raise ServerSaysNoError(answer.status_code, value)
        return value


class ServerSaysNoError(RefusedError):
    """The server refused, with its own words in both languages where it gave them."""

    def __init__(self, status: int, value: Mapping[str, Json]) -> None:
        code = str(value.get("code") or f"server.{status}")
        zh, en = value.get("zh"), value.get("en")
        super().__init__(code, str(en or value.get("message") or code))
        self.zh = zh if isinstance(zh, str) else None
        self.en = en if isinstance(en, str) else None


class HubLink:
    """The engine's link behind the port `Link`; it waits until the device is enrolled."""

    def __init__(self, link: engine.Link, replica: Replica) -> None:
        self._link = link
        self._replica = replica
        self._enrolled = asyncio.Event()

    @property
    def enabled(self) -> bool:
        """The signal switch."""
        return self._link.enabled

    @enabled.setter
    def enabled(self, on: bool) -> None:
        self._link.switch(on)

    def state(self) -> LinkState:
        """Return what the state bar shows."""
        status = self._link.status
        return LinkState(
            status=status.phase.value, since_ms=status.since_ms, last_ack_ms=status.last_ack_ms, detail=status.detail,
            clock_ahead_ms=status.clock_ahead_ms, revoked=status.revoked,
        )  # fmt: skip

    def heard(self, document: str) -> tuple[int, int] | None:
        """Return the span of this connection in which the server had told all of a document."""
        return self._link.heard(document)

    def hub_has(self, document: str) -> bool:
        """Return True when the server was seen to have all of a document that is here, or to take no more of it."""
        return self._link.hub_has(document)

    def notify(self) -> None:
        """Wake the link."""
        if self._replica.number is not None:
            self._enrolled.set()
        self._link.notify()

    async def run(self) -> None:
        """Keep the device connected until cancelled; before the enrolment there is nobody to connect as."""
        if self._replica.number is None:
            await self._enrolled.wait()
        await self._link.run()
