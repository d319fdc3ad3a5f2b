"""Fold an order and its parcel, and put an order together from its tasks and pieces.

A parcel waits for all living pieces of its order (D2). An order's own facts do not tell which pieces arrived, since pieces are
scanned by people who may know nothing of the order; `view_order` adds the states of its tasks and pieces to them, in one place.
Pure and total. Rules R51, R52, R71, R72, D2, D9, D16, D17, E5, E13, E15-E18, I2, I3.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sync_core.facts import PlacedFact
from trade import kinds
from trade.conflicts import CLOSING
from trade.ids import attempt_of, bare_id, first_id, ids_of, want_of
from trade.pieces import AT_WAREHOUSE
from trade.reading import State, dump, read_body, said

StopReason = Literal["closed", "refund", "no_waybill", "waybill_voided", "incomplete", "other_terminal"]
"""Why a parcel may not be packed or shipped now. The words are in `trade.words`."""


def new_order() -> State:
    """Return the state of an order nothing is known about."""
    return {
        "order_no": None,
        "merchant": None,
        "merchant_name": None,
        "shop": None,
        "cell": None,
        "terminal": None,
        "requirements": "",
        "tasks": [],
        "order_pieces": 0,
        "closed": False,
        "close_reason": None,
        "refund_open": False,
        "drawn": {},
        "parcel": None,
        "packed": False,
        "shipped": False,
        "returns": [],
    }


def fold_order(subject: str, facts: Sequence[PlacedFact]) -> State:
    """Return what an order's own facts say; `tasks` are all attempts in order of piece and attempt."""
    order = bare_id(subject)
    state = new_order()
    for fact in facts:
        body = read_body(fact)
        if body is not None:
            _apply_to_order(state, order, fact, body)
    state["tasks"].sort(key=lambda task: (len(want_of(task)), want_of(task), attempt_of(task)))
    return state


def _apply_to_order(state: State, order: str, fact: PlacedFact, body: kinds.FactBody) -> None:
    match body:
        case kinds.TaskAssigned():
            task = first_id(fact.subjects, "task")
            if first_id(fact.subjects, "order") == order and task not in state["tasks"]:
                state["tasks"].append(task)
            for word in ("order_no", "merchant", "merchant_name", "shop", "cell", "terminal", "requirements"):
                state[word] = getattr(body, word)
            state["order_pieces"] = max(state["order_pieces"], body.order_pieces)
        case kinds.OrderClosed():
            state["closed"], state["close_reason"] = True, body.reason
        case kinds.RefundAsked():
            state["refund_open"] = not body.withdrawn
        case kinds.PieceDrawn():
            state["drawn"][first_id(fact.subjects, "task")] = first_id(fact.subjects, "piece")
        case kinds.WaybillObtained() | kinds.ParcelHeld():
            state["parcel"] = first_id(fact.subjects, "parcel")
        case kinds.ParcelPacked():
            state["parcel"], state["packed"] = first_id(fact.subjects, "parcel"), True
        case kinds.ParcelShipped():
            state["parcel"], state["shipped"] = first_id(fact.subjects, "parcel"), True
        case kinds.ReturnExpected():
            if body.courier_no not in state["returns"]:
                state["returns"].append(body.courier_no)
        case _:
            pass


def new_parcel() -> State:
    """Return the state of a parcel nothing is known about."""
    return {
        "order": None,
        "orders": [],
        "status": "open",
        "waybill": None,
        "voided": [],
        "held": None,
        "tasks": [],
        "pieces": [],
        "packed": None,
        "printed": None,
        "copies": 0,
        "shipped": [],
        "stop": None,
    }


def fold_parcel(subject: str, facts: Sequence[PlacedFact]) -> State:
    """Return the state of one parcel. `shipped` holds every shipping scan, the first is the one that counts (E18)."""
    parcel = bare_id(subject)
    state = new_parcel()
    for fact in facts:
        body = read_body(fact)
        if body is not None and parcel in ids_of(fact.subjects, "parcel"):
            _apply_to_parcel(state, fact, body)
    voided = state["waybill"] is None and bool(state["voided"])
    state["stop"] = "waybill_voided" if voided and state["held"] is None else None
    state["status"] = _parcel_status(state)
    return state


def _apply_to_parcel(state: State, fact: PlacedFact, body: kinds.FactBody) -> None:
    for order in ids_of(fact.subjects, "order"):
        state["order"] = state["order"] or order
        if order not in state["orders"]:
            state["orders"].append(order)
    match body:
        case kinds.WaybillObtained():
            if body.waybill_no not in state["voided"]:
                state["waybill"], state["held"], state["tasks"] = dump(body), None, list(body.tasks)
                state["printed"], state["copies"] = None, 0
        case kinds.ParcelHeld():
            state["tasks"] = list(body.tasks)
            if state["waybill"] is None:
                state["held"] = body.reason
        case kinds.WaybillVoided():
            if body.waybill_no not in state["voided"]:
                state["voided"].append(body.waybill_no)
            if state["waybill"] is not None and state["waybill"]["waybill_no"] == body.waybill_no:
                state["waybill"], state["printed"], state["copies"] = None, None, 0
        case kinds.ParcelPacked():
            state["packed"] = {**said(fact), "waybill_no": body.waybill_no}
            state["pieces"] = list(body.pieces)
        case kinds.WaybillPrinted():
            if state["waybill"] is None or state["waybill"]["waybill_no"] == body.waybill_no:
                state["printed"] = {**said(fact), "waybill_no": body.waybill_no}
                state["copies"] = max(state["copies"], body.copy_no)
        case kinds.ParcelShipped():
            state["shipped"].append({**said(fact), "waybill_no": body.waybill_no})
            state["pieces"] = state["pieces"] or list(body.pieces)
        case _:
            pass


