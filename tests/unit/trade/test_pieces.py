"""The fold of a piece: one place, one story."""

from __future__ import annotations

from typing import Any

import pytest

from sync_core.facts import Fact, PlacedFact
from tests.unit.trade.scene import (
    A1,
    A2,
    ANNA,
    BO,
    DESK,
    DOOR,
    RUNNER,
    SERVER,
    STALL,
    Scene,
    T,
    assigned,
    bagged,
    bought,
    drawn,
    garment,
    inspected,
    packed,
    qr,
    recalled,
    scanned,
    shipped,
    verdict,
)  # fmt: skip
from trade import kinds
from trade.pieces import PLACES


def test_i1_a_piece_walks_through_its_places_one_at_a_time() -> None:
    day = Scene()
    refused = kinds.PieceRefused(reason="smell", then="keep_trying").about(f"piece:{A1}", STALL)
    refunded = kinds.PieceRefunded(received_fen=5500, means=kinds.Means.CASH).about(f"piece:{A1}", STALL)
    received = kinds.ReturnReceived(courier_no="SF1", matched=True).about("return:SF1", f"piece:{A1}")
    path: list[tuple[int, Fact, str]] = [
        (ANNA, bought(), "with_picker"),
        (DOOR, scanned(), "inbound"),
        (DOOR, scanned(cell="A3"), "in_cell"),
        (DOOR, packed(), "packed"),
        (DOOR, shipped(), "shipped"),
        (DESK, received, "return_in"),
        (DESK, inspected(), "in_stock"),
        (DESK, bagged(), "with_runner"),
        (RUNNER, refused, "with_runner"),
        (RUNNER, refunded, "back_at_stall"),
    ]
    assert day.piece()["place"] == "wanted"
    for device, fact, place in path:
        day.hear(device)
        day.say(device, fact)
        assert day.piece()["place"] == place
    state = day.piece()
    assert (state["price_fen"], state["person"], state["stall"], state["at_ms"]) == (6000, "anna", STALL, 1_000)
    assert state["refund"]["received_fen"] == 5500


def test_e8_prices_are_a_list_of_facts_and_the_last_holds() -> None:
    day = Scene()
    day.say(ANNA, bought(price_fen=5000))
    day.say(ANNA, kinds.PriceCorrected(price_fen=8500).about(T, f"piece:{A1}"))
    state = day.piece()
    assert [price["price_fen"] for price in state["prices"]] == [5000, 8500]
    assert state["price_fen"] == 8500


def test_e9_a_second_scan_changes_nothing_and_is_kept() -> None:
    day = Scene()
    day.say(ANNA, bought())
    first = day.say(DOOR, scanned(cell="A3"), at_ms=50)
    day.hear(DESK)
    second = day.say(DESK, scanned(cell="B9"), at_ms=60)
    state = day.piece()
    assert [scan["fact"] for scan in state["scans"]] == [first.id, second.id]
    assert (state["place"], state["cell"]) == ("in_cell", "A3")


def test_e9_e10_a_reprint_is_another_copy_of_the_same_piece() -> None:
    day = Scene()
    day.say(ANNA, bought())
    assert day.piece()["copies"] == 1
    day.say(ANNA, kinds.LabelReprinted(copy_no=2).about(f"piece:{A1}"))
    assert (day.piece()["copies"], day.piece()["place"]) == (2, "with_picker")


def test_e12_by_its_qr_an_unknown_piece_is_sorted_at_once() -> None:
    day = Scene()
    day.say(DOOR, scanned(qr=qr(cell="A3")))
    state = day.piece()
    assert (state["place"], state["cell"], state["task"], state["order"]) == ("in_cell", "A3", "T1001-1", "O1001")
    assert (state["unexplained"], state["waiting_for_phone"]) == (True, False)


def test_e12_with_the_bar_code_alone_it_waits_for_its_phone() -> None:
    day = Scene()
    day.say(DOOR, scanned())
    assert (day.piece()["place"], day.piece()["waiting_for_phone"]) == ("inbound", True)


