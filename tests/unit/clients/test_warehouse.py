"""What a terminal's scans do, with no server: sorting, packing, shipping, stops, returns and the runner's bag."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from clients.warehouse.receivers import fetch_keys
from sync_core.facts import Fact, PlacedFact, carry
from tests.unit.clients.market import DEVICE, NOW_MS, TERMINAL, WALL, Bench, assigned
from trade import kinds
from trade.piece_code import label_qr, mint_piece_code

KEY = bytes(range(32))
RECEIVER = {"name": "王小花", "phone": "13812345678", "address": "广东省广州市天河区一路1号"}


def code(serial: int) -> str:
    return str(mint_piece_code(DEVICE, serial))


def bought(order: int, piece: int, serial: int, price_fen: int = 6500) -> Fact:
    """A purchase as the server carries it out of the picker's route."""
    body = kinds.PieceBought(price_fen=price_fen, means=kinds.Means.CASH)
    fact = body.about(f"task:T{order}-{piece}", f"piece:{code(serial)}", "stall:国大/3F/315")
    return carry(
        PlacedFact(
            id=f"{DEVICE}.{serial}.0", kind=fact.kind, subjects=fact.subjects, body=fact.body, device=DEVICE, person="p1",
            at_ms=NOW_MS - 600_000, role="picker", schema=1, writer=DEVICE, seq=serial, index=0, basis={},
        )
    )  # fmt: skip


def waybill(order: int, *pieces: int, number: str | None = None) -> Fact:
    sealed = base64.b64encode(b"n" * 12 + AESGCM(KEY).encrypt(b"n" * 12, json.dumps(RECEIVER).encode(), None)).decode()
    body = kinds.WaybillObtained(
        waybill_no=number or f"YT88{order:010d}", courier="圆通", three_part_code="310-A8 026", bag_place="广州转",
        sender_name="小店", sealed=sealed, tasks=[f"T{order}-{piece}" for piece in pieces],
    )  # fmt: skip
    return body.about(f"parcel:P{order}", f"order:O{order}")


def qr_of(
    order: int, piece: int, serial: int, *, pieces: int = 1, cell: str | None = None, terminal: int | None = None
) -> str:
    return label_qr(
        code=mint_piece_code(DEVICE, serial), task=f"T{order}-{piece}", order=f"O{order}", piece_no=piece,
        order_pieces=pieces, price_fen=6500, cell=cell, terminal=terminal,
    )  # fmt: skip


async def keys(bench: Bench, *orders: int) -> None:
    bench.door.keys.update({f"P{order}": KEY.hex() for order in orders})
    await fetch_keys(bench.node)


async def single(bench: Bench, order: int = 1, serial: int = 1) -> None:
    """An order of one piece whose phone has synced and whose waybill and key are here."""
    bench.say(WALL, assigned(order), bought(order, 1, serial), waybill(order, 1))
    await keys(bench, order)


async def double(bench: Bench, order: int = 2, terminal: int = TERMINAL) -> None:
    """An order of two pieces, bought as serials 21 and 22."""
    two: dict[str, Any] = {"order_pieces": 2, "cell": "A03", "terminal": terminal}
    bench.say(WALL, assigned(order, 1, **two), assigned(order, 2, **two))
    bench.say(WALL, bought(order, 1, 21), bought(order, 2, 22), waybill(order, 1, 2))
    await keys(bench, order)


async def test_d16_a_single_piece_is_packed_and_its_waybill_printed_by_one_scan(warehouse: Bench) -> None:
    await single(warehouse)
    answer = await warehouse.post("/scan", code=code(1))
    assert (answer["outcome"], answer["tone"], answer["waybill_no"]) == ("single_packed", "ok", "YT880000000001")
    (job,) = warehouse.printers.jobs()
    assert (job.printer, job.subject) == ("waybill", "YT880000000001")
    label = warehouse.replica.conn.execute("SELECT label_json FROM print_job").fetchone()[0]
    for text in ("王小花", "13812345678", "310-A8 026", "小店", "YT880000000001"):
        assert text in label, text


