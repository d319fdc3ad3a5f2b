"""Purchases: who keeps the order line, who pays, and where the other piece goes."""

from __future__ import annotations

import pytest

from server import commands as c
from server import schema as s
from server import schema_trade as st
from server.recount import recount_store
from tests.unit.server.day import Day, Device
from trade import kinds
from trade.projections import MARKET_DAY

CODE = "国大_3F-315_P65_8821#"
PIECE_FEN = 6500 + 100
ORDER_FEN = 300 + 50


@pytest.fixture
def phone(day: Day) -> Device:
    day.enrol("warehouse", "wu")
    return day.enrol("picker", "ann")


def one_order(day: Day) -> str:
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    return "T1001-1"


def outcome_of(day: Day, document: str, code: str) -> str:
    verdicts = [row for row in day.said(document, "verdict.purchase") if f"piece:{code}" in row.subjects]
    return str(__import__("json").loads(verdicts[-1].body)["outcome"])


def faults(day: Day) -> list[str]:
    """What a recount of the server finds wrong."""
    return [fault for check in recount_store(day.store, MARKET_DAY)[0] for fault in check.faults]


def test_r79_an_accepted_order_freezes_exactly_what_it_needs(day: Day, phone: Device) -> None:
    one_order(day)
    assert day.money() == (100_000 - PIECE_FEN - ORDER_FEN, PIECE_FEN + ORDER_FEN)


def test_r81_d8_a_lower_price_is_posted_and_the_difference_goes_back_at_the_scan(day: Day, phone: Device) -> None:
    task = one_order(day)
    code = phone.buy(task, 6000)
    assert outcome_of(day, phone.route(task), code) == "keeps"
    assert day.money() == (100_000 - PIECE_FEN - ORDER_FEN, 500 + 100 + ORDER_FEN)
    wall = Device(day=day, number=100, signer=_key("wu"), person="wu")
    wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{code}"))
    assert day.money() == (100_000 - PIECE_FEN - ORDER_FEN + 500, 100 + ORDER_FEN)


def test_d8_the_daily_close_releases_the_difference_too(day: Day, phone: Device) -> None:
    task = one_order(day)
    phone.buy(task, 6000)
    assert day.do(c.DayClose())["released_fen"] == 500
    assert day.do(c.DayClose())["released_fen"] == 0


def test_e7_above_the_cap_the_excess_is_the_platforms_until_the_merchant_accepts(day: Day, phone: Device) -> None:
    task = one_order(day)
    code = phone.buy(task, 7000)
    assert day.piece(code).outcome == "over_cap"
    before = day.money()
    assert before == (100_000 - PIECE_FEN - ORDER_FEN, 100 + ORDER_FEN)
    assert day.do(c.OverCapDecide(piece=code, accepted=True), by="merchant:m1:x")["charged_fen"] == 500
    assert day.money() == (before[0] - 500, before[1])
    assert day.ask(c.OverCapDecide(piece=code, accepted=True))["code"] == "over_cap.over"


def test_e1_closed_while_the_phone_was_offline_the_purchase_stands_as_the_merchants_stock(
    day: Day, phone: Device
) -> None:
    task = one_order(day)
    phone.sync(phone.route(task))
    phone.offline = True
    day.do(c.OrderClose(order="O1001"))
    assert day.money() == (100_000 - PIECE_FEN, PIECE_FEN), "courier and packing back at once, the piece stays held"
    code = phone.buy(task, 6000)
    phone.offline = False
    phone.deliver()
    assert day.piece(code).outcome == "closed_unseen"
    assert day.piece(code).owner == "m1"
    assert day.money() == (100_000 - 6000 - 100, 0), "principal captured, the commission of the walk stays (D9)"
    assert "closed_unseen" in day.discrepancies()
    told = {row.key: row.zh for row in day.all(s.entry)}
    assert told["hold:O1001"].endswith("冻结：货款上限 65.00、佣金 1.00、快递 3.00、打包 0.50")
    assert told["close:O1001:fees"].endswith("关闭，退回：快递 3.00、打包 0.50")
    assert told[f"post:{code}"] == f"拿货款 {code}：关闭时手机没信号，已拿货：这件成了您的库存"


def test_d9_a_recall_seen_gives_the_principal_back_and_nothing_stays_held(day: Day, phone: Device) -> None:
    task = one_order(day)
    day.do(c.OrderClose(order="O1001"))
    phone.say(phone.route(task), kinds.RecallSeen().about(f"task:{task}"))
    assert day.money() == (100_000, 0)
    assert day.wanted("T1001-1").status == "closed"


def test_d9_before_dispatch_everything_goes_back_at_once(day: Day, phone: Device) -> None:
    day.orders(f"A1|{CODE}|2")
    assert day.do(c.OrderClose(order="O1001"))["pieces_out"] == 0
    assert day.money() == (100_000, 0)