def _parcel_status(state: State) -> str:
    """One word of open, held, ready, packed, printed, shipped, voided; what left the house has left it."""
    if state["shipped"]:
        return "shipped"
    if state["waybill"] is None and state["voided"]:
        return "held" if state["held"] else "voided"
    if state["packed"] is not None:
        return "printed" if state["printed"] is not None and state["waybill"] is not None else "packed"
    if state["waybill"] is not None:
        return "ready"
    return "held" if state["held"] else "open"


# --- an order with its tasks and pieces ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderView:
    """An order as a terminal shows it. Wants are `T1001-2`: piece 2 of order O1001, whatever attempt serves it.

    `pieces` {want: piece code, None while nothing serves it} holds the living wants only; `arrived` are those of them whose
    piece is in the house; `complete` means that every living want arrived and there is one.
    """

    order: str
    pieces: Mapping[str, str | None]
    arrived: frozenset[str]
    complete: bool
    stop: Literal["closed", "refund"] | None

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes to put into the parcel."""
        return tuple(code for want, code in self.pieces.items() if code is not None and want in self.arrived)


def view_order(order: str, state: State, tasks: Mapping[str, State], pieces: Mapping[str, State]) -> OrderView:
    """Return an order put together from the states of one document.

    Args:
        order: the bare order id.
        tasks: {bare task id: state} of the order's tasks; unknown ones count as wanted.
        pieces: {piece code: state} of every piece that may serve it: keepers of its tasks, and those whose `order` it is.
    """
    by_want: dict[str, list[str]] = {}
    for task in sorted(set(state.get("tasks", ())) | set(tasks), key=lambda task: (len(task), task)):
        by_want.setdefault(want_of(task), []).append(task)
    for piece in pieces.values():  # A label's QR may name a task that this document has not heard of yet (E12).
        if piece["order"] == order and piece["task"] is not None:
            by_want.setdefault(want_of(piece["task"]), [])
    serving: dict[str, str | None] = {}
    for want, attempts in by_want.items():
        known = [tasks[task] for task in sorted(attempts, key=attempt_of) if task in tasks]
        code = _serving(want, known, pieces)
        if code is not None or still_wanted(known):
            serving[want] = code
    arrived = frozenset(want for want, code in serving.items() if code is not None and _in_house(pieces.get(code)))
    closed, refund = bool(state.get("closed")), bool(state.get("refund_open"))
    return OrderView(
        order=order,
        pieces=serving,
        arrived=arrived,
        complete=bool(serving) and len(arrived) == len(serving) and not closed,
        stop="closed" if closed else "refund" if refund else None,
    )


def may_pack(
    view: OrderView, parcel: State, *, order_terminal: int | None, own: Collection[int | None]
) -> StopReason | None:
    """Return why a terminal may not pack or ship this order now, None when it may (D16, D17, E15, E16, I3).

    `own` are the numbers of the terminal: the one it has, and those it had before a repair, a restore or a new key.
    """
    if view.stop is not None:
        return view.stop
    if order_terminal is not None and order_terminal not in own:
        return "other_terminal"
    if not view.complete:
        return "incomplete"
    if parcel["stop"] is not None:
        return "waybill_voided"
    return "no_waybill" if parcel["waybill"] is None else None


def _serving(want: str, attempts: Iterable[State], pieces: Mapping[str, State]) -> str | None:
    """The code that serves a want: a verdict's keeper of any attempt, else the newest attempt's, else what a QR says."""
    keepers = [
        (task["keeper"], task["provisional"], task["recall"] is not None)
        for task in attempts
        if task["keeper"] is not None and not _lost(task, pieces.get(task["keeper"]))
    ]
    firm = [code for code, provisional, _ in keepers if not provisional]
    if firm:
        return str(firm[-1])
    open_keepers = [code for code, _, recalled in keepers if not recalled]
    if open_keepers:
        return str(open_keepers[-1])
    if keepers:
        return None  # Bought under a recall: the verdict says whose it is.
    by_qr = sorted(
        code
        for code, piece in pieces.items()
        if piece["task"] is not None and want_of(piece["task"]) == want and piece["unexplained"]
    )
    return by_qr[0] if by_qr else None


def _lost(task: State, piece: State | None) -> bool:
    """True when the task's piece was drawn from stock by a fact that lost (D14)."""
    drawn = task["drawn"]
    return drawn is not None and piece is not None and any(loss["fact"] == drawn["fact"] for loss in piece["losses"])


def still_wanted(attempts: Sequence[State]) -> bool:
    """True while the newest attempt is not withdrawn for good; an answered or bounced one still waits for its decision (E5)."""
    if not attempts:
        return False
    last = attempts[-1]
    if last["recall"] is not None:
        return last["recall"]["reason"] not in CLOSING
    return True


def _in_house(piece: State | None) -> bool:
    return piece is not None and (piece["place"] in AT_WAREHOUSE or piece["place"] == "shipped")
