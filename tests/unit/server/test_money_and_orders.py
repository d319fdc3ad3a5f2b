"""Orders come in: screened, paid for in their order, imported once."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from server import commands as c
from server import schema_trade as st
from server.recount import recount_server
from tests.unit.server.day import Day, Device, open_day
from trade import kinds
from trade.projections import MARKET_DAY

CODE = "国大_3F-315_P65_8821#"
EXAMPLES = Path(__file__).parents[3] / "examples"


def files_of(*paths: Path) -> list[c.OrderFile]:
    return [c.OrderFile(name=path.name, content=base64.b64encode(path.read_bytes()).decode()) for path in paths]


def test_e25_of_three_orders_for_the_last_money_exactly_one_passes_and_the_rest_go_on_after_a_top_up(
    tmp_path: Path,
) -> None:
    day = open_day(tmp_path, money_fen=100_00)
    day.do(c.FeesSet())
    day.orders(*(f"A{n}|国大_3F-315_P98_8821#|1" for n in (1, 2, 3)))
    assert [order.status for order in day.all(st.shop_order)] == ["ready", "money", "money"]
    assert day.money() == (200, 9800)
    told = day.do(c.TopUp(merchant="m1", amount_fen=98_00, key="second"))
    assert told["orders_gone_on"] == 1
    assert [order.status for order in day.all(st.shop_order)] == ["ready", "ready", "money"]
    assert day.money() == (200, 19600)
    day.store.close()


def test_r20_the_same_bank_reference_is_booked_once(day: Day) -> None:
    assert day.do(c.TopUp(merchant="m1", amount_fen=500, key="ref"))["booked"]
    assert not day.do(c.TopUp(merchant="m1", amount_fen=500, key="ref"))["booked"]
    assert day.money() == (100_500, 0)


def test_r33_a_message_waits_for_a_person(day: Day) -> None:
    day.orders(f"A1|{CODE}|1|请换成红色")
    assert (day.order("O1001").status, day.order("O1001").holds) == ("held", '["message"]')
    assert day.do(c.OrdersRelease(orders=["O1001"]))["gone_on"] == 1
    assert day.order("O1001").status == "ready"


def test_r7_a_bad_code_holds_the_order_until_it_is_better(day: Day) -> None:
    told = day.orders("A1|8821#|1")
    assert told["problems"][0]["row"] == 2
    assert day.order("O1001").holds == '["bad_code"]'
    assert day.ask(c.LineCode(order="O1001", line="1", code="国大_8821"))["code"].startswith("product_code.")
    assert day.do(c.LineCode(order="O1001", line="1", code=CODE))["gone_on"]
    assert day.order("O1001").status == "ready"


def test_r31_refunding_is_held_and_goes_on_when_withdrawn(day: Day) -> None:
    day.orders(f"A1|{CODE}|1||{'王静,13700000001,广东省 1号'}|refunding")
    assert day.order("O1001").status == "held"
    day.do(c.RefundWithdrawn(order="O1001"))
    assert day.order("O1001").status == "ready"


def test_r31_nobody_is_sent_for_an_order_whose_refund_was_asked_before_it_went_out(day: Day) -> None:
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RefundAsked(order="O1001"))
    assert day.do(c.RoutesAssign())["tasks"] == 0
    day.do(c.RefundWithdrawn(order="O1001"))
    assert (day.do(c.RoutesAssign())["tasks"], day.task("T1001-1").device) == (1, phone.number)


def test_e32_after_the_service_period_no_new_order_starts(day: Day) -> None:
    day.do(c.ServiceSet(merchant="m1", service_until_ms=day.now_ms))
    day.orders(f"A1|{CODE}|1")
    assert day.order("O1001").holds == '["service_ended"]'
    day.do(c.ServiceSet(merchant="m1", service_until_ms=None))
    assert day.order("O1001").status == "ready"


def test_r4_the_same_import_again_changes_nothing_and_a_changed_one_is_told(day: Day) -> None:
    day.orders(f"A1|{CODE}|1")
    assert day.orders(f"A1|{CODE}|1")["unchanged"] == 1
    told = day.orders(f"A1|{CODE}|2")
    assert (told["changed"], told["changes"][0]["pieces_now"]) == (1, 2)
    assert len(day.all(st.wanted)) == 1
    assert "order_changed" in day.discrepancies()


def test_the_morning_of_the_examples_is_read_whole(day: Day) -> None:
    day.do(c.TopUp(merchant="m1", amount_fen=100_000_00, key="more"))
    told = day.do(c.OrdersImport(shop="小满", files=files_of(*sorted(EXAMPLES.glob("Export*.csv")))))
    assert told["new"] + told["skipped"] == told["read"] >= 200
    assert told["problems"] == []
    refunding = [line for line in day.all(st.order_line) if line.refund_asked]
    assert refunding
    assert all("退" not in order.status for order in day.all(st.shop_order))
    day.money()


@pytest.mark.parametrize("name", sorted(path.name for path in (EXAMPLES / "wrong").glob("*.csv")))
def test_wrong_files_are_told_and_store_nothing(day: Day, name: str) -> None:
    wrong = EXAMPLES / "wrong"
    paths = [wrong / name]
    if "ExportOrder" in name:
        other = "ExportOrderDetailList" if "ExportOrderList" in name else "ExportOrderList"
        mine = "ExportOrderList" if "ExportOrderList" in name else "ExportOrderDetailList"
        pair = wrong / name.replace(mine, other)
        paths.append(pair if pair.exists() else wrong / f"good-{other}.csv")
    told = day.ask(c.OrdersImport(shop="小满", files=files_of(*paths)))
    taken = day.all(st.shop_order)
    if told["ok"]:
        assert name.startswith(("good", "bad-codes", "counts-differ", "utf16")), told
    else:
        assert not taken
        problem = told["problems"][0]
        assert all(problem[name] for name in ("zh", "en", "fix_zh", "fix_en"))


def test_a_masked_receiver_does_not_stop_picking_and_holds_the_parcel(day: Day) -> None:
    day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1||王**,137****0001,广东省 ****")
    day.do(c.RoutesAssign())
    parcel = day.parcel("P1001")
    assert (parcel.status, parcel.held, parcel.waybill_no) == ("held", "address_needed", None)
    phone.buy("T1001-1", 6000)
    assert (
        day.ask(c.AddressGiven(order="O1001", name="王静", phone="137****0001", address="x"))["code"] == "order.address"
    )
    day.do(c.AddressGiven(order="O1001", name="王静", phone="13700000001", address="广东省 广州市 1号"))
    assert day.parcel("P1001").waybill_no == "ZT0000000001"
    assert day.state(day.warehouse(), "parcel:P1001")["status"] == "ready"


def test_e16_a_changed_address_voids_the_number_and_gets_another(day: Day) -> None:
    day.enrol("warehouse", "wu")
    day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    day.do(c.AddressGiven(order="O1001", name="李四", phone="13900000001", address="北京市 2号"))
    assert day.parcel("P1001").waybill_no == "ZT0000000002"
    assert day.state(day.warehouse(), "parcel:P1001")["voided"] == ["ZT0000000001"]


def test_e17_without_numbers_the_parcel_parks_and_goes_on_with_the_next_range(tmp_path: Path) -> None:
    day = open_day(tmp_path)
    day.do(c.CourierRange(courier="中通", prefix="X", first=1, last=9, digits=3))
    day.do(c.CourierRange(courier="顺丰", prefix="S", first=1, last=1, digits=3))
    day.do(c.ShopSet(shop="小满", merchant="m1", courier="顺丰"))
    day.enrol("warehouse", "wu")
    day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1", f"A2|{CODE}|1")
    day.do(c.RoutesAssign())
    assert [day.parcel("P1001").waybill_no, day.parcel("P1002").held] == ["S001", "no_number"]
    told = day.do(c.CourierRange(courier="顺丰", prefix="SF", first=10, last=20, digits=5))
    assert told["parcels_served"] == 1
    assert day.parcel("P1002").waybill_no == "SF00010"
    day.store.close()


def test_e17_a_courier_that_never_had_numbers_is_refused_and_a_shops_new_courier_serves_what_waits(
    tmp_path: Path,
) -> None:
    day = open_day(tmp_path)
    day.do(c.CourierRange(courier="顺丰", prefix="S", first=1, last=1, digits=3))
    assert day.ask(c.ShopSet(shop="小满", merchant="m1", courier="顺风")).get("code") == "courier.unknown"
    day.do(c.ShopSet(shop="小满", merchant="m1", courier="顺丰"))
    day.enrol("warehouse", "wu")
    day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1", f"A2|{CODE}|1")
    day.do(c.RoutesAssign())
    assert day.parcel("P1002").held == "no_number"
    told = day.do(c.ShopSet(shop="小满", merchant="m1", courier="中通"))
    assert told["parcels_served"] == 1
    assert [day.parcel(p).waybill_no for p in ("P1001", "P1002")] == ["S001", "ZT0000000001"]
    day.store.close()


def test_two_ranges_that_write_the_same_numbers_with_another_prefix_are_not_both_taken(tmp_path: Path) -> None:
    day = open_day(tmp_path)
    day.do(c.CourierRange(courier="中通", prefix="SF", first=10, last=11, digits=3))
    told = day.ask(c.CourierRange(courier="中通", prefix="SF0", first=11, last=12, digits=2))
    assert told.get("code") == "range.overlap"
    assert "numbers" in day.do(c.CourierRange(courier="中通", prefix="SF0", first=12, last=13, digits=2))
    day.store.close()


def test_d16_single_pieces_need_no_cell_and_a_full_wall_overflows(day: Day) -> None:
    wall = day.enrol("warehouse", "wu")
    day.enrol("picker", "ann")
    from server.devices import CELLS

    day.do(c.DeviceCells(device=wall.number, cells=[CELLS[0]]))
    day.orders(f"A1|{CODE}|1", f"A2|{CODE}|2", f"A3|{CODE}|2")
    day.do(c.RoutesAssign())
    cells = [(order.cell, order.terminal) for order in day.all(st.shop_order)]
    assert cells == [(None, None), (CELLS[0], wall.number), ("溢出架", wall.number)]


def test_d4_a_stall_goes_to_one_picker_and_the_load_is_even(day: Day) -> None:
    day.enrol("warehouse", "wu")
    for name in ("ann", "bob"):
        day.enrol("picker", name)
    day.orders(*(f"A{n}|国大_{1 + n % 3}F-{n % 6}_P5_8821#|1" for n in range(12)))
    told = day.do(c.RoutesAssign())
    assert sorted(told["devices"].values()) == [6, 6]
    by_stall: dict[str, set[int]] = {}
    for task in day.all(st.task):
        by_stall.setdefault(task.stall_id, set()).add(task.device)
    assert all(len(devices) == 1 for devices in by_stall.values())


def test_e15_a_refund_asked_after_packing_stands_in_the_warehouse(day: Day) -> None:
    wall = day.enrol("warehouse", "wu")
    phone: Device = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    code = phone.buy("T1001-1", 6500)
    wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{code}"))
    number = day.parcel("P1001").waybill_no
    about = ("parcel:P1001", "order:O1001", f"piece:{code}")
    wall.say(day.warehouse(), kinds.ParcelPacked(waybill_no=number, pieces=[code]).about(*about))
    day.do(c.RefundAsked(order="O1001"), by="merchant:m1:x")
    assert day.state(day.warehouse(), "order:O1001")["refund_open"] is True
    wall.say(day.warehouse(), kinds.ParcelShipped(waybill_no=number, pieces=[code]).about(*about))
    assert "shipped_though_stopped" in day.discrepancies()
    assert day.order("O1001").status == "shipped"


def test_e18_shipping_twice_captures_the_fees_once(day: Day) -> None:
    wall = day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    code = phone.buy("T1001-1", 6500)
    number = day.parcel("P1001").waybill_no
    about = ("parcel:P1001", "order:O1001", f"piece:{code}")
    for _ in range(2):
        wall.say(day.warehouse(), kinds.ParcelShipped(waybill_no=number, pieces=[code]).about(*about))
    assert day.money() == (100_000 - 6500 - 100 - 350, 0)
    assert len(day.state(day.warehouse(), "parcel:P1001")["shipped"]) == 2


@pytest.mark.parametrize("owner_packs", [True, False])
def test_i3_d16_a_waybill_at_another_terminal_than_the_orders_is_a_fault(day: Day, owner_packs: bool) -> None:
    walls = {wall.number: wall for wall in (day.enrol("warehouse", "wu"), day.enrol("warehouse", "li"))}
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|2")
    day.do(c.RoutesAssign())
    owner = day.order("O1001").terminal
    wall = walls.pop(owner) if owner_packs else next(one for number, one in walls.items() if number != owner)
    codes = [phone.buy(task, 6500) for task in ("T1001-1", "T1001-2")]
    for code in codes:
        wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{code}"))
    number = day.parcel("P1001").waybill_no
    about = ("parcel:P1001", "order:O1001", *(f"piece:{code}" for code in codes))
    packed = kinds.ParcelPacked(waybill_no=number, pieces=codes).about(*about)
    wall.say(day.warehouse(), packed, kinds.WaybillPrinted(waybill_no=number, copy_no=1).about("parcel:P1001"))
    checks, _ = recount_server(day.server, MARKET_DAY)
    faults = [fault for check in checks for fault in check.faults]
    wrong = f"parcel:P1001: waybill.printed at terminal {wall.number}, though [{owner}] packs it (D16)"
    assert faults == ([] if owner_packs else [wrong])


@pytest.mark.parametrize("how", ["recall_seen", "bought_unseen", "before_it_ships"])
def test_r49_an_order_whose_last_open_piece_closes_after_the_parcel_left_is_shipped(day: Day, how: str) -> None:
    wall = day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|2")
    day.do(c.RoutesAssign())
    route = phone.route("T1001-2")
    code = phone.buy("T1001-1", 6500)
    wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{code}"))
    phone.sync(route)
    phone.offline = True
    answer = kinds.TaskAnswered(answer=kinds.Answer.STYLE_GONE)
    phone.say(route, answer.about("task:T1001-2", day.task("T1001-2").stall_id))
    phone.offline = False
    phone.deliver()
    closes = how == "before_it_ships"
    if closes:
        day.do(c.TaskDecide(task="T1001-2", choice="close_line"))
    number = day.parcel("P1001").waybill_no
    about = ("parcel:P1001", "order:O1001", f"piece:{code}")
    wall.say(day.warehouse(), kinds.ParcelShipped(waybill_no=number, pieces=[code]).about(*about))
    assert day.order("O1001").status == "out"
    if not closes:
        day.do(c.TaskDecide(task="T1001-2", choice="close_line"))
    assert day.order("O1001").status == "out", "its phone may still buy"
    if how == "bought_unseen":
        phone.buy("T1001-2", 6500)
    else:
        phone.say(route, kinds.RecallSeen().about("task:T1001-2"))
    assert (day.order("O1001").status, day.order("O1001").shipped_ms) == ("shipped", day.parcel("P1001").shipped_ms)
    bought = how == "bought_unseen"
    assert day.money() == (100_000 - 6500 * (1 + bought) - 100 * (1 + bought) - 350, 0)
