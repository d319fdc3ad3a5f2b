"""Fold a buyer's returned parcel, a runner's trip, a stall of the directory, a device's scope, and a document's writers.

A trip has no assumed success: each of its pieces is with the runner until a fact says where it went (D15, E24).
Pure and total. Rules R53-R61, R73-R78, D14, D15, D21, E19, E20, E24.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sync_core.facts import DOCUMENT_CLOSED, DOCUMENT_OPENED, DOCUMENT_WRITER, PlacedFact
from trade import kinds
from trade.ids import bare_id, first_id, ids_of
from trade.reading import State, dump, read_body, said

ANSWERS_KEPT: Final = 20
"""Of a stall's answers the latest are shown; all stay in the log."""


def fold_return(subject: str, facts: Sequence[PlacedFact]) -> State:
    """Return the state of a returned parcel; its id is the courier's number, so an unexpected one has a state too (E19)."""
    courier_no = bare_id(subject)
    state: State = {
        "courier_no": courier_no,
        "order": None,
        "order_no": None,
        "merchant": None,
        "merchant_name": None,
        "expected": False,
        "matched": False,
        "received": False,
        "received_at_ms": None,
        "receipts": [],
        "shelf": "",
        "sender_phone": "",
        "pieces": [],
    }
    for fact in facts:
        body = read_body(fact)
        match body:
            case kinds.ReturnExpected():
                state["order"] = first_id(fact.subjects, "order")
                for word in ("order_no", "merchant", "merchant_name"):
                    state[word] = getattr(body, word)
                state["expected"] = True
                for garment in body.pieces:
                    row = _returned(state, garment.piece)
                    row.update(garment.model_dump(mode="json"))
                    row["foreign"] = False
            case kinds.ReturnReceived():
                if not state["received"]:
                    state["received_at_ms"] = fact.at_ms
                    state["shelf"], state["sender_phone"] = body.shelf, body.sender_phone
                state["received"] = True
                state["matched"] = state["matched"] or body.matched
                state["receipts"].append(said(fact))
            case kinds.PieceInspected():
                piece = first_id(fact.subjects, "piece")
                if piece is not None:
                    row = _returned(state, piece)
                    if body.garment is not None:
                        row.update({**body.garment.model_dump(mode="json"), "piece": piece})
                    row["verdict"] = "passed" if body.passed else "pending"
                    row["reason"], row["inspected"] = body.reason, said(fact)
            case _:
                pass
    state["matched"] = state["matched"] or state["expected"]
    return state


def _returned(state: State, piece: str) -> dict[str, Any]:
    """The row of one garment in the bag; one that nobody expected is foreign until an expectation names it (E20)."""
    rows: list[dict[str, Any]] = state["pieces"]
    for row in rows:
        if row["piece"] == piece:
            return row
    row = {"piece": piece, "verdict": None, "reason": "", "inspected": None, "foreign": True}
    rows.append(row)
    return row


def fold_trip(subject: str, facts: Sequence[PlacedFact]) -> State:
    """Return which pieces a trip was given, and which were scanned into its bag; each piece's own state says the rest."""
    state: State = {"trip": bare_id(subject), "pieces": [], "bagged": []}
    for fact in facts:
        body = read_body(fact)
        for piece in ids_of(fact.subjects, "piece"):
            if isinstance(body, kinds.TripAssigned | kinds.PieceBagged) and piece not in state["pieces"]:
                state["pieces"].append(piece)
            if isinstance(body, kinds.PieceBagged) and piece not in state["bagged"]:
                state["bagged"].append(piece)
    return state


def fold_stall(facts: Sequence[PlacedFact]) -> State:
    """Return a stall's entry of the directory with the latest answers it gave; the last listing holds."""
    state: State = {"listed": False, "answers": []}
    answers: list[State] = []
    for fact in facts:
        body = read_body(fact)
        match body:
            case kinds.StallListed():
                state.update(dump(body))
                state["listed"] = True
            case kinds.TaskAnswered():
                task = first_id(fact.subjects, "task")
                answers.append({**said(fact), "task": task, "answer": body.answer.value, "on_day": body.on_day})
            case _:
                pass
    state["answers"] = answers[-ANSWERS_KEPT:]
    return state


def fold_device(facts: Sequence[PlacedFact]) -> State:
    """Return a device's scope: the last one the server said holds; empty before the first."""
    state: State = {}
    for fact in facts:
        body = read_body(fact)
        if isinstance(body, kinds.DeviceScope):
            state = dump(body)
    return state


def fold_document(facts: Sequence[PlacedFact]) -> State:
    """Return who may write in a document, how far its opening reaches ({writer: seq}), and whether it has ended, from the engine's own
    facts, which have no kind here.
    """
    state: State = {"writers": {}, "opening": {}, "closed": False, "successor": None}
    for fact in facts:
        match fact.kind, fact.body:
            case (kind, {"writers": dict(writers)} as body) if kind == DOCUMENT_OPENED:
                state["writers"].update({str(device): str(role) for device, role in writers.items()})
                opening = body.get("opening")
                if isinstance(opening, int) and not isinstance(opening, bool):
                    state["opening"][str(fact.writer)] = opening
            case (kind, {"device": int(device), "role": str(role)}) if kind == DOCUMENT_WRITER:
                state["writers"][str(device)] = role
            case (kind, body) if kind == DOCUMENT_CLOSED:
                successor = body.get("successor")
                state["closed"], state["successor"] = True, successor if isinstance(successor, str) else None
            case _:
                pass
    return state
