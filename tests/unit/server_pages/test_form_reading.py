"""What people type: amounts, days, counts, cells; telling facts of any shape."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from server.pages.form_reading import read_count, read_day, read_yuan
from server.pages.frame import ago, csv_cell, local_path, yuan
from server.pages.names import Names
from server.pages.platform_people import read_cells
from server.pages.telling import tell_fact
from sync_core.errors import RefusedError
from trade.kinds import BY_KIND


@pytest.mark.parametrize(
    ("text", "fen"),
    [("48.5", 4850), ("48", 4800), ("0.01", 1), ("１，０００．５０", 100050), ("¥65元", 6500), (" 3 ", 300)],
)
def test_amounts_become_whole_fen(text: str, fen: int) -> None:
    assert read_yuan(text, fen_max=10**9) == fen


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-5",
        "1.234",
        "1e9",
        "abc",
        "0x10",
        "99999999999",
        "1.",
        ".5",
        "NaN",
        "1 2",
        "48,5",
        "48，50",
        "1,0000",
        "1,23,456",
    ],
)
def test_absurd_amounts_are_refused(text: str) -> None:
    with pytest.raises(RefusedError):
        read_yuan(text, fen_max=10**9, fen_min=0)


def test_the_bounds_of_an_amount_are_inclusive() -> None:
    assert read_yuan("10.00", fen_max=1000, fen_min=1000) == 1000
    for text in ("10.01", "9.99"):
        with pytest.raises(RefusedError):
            read_yuan(text, fen_max=1000, fen_min=1000)


@given(some.integers(0, 10**10))
def test_an_amount_shown_reads_back(fen: int) -> None:
    assert read_yuan(yuan(fen), fen_max=10**10) == fen


@pytest.mark.parametrize("text", ["2026-02-30", "tomorrow", "", "2026-1-1", "11/23/2026"])
def test_a_day_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(RefusedError):
        read_day(text)


def test_days_and_counts() -> None:
    assert read_day("2026/11/23") == "2026-11-23"
    assert read_count("１２", at_most=12) == 12
    for text in ("13", "-1", "", "1.5", "9" * 40):
        with pytest.raises(RefusedError):
            read_count(text, at_most=12)


def test_cells_are_named_or_ranged() -> None:
    assert read_cells("A01-A03, B1 Ｃ２") == ["A01", "A02", "A03", "B1", "C2"]
    assert read_cells("A9-A11") == ["A9", "A10", "A11"]
    for text in ("A3-A1", "A-Z", "A1-A9999", "", "A1-B2"):
        with pytest.raises(RefusedError):
            read_cells(text)


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil", "evil", "", "/a\r\nSet-Cookie: x", "/" + "a" * 600]
)
def test_only_our_own_paths_are_followed(path: str) -> None:
    assert local_path(path) == "/"


def test_a_cell_of_a_spreadsheet_runs_nothing() -> None:
    assert csv_cell("=HYPERLINK(1)") == "'=HYPERLINK(1)"
    assert csv_cell("充值") == "充值"


def test_time_ago_names_the_largest_unit() -> None:
    assert [ago(0, ms, "zh") for ms in (0, 59_999, 60_000, 7_200_000, 86_400_000 * 3)] == [
        "刚才",
        "刚才",
        "1 分钟前",
        "2 小时前",
        "3 天前",
    ]
    assert ago(None, 5, "en") == "never"
    assert ago(10_000, 5, "en") == "just now", "a clock ahead is no negative age"


json_values = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = (
    "price_fen",
    "cap_fen",
    "means",
    "outcome",
    "reason",
    "answer",
    "cell",
    "owner",
    "charged_fen",
    "excess_fen",
    "market",
    "on_day",
)


# Inputs are drawn slowly on a busy machine; that says nothing about ours.
@given(some.sampled_from([*BY_KIND, "new.kind"]), some.dictionaries(some.sampled_from(FIELDS), json_values))
def test_telling_a_fact_never_fails(kind: str, body: dict[str, object]) -> None:
    for lang in ("zh", "en"):
        assert isinstance(tell_fact(kind, body, Names(lang=lang)), str)
