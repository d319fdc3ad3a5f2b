"""The outbox's twin: what this device said and no hub has acknowledged, once more, in a plain file beside the database.

The problem: the database is one file, and a file can be damaged (a failing card, a bug, a hand). What the hub has is safe there; what it
has not acknowledged exists nowhere else. A second sync for each action would double its price, and a copy made before the commit would
hold what was never recorded.

The method: after each commit its own envelopes are appended here, without a sync of their own: a kill does not lose them, and the node
syncs the file a moment later. At every start the file is written anew from the database, so a kill between commit and append leaves no
hole. When the hub has everything the file is emptied. Each record carries a mark, its length and a CRC; a reader that meets damage goes on
at the next mark. The first record says who the device is, key included, so that a lost database can be paired again as its own copy.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sync_core.files import write_durably

TWIN: Final = "outbox.twin"
MARK: Final = b"NHT1"
_HEAD: Final = struct.Struct(">4sBII")
IDENTITY, ENVELOPE = 1, 2
RECORD_BYTES_MAX: Final = 256 * 1024
BYTES_MAX: Final = 32 * 1024 * 1024
"""About 40,000 actions; a longer file is written anew from the database, which leaves what was acknowledged out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinContent:
    """What a twin holds: who the device is (None: nothing readable), and its envelopes as (document, stored) in the order of saying."""

    identity: Mapping[str, Any] | None = None
    envelopes: tuple[tuple[str, bytes], ...] = field(default=())


class Twin:
    """The file while its database is in use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._bytes = 0
        self._identity: bytes = b""
        self.unsynced = False
        """True while something was appended and not synced yet."""
        self.failed = False
        """True when an append failed; the file is written anew as soon as it can be."""

    def write_anew(self, identity: Mapping[str, Any], envelopes: Iterable[tuple[str, bytes]]) -> None:
        """Replace the file, durably.

        Raises:
            OSError: the disk did not take it; the old file stays.
        """
        self._identity = _record(IDENTITY, json.dumps(dict(identity), sort_keys=True).encode())
        data = self._identity + b"".join(_record(ENVELOPE, _packed(d, s)) for d, s in envelopes)
        self.close()
        write_durably(self.path, data)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        self._bytes = len(data)
        self.unsynced = self.failed = False

    def append(self, envelopes: Iterable[tuple[str, bytes]]) -> None:
        """Add what was just committed. The action is safe in the database already: a fault here is only noted."""
        data = b"".join(_record(ENVELOPE, _packed(d, s)) for d, s in envelopes)
        if not data or self._descriptor is None:
            return
        try:
            if os.write(self._descriptor, data) != len(data):
                raise OSError("a short write")
        except OSError:
            self.failed = True
            return
        self._bytes += len(data)
        self.unsynced = True

    def empty(self) -> None:
        """Forget the envelopes: the hub has them all."""
        if self._descriptor is None or self._bytes == len(self._identity):
            return
        with suppress(OSError):
            os.ftruncate(self._descriptor, len(self._identity))
            self._bytes = len(self._identity)

    @property
    def is_too_long(self) -> bool:
        """True when it is to be written anew."""
        return self._bytes > BYTES_MAX or self.failed

    def sync(self) -> None:
        """Make what was appended safe; any thread."""
        descriptor = self._descriptor
        if descriptor is not None and self.unsynced:
            self.unsynced = False
            with suppress(OSError):
                os.fdatasync(descriptor)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def read_twin(path: Path) -> TwinContent:
    """Return all that can be read of a twin; damage costs the records it hit, no more."""
    try:
        data = path.read_bytes()
    except OSError:
        return TwinContent()
    identity: Mapping[str, Any] | None = None
    envelopes: dict[tuple[str, bytes], None] = {}
    at = data.find(MARK)
    while at >= 0 and at + _HEAD.size <= len(data):
        _, kind, length, crc = _HEAD.unpack_from(data, at)
        body = data[at + _HEAD.size : at + _HEAD.size + length]
        if length > RECORD_BYTES_MAX * 4 or len(body) != length or zlib.crc32(body) != crc:
            at = data.find(MARK, at + 1)
            continue
        if kind == IDENTITY:
            with suppress(ValueError):
                told = json.loads(body)
                identity = told if isinstance(told, dict) else identity
        elif kind == ENVELOPE:
            name, _, stored = body.partition(b"\0")
            envelopes[name.decode("utf-8", "replace"), stored] = None
        at = data.find(MARK, at + _HEAD.size + length)
    return TwinContent(identity=identity, envelopes=tuple(envelopes))


def _record(kind: int, body: bytes) -> bytes:
    return _HEAD.pack(MARK, kind, len(body), zlib.crc32(body)) + body


def _packed(document: str, stored: bytes) -> bytes:
    return document.encode() + b"\0" + stored