def test_d9_a_written_off_device_frees_the_money_and_a_later_purchase_is_the_platforms(day: Day, phone: Device) -> None:
    task = one_order(day)
    phone.sync(phone.route(task))
    phone.offline = True
    code = phone.buy(task, 6000)
    day.do(c.OrderClose(order="O1001"))
    day.do(c.DeviceWriteOff(device=phone.number))
    assert day.money() == (100_000, 0)
    day.now_ms += 1
    phone.deliver()
    assert "parked" in day.discrepancies()
    day.do(c.ParkedRelease(device=phone.number))
    assert day.piece(code).owner == "platform"
    assert day.money() == (100_000, 0)


@pytest.mark.parametrize("seen_first", [True, False])
def test_d9_d11_who_bought_although_he_saw_takes_no_money_from_a_purchase_the_recall_could_not_reach(
    day: Day, phone: Device, *, seen_first: bool
) -> None:
    task = one_order(day)
    phone.sync(phone.route(task))
    phone.offline = True
    unseen = phone.buy(task, 6000)
    other = day.enrol("picker", "bob")
    again = day.do(c.TaskReassign(task=task, device=other.number))["task"]
    day.do(c.OrderClose(order="O1001"))
    phone.offline = False
    if not seen_first:
        phone.deliver()
    seen = other.buy(again, 6000, seen_recall=True)
    if seen_first:
        assert day.money() == (100_000 - PIECE_FEN, PIECE_FEN), "the first phone may have bought (D9)"
        phone.deliver()
    assert (day.piece(unseen).outcome, day.piece(unseen).owner) == ("closed_unseen", "m1")
    assert (day.piece(seen).outcome, day.piece(seen).owner) == ("closed_seen", "platform")
    assert day.money() == (100_000 - 6000 - 100, 0)
    assert faults(day) == []


def test_d11_bought_although_seen_is_the_platforms(day: Day, phone: Device) -> None:
    task = one_order(day)
    day.do(c.OrderClose(order="O1001"))
    code = phone.buy(task, 6000, seen_recall=True)
    assert day.piece(code).outcome == "closed_seen"
    assert day.piece(code).owner == "platform"
    assert day.money() == (100_000, 0)


def test_e2_bought_first_closed_after_the_piece_becomes_the_merchants_stock(day: Day, phone: Device) -> None:
    task = one_order(day)
    code = phone.buy(task, 6000)
    day.do(c.OrderClose(order="O1001"))
    assert day.piece(code).outcome == "closed_unseen"
    assert day.money() == (100_000 - 6000 - 100, 0)
    assert outcome_of(day, phone.route(task), code) == "closed_unseen"


def test_e3_d10_two_pickers_buy_the_one_piece_and_nobody_is_charged_twice(day: Day, phone: Device) -> None:
    task = one_order(day)
    other = day.enrol("picker", "bob")
    phone.sync(phone.route(task))
    phone.offline = True
    told = day.do(c.TaskReassign(task=task, device=other.number))
    second = told["task"]
    assert second == "T1001-1.2"
    first_code = phone.buy(task, 6100)
    kept = other.buy(second, 6200)
    phone.offline = False
    phone.deliver()
    assert (day.piece(kept).outcome, day.piece(first_code).outcome) == ("keeps", "second")
    assert day.piece(first_code).owner == "platform"
    assert day.money() == (100_000 - PIECE_FEN - ORDER_FEN, PIECE_FEN + ORDER_FEN - 6200)


def test_d10_the_purchase_that_arrives_first_keeps_and_the_other_attempt_is_recalled(day: Day, phone: Device) -> None:
    task = one_order(day)
    other = day.enrol("picker", "bob")
    phone.sync(phone.route(task))
    phone.offline = True
    second = day.do(c.TaskReassign(task=task, device=other.number))["task"]
    code = phone.buy(task, 6100)
    phone.offline = False
    phone.deliver()
    assert day.piece(code).outcome == "keeps"
    assert day.task(second).recalled == "reassigned"
    late = other.buy(second, 6000)
    assert day.piece(late).outcome == "second"
    assert day.wanted("T1001-1").keeper == code


def test_an_undone_purchase_gives_the_money_back_to_the_hold(day: Day, phone: Device) -> None:
    task = one_order(day)
    code = phone.mint()
    body = kinds.PieceBought(price_fen=6000, means=kinds.Means.CASH)
    (fact,) = phone.say(phone.route(task), body.about(f"task:{task}", f"piece:{code}", day.task(task).stall_id))
    phone.say(phone.route(task), kinds.PieceUndone(fact=fact).about(f"task:{task}", f"piece:{code}"))
    assert day.piece(code).place == "undone"
    assert day.money() == (100_000 - PIECE_FEN - ORDER_FEN, PIECE_FEN + ORDER_FEN)
    again = phone.buy(task, 6300)
    assert day.piece(again).outcome == "keeps"
    assert day.money()[1] == 200 + 100 + ORDER_FEN


def undo(day: Day, phone: Device, task: str, code: str) -> None:
    body = kinds.PieceUndone(fact=day.piece(code).bought_fact)
    phone.say(phone.route(task), body.about(f"task:{task}", f"piece:{code}"))


