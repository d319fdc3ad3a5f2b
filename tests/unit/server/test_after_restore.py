"""A restored server hears the lost one's words after its own decisions: each want is paid once, by whom it belongs to (decision 17)."""

from __future__ import annotations

from pathlib import Path

import pytest

from server import commands as c
from tests.unit.server.day import open_day
from tests.unit.server.restoring import back_up, deliver_all, faults, lose, two_phones_for_one_piece
from tests.unit.server.test_restart import CODE
from tests.unit.server.test_returns import ship
from trade import kinds


def test_what_was_drawn_from_stock_makes_no_room(tmp_path: Path) -> None:
    day = open_day(tmp_path / "a")
    wall, phone = day.enrol("warehouse", "wu"), day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    back = phone.buy("T1001-1", 6000)
    wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{back}"))
    ship(day, wall, "O1001", back)
    day.do(c.MerchantCreate(id="m2", name="商家二"))
    day.do(c.ShopSet(shop="另一家", merchant="m2"))
    day.do(c.TopUp(merchant="m2", amount_fen=500_00, key="x"))
    day.orders(f"B1|{CODE}|1", shop="另一家")
    back_up(day, tmp_path)
    day.do(c.RoutesAssign())
    kept = phone.buy("T1002-1", 6100)
    assert day.piece(kept).outcome == "keeps"
    rows, restored = lose(day, tmp_path)
    wall.day = restored
    wall.say("warehouse/main/1", kinds.PieceInspected(passed=True).about(f"piece:{back}", "return:R1"))
    wall.say("warehouse/main/1", kinds.PieceDrawn().about(f"piece:{back}", "task:T1002-1", "order:O1002"))
    assert restored.wanted("T1002-1").keeper == back
    before = restored.money("m2")
    heads = restored.store.read_vector
    unheard = [row for row in rows if row.device != wall.number and heads(row.document).get(row.device, 0) < row.seq]
    deliver_all(restored, unheard)
    assert sum(before) - sum(restored.money("m2")) in (0, 6100)
    assert restored.piece(back).owner == "m1"
    assert faults(restored) == []


def test_what_was_swapped_in_makes_no_room_for_another_wants_money(tmp_path: Path) -> None:
    day = open_day(tmp_path / "a", merchants=("m1", "m2"))
    wall = day.enrol("warehouse", "wu")
    first, second = day.enrol("picker", "ann"), day.enrol("picker", "bob")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign(devices=[second.number]))
    day.orders(f"B1|{CODE}|1", shop="m2")
    day.do(c.RoutesAssign(devices=[first.number]))
    first.sync(day.task("T1002-1").document)
    first.offline = True
    other = day.do(c.TaskReassign(task="T1002-1", device=second.number))["task"]
    back_up(day, tmp_path)
    kept = first.buy("T1002-1", 6100)
    first.offline = False
    first.deliver()
    assert day.piece(kept).outcome == "keeps"
    rows, restored = lose(day, tmp_path)
    wall.day = second.day = restored
    x, y = second.buy(other, 5000), second.buy("T1001-1", 6000)
    for code in (x, y):
        wall.say("warehouse/main/1", kinds.ScannedIn().about(f"piece:{code}"))
    about = (f"piece:{x}", f"piece:{y}", "task:T1001-1", f"task:{other}")
    wall.say("warehouse/main/1", kinds.PiecesSwapped(tasks=["T1001-1", other]).about(*about))
    assert restored.wanted("T1002-1").keeper == y
    before = restored.money("m1"), restored.money("m2")
    deliver_all(restored, rows)
    assert (restored.money("m1"), restored.money("m2")) == before
    assert restored.wanted("T1002-1").keeper == y
    assert faults(restored) == []


@pytest.mark.parametrize("words_first", [True, False])
@pytest.mark.parametrize("closed_by", ["lost", "restored"])
def test_a_want_that_was_closed_is_paid_for_once(tmp_path: Path, words_first: bool, closed_by: str) -> None:
    day = open_day(tmp_path / "a")
    _, first, second, other = two_phones_for_one_piece(day, CODE)
    start = sum(day.money())
    back_up(day, tmp_path)
    second.buy(other, 6000)
    first.buy("T1001-1", 6100)
    first.offline = False
    first.deliver()
    if closed_by == "lost":
        day.do(c.OrderClose(order="O1001"))
    rows, restored = lose(day, tmp_path)
    deliver_all(restored, [row for row in rows if row.device == first.number])
    if closed_by == "restored":
        restored.do(c.OrderClose(order="O1001"))
    rest = [row for row in rows if row.device != first.number]
    deliver_all(restored, rest if words_first else sorted(rest, key=lambda row: (row.device == 0, row.n)))
    assert 0 < start - sum(restored.money()) < 7000
    assert faults(restored) == []


