"""Fold a piece: where one garment is, what it cost, whom it serves, and what contradicts itself about it.

The place is exactly one word (I1). Facts are folded in order of knowledge, and each moves the piece only from places where
its step makes sense: a purchase that arrives after the scan (its phone was in the basement) explains the piece and moves nothing.
Facts that lost a conflict count for nothing and stand in `losses`, so that somebody is told.
Pure and total. Amounts are whole fen. Rules R43-R45, R51-R61, D14, D15, E8-E12, E21, E24, I1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sync_core.facts import PlacedFact, is_server
from trade import kinds
from trade.ids import bare_id, first_id, order_of_task
from trade.reading import State, dump, read_body, said
from trade.stock_conflicts import judge_stock

PLACES: Final = (
    "wanted", "with_picker", "inbound", "in_cell", "packed", "shipped", "in_stock", "return_in", "pending", "with_runner",
    "back_at_stall", "left_at_stall", "returned_to_buyer", "handed_to_merchant", "foreign", "lost", "written_off", "undone",
)  # fmt: skip
"""I1's places, and `undone`: the tap was a mistake, there is no such garment."""

AT_WAREHOUSE: Final = frozenset({"inbound", "in_cell", "packed"})
"""Arrived and not yet gone: what completes an order."""

_NOT_YET_IN: Final = frozenset({"wanted", "with_picker"})
_GONE_BACK: Final = frozenset({"back_at_stall", "left_at_stall", "written_off"})


def new_piece() -> State:
    """Return the state of a piece nothing is known about."""
    return {
        "place": "wanted",
        "task": None,
        "order": None,
        "price_fen": None,
        "prices": [],
        "person": None,
        "device": None,
        "at_ms": None,
        "means": None,
        "late": False,
        "stall": None,
        "cell": None,
        "scans": [],
        "unexplained": False,
        "waiting_for_phone": False,
        "qr": None,
        "swapped_with": None,
        "verdict": None,
        "parcel": None,
        "shipped": [],
        "return": None,
        "garment": None,
        "trip": None,
        "bagged": False,
        "refund": None,
        "refused": None,
        "undone": False,
        "bought": None,
        "home": None,
        "wanted_by": None,
        "copies": 0,
        "losses": [],
    }


def fold_piece(subject: str, facts: Sequence[PlacedFact]) -> State:
    """Return the state of one piece from its facts in folded order."""
    piece = bare_id(subject)
    state = new_piece()
    undos: list[PlacedFact] = []
    recalled: set[str | None] = set()
    judged_for: str | None = None
    losses = _lost_facts(facts)
    overtaken = overtaken_inspections(facts)
    for fact in facts:
        if fact.id in overtaken:
            continue
        loss = losses.get(fact.id)
        if loss is not None:
            state["losses"].append({**said(fact), "kind": fact.kind, **loss})
            continue
        body = read_body(fact)
        if isinstance(body, kinds.PieceUndone):
            undos.append(fact)
        elif isinstance(body, kinds.TaskRecalled):
            recalled.add(first_id(fact.subjects, "task"))
        elif body is not None:
            _apply(state, piece, fact, body)
        if isinstance(body, kinds.PurchaseVerdict):
            judged_for = first_id(fact.subjects, "task")
    _finish(state, undos, judged_for)
    # Drawn from the stock for an order that does not want it any more: stock again, however far it had come in the house.
    if state["home"] is not None and state["task"] in recalled and state["place"] in AT_WAREHOUSE:
        state["place"], state["cell"] = "in_stock", None
    return state


def overtaken_inspections(facts: Sequence[PlacedFact]) -> frozenset[str]:
    """Return the facts (in folded order) with which a garment was looked at once more in one return, by somebody who had not heard that it
    was looked at before and has gone on since: drawn for an order, packed, shipped, bagged. They move nothing.
    """
    looked: set[str | None] = set()
    gone_on: set[str | None] = set()
    overtaken: set[str] = set()
    for fact in facts:
        if fact.kind == kinds.PieceInspected.KIND:
            courier_no = first_id(fact.subjects, "return")
            if courier_no in gone_on:
                overtaken.add(fact.id)
            looked.add(courier_no)
        elif fact.kind in _GOES_ON:
            gone_on |= looked
    return frozenset(overtaken)