@pytest.mark.parametrize("paid_fen", [6000, 6500])
def test_d8_corrected_down_after_the_daily_close_the_difference_waits_for_no_shipping(
    day: Day, phone: Device, paid_fen: int
) -> None:
    task = one_order(day)
    code = phone.buy(task, paid_fen)
    day.do(c.DayClose())
    phone.say(phone.route(task), kinds.PriceCorrected(price_fen=5000).about(f"task:{task}", f"piece:{code}"))
    if paid_fen == 6500:  # Nothing was free yet: it is at the scan, or at the next close.
        assert day.do(c.DayClose())["released_fen"] == 1500
    assert day.money() == (100_000 - ORDER_FEN - 100 - 5000, 100 + ORDER_FEN)
    wall = Device(day=day, number=100, signer=_key("wu"), person="wu")
    wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{code}"))
    assert day.money() == (100_000 - ORDER_FEN - 100 - 5000, 100 + ORDER_FEN)
    assert faults(day) == []


def test_d8_undone_after_the_daily_close_the_task_is_open_up_to_its_cap_again(day: Day, phone: Device) -> None:
    task = one_order(day)
    code = phone.buy(task, 6000)
    day.do(c.DayClose())
    undo(day, phone, task, code)
    assert day.money()[1] == PIECE_FEN + ORDER_FEN
    again = day.piece(phone.buy(task, 6300))
    assert (again.outcome, again.charged_fen) == ("keeps", 6300)
    assert faults(day) == []


def test_d8_i5_what_a_short_wallet_cannot_freeze_again_after_an_undo_is_the_platforms(day: Day, phone: Device) -> None:
    task = one_order(day)
    code = phone.buy(task, 6000)
    day.do(c.DayClose())
    day.do(c.FeesSet(courier_fen=day.money()[0] - 6500))
    day.orders(f"A2|{CODE}|1")
    assert day.money()[0] == 0
    undo(day, phone, task, code)
    again = day.piece(phone.buy(task, 6300))
    assert (again.outcome, again.charged_fen, again.excess_fen) == ("over_cap", 6000, 300)
    assert "wallet_short" in day.discrepancies()
    assert faults(day) == []


@pytest.mark.parametrize("heard", [True, False])
@pytest.mark.parametrize("stays", [True, False])
def test_d9_d12_closed_after_a_purchase_that_was_a_slip_all_of_it_goes_back(
    day: Day, phone: Device, *, stays: bool, heard: bool
) -> None:
    """Nothing was bought, so no walk is paid; the phone may buy again until it knows, so the money waits for its word."""
    day.do(c.PlatformSet(commission_stays=stays))
    task = one_order(day)
    route = phone.route(task)
    code = phone.buy(task, 6000)
    if not heard:
        phone.sync(route)
        phone.offline = True
    day.do(c.OrderClose(order="O1001"))
    assert day.money() == (100_000 - 6000 - 100 * stays, 0)
    undo(day, phone, task, code)
    phone.offline = False
    phone.deliver()
    assert day.money() == (100_000 - 6500 - 100 * stays, 6500 + 100 * stays), "up to the cap it may be bought again"
    assert (day.wanted(task).status, day.task(task).status) == ("closing", "recalled")
    assert day.state(route, f"task:{task}")["recall"] is not None, "its phone is told that the task is over"
    phone.say(route, kinds.RecallSeen().about(f"task:{task}"))
    assert day.money() == (100_000, 0)
    assert day.wanted(task).status == "closed"
    assert faults(day) == []


@pytest.mark.parametrize(("again_fen", "charged_fen"), [(0, 0), (6000, 6000), (6300, 6300), (6700, 6500)])
def test_d9_closed_unseen_taken_back_and_bought_again_before_the_phone_knew(
    day: Day, phone: Device, again_fen: int, charged_fen: int
) -> None:
    task = one_order(day)
    route = phone.route(task)
    phone.sync(route)
    phone.offline = True
    code = phone.buy(task, 6000)
    body = kinds.PieceUndone(fact=f"{phone.number}.1.0")
    phone.say(route, body.about(f"task:{task}", f"piece:{code}"))
    again = phone.buy(task, again_fen) if again_fen else ""
    day.do(c.OrderClose(order="O1001"))
    phone.offline = False
    phone.deliver()
    if again:
        piece = day.piece(again)
        assert (piece.outcome, piece.owner, piece.charged_fen) == ("closed_unseen", "m1", charged_fen)
        assert day.money() == (100_000 - charged_fen - 100, 0)
        assert ("over_cap" in day.discrepancies()) == (again_fen > 6500), "what the platform bears is told"
    else:
        assert day.money() == (100_000 - 6500 - 100, 6500 + 100)
        phone.say(route, kinds.RecallSeen().about(f"task:{task}"))
        assert day.money() == (100_000, 0)
    assert faults(day) == []


def test_d9_a_slip_of_a_device_that_was_written_off_gives_everything_back_at_once(day: Day, phone: Device) -> None:
    task = one_order(day)
    code = phone.buy(task, 6000)
    phone.sync(phone.route(task))
    phone.offline = True
    undo(day, phone, task, code)
    day.do(c.OrderClose(order="O1001"))
    day.do(c.DeviceWriteOff(device=phone.number))
    day.now_ms += 1
    phone.deliver()
    day.do(c.ParkedRelease(device=phone.number))
    assert day.money() == (100_000, 0)
    assert faults(day) == []