def test_e12_it_becomes_normal_when_its_phone_has_synced() -> None:
    route, house = Scene(), Scene()
    purchase = route.say(ANNA, bought(price_fen=5900))
    house.say(DOOR, scanned())
    house.carried(purchase)
    state = house.piece()
    assert (state["unexplained"], state["waiting_for_phone"]) == (False, False)
    assert (state["place"], state["task"], state["price_fen"]) == ("inbound", "T1001-1", 5900)
    assert (state["device"], state["person"]) == (ANNA, "anna")


def test_e11_swapped_bags_exchange_tasks_and_are_in_hand_again() -> None:
    day = Scene()
    day.say(ANNA, bought(A1), bought(A2, task="task:T1002-1"))
    day.tell_all()
    day.say(DOOR, scanned(A1, cell="A3"), scanned(A2, cell="A4"))
    swap = kinds.PiecesSwapped(tasks=["T1002-1", "T1001-1"])
    day.say(DOOR, swap.about(f"piece:{A1}", f"piece:{A2}", "task:T1002-1", T))
    assert (day.piece(A1)["task"], day.piece(A1)["swapped_with"]) == ("T1002-1", A2)
    assert (day.piece(A2)["order"], day.piece(A2)["place"]) == ("O1001", "inbound")
    day.say(DOOR, scanned(A2, cell="A3"))
    assert (day.piece(A2)["place"], day.piece(A2)["cell"]) == ("in_cell", "A3")


def test_e11_a_purchase_that_arrives_after_the_swap_does_not_undo_it() -> None:
    route, house = Scene(), Scene()
    purchase = route.say(ANNA, bought(A1))
    swap = kinds.PiecesSwapped(tasks=["T1002-1", "T1001-1"])
    house.say(DOOR, swap.about(f"piece:{A1}", f"piece:{A2}", "task:T1002-1", T))
    house.carried(purchase)
    assert house.piece(A1)["task"] == "T1002-1"


def test_an_undone_tap_leaves_no_piece_unless_it_was_scanned() -> None:
    day = Scene()
    purchase = day.say(ANNA, bought())
    day.say(ANNA, kinds.PieceUndone(fact=purchase.id).about(T, f"piece:{A1}"))
    assert day.piece()["place"] == "undone"
    day.say(DOOR, scanned())
    assert (day.piece()["place"], day.piece()["undone"]) == ("inbound", True), "a discrepancy: the garment exists"


def test_somebody_else_cannot_undo_a_purchase() -> None:
    day = Scene()
    purchase = day.say(ANNA, bought())
    day.say(BO, kinds.PieceUndone(fact=purchase.id).about(T, f"piece:{A1}"))
    assert day.piece()["place"] == "with_picker"


@pytest.mark.parametrize(
    ("outcome", "place"), [("closed_unseen", "in_stock"), ("second", "in_stock"), ("keeps", "inbound")]
)
def test_e1_a_piece_without_an_order_becomes_stock_when_it_arrives(outcome: str, place: str) -> None:
    day = Scene()
    day.tell_all(day.say(SERVER, assigned()))
    purchase = day.say(ANNA, bought())
    day.say(SERVER, recalled(), verdict(purchase, A1, outcome))
    assert day.piece()["place"] == "with_picker"
    day.say(DOOR, scanned())
    assert day.piece()["place"] == place


def swapped_in(day: Scene) -> PlacedFact:
    """A1 was bought for T1001-1, and its bag carries the label of what was bought for T1002-1."""
    purchase = day.say(ANNA, bought(A1), bought(A2, task="task:T1002-1"))
    day.tell_all()
    day.say(DOOR, scanned(A1), scanned(A2))
    swap = kinds.PiecesSwapped(tasks=["T1002-1", "T1001-1"])
    day.say(DOOR, swap.about(f"piece:{A1}", f"piece:{A2}", "task:T1002-1", T))
    return purchase


@pytest.mark.parametrize("is_packed", [False, True])
def test_d9_e11_a_swapped_piece_whose_new_order_is_closed_becomes_stock(*, is_packed: bool) -> None:
    day = Scene()
    purchase = swapped_in(day)
    if is_packed:
        day.say(DOOR, packed(A1, parcel="P1002", order="O1002"))
    day.tell_all()
    day.say(SERVER, verdict(purchase, A1, "closed_unseen", task="task:T1002-1"))
    assert day.piece(A1)["place"] == "in_stock"