def _apply(state: State, piece: str, fact: PlacedFact, body: kinds.FactBody) -> None:
    match body:
        case kinds.PieceBought():
            _buy(state, fact, body)
        case kinds.PieceAdopted():
            _adopt(state, fact, body)
        case kinds.TaskAssigned():
            state["wanted_by"] = {"task": first_id(fact.subjects, "task"), "order": first_id(fact.subjects, "order")}
        case kinds.PriceCorrected() if _is_its_buyers(state, fact):
            state["price_fen"] = body.price_fen
            state["prices"].append({**said(fact), "price_fen": body.price_fen})
        case kinds.LabelReprinted():
            state["copies"] = max(state["copies"], body.copy_no)
        case kinds.PurchaseVerdict():
            state["verdict"] = {**dump(body), "fact": fact.id, "about": body.fact}
        case kinds.ScannedIn() | kinds.PiecesSwapped() | kinds.PieceDrawn():
            _apply_sorting(state, piece, fact, body)
        case kinds.ParcelPacked():
            if piece in body.pieces and state["place"] != "shipped":
                state["place"] = "packed"
                state["parcel"] = first_id(fact.subjects, "parcel")
                state["order"] = first_id(fact.subjects, "order")
        case kinds.ParcelShipped():
            if piece in body.pieces:
                state["place"] = "shipped"
                state["parcel"] = first_id(fact.subjects, "parcel")
                state["order"] = first_id(fact.subjects, "order")
                state["shipped"].append(said(fact))
        case _:
            _apply_return(state, fact, body)


def _buy(state: State, fact: PlacedFact, body: kinds.PieceBought) -> None:
    """A purchase explains the piece wherever it is; the first one said of a code holds, the buyer's own word before an adoption."""
    if state["bought"] is not None and not _is_adopted(state):
        state["losses"].append({**said(fact), "kind": fact.kind, "lost_to": "first_purchase", "todo": "none"})
        return
    if _is_adopted(state):
        state["prices"] = [price for price in state["prices"] if price["fact"] != state["bought"]]
    state.update(bought=fact.id, person=fact.person, device=fact.device, at_ms=fact.at_ms)
    state.update(means=body.means.value, late=body.late)
    _explain(state, fact, body.price_fen)


def _adopt(state: State, fact: PlacedFact, body: kinds.PieceAdopted) -> None:
    """A supervisor vouches for the lost phone (E29); says nothing where the phone itself was heard."""
    if state["bought"] is not None:
        return
    state.update(bought=fact.id, person=body.person, device=body.bought_by, at_ms=fact.at_ms)
    state.update(means=body.means.value)
    _explain(state, fact, body.price_fen)


def _is_adopted(state: State) -> bool:
    """Only the server adopts, and a server buys nothing."""
    return state["bought"] is not None and is_server(int(state["bought"].partition(".")[0]))


def _explain(state: State, fact: PlacedFact, price_fen: int) -> None:
    state["stall"] = next((subject for subject in fact.subjects if subject.startswith("stall:")), None)
    if not state["prices"]:
        state["price_fen"] = price_fen
    state["prices"].insert(0, {**said(fact), "price_fen": price_fen})
    if state["swapped_with"] is None and state["home"] is None:
        state["task"] = first_id(fact.subjects, "task") or state["task"]
        state["order"] = order_of_task(state["task"] or "") or state["order"]
    state["copies"] = max(state["copies"], 1)
    _move(state, "with_picker", frozenset({"wanted"}))


