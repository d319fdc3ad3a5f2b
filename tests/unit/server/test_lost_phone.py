"""E29: the phone is lost, its bags are here. A supervisor adopts a label as the purchase it is: booked once, whoever speaks later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from server import commands as c
from server import schema as s
from server.ledger import GOODS
from server.recount import recount_server
from tests.unit.server.day import Day, Device, open_day
from tests.unit.server.restoring import back_up, deliver_all, lose
from trade import kinds
from trade.projections import MARKET_DAY

CODE = "国大_3F-315_P65_8821#"
PAID_FEN = 6000


@pytest.fixture
def day(tmp_path: Path) -> Iterator[Day]:
    day = open_day(tmp_path / "server")
    yield day
    day.store.close()


def lost_bag(day: Day, *rows: str, price_fen: int = PAID_FEN) -> tuple[Device, Device, str]:
    """A phone bought and printed in the basement and was never heard of again; its bag is scanned in by the QR."""
    wall = day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(*(rows or (f"A1|{CODE}|1",)))
    day.do(c.RoutesAssign())
    phone.sync(phone.route("T1001-1"))
    phone.offline = True
    code = phone.buy("T1001-1", price_fen)
    scan_in(day, wall, code, price_fen=price_fen)
    return wall, phone, code


def scan_in(day: Day, wall: Device, code: str, *, task: str = "T1001-1", price_fen: int = PAID_FEN) -> None:
    order = "O" + task[1:].partition("-")[0]
    qr = kinds.LabelQr(task=task, order=order, piece_no=1, order_pieces=1, price_fen=price_fen)
    wall.say(day.warehouse(), kinds.ScannedIn(qr=qr).about(f"piece:{code}"))


def whole(day: Day) -> None:
    """Every promise of a recount holds."""
    checks, _ = recount_server(day.server, MARKET_DAY)
    assert {check.name: check.faults[:3] for check in checks if not check.holds} == {}


def posted(day: Day) -> list[int]:
    """What was taken from merchants for pieces, entry by entry."""
    rows = day.all(s.entry, s.entry.c.kind.in_(("post", "reverse")))
    lines = {line.entry: line.amount_fen for line in day.all(s.posting, s.posting.c.account == GOODS)}
    return [lines[row.id] for row in rows]


def float_of(day: Day, person: str = "ann") -> int:
    found = day.all(s.account, s.account.c.name == f"float:{person}")
    return found[0].balance_fen if found else 0


def test_e29_an_orphan_is_adopted_at_the_price_on_its_label_and_charged_once(day: Day) -> None:
    _, phone, code = lost_bag(day)
    assert day.piece(code).outcome == "unexplained"
    day.do(c.DeviceRevoke(device=phone.number))
    told = day.do(c.OrphanAdopt(piece=code))
    assert (told["outcome"], told["charged_fen"], told["device"]) == ("keeps", PAID_FEN, phone.number)
    assert (day.piece(code).person, day.wanted("T1001-1").status) == ("ann", "in")
    assert posted(day) == [PAID_FEN]
    assert float_of(day) == -PAID_FEN
    wall_knows = day.state(day.warehouse(), f"piece:{code}")
    assert (wall_knows["unexplained"], wall_knows["verdict"]["outcome"]) == (False, "keeps")
    again = day.ask(c.OrphanAdopt(piece=code))
    assert again["code"] == "orphan.explained"
    assert posted(day) == [PAID_FEN]
    day.money()
    whole(day)


def test_e29_the_old_phone_speaks_after_all_and_nobody_is_charged_twice(day: Day) -> None:
    _, phone, code = lost_bag(day)
    day.do(c.DeviceRevoke(device=phone.number))
    day.do(c.OrphanAdopt(piece=code))
    before, spent = day.money(), float_of(day)
    day.now_ms += 1
    phone.deliver()
    assert posted(day) == [PAID_FEN], "parked: a revoked phone's word waits"
    day.do(c.ParkedRelease(device=phone.number))
    assert posted(day) == [PAID_FEN]
    assert day.money() == before
    assert float_of(day) == spent
    assert day.piece(code).bought_fact.startswith(f"{phone.number}.")
    state = day.state(phone.route("T1001-1"), "task:T1001-1")
    assert [(p["piece"], p["outcome"]) for p in state["purchases"]] == [(code, "keeps")]
    assert state["keeper"] == code
    assert "piece_code_twice" not in day.discrepancies()
    whole(day)


def test_e29_a_phone_that_speaks_late_corrects_what_it_knows_better(day: Day) -> None:
    """The label was misread by hand; the phone says what was paid, by whom and how: booked like a picker's own correction (D8)."""
    wall = day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    phone.sync(phone.route("T1001-1"))
    phone.offline = True
    code = phone.buy("T1001-1", 6000)
    wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{code}"))
    assert day.ask(c.OrphanAdopt(piece=code))["code"] == "orphan.task"
    assert day.ask(c.OrphanAdopt(piece=code, task="T1001-1"))["code"] == "orphan.price"
    day.do(c.OrphanAdopt(piece=code, task="T1001-1", price_fen=6200, means="company"))
    assert (posted(day), float_of(day)) == ([6200], 0)
    phone.deliver()
    assert sum(posted(day)) == 6000
    assert float_of(day) == -6000
    assert (day.piece(code).price_fen, day.piece(code).charged_fen) == (6000, 6000)
    day.money()
    whole(day)