def test_d10_taken_back_after_the_other_attempt_was_recalled_the_piece_is_wanted_again(day: Day, phone: Device) -> None:
    task = one_order(day)
    other = day.enrol("picker", "bob")
    phone.sync(phone.route(task))
    phone.offline = True
    second = day.do(c.TaskReassign(task=task, device=other.number))["task"]
    code = phone.buy(task, 6100)
    phone.offline = False
    phone.deliver()
    assert (day.task(second).recalled, day.wanted(task).keeper) == ("reassigned", code)
    undo(day, phone, task, code)
    wanted = day.wanted(task)
    assert (wanted.keeper, wanted.status, wanted.task) == (None, "ready", "T1001-1.3")
    assert day.do(c.RoutesAssign())["tasks"] == 1
    buyer = next(one for one in (phone, other) if one.number == day.task("T1001-1.3").device)
    assert day.piece(buyer.buy("T1001-1.3", 6400)).outcome == "keeps"
    assert faults(day) == []


@pytest.mark.parametrize("accepted", [True, False])
def test_e7_undone_above_the_cap_all_that_its_merchant_paid_goes_back(
    day: Day, phone: Device, *, accepted: bool
) -> None:
    task = one_order(day)
    code = phone.buy(task, 6700)
    day.do(c.OverCapDecide(piece=code, accepted=accepted))
    undo(day, phone, task, code)
    assert day.money() == (100_000 - PIECE_FEN - ORDER_FEN, PIECE_FEN + ORDER_FEN)
    assert "authority_failed" not in day.discrepancies()
    assert faults(day) == []


def corrected(day: Day, phone: Device, task: str, code: str, price_fen: int) -> None:
    phone.say(phone.route(task), kinds.PriceCorrected(price_fen=price_fen).about(f"task:{task}", f"piece:{code}"))


def test_e7_d8_what_a_correction_adds_to_an_excess_is_not_his_who_accepted_less(day: Day, phone: Device) -> None:
    task = one_order(day)
    code = phone.buy(task, 7000)
    available_fen = day.money()[0]
    corrected(day, phone, task, code, 7200)
    assert day.do(c.OverCapDecide(piece=code, accepted=True))["charged_fen"] == 500, "he was asked for 5.00"
    assert day.ask(c.OverCapDecide(piece=code, accepted=True))["code"] == "over_cap.over"
    assert day.money()[0] == available_fen - 500
    assert (day.piece(code).charged_fen, day.piece(code).excess_fen) == (7000, 200)
    assert faults(day) == []


def test_e7_d8_an_excess_that_was_accepted_is_no_question_again_when_the_price_is_corrected(
    day: Day, phone: Device
) -> None:
    task = one_order(day)
    code = phone.buy(task, 7000)
    day.do(c.OverCapDecide(piece=code, accepted=True))
    corrected(day, phone, task, code, 7200)
    assert day.ask(c.OverCapDecide(piece=code, accepted=True))["code"] == "over_cap.over"
    assert (day.piece(code).charged_fen, day.piece(code).excess_fen) == (7000, 200), "the rest is the platform's (D8)"
    assert faults(day) == []


def test_e7_e8_an_excess_that_was_a_slip_of_the_finger_is_no_question_any_more(day: Day, phone: Device) -> None:
    task = one_order(day)
    code = phone.buy(task, 7000)
    corrected(day, phone, task, code, 6400)
    assert [row.choice for row in day.all(st.decision)] == ["corrected"]
    assert "over_cap" not in day.discrepancies()
    assert faults(day) == []


@pytest.mark.parametrize(("price_fen", "charged", "platform"), [(5000, 5000, 0), (6400, 6400, 0), (8000, 6500, 1500)])
def test_e8_d8_a_corrected_price_is_charged_only_within_what_is_held(
    day: Day, phone: Device, price_fen: int, charged: int, platform: int
) -> None:
    task = one_order(day)
    code = phone.buy(task, 6000)
    phone.say(phone.route(task), kinds.PriceCorrected(price_fen=price_fen).about(f"task:{task}", f"piece:{code}"))
    piece = day.piece(code)
    assert (piece.charged_fen, piece.excess_fen, piece.price_fen) == (charged, platform, price_fen)
    assert day.money()[1] == 6500 - charged + 100 + ORDER_FEN


def test_e8_only_the_buyer_corrects_the_price_of_his_piece(day: Day, phone: Device) -> None:
    """What a colleague's phone says of it moves neither the merchant's money nor the buyer's float."""
    task = one_order(day)
    bob = day.enrol("picker", "bob")
    day.orders(f"A2|{CODE}|1")
    day.do(c.RoutesAssign(devices=[bob.number]))
    code = phone.buy(task, 6000)
    before = day.money()
    corrected = kinds.PriceCorrected(price_fen=6500).about(f"task:{task}", f"piece:{code}")
    bob.say(bob.route("T1002-1"), corrected)
    assert (day.piece(code).price_fen, day.piece(code).charged_fen, day.money()) == (6000, 6000, before)
    assert day.state(day.warehouse(), f"piece:{code}")["price_fen"] == 6000
    assert day.state(day.warehouse(), f"task:{task}")["purchases"][0]["price_fen"] == 6000
    phone.say(phone.route(task), corrected)
    assert (day.piece(code).price_fen, day.state(day.warehouse(), f"piece:{code}")["price_fen"]) == (6500, 6500)


