"""One bad thing stops no other: timers, the daily close, what waits for money, what waits for a supervisor (REL-R15)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from server import commands as c
from server import schema as s
from server import schema_trade as st
from server.authority import Authority, answers, daily, deciding, intake, succession
from tests.unit.server.day import Day, Device
from trade import kinds

CODE = "国大_3F-315_P65_8821#"
THREE = ("T1001-1", "T1002-1", "T1003-1")
BAD = "T1002-1"


@pytest.fixture
def phone(day: Day) -> Device:
    """A phone with three tasks of three orders."""
    day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(*(f"A{n}|{CODE}|1" for n in (1, 2, 3)))
    day.do(c.RoutesAssign())
    return phone


def planted(
    real: Callable[..., Any], is_bad: Callable[..., bool], tries: list[int] | None = None
) -> Callable[..., Any]:
    """Return `real` with a bug about one thing."""

    def broken(*args: Any, **kwargs: Any) -> Any:
        if is_bad(*args, **kwargs):
            if tries is not None:
                tries.append(1)
            raise ValueError("a planted bug")
        return real(*args, **kwargs)

    return broken


def tick(day: Day, ms: int = 2000) -> None:
    day.now_ms += ms
    day.work()


def asked_and_run_out(day: Day, phone: Device, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Three questions ran out, and a bug stands in the way of the second; returns the list of tries at it."""
    for task in THREE:
        phone.say(phone.route(task), kinds.PriceAsked(price_fen=7000).about(f"task:{task}"))
    tries: list[int] = []
    bad = planted(answers.refuse_or_raise, lambda _b, task, *_, **__: task.id == BAD, tries)
    monkeypatch.setattr(answers, "refuse_or_raise", bad)
    tick(day, 30 * 60 * 1000 + 2000)
    return tries


