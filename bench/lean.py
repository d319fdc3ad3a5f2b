"""Many devices or readers in one process, each with a real session on a real socket but no replica. `python -m bench.lean`.

So the figures are the server's: what a replica costs is measured by `bench.device`. Every frame is decoded, every envelope read.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from bench.engine import chain, signer
from bench.players import Answer, answer_lines, now_ns
from bench.sample import scan
from sync_core import gate, limits, session
from sync_core.gate import Run
from sync_core.identity import token_message
from sync_core.payload import decode_payload
from sync_core.session import Session, Side

WAIT_SECONDS = 120


class Lean:
    """One connection to one document: it sends the runs it was given, and notes what it was told."""

    def __init__(self, url: str, token: str, document: str, *, address: str | None = None) -> None:
        """`address`: the local one to connect from."""
        self._url = url.replace("http", "ws", 1) + "/sync"
        self._token = token
        self._document = document
        self._local = None if address is None else (address, 0)
        self._talk = Session(Side.DEVICE, now_ms=0)
        self._own: Run | None = None
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self.update_envelopes = 1_000_000
        self.acked = 0
        self.have = 0
        """Envelopes of others that arrived."""
        self.stamps: dict[str, int] = {}
        """{`device.seq`: when it was decoded here}."""
        self.moved = asyncio.Event()

    async def open(self) -> None:
        """Connect and ask for the document; returns when the hub has told all it has."""
        self._socket = await connect(
            self._url,
            additional_headers={"Authorization": f"Bearer {self._token}"},
            compression=None,
            max_size=limits.FRAME_BYTES_MAX,
            ping_interval=None,
            proxy=None,
            local_addr=self._local,
            open_timeout=60,
        )
        self._talk.open(self._document, {})
        await self._flush()
        self._reader = asyncio.create_task(self._read())

    async def send(self, run: Run) -> None:
        """Offer these envelopes; their acknowledgements count in `acked`."""
        self._own = run
        self._talk.committed(self._document, {run.device: run.last_seq})
        await self._flush()

    async def until_acked(self, seq: int) -> None:
        """Wait for the acknowledgement of an envelope."""
        while self.acked < seq:
            self.moved.clear()
            await self.moved.wait()

    async def until_have(self, count: int) -> None:
        """Wait for so many envelopes of others."""
        while self.have < count:
            self.moved.clear()
            await self.moved.wait()

    async def close(self) -> None:
        """Leave."""
        assert self._socket is not None
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        await self._socket.close()

    async def _read(self) -> None:
        assert self._socket is not None
        while True:
            message = await self._socket.recv(decode=False)
            for event in self._talk.receive(message, now_ms=0):
                self._take(event)
            self.moved.set()
            await self._flush()

    def _take(self, event: session.Event) -> None:
        match event:
            case session.Received(document=document, runs=runs):
                for run in runs:
                    for stored in run.stored:
                        envelope = decode_payload(stored[gate.HEADER_BYTES :])
                        self.stamps[f"{envelope.device}.{envelope.seq}"] = now_ns()
                    self.have += len(run.stored)
                self._talk.settle(document, heads={run.device: run.last_seq for run in runs}, applied=True)
            case session.Acknowledged(vector=vector) if self._own is not None:
                self.acked = max(self.acked, vector.get(self._own.device, 0))
            case session.AccessDenied() | session.Refused() | session.Violation():
                raise RuntimeError(str(event))
            case _:
                pass

    async def _flush(self) -> None:
        assert self._socket is not None
        for frame in self._talk.take_frames():
            await self._socket.send(frame)
        while ready := self._talk.wanted():
            for document, have in ready:
                self._talk.offer(document, self._missing(have))
            for frame in self._talk.take_frames():
                await self._socket.send(frame)

    def _missing(self, have: Mapping[int, int]) -> Sequence[Run]:
        own = self._own
        start = 0 if own is None else have.get(own.device, 0) - own.first_seq + 1
        if own is None or start >= len(own.stored):
            return ()
        part = own.stored[max(start, 0) : max(start, 0) + self.update_envelopes]
        run = Run(device=own.device, first_seq=own.first_seq + max(start, 0), stored=part)
        return gate.split_runs([run])[0]


class Crowd:
    """The connections of this process."""

    def __init__(self) -> None:
        self._url = ""
        self._document = ""
        self._members: list[Lean] = []
        self._numbers: list[int] = []

    async def do(self, do: str, said: Answer) -> Answer:
        """Carry one request out."""
        async with asyncio.timeout(WAIT_SECONDS):
            return await self._do(do, said)

    async def _do(self, do: str, said: Answer) -> Answer:
        match do:
            case "enrol":
                return await asyncio.to_thread(self._enrol, **said)
            case "open":
                return await self._open(**said)
            case "burst":
                return await self._burst(**said)
            case "read":
                return await self._read(**said)
            case "close":
                await asyncio.gather(*(member.close() for member in self._members))
                self._members = []
                return {}
            case _:
                raise ValueError(f"a crowd does not know how to {do}")

    def _enrol(self, url: str, codes: list[str]) -> Answer:
        """Redeem codes; the keys are made of the order they come in."""
        self._url = url
        for place, code in enumerate(codes):
            body = {
                "code": code,
                "public_key": signer(place).public_key.hex(),
                "alg": "ed25519",
                "name": f"lean {place}",
            }
            self._numbers.append(int(_ask(url + "/api/enrol", body)["number"]))
        return {"numbers": self._numbers}

    async def _open(self, url: str, document: str, reading_tokens: list[str]) -> Answer:
        """Connect every device of this crowd, or as many readers as there are tokens."""
        self._url, self._document = url, document
        tokens = reading_tokens or await asyncio.to_thread(
            lambda: [_token(url, place, number) for place, number in enumerate(self._numbers)]
        )
        self._members = [Lean(url, token, document) for token in tokens]
        for member in self._members:
            await member.open()
        return {"connections": len(self._members)}

    async def _burst(self, envelopes: int, update_envelopes: int) -> Answer:
        """Every device says so many envelopes at once; seconds until all are acknowledged, and until everybody has everybody's."""
        runs = [
            chain(number, self._document, [[scan(number, n)] for n in range(1, envelopes + 1)], key=signer(place))
            for place, number in enumerate(self._numbers)
        ]
        before = [member.have for member in self._members]
        start = now_ns()
        for member, run in zip(self._members, runs, strict=True):
            member.update_envelopes = update_envelopes
            await member.send(run)
        await asyncio.gather(*(member.until_acked(envelopes) for member in self._members))
        acked = now_ns()
        others = envelopes * (len(runs) - 1)
        await asyncio.gather(*(m.until_have(b + others) for m, b in zip(self._members, before, strict=True)))
        return {"acked_s": (acked - start) / 1e9, "everywhere_s": (now_ns() - start) / 1e9}

    async def _read(self, device: int, first: int, last: int) -> Answer:
        """Wait until every reader has these envelopes of a device; every reader's stamp of every one."""
        names = [f"{device}.{seq}" for seq in range(first, last + 1)]
        for member in self._members:
            while names[-1] not in member.stamps:
                member.moved.clear()
                await member.moved.wait()
        return {"stamps": [[member.stamps[name] for name in names] for member in self._members]}


def _token(url: str, place: int, number: int) -> str:
    nonce = str(_ask(url + "/api/device/nonce", None)["nonce"])
    signature = signer(place).sign(token_message(number, nonce)).hex()
    return str(_ask(url + "/api/device/token", {"device": number, "nonce": nonce, "signature": signature})["token"])


def _ask(url: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"content-type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=20) as answer:
        return dict(json.load(answer))


if __name__ == "__main__":
    asyncio.run(answer_lines(Crowd().do))