def test_e12_a_scan_before_the_purchase_is_known_becomes_normal_when_it_arrives(day: Day, phone: Device) -> None:
    task = one_order(day)
    phone.sync(phone.route(task))
    phone.offline = True
    code = phone.buy(task, 6000)
    wall = Device(day=day, number=100, signer=_key("wu"), person="wu")
    wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{code}"))
    assert day.piece(code).outcome == "unexplained"
    day.now_ms += 25 * 3600 * 1000
    day.work()
    assert "orphan" in day.discrepancies()
    phone.offline = False
    phone.deliver()
    assert day.piece(code).outcome == "keeps"
    assert day.wanted("T1001-1").status == "in"
    assert "orphan" not in day.discrepancies()


def test_e9_the_second_scan_of_a_label_changes_nothing(day: Day, phone: Device) -> None:
    task = one_order(day)
    code = phone.buy(task, 6000)
    wall = Device(day=day, number=100, signer=_key("wu"), person="wu")
    for _ in range(2):
        wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{code}"))
    assert len(day.state(day.warehouse(), f"piece:{code}")["scans"]) == 2
    assert day.money()[0] == 100_000 - PIECE_FEN - ORDER_FEN + 500


def test_i12_one_code_for_two_garments_is_a_discrepancy(day: Day, phone: Device) -> None:
    day.orders(f"A1|{CODE}|2")
    day.do(c.RoutesAssign())
    code = phone.buy("T1001-1", 6000)
    phone.buy("T1001-2", 6000, code=code)
    assert "piece_code_twice" in day.discrepancies()
    assert day.wanted("T1001-2").keeper is None


def test_d10_a_second_piece_finds_a_waiting_line(day: Day, phone: Device) -> None:
    task = one_order(day)
    other = day.enrol("picker", "bob")
    phone.sync(phone.route(task))
    phone.offline = True
    second = day.do(c.TaskReassign(task=task, device=other.number))["task"]
    extra = phone.buy(task, 6100)
    other.buy(second, 6200)
    phone.offline = False
    phone.deliver()
    day.orders(f"A2|{CODE}|1")
    assert day.task("T1002-1").source == "stall"
    wall = Device(day=day, number=100, signer=_key("wu"), person="wu")
    wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{extra}"))
    assert (day.task("T1002-1").source, day.task("T1002-1").piece) == ("stock", extra)
    assert day.state(day.warehouse(), "task:T1002-1")["assigned"]["piece"] == extra
    wall.say(day.warehouse(), kinds.PieceDrawn().about(f"piece:{extra}", "task:T1002-1", "order:O1002"))
    assert day.wanted("T1002-1").keeper == extra
    parcel = day.parcel("P1002")
    body = kinds.ParcelShipped(waybill_no=parcel.waybill_no, pieces=[extra])
    wall.say(day.warehouse(), body.about("parcel:P1002", "order:O1002", f"piece:{extra}"))
    held = day.money()[1]
    assert held == 6500 - 6200 + 100 + ORDER_FEN, "only the first order's rest is held"
    assert [row.id for row in day.all(st.shop_order, st.shop_order.c.status == "shipped")] == ["O1002"]


def test_r34_a_piece_drawn_for_an_order_that_closes_serves_the_next_one(day: Day, phone: Device) -> None:
    """Drawn and packed, then its order closes: both ends have it in stock again, and a scan draws it for who waits now."""
    extra, wall = a_drawn_piece(day, phone)
    number = day.parcel("P1002").waybill_no
    packed = kinds.ParcelPacked(waybill_no=number, pieces=[extra])
    wall.say(day.warehouse(), packed.about("parcel:P1002", "order:O1002", f"piece:{extra}"))
    day.do(c.OrderClose(order="O1002", reason="不要了"))
    state = day.state(day.warehouse(), f"piece:{extra}")
    assert (day.piece(extra).place, state["place"]) == ("in_stock", "in_stock")
    day.orders(f"A3|{CODE}|1")
    assert (day.task("T1003-1").source, day.task("T1003-1").piece) == ("stock", extra)
    wall.say(day.warehouse(), kinds.PieceDrawn().about(f"piece:{extra}", "task:T1003-1", "order:O1003"))
    assert day.wanted("T1003-1").keeper == extra
    assert day.state(day.warehouse(), f"piece:{extra}")["place"] == "inbound"


