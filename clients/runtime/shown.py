"""How figures look on a screen: fen as yuan, instants as hh:mm, long numbers by their tail. Pure."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Final

from sync_core.errors import RefusedError
from trade.calendar import day_text

ZONE_OFFSET_MS: Final = 8 * 3_600_000
"""The markets' clock (D22): China has one zone and no summer time."""
_DAY_MS: Final = 86_400_000


def yuan(fen: int) -> str:
    """4850 -> "48.50", 4800 -> "48"."""
    sign, fen = ("-", -fen) if fen < 0 else ("", fen)
    whole, rest = divmod(fen, 100)
    return f"{sign}{whole}.{rest:02d}" if rest else f"{sign}{whole}"


def read_yuan(text: str) -> int:
    """Return fen from what a person keyed, "48.5" -> 4850.

    Raises:
        RefusedError: `price.unreadable`; no number, finer than a fen, with a sign, or with a comma that may part thousands.
    """
    if re.search(r"[,，]\d{3}\b", text):
        raise RefusedError("price.unreadable", text[:20])
    narrow = text.strip().removeprefix("¥").replace("。", ".").replace(",", ".")
    try:
        amount = Decimal(narrow)
    except InvalidOperation as error:
        raise RefusedError("price.unreadable", text[:20]) from error
    # `is_finite` keeps NaN and Infinity out; the sign test keeps "-5" and "-0" out.
    if not amount.is_finite() or amount.is_signed() or len(narrow) > 12 or "e" in narrow.lower() or "_" in narrow:
        raise RefusedError("price.unreadable", text[:20])
    fen = amount * 100
    if fen != fen.to_integral_value():
        raise RefusedError("price.unreadable", text[:20])
    return int(fen)


def clock(at_ms: int | None) -> str:
    """Return "14:02" in the market's time, or "--:--" for nothing."""
    if at_ms is None:
        return "--:--"
    minutes = (at_ms + ZONE_OFFSET_MS) % _DAY_MS // 60_000
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def day(at_ms: int) -> str:
    """Return "05-03", the date in the market's time."""
    return day_text((at_ms + ZONE_OFFSET_MS) // _DAY_MS)[5:]


def tail(number: str, count: int = 4) -> str:
    """Return the last characters of a long number, as people say it aloud."""
    return number[-count:]


def first_words(sentence: str) -> str:
    """Return what is wrong without what to do: the words before the first colon, for a place with little room."""
    return sentence.partition("：")[0].partition(": ")[0]
