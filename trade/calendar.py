"""Business days of a market: which day it is, when the next one is, and when a promised garment returns to the list.

These markets work through the night, so their day starts the evening before (D22). Days are `YYYY-MM-DD`; the arithmetic is
Howard Hinnant's (days from civil), because nothing here may ask a clock or a zone table: the zone's offset is passed in, the
one in force at the instant asked about. Pure. Instants are whole milliseconds since 1970 UTC. Rules R50, R70, D6, D22, E35, E36.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from trade.kinds import Answer

MINUTE_MS: Final = 60_000
DAY_MS: Final = 24 * 60 * MINUTE_MS
POSTPONEMENTS_MAX: Final = 3
"""The third "tomorrow" in a row stops the task and tells the merchant (D6, E36)."""

DAYS_AHEAD_MAX: Final = 400
"""A promise beyond a year is a slip of the finger: the task comes back on the next open day."""

_DAY: Final = re.compile(r"^(\d{4})-(\d\d)-(\d\d)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketCalendar:
    """A market's days. Minutes are counted from midnight; a start of 18:00 belongs to the next day's business."""

    utc_offset_minutes: int = 8 * 60
    """Asia/Shanghai, which knows no summer time; elsewhere the caller passes the offset in force."""
    day_starts_minutes: int = 18 * 60
    """The business day of a date starts at this minute of the evening before; 0: at its own midnight."""
    rest_weekdays: frozenset[int] = frozenset()
    """0 is Monday."""
    closures: frozenset[str] = frozenset()
    """Dates on which the market is closed."""


def business_day(at_ms: int, market: MarketCalendar) -> str:
    """Return the business day an instant belongs to."""
    local_ms = at_ms + market.utc_offset_minutes * MINUTE_MS
    number, of_day_ms = divmod(local_ms, DAY_MS)
    starts_ms = market.day_starts_minutes * MINUTE_MS
    if starts_ms and of_day_ms >= starts_ms:
        number += 1
    return day_text(number)


def day_starts_ms(day: str, market: MarketCalendar) -> int:
    """Return the instant at which a business day starts; `business_day` of it is `day`, one millisecond earlier it is not."""
    midnight_ms = day_number(day) * DAY_MS - market.utc_offset_minutes * MINUTE_MS
    return midnight_ms - DAY_MS + market.day_starts_minutes * MINUTE_MS if market.day_starts_minutes else midnight_ms


def is_open(day: str, market: MarketCalendar, *, closed_days: frozenset[str] = frozenset()) -> bool:
    """True when the market works that day; `closed_days` are a stall's own."""
    return weekday(day) not in market.rest_weekdays and day not in market.closures and day not in closed_days


def next_open_day(day: str, market: MarketCalendar, *, closed_days: frozenset[str] = frozenset()) -> str:
    """Return the first open day after `day`; a market that never opens answers with the day after."""
    return first_open_day(add_days(day, 1), market, closed_days=closed_days)


def first_open_day(day: str, market: MarketCalendar, *, closed_days: frozenset[str] = frozenset()) -> str:
    """Return `day` if it is open, else the next open one."""
    for ahead in range(DAYS_AHEAD_MAX):
        candidate = add_days(day, ahead)
        if is_open(candidate, market, closed_days=closed_days):
            return candidate
    return day


def comes_back_on(
    answer: Answer, *, today: str, on_day: str | None, market: MarketCalendar, closed_days: frozenset[str] = frozenset()
) -> str | None:
    """Return the day on which a task answered this way returns to the list, None when it does not by itself (D6)."""
    match answer:
        case Answer.THIS_AFTERNOON:
            return today
        case Answer.TOMORROW | Answer.STALL_CLOSED:
            return next_open_day(today, market, closed_days=closed_days)
        case Answer.ON_DAY if (
            on_day is not None and is_day(on_day) and 0 < days_between(today, on_day) <= DAYS_AHEAD_MAX
        ):
            return first_open_day(on_day, market, closed_days=closed_days)
        case Answer.ON_DAY:
            return next_open_day(today, market, closed_days=closed_days)
        case _:
            return None


def judge_postponement(
    *, comes_back: str, postponed_before: int, ship_by: str | None, stall_was_closed: bool = False
) -> Literal["again", "stopped", "past_ship_by"]:
    """Return whether a dated answer re-enters by itself.

    Past the shop's ship-by day it never does unasked (E35); the third postponement stops the task (E36); days on which the
    stall or the market was closed do not count.
    """
    if ship_by is not None and comes_back > ship_by:
        return "past_ship_by"
    if not stall_was_closed and postponed_before + 1 >= POSTPONEMENTS_MAX:
        return "stopped"
    return "again"


def add_days(day: str, count: int) -> str:
    """Return the day `count` days later."""
    return day_text(day_number(day) + count)


def days_between(earlier: str, later: str) -> int:
    """Return how many days lie between two days; negative when they are the other way round."""
    return day_number(later) - day_number(earlier)


def weekday(day: str) -> int:
    """0 is Monday. 1970-01-01 was a Thursday."""
    return (day_number(day) + 3) % 7


def is_day(text: str) -> bool:
    """True for a date that exists."""
    match = _DAY.match(text)
    return match is not None and int(match[1]) > 0 and day_text(_number(match)) == text


def day_number(day: str) -> int:
    """Return the days since 1970-01-01.

    Raises:
        ValueError: `day` is no `YYYY-MM-DD`.
    """
    match = _DAY.match(day)
    if match is None:
        raise ValueError(f"{day[:20]!r} is no day")
    return _number(match)


def day_text(number: int) -> str:
    """Return the date of a day number."""
    shifted = number + 719_468
    era, of_era = divmod(shifted, 146_097)
    year_of_era = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_index = (5 * of_year + 2) // 153
    month = month_index + 3 if month_index < 10 else month_index - 9
    year = year_of_era + era * 400 + (month <= 2)
    return f"{year:04d}-{month:02d}-{of_year - (153 * month_index + 2) // 5 + 1:02d}"


def _number(match: re.Match[str]) -> int:
    year, month, day = int(match[1]), int(match[2]), int(match[3])
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + of_year - 719_468