def test_r34_a_piece_drawn_by_a_terminal_that_had_not_heard_of_the_close_is_stock_again(
    day: Day, phone: Device
) -> None:
    extra, wall = a_drawn_piece(day, phone, draws=False)
    wall.sync(day.warehouse())
    wall.offline = True
    wall.say(day.warehouse(), kinds.PieceDrawn().about(f"piece:{extra}", "task:T1002-1", "order:O1002"))
    day.do(c.OrderClose(order="O1002", reason="不要了"))
    wall.offline = False
    wall.deliver()
    assert "drawn_unwanted" in day.discrepancies()
    assert (day.piece(extra).place, day.state(day.warehouse(), f"piece:{extra}")["place"]) == ("in_stock", "in_stock")


def promised_to_the_next_attempt(day: Day, phone: Device) -> tuple[str, str, Device, Device]:
    """O1002 waits for stock that its phone's stall had not, and gets it promised; returns (it, what that phone bought all the same, wall,
    phone). The phone is offline still.
    """
    extra, wall = a_drawn_piece(day, phone, draws=False, orders=False)
    carl = day.enrol("picker", "carl")
    day.orders(f"A2|{CODE}|1")
    day.do(c.RoutesAssign(devices=[carl.number]))
    route, stall = carl.route("T1002-1"), day.task("T1002-1").stall_id
    carl.say(route, kinds.TaskAnswered(answer=kinds.Answer.OUT_OF_STOCK).about("task:T1002-1", stall))
    carl.sync(route)
    carl.offline = True
    day.do(c.TaskDecide(task="T1002-1", choice="on_day", on_day="2027-02-01"))
    wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{extra}"))
    assert (day.task("T1002-1.2").piece, day.piece(extra).reserved) == (extra, "T1002-1")
    own = carl.mint()
    body = kinds.PieceBought(price_fen=6000, means=kinds.Means.CASH)
    carl.say(route, body.about("task:T1002-1", f"piece:{own}", stall))
    return extra, own, wall, carl


def test_r34_what_was_promised_to_an_order_that_a_phone_bought_for_is_offered_to_the_next(
    day: Day, phone: Device
) -> None:
    extra, own, _, carl = promised_to_the_next_attempt(day, phone)
    carl.offline = False
    carl.deliver()
    assert (day.wanted("T1002-1").keeper, day.piece(extra).place) == (own, "in_stock")
    day.orders(f"A3|{CODE}|1")
    assert (day.task("T1003-1").source, day.task("T1003-1").piece) == ("stock", extra)
    assert faults(day) == []


def drawn_before_it_heard(day: Day, phone: Device) -> tuple[str, str, Device, Device]:
    """The same, and a terminal out of reach draws the promised piece; then the phone's purchase is heard, and another order comes."""
    extra, own, wall, carl = promised_to_the_next_attempt(day, phone)
    wall.sync(day.warehouse())
    wall.offline = True
    wall.say(day.warehouse(), kinds.PieceDrawn().about(f"piece:{extra}", "task:T1002-1.2", "order:O1002"))
    carl.offline = False
    carl.deliver()
    day.orders(f"A3|{CODE}|1")
    return extra, own, wall, carl


def test_r34_what_was_drawn_for_an_order_that_a_phone_had_bought_for_is_stock_again_on_every_terminal(
    day: Day, phone: Device
) -> None:
    extra, own, wall, _ = drawn_before_it_heard(day, phone)
    wall.offline = False
    wall.deliver()
    assert "drawn_unwanted" in day.discrepancies()
    assert (day.piece(extra).place, day.state(day.warehouse(), f"piece:{extra}")["place"]) == ("in_stock", "in_stock")
    assert day.state(day.warehouse(), "task:T1002-1.2")["keeper"] is None
    assert day.state(day.warehouse(), "task:T1002-1")["keeper"] == own
    wall.say(day.warehouse(), kinds.PieceDrawn().about(f"piece:{extra}", "task:T1003-1", "order:O1003"))
    assert day.wanted("T1003-1").keeper == extra
    assert (day.piece(extra).place, day.state(day.warehouse(), f"piece:{extra}")["place"]) == ("inbound", "inbound")
    assert faults(day) == []


def test_r34_e10_drawn_for_an_order_whose_purchase_was_a_slip_the_next_one_is_served_from_a_stall(
    day: Day, phone: Device
) -> None:
    extra, _, wall, carl = drawn_before_it_heard(day, phone)
    assert day.task("T1003-1").piece == extra
    own = day.one(st.piece, st.piece.c.wanted == "T1002-1", st.piece.c.code != extra)
    slip = kinds.PieceUndone(fact=own.bought_fact).about("task:T1002-1", f"piece:{own.code}")
    carl.say(carl.route("T1002-1"), slip)
    wall.offline = False
    wall.deliver()
    assert (day.wanted("T1002-1").keeper, day.piece(extra).reserved) == (extra, "T1002-1")
    assert day.task(day.wanted("T1003-1").task).source == "stall"
    assert day.state(day.warehouse(), "task:T1003-1")["recall"] is not None
    assert faults(day) == []


def test_r31_what_comes_to_the_shelf_waits_for_no_order_whose_refund_was_asked(day: Day, phone: Device) -> None:
    extra, wall = a_drawn_piece(day, phone, draws=False, orders=False)
    day.orders(f"A2|{CODE}|1", f"A3|{CODE}|1")
    day.do(c.RefundAsked(order="O1002"))
    wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{extra}"))
    assert (day.task("T1002-1").source, day.task("T1003-1").piece) == ("stall", extra)


