"""The labels' Chinese font as a browser takes it, for machines without any Chinese font of their own.

The problem: it comes as a collection of two faces that share tables, some at odd offsets, which browsers refuse to read. The method: the
tables of the first face, unchanged, each at a multiple of four, behind a directory of their own (OpenType, "Organization of a font").
"""

from __future__ import annotations

import struct
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

_RECORD: Final = struct.Struct(">4sIII")
"""Tag, checksum, offset, length of a table."""


def font_collection() -> Traversable:
    """Return the file of the labels' font, as its package brings it."""
    return files("paperang_p2_fonts_cjk") / "fonts" / "wqy-microhei.ttc"


@lru_cache(maxsize=1)
def chinese_font() -> bytes:
    """Return a TrueType file, 5 MB.

    Raises:
        FileNotFoundError: the font package came without its file.
    """
    return first_face(font_collection().read_bytes())


def first_face(collection: bytes) -> bytes:
    """Return the first font of a TrueType collection as a file of its own.

    Raises:
        ValueError: it is no collection.
    """
    if collection[:4] != b"ttcf":
        raise ValueError("no TrueType collection")
    (start,) = struct.unpack_from(">I", collection, 12)
    (count,) = struct.unpack_from(">H", collection, start + 4)
    records = [_RECORD.unpack_from(collection, start + 12 + 16 * at) for at in range(count)]
    head = bytearray(collection[start : start + 12])
    body = bytearray()
    for tag, checksum, offset, length in records:
        head += _RECORD.pack(tag, checksum, 12 + 16 * count + len(body), length)
        body += collection[offset : offset + length] + bytes(-length % 4)
    return bytes(head + body)
