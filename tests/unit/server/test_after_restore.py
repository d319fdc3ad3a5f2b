"""A restored server hears the lost one's words after its own decisions: each want is paid once, by whom it belongs to (decision 17)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from server import commands as c
from server import schema as s
from server import schema_trade as st
from sync_core.facts import Fact
from sync_core.identity import Ed25519Signer
from tests.unit.server.day import Day, Device, open_day
from tests.unit.server.restoring import back_up, deliver_all, deliver_whole, faults, lose, two_phones_for_one_piece
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


def _close_what_is_out(
    tmp_path: Path, *, money_fen: int = 1_000_00, tap_first: bool = False
) -> tuple[Day, Day, Device, list[Any], str]:
    """The lost server sent T1001-1 out after its backup; the restored one closes the order before it hears of that."""
    day = open_day(tmp_path / "a", money_fen=money_fen)
    day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1")
    back_up(day, tmp_path)
    day.do(c.RoutesAssign())
    route = phone.route("T1001-1")
    phone.sync(route)
    phone.offline = True
    if tap_first:
        phone.buy("T1001-1", 6000)
    rows, restored = lose(day, tmp_path)
    restored.do(c.OrderClose(order="O1001"))
    phone.day = restored
    return day, restored, phone, rows, route


def test_d9_what_was_closed_before_the_lost_servers_word_that_it_was_out_came_is_recalled(tmp_path: Path) -> None:
    _, restored, phone, rows, route = _close_what_is_out(tmp_path)
    start = sum(restored.money())
    deliver_all(restored, rows)
    assert [fact.kind for fact in restored.said(route, "task.recalled")] == ["task.recalled"]
    assert restored.money()[1] > 0, "the phone may have bought: its money is frozen until it has answered"
    phone.offline = False
    phone.say(route, kinds.RecallSeen().about("task:T1001-1"))
    assert restored.money() == (start, 0)
    assert restored.wanted("T1001-1").status == "closed"
    assert faults(restored) == []


@pytest.mark.parametrize("words_first", [True, False])
def test_d9_e1_bought_before_the_phone_could_hear_of_a_restored_servers_close(
    tmp_path: Path, words_first: bool
) -> None:
    _, restored, phone, rows, route = _close_what_is_out(tmp_path, tap_first=True)
    start = sum(restored.money())
    if words_first:
        deliver_all(restored, rows)
    phone.deliver()
    deliver_all(restored, rows)
    (piece,) = restored.all(st.piece)
    assert (piece.outcome, piece.owner, piece.charged_fen) == ("closed_unseen", "m1", 6000)
    assert start - sum(restored.money()) == 6000 + 100, "the price, and the commission of the walk"
    assert restored.money()[1] == 0
    assert len(restored.said(route, "task.recalled")) == 1
    assert restored.wanted("T1001-1").status == "closed"
    assert faults(restored) == []


@pytest.mark.parametrize("words_first", [True, False])
def test_d9_i5_what_the_wallet_does_not_cover_any_more_the_platform_bears(tmp_path: Path, words_first: bool) -> None:
    _, restored, phone, rows, _ = _close_what_is_out(tmp_path, tap_first=True, money_fen=9000)
    before = restored.money()
    restored.orders(f"A2|{CODE}|1")
    assert restored.money()[0] < 6000
    if words_first:
        deliver_all(restored, rows)
    phone.deliver()
    deliver_all(restored, rows)
    (piece,) = restored.all(st.piece)
    assert (piece.outcome, piece.charged_fen, piece.excess_fen) == ("closed_unseen", 0, 6000)
    assert sum(restored.money()) == sum(before)
    assert "wallet_short" in restored.discrepancies()
    assert faults(restored) == []


@pytest.mark.parametrize("tap_first", [True, False])
def test_d10_what_the_lost_server_had_sent_out_and_this_one_gave_to_another_is_recalled(
    tmp_path: Path, tap_first: bool
) -> None:
    day = open_day(tmp_path / "a")
    day.enrol("warehouse", "wu")
    first, second = day.enrol("picker", "ann"), day.enrol("picker", "bob")
    day.orders(f"A1|{CODE}|1")
    back_up(day, tmp_path)
    day.do(c.RoutesAssign(devices=[first.number]))
    lost_route = first.route("T1001-1")
    first.sync(lost_route)
    first.offline = True
    if tap_first:
        first.buy("T1001-1", 6000)
    rows, restored = lose(day, tmp_path)
    restored.do(c.RoutesAssign(devices=[second.number]))
    first.day = second.day = restored
    deliver_all(restored, rows)
    first.deliver()
    if not tap_first:
        assert [fact.kind for fact in restored.said(lost_route, "task.recalled")] == ["task.recalled"]
        first.offline = False
        first.say(lost_route, kinds.RecallSeen().about("task:T1001-1"))
        assert restored.task("T1001-1").status == "out", "the other phone has it"
        second.buy("T1001-1", 6000)
    else:
        assert [fact.kind for fact in restored.said(second.route("T1001-1"), "task.recalled")] == ["task.recalled"]
    (piece,) = restored.all(st.piece)
    assert piece.outcome == "keeps"
    assert faults(restored) == []


def test_what_a_restored_server_closed_unheard_is_closed_on_the_wall_too(tmp_path: Path) -> None:
    _, restored, _, rows, _ = _close_what_is_out(tmp_path)
    deliver_all(restored, rows)
    wall = restored.warehouse()
    assert [fact.kind for fact in restored.said(wall, "order.closed")] == ["order.closed"]
    assert restored.parcel("P1001").status == "voided"
    assert restored.state(wall, "order:O1001")["closed"]
    assert restored.state(wall, "task:T1001-1")["recall"]
    assert not restored.all(st.cell, st.cell.c.order_id == "O1001")
    assert faults(restored) == []


def test_a_parcel_that_left_after_the_backup_has_left_whoever_tells_it_first(tmp_path: Path) -> None:
    day = open_day(tmp_path / "a")
    wall, phone = day.enrol("warehouse", "wu"), day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1")
    back_up(day, tmp_path)
    day.do(c.RoutesAssign())
    route = phone.route("T1001-1")
    code = phone.buy("T1001-1", 6000)
    wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{code}"))
    ship(day, wall, "O1001", code)
    money = day.money()
    rows, restored = lose(day, tmp_path)
    deliver_whole(restored, rows, day.warehouse())
    deliver_whole(restored, rows, route)
    assert restored.order("O1001").status == "shipped"
    assert restored.parcel("P1001").shipped_ms is not None
    assert restored.money() == money
    assert restored.discrepancies() == []
    assert faults(restored) == []


@pytest.mark.parametrize("words_first", [True, False])
def test_what_is_said_under_a_number_taken_since_the_restore_counts_in_a_route_the_backup_does_not_know(
    tmp_path: Path, words_first: bool
) -> None:
    day = open_day(tmp_path / "a")
    day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1")
    back_up(day, tmp_path)
    day.do(c.RoutesAssign())
    route = phone.route("T1001-1")
    rows, restored = lose(day, tmp_path)
    key = Ed25519Signer(b"fresh key".ljust(32, b"\0"))
    told = restored.do(c.DeviceRenumber(device=phone.number, public_key=key.public_key.hex()))
    later = Device(day=restored, number=told["number"], signer=key, person="ann", offline=True)
    body = kinds.PieceBought(price_fen=6000, means=kinds.Means.CASH).model_dump(mode="json", exclude_none=True)
    about = ("task:T1001-1", f"piece:{phone.mint()}", "stall:国大/3F/315")
    again = f"{phone.number}.1.0"
    later.say(route, Fact(kind=kinds.PieceBought.KIND, subjects=about, body=body, origin=again))
    if words_first:
        deliver_all(restored, rows)
    later.deliver()
    deliver_all(restored, rows)
    (piece,) = restored.all(st.piece)
    assert (piece.outcome, piece.charged_fen, piece.bought_fact) == ("keeps", 6000, again)
    assert restored.task("T1001-1").device == later.number
    for device in restored.all(s.device, s.device.c.name == "ann"):
        assert route in json.loads(device.documents), "of a copy, the original delivers there as well"
    assert restored.discrepancies() == []


@pytest.mark.parametrize("words", ["first", "between", "last"])
def test_d10_the_lost_servers_word_counts_also_when_only_the_warehouse_had_heard_it(tmp_path: Path, words: str) -> None:
    day = open_day(tmp_path / "a")
    _, first, second, other = two_phones_for_one_piece(day, CODE)
    first.offline = False
    start = sum(day.money())
    back_up(day, tmp_path)
    kept = first.buy("T1001-1", 6000)
    second.offline = True
    late = second.buy(other, 6100)
    rows, restored = lose(day, tmp_path)
    told = [row for row in rows if row.document.startswith("warehouse/")]
    own = [row for row in rows if row.device == first.number]
    assert own, "its phone was out of reach before the verdict came"
    if words == "first":
        deliver_all(restored, told)
    second.day, second.offline = restored, False
    second.deliver()
    if words == "between":
        deliver_all(restored, told)
    deliver_all(restored, own)
    deliver_all(restored, told)
    if words == "last":
        assert (restored.piece(kept).outcome, restored.piece(late).outcome) == ("second", "keeps")
        assert "verdict_recovered" in restored.discrepancies(), (
            "a person is told that the lost server had judged otherwise"
        )
    else:
        assert (restored.piece(kept).outcome, restored.piece(late).outcome) == ("keeps", "second")
        assert start - sum(restored.money()) == 6000
        assert restored.said(own[0].document, "verdict.purchase"), "its phone hears it"
    assert faults(restored) == []


def test_d17_a_restored_server_passes_over_the_numbers_that_the_lost_one_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More parcels left since the backup than the restore skips numbers: dispatch goes on, and no number is given twice."""
    monkeypatch.setattr("server.installation.WAYBILL_JUMP", 1)
    day = open_day(tmp_path / "a")
    day.enrol("warehouse", "wu")
    day.enrol("picker", "ann")
    back_up(day, tmp_path)
    day.orders(f"A1|{CODE}|1", f"A2|{CODE}|1", f"A3|{CODE}|1")
    day.do(c.RoutesAssign())
    rows, restored = lose(day, tmp_path)
    deliver_all(restored, rows)
    assert {row.number for row in restored.all(st.waybill)} == {"ZT0000000001", "ZT0000000002", "ZT0000000003"}
    restored.orders(f"B1|{CODE}|1")
    restored.do(c.RoutesAssign())
    assert restored.all(st.waybill)[-1].number == "ZT0000000004"
    assert faults(restored) == []