def a_drawn_piece(day: Day, phone: Device, *, draws: bool = True, orders: bool = True) -> tuple[str, Device]:
    """A second piece lies in stock and the next order is to get it; returns (its code, the terminal). Not `orders`: it is on its way."""
    task = one_order(day)
    other = day.enrol("picker", "bob")
    phone.sync(phone.route(task))
    phone.offline = True
    second = day.do(c.TaskReassign(task=task, device=other.number))["task"]
    extra = phone.buy(task, 6100)
    other.buy(second, 6200)
    phone.offline = False
    phone.deliver()
    wall = Device(day=day, number=100, signer=_key("wu"), person="wu")
    if not orders:
        return extra, wall
    wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{extra}"))
    day.orders(f"A2|{CODE}|1")
    if draws:
        wall.say(day.warehouse(), kinds.PieceDrawn().about(f"piece:{extra}", "task:T1002-1", "order:O1002"))
    return extra, wall


def _key(name: str):  # type: ignore[no-untyped-def]
    from sync_core.identity import Ed25519Signer

    return Ed25519Signer(name.encode().ljust(32, b"\0"))


def shipped_before_its_phone_spoke(day: Day, phone: Device, price_fen: int) -> tuple[str, str]:
    """The warehouse scans the QR, packs and ships; the phone is still in the basement."""
    task = one_order(day)
    phone.sync(phone.route(task))
    phone.offline = True
    code = phone.buy(task, price_fen)
    ship_by_qr(day, task, code, price_fen)
    return task, code


def ship_by_qr(day: Day, task: str, code: str, price_fen: int) -> None:
    wall = Device(day=day, number=100, signer=_key("wu"), person="wu")
    qr = kinds.LabelQr(task=task, order="O1001", piece_no=1, order_pieces=1, price_fen=price_fen)
    wall.say(day.warehouse(), kinds.ScannedIn(qr=qr).about(f"piece:{code}"))
    number = day.state(day.warehouse(), "parcel:P1001")["waybill"]["waybill_no"]
    about = ("parcel:P1001", "order:O1001", f"piece:{code}")
    wall.say(day.warehouse(), kinds.ParcelPacked(waybill_no=number, pieces=[code]).about(*about))
    wall.say(day.warehouse(), kinds.ParcelShipped(waybill_no=number, pieces=[code]).about(*about))


def test_e12_a_piece_shipped_before_its_phone_spoke_is_charged_its_pick_price(day: Day, phone: Device) -> None:
    task, code = shipped_before_its_phone_spoke(day, phone, 6000)
    assert day.money() == (100_000 - PIECE_FEN - ORDER_FEN, 6500)
    phone.offline = False
    phone.deliver()
    assert outcome_of(day, phone.route(task), code) == "keeps"
    assert day.piece(code).charged_fen == 6000
    assert day.money() == (100_000 - 6000 - 100 - ORDER_FEN, 0)
    assert (day.wanted("T1001-1").status, day.order("O1001").status) == ("shipped", "shipped")


def test_e12_i4_shipped_at_an_older_quote_before_its_phone_spoke_the_cap_is_what_is_frozen(
    day: Day, phone: Device
) -> None:
    task = one_order(day)
    bounced = kinds.TaskBounced(price_fen=9000).about(f"task:{task}", day.task(task).stall_id)
    phone.say(phone.route(task), bounced)
    newer = str(day.do(c.TaskDecide(task=task, choice="requote", quote_fen=4000))["task"])
    phone.sync(phone.route(task))
    phone.offline = True
    other = phone.buy(newer, 3900)
    code = phone.buy(task, 6000, seen_recall=True)
    ship_by_qr(day, task, code, 6000)
    phone.offline = False
    phone.deliver()
    assert (day.piece(other).outcome, day.piece(code).outcome) == ("second", "over_cap")
    assert (day.piece(code).charged_fen, day.piece(code).excess_fen) == (4000, 2000)
    assert day.money() == (100_000 - 4000 - 100 - ORDER_FEN, 0)
    assert faults(day) == []


@pytest.mark.parametrize("left_first", [True, False])
def test_d7_e12_bought_within_the_cap_after_a_bounce_it_is_the_merchants_also_when_it_has_left(
    day: Day, phone: Device, left_first: bool
) -> None:
    task = one_order(day)
    bounced = kinds.TaskBounced(price_fen=9000).about(f"task:{task}", day.task(task).stall_id)
    [said] = phone.say(phone.route(task), bounced)
    phone.offline = True
    phone.say(phone.route(task), kinds.AnswerWithdrawn(fact=said).about(f"task:{task}"))
    code = phone.buy(task, 6000)
    for ships in (True, False) if left_first else (False, True):
        if ships:
            ship_by_qr(day, task, code, 6000)
        else:
            phone.offline = False
            phone.deliver()
    assert (day.piece(code).outcome, day.piece(code).charged_fen) == ("keeps", 6000)
    assert day.money() == (100_000 - 6000 - 100 - ORDER_FEN, 0)
    assert "wallet_short" not in day.discrepancies()
    assert faults(day) == []


