"""What lives: the subjects whose facts a document's successor opens with, and which of their facts still bear on them.

A subject lives while somebody may still have to do something about it here, judged by its folded state alone; what was spoken of since
its document opened lives for one document more, so that a second scan of what left yesterday is still known. Tasks and parcels live and
end with their order; a piece has a life of its own once it lies on a shelf, in a bag or in the pending area. Only the server asks, when it
closes a document; whatever it left behind stays in its log, and comes back whole as soon as somebody speaks of it again.
Pure. Design: documents end. Rules D2, D9, D14, D15, D21, E12, R55.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Final

from sync_core.facts import PlacedFact, subject_type
from trade import kinds
from trade.carry import DocumentKind
from trade.ids import attempt_of, bare_id, order_of_task, want_of
from trade.parcels import still_wanted
from trade.reading import State

ANSWERS_CARRIED: Final = 3
"""Of what a stall answered the latest go on into the next directory; all stay in the log."""

_HELD: Final = frozenset({"with_picker", "inbound", "in_cell", "packed"})
"""Places of a piece that is on its way to a buyer."""
_LYING: Final = frozenset({"in_stock", "return_in", "pending", "with_runner", "foreign"})
"""Places in the house, or in a runner's bag, from which somebody has to take it."""
OPEN_PLACES: Final = _HELD | _LYING
_OPEN_TASKS: Final = frozenset({"wanted", "asked", "answered", "bounced"})


def looks_open(subject: str, state: State) -> bool:
    """True when a screen would show the subject as work to do. A subject that was left behind must not look so from what the facts of
    others say of it: then its own facts are carried too.
    """
    match subject_type(subject):
        case "task":
            return bool(state["assigned"]) and state["status"] in _OPEN_TASKS and state["recall"] is None
        case "order":
            return bool(state["tasks"]) and not state["closed"] and not state["shipped"]
        case "piece":
            return state["place"] in OPEN_PLACES
        case "return":
            awaited = state["expected"] and not state["received"]
            return awaited or any(piece["verdict"] is None for piece in state["pieces"])
        case _:
            return False


def living_subjects(
    states: Mapping[str, State],
    *,
    kind: DocumentKind | str,
    touched: Set[str] = frozenset(),
    waiting_orders: Set[str] = frozenset(),
    given_up: Set[str] = frozenset(),
) -> frozenset[str]:
    """Return the subjects of a document whose facts its successor opens with.

    Args:
        states: {subject: folded state} of the document.
        kind: the document's kind; in a market only stalls live, in a device's own document only the device.
        touched: subjects that were spoken of since the document opened.
        waiting_orders: bare ids of orders that the authority has not settled (a phone that may still have bought is out, D9).
        given_up: subjects of returns that never came.
    """
    match kind:
        case "market":
            return frozenset(s for s in states if subject_type(s) == "stall")
        case "device":
            return frozenset(s for s in states if subject_type(s) == "device")
        case _:
            pass
    by_type: dict[str, dict[str, State]] = {}
    for subject, state in states.items():
        by_type.setdefault(subject_type(subject), {})[bare_id(subject)] = state
    tasks, pieces = by_type.get("task", {}), by_type.get("piece", {})
    orders = {
        order for order in by_type.get("order", {})
        if f"order:{order}" in touched or order in waiting_orders or _order_is_open(states[f"order:{order}"], tasks)
    }  # fmt: skip
    # A piece on its way to a buyer, and whatever was said of a task, keep the whole order together.
    orders |= {p["order"] for code, p in pieces.items() if p["place"] in _HELD and p["order"] is not None}
    orders |= {order for task in tasks if f"task:{task}" in touched and (order := order_of_task(task)) is not None}
    living = {f"order:{order}" for order in orders if f"order:{order}" in states}
    for task in tasks:
        order = order_of_task(task)
        if order in orders or (order is None and looks_open(f"task:{task}", tasks[task])):
            living.add(f"task:{task}")
    living |= {
        f"parcel:{parcel}" for parcel, state in by_type.get("parcel", {}).items() if orders & set(state["orders"])
    }
    for code, state in pieces.items():
        if state["order"] in orders or f"piece:{code}" in touched or state["place"] in OPEN_PLACES:
            living.add(f"piece:{code}")
    for number, state in by_type.get("return", {}).items():
        subject = f"return:{number}"
        if subject in touched or (looks_open(subject, state) and subject not in given_up):
            living.add(subject)
    for trip, state in by_type.get("trip", {}).items():
        if any(pieces.get(code, {}).get("place") == "with_runner" for code in state["pieces"]):
            living.add(f"trip:{trip}")
    return frozenset(living)


def bearing(subject: str, facts: Sequence[PlacedFact]) -> list[PlacedFact]:
    """Return those of a living subject's facts (in folded order) that still bear on its state: of scopes and listings the last one.

    Of every other subject all facts bear.
    """
    match subject_type(subject):
        case "device":
            return _last(facts, kinds.DeviceScope.KIND, 1)
        case "stall":
            kept = _last(facts, kinds.StallListed.KIND, 1) + _last(facts, kinds.TaskAnswered.KIND, ANSWERS_CARRIED)
            return [fact for fact in facts if fact in kept]
        case _:
            return list(facts)


def _last(facts: Sequence[PlacedFact], kind: str, count: int) -> list[PlacedFact]:
    return [fact for fact in facts if fact.kind == kind][-count:]


def _order_is_open(state: State, tasks: Mapping[str, State]) -> bool:
    """True while a piece of it is wanted and nothing of it was closed or shipped."""
    if state["closed"] or state["shipped"]:
        return False
    wants: dict[str, list[State]] = {}
    for task in sorted(state["tasks"], key=attempt_of):
        if task in tasks:
            wants.setdefault(want_of(task), []).append(tasks[task])
    return any(still_wanted(attempts) for attempts in wants.values())
