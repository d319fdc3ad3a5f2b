"""Measure text and make it fit: shrink, wrap, cut with an ellipsis. Pure.

All printers here draw on a grid: a hanzi is one cell as wide as it is high, an ASCII character half of that. Measuring
in half cells therefore gives the same answer for a printer's built-in font, for our own raster and for the preview.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Final

# Heights built-in fonts can show at 8 dots/mm: 16 and 24 dots, and their multiples.
PRINTABLE_HEIGHTS_MM: Final = (18.0, 15.0, 12.0, 9.0, 8.0, 6.0, 4.0, 3.0, 2.0)
ELLIPSIS: Final = "…"
BOLD_EXTRA_MM: Final = 0.125


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Lines that fit, and the height they fit at."""

    lines: tuple[str, ...]
    height_mm: float


def char_halves(char: str) -> int:
    """Return 2 for a character that takes a full cell, 1 for a half one; ambiguous ones are full in Chinese fonts."""
    return 2 if unicodedata.east_asian_width(char) in "WFA" else 1


def text_halves(text: str) -> int:
    """Return the width of `text` in half cells."""
    return sum(char_halves(char) for char in text)


def text_width_mm(text: str, *, height_mm: float, bold: bool = False) -> float:
    """Return how wide `text` is when its cells are `height_mm` high."""
    return text_halves(text) * height_mm / 2 + (BOLD_EXTRA_MM if bold and text else 0.0)


def clean_text(text: str) -> str:
    """Return `text` on one line without control, format and private characters, which no printer can show."""
    spaced = "".join(" " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in text)
    kept = "".join(char for char in spaced if unicodedata.category(char) not in ("Cf", "Cs", "Co", "Cn"))
    return " ".join(kept.split())


def fit_text(
    text: str,
    *,
    width_mm: float,
    height_mm: float,
    height_mm_min: float,
    lines_max: int,
    bold: bool = False,
) -> Fitted:
    """Return `text` in at most the area of `lines_max` lines of `height_mm`, as large as it can be.

    Smaller text may take more lines in the same area. Below `height_mm_min` it is cut and ends with an ellipsis.
    """
    room_mm = width_mm - (BOLD_EXTRA_MM if bold else 0.0)
    area_mm = lines_max * height_mm
    heights = [height_mm, *(step for step in PRINTABLE_HEIGHTS_MM if height_mm_min <= step < height_mm)]
    for height in heights:
        lines = wrap_text(text, halves_max=int(room_mm * 2 / height + 1e-9))
        if len(lines) <= max(1, int(area_mm / height + 1e-9)) and "" not in lines:
            return Fitted(lines=lines, height_mm=height)
    height = heights[-1]
    halves_max = int(room_mm * 2 / height + 1e-9)
    count = max(1, int(area_mm / height + 1e-9))
    lines = wrap_text(text, halves_max=halves_max)
    kept = [*lines[: count - 1], cut_text("".join(lines[count - 1 :]), halves_max=halves_max)]
    return Fitted(lines=tuple(line for line in kept if line), height_mm=height)


def cut_text(text: str, *, halves_max: int) -> str:
    """Return `text`, or its beginning and an ellipsis, within `halves_max` half cells."""
    if text_halves(text) <= halves_max:
        return text
    kept = ""
    for char in text:
        if text_halves(kept) + char_halves(char) + text_halves(ELLIPSIS) > halves_max:
            break
        kept += char
    cut = kept.rstrip() + ELLIPSIS
    return cut if text_halves(cut) <= halves_max else ""


def wrap_text(text: str, *, halves_max: int) -> tuple[str, ...]:
    """Return lines of at most `halves_max` half cells; ASCII words stay whole when they fit a line."""
    lines: list[str] = []
    line = ""
    for word in _words(text):
        if text_halves(line + word) <= halves_max:
            line += word
            continue
        if line.strip():
            lines.append(line.rstrip())
        line = word.lstrip()
        while text_halves(line) > halves_max:
            head = _head(line, halves_max)
            if not head:
                return ("",)  # not even one character fits; the caller tries smaller or cuts
            lines.append(head)
            line = line[len(head) :]
    if line.strip():
        lines.append(line.rstrip())
    return tuple(lines)


def _words(text: str) -> list[str]:
    """Cut before every full-width character and after every space; ASCII runs stay together."""
    words: list[str] = []
    for char in text:
        starts = not words or char_halves(char) == 2 or char_halves(words[-1][-1]) == 2 or words[-1].endswith(" ")
        if starts:
            words.append(char)
        else:
            words[-1] += char
    return words


def _head(text: str, halves_max: int) -> str:
    head = ""
    for char in text:
        if text_halves(head + char) > halves_max:
            break
        head += char
    return head
