"""What lives: a table of subjects, by their folded state. Rules D2, D9, D14, D15, D21, E12, R55."""

from __future__ import annotations

from typing import Any

import pytest

from sync_core.facts import PlacedFact
from sync_core.fold import fold_subject, order_facts
from tests.unit.trade.scene import A1, DOOR, SERVER, STALL, Scene, T, answered, assigned, bought
from trade import kinds
from trade.living import ANSWERS_CARRIED, bearing, living_subjects, looks_open
from trade.parcels import new_order, new_parcel
from trade.pieces import PLACES, new_piece
from trade.projections import MARKET_DAY
from trade.returns import fold_return
from trade.tasks import new_task

ORDER, P, TASK = "order:O1", "parcel:P1", "task:T1-1"
RECALLED = {"reason": "closed", "note": "", "fact": "0.1.0"}


def states(**changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """One order of one piece: `order`, `task`, `parcel`, `piece` change what is said of each."""
    return {
        ORDER: {**new_order(), "tasks": ["T1-1"], **changes.get("order", {})},
        TASK: {**new_task(), "assigned": {"day": "x"}, **changes.get("task", {})},
        P: {**new_parcel(), "orders": ["O1"], **changes.get("parcel", {})},
        "piece:1": {**new_piece(), "order": "O1", **changes.get("piece", {})},
    }


ALL = {ORDER, TASK, P, "piece:1"}
SHIPPED = {"order": {"shipped": True}, "piece": {"place": "shipped"}}
CLOSED = {"order": {"closed": True}, "task": {"recall": RECALLED}}


@pytest.mark.parametrize(
    ("what", "changes", "more", "living"),
    [
        ("wanted", {}, {}, ALL),
        ("bought, in its bag", {"piece": {"place": "with_picker"}}, {}, ALL),
        ("in its cell", {"piece": {"place": "in_cell"}}, {}, ALL),
        ("packed, not shipped", {"piece": {"place": "packed"}, "order": {"packed": True}}, {}, ALL),
        ("shipped", SHIPPED, {}, set()),
        ("shipped since the opening", SHIPPED, {"touched": {ORDER}}, ALL),
        ("shipped, another piece still inside", {**SHIPPED, "piece": {"place": "in_cell"}}, {}, ALL),
        ("closed", CLOSED, {}, set()),
        ("closed, a phone is still out", CLOSED, {"waiting_orders": {"O1"}}, ALL),
        ("closed, packed: it must not ship", {**CLOSED, "piece": {"place": "packed"}}, {}, ALL),
        ("closed, its piece on the shelf", {**CLOSED, "piece": {"place": "in_stock"}}, {}, {"piece:1"}),
        ("every line withdrawn", {"task": {"recall": RECALLED}, "piece": {"place": "wanted"}}, {}, set()),
        ("answered, undecided", {"task": {"status": "answered"}}, {}, ALL),
        ("its task was spoken of", SHIPPED, {"touched": {TASK}}, ALL),
        ("its piece was spoken of", SHIPPED, {"touched": {"piece:1"}}, {"piece:1"}),
    ],
)  # fmt: skip
def test_an_order_lives_and_ends_with_its_tasks_and_its_parcel(
    what: str, changes: dict[str, Any], more: dict[str, Any], living: set[str]
) -> None:
    assert living_subjects(states(**changes), kind="warehouse", **more) == living, what


@pytest.mark.parametrize("place", [*PLACES])
def test_a_piece_lives_while_somebody_has_to_take_it(place: str) -> None:
    lives = "piece:1" in living_subjects({"piece:1": {**new_piece(), "place": place}}, kind="warehouse")
    gone = {
        "wanted", "shipped", "back_at_stall", "left_at_stall", "returned_to_buyer", "handed_to_merchant", "lost", "written_off", "undone",
    }  # fmt: skip
    assert lives == (place not in gone)
    assert looks_open("piece:1", {**new_piece(), "place": place}) == lives


def test_r53_a_return_lives_until_every_piece_was_looked_at_or_it_never_came() -> None:
    awaited = {**fold_return("return:R1", []), "expected": True}
    assert living_subjects({"return:R1": awaited}, kind="warehouse") == {"return:R1"}
    assert living_subjects({"return:R1": awaited}, kind="warehouse", given_up={"return:R1"}) == set()
    here = {**awaited, "received": True, "pieces": [{"piece": "1", "verdict": None}]}
    assert living_subjects({"return:R1": here}, kind="warehouse") == {"return:R1"}
    done = {**here, "pieces": [{"piece": "1", "verdict": "passed"}]}
    assert living_subjects({"return:R1": done}, kind="warehouse") == set()


def test_d15_a_trip_lives_while_one_of_its_pieces_is_with_the_runner() -> None:
    trip = {"trip": "a", "pieces": ["1"], "bagged": ["1"]}
    for place, lives in (("with_runner", True), ("back_at_stall", False)):
        found = living_subjects({"trip:a": trip, "piece:1": {**new_piece(), "place": place}}, kind="warehouse")
        assert ("trip:a" in found) == lives


def test_d21_in_a_market_stalls_live_and_in_a_devices_own_document_the_device() -> None:
    all_types = {**states(), STALL: {"listed": True, "answers": []}, "device:101": {"documents": []}}
    assert living_subjects(all_types, kind="market") == {STALL}
    assert living_subjects(all_types, kind="device") == {"device:101"}


def test_of_listings_scopes_and_answers_the_last_ones_go_on() -> None:
    day = Scene()
    for number in range(5):
        day.say(SERVER, kinds.StallListed(market="国大", floor="3F", stall="315", name=f"name {number}").about(STALL))
        day.say(SERVER, _scope([f"route/{number}"]))
    for number in range(ANSWERS_CARRIED + 2):
        day.tell_all()
        day.say(101, answered(task=f"task:T{number}-1"))
    for subject, count in ((STALL, 1 + ANSWERS_CARRIED), ("device:101", 1)):
        facts = order_facts(MARKET_DAY, [fact for fact in day.facts if subject in fact.subjects])
        kept = bearing(subject, facts)
        assert len(kept) == count
        whole, rest = fold_subject(MARKET_DAY, subject, facts), fold_subject(MARKET_DAY, subject, kept)
        assert {k: v for k, v in rest.items() if k != "answers"} == {k: v for k, v in whole.items() if k != "answers"}
        assert rest.get("answers") == whole.get("answers", [])[-ANSWERS_CARRIED:] if subject == STALL else True


def test_of_everything_else_all_facts_bear() -> None:
    day = Scene()
    day.say(SERVER, assigned())
    day.tell_all()
    day.say(101, bought())
    day.say(DOOR, kinds.ScannedIn().about(f"piece:{A1}"))
    for subject in (T, f"piece:{A1}"):
        facts: list[PlacedFact] = [fact for fact in day.facts if subject in fact.subjects]
        assert bearing(subject, facts) == facts


def _scope(documents: list[str]) -> Any:
    body = kinds.DeviceScope(role=kinds.Role.PICKER, organisation="platform", documents=documents, people=[])
    return body.about("device:101")
