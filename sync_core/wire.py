"""The wire: frames of the Hocuspocus provider protocol, read and written. Pure.

A frame is `varString(address) varUint(type) body`; a ping or pong is the one byte 9 or 10. The address is the document's name, or
the name, NUL and a session id; replies go to exactly the address the peer used. docs/protocol.md has the tables.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from sync_core import limits
from sync_core.errors import MalformedError
from sync_core.gate import read_bytes, read_varint, write_bytes, write_varint

PROTOCOL = 1
"""Our additions to the protocol, named in the first stateless message of either side."""

PING = b"\x09"
PONG = b"\x0a"


class FrameType(IntEnum):
    """Second field of a frame."""

    SYNC = 0
    AWARENESS = 1
    AUTH = 2
    QUERY_AWARENESS = 3
    SYNC_REPLY = 4
    STATELESS = 5
    BROADCAST_STATELESS = 6
    CLOSE = 7
    SYNC_STATUS = 8


@dataclass(frozen=True, slots=True)
class Ping:
    """Answer with a pong."""


@dataclass(frozen=True, slots=True)
class Pong:
    """The peer lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """The peer asks for a document; `token` may be empty when the upgrade request authenticated it."""

    address: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """The hub lets us have the document: `read-write` or `readonly`."""

    address: str
    scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """The hub does not let us have the document."""

    address: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskToken:
    """The hub wants a new token."""

    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step1:
    """What the peer has (a state vector, unparsed): answer with what it lacks as a step 2."""

    address: str
    vector: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Envelopes; `answer` when it is the step 2 that ends the answer to a step 1."""

    address: str
    update: bytes
    answer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The hub's answer to one update: committed, or not."""

    address: str
    applied: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stateless:
    """A JSON object beside the documents: hello, refusals, reports."""

    address: str
    message: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """The peer leaves a document, not the socket."""

    address: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A frame of a known type that asks nothing of us: awareness and its query."""

    address: str
    type: FrameType


Frame = Ping | Pong | Auth | Granted | Denied | AskToken | Step1 | Update | Status | Stateless | Close | Ignored


def document_of(address: str) -> str:
    """Return the document's name of an address."""
    return address.partition("\0")[0]


def decode_frame(data: bytes) -> Frame:
    """Return the frame of one binary message.

    Raises:
        MalformedError: code `wire.shape`, `wire.type` or one of the gate's.
    """
    if data == PING:
        return Ping()
    if data == PONG:
        return Pong()
    if len(data) > limits.FRAME_BYTES_MAX:
        raise MalformedError("wire.shape", f"a message has {len(data)} bytes, at most {limits.FRAME_BYTES_MAX}")
    address, at = _read_text(data, 0, limits.NAME_BYTES_MAX + 64)
    number, at = read_varint(data, at)
    try:
        kind = FrameType(number)
    except ValueError:
        raise MalformedError("wire.type", f"frame type {number} is not known") from None
    match kind:
        case FrameType.SYNC:
            return _decode_sync(address, data, at)
        case FrameType.AUTH:
            return _decode_auth(address, data, at)
        case FrameType.STATELESS:
            text, at = _read_text(data, at, limits.ENVELOPE_BYTES_MAX)
            return Stateless(address=address, message=_decode_message(text))
        case FrameType.SYNC_STATUS:
            if data[at:] not in (b"\x00", b"\x01"):
                raise MalformedError("wire.shape", "a status is neither 0 nor 1")
            return Status(address=address, applied=data[at:] == b"\x01")
        case FrameType.CLOSE:
            reason = _read_text(data, at, limits.TEXT_BYTES_MAX)[0] if at < len(data) else ""
            return Close(address=address, reason=reason)
        case FrameType.AWARENESS | FrameType.QUERY_AWARENESS:
            return Ignored(address=address, type=kind)
        case FrameType.SYNC_REPLY | FrameType.BROADCAST_STATELESS:
            raise MalformedError("wire.type", f"{kind.name} is between servers; a peer may not send it")


def encode_frame(frame: Frame) -> bytes:
    """Return the bytes of a frame."""
    match frame:
        case Ping():
            return PING
        case Pong():
            return PONG
        case Auth(address=address, token=token):
            return _head(address, FrameType.AUTH) + b"\x00" + _text(token) + _text("nahuo")
        case Denied(address=address, reason=reason):
            return _head(address, FrameType.AUTH) + b"\x01" + _text(reason)
        case Granted(address=address, scope=scope):
            return _head(address, FrameType.AUTH) + b"\x02" + _text(scope)
        case AskToken(address=address):
            return _head(address, FrameType.AUTH) + b"\x00"
        case Step1(address=address, vector=vector):
            return _head(address, FrameType.SYNC) + b"\x00" + write_bytes(vector)
        case Update(address=address, update=update, answer=answer):
            return _head(address, FrameType.SYNC) + (b"\x01" if answer else b"\x02") + write_bytes(update)
        case Status(address=address, applied=applied):
            return _head(address, FrameType.SYNC_STATUS) + (b"\x01" if applied else b"\x00")
        case Stateless(address=address, message=message):
            return _head(address, FrameType.STATELESS) + _text(
                json.dumps(message, ensure_ascii=False, separators=(",", ":"))
            )
        case Close(address=address, reason=reason):
            return _head(address, FrameType.CLOSE) + (_text(reason) if reason else b"")
        case Ignored(address=address, type=kind):
            return _head(address, kind) + (b"\x01\x00" if kind is FrameType.AWARENESS else b"")


def _decode_sync(address: str, data: bytes, at: int) -> Frame:
    step, at = read_varint(data, at)
    body, at = read_bytes(data, at)
    if at != len(data):
        raise MalformedError("wire.shape", "there are bytes after the sync message")
    match step:
        case 0:
            return Step1(address=address, vector=body)
        case 1 | 2:
            return Update(address=address, update=body, answer=step == 1)
        case _:
            raise MalformedError("wire.type", f"sync message {step} is not known")


def _decode_auth(address: str, data: bytes, at: int) -> Frame:
    step, at = read_varint(data, at)
    match step:
        case 0 if at == len(data):
            return AskToken(address=address)
        case 0:
            token, at = _read_text(data, at, limits.TEXT_BYTES_MAX)
            return Auth(address=address, token=token)
        case 1:
            return Denied(address=address, reason=_read_text(data, at, limits.TEXT_BYTES_MAX)[0])
        case 2:
            return Granted(address=address, scope=_read_text(data, at, limits.TEXT_BYTES_MAX)[0])
        case _:
            raise MalformedError("wire.type", f"auth message {step} is not known")


def _decode_message(text: str) -> Mapping[str, Any]:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedError("wire.shape", "a stateless message is not JSON") from error
    if not isinstance(message, dict):
        raise MalformedError("wire.shape", "a stateless message is not an object")
    return message


def _read_text(data: bytes, at: int, size_max: int) -> tuple[str, int]:
    raw, at = read_bytes(data, at)
    if len(raw) > size_max:
        raise MalformedError("wire.shape", "a text is too long")
    try:
        return raw.decode(), at
    except UnicodeDecodeError as error:
        raise MalformedError("wire.shape", "a text is not UTF-8") from error


def _text(value: str) -> bytes:
    return write_bytes(value.encode())


def _head(address: str, kind: FrameType) -> bytes:
    return _text(address) + write_varint(kind)
