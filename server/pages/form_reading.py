"""Read what people type into forms: amounts, days, counts. Wrong input is refused in plain words, never guessed.

Pure. Amounts become whole fen.
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Callable
from typing import TypeVar

from pydantic import ValidationError

from sync_core.errors import RefusedError

_YUAN = re.compile(r"^(\d{1,9}|\d{1,3}(,\d{3}){1,2})(\.\d{1,2})?$")
"""A comma parts thousands and nothing else: `48,5` may mean 48.5."""

Made = TypeVar("Made")


def plain(text: str) -> str:
    """Full-width digits, letters and signs as half-width (D23), without spaces around."""
    return unicodedata.normalize("NFKC", text).strip()


def read_yuan(text: str, *, fen_max: int, fen_min: int = 0) -> int:
    """`48.5` -> 4850.

    Raises:
        RefusedError: `form.amount`: not an amount, negative, or beyond what is sensible here.
    """
    clean = plain(text).removeprefix("¥").removesuffix("元").strip()
    if not _YUAN.match(clean):
        raise RefusedError("form.amount", f"金额写成 48.5 这样：{text[:30]} / write an amount like 48.5")
    whole, _, part = clean.replace(",", "").partition(".")
    fen = int(whole) * 100 + int((part + "00")[:2])
    if not fen_min <= fen <= fen_max:
        low, high = f"{fen_min / 100:.2f}", f"{fen_max / 100:.2f}"
        raise RefusedError("form.amount", f"金额要在 {low} 到 {high} 元之间 / the amount must be {low} to {high} CNY")
    return fen


def read_day(text: str) -> str:
    """`2026-11-23` as it is.

    Raises:
        RefusedError: `form.day`.
    """
    clean = plain(text).replace("/", "-")
    try:
        return dt.date.fromisoformat(clean).isoformat()
    except ValueError:
        raise RefusedError("form.day", f"日期写成 2026-11-23 这样：{text[:30]} / write a day like 2026-11-23") from None


def read_count(text: str, *, at_most: int) -> int:
    """A whole number from 0 to `at_most`.

    Raises:
        RefusedError: `form.count`.
    """
    clean = plain(text)
    if not (clean.isascii() and clean.isdigit()) or len(clean) > 16 or int(clean) > at_most:
        raise RefusedError(
            "form.count", f"要填 0 到 {at_most} 的整数：{text[:30]} / a whole number from 0 to {at_most}"
        )
    return int(clean)


def make(model: Callable[..., Made], **fields: object) -> Made:
    """Make a command from what was read; what does not fit is refused by the field's name.

    Raises:
        RefusedError: `form.fields`.
    """
    try:
        return model(**fields)
    except ValidationError as error:
        names = "、".join(dict.fromkeys(str(problem["loc"][0]) for problem in error.errors() if problem["loc"]))
        raise RefusedError("form.fields", f"这几栏写得不对：{names} / these fields are wrong: {names}") from error