def test_e11_a_swapped_piece_is_no_stock_though_the_order_it_was_bought_for_is_closed() -> None:
    day = Scene()
    purchase = swapped_in(day)
    day.say(SERVER, verdict(purchase, A1, "closed_unseen"))
    assert day.piece(A1)["place"] == "inbound"


def test_e11_a_drawn_piece_that_was_swapped_goes_by_the_order_it_serves_now() -> None:
    day = Scene()
    purchase = day.say(ANNA, bought(A1), bought(A2, task="task:T1002-1"))
    day.say(SERVER, verdict(purchase, A1, "second"))
    day.say(DOOR, scanned(A1), scanned(A2))
    day.tell_all()
    day.say(DOOR, drawn(A1, task="task:T1003-1", order="order:O1003"))
    swap = kinds.PiecesSwapped(tasks=["T1002-1", "T1003-1"])
    day.say(DOOR, swap.about(f"piece:{A1}", f"piece:{A2}", "task:T1002-1", "task:T1003-1"))
    day.tell_all()
    closed = kinds.TaskRecalled(reason="closed")
    day.say(SERVER, closed.about("task:T1003-1", f"piece:{A1}"))
    assert day.piece(A1)["place"] == "inbound"
    day.say(SERVER, closed.about("task:T1002-1", f"piece:{A1}"))
    assert day.piece(A1)["place"] == "in_stock"


def test_d10_a_second_piece_that_found_a_home_is_drawn_for_it() -> None:
    day = Scene()
    purchase = day.say(ANNA, bought())
    day.say(SERVER, verdict(purchase, A1, "second"))
    day.say(DOOR, scanned())
    home = assigned(task="task:T1002-1", order="order:O1002", source="stock", piece=A1, to=None)
    day.say(SERVER, Fact(kind=home.kind, subjects=(*home.subjects, f"piece:{A1}"), body=home.body))
    assert day.piece()["wanted_by"] == {"task": "T1002-1", "order": "O1002"}
    day.tell_all()
    day.say(DOOR, drawn())
    assert (day.piece()["place"], day.piece()["order"], day.piece()["home"]) == ("inbound", "O1002", "T1002-1")


@pytest.mark.parametrize("parcel_packed", [False, True])
def test_d14_e21_drawn_and_bagged_at_once(parcel_packed: bool) -> None:
    day = Scene()
    day.tell_all(day.say(DESK, inspected()))
    sale = day.say(DOOR, drawn())
    if parcel_packed:
        day.say(DOOR, packed(order="order:O1002", parcel="parcel:P1002"))
    bag = day.say(DESK, bagged())
    state = day.piece()
    [loss] = state["losses"]
    if parcel_packed:
        assert (state["place"], state["bagged"]) == ("packed", False)
        assert (loss["fact"], loss["lost_to"], loss["todo"]) == (bag.id, "parcel", "pull_from_bag")
    else:
        assert (state["place"], state["order"]) == ("with_runner", None)
        assert (loss["fact"], loss["lost_to"], loss["todo"]) == (sale.id, "bag", "pick_again")
    assert loss["provisional"] is True


def test_d14_a_stock_verdict_stands_though_a_parcel_is_packed_later() -> None:
    day = Scene()
    day.tell_all(day.say(DESK, inspected()))
    sale, _ = day.say(DOOR, drawn()), day.say(DESK, bagged())
    day.say(SERVER, kinds.StockVerdict(fact=sale.id, winner="bag", todo="pick_again").about(f"piece:{A1}"))
    day.say(DOOR, packed(order="order:O1002", parcel="parcel:P1002"))
    state = day.piece()
    assert state["place"] == "with_runner"
    assert {loss["provisional"] for loss in state["losses"]} == {False}


def test_r34_two_terminals_sell_one_piece_and_one_sale_keeps_it() -> None:
    day = Scene()
    day.tell_all(day.say(DESK, inspected()))
    first = day.say(DOOR, drawn())
    second = day.say(DESK, drawn(task="task:T1003-1", order="order:O1003"))
    state = day.piece()
    assert (state["order"], [loss["fact"] for loss in state["losses"]]) == ("O1002", [second.id])
    day.say(DESK, packed(order="order:O1003", parcel="parcel:P1003"))
    state = day.piece()
    assert (state["order"], [loss["fact"] for loss in state["losses"]]) == ("O1003", [first.id])