@pytest.mark.parametrize("left", [False, True])
def test_d17_of_two_parcels_under_one_number_the_lost_servers_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: bool
) -> None:
    """Given out before the devices brought back that the lost server had given it to a parcel, which may have left under it."""
    monkeypatch.setattr("server.installation.WAYBILL_JUMP", 0)
    day = open_day(tmp_path / "a")
    day.enrol("warehouse", "wu")
    day.enrol("picker", "ann")
    back_up(day, tmp_path)
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    rows, restored = lose(day, tmp_path)
    restored.orders(f"B1|{CODE}|1")
    restored.do(c.RoutesAssign())
    (parcel,) = restored.all(st.parcel)
    number = "ZT0000000001"
    assert parcel.waybill_no == number
    if left:
        restored.store.upsert(st.parcel, ("id",), {**parcel._mapping, "shipped_ms": restored.now_ms})
    deliver_all(restored, rows)
    assert restored.one(st.waybill, st.waybill.c.number == number).parcel == "P1001"
    if left:
        assert restored.discrepancies().count("waybill_twice") == 1
    else:
        assert restored.parcel(parcel.id).waybill_no == "ZT0000000002"
        assert restored.state(restored.warehouse(), f"parcel:{parcel.id}")["waybill"]["waybill_no"] == "ZT0000000002"
        assert restored.one(st.waybill, st.waybill.c.number == number).voided_ms is None
        assert faults(restored) == []


@pytest.mark.parametrize("left", [False, True])
def test_e16_a_number_that_the_lost_server_voided_gives_way_to_the_one_whose_paper_is_out(
    tmp_path: Path, left: bool
) -> None:
    """The address changed after the backup: the parcel has its new number, and leaves under it without a complaint."""
    day = open_day(tmp_path / "a")
    wall, phone = day.enrol("warehouse", "wu"), day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    code = phone.buy("T1001-1", 6000)
    wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{code}"))
    back_up(day, tmp_path)
    first = day.parcel("P1001").waybill_no
    day.do(c.AddressGiven(order="O1001", name="李四", phone="13900000001", address="北京市 2号"))
    second = day.parcel("P1001").waybill_no
    assert second not in (None, first)
    if left:
        ship(day, wall, "O1001", code)
    rows, restored = lose(day, tmp_path)
    deliver_all(restored, rows)
    if not left:
        wall.day = restored
        ship(restored, wall, "O1001", code)
    parcel = restored.parcel("P1001")
    assert (parcel.waybill_no, parcel.shipped_ms is not None) == (second, True)
    assert restored.one(st.waybill, st.waybill.c.number == first).voided_ms is not None
    assert restored.discrepancies() == []
    assert faults(restored) == []