async def test_r52_the_second_scan_of_the_waybill_ships_and_a_third_says_so(warehouse: Bench) -> None:
    await single(warehouse)
    await warehouse.post("/scan", code=code(1))
    shipped = await warehouse.post("/scan", code="YT880000000001")
    assert (shipped["outcome"], shipped["tone"]) == ("shipped", "ok")
    before = warehouse.facts()
    again = await warehouse.post("/scan", code="YT880000000001")
    assert (again["outcome"], again["tone"]) == ("already_shipped", "warn")
    assert warehouse.facts() == before


async def test_r51_a_piece_of_two_goes_to_its_cell_and_the_completing_scan_packs(warehouse: Bench) -> None:
    await double(warehouse)
    first = await warehouse.post("/scan", code=code(21))
    assert (first["outcome"], first["cell"], first["count"]) == ("in_cell", "A03", "1/2")
    second = await warehouse.post("/scan", code=code(22))
    assert (second["outcome"], second["count"]) == ("complete_packed", "2/2")
    assert sorted(second["pieces"]) == sorted([code(21), code(22)])


async def test_e9_a_second_copy_of_a_label_says_when_and_where_and_changes_nothing(warehouse: Bench) -> None:
    await double(warehouse)
    await warehouse.post("/scan", code=code(21))
    before = warehouse.facts()
    again = await warehouse.post("/scan", code=code(21))
    assert (again["outcome"], again["terminal"], again["cell"]) == ("already_in", TERMINAL, "A03")
    assert "09:46" in again["zh"]
    assert warehouse.facts() == before


async def test_d10_a_second_garment_of_a_packed_order_goes_to_the_shelf_and_prints_no_second_waybill(
    warehouse: Bench,
) -> None:
    """Two phones bought for one want; neither has spoken yet, the terminal knows both labels by their QR only."""
    first = assigned(1)
    again = replace(first, subjects=("task:T1-1.2", "order:O1"))
    recalled = kinds.TaskRecalled(reason="reassigned").about("task:T1-1")
    warehouse.say(WALL, first, waybill(1, 1), recalled, again)
    await keys(warehouse, 1)
    assert (await warehouse.post("/scan", code=qr_of(1, 1, 2)))["outcome"] == "single_packed"
    second = label_qr(
        code=mint_piece_code(DEVICE, 1), task="T1-1.2", order="O1", piece_no=1, order_pieces=1, price_fen=6500
    )
    for _ in range(2):  # The bag is scanned again later: still no second waybill.
        assert (await warehouse.post("/scan", code=second))["outcome"] == "to_stock"
    assert len(warehouse.printers.jobs()) == 1


async def test_d16_another_terminals_order_is_carried_there(warehouse: Bench) -> None:
    await double(warehouse, terminal=202)
    await warehouse.post("/scan", code=code(21))
    answer = await warehouse.post("/scan", code=code(22))
    assert (answer["outcome"], answer["terminal"]) == ("carry", 202)
    assert warehouse.printers.jobs() == []


async def test_e12_a_label_nobody_heard_of_is_sorted_by_its_qr_and_completes_the_order(warehouse: Bench) -> None:
    two: dict[str, Any] = {"order_pieces": 2, "cell": "A03", "terminal": TERMINAL}
    warehouse.say(WALL, assigned(2, 1, **two), assigned(2, 2, **two), waybill(2, 1, 2))
    await keys(warehouse, 2)
    first = await warehouse.post("/scan", code=qr_of(2, 1, 21, pieces=2, cell="A03", terminal=TERMINAL))
    assert (first["outcome"], first["cell"], first["count"]) == ("in_cell", "A03", "1/2")
    second = await warehouse.post("/scan", code=qr_of(2, 2, 22, pieces=2, cell="A03", terminal=TERMINAL))
    assert second["outcome"] == "complete_packed"
    shipped = await warehouse.post("/scan", code=second["waybill_no"])
    assert shipped["outcome"] == "shipped"


