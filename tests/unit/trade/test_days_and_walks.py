"""Business days, the walk, search, the carry table."""

from __future__ import annotations

import pytest

from trade import kinds
from trade.calendar import (
    MarketCalendar,
    add_days,
    business_day,
    comes_back_on,
    day_starts_ms,
    days_between,
    first_open_day,
    is_day,
    next_open_day,
    weekday,
)
from trade.carry import carry_targets, document_kind
from trade.kinds import Answer
from trade.search import find, match_rank, search_key
from trade.walk import StallPlace, floor_level, natural_key, read_stall_id, walk_key

SHANGHAI = MarketCalendar()
HOUR_MS = 3_600_000
MAY_1_MS = 1_777_564_800_000
"""2026-05-01 00:00 in Shanghai."""


def test_d22_the_business_day_starts_the_evening_before() -> None:
    starts_ms = day_starts_ms("2026-05-01", SHANGHAI)
    assert business_day(starts_ms, SHANGHAI) == "2026-05-01"
    assert business_day(starts_ms - 1, SHANGHAI) == "2026-04-30"
    assert business_day(starts_ms + 24 * HOUR_MS - 1, SHANGHAI) == "2026-05-01"
    assert MAY_1_MS - starts_ms == 6 * HOUR_MS


def test_d22_a_market_that_starts_at_midnight() -> None:
    plain = MarketCalendar(day_starts_minutes=0, utc_offset_minutes=0)
    assert business_day(0, plain) == "1970-01-01"
    assert business_day(-1, plain) == "1969-12-31"
    assert day_starts_ms("1970-01-02", plain) == 24 * HOUR_MS


def test_d22_e28_a_clock_a_day_off_is_another_day_and_nothing_else() -> None:
    starts_ms = day_starts_ms("2026-05-01", SHANGHAI)
    assert business_day(starts_ms + 24 * HOUR_MS, SHANGHAI) == "2026-05-02"


def test_d22_rest_days_and_closures_are_passed_over() -> None:
    assert weekday("2026-05-04") == 0
    market = MarketCalendar(rest_weekdays=frozenset({6}), closures=frozenset({"2026-05-04"}))
    assert next_open_day("2026-05-02", market) == "2026-05-05"
    assert first_open_day("2026-05-02", market) == "2026-05-02"
    assert next_open_day("2026-05-02", market, closed_days=frozenset({"2026-05-05"})) == "2026-05-06"
    assert next_open_day("2026-05-01", MarketCalendar(rest_weekdays=frozenset(range(7)))) == "2026-05-02"


@pytest.mark.parametrize(
    ("answer", "on_day", "comes_back"),
    [
        (Answer.THIS_AFTERNOON, None, "2026-04-30"),
        (Answer.TOMORROW, None, "2026-05-01"),
        (Answer.STALL_CLOSED, None, "2026-05-01"),
        (Answer.ON_DAY, "2026-05-03", "2026-05-03"),
        (Answer.ON_DAY, None, "2026-05-01"),
        (Answer.ON_DAY, "2026-04-01", "2026-05-01"),
        (Answer.ON_DAY, "2026-99-99", "2026-05-01"),
        (Answer.ON_DAY, "9999-12-31", "2026-05-01"),
        (Answer.OUT_OF_STOCK, None, None),
        (Answer.UNSURE, "2026-05-03", None),
    ],
)
def test_r50_d6_when_an_answered_task_comes_back(answer: Answer, on_day: str | None, comes_back: str | None) -> None:
    assert comes_back_on(answer, today="2026-04-30", on_day=on_day, market=SHANGHAI) == comes_back


def test_days_are_counted_across_months_and_leap_years() -> None:
    assert (add_days("2028-02-28", 1), add_days("2027-02-28", 1), add_days("2026-12-31", 1)) == (
        "2028-02-29",
        "2027-03-01",
        "2027-01-01",
    )
    assert days_between("2026-04-30", "2026-05-02") == 2
    assert (is_day("2026-02-29"), is_day("2028-02-29"), is_day("2026-13-01"), is_day("today")) == (
        False,
        True,
        False,
        False,
    )


