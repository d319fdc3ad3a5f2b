"""ESC/POS, the language of receipt printers; python-escpos builds the bytes it builds well.

ESC/POS has no page: it prints line by line as bytes arrive. On a plain roll (Drawing.TEXT) the label's elements flow
from top to bottom with the printer's own font, Code 128 and QR. On a label roll the layout must hold, so the whole
label goes as one picture (Drawing.RASTER), followed by GS FF to reach the next label.

python-escpos 3.1 sends Chinese only when it sees an ideograph, never switches the printer to Chinese, and turns ￥ and
〇 alone into "?". So text is sent raw here: FS & once, then GB18030 bytes; what the printer's font surely lacks goes as
dots. Its image() dithers and its barcode() writes to standard output: both commands are built here from the manual
(GS v 0, GS k 73 with {C). The final feed or cut is the commit, but paper appears before it: `prints_while_sending`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from escpos.constants import QR_ECLEVEL_M
from escpos.printer import Dummy
from PIL import Image

from printer.errors import PrinterReason
from printer.fitting import text_halves
from printer.label import Box, Code128, CopyMark, Element, Label, Line, Picture, Qr, Text, element_size_mm
from printer.languages.port import EncodedJob, PrinterStatus, check_width, encode_chinese
from printer.profiles import Drawing, LanguageName, Paper, PrinterProfile
from printer.raster import draw_label, ink_rows
from printer.symbols import encode_code128

_FONT_DOTS: Final = 24
_RASTER_ROWS: Final = 128  # a band small enough for the smallest receive buffers
_CHINESE_ON: Final = b"\x1c&"
_START_B: Final = 104
_START_C: Final = 105
_TO_C: Final = 99
_TO_B: Final = 100


class EscPos:
    """The ESC/POS encoder; holds no state."""

    name: LanguageName = LanguageName.ESCPOS
    prints_while_sending: bool = True
    status_query: bytes = b"\x10\x04\x02\x10\x04\x04"  # why offline, paper
    status_bytes: int = 2
    confirm_query: bytes = b"\x1dr\x01"  # answered in its turn, after everything before it
    confirm_bytes: int = 1

    def encode(self, label: Label, profile: PrinterProfile) -> EncodedJob:
        """Return the label as lines or as one picture. Raises LabelError when it is too wide."""
        check_width(label, profile)
        out = Dummy()
        out.hw("INIT")
        out._raw(_CHINESE_ON)
        if profile.drawing is Drawing.RASTER:
            _send_picture(out, draw_label(label, dots_per_mm=profile.dots_per_mm))
        else:
            out.line_spacing(_FONT_DOTS + 4)
            for row in _rows(label):
                _send_row(out, row, label, profile)
        end = Dummy()
        match profile.paper, profile.can_cut:
            case (Paper.CONTINUOUS, True):
                end.cut(mode="PART")
            case (Paper.CONTINUOUS, False):
                end.print_and_feed(4)
            case _:
                end._raw(b"\x1d\x0c")
        return EncodedJob(body=bytes(out.output), commit=bytes(end.output))

    def parse_status(self, answer: bytes, profile: PrinterProfile) -> PrinterStatus:  # noqa: ARG002 - the port's shape
        """Return the meaning of the answers to DLE EOT 2 and DLE EOT 4."""
        if not answer:
            return PrinterStatus(reasons=(PrinterReason.NO_ANSWER,))
        if any(byte & 0x93 != 0x12 for byte in answer):
            return PrinterStatus(reasons=(PrinterReason.WRONG_LANGUAGE,))
        if len(answer) < self.status_bytes:
            return PrinterStatus(reasons=(PrinterReason.NO_ANSWER,))
        offline, paper = answer[-2], answer[-1]
        reasons: list[PrinterReason] = []
        if paper & 0x60 or offline & 0x20:
            reasons.append(PrinterReason.OUT_OF_PAPER)
        if offline & 0x04:
            reasons.append(PrinterReason.LID_OPEN)
        if offline & 0x40 and not reasons:
            reasons.append(PrinterReason.JAMMED)
        return PrinterStatus(printing=bool(offline & 0x08), reasons=tuple(reasons))

    def parse_confirm(self, answer: bytes, profile: PrinterProfile) -> PrinterStatus:  # noqa: ARG002 - the port's shape
        """Return the meaning of the answer to GS r 1: everything before it is printed, and is there paper left."""
        if not answer:
            return PrinterStatus(reasons=(PrinterReason.NO_ANSWER,))
        if answer[-1] & 0x90:
            return PrinterStatus(reasons=(PrinterReason.WRONG_LANGUAGE,))
        return PrinterStatus(reasons=(PrinterReason.OUT_OF_PAPER,) if answer[-1] & 0x0C else ())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """Elements that share a printed line; only texts share one."""

    top_mm: float
    elements: tuple[Element, ...]


def _rows(label: Label) -> Iterator[_Row]:
    """Yield the rows from top to bottom; texts whose heights overlap by half stand on one line, left to right."""
    texts: list[Text] = []
    rows: list[_Row] = []
    shown = [element for element in label.elements if not isinstance(element, CopyMark | Box)]
    for element in sorted(shown, key=lambda found: (found.y_mm, found.x_mm)):
        if isinstance(element, Qr):
            # It goes below the texts it stood beside, so that it does not tear them apart.
            rows.append(_Row(top_mm=element.y_mm + element_size_mm(element)[1], elements=(element,)))
            continue
        if not isinstance(element, Text):
            rows.append(_Row(top_mm=element.y_mm, elements=(element,)))
            continue
        if texts and not _shares_line(texts, element):
            rows.append(_Row(top_mm=texts[0].y_mm, elements=tuple(texts)))
            texts = []
        texts.append(element)
    if texts:
        rows.append(_Row(top_mm=texts[0].y_mm, elements=tuple(texts)))
    yield from sorted(rows, key=lambda row: row.top_mm)


def _shares_line(texts: list[Text], text: Text) -> bool:
    last = max(texts, key=lambda found: found.x_mm)
    overlap_mm = min(last.y_mm + last.height_mm, text.y_mm + text.height_mm) - max(last.y_mm, text.y_mm)
    is_right = text.x_mm >= last.x_mm + element_size_mm(last)[0] - 0.2
    return is_right and overlap_mm >= min(last.height_mm, text.height_mm) / 2


def _send_row(out: Dummy, row: _Row, label: Label, profile: PrinterProfile) -> None:
    scale = profile.dots_per_mm
    match row.elements:
        case (Code128() as code,):
            module, height = max(2, round(code.module_mm * scale)), round(code.height_mm * scale)
            data = _code128_data(code.data)
            out._raw(b"\x1dH" + (b"\x02" if code.readable else b"\x00"))
            out._raw(b"\x1dh" + bytes([min(255, height)]) + b"\x1dw" + bytes([min(6, module)]))
            _move_to(out, code.x_mm, scale)
            out._raw(b"\x1dk\x49" + bytes([len(data)]) + data)
        case (Qr() as qr,):
            _move_to(out, qr.x_mm, scale)
            out.qr(qr.data, ec=QR_ECLEVEL_M, size=max(1, min(16, round(qr.module_mm * scale))), native=True)
        case (Line() | Picture() as drawn,):
            _send_strip(out, (drawn,), label, profile)
        case texts:
            _send_texts(out, tuple(text for text in texts if isinstance(text, Text)), label, profile)


def _send_texts(out: Dummy, texts: tuple[Text, ...], label: Label, profile: PrinterProfile) -> None:
    """Send one line with the printer's font; when any text on it does not fit that, the whole line goes as dots."""
    parts: list[tuple[Text, bytes, int]] = []
    ends_mm = [text.x_mm for text in texts[1:]] + [profile.width_mm]
    for text, end_mm in zip(texts, ends_mm, strict=True):
        # The font has one size and its multiples; small text may grow to it where the roll has room.
        times = min(8, max(1, round(text.height_mm * profile.dots_per_mm) // _FONT_DOTS))
        width_dots = text_halves(text.text) * times * _FONT_DOTS // 2
        encoded = encode_chinese(text.text, profile)
        if encoded is None or width_dots > (end_mm - text.x_mm) * profile.dots_per_mm:
            _send_strip(out, texts, label, profile)
            return
        parts.append((text, encoded, times))
    for text, encoded, times in parts:
        out.set(custom_size=True, width=times, height=times, bold=text.bold)
        _move_to(out, text.x_mm, profile.dots_per_mm)
        out._raw(encoded)
    out._raw(b"\n")
    out.set(custom_size=True, width=1, height=1, bold=False)


def _send_strip(out: Dummy, elements: tuple[Element, ...], label: Label, profile: PrinterProfile) -> None:
    """Send the horizontal strip of the label that holds `elements`, as dots, and nothing else of the label."""
    top_mm = min(element.y_mm for element in elements)
    bottom_mm = max(element.y_mm + element_size_mm(element)[1] for element in elements)
    alone = Label(width_mm=label.width_mm, height_mm=label.height_mm, elements=elements)
    whole = draw_label(alone, dots_per_mm=profile.dots_per_mm)
    scale = profile.dots_per_mm
    _send_picture(out, whole.crop((0, round(top_mm * scale), whole.width, max(1, round(bottom_mm * scale) + 2))))


def _send_picture(out: Dummy, image: Image.Image) -> None:
    """Send GS v 0 in bands: 1 burns, rows of whole bytes."""
    for top in range(0, image.height, _RASTER_ROWS):
        band = image.crop((0, top, image.width, min(top + _RASTER_ROWS, image.height)))
        stride = (band.width + 7) // 8
        head = b"\x1dv0\x00" + stride.to_bytes(2, "little") + band.height.to_bytes(2, "little")
        out._raw(head + ink_rows(band))


def _move_to(out: Dummy, x_mm: float, dots_per_mm: float) -> None:
    """Send ESC $: the next character or code starts here."""
    out._raw(b"\x1b$" + round(x_mm * dots_per_mm).to_bytes(2, "little"))


def _code128_data(data: str) -> bytes:
    """Return `data` with the {B and {C prefixes of GS k 73; in set C a byte is a pair of digits."""
    encoded = bytearray()
    in_set_c = False
    for word in encode_code128(data)[:-2]:
        if word in (_START_B, _START_C) or (word == _TO_C and not in_set_c) or (word == _TO_B and in_set_c):
            in_set_c = word in (_START_C, _TO_C)
            encoded += b"{C" if in_set_c else b"{B"
        elif in_set_c:
            encoded.append(word)
        else:
            encoded += b"{{" if word == ord("{") - 32 else bytes([word + 32])
    return bytes(encoded)
