"""Returned parcels, trips, stalls, devices, documents."""

from __future__ import annotations

from sync_core.facts import Fact
from tests.unit.trade.scene import (
    A1,
    A2,
    ANNA,
    B1,
    DESK,
    DOOR,
    ORDER,
    SERVER,
    STALL,
    Scene,
    answered,
    bagged,
    garment,
    inspected,
)
from trade import kinds
from trade.kinds import Answer

BACK = "return:SF1"


def expected(*pieces: str) -> Fact:
    body = kinds.ReturnExpected(
        courier_no="SF1",
        order_no="20260501",
        merchant="M1",
        merchant_name="小店",
        pieces=[garment(piece) for piece in pieces],
    )
    return body.about(BACK, ORDER)


def received(*, matched: bool = True, shelf: str = "") -> Fact:
    body = kinds.ReturnReceived(courier_no="SF1", matched=matched, shelf=shelf, sender_phone="138****0000")
    return body.about(BACK)


def test_r53_an_expected_parcel_is_known_by_its_couriers_number() -> None:
    day = Scene()
    day.tell_all(day.say(SERVER, expected(A1)))
    state = day.state(BACK)
    assert (state["order"], state["merchant_name"], state["received"]) == ("O1001", "小店", False)
    assert [(row["piece"], row["verdict"], row["paid_fen"]) for row in state["pieces"]] == [(A1, None, 6000)]
    day.say(DESK, received(), at_ms=77)
    assert (day.state(BACK)["received"], day.state(BACK)["received_at_ms"]) == (True, 77)


def test_e19_an_unknown_parcel_is_taken_in_with_its_shelf_and_bound_later() -> None:
    day = Scene()
    day.say(DESK, received(matched=False, shelf="R7"))
    state = day.state(BACK)
    assert (state["matched"], state["shelf"], state["sender_phone"]) == (False, "R7", "138****0000")
    day.say(SERVER, expected(A1))
    assert (day.state(BACK)["matched"], day.state(BACK)["shelf"]) == (True, "R7")


def test_r54_r55_e20_each_piece_has_its_own_verdict() -> None:
    day = Scene()
    day.tell_all(day.say(SERVER, expected(A1, A2)))
    day.say(DESK, received())
    day.say(DESK, inspected(A1))
    day.say(DESK, inspected(A2, passed=False))
    day.say(DESK, kinds.PieceInspected(passed=False, reason="not ours").about(f"piece:{B1}", BACK))
    rows = {row["piece"]: row for row in day.state(BACK)["pieces"]}
    assert {piece: row["verdict"] for piece, row in rows.items()} == {A1: "passed", A2: "pending", B1: "pending"}
    assert (rows[A1]["foreign"], rows[B1]["foreign"], rows[B1]["reason"]) == (False, True, "not ours")


def test_r54_a_verdict_before_the_expectation_keeps() -> None:
    day = Scene()
    day.say(DESK, inspected(A1))
    day.say(SERVER, expected(A1))
    [row] = day.state(BACK)["pieces"]
    assert (row["verdict"], row["foreign"], row["stall"]) == ("passed", False, "315")


def test_r58_a_trip_lists_its_pieces_and_its_bag() -> None:
    day = Scene()
    trip = "trip:2026-05-01-trip-1"
    body = kinds.TripAssigned(garment=garment(), merchant="M1", merchant_name="小店")
    day.say(SERVER, body.about(f"piece:{A1}", trip), body.about(f"piece:{A2}", trip))
    day.say(DESK, bagged(A1))
    assert day.state(trip) == {"trip": "2026-05-01-trip-1", "pieces": [A1, A2], "bagged": [A1]}


def test_e4_a_stall_keeps_what_it_answered() -> None:
    day = Scene()
    day.say(SERVER, kinds.StallListed(market="国大", floor="3F", stall="315", name="阿芳", returns_days=5).about(STALL))
    for _ in range(25):
        day.say(ANNA, answered(Answer.OUT_OF_STOCK))
    day.say(ANNA, answered(Answer.TOMORROW))
    state = day.state(STALL)
    assert (state["name"], state["returns_days"], len(state["answers"])) == ("阿芳", 5, 20)
    assert state["answers"][-1]["answer"] == "tomorrow"


def test_the_last_scope_of_a_device_holds() -> None:
    day = Scene()
    for documents in (["route/1"], ["route/1", "market/国大/1"]):
        scope = kinds.DeviceScope(role=kinds.Role.PICKER, organisation="platform", documents=documents, people=[])
        day.say(SERVER, scope.about("device:101"))
    assert day.state("device:101")["documents"] == ["route/1", "market/国大/1"]
    assert Scene().state("device:101") == {}


def test_a_document_names_its_writers_and_its_successor() -> None:
    day = Scene()
    day.say(SERVER, Fact(kind="document.opened", subjects=("document",), body={"writers": {"101": "picker"}}))
    day.say(SERVER, Fact(kind="document.writer", subjects=("document",), body={"device": 110, "role": "warehouse"}))
    day.say(DOOR, Fact(kind="document.closed", subjects=("document",), body={"successor": "stolen"}))
    assert day.state("document") == {
        "writers": {"101": "picker", "110": "warehouse"},
        "opening": {},
        "closed": False,
        "successor": None,
    }
    day.say(SERVER, Fact(kind="document.closed", subjects=("document",), body={"successor": "warehouse/W1/2"}))
    assert (day.state("document")["closed"], day.state("document")["successor"]) == (True, "warehouse/W1/2")