async def test_e12_a_bar_code_alone_waits_for_its_phone_and_finds_its_place_by_the_qr_later(warehouse: Bench) -> None:
    await double(warehouse, order=5)
    unheard = code(77)
    answer = await warehouse.post("/scan", code=unheard)
    assert (answer["outcome"], answer["phone"]) == ("waiting_for_phone", DEVICE)
    assert (await warehouse.get("/wall"))["waiting_for_phone"] == [unheard]
    two: dict[str, Any] = {"order_pieces": 2, "cell": "B07", "terminal": TERMINAL}
    warehouse.say(WALL, assigned(6, 1, **two), assigned(6, 2, **two))
    later = await warehouse.post("/scan", code=qr_of(6, 1, 77, pieces=2, cell="B07", terminal=TERMINAL))
    assert (later["outcome"], later["cell"]) == ("in_cell", "B07")
    assert (await warehouse.get("/wall"))["waiting_for_phone"] == []


async def test_d17_without_a_number_the_complete_order_parks_and_packs_when_it_comes(warehouse: Bench) -> None:
    held = kinds.ParcelHeld(reason="address_needed", tasks=["T1-1"]).about("parcel:P1", "order:O1")
    warehouse.say(WALL, assigned(1), bought(1, 1, 1), held)
    answer = await warehouse.post("/scan", code=code(1))
    assert (answer["outcome"], answer["parked"]) == ("complete_waits", "address_needed")
    assert (await warehouse.get("/ship"))["parked"] == [{"order": "O1", "why": "address_needed", "pieces": [code(1)]}]
    warehouse.say(WALL, waybill(1, 1))
    waits = await warehouse.post("/scan", code=code(1))
    assert (waits["outcome"], waits["parked"]) == ("complete_waits", "no_key")
    await keys(warehouse, 1)
    assert (await warehouse.post("/scan", code=code(1)))["outcome"] == "single_packed"


async def test_e15_refund_asked_after_packing_stops_the_shipping_scan(warehouse: Bench) -> None:
    await single(warehouse)
    await warehouse.post("/scan", code=code(1))
    warehouse.say(WALL, kinds.RefundAsked().about("order:O1"))
    before = warehouse.facts()
    stop = await warehouse.post("/scan", code="YT880000000001")
    assert (stop["outcome"], stop["tone"]) == ("stop_refund", "stop")
    assert warehouse.facts() == before
    warehouse.say(WALL, kinds.RefundAsked(withdrawn=True).about("order:O1"))
    assert (await warehouse.post("/scan", code="YT880000000001"))["outcome"] == "shipped"


async def test_e15_a_refund_known_before_the_scan_keeps_the_waybill_from_printing(warehouse: Bench) -> None:
    await single(warehouse)
    warehouse.say(WALL, kinds.RefundAsked().about("order:O1"))
    stop = await warehouse.post("/scan", code=code(1))
    assert stop["outcome"] == "stop_refund"
    assert warehouse.printers.jobs() == []


async def test_r49_a_piece_of_a_closed_order_is_taken_in_and_not_shipped(warehouse: Bench) -> None:
    await single(warehouse)
    warehouse.say(WALL, kinds.OrderClosed().about("order:O1"))
    stop = await warehouse.post("/scan", code=code(1))
    assert (stop["outcome"], stop["tone"]) == ("stop_closed", "stop")
    assert warehouse.facts() == 1
    closed = kinds.PurchaseVerdict(fact=f"{DEVICE}.1.0", outcome="closed_unseen", owner="m1", charged_fen=6500)
    warehouse.say(WALL, closed.about("task:T1-1", f"piece:{code(1)}"))
    for _ in range(3):  # Whoever counts the shelf every day does not make its story longer.
        assert (await warehouse.post("/scan", code=code(1)))["outcome"] == "stop_closed"
    assert warehouse.facts() == 1


