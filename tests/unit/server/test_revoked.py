"""Revoked while offline: what it holds is delivered and waits, it is sent nothing, and one command of a supervisor lets it count (E31)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from server import commands as c
from server import schema as s
from server import schema_trade as st
from server.pages import reads_platform
from tests.floor import Phone
from tests.unit.server.day import Day, open_day

CODE = "国大_3F-315_P65_8821#"


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


def parked_of(day: Day, number: int) -> int:
    with day.store.reading() as conn:
        return int(next(row["parked"] for row in reads_platform.devices(conn, day.now_ms) if row["number"] == number))


def test_e31_p23_a_revoked_phones_unsent_work_is_delivered_waits_and_is_let_in_by_one_command(
    day: Day, phone: Phone
) -> None:
    code = phone.buy("T1001-1", 6000)
    day.do(c.DeviceRevoke(device=phone.number))
    day.now_ms += 1
    day.do(c.DeviceAllowance(device=phone.number, per_piece_fen=100, per_day_fen=100))
    had = phone.replica.state_vector(f"device/{phone.number}/1")
    phone.sync()
    assert phone.hello["revoked"] is True, "its screen says so"
    assert phone.replica.waiting().actions == 0, "delivered"
    assert phone.replica.state_vector(f"device/{phone.number}/1") == had, "and sent nothing"
    assert not day.all(st.piece)
    assert not day.all(s.entry, s.entry.c.kind == "post")
    assert parked_of(day, phone.number) == 1
    assert "parked" in day.discrepancies()
    assert day.do(c.ParkedRelease(device=phone.number))["facts"] == 1
    assert day.piece(code).outcome == "keeps"
    assert parked_of(day, phone.number) == 0
    day.do(c.ParkedRelease(device=phone.number))
    assert len(day.all(s.entry, s.entry.c.kind == "post")) == 1, "twice is once"


def test_e31_what_comes_after_a_release_is_told_again(day: Day, phone: Phone) -> None:
    day.do(c.DeviceRevoke(device=phone.number))
    day.now_ms += 1
    phone.buy("T1001-1", 6000)
    phone.sync()
    day.do(c.ParkedRelease(device=phone.number))
    assert "parked" not in day.discrepancies()
    phone.buy("T1002-1", 6000)
    phone.sync()
    assert "parked" in day.discrepancies(), "an entry that was settled is open again"
    assert parked_of(day, phone.number) == 1


def test_e31_what_a_phone_delivered_before_counts_whatever_its_clock_says(day: Day, phone: Phone) -> None:
    code = phone.buy("T1001-1", 6000, at_ms=day.now_ms + 10**12)
    phone.sync()
    day.do(c.DeviceRevoke(device=phone.number))
    assert day.piece(code).outcome == "keeps"
    assert "parked" not in day.discrepancies()


def test_e31_somebody_who_left_signs_in_nowhere_and_what_comes_in_his_name_waits(day: Day, phone: Phone) -> None:
    early = phone.buy("T1001-1", 6000)
    phone.sync()
    phone.buy("T1002-1", 6000)
    day.do(c.PersonEnd(person="ann"))
    day.now_ms += 1
    phone.sync()
    state = phone.replica.state(f"device:{phone.number}")
    assert state is not None
    assert state["people"] == [], "his name is gone from the device"
    assert [row.code for row in day.all(st.piece)] == [early]
    assert parked_of(day, phone.number) == 1
    day.do(c.ParkedRelease(device=phone.number))
    assert len(day.all(st.piece)) == 2
    assert day.ask(c.PersonEnd(person="nobody"))["code"] == "person.unknown"


def test_e31_a_form_that_arrives_again_lets_nobody_back_who_left(day: Day) -> None:
    created = c.PersonCreate(id="cai", name="cai", pin_salt="00" * 16, pin_hash="11" * 32)
    day.do(created)
    day.do(c.PersonEnd(person="cai"))
    left_ms = day.now_ms
    day.now_ms += 1
    assert day.ask(created)["code"] == "person.ended"
    assert day.one(s.person, s.person.c.id == "cai").ended_ms == left_ms
    back = c.PersonBack(person="cai", ended_ms=left_ms)
    day.do(back)
    assert day.one(s.person, s.person.c.id == "cai").ended_ms is None
    day.do(c.PersonEnd(person="cai"))
    assert day.ask(back)["code"] == "person.not_then", "it spoke of the first time he left"
