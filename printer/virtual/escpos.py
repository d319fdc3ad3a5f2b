"""An ESC/POS printer without hardware: it really parses the bytes, line by line, and burns them onto a roll.

It knows what python-escpos emits for text, codes, pictures, feeds and cuts, and what printers answer to DLE EOT and
GS r. Unlike TSPL, paper moves as bytes arrive: a broken link leaves a part of a label on the roll, which `drop_link`
tears off and counts as torn. Unknown commands are recorded in `errors`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from PIL import Image

from printer.raster import draw_text
from printer.symbols import draw_words
from printer.virtual.page import Page, Printed, blank_page, draw_written_qr, finish_page

_ROLL_DOTS: Final = 4000
_CELL: Final = 24
_LEVELS: Final = {48: "L", 49: "M", 50: "Q", 51: "H"}
# Commands whose effect does not change the page here: prefix -> bytes of arguments.
_IGNORED: Final[dict[bytes, int]] = {
    b"\x1bt": 1, b"\x1bR": 1, b"\x1bM": 1, b"\x1b-": 1, b"\x1bG": 1, b"\x1b{": 1, b"\x1bV": 1, b"\x1ba": 1,
    b"\x1dB": 1, b"\x1db": 1, b"\x1df": 1, b"\x1dL": 2, b"\x1dW": 2, b"\x1d|": 1, b"\x1ba0": 0,
}  # fmt: skip


class VirtualEscPos:
    """One printer, `width_dots` wide; `printed` is called for every label that is cut or fed out."""

    def __init__(self, printed: Callable[[Printed], None], *, width_dots: int = 384) -> None:
        self._printed = printed
        self._width_dots = width_dots
        self._pending = b""
        self.is_out_of_paper = False
        self.is_lid_open = False
        self.errors: list[str] = []
        self.torn = 0
        self._roll: Page = blank_page(width_dots, _ROLL_DOTS)
        self._y = 0
        self._reset()

    def feed(self, received: bytes) -> bytes:
        """Take bytes as they arrive and return what the printer answers."""
        self._pending += received
        answers = b""
        while self._pending:
            taken = self._step()
            if taken is None:
                break
            used, answer = taken
            self._pending = self._pending[used:]
            answers += answer
        return answers

    def drop_link(self) -> None:
        """Forget a half-sent command; what is already on the paper is torn off and counted."""
        self._pending = b""
        if self._y > 0 or self._line:
            self.torn += 1
        self._new_roll()
        self._reset()

    def _reset(self) -> None:
        self._chinese = False
        self._times = 1
        self._bold = False
        self._spacing = 30
        self._x = 0
        self._line: list[tuple[int, Image.Image]] = []
        self._texts: list[str] = []
        self._code_height, self._code_module, self._code_text = 162, 3, False
        self._qr_size, self._qr_level, self._qr_data = 3, "L", b""

    def _new_roll(self) -> None:
        self._roll, self._y = blank_page(self._width_dots, _ROLL_DOTS), 0

    def _step(self) -> tuple[int, bytes] | None:
        """Return how many bytes the next command took and the answer to it; None when it is not whole yet."""
        pending = self._pending
        first = pending[0]
        if first >= 0x20:
            return self._character()
        if first == 0x0A:
            self._end_line()
            return 1, b""
        if first not in (0x10, 0x1B, 0x1C, 0x1D):
            self.errors.append(f"unknown byte {first:#04x}")
            return 1, b""
        if len(pending) < 2:
            return None
        command = pending[:2]
        if command in _IGNORED:
            return self._take(2 + _IGNORED[command])
        match command:
            case b"\x1b@":
                self._reset()
                return 2, b""
            case b"\x1b2":
                self._spacing = 30
                return 2, b""
            case b"\x1c&" | b"\x1c.":
                self._chinese = command == b"\x1c&"
                return 2, b""
            case b"\x1d\x0c":
                self._finish()
                return 2, b""
            case b"\x10\x04":
                return None if len(pending) < 3 else (3, self._real_time(pending[2]))
            case b"\x1b3" | b"\x1bE" | b"\x1b!" | b"\x1bd" | b"\x1bJ" | b"\x1d!" | b"\x1dh" | b"\x1dw" | b"\x1dH":
                return None if len(pending) < 3 else self._set(command, pending[2])
            case b"\x1dr":
                return None if len(pending) < 3 else (3, bytes([0x0C if self.is_out_of_paper else 0]))
            case b"\x1b$":
                if len(pending) < 4:
                    return None
                self._x = int.from_bytes(pending[2:4], "little")
                self._texts.append("")
                return 4, b""
            case b"\x1dV":
                return self._cut()
            case b"\x1dk":
                return self._barcode()
            case b"\x1d(":
                return self._two_dimensional()
            case b"\x1dv":
                return self._raster()
        self.errors.append(f"unknown command {command!r}")
        return 2, b""

    def _take(self, count: int) -> tuple[int, bytes] | None:
        return (count, b"") if len(self._pending) >= count else None

    def _set(self, command: bytes, value: int) -> tuple[int, bytes]:
        match command:
            case b"\x1b3":
                self._spacing = value
            case b"\x1bE":
                self._bold = bool(value & 1)
            case b"\x1b!":
                self._times, self._bold = (2 if value & 0x30 else 1), bool(value & 0x08)
            case b"\x1d!":
                self._times = (value & 7) + 1
                if value >> 4 & 7 != value & 7:
                    self.errors.append("stretched text")
            case b"\x1bd":
                self._end_line()
                self._y += max(0, value - 1) * self._spacing
                self._feed_out(value)
            case b"\x1bJ":
                self._end_line()
                self._y += value
            case b"\x1dh":
                self._code_height = value
            case b"\x1dw":
                self._code_module = value
            case _:
                self._code_text = bool(value)
        return 3, b""

    def _character(self) -> tuple[int, bytes] | None:
        pending = self._pending
        length = 1
        if pending[0] >= 0x81 and self._chinese:
            if len(pending) < 2:
                return None
            length = 4 if 0x30 <= pending[1] <= 0x39 else 2
            if len(pending) < length:
                return None
        raw = pending[:length]
        try:
            char = raw.decode("gb18030") if self._chinese else raw.decode("cp437")
        except UnicodeDecodeError:
            self.errors.append(f"not GB18030: {raw!r}")
            return length, b""
        if length == 4:
            self.errors.append(f"four-byte character {char!r}: no pocket printer has its glyph")
        picture = draw_text(char, height_dots=_CELL, bold=False)
        picture = picture.resize((picture.width * self._times, picture.height * self._times), Image.Resampling.NEAREST)
        if self._x + picture.width > self._width_dots:
            self.errors.append(f"text runs off the paper at {char!r}")
        self._line.append((self._x, picture))
        if self._bold:
            self._line.append((self._x + 1, picture))
        self._x += picture.width
        self._texts = [*self._texts[:-1], (self._texts[-1] if self._texts else "") + char]
        return length, b""

    def _end_line(self) -> None:
        height = max((picture.height for _, picture in self._line), default=0)
        for x, picture in self._line:
            self._roll.burn(picture, x, self._y + height - picture.height)
        for text in self._texts:
            self._roll.add_text(text)
        self._y += max(height + 4, self._spacing) if height else self._spacing
        self._line, self._texts, self._x = [], [], 0

    def _place(self, picture: Image.Image) -> None:
        if self._line:
            self._end_line()
        if self._x + picture.width > self._width_dots:
            self.errors.append(f"a picture of {picture.width} dots at {self._x} runs off the paper")
        self._roll.burn(picture, self._x, self._y)
        self._y += picture.height
        self._x = 0

    def _barcode(self) -> tuple[int, bytes] | None:
        pending = self._pending
        if len(pending) < 4:
            return None
        if pending[2] != 73:
            self.errors.append(f"barcode kind {pending[2]}")
            return 3, b""
        end = 4 + pending[3]
        if len(pending) < end:
            return None
        words = _code128_words(pending[4:end])
        if words is None:
            self.errors.append(f"not Code 128 data: {pending[4:end]!r}")
            return end, b""
        modules = draw_words(words)
        row = Image.new("1", (len(modules), 1), 1)
        row.putdata([0 if burns else 1 for burns in modules])
        size = (len(modules) * self._code_module, self._code_height)
        x, data = self._x, _read_words(words)
        self._place(row.resize(size, Image.Resampling.NEAREST))
        if self._code_text:
            text = draw_text(data, height_dots=_CELL)
            self._roll.burn(text, max(0, x + (size[0] - text.width) // 2), self._y + 2)
            self._y += _CELL + 4
        self._roll.codes.append(data)
        return end, b""

    def _two_dimensional(self) -> tuple[int, bytes] | None:
        pending = self._pending
        if len(pending) < 5:
            return None
        end = 5 + int.from_bytes(pending[3:5], "little")
        if len(pending) < end:
            return None
        kind, function, arguments = pending[5], pending[6], pending[7:end]
        if pending[2:3] != b"k" or kind != 49:
            self.errors.append(f"unknown command {pending[:3]!r} of kind {kind}")
            return end, b""
        match function:
            case 65:
                pass
            case 67:
                self._qr_size = arguments[0]
            case 69:
                self._qr_level = _LEVELS.get(arguments[0], "L")
            case 80:
                self._qr_data = arguments[1:]
            case 81:
                data = self._qr_data.decode("utf-8")
                self._place(draw_written_qr(data, self._qr_size, level=self._qr_level))
                self._y += 4
                self._roll.qr.append(data)
            case _:
                self.errors.append(f"unknown QR function {function}")
        return end, b""

    def _raster(self) -> tuple[int, bytes] | None:
        pending = self._pending
        if len(pending) < 8:
            return None
        stride, rows = int.from_bytes(pending[4:6], "little"), int.from_bytes(pending[6:8], "little")
        end = 8 + stride * rows
        if len(pending) < end:
            return None
        if pending[2:4] != b"0\x00" or not stride * rows:
            self.errors.append(f"raster mode {pending[2:4]!r}")
            return end, b""
        data = bytes(byte ^ 0xFF for byte in pending[8:end])
        self._place(Image.frombytes("1", (stride * 8, rows), data))
        return end, b""

    def _cut(self) -> tuple[int, bytes] | None:
        if len(self._pending) < 3:
            return None
        used = 4 if self._pending[2] in (65, 66) else 3
        if len(self._pending) < used:
            return None
        self._finish()
        return used, b""

    def _feed_out(self, lines: int) -> None:
        """Take a feed of four lines or more without a cutter as the end of a label, as a hand tears there."""
        if lines >= 4:
            self._finish()

    def _finish(self) -> None:
        if self._line:
            self._end_line()
        roll, length = self._roll, min(_ROLL_DOTS, max(8, self._y))
        is_blank = self._y == 0 or roll.image.crop((0, 0, roll.image.width, length)).getextrema() == (255, 255)
        self._new_roll()
        if is_blank or self.is_out_of_paper or self.is_lid_open:
            return
        roll.image = roll.image.crop((0, 0, roll.image.width, length))
        self._printed(finish_page(roll))

    def _real_time(self, kind: int) -> bytes:
        is_offline = self.is_out_of_paper or self.is_lid_open
        answers = {
            1: 0x12 | (0x08 if is_offline else 0),
            2: 0x12 | (0x04 if self.is_lid_open else 0) | (0x20 if self.is_out_of_paper else 0),
            3: 0x12,
            4: 0x12 | (0x6C if self.is_out_of_paper else 0),
        }
        return bytes([answers.get(kind, 0x12)])


def _code128_words(data: bytes) -> tuple[int, ...] | None:
    """Return the code words GS k 73 data stands for: {B text, {C pairs; None when a printer would refuse it."""
    words: list[int] = []
    mode = b""
    position = 0
    while position < len(data):
        if data[position : position + 1] == b"{" and data[position + 1 : position + 2] in (b"B", b"C"):
            asked = data[position + 1 : position + 2]
            words.append((104 if asked == b"B" else 105) if not words else (100 if asked == b"B" else 99))
            mode = asked
            position += 2
            continue
        if data[position : position + 2] == b"{{" and mode == b"B":
            position += 1
        byte = data[position]
        if (mode == b"C" and byte > 99) or (mode == b"B" and not 32 <= byte < 127) or not mode:
            return None
        words.append(byte if mode == b"C" else byte - 32)
        position += 1
    if len(words) < 2:
        return None
    check = (words[0] + sum(index * word for index, word in enumerate(words))) % 103
    return (*words, check, 106)


def _read_words(words: tuple[int, ...]) -> str:
    text, in_set_c = "", words[0] == 105
    for word in words[1:-2]:
        if in_set_c and word < 100:
            text += f"{word:02d}"
        elif word == 99 and not in_set_c:
            in_set_c = True
        elif word == 100 and in_set_c:
            in_set_c = False
        else:
            text += chr(word + 32)
    return text