async def test_e16_a_voided_waybill_does_not_ship(warehouse: Bench) -> None:
    await single(warehouse)
    await warehouse.post("/scan", code=code(1))
    warehouse.say(WALL, kinds.WaybillVoided(waybill_no="YT880000000001").about("parcel:P1"))
    assert (await warehouse.post("/scan", code="YT880000000001"))["outcome"] == "stop_voided"


async def test_e18_what_has_left_is_told_so_also_when_its_number_was_voided_behind_it(warehouse: Bench) -> None:
    """The terminal died behind its commit, so nobody saw that it had shipped; its order was closed before the second scan."""
    await single(warehouse)
    await warehouse.post("/scan", code=code(1))
    await warehouse.post("/scan", code="YT880000000001")
    warehouse.say(WALL, kinds.OrderClosed().about("order:O1"))
    warehouse.say(WALL, kinds.WaybillVoided(waybill_no="YT880000000001").about("parcel:P1"))
    before = warehouse.facts()
    again = await warehouse.post("/scan", code="YT880000000001")
    assert (again["outcome"], again["tone"]) == ("already_shipped", "warn")
    assert warehouse.facts() == before


async def test_d17_a_reprint_is_the_same_number_and_the_next_copy(warehouse: Bench) -> None:
    await single(warehouse)
    await warehouse.post("/scan", code=code(1))
    answer = await warehouse.post("/waybill/reprint", parcel="P1")
    assert (answer["outcome"], answer["copy"]) == ("reprinted", 2)
    assert {job.subject for job in warehouse.printers.jobs()} == {"YT880000000001"}


async def test_an_unknown_label_is_refused_in_plain_words(warehouse: Bench) -> None:
    for text in ("ABC-123", "999999999998", "", "NH9:zzz", "1" * 400):
        answer = await warehouse.post("/scan", code=text)
        assert answer["status"] == 409, text
        assert answer["zh"]
    assert warehouse.facts() == 0


async def test_d23_full_width_digits_of_a_chinese_input_method_are_read(warehouse: Bench) -> None:
    await single(warehouse)
    wide = code(1).translate({ord(str(digit)): chr(0xFF10 + digit) for digit in range(10)})
    assert (await warehouse.post("/scan", code=wide))["outcome"] == "single_packed"


async def test_a_double_scan_form_packs_once(warehouse: Bench) -> None:
    await single(warehouse)
    first = await warehouse.post("/scan", code=code(1), action="s1")
    second = await warehouse.post("/scan", code=code(1), action="s1")
    assert (first["outcome"], second["outcome"], second["again"]) == ("single_packed", "single_packed", True)
    assert len(warehouse.printers.jobs()) == 1


async def test_e11_swapped_bags_are_put_right_by_one_tap(warehouse: Bench) -> None:
    await double(warehouse)
    warehouse.say(WALL, assigned(4, 1, order_pieces=2, cell="B01", terminal=TERMINAL))
    warehouse.say(WALL, assigned(4, 2, order_pieces=2, cell="B01", terminal=TERMINAL), bought(4, 1, 41))
    await warehouse.post("/scan", code=code(21))
    await warehouse.post("/scan", code=code(41))
    answer = await warehouse.post("/swap", first=code(21), second=code(41))
    assert (answer["outcome"], answer["tasks"]) == ("swapped", ["T4-1", "T2-1"])
    piece = warehouse.replica.state(f"piece:{code(21)}", WALL)
    assert piece is not None
    assert piece["task"] == "T4-1"


