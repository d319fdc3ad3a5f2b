"""Turn the contents of a Code 128 or QR symbol into modules: pure, no picture library.

Widths are counted in modules (the narrowest bar). Code 128 follows ISO/IEC 15417: code set C wherever it saves space,
which is what lets a 12-digit piece code fit a 40 mm label at two dots a module. The QR matrix comes from segno.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import segno

from printer.errors import LabelError

CODE128_QUIET_MODULES: Final = 10
QR_QUIET_MODULES: Final = 2  # ISO asks for 4; label paper is white around it and readers need 2

# Widths of bars and gaps, code word 0 to 106 (stop).
_PATTERN_TEXT: Final = (
    "212222 222122 222221 121223 121322 131222 122213 122312 132212 221213 221312 231212 112232 122132 122231 113222 "
    "123122 123221 223211 221132 221231 213212 223112 312131 311222 321122 321221 312212 322112 322211 212123 212321 "
    "232121 111323 131123 131321 112313 132113 132311 211313 231113 231311 112133 112331 132131 113123 113321 133121 "
    "313121 211331 231131 213113 213311 213131 311123 311321 331121 312113 312311 332111 314111 221411 431111 111224 "
    "111422 121124 121421 141122 141221 112214 112412 122114 122411 142112 142211 241211 221114 413111 241112 134111 "
    "111242 121142 121241 114212 124112 124211 411212 421112 421211 212141 214121 412121 111143 111341 131141 114113 "
    "114311 411113 411311 113141 114131 311141 411131 211412 211214 211232 2331112"
)
_PATTERNS: Final = tuple(_PATTERN_TEXT.split())
_START_B: Final = 104
_START_C: Final = 105
_TO_C: Final = 99
_TO_B: Final = 100
_STOP: Final = 106


def encode_code128(data: str) -> tuple[int, ...]:
    """Return the code words from start to stop, the check word included.

    Raises:
        LabelError: `data` is empty, longer than 48 characters, or holds anything but printable ASCII.
    """
    if not 1 <= len(data) <= 48 or any(not 32 <= ord(char) < 127 for char in data):
        raise LabelError(f"Code 128 takes 1 to 48 printable ASCII characters, not {data!r}")
    words: list[int] = []
    position = 0
    in_set_c = False
    while position < len(data):
        digits = _digits_from(data, position)
        # Changing to set C costs one word and saves one per pair: worth it from 4 digits at an end, 6 in the middle.
        ends_here = position == 0 or position + digits == len(data)
        wanted = digits >= (2 if in_set_c or digits == len(data) else 4 if ends_here else 6)
        if wanted and (in_set_c or position == 0 or digits % 2 == 0):
            if not in_set_c:
                words.append(_START_C if position == 0 else _TO_C)
                in_set_c = True
            words.append(int(data[position : position + 2]))
            position += 2
            continue
        if in_set_c or position == 0:
            words.append(_TO_B if position else _START_B)
            in_set_c = False
        words.append(ord(data[position]) - 32)
        position += 1
    check = (words[0] + sum(index * word for index, word in enumerate(words))) % 103
    return (*words, check, _STOP)


def draw_words(words: tuple[int, ...]) -> tuple[bool, ...]:
    """Return the modules (True burns) of whole code words, start to stop."""
    modules: list[bool] = []
    for word in words:
        for index, width in enumerate(_PATTERNS[word]):
            modules.extend([index % 2 == 0] * int(width))
    return tuple(modules)


def code128_modules(data: str) -> tuple[bool, ...]:
    """Return the modules of `data` without quiet zones. Raises LabelError as `encode_code128`."""
    return draw_words(encode_code128(data))


def qr_matrix(data: str) -> tuple[tuple[bool, ...], ...]:
    """Return the square of QR modules without a quiet zone, error correction M.

    Raises:
        LabelError: `data` is empty or longer than 300 UTF-8 bytes (a label has no room for more).
    """
    symbol = _qr(data, mask=None)
    return tuple(tuple(bool(module) for module in row) for row in symbol.matrix)


@lru_cache(maxsize=256)
def qr_side(data: str) -> int:
    """Return how many modules a side of the QR code has; quicker than drawing it, for its size depends on no mask.

    Raises:
        LabelError: as `qr_matrix`.
    """
    return len(_qr(data, mask=0).matrix)


def _qr(data: str, *, mask: int | None) -> segno.QRCode:
    if not 1 <= len(data.encode()) <= 300:
        raise LabelError(f"a QR code takes 1 to 300 bytes, not {len(data.encode())}")
    return segno.make_qr(data, error="m", boost_error=False, mask=mask, encoding=None if data.isascii() else "utf-8")


def _digits_from(data: str, position: int) -> int:
    end = position
    while end < len(data) and data[end].isdecimal():
        end += 1
    return end - position