def test_a_question_that_makes_its_timer_fail_stops_no_other(
    day: Day, phone: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_and_run_out(day, phone, monkeypatch)
    assert [day.wanted(task).status for task in THREE] == ["bounced", "asked", "bounced"]
    told = day.one(st.discrepancy, st.discrepancy.c.code == "work_failed")
    assert (told.owner, told.resolved_ms, "a planted bug" in told.en) == ("platform", None, True)
    assert day.one(st.decision, st.decision.c.subject == f"task:{BAD}").resolved_ms is None


def test_what_failed_is_left_alone_until_its_discrepancy_is_settled(
    day: Day, phone: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = asked_and_run_out(day, phone, monkeypatch)
    count = len(tries)
    for _ in range(3):
        tick(day)
    assert len(tries) == count, "it is not tried every second"
    told = day.one(st.discrepancy, st.discrepancy.c.code == "work_failed")
    day.do(c.DiscrepancyResolve(discrepancy=told.id, note="try again"))
    tick(day)
    assert len(tries) > count
    assert day.discrepancies().count("work_failed") == 1, "it failed again, and says so again"
    monkeypatch.undo()
    day.authority = Authority(day.server)
    day.store.failed_works.clear()
    tick(day)
    assert day.wanted(BAD).status == "bounced"
    assert "work_failed" not in day.discrepancies(), "after a new start it went well"


def test_the_daily_close_closes_the_rest_of_the_day(day: Day, phone: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    for task in THREE:
        body = kinds.TaskAnswered(answer=kinds.Answer.OUT_OF_STOCK)
        phone.say(phone.route(task), body.about(f"task:{task}", day.task(task).stall_id))
    bad = planted(answers.again, lambda _b, task, *_, **__: task.id == BAD)
    monkeypatch.setattr(answers, "again", bad)
    end = planted(succession.end_document, lambda _b, name: name.startswith("market/"))
    monkeypatch.setattr(succession, "end_document", end)
    told = day.do(c.DayClose())
    assert (told["answered"], told["failed"], told["documents_ended"]) == (2, 1, 1)
    assert [day.wanted(task).task for task in THREE] == ["T1001-1.2", BAD, "T1003-1.2"]
    assert "work_failed" in day.discrepancies()
    monkeypatch.undo()
    again = day.do(c.DayClose())
    assert (again["answered"], again["failed"]) == (1, 0), "a command tries it again"
    assert "work_failed" not in day.discrepancies()


def test_an_order_that_cannot_be_screened_stops_no_other_and_no_purchase(
    day: Day, phone: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    day.do(c.FeesSet(courier_fen=90_000))
    day.orders(*(f"B{n}|{CODE}|1" for n in (1, 2)))
    assert [day.order(order).status for order in ("O1004", "O1005")] == ["money", "money"]
    bad = planted(intake.screen_order, lambda _b, order_id: order_id == "O1004")
    monkeypatch.setattr(intake, "screen_order", bad)
    code = phone.buy(THREE[0], 6000)
    assert day.piece(code).outcome == "keeps"
    told = day.do(c.TopUp(merchant="m1", amount_fen=100_000, key="more"))
    assert (told["booked"], told["orders_gone_on"]) == (True, 1)
    assert [day.order(order).status for order in ("O1004", "O1005")] == ["money", "ready"]
    assert "work_failed" in day.discrepancies()
    day.money()


def test_one_parked_fact_that_fails_leaves_the_others_counted(
    day: Day, phone: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone.sync(phone.route(THREE[0]))
    phone.offline = True
    codes = [phone.buy(task, 6000) for task in THREE]
    day.do(c.DeviceRevoke(device=phone.number))
    day.now_ms += 1
    phone.deliver()
    rule = deciding.RULES[kinds.PieceBought.KIND]
    bad = planted(rule, lambda _b, _document, fact: f"task:{BAD}" in fact.subjects)
    monkeypatch.setitem(deciding.RULES, kinds.PieceBought.KIND, bad)
    assert day.do(c.ParkedRelease(device=phone.number))["failed"] == 1
    assert sorted(row.code for row in day.all(st.piece)) == sorted([codes[0], codes[2]])
    assert "parked" in day.discrepancies(), "it can be let count again"
    monkeypatch.undo()
    assert day.do(c.ParkedRelease(device=phone.number))["failed"] == 0
    assert [day.piece(code).outcome for code in codes] == ["keeps"] * 3
    assert not {"parked", "work_failed"} & set(day.discrepancies())


def test_what_failed_moved_no_money_and_wrote_no_envelope(
    day: Day, phone: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    for task in THREE:
        phone.say(phone.route(task), kinds.PriceAsked(price_fen=7000).about(f"task:{task}"))
    real = answers.refuse_or_raise

    def half(b: Any, task: Any, *args: Any, **kwargs: Any) -> None:
        real(b, task, *args, **kwargs)
        if task.id == BAD:
            b.flush()
            raise ValueError("a planted bug, after it was written")

    before, money = len(day.all(s.envelope)), day.money()
    monkeypatch.setattr(answers, "refuse_or_raise", half)
    tick(day, 30 * 60 * 1000 + 2000)
    assert [day.wanted(task).status for task in THREE] == ["bounced", "asked", "bounced"]
    assert day.money() == money
    answered = [row for row in day.all(s.fact, s.fact.c.kind == kinds.AskAnswered.KIND) if BAD in row.subjects]
    assert answered == []
    assert len(day.all(s.envelope)) > before
    phone.buy(THREE[0], 6000)  # the chains go on: nothing of the undone step stands in the heads


def test_a_full_disk_is_no_works_fault(day: Day, phone: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    for task in THREE:
        phone.say(phone.route(task), kinds.PriceAsked(price_fen=7000).about(f"task:{task}"))
    monkeypatch.setattr(daily, "_ask_ran_out", full)
    with pytest.raises(OperationalError):
        tick(day, 30 * 60 * 1000 + 2000)
    monkeypatch.undo()
    assert "work_failed" not in day.discrepancies()
    tick(day)
    assert [day.wanted(task).status for task in THREE] == ["bounced"] * 3