async def test_e11_a_second_piece_serves_no_order_and_is_not_swapped(warehouse: Bench) -> None:
    await double(warehouse)
    warehouse.say(WALL, assigned(4, 1, order_pieces=2, cell="B01", terminal=TERMINAL))
    warehouse.say(WALL, assigned(4, 2, order_pieces=2, cell="B01", terminal=TERMINAL), bought(4, 1, 41))
    second = kinds.PurchaseVerdict(
        fact=f"{DEVICE}.41.0", outcome="second", owner="platform", charged_fen=0, keeper=code(42)
    )
    warehouse.say(WALL, second.about("task:T4-1", f"piece:{code(41)}"))
    await warehouse.post("/scan", code=code(21))
    await warehouse.post("/scan", code=code(41))
    before = warehouse.facts()
    answer = await warehouse.post("/swap", first=code(21), second=code(41))
    assert answer["code"] == "swap.serves_nothing"
    assert warehouse.facts() == before


async def ship(bench: Bench) -> None:
    await single(bench)
    await bench.post("/scan", code=code(1))
    await bench.post("/scan", code="YT880000000001")


def expected(serial: int = 1, bought_at_ms: int = NOW_MS - 86_400_000) -> Fact:
    piece = kinds.ReturnedPiece(
        piece=code(serial), task="T1-1", style="8821#", colour="黑色", size="M", market="国大", floor="3F", stall="315",
        paid_fen=6500, picker="小王", bought_at_ms=bought_at_ms,
    )  # fmt: skip
    body = kinds.ReturnExpected(
        courier_no="SF7001002003", order_no="260501", merchant="M1", merchant_name="小店", pieces=[piece]
    )
    return body.about("return:SF7001002003", "order:O1", f"piece:{code(serial)}")


async def returned(bench: Bench, **changes: Any) -> None:
    await ship(bench)
    bench.say(WALL, expected(**changes))
    await bench.post("/scan", code="SF7001002003", mode="returns")


async def test_r53_the_couriers_number_finds_the_return(warehouse: Bench) -> None:
    await ship(warehouse)
    warehouse.say(WALL, expected())
    answer = await warehouse.post("/scan", code="sf7001002003", mode="returns")
    assert (answer["outcome"], answer["pieces"]) == ("return_received", [code(1)]), "typed in small letters"
    assert (await warehouse.post("/scan", code="SF7001002003", mode="returns"))["outcome"] == "return_again"


async def test_r54_a_fit_piece_is_stock_and_gets_its_return_label(warehouse: Bench) -> None:
    await returned(warehouse)
    answer = await warehouse.post("/return/inspect", **{"return": "SF7001002003", "piece": code(1), "passed": "1"})
    assert answer["outcome"] == "passed"
    newest = warehouse.printers.jobs()[0]
    assert (newest.printer, newest.subject) == ("label", code(1))
    assert (await warehouse.get("/stock"))["stock"] == [code(1)]
    async with warehouse.browser(accept="text/html") as browser:
        assert "315 · 8821#" in (await browser.get("/stock")).text
    again = await warehouse.post("/return/inspect", **{"return": "SF7001002003", "piece": code(1), "passed": "1"})
    assert again["code"] == "return.inspected"


async def test_r55_an_unfit_piece_lies_in_the_pending_area_until_its_end_is_said(warehouse: Bench) -> None:
    await returned(warehouse)
    fields = {"return": "SF7001002003", "piece": code(1), "passed": "0"}
    assert (await warehouse.post("/return/inspect", **fields))["code"] == "return.reason"
    assert (await warehouse.post("/return/inspect", **fields, reason="穿过"))["outcome"] == "pending"
    assert (await warehouse.get("/returns"))["pending"] == [code(1)]
    ended = await warehouse.post("/pending/end", piece=code(1), outcome="handed_to_merchant")
    assert ended["outcome"] == "pending_ended"
    assert (await warehouse.get("/returns"))["pending"] == []