@pytest.mark.parametrize(
    ("then", "place"),
    [
        ("keep_trying", "with_runner"),
        ("bring_back", "with_runner"),
        ("left_at_stall", "left_at_stall"),
        ("written_off", "written_off"),
    ],
)
def test_d15_r61_a_refusal_says_where_the_piece_is(then: Any, place: str) -> None:
    day = Scene()
    day.say(DESK, bagged())
    day.tell_all()
    day.say(RUNNER, kinds.PieceRefused(reason="term_past", then=then).about(f"piece:{A1}", STALL))
    assert (day.piece()["place"], day.piece()["refused"]["reason"]) == (place, "term_past")


def test_d15_a_piece_brought_back_is_stock_again() -> None:
    day = Scene()
    day.say(DESK, bagged())
    day.tell_all()
    day.say(DESK, kinds.PieceBroughtBack().about(f"piece:{A1}"))
    assert (day.piece()["place"], day.piece()["trip"]) == ("in_stock", None)


def test_e24_a_bag_scan_carried_late_does_not_take_a_refunded_piece_back() -> None:
    house, trip = Scene(), Scene()
    bag = house.say(DESK, bagged())
    body = kinds.TripAssigned(garment=garment(), merchant="M1", merchant_name="小店")
    trip.say(SERVER, body.about(f"piece:{A1}", "trip:2026-05-01-trip-1"))
    trip.hear(RUNNER)
    assert trip.piece()["place"] == "with_runner"
    trip.say(RUNNER, kinds.PieceRefunded(received_fen=6000, means=kinds.Means.CASH).about(f"piece:{A1}", STALL))
    trip.carried(bag)
    assert (trip.piece()["place"], trip.piece()["garment"]["picker"]) == ("back_at_stall", "anna")


@pytest.mark.parametrize(
    ("outcome", "place"),
    [
        ("returned_to_buyer", "returned_to_buyer"),
        ("accepted", "in_stock"),
        ("handed_to_merchant", "handed_to_merchant"),
        ("disposed", "written_off"),
    ],
)
def test_r55_a_pending_piece_ends_somewhere(outcome: Any, place: str) -> None:
    day = Scene()
    day.say(DESK, inspected(passed=False))
    assert day.piece()["place"] == "pending"
    day.say(DESK, kinds.PendingEnded(outcome=outcome).about(f"piece:{A1}"))
    assert day.piece()["place"] == place


def test_e18_a_piece_shipped_twice_is_shipped_once() -> None:
    day = Scene()
    day.say(DOOR, packed())
    day.say(DOOR, shipped())
    day.say(DESK, shipped())
    state = day.piece()
    assert (state["place"], state["parcel"], len(state["shipped"])) == ("shipped", "P1001", 2)


def test_i12_a_code_bought_twice_keeps_its_first_story() -> None:
    day = Scene()
    first = day.say(ANNA, bought(price_fen=100))
    clone = day.say(ANNA, bought(task="task:T1002-1", price_fen=200))
    state = day.piece()
    assert (state["bought"], state["price_fen"], state["task"]) == (first.id, 100, "T1001-1")
    assert [loss["fact"] for loss in state["losses"]] == [clone.id]


def test_i1_the_places_are_the_invariants_and_undone() -> None:
    assert len(PLACES) == len(set(PLACES)) == 18


def test_d15_two_trips_of_one_runner_may_number_their_facts_alike() -> None:
    """A fact's number counts per document: the second day's refund is not a copy of the first day's refusal."""
    house, first_day, second_day = Scene(), Scene(), Scene()
    refused = kinds.PieceRefused(reason="smell", then="keep_trying").about(f"piece:{A1}", STALL)
    refunded = kinds.PieceRefunded(received_fen=6000, means=kinds.Means.CASH).about(f"piece:{A1}", STALL)
    house.say(DESK, bagged())
    monday, tuesday = first_day.say(RUNNER, refused), second_day.say(RUNNER, refunded)
    assert monday.id == tuesday.id
    house.carried(monday)
    house.carried(tuesday)
    assert house.piece()["place"] == "back_at_stall"
