"""Orders and parcels: what is complete, what may be packed, what stops."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.trade.scene import (
    A1,
    A2,
    ANNA,
    B1,
    BO,
    DESK,
    DOOR,
    ORDER,
    PARCEL,
    SERVER,
    Scene,
    T,
    answered,
    assigned,
    bought,
    drawn,
    packed,
    qr,
    recalled,
    scanned,
    shipped,
    verdict,
    waybill,
)
from trade import kinds
from trade.parcels import OrderView, may_pack, view_order

T2 = "task:T1001-2"


def two_pieces() -> Scene:
    day = Scene()
    cell: dict[str, Any] = {"order_pieces": 2, "cell": "A3", "terminal": DOOR}
    day.say(SERVER, assigned(piece_no=1, **cell), assigned(task=T2, piece_no=2, **cell))
    day.tell_all()
    return day


def view(day: Scene, order: str = "O1001") -> OrderView:
    tasks = {s.partition(":")[2]: day.state(s) for f in day.facts for s in f.subjects if s.startswith("task:")}
    pieces = {s.partition(":")[2]: day.state(s) for f in day.facts for s in f.subjects if s.startswith("piece:")}
    own = {task: state for task, state in tasks.items() if task.startswith(f"T{order[1:]}-")}
    return view_order(order, day.state(f"order:{order}"), own, pieces)


def test_r51_d2_an_order_is_complete_when_all_its_pieces_were_scanned() -> None:
    day = two_pieces()
    day.say(ANNA, bought(A1), bought(A2, task=T2))
    day.tell_all()
    assert (view(day).pieces, view(day).complete) == ({"T1001-1": A1, "T1001-2": A2}, False)
    day.say(DOOR, scanned(A1, cell="A3"))
    assert (len(view(day).arrived), view(day).complete) == (1, False)
    day.say(DOOR, scanned(A2, cell="A3"))
    assert view(day).complete
    assert view(day).codes == (A1, A2)


def test_d16_the_order_knows_its_terminal_and_cell_before_any_phone_has_synced() -> None:
    state = two_pieces().state(ORDER)
    assert (state["terminal"], state["cell"], state["tasks"]) == (DOOR, "A3", ["T1001-1", "T1001-2"])


def test_e12_a_piece_known_by_its_qr_counts() -> None:
    day = two_pieces()
    day.say(DOOR, scanned(A1, qr=qr(cell="A3")))
    assert (view(day).pieces["T1001-1"], view(day).arrived) == (A1, frozenset({"T1001-1"}))


def test_e5_a_recalled_task_is_not_waited_for_but_an_answered_one_is() -> None:
    day = two_pieces()
    day.say(ANNA, bought(A1), answered(task=T2))
    day.tell_all()
    day.say(DOOR, scanned(A1))
    assert not view(day).complete, "the merchant decides about the second"
    day.say(SERVER, recalled(task=T2))
    assert view(day).complete


def test_d9_a_piece_bought_under_a_recall_is_not_waited_for() -> None:
    day = two_pieces()
    day.say(SERVER, recalled(task=T2))
    day.say(ANNA, bought(A2, task=T2))
    assert view(day).pieces == {"T1001-1": None}


def test_d10_the_piece_of_the_newer_attempt_serves_the_want() -> None:
    day = Scene()
    day.tell_all(day.say(SERVER, assigned()))
    day.say(SERVER, recalled("reassigned"), assigned(task="task:T1001-1.2", to=BO, replaces="T1001-1"))
    assert view(day).pieces == {"T1001-1": None}
    old = day.say(ANNA, bought(A1))
    assert view(day).pieces == {"T1001-1": None}, "bought under a recall: the verdict says"
    day.say(BO, bought(B1, task="task:T1001-1.2"))
    assert view(day).pieces == {"T1001-1": B1}
    day.say(SERVER, verdict(old, A1, "keeps", keeper=A1))
    assert view(day).pieces == {"T1001-1": A1}


def test_e15_a_refund_stops_and_its_withdrawal_lets_go_on() -> None:
    day = two_pieces()
    day.say(SERVER, kinds.RefundAsked().about(ORDER))
    assert (day.state(ORDER)["refund_open"], view(day).stop) == (True, "refund")
    day.say(SERVER, kinds.RefundAsked(withdrawn=True).about(ORDER))
    assert (day.state(ORDER)["refund_open"], view(day).stop) == (False, None)


def test_r49_a_closed_order_is_never_complete() -> None:
    day = Scene()
    day.tell_all(day.say(SERVER, assigned()))
    day.say(ANNA, bought())
    day.say(DOOR, scanned())
    assert view(day).complete
    day.say(SERVER, kinds.OrderClosed(reason="buyer").about(ORDER))
    assert (view(day).complete, view(day).stop) == (False, "closed")


def test_d17_a_parcel_gets_ready_packed_printed_shipped() -> None:
    day = Scene()
    assert day.state(PARCEL)["status"] == "open"
    day.tell_all(day.say(SERVER, waybill()))
    assert day.state(PARCEL)["status"] == "ready"
    day.say(DOOR, packed())
    assert day.state(PARCEL)["status"] == "packed"
    day.say(DOOR, kinds.WaybillPrinted(waybill_no="SF9", copy_no=1).about(PARCEL))
    assert day.state(PARCEL)["status"] == "printed"
    day.say(DOOR, kinds.WaybillPrinted(waybill_no="SF9", copy_no=2).about(PARCEL))
    assert (day.state(PARCEL)["copies"], day.state(PARCEL)["status"]) == (2, "printed")
    day.say(DOOR, shipped())
    state = day.state(PARCEL)
    assert (state["status"], state["order"], state["pieces"]) == ("shipped", "O1001", [A1])


def test_d17_no_number_parks_the_parcel_with_its_reason_and_packing_goes_on() -> None:
    day = Scene()
    day.tell_all(day.say(SERVER, kinds.ParcelHeld(reason="address_needed", tasks=["T1001-1"]).about(PARCEL, ORDER)))
    assert (day.state(PARCEL)["status"], day.state(PARCEL)["held"]) == ("held", "address_needed")
    day.say(SERVER, waybill())
    assert (day.state(PARCEL)["status"], day.state(PARCEL)["held"]) == ("ready", None)


def test_e16_a_voided_waybill_stops_until_another_comes() -> None:
    day = Scene()
    day.tell_all(day.say(SERVER, waybill()))
    day.say(DOOR, packed())
    day.say(DOOR, kinds.WaybillPrinted(waybill_no="SF9", copy_no=1).about(PARCEL))
    day.tell_all()
    day.say(SERVER, kinds.WaybillVoided(waybill_no="SF9").about(PARCEL))
    assert (day.state(PARCEL)["status"], day.state(PARCEL)["stop"]) == ("voided", "waybill_voided")
    day.say(SERVER, waybill("SF10"))
    state = day.state(PARCEL)
    assert (state["status"], state["stop"], state["printed"]) == ("packed", None, None)


def test_e18_shipping_twice_is_one_shipping() -> None:
    day = Scene()
    first = day.say(DOOR, shipped())
    day.say(DESK, shipped())
    state = day.state(PARCEL)
    assert (state["status"], state["shipped"][0]["fact"]) == ("shipped", first.id)
    assert len(state["shipped"]) == 2


@pytest.mark.parametrize(
    ("stop", "terminal", "complete", "parcel", "reason"),
    [
        ("refund", DOOR, True, {"stop": None, "waybill": {}}, "refund"),
        ("closed", DOOR, False, {"stop": None, "waybill": {}}, "closed"),
        (None, DESK, True, {"stop": None, "waybill": {}}, "other_terminal"),
        (None, DOOR, False, {"stop": None, "waybill": {}}, "incomplete"),
        (None, DOOR, True, {"stop": "waybill_voided", "waybill": None}, "waybill_voided"),
        (None, DOOR, True, {"stop": None, "waybill": None}, "no_waybill"),
        (None, DOOR, True, {"stop": None, "waybill": {}}, None),
    ],
)
def test_i3_d16_why_a_terminal_may_not_pack(
    stop: Any, terminal: int, complete: bool, parcel: dict[str, Any], reason: str | None
) -> None:
    order = OrderView(order="O1001", pieces={}, arrived=frozenset(), complete=complete, stop=stop)
    assert may_pack(order, parcel, order_terminal=DOOR, own={None, terminal}) == reason


def test_d14_a_lost_draw_no_longer_serves_its_order() -> None:
    day = Scene()
    day.say(SERVER, assigned(task="task:T1002-1", order="order:O1002", source="stock", piece=A1, to=None))
    day.tell_all()
    day.say(DOOR, drawn())
    assert view(day, "O1002").complete
    day.say(DESK, kinds.PieceBagged().about(f"piece:{A1}", "trip:2026-05-01-trip-1"))
    assert view(day, "O1002").pieces == {"T1002-1": None}


def test_an_orders_state_has_its_returns_and_drawn_pieces() -> None:
    day = Scene()
    day.say(DOOR, drawn(B1, task=T, order=ORDER))
    expected = kinds.ReturnExpected(courier_no="SF1", order_no="1", merchant="M1", merchant_name="小店", pieces=[])
    day.say(SERVER, expected.about("return:SF1", ORDER))
    state = day.state(ORDER)
    assert (state["returns"], state["drawn"]) == (["SF1"], {"T1001-1": B1})
