"""Bytes of a CSV file -> rows of clean text. Shops export GBK, save as UTF-8, and guard long numbers as `="123"` or `'123`.

Nothing is guessed silently: a file that is no table, or whose long numbers a spreadsheet already rounded, is refused with the fix.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from server.orders.model import OrderFileError, Problem

FILE_BYTES_MAX = 20 * 1024 * 1024
ROWS_MAX = 50_000
_SPREADSHEET_NUMBER = re.compile(r"^\d(?:\.\d+)?[eE]\+?\d+$")
_GUARDED = re.compile(r'^="?(.*?)"?$', re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: {heading: clean text}, and its number counted from 1 with the heading row."""

    number: int
    cells: dict[str, str]

    def __getitem__(self, heading: str) -> str:
        return self.cells.get(heading, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A file as a table: its name, headings, rows."""

    name: str
    headings: tuple[str, ...]
    rows: tuple[Row, ...]


def read_table(name: str, data: bytes) -> Table:
    """Return a file's table.

    Raises:
        OrderFileError: it is too large, no text we know, no table, or empty.
    """
    if len(data) > FILE_BYTES_MAX:
        raise _refuse(
            "orders.too_large", name, "文件太大", "the file is over 20 MB", "请分几次导出", "export it in several parts"
        )
    text = _decode(name, data)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=False))
    except csv.Error as error:
        raise _refuse(
            "orders.not_a_table", name, f"不是 CSV 表格（{error}）", f"this is no CSV table ({error})",
            "请重新从店铺后台导出", "export it again from the shop's back office",
        ) from error  # fmt: skip
    filled = [(number, line) for number, line in enumerate(lines, 1) if any(cell.strip() for cell in line)]
    if not filled:
        raise _refuse("orders.empty", name, "文件是空的", "the file is empty", "请重新导出", "export it again")
    if len(filled) > ROWS_MAX:
        raise _refuse(
            "orders.too_large", name, "行数太多", "too many rows", "请分几次导出", "export it in several parts"
        )
    headings = tuple(_clean(cell) for cell in filled[0][1])
    if len([heading for heading in headings if heading]) < 2:
        raise _refuse(
            "orders.not_a_table", name, "不是 CSV 表格", "this is no CSV table",
            "请重新从店铺后台导出 CSV", "export a CSV again from the shop's back office",
        )  # fmt: skip
    rows = tuple(Row(number=number, cells=_cells(headings, line)) for number, line in filled[1:])
    return Table(name=name, headings=headings, rows=rows)


def _cells(headings: tuple[str, ...], line: list[str]) -> dict[str, str]:
    return {heading: _clean(cell) for heading, cell in zip(headings, line, strict=False) if heading}


def _clean(cell: str) -> str:
    text = cell.strip().strip("\ufeff\t").strip()
    guarded = _GUARDED.match(text) if text.startswith("=") else None
    if guarded is not None:
        return guarded[1].strip()
    return text[1:].strip() if text.startswith("'") else text


def is_spreadsheet_number(text: str) -> bool:
    """True for `3.51E+18`: a spreadsheet rounded a long number, its digits are lost."""
    return _SPREADSHEET_NUMBER.match(text) is not None


def _decode(name: str, data: bytes) -> str:
    for encoding in _candidates(data):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\x00" not in text and not any(ord(letter) < 9 or 13 < ord(letter) < 32 for letter in text[:2000]):
            return text
    raise _refuse(
        "orders.encoding", name, "读不出文字（编码不是 GBK 或 UTF-8）", "its text is neither GBK nor UTF-8",
        "请重新导出，或另存为 CSV UTF-8", "export it again, or save it as CSV UTF-8",
    )  # fmt: skip


def _candidates(data: bytes) -> Iterator[str]:
    if data.startswith(codecs.BOM_UTF8):
        yield "utf-8-sig"
        return
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        yield "utf-16"
        return
    yield from ("utf-8", "gb18030")


def _refuse(code: str, name: str, zh: str, en: str, fix_zh: str, fix_en: str) -> OrderFileError:
    problem = Problem(code=code, file=name, row=0, column="", zh=zh, en=en, fix_zh=fix_zh, fix_en=fix_en)
    return OrderFileError([problem])
