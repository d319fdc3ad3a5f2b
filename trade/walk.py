"""Sort a day's stalls into one walk, starting where the picker is.

The picker stays in his market, finishes the floor he is on from his stall onwards, then takes the nearest floors, aisle by
aisle. Names are compared as people read them: `3F-9` before `3F-10`, `B1` and 负一楼 below `1F`.
Pure. Rules R41, D5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from trade.product_code import stall_id

NaturalKey = tuple[tuple[int, int, str], ...]
WalkKey = tuple[bool, str, int, int, str, int, NaturalKey, NaturalKey]

_NO_FLOOR: Final = 10_000
"""A floor whose name tells no number is walked last."""
_BELOW: Final = re.compile(r"(?:^|[^A-Za-z])(?:B|-|负|地下)\s*(\d+|[一二三四五])", re.IGNORECASE)
_ABOVE: Final = re.compile(r"(\d+)|([一二三四五六七八九十])\s*[楼层]")
_CHINESE: Final = {digit: number for number, digit in enumerate("一二三四五六七八九十", start=1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class StallPlace:
    """Where a stall stands; `aisle` may be empty."""

    market: str
    floor: str
    stall: str
    aisle: str = ""

    @property
    def stall_id(self) -> str:
        return stall_id(self.market, self.floor, self.stall)


def walk_key(place: StallPlace, here: StallPlace | None = None) -> WalkKey:
    """Return the sort key of a stall in the walk that starts at `here`; without `here`, from the lowest floor up.

    On the picker's own floor the stalls behind him come after those ahead of him.
    """
    level = floor_level(place.floor)
    away = here is not None and place.market != here.market
    if here is None or away:
        distance, behind = 0, 0
    else:
        distance = abs(level - floor_level(here.floor))
        stands = (natural_key(place.aisle), natural_key(place.stall))
        behind = int(distance == 0 and stands < (natural_key(here.aisle), natural_key(here.stall)))
    return (
        away,
        place.market,
        distance,
        level,
        place.floor,
        behind,
        natural_key(place.aisle),
        natural_key(place.stall),
    )


def read_stall_id(subject: str) -> StallPlace | None:
    """`stall:market/floor/stall` -> its place, None when it is no stall's id. A stall may hold slashes, market and floor do not."""
    head, _, rest = subject.partition(":")
    parts = rest.split("/", 2)
    if head != "stall" or len(parts) != 3:
        return None
    return StallPlace(market=parts[0], floor=parts[1], stall=parts[2])


def floor_level(floor: str) -> int:
    """`3F` -> 3, `B1` or 负一楼 -> -1, an unknown name -> far away; the ground floor's empty name is 1."""
    text = floor.strip()
    if not text:
        return 1
    below = _BELOW.search(text)
    if below:
        return -_number(below[1])
    above = _ABOVE.search(text)
    if above:
        return _number(above[1] or above[2])
    return _NO_FLOOR


def natural_key(text: str) -> NaturalKey:
    """Return a key that compares runs of digits as numbers: `A2` < `A10`."""
    parts = re.findall(r"[0-9]{1,15}|[^0-9]+", text)
    return tuple((0, int(part), "") if part[0] in "0123456789" else (1, 0, part.casefold()) for part in parts)


def _number(text: str) -> int:
    return _CHINESE[text] if text in _CHINESE else min(int(text), _NO_FLOOR - 1)