async def test_r58_return_mode_takes_a_piece_out_of_stock_into_the_bag(warehouse: Bench) -> None:
    await returned(warehouse)
    assert (await warehouse.post("/scan", code=code(1), mode="bag", trip="bag-1"))["outcome"] == "not_stock"
    await warehouse.post("/return/inspect", **{"return": "SF7001002003", "piece": code(1), "passed": "1"})
    answer = await warehouse.post("/scan", code=code(1), mode="bag", trip="bag-1")
    assert (answer["outcome"], answer["trip"]) == ("bagged", "bag-1")
    assert (await warehouse.get("/stock"))["stock"] == []
    assert (await warehouse.post("/scan", code=code(1), mode="bag", trip="bag-1"))["outcome"] == "bagged_again"
    back = await warehouse.post("/scan", code=code(1))
    assert back["outcome"] == "brought_back"


def ran(body: kinds.PieceRefused | kinds.PieceRefunded) -> Fact:
    """What a runner said at the stall, as the server carries it out of his trip."""
    fact = body.about(f"piece:{code(1)}", "stall:国大/3F/315")
    return carry(
        PlacedFact(
            id="301.1.0", kind=fact.kind, subjects=fact.subjects, body=fact.body, device=301, person="p1", at_ms=NOW_MS,
            role="runner", schema=1, writer=301, seq=1, index=0, basis={},
        )
    )  # fmt: skip


async def bagged(bench: Bench) -> None:
    await returned(bench)
    await bench.post("/return/inspect", **{"return": "SF7001002003", "piece": code(1), "passed": "1"})
    await bench.post("/scan", code=code(1), mode="bag", trip="bag-1")


@pytest.mark.parametrize("then", ["bring_back", "left_at_stall", "written_off"])
async def test_d15_whatever_its_runner_said_a_piece_at_the_door_was_brought_back(warehouse: Bench, then: str) -> None:
    await bagged(warehouse)
    warehouse.say(WALL, ran(kinds.PieceRefused.model_validate({"reason": "smell", "then": then})))
    assert (await warehouse.post("/scan", code=code(1)))["outcome"] == "brought_back"
    assert (await warehouse.get("/stock"))["stock"] == [code(1)]


async def test_r60_a_piece_that_its_stall_took_back_goes_into_no_cell(warehouse: Bench) -> None:
    await bagged(warehouse)
    warehouse.say(WALL, ran(kinds.PieceRefunded(received_fen=6500, means=kinds.Means.CASH)))
    before = warehouse.facts()
    answer = await warehouse.post("/scan", code=code(1))
    assert (answer["outcome"], answer["tone"], answer["place"]) == ("elsewhere", "stop", "back_at_stall")
    assert "已退档口" in answer["zh"]
    assert warehouse.facts() == before


async def test_r54_a_returned_garment_at_the_door_is_one_to_inspect_and_goes_into_no_cell(warehouse: Bench) -> None:
    await returned(warehouse)
    before = warehouse.facts()
    assert (await warehouse.post("/scan", code=code(1)))["outcome"] == "return_again"
    await warehouse.post(
        "/return/inspect", **{"return": "SF7001002003", "piece": code(1), "passed": "0", "reason": "脏"}
    )
    answer = await warehouse.post("/scan", code=code(1))
    assert (answer["outcome"], answer["place"]) == ("elsewhere", "pending")
    assert warehouse.facts() == before + 1


async def test_d21_a_piece_past_its_term_is_bagged_only_with_a_supervisor(warehouse: Bench) -> None:
    await returned(warehouse, bought_at_ms=NOW_MS - 9 * 86_400_000)
    await warehouse.post("/return/inspect", **{"return": "SF7001002003", "piece": code(1), "passed": "1"})
    asked = await warehouse.post("/scan", code=code(1), mode="bag", trip="bag-1")
    assert (asked["status"], asked["code"]) == (409, "bag.past_term")
    confirmed = await warehouse.post("/scan", **asked["choices"][0]["fields"])
    assert confirmed["outcome"] == "bagged"