def stall(floor: str, number: str, *, market: str = "国大", aisle: str = "") -> StallPlace:
    return StallPlace(market=market, floor=floor, stall=number, aisle=aisle)


def test_r41_the_walk_goes_by_floor_aisle_and_stall_as_people_read_numbers() -> None:
    places = [
        stall("2F", "10"),
        stall("2F", "9"),
        stall("B1", "1"),
        stall("1F", "5", aisle="B"),
        stall("1F", "7", aisle="A"),
    ]
    order = sorted(places, key=walk_key)
    assert [(place.floor, place.stall) for place in order] == [
        ("B1", "1"), ("1F", "7"), ("1F", "5"), ("2F", "9"), ("2F", "10"),
    ]  # fmt: skip


def test_d5_the_walk_starts_from_where_the_picker_is() -> None:
    places = [
        stall("1F", "1"),
        stall("3F", "300"),
        stall("3F", "320"),
        stall("3F", "315"),
        stall("1F", "1", market="万佳"),
        stall("2F", "2"),
    ]
    order = sorted(places, key=lambda place: walk_key(place, stall("3F", "315")))
    assert [(place.market, place.floor, place.stall) for place in order] == [
        ("国大", "3F", "315"),
        ("国大", "3F", "320"),
        ("国大", "3F", "300"),
        ("国大", "2F", "2"),
        ("国大", "1F", "1"),
        ("万佳", "1F", "1"),
    ]


@pytest.mark.parametrize(
    ("floor", "level"),
    [
        ("3F", 3),
        ("F2", 2),
        ("三楼", 3),
        ("B1", -1),
        ("负一楼", -1),
        ("-2F", -2),
        ("地下1层", -1),
        ("", 1),
        ("大厅", 10_000),
    ],
)
def test_r41_floors_as_people_write_them(floor: str, level: int) -> None:
    assert floor_level(floor) == level


def test_stall_ids_are_read_back() -> None:
    assert read_stall_id("stall:国大/3F/A/1") == stall("3F", "A/1")
    assert read_stall_id("stall:国大//315") == stall("", "315")
    assert (read_stall_id("task:1"), read_stall_id("stall:国大")) == (None, None)
    assert natural_key("A2") < natural_key("A10")


def test_r41_search_finds_by_initials_digits_and_characters() -> None:
    rows = [
        (search_key(["国大 3F-315", "8821#", "黑色"], ["gd", "hs"]), "first"),
        (search_key(["万佳 B1-203", "315-9", "白色"], ["wj", "bs"]), "second"),
    ]
    assert find("gd", rows) == ["first"]
    assert find("3f315", rows) == ["first"]
    assert find("315", rows) == ["second", "first"], "the beginning of a text is better than its middle"
    assert find("白色 万佳", rows) == ["second"]
    assert find("ＷＪ", rows) == ["second"]
    assert find("", rows) == ["first", "second"]
    assert find("zz", rows) == []
    assert match_rank("黑色", rows[0][0]) == 0


def test_carry_a_purchase_reaches_the_warehouse_and_a_bag_its_trip() -> None:
    assert "warehouse" in carry_targets(kinds.PieceBought.KIND)
    assert "warehouse" in carry_targets(kinds.TaskAssigned.KIND)
    assert carry_targets(kinds.PieceBagged.KIND) == {"trip"}
    assert carry_targets(kinds.ScannedIn.KIND) == {"route"}
    assert "market" in carry_targets(kinds.TaskAnswered.KIND)
    assert carry_targets(kinds.WaybillObtained.KIND) == frozenset(), (
        "buyers' data never leaves the warehouse's document (D18)"
    )
    assert carry_targets("unknown.kind") == frozenset()


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ("route/2026-05-01-101", "route"),
        ("route/2026-05-01-trip-2", "trip"),
        ("warehouse/W1/1", "warehouse"),
        ("market/国大/1", "market"),
        ("device/101/1", "device"),
        ("route/", None),
        ("other/1", None),
    ],
)
def test_document_names_tell_their_kind(document: str, kind: str | None) -> None:
    assert document_kind(document) == kind