def test_e29_the_phone_first_then_there_is_nothing_to_adopt(day: Day) -> None:
    _, phone, code = lost_bag(day)
    phone.deliver()
    assert day.ask(c.OrphanAdopt(piece=code))["code"] == "orphan.explained"
    assert posted(day) == [PAID_FEN]
    assert day.ask(c.OrphanAdopt(piece="101999999990"))["code"] == "orphan.unknown"


def test_e29_d9_closed_and_written_off_before_it_is_adopted_it_is_the_platforms(day: Day) -> None:
    _, phone, code = lost_bag(day)
    day.do(c.OrderClose(order="O1001", reason="买家不要了"))
    day.do(c.DeviceWriteOff(device=phone.number))
    free = day.money()
    told = day.do(c.OrphanAdopt(piece=code))
    assert (told["outcome"], told["charged_fen"]) == ("second", 0)
    assert day.piece(code).owner == "platform"
    assert day.money() == free
    day.now_ms += 1
    phone.deliver()
    day.do(c.ParkedRelease(device=phone.number))
    assert day.money() == free
    assert posted(day) == []
    whole(day)


def test_e29_d9_closed_but_not_written_off_it_is_the_merchants_stock(day: Day) -> None:
    _, phone, code = lost_bag(day)
    day.do(c.OrderClose(order="O1001", reason="买家不要了"))
    told = day.do(c.OrphanAdopt(piece=code))
    assert (told["outcome"], told["charged_fen"]) == ("closed_unseen", PAID_FEN)
    assert day.piece(code).owner == "m1"
    assert day.money()[1] == 0
    phone.deliver()
    assert posted(day) == [PAID_FEN]
    whole(day)


def test_e29_r80_above_the_cap_the_excess_is_the_platforms(day: Day) -> None:
    _, _, code = lost_bag(day, price_fen=6900)
    told = day.do(c.OrphanAdopt(piece=code))
    assert (told["outcome"], told["charged_fen"], day.piece(code).excess_fen) == ("over_cap", 6500, 400)
    assert "over_cap" in day.discrepancies()
    whole(day)


@pytest.mark.parametrize("adopted_first", [True, False])
def test_e29_d10_handed_to_another_phone_that_buys_too_one_is_second(day: Day, adopted_first: bool) -> None:
    _, phone, code = lost_bag(day)
    other = day.enrol("picker", "bob")
    day.do(c.DeviceRevoke(device=phone.number))
    assert day.do(c.TasksHandOver(device=phone.number, to=other.number))["tasks"] == 1
    if adopted_first:
        day.do(c.OrphanAdopt(piece=code))
    second = other.buy(day.wanted("T1001-1").task, 5500)
    if not adopted_first:
        day.do(c.OrphanAdopt(piece=code))
    outcomes = {day.piece(code).outcome, day.piece(second).outcome}
    assert outcomes == {"keeps", "second"}
    assert len(posted(day)) == 1
    phone.deliver()
    day.do(c.ParkedRelease(device=phone.number))
    assert len(posted(day)) == 1
    whole(day)


def test_e29_only_the_phone_that_minted_the_code_joins(day: Day) -> None:
    _, _, code = lost_bag(day)
    thief = day.enrol("picker", "bob")
    day.orders(f"A2|{CODE}|1")
    day.do(c.RoutesAssign(devices=[thief.number]))
    day.do(c.OrphanAdopt(piece=code))
    row = day.task("T1002-1")
    body = kinds.PieceBought(price_fen=100, means=kinds.Means.CASH)
    thief.say(str(row.document), body.about("task:T1002-1", f"piece:{code}", row.stall_id))
    assert "piece_code_twice" in day.discrepancies()
    assert posted(day) == [PAID_FEN]


def test_e29_whose_float_paid_is_asked_when_two_people_used_the_phone(day: Day) -> None:
    day.do(c.PersonCreate(id="eve", name="eve", pin_salt="00" * 16, pin_hash="11" * 32))
    _, phone, code = lost_bag(day)
    with day.store.transaction() as conn:
        conn.execute(s.device.update().where(s.device.c.number == phone.number).values(people='["ann","eve"]'))
    assert day.ask(c.OrphanAdopt(piece=code))["code"] == "orphan.person"
    assert day.ask(c.OrphanAdopt(piece=code, person="nobody"))["code"] == "orphan.person"
    day.do(c.OrphanAdopt(piece=code, person="eve"))
    assert (float_of(day), float_of(day, "eve")) == (0, -PAID_FEN)


def test_e29_a_restored_server_takes_its_adoption_back_and_books_it_once(tmp_path: Path) -> None:
    day = open_day(tmp_path / "a")
    _, phone, code = lost_bag(day)
    back_up(day, tmp_path)
    day.do(c.OrphanAdopt(piece=code))
    phone.deliver()
    money = day.money()
    rows, restored = lose(day, tmp_path)
    deliver_all(restored, rows)
    assert restored.money() == money
    assert posted(restored) == [PAID_FEN]
    assert restored.piece(code).bought_fact.startswith(f"{phone.number}.")
    restored.store.close()