async def test_r57_a_piece_sold_before_it_went_to_market_is_drawn_packed_and_never_bagged(warehouse: Bench) -> None:
    await returned(warehouse)
    await warehouse.post("/return/inspect", **{"return": "SF7001002003", "piece": code(1), "passed": "1"})
    warehouse.say(WALL, assigned(7, source="stock", piece=code(1)), waybill(7, 1))
    await keys(warehouse, 7)
    assert (await warehouse.post("/scan", code=code(1), mode="bag", trip="bag-1"))["outcome"] == "sold"
    drawn = await warehouse.post("/scan", code=code(1))
    assert (drawn["outcome"], drawn["drawn"], drawn["waybill_no"]) == ("single_packed", True, "YT880000000007")
    assert (await warehouse.post("/scan", code="YT880000000007"))["outcome"] == "shipped"


async def test_r34_an_order_whose_drawn_piece_is_stock_again_is_packed_with_the_one_that_serves_it(
    warehouse: Bench,
) -> None:
    """Drawn and packed while a phone in the basement had bought for it: that piece serves the order, in the same parcel."""
    await returned(warehouse)
    await warehouse.post("/return/inspect", **{"return": "SF7001002003", "piece": code(1), "passed": "1"})
    first = assigned(7)
    again = replace(
        assigned(7, source="stock", piece=code(1)), subjects=("task:T7-1.2", "order:O7", f"piece:{code(1)}")
    )
    warehouse.say(WALL, first, kinds.TaskRecalled(reason="stall_changed").about("task:T7-1"), again, waybill(7, 1))
    await keys(warehouse, 7)
    assert (await warehouse.post("/scan", code=code(1)))["outcome"] == "single_packed"
    purchase = bought(7, 1, 71)
    warehouse.say(WALL, purchase)
    own = warehouse.replica.state("task:T7-1", WALL)
    assert own is not None
    keeps = kinds.PurchaseVerdict(
        fact=own["purchases"][0]["fact"], outcome="keeps", owner="m1", charged_fen=6500, keeper=code(71)
    )
    warehouse.say(WALL, keeps.about("task:T7-1", f"piece:{code(71)}"))
    warehouse.say(WALL, kinds.TaskRecalled(reason="reassigned").about("task:T7-1.2", f"piece:{code(1)}"))
    stopped = await warehouse.post("/scan", code="YT880000000007")
    assert stopped["outcome"] == "stop_incomplete"
    answer = await warehouse.post("/scan", code=code(71))
    assert (answer["outcome"], answer["pieces"]) == ("single_packed", [code(71)])
    assert (await warehouse.post("/scan", code="YT880000000007"))["outcome"] == "shipped"
    assert (await warehouse.post("/scan", code=code(1)))["outcome"] == "to_stock"


async def test_e19_a_parcel_nobody_announced_is_taken_in_with_a_shelf_place(warehouse: Bench) -> None:
    answer = await warehouse.post("/scan", code="ZT9990001112", mode="returns")
    assert answer["outcome"] == "return_unknown"
    assert warehouse.facts() == 0
    taken = await warehouse.post("/return/unmatched", courier_no="ZT9990001112", shelf="R4", sender_phone="138")
    assert taken["outcome"] == "unmatched_taken"
    state = warehouse.replica.state("return:ZT9990001112", WALL)
    assert state is not None
    assert (state["matched"], state["shelf"], state["received"]) == (False, "R4", True)


async def test_d18_keys_are_fetched_once_and_only_for_parcels_that_lack_one(warehouse: Bench) -> None:
    await single(warehouse)
    assert warehouse.door.asked == [["P1"]]
    await fetch_keys(warehouse.node)
    assert warehouse.door.asked == [["P1"]]


async def test_killed_between_scan_and_waybill_leaves_neither(warehouse: Bench, monkeypatch: Any) -> None:
    class PowerCutError(BaseException):
        pass

    def cut(*_args: object, **_kwargs: object) -> str:
        raise PowerCutError

    await single(warehouse)
    monkeypatch.setattr(warehouse.printers, "enqueue", cut)
    with pytest.raises(PowerCutError):
        await warehouse.post("/scan", code=code(1))
    assert (warehouse.facts(), warehouse.count("print_job")) == (0, 0)