def test_what_the_lost_server_saw_taken_back_takes_no_want_from_another(tmp_path: Path) -> None:
    day = open_day(tmp_path / "a")
    _, first, second, other = two_phones_for_one_piece(day, CODE)
    first.offline = False
    second.sync(day.task(other).document)
    start = sum(day.money())
    back_up(day, tmp_path)
    slip = first.buy("T1001-1", 6100)
    undone = kinds.PieceUndone(fact=str(day.piece(slip).bought_fact))
    first.say(first.route("T1001-1"), undone.about("task:T1001-1", f"piece:{slip}"))
    served = second.buy(other, 6000)
    assert day.piece(served).outcome == "keeps"
    rows, restored = lose(day, tmp_path)
    deliver_all(restored, sorted(rows, key=lambda row: (row.device == first.number, row.device, row.n)))
    assert restored.wanted("T1001-1").keeper == served
    assert restored.piece(served).outcome == "keeps"
    assert start - sum(restored.money()) == 6000
    assert faults(restored) == []


@pytest.mark.parametrize("late", [False, True])
def test_what_a_terminal_did_in_a_document_that_all_have_forgotten_counts_by_its_copy(
    tmp_path: Path, late: bool
) -> None:
    day = open_day(tmp_path / "a")
    wall, phone = day.enrol("warehouse", "wu"), day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    code = phone.buy("T1001-1", 6000)
    back_up(day, tmp_path)
    wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{code}"))
    if not late:
        ship(day, wall, "O1001", code)
    day.now_ms += 24 * 3600 * 1000
    day.do(c.DayClose())
    if late:
        ship(day, wall, "O1001", code)
    money = day.money()
    rows, restored = lose(day, tmp_path)
    forgotten = [row for row in rows if (row.document, row.device) == (day.warehouse(), wall.number)]
    deliver_all(restored, [row for row in rows if row not in forgotten])
    assert (restored.piece(code).place, restored.money()) == ("shipped", money)
    assert faults(restored) == []
    # A card with it turns up after all.
    deliver_all(restored, forgotten)
    assert (restored.piece(code).place, restored.money()) == ("shipped", money)
    assert restored.discrepancies() == []
    assert faults(restored) == []


def test_e31_i14_what_a_device_written_off_since_had_told_the_lost_server_waits_for_a_supervisor_who_is_its_owner(
    tmp_path: Path,
) -> None:
    """One entry stands for all that waits of a device: its first fact is named there, and the lost verdicts speak of each."""
    day = open_day(tmp_path / "a")
    day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|2")
    day.do(c.RoutesAssign())
    phone.sync(phone.route("T1001-1"))
    start = sum(day.money())
    back_up(day, tmp_path)
    phone.offline = True
    codes = [phone.buy(task, 6000) for task in ("T1001-1", "T1001-2")]
    day.do(c.OrderClose(order="O1001"))
    phone.offline = False
    phone.deliver()
    rows, restored = lose(day, tmp_path)
    restored.do(c.OrderClose(order="O1001"))
    restored.do(c.DeviceWriteOff(device=phone.number))
    assert sum(restored.money()) == start
    restored.now_ms += 1
    deliver_all(restored, rows)
    assert "parked" in restored.discrepancies()
    assert faults(restored) == []
    restored.do(c.ParkedRelease(device=phone.number))
    assert [restored.piece(code).outcome for code in codes] == ["closed_unseen"] * 2, "the lost server's word stands"
    assert start - sum(restored.money()) == 2 * (6000 + 100)
    assert faults(restored) == []


def test_i14_what_the_lost_server_judged_is_told_here_when_it_arrives(tmp_path: Path) -> None:
    """The terminal came first and brought the lost verdict; the phone that bought is in its basement still."""
    day = open_day(tmp_path / "a")
    day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    phone.sync(phone.route("T1001-1"))
    back_up(day, tmp_path)
    phone.offline = True
    code = phone.buy("T1001-1", 6000)
    day.do(c.OrderClose(order="O1001"))
    phone.offline = False
    phone.deliver()
    rows, restored = lose(day, tmp_path)
    deliver_all(restored, [row for row in rows if row.device == 0])
    assert faults(restored) == []
    deliver_all(restored, rows)
    assert restored.piece(code).outcome == "closed_unseen"
    assert "closed_unseen" in restored.discrepancies()
    assert faults(restored) == []