def test_e12_bounced_by_another_phone_before_it_left_its_commission_is_taken_once(day: Day, phone: Device) -> None:
    colleague = day.enrol("picker", "bob")
    task = one_order(day)
    phone.sync(phone.route(task))
    phone.offline = True
    code = phone.buy(task, 6000)
    newer = str(day.do(c.TaskReassign(task=task, device=colleague.number))["task"])
    bounced = kinds.TaskBounced(price_fen=9000).about(f"task:{newer}", day.task(task).stall_id)
    colleague.say(colleague.route(newer), bounced)
    ship_by_qr(day, task, code, 6000)
    phone.offline = False
    phone.deliver()
    assert (day.piece(code).outcome, day.piece(code).charged_fen) == ("keeps", 6000)
    assert day.money() == (100_000 - 6000 - 100 - ORDER_FEN, 0)
    assert faults(day) == []


def test_d10_a_piece_that_has_left_serves_the_order_and_a_colleagues_is_the_second(day: Day, phone: Device) -> None:
    colleague = day.enrol("picker", "bob")
    task = one_order(day)
    phone.sync(phone.route(task))
    phone.offline = True
    code = phone.buy(task, 6000)
    day.do(c.TaskReassign(task=task, device=colleague.number))
    colleague.sync(colleague.route("T1001-1.2"))
    colleague.offline = True
    later = colleague.buy("T1001-1.2", 6100)
    ship_by_qr(day, task, code, 6000)
    for device in (colleague, phone):
        device.offline = False
        device.deliver()
    assert (day.piece(code).outcome, day.piece(later).outcome) == ("keeps", "second")
    assert day.money() == (100_000 - 6000 - 100 - ORDER_FEN, 0)


def test_e12_d4_a_piece_that_left_by_its_label_alone_takes_the_task_back_from_a_colleague(
    day: Day, phone: Device
) -> None:
    """Nobody walks for a piece that its buyer has; what was paid for it waits for its own phone all the same."""
    colleague = day.enrol("picker", "bob")
    task = one_order(day)
    phone.sync(phone.route(task))
    phone.offline = True
    code = phone.buy(task, 6000)
    second = day.do(c.TaskReassign(task=task, device=colleague.number))["task"]
    about = (f"task:{second}", day.task(second).stall_id)
    colleague.say(colleague.route(second), kinds.TaskAnswered(answer=kinds.Answer.OUT_OF_STOCK).about(*about))
    ship_by_qr(day, task, code, 6000)
    assert (day.task(second).status, day.task(second).recalled) == ("recalled", "reassigned")
    assert [fact.subjects for fact in day.said(colleague.route(second), "task.recalled")] == [f'["task:{second}"]']
    assert day.all(st.decision, st.decision.c.resolved_ms.is_(None)) == []
    assert day.money() == (100_000 - PIECE_FEN - ORDER_FEN, 6500)
    colleague.say(colleague.route(second), kinds.RecallSeen().about(f"task:{second}"))
    assert (day.task(second).status, day.money()[1]) == ("ended", 6500)
    phone.offline = False
    phone.deliver()
    assert (day.piece(code).outcome, day.piece(code).charged_fen) == ("keeps", 6000)
    assert day.money() == (100_000 - 6000 - 100 - ORDER_FEN, 0)


def test_e12_d4_a_piece_that_left_by_its_label_alone_ends_an_attempt_that_waits_for_its_day(
    day: Day, phone: Device
) -> None:
    task, code = one_order(day), phone.mint()
    body = kinds.TaskAnswered(answer=kinds.Answer.OUT_OF_STOCK)
    phone.say(phone.route(task), body.about(f"task:{task}", day.task(task).stall_id))
    day.do(c.TaskDecide(task=task, choice="on_day", on_day="2027-03-01"))
    ship_by_qr(day, task, code, 6000)
    assert (day.task("T1001-1.2").status, day.task("T1001-1.2").recalled) == ("ended", "reassigned")


def test_d9_a_bounce_frees_nothing_while_the_phone_of_an_earlier_attempt_may_have_bought(day: Day) -> None:
    day.enrol("warehouse", "wu")
    ann, bo = day.enrol("picker", "ann"), day.enrol("picker", "bo")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign(devices=[ann.number]))
    ann.sync(ann.route("T1001-1"))
    ann.offline = True
    code = ann.buy("T1001-1", 6000)
    day.do(c.TaskReassign(task="T1001-1", device=bo.number))
    held = day.money()[1]
    bo.say(
        bo.route("T1001-1.2"), kinds.TaskBounced(price_fen=9000).about("task:T1001-1.2", day.task("T1001-1").stall_id)
    )
    assert day.money()[1] == held
    day.do(c.TaskDecide(task="T1001-1.2", choice="close_line"))
    ann.offline = False
    ann.deliver()
    assert (day.piece(code).outcome, day.piece(code).charged_fen) == ("closed_unseen", 6000)
