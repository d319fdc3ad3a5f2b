"""Draw a label, or one text, as black dots: the fallback when a printer's own fonts cannot show it, and the preview.

The only module of the encoders that needs Pillow. Glyphs come from the font wheel paperang-p2-fonts-cjk (WenQuanYi
Micro Hei), without antialiasing, on the same half-cell grid `printer.fitting` measures with. A character the font lacks
is drawn as the geta mark 〓, the trade's sign for a missing type, never as an empty box that could pass for text.
Images are mode "1", 0 is black ink.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from importlib.resources import as_file
from typing import Final, cast

from PIL import Image, ImageDraw, ImageFont

from printer.fitting import char_halves, text_width_mm
from printer.label import (
    READABLE_GAP_MM,
    READABLE_HEIGHT_MM,
    Box,
    Code128,
    CopyMark,
    Label,
    Line,
    Picture,
    Qr,
    Text,
)
from printer.symbols import code128_modules, qr_matrix
from printer.web_font import font_collection

MISSING_GLYPH: Final = "〓"
_MONO_FACE: Final = 1
_HALF_CELL_SHRINK: Final = 5 / 6  # the mono face is 0.6 em wide; half a cell is 0.5
_BASELINE: Final = 0.86  # of the cell, so that hanzi stand in its middle
_INK: Final = [255] + [0] * 255
"""Where a picture is black, the paper takes ink."""


def draw_label(label: Label, *, dots_per_mm: float = 8) -> Image.Image:
    """Return the whole label as a picture of `dots_per_mm`, mode "1"."""
    image = Image.new("1", (round(label.width_mm * dots_per_mm), round(label.height_mm * dots_per_mm)), 1)
    for element in label.elements:
        x_dots, y_dots = round(element.x_mm * dots_per_mm), round(element.y_mm * dots_per_mm)
        match element:
            case Text():
                picture = draw_text(element.text, height_dots=round(element.height_mm * dots_per_mm), bold=element.bold)
                burn(image, picture, x_dots, y_dots)
            case Code128():
                module_dots = max(1, round(element.module_mm * dots_per_mm))
                bars = draw_code128(element.data, module_dots, round(element.height_mm * dots_per_mm))
                burn(image, bars, x_dots, y_dots)
                if element.readable:
                    text = readable_text(element)
                    picture = draw_text(text.text, height_dots=round(text.height_mm * dots_per_mm))
                    burn(image, picture, round(text.x_mm * dots_per_mm), round(text.y_mm * dots_per_mm))
            case Qr():
                burn(image, draw_qr(element.data, max(1, round(element.module_mm * dots_per_mm))), x_dots, y_dots)
            case Line():
                size = (round(element.width_mm * dots_per_mm), round(element.height_mm * dots_per_mm))
                burn(image, Image.new("1", (max(1, size[0]), max(1, size[1])), 0), x_dots, y_dots)
            case Box():
                right, bottom = x_dots + round(element.width_mm * dots_per_mm) - 1, 0
                bottom = y_dots + round(element.height_mm * dots_per_mm) - 1
                thickness = max(1, round(element.thickness_mm * dots_per_mm))
                ImageDraw.Draw(image).rectangle((x_dots, y_dots, right, bottom), outline=0, width=thickness)
            case Picture():
                burn(image, draw_picture(element, dots_per_mm), x_dots, y_dots)
            case CopyMark():
                pass  # the first copy leaves it white; the spool replaces it on later ones
    return image


def burn(image: Image.Image, picture: Image.Image, x_dots: int, y_dots: int) -> None:
    """Paste only the ink: overlapping white must not erase. What lies beyond the paper is lost, as on paper."""
    image.paste(0, (x_dots, y_dots), picture.point(_INK))


def draw_text(text: str, *, height_dots: int, bold: bool = False) -> Image.Image:
    """Return one line on the half-cell grid, `height_dots` high; bold is struck twice, one dot apart."""
    half = height_dots / 2
    width_dots = round(sum(char_halves(char) for char in text) * half) + (1 if bold else 0)
    image = Image.new("1", (max(1, width_dots), height_dots), 1)
    x_halves = 0
    for char in text:
        halves = char_halves(char)
        shown = char if has_glyph(char) else MISSING_GLYPH
        size = height_dots if char_halves(shown) == 2 else max(4, round(height_dots * _HALF_CELL_SHRINK))
        size = size if halves == char_halves(shown) else round(height_dots / 2)
        # Centred in its cell: the font's full-width punctuation is narrower than a printer's.
        centre = (x_halves + halves / 2) * half
        ink = _glyph(shown, size, height_dots, centre % 1)
        for shift in (0, 1) if bold else (0,):
            image.paste(0, (int(centre) + shift - height_dots, 0), ink)
        x_halves += halves
    return image


def draw_code128(data: str, module_dots: int, height_dots: int) -> Image.Image:
    """Return the bars without quiet zones."""
    modules = code128_modules(data)
    row = Image.new("1", (len(modules), 1), 1)
    row.putdata([0 if burns else 1 for burns in modules])
    return row.resize((len(modules) * module_dots, height_dots), Image.Resampling.NEAREST)


def draw_qr(data: str, module_dots: int) -> Image.Image:
    """Return the QR code without a quiet zone."""
    matrix = qr_matrix(data)
    image = Image.new("1", (len(matrix), len(matrix)), 1)
    image.putdata([0 if burns else 1 for row in matrix for burns in row])
    return image.resize((len(matrix) * module_dots, len(matrix) * module_dots), Image.Resampling.NEAREST)


def draw_picture(picture: Picture, dots_per_mm: float) -> Image.Image:
    """Return a stored picture, scaled when the head is not 8 dots a millimetre."""
    image = Image.frombytes("1", (picture.width_px, picture.height_px), bytes(byte ^ 0xFF for byte in picture.bits))
    if dots_per_mm == 8:
        return image
    size = (round(picture.width_px * dots_per_mm / 8), round(picture.height_px * dots_per_mm / 8))
    return image.resize(size, Image.Resampling.NEAREST)


def readable_text(code: Code128) -> Text:
    """Return the text below a Code 128 symbol, in the middle of its bars."""
    bars_mm = len(code128_modules(code.data)) * code.module_mm
    width_mm = text_width_mm(code.data, height_mm=READABLE_HEIGHT_MM)
    return Text(
        x_mm=max(0.0, code.x_mm + (bars_mm - width_mm) / 2),
        y_mm=code.y_mm + code.height_mm + READABLE_GAP_MM,
        height_mm=READABLE_HEIGHT_MM,
        text=code.data,
    )


def ink_rows(image: Image.Image) -> bytes:
    """Return the rows as whole bytes, high bit first, 1 burns (ESC/POS polarity); white beyond the edge."""
    stride = (image.width + 7) // 8
    padded = Image.new("1", (stride * 8, image.height), 1)
    padded.paste(image, (0, 0))
    return bytes(byte ^ 0xFF for byte in padded.tobytes())


@lru_cache(maxsize=4096)
def has_glyph(char: str) -> bool:
    """Return whether the font can draw `char` (a space counts)."""
    if char.isspace():
        return True
    font = _font(16)
    return _drawn(font, char) != _drawn(font, "\U0010ffff")


@lru_cache(maxsize=2048)
def _glyph(char: str, size_dots: int, height_dots: int, part: float) -> Image.Image:
    """Return the ink (1) of a character `part` of a dot right of the middle of two cells, kept as a printer keeps its font."""
    ink = Image.new("1", (2 * height_dots, height_dots), 0)
    draw = ImageDraw.Draw(ink)
    draw.fontmode = "1"
    draw.text((height_dots + part, height_dots * _BASELINE), char, font=_font(size_dots), fill=1, anchor="ms")
    return ink


def _drawn(font: ImageFont.FreeTypeFont, char: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(char, mode="1")
    # The stub does not say so, but the picture can be read byte by byte.
    return mask.size, bytes(cast(Iterable[int], mask))


@lru_cache(maxsize=64)
def _font(size_dots: int) -> ImageFont.FreeTypeFont:
    with as_file(font_collection()) as path:
        return ImageFont.truetype(str(path), max(1, size_dots), index=_MONO_FACE)
