"""A TSPL printer without hardware: it really parses the bytes and burns them into a 1-bit page.

Strict on purpose: a command it does not know, a wrong number of arguments or a drawing off the paper is recorded in
`errors`, because a real printer would skip it in silence. `feed` takes bytes in any cuts. State as in a real one: the
setup and the page live through a broken link, a half-sent line does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from PIL import Image

from printer.raster import draw_text
from printer.virtual.page import Page, Printed, blank_page, draw_written_code128, draw_written_qr, finish_page

DOTS_PER_MM: Final = 8
PENDING_BYTES_MAX: Final = 1_000_000
_STATUS_NO_PAPER: Final = 0x04
_STATUS_LID: Final = 0x01
_BITMAP: Final = re.compile(rb"BITMAP (\d+),(\d+),(\d+),(\d+),(\d+),")
_FONTS: Final = {"TSS16.BF2": 16, "TSS20.BF2": 20, "TSS24.BF2": 24, "TSS32.BF2": 32, "TSS48.BF2": 48}
_IGNORED: Final = ("SET", "DENSITY", "SPEED", "DIRECTION", "REFERENCE", "GAP", "BLINE", "CODEPAGE", "OFFSET", "SHIFT")


class VirtualTspl:
    """One printer; `printed` is called for every label that comes out."""

    def __init__(self, printed: Callable[[Printed], None]) -> None:
        self._printed = printed
        self._pending = b""
        self._page: Page | None = None
        self._size = (0, 0)
        self.is_out_of_paper = False
        self.is_lid_open = False
        self.errors: list[str] = []

    def feed(self, received: bytes) -> bytes:
        """Take bytes as they arrive and return what the printer answers."""
        self._pending += received
        answers = b""
        while True:
            answer = self._step()
            if answer is None:
                break
            answers += answer
        if len(self._pending) > PENDING_BYTES_MAX:
            self.errors.append("a line without end")
            self._pending = b""
        return answers

    def drop_link(self) -> None:
        """Forget a half-sent line, as a printer does when its link breaks."""
        self._pending = b""

    def _step(self) -> bytes | None:
        """Work off one command; None when it is not whole yet."""
        pending = self._pending
        if pending.startswith(b"\x1b"):
            if len(pending) < 3:
                return None
            self._pending = pending[3:]
            return self._answer(pending[:3])
        if b"BITMAP ".startswith(pending[:7]):
            return self._step_bitmap()
        # A query may cut into a line only between commands; inside quotes 0x1b is data we never send.
        end = pending.find(b"\n")
        if end < 0:
            return None
        self._pending = pending[end + 1 :]
        self._run(pending[:end].rstrip(b"\r"))
        return b""

    def _step_bitmap(self) -> bytes | None:
        head = _BITMAP.match(self._pending)
        if head is None:
            if len(self._pending) > 64:
                self.errors.append(f"BITMAP with a broken head: {self._pending[:64]!r}")
                self._pending = b""
            return None
        x, y, stride, height, mode = (int(part) for part in head.groups())
        end = head.end() + stride * height
        if len(self._pending) < end:
            return None
        data = self._pending[head.end() : end]
        self._pending = self._pending[end:]
        if mode not in (0, 1) or not stride * height > 0:
            self.errors.append(f"BITMAP mode {mode}, {stride} x {height}")
            return b""
        # A 0 bit burns, and in Pillow's mode "1" 0 is black: the bytes are the picture.
        picture = Image.frombytes("1", (stride * 8, height), data)
        page = self._need_page("BITMAP")
        if page is not None:
            self._check_inside("BITMAP", x, y, stride * 8 - 7, height)
            if mode == 0:
                page.image.paste(picture, (x, y))
            else:
                page.burn(picture, x, y)
        return b""

    def _answer(self, query: bytes) -> bytes:
        if query != b"\x1b!?":
            self.errors.append(f"unknown query {query!r}")
            return b""
        flags = (_STATUS_NO_PAPER if self.is_out_of_paper else 0) | (_STATUS_LID if self.is_lid_open else 0)
        return bytes([flags])

    def _run(self, line: bytes) -> None:
        if not line:
            return
        name, _, rest = line.partition(b" ")
        command = name.decode("ascii", "replace")
        try:
            match command:
                case "SIZE":
                    sides = re.fullmatch(rb"([\d.]+) mm,([\d.]+) mm", rest)
                    if sides is None:
                        raise ValueError("sizes are millimetres here")
                    self._size = (round(float(sides[1]) * DOTS_PER_MM), round(float(sides[2]) * DOTS_PER_MM))
                case "CLS":
                    self._page = blank_page(*self._size) if min(self._size) > 0 else None
                case "TEXT":
                    self._text(_arguments(rest, 7))
                case "BARCODE":
                    self._barcode(_arguments(rest, 9))
                case "QRCODE":
                    self._qrcode(_arguments(rest, 7))
                case "BAR":
                    x, y, width, height = (int(part) for part in _arguments(rest, 4))
                    self._draw("BAR", Image.new("1", (width, height), 0), x, y)
                case "BOX":
                    self._box([int(part) for part in _arguments(rest, 5)])
                case "PRINT":
                    self._print([int(part) for part in rest.split(b",")])
                case _ if command in _IGNORED:
                    pass
                case _:
                    raise ValueError("unknown command")
        except (ValueError, UnicodeDecodeError) as error:
            self.errors.append(f"{line[:80]!r}: {error}")

    def _text(self, arguments: list[bytes]) -> None:
        x, y, times_x, times_y = (int(arguments[index]) for index in (0, 1, 4, 5))
        dots = _FONTS.get(arguments[2].decode("ascii"))
        if dots is None or arguments[3] != b"0" or times_x != times_y:
            raise ValueError("unknown font, rotation or stretched text")
        text = arguments[6].decode("gb18030")
        picture = draw_text(text, height_dots=dots)  # a bitmap font: larger sizes are the same dots, multiplied
        picture = picture.resize((picture.width * times_x, picture.height * times_y), Image.Resampling.NEAREST)
        page = self._draw("TEXT", picture, x, y)
        if page is not None:
            page.add_text(text)

    def _barcode(self, arguments: list[bytes]) -> None:
        x, y, height, readable, rotation, narrow, wide = (int(arguments[index]) for index in (0, 1, 3, 4, 5, 6, 7))
        if arguments[2] != b"128" or readable or rotation or narrow != wide:
            raise ValueError("only 128, upright, without its own text")
        data = arguments[8].decode("ascii")
        page = self._draw("BARCODE", draw_written_code128(data, narrow, height), x, y)
        if page is not None:
            page.codes.append(data)

    def _qrcode(self, arguments: list[bytes]) -> None:
        x, y, cell, rotation = (int(arguments[index]) for index in (0, 1, 3, 5))
        level = arguments[2].decode("ascii")
        if level not in "LMQH" or arguments[4] != b"A" or rotation or not 1 <= cell <= 10:
            raise ValueError("error correction L, M, Q or H, mode A, cell 1 to 10")
        data = arguments[6].decode("ascii")
        page = self._draw("QRCODE", draw_written_qr(data, cell, level=level), x, y)
        if page is not None:
            page.qr.append(data)

    def _box(self, numbers: list[int]) -> None:
        left, top, right, bottom, thickness = numbers
        if not (left < right and top < bottom and thickness > 0):
            raise ValueError("a box runs from top left to bottom right")
        frame = Image.new("1", (right - left + 1, bottom - top + 1), 0)
        frame.paste(1, (thickness, thickness, frame.width - thickness, frame.height - thickness))
        self._draw("BOX", frame, left, top)

    def _print(self, numbers: list[int]) -> None:
        if not 1 <= len(numbers) <= 2 or not all(1 <= number <= 999 for number in numbers):
            raise ValueError("PRINT sets,copies")
        page = self._need_page("PRINT")
        if page is None or self.is_out_of_paper or self.is_lid_open:
            return  # with REPRINT off the label is lost, and the status says why
        for _ in range(numbers[0] * (numbers[1] if len(numbers) == 2 else 1)):
            self._printed(finish_page(page))

    def _draw(self, name: str, picture: Image.Image, x: int, y: int) -> Page | None:
        page = self._need_page(name)
        if page is not None:
            self._check_inside(name, x, y, picture.width, picture.height)
            page.burn(picture, x, y)
        return page

    def _need_page(self, name: str) -> Page | None:
        if self._page is None:
            self.errors.append(f"{name} before SIZE and CLS")
        return self._page

    def _check_inside(self, name: str, x: int, y: int, width: int, height: int) -> None:
        if x + width > self._size[0] + 1 or y + height > self._size[1] + 1:
            self.errors.append(f"{name} at {x},{y} ({width} x {height} dots) runs off the label")


def _arguments(rest: bytes, count: int) -> list[bytes]:
    """Return the arguments of a line; commas inside quotes belong to the text."""
    found = re.findall(rb'"([^"]*)"|([^,"]+)', rest)
    arguments = [quoted or plain for quoted, plain in found]
    if len(arguments) != count:
        raise ValueError(f"{count} arguments expected, {len(arguments)} found")
    return arguments
