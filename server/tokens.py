"""Nonces and bearer tokens of devices: MACs under the server's secret, so the server keeps no table of them.

A device asks for a nonce, signs `nahuo token <number> <nonce>` with its key, and gets a token for 15 minutes; the link and the key
fetch carry it in their Authorization header. Read-only tokens name the documents a third party may read. Pure; `now_ms` is passed in.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any, Final

from sync_core.payload import canonical_json

NONCE_MS: Final = 2 * 60_000
TOKEN_MS: Final = 15 * 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """Who a token speaks for. `documents` is None for a device: its scope is asked of the store each time."""

    device: int
    until_ms: int
    documents: frozenset[str] | None = None


def issue_nonce(secret: bytes, *, random: bytes, now_ms: int) -> str:
    """Return a nonce for two minutes; `random` are 16 fresh bytes."""
    return _seal(secret, {"n": random.hex(), "t": now_ms + NONCE_MS})


def is_nonce(secret: bytes, nonce: str, *, now_ms: int) -> bool:
    """True for a nonce of ours that is not too old."""
    opened = _open(secret, nonce)
    return opened is not None and "n" in opened and int(opened["t"]) >= now_ms


def issue_token(secret: bytes, device: int, *, now_ms: int) -> str:
    """Return a device's token."""
    return _seal(secret, {"d": device, "t": now_ms + TOKEN_MS})


def issue_reading_token(secret: bytes, documents: frozenset[str], *, until_ms: int) -> str:
    """Return a third party's token: it may read these documents and write nothing."""
    return _seal(secret, {"d": -1, "t": until_ms, "r": sorted(documents)})


def read_token(secret: bytes, token: str, *, now_ms: int) -> Bearer | None:
    """Return who a token speaks for, None when it is not ours or too old."""
    opened = _open(secret, token)
    if opened is None or "d" not in opened or int(opened["t"]) < now_ms:
        return None
    documents = frozenset(opened["r"]) if "r" in opened else None
    return Bearer(device=int(opened["d"]), until_ms=int(opened["t"]), documents=documents)


def _seal(secret: bytes, body: dict[str, Any]) -> str:
    raw = canonical_json(body)
    mac = hmac.new(secret, raw, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(mac + raw).decode().rstrip("=")


def _open(secret: bytes, text: str) -> dict[str, Any] | None:
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (ValueError, binascii.Error):
        return None
    mac, body = raw[:32], raw[32:]
    if not hmac.compare_digest(mac, hmac.new(secret, body, hashlib.sha256).digest()):
        return None
    value = json.loads(body)
    return value if isinstance(value, dict) else None
