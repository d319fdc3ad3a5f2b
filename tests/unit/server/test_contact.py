"""Too long without the server, or too much: what comes back waits for a supervisor, and no word of the device decides it (REL-R10)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from server import commands as c
from server import contact
from server import schema as s
from server import schema_trade as st
from tests.floor import Phone
from tests.unit.server.day import Day, open_day
from tests.unit.server.test_revoked import CODE, parked_of

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@pytest.fixture
def day(tmp_path: Path) -> Iterator[Day]:
    day = open_day(tmp_path / "server")
    day.enrol("warehouse", "wu")
    yield day
    day.store.close()


@pytest.fixture
def phone(day: Day, tmp_path: Path) -> Iterator[Phone]:
    phone = Phone(day=day, folder=tmp_path / "ann", person="ann").enrol()
    day.orders(f"A1|{CODE}|1", f"A2|{CODE}|1", f"A3|{CODE}|1")
    day.do(c.RoutesAssign())
    phone.sync()
    yield phone
    phone.close()


def come_back(day: Day, number: int) -> None:
    """What the token request does before anything the device brings is taken."""
    with day.store.transaction() as conn:
        contact.note_return(conn, number, now_ms=day.now_ms)


def posted(day: Day) -> int:
    return len(day.all(s.entry, s.entry.c.kind == "post"))


def test_rel_r10_what_a_phone_says_after_the_end_waits_for_a_supervisor_in_its_order(day: Day, phone: Phone) -> None:
    said_ms = day.now_ms
    day.now_ms += 7 * DAY_MS + 1
    first = phone.buy("T1001-1", 6000, at_ms=said_ms)
    come_back(day, phone.number)
    phone.sync()
    assert phone.replica.waiting().actions == 0, "delivered and kept"
    assert not day.all(st.piece)
    assert posted(day) == 0
    assert "parked" in day.discrepancies()
    day.now_ms += HOUR_MS
    come_back(day, phone.number)
    second = phone.buy("T1002-1", 6000)
    phone.sync()
    assert parked_of(day, phone.number) == 2, "nothing of it counts before a person has looked"
    assert day.do(c.ParkedRelease(device=phone.number))["facts"] == 2
    assert [day.piece(code).outcome for code in (first, second)] == ["keeps", "keeps"]
    phone.buy("T1003-1", 6000)
    phone.sync()
    assert parked_of(day, phone.number) == 0
    assert posted(day) == 3


def test_rel_r10_a_phone_that_comes_back_in_time_is_believed(day: Day, phone: Phone) -> None:
    day.now_ms += 7 * DAY_MS
    code = phone.buy("T1001-1", 6000)
    come_back(day, phone.number)
    phone.sync()
    assert day.piece(code).outcome == "keeps"
    assert "parked" not in day.discrepancies()


@pytest.mark.parametrize("quota", [{"offline_actions": 1}, {"offline_fen": 6000}])
def test_rel_r10_what_is_beyond_the_quota_of_one_absence_waits(day: Day, phone: Phone, quota: dict[str, int]) -> None:
    day.do(c.PlatformSet(**quota))  # type: ignore[arg-type]
    within = phone.buy("T1001-1", 6000)
    phone.buy("T1002-1", 6000)
    day.now_ms += HOUR_MS
    come_back(day, phone.number)
    phone.sync()
    assert [row.code for row in day.all(st.piece)] == [within]
    assert posted(day) == 1
    assert parked_of(day, phone.number) == 1
    day.do(c.ParkedRelease(device=phone.number))
    assert posted(day) == 2


def test_rel_r10_work_at_the_link_uses_no_quota(day: Day, phone: Phone) -> None:
    day.do(c.PlatformSet(offline_actions=1))
    day.now_ms += HOUR_MS
    come_back(day, phone.number)
    for task in ("T1001-1", "T1002-1", "T1003-1"):
        day.now_ms += contact.QUIET_MS + 1
        phone.buy(task, 6000)
        phone.sync()
    assert posted(day) == 3
    assert "parked" not in day.discrepancies()


def test_rel_r10_another_number_is_no_way_around_the_review(day: Day, phone: Phone, tmp_path: Path) -> None:
    day.now_ms += 8 * DAY_MS
    come_back(day, phone.number)
    old = phone.number
    phone.buy("T1001-1", 6000)
    copy = phone.copy_to(tmp_path / "copy", token=False)
    copy.sync()
    assert copy.number != old
    assert posted(day) == 0
    assert parked_of(day, copy.number) == 1
    copy.close()