def _apply_sorting(state: State, piece: str, fact: PlacedFact, body: kinds.FactBody) -> None:
    match body:
        case kinds.ScannedIn():
            state["scans"].append(said(fact))
            if body.qr is not None and state["qr"] is None:
                state["qr"] = body.qr.model_dump(mode="json")
                state["task"] = state["task"] or body.qr.task
                state["order"] = state["order"] or body.qr.order
            if state["place"] in _NOT_YET_IN:
                cell = body.cell or (body.qr.cell if body.qr is not None else None)
                state["cell"] = cell
                state["place"] = "in_cell" if cell else "inbound"
            elif state["place"] == "inbound" and body.cell is not None:
                state["cell"], state["place"] = body.cell, "in_cell"
        case kinds.PiecesSwapped():
            pieces = [bare_id(subject) for subject in fact.subjects[:2]]
            if piece in pieces and pieces[0] != pieces[1]:
                at = pieces.index(piece)
                state["swapped_with"] = pieces[1 - at]
                state["task"] = body.tasks[at]
                state["order"] = order_of_task(body.tasks[at]) or state["order"]
                if state["place"] == "in_cell":  # It is in a hand again, until the scan into its new order's cell.
                    state["place"], state["cell"] = "inbound", None
        case kinds.PieceDrawn():
            state["task"] = first_id(fact.subjects, "task")
            state["order"] = first_id(fact.subjects, "order")
            state["home"] = state["task"]
            state["place"], state["parcel"], state["cell"] = "inbound", None, None
        case _:
            pass


def _apply_return(state: State, fact: PlacedFact, body: kinds.FactBody) -> None:
    match body:
        case kinds.ReturnReceived():
            state["return"] = {"courier_no": body.courier_no, "passed": None, "fact": fact.id}
            _move(state, "return_in", frozenset({"wanted", "with_picker", "shipped"}))
        case kinds.PieceInspected():
            courier_no = first_id(fact.subjects, "return")
            state["return"] = {**said(fact), "courier_no": courier_no, "passed": body.passed, "reason": body.reason}
            state["place"] = "in_stock" if body.passed else "pending"
            state["cell"] = None
            if body.garment is not None:
                _describe(state, body.garment)
        case kinds.PendingEnded():
            state["place"] = _ENDS[body.outcome]
        case kinds.TripAssigned():
            state["trip"] = first_id(fact.subjects, "trip")
            state["merchant"], state["merchant_name"] = body.merchant, body.merchant_name
            _describe(state, body.garment)
            _move(state, "with_runner", frozenset({"wanted", "in_stock"}))
        case kinds.PieceBagged():
            state["trip"] = first_id(fact.subjects, "trip") or state["trip"]
            state["bagged"] = True
            if state["place"] not in _GONE_BACK:
                state["place"] = "with_runner"
        case kinds.PieceBroughtBack():
            state["place"], state["bagged"], state["trip"] = "in_stock", False, None
        case kinds.PieceRefunded():
            state["refund"] = {**said(fact), "received_fen": body.received_fen, "means": body.means.value}
            state["place"] = "back_at_stall"
        case kinds.PieceRefused():
            state["refused"] = {**said(fact), "reason": body.reason, "then": body.then, "note": body.note}
            if state["refund"] is None:
                _move(state, _AFTER_REFUSAL[body.then], _OUT_WITH_A_RUNNER)
        case kinds.RefundVerdict():
            state["credited"] = {"outcome": body.outcome, "credited_fen": body.credited_fen, "fact": fact.id}
        case kinds.StockVerdict(winner="parcel"):
            _move(state, "packed", frozenset({"wanted", "in_stock", "with_runner"}))
        case kinds.StockVerdict(winner="bag"):
            _move(state, "with_runner", frozenset({"wanted", "in_stock", "inbound", "in_cell", "packed"}))
        case _:
            pass


_GOES_ON: Final = frozenset(
    {
        kinds.PieceDrawn.KIND,
        kinds.ParcelPacked.KIND,
        kinds.ParcelShipped.KIND,
        kinds.PieceBagged.KIND,
        kinds.PendingEnded.KIND,
    }
)
_TAKES: Final = frozenset({kinds.PieceDrawn.KIND, kinds.PieceBagged.KIND, kinds.StockVerdict.KIND})
_ENDS: Final[Mapping[str, str]] = {
    "returned_to_buyer": "returned_to_buyer",
    "accepted": "in_stock",
    "handed_to_merchant": "handed_to_merchant",
    "disposed": "written_off",
}
_OUT_WITH_A_RUNNER: Final = frozenset({"wanted", "with_runner", "left_at_stall", "written_off"})
"""Where a refusal finds a piece; one that was brought back, sold or packed since has been told about too late (E24)."""
_AFTER_REFUSAL: Final[Mapping[str, str]] = {
    "keep_trying": "with_runner",
    "bring_back": "with_runner",
    "left_at_stall": "left_at_stall",
    "written_off": "written_off",
}


