"""The labels' font as a file of its own: the same glyphs, laid out as browsers want them."""

from __future__ import annotations

import io
import struct
from importlib.resources import as_file

import pytest
from PIL import Image, ImageDraw, ImageFont

from printer.web_font import chinese_font, first_face, font_collection


def drawn(font: ImageFont.FreeTypeFont) -> bytes:
    paper = Image.new("L", (300, 60), 255)
    ImageDraw.Draw(paper).text((5, 5), "拿货1A。", font=font, fill=0)
    assert min(paper.tobytes()) == 0
    return paper.tobytes()


def test_it_draws_what_the_collection_draws() -> None:
    with as_file(font_collection()) as path:
        whole = ImageFont.truetype(str(path), 40, index=0)
    own = ImageFont.truetype(io.BytesIO(chinese_font()), 40)
    assert own.getname() == whole.getname()
    assert drawn(own) == drawn(whole)


def test_every_table_lies_at_a_multiple_of_four_within_the_file() -> None:
    font = chinese_font()
    (count,) = struct.unpack_from(">H", font, 4)
    assert count > 10
    for at in range(count):
        offset, length = struct.unpack_from(">II", font, 12 + 16 * at + 8)
        assert offset % 4 == 0
        assert offset + length <= len(font)


def test_anything_but_a_collection_is_refused() -> None:
    with pytest.raises(ValueError, match="no TrueType collection"):
        first_face(b"\x00\x01\x00\x00" + bytes(40))
