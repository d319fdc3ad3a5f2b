"""TSPL/TSPL2, the language of most Chinese label printers: ASCII lines, GB18030 text, positions in dots.

Nothing prints before the PRINT line, which is therefore returned apart. Text and codes use the printer's own fonts
(344 bytes a bag label instead of 9,700); what those cannot show or quote safely goes as a BITMAP of that element.
In a BITMAP a 0 bit burns, the opposite of every other language. TSC's TSPL manual; dialect notes in the profile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from PIL import Image

from printer.errors import LabelError, PrinterReason
from printer.label import Box, Code128, CopyMark, Element, Label, Line, Picture, Qr, Text
from printer.languages.port import EncodedJob, PrinterStatus, check_width, encode_chinese
from printer.profiles import Drawing, LanguageName, Paper, PrinterProfile
from printer.raster import draw_code128, draw_label, draw_picture, draw_qr, draw_text, ink_rows, readable_text

_BAND_ROWS: Final = 64
_EOL: Final = b"\r\n"


class Tspl:
    """The TSPL encoder; holds no state."""

    name: LanguageName = LanguageName.TSPL
    prints_while_sending: bool = False
    status_query: bytes = b"\x1b!?"
    status_bytes: int = 1
    confirm_query: bytes = b"\x1b!?"
    confirm_bytes: int = 1

    def encode(self, label: Label, profile: PrinterProfile) -> EncodedJob:
        """Return setup and drawing as the body, PRINT as the commit. Raises LabelError when it is too wide."""
        check_width(label, profile)
        parts = [_setup(label, profile)]
        if profile.drawing is Drawing.RASTER:
            parts.extend(_bitmap(draw_label(label, dots_per_mm=profile.dots_per_mm), 0, 0))
        else:
            commands = [command for element in label.elements for command in _draw(element, profile)]
            # Pictures overwrite in whole bytes: they go first, so that their white cannot erase a neighbour.
            parts.extend(sorted(commands, key=lambda command: not command.startswith(b"BITMAP")))
        return EncodedJob(body=b"".join(parts), commit=b"PRINT 1,1" + _EOL)

    def parse_status(self, answer: bytes, profile: PrinterProfile) -> PrinterStatus:
        """Return the meaning of the one flag byte of ESC ! ?."""
        if not answer:
            return PrinterStatus(reasons=(PrinterReason.NO_ANSWER,))
        flags = answer[-1]  # an older answer may still have been on its way
        reasons = tuple(dict.fromkeys(reason for bit, reason in profile.status_bits if flags & bit))
        if flags & 0x80 and not reasons:
            reasons = (PrinterReason.BUSY,)
        return PrinterStatus(printing=bool(flags & 0x20), reasons=reasons)

    def parse_confirm(self, answer: bytes, profile: PrinterProfile) -> PrinterStatus:
        """Return the same as `parse_status`: TSPL has no query that waits for the paper."""
        return self.parse_status(answer, profile)


def _setup(label: Label, profile: PrinterProfile) -> bytes:
    match profile.paper:
        case Paper.GAP:
            feed = f"GAP {profile.gap_mm:g} mm,0 mm"
        case Paper.BLACK_MARK:
            feed = f"BLINE {profile.gap_mm:g} mm,0 mm"
        case Paper.CONTINUOUS:
            feed = "GAP 0 mm,0 mm"
    lines = [
        "",  # ends whatever line a broken link left half written
        f"SIZE {label.width_mm:g} mm,{label.height_mm:g} mm",
        feed,
        "DIRECTION 1",
        "REFERENCE 0,0",
        f"DENSITY {profile.density}",
        *([f"SPEED {profile.speed}"] if profile.speed is not None else []),
        "SET TEAR ON",
        # The printer must never print a label again by itself: not after an error, not by its feed key.
        "SET REPRINT OFF",
        "SET PRINTKEY OFF",
        "CLS",
        "",
    ]
    return "\r\n".join(lines).encode("ascii")


def _draw(element: Element, profile: PrinterProfile) -> Iterator[bytes]:
    scale = profile.dots_per_mm
    x, y = round(element.x_mm * scale), round(element.y_mm * scale)
    match element:
        case Text():
            yield from _text(element, profile)
        case Code128():
            height, module = round(element.height_mm * scale), max(1, round(element.module_mm * scale))
            if _is_plain(element.data):
                yield f'BARCODE {x},{y},"128",{height},0,0,{module},{module},"{element.data}"\r\n'.encode("ascii")
            else:
                yield from _bitmap(draw_code128(element.data, module, height), x, y)
            if element.readable:
                # Drawn as our own text: where and how large a printer writes its own is anybody's guess.
                yield from _text(readable_text(element), profile)
        case Qr():
            module = max(1, round(element.module_mm * scale))
            if _is_plain(element.data) and module <= 10:
                yield f'QRCODE {x},{y},M,{module},A,0,"{element.data}"\r\n'.encode("ascii")
            else:
                yield from _bitmap(draw_qr(element.data, module), x, y)
        case Line():
            width, height = max(1, round(element.width_mm * scale)), max(1, round(element.height_mm * scale))
            yield f"BAR {x},{y},{width},{height}\r\n".encode("ascii")
        case Box():
            right = x + round(element.width_mm * scale) - 1
            bottom = y + round(element.height_mm * scale) - 1
            yield f"BOX {x},{y},{right},{bottom},{max(1, round(element.thickness_mm * scale))}\r\n".encode("ascii")
        case Picture():
            yield from _bitmap(draw_picture(element, scale), x, y)
        case CopyMark():
            return


def _text(text: Text, profile: PrinterProfile) -> Iterator[bytes]:
    x, y = round(text.x_mm * profile.dots_per_mm), round(text.y_mm * profile.dots_per_mm)
    height = round(text.height_mm * profile.dots_per_mm)
    encoded = encode_chinese(text.text, profile)
    font = _pick_font(height, profile)
    if encoded is None or font is None or not _is_quotable(encoded):
        yield from _bitmap(draw_text(text.text, height_dots=height, bold=text.bold), x, y)
        return
    size, name, times = font
    y += (height - size * times) // 2  # a font smaller than asked stands in the middle of its line
    # Bold is struck twice, one dot apart: the built-in fonts have no bold face.
    for shift in (0, 1) if text.bold else (0,):
        yield f'TEXT {x + shift},{y},"{name}",0,{times},{times},"'.encode("ascii") + encoded + b'"' + _EOL


def _pick_font(height: int, profile: PrinterProfile) -> tuple[int, str, int] | None:
    """Return (dots, name, multiplier) of the largest built-in text not above `height`; None when that is far off."""
    found = [
        (size * times, size, name, times)
        for size, name in profile.fonts
        for times in range(1, 11)
        if size * times <= height
    ]
    if not found:
        return None
    reached, size, name, times = max(found)  # on a tie the larger font: fewer, finer steps
    return (size, name, times) if reached >= 0.8 * height else None


def _is_plain(data: str) -> bool:
    return data.isascii() and data.isprintable() and _is_quotable(data.encode("ascii"))


def _is_quotable(encoded: bytes) -> bool:
    """Return whether no byte run could end the string early or pass for an immediate command or an escape."""
    return not any(run in encoded for run in (b'"', b"~!", b"\\[", b"\x1b"))


def _bitmap(image: Image.Image, x: int, y: int) -> Iterator[bytes]:
    """Yield BITMAP commands for the ink of `image`: cropped, in bands, blank bands skipped."""
    ink = image.point(lambda value: 0 if value else 255).getbbox()
    if ink is None:
        return
    for top in range(ink[1], ink[3], _BAND_ROWS):
        band = image.crop((ink[0], top, ink[2], min(top + _BAND_ROWS, ink[3])))
        rows = ink_rows(band)
        if not any(rows):
            continue
        stride = (band.width + 7) // 8
        if x + ink[0] < 0 or y + top < 0:
            raise LabelError("a picture starts off the label")
        # Mode 0 (overwrite) is the one all makers agree on. Here a 0 bit burns.
        header = f"BITMAP {x + ink[0]},{y + top},{stride},{band.height},0,".encode("ascii")
        yield header + bytes(byte ^ 0xFF for byte in rows) + _EOL