def _move(state: State, place: str, allowed: frozenset[str]) -> None:
    if state["place"] in allowed:
        state["place"] = place


def _describe(state: State, garment: kinds.ReturnedPiece) -> None:
    """What the runner needs at the stall; a purchase known here says it first-hand."""
    state["garment"] = garment.model_dump(mode="json")
    if state["price_fen"] is None:
        state["price_fen"] = garment.paid_fen


def _finish(state: State, undos: Sequence[PlacedFact], judged_for: str | None) -> None:
    """What follows from all facts together: an undo, who must still be heard, and where a piece without an order lies.

    `judged_for` is the task that the verdict was said about: bags that were swapped before it share its outcome, later ones do not.
    """
    verdict = state["verdict"]
    outcome = verdict["outcome"] if verdict is not None else None
    state["undone"] = outcome == "undone" or any(_undoes(state, undo) for undo in undos)
    if state[
        "undone"
    ]:  # A garment that was scanned exists, whatever the tap said: it stays where it is, as a discrepancy.
        _move(state, "undone", frozenset({"with_picker"}))
    explained = state["bought"] is not None or state["garment"] is not None or state["home"] is not None
    state["unexplained"] = bool(state["scans"]) and not explained
    state["waiting_for_phone"] = state["unexplained"] and state["qr"] is None
    homeless = outcome in ("second", "closed_unseen", "closed_seen") and state["home"] is None
    # What was packed for an order that was closed since, and has not left, lies in the house: its parcel must not ship.
    inside = ("inbound", "in_cell", "packed") if outcome == "closed_unseen" else ("inbound", "in_cell")
    serves_another = state["swapped_with"] is not None and state["task"] != judged_for
    if homeless and not serves_another and state["place"] in inside:
        state["place"] = "in_stock"


def _undoes(state: State, undo: PlacedFact) -> bool:
    """Only the buyer takes a purchase back: on the same device, or on his next one."""
    return (
        _is_its_buyers(state, undo) and state["bought"] is not None and bool(undo.body.get("fact") == state["bought"])
    )


def _is_its_buyers(state: State, fact: PlacedFact) -> bool:
    """True of what the buyer says, on the same device or on his next one; while no purchase is known, of what anybody says."""
    return state["bought"] is None or fact.device == state["device"] or fact.person == state["person"]


def _lost_facts(facts: Sequence[PlacedFact]) -> dict[str, dict[str, Any]]:
    """Return {fact id: what beat it and what its author does}: D14 by verdict, else by the rule every node applies."""
    if not any(fact.kind in _TAKES for fact in facts):
        return {}
    verdicts: dict[str, tuple[PlacedFact, kinds.StockVerdict]] = {}
    for fact in facts:
        body = read_body(fact) if fact.kind == kinds.StockVerdict.KIND else None
        if isinstance(body, kinds.StockVerdict):
            verdicts.setdefault(body.fact, (fact, body))
    losses: dict[str, dict[str, Any]] = {}
    for lost, (fact, body) in verdicts.items():
        losses[lost] = {"lost_to": body.winner, "todo": body.todo, "provisional": False, "verdict": fact.id}
    for decision in judge_stock(facts):
        if decision.kept in verdicts or decision.lost in verdicts:  # A verdict stands.
            continue
        said_so = decision.verdict
        losses[decision.lost] = {"lost_to": said_so.winner, "todo": said_so.todo, "provisional": True, "verdict": None}
    for lost, (verdict_fact, body) in verdicts.items():
        if body.winner == "bag":
            losses.update(_parcels_of_lost_sale(facts, lost, verdict_fact))
    return losses


def _parcels_of_lost_sale(facts: Sequence[PlacedFact], lost: str, verdict: PlacedFact) -> dict[str, dict[str, Any]]:
    """A parcel packed of a sale that a verdict took back, by somebody who did not know the verdict, loses with it."""
    sales = [fact for fact in facts if fact.id == lost]
    return {
        fact.id: {"lost_to": "bag", "todo": "pick_again", "provisional": False, "verdict": verdict.id}
        for fact in facts
        if fact.kind in (kinds.ParcelPacked.KIND, kinds.ParcelShipped.KIND)
        and any(fact.knew(sale) for sale in sales)
        and not fact.knew(verdict)
    }
