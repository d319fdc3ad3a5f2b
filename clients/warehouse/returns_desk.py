"""The returns desk: a buyer's parcel comes back, is inspected piece by piece, and goes to the stock, the pending area or a runner's bag.

Rules R53-R58, R73-R77, D14, D15, D21, E19, E20, E21.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from clients.runtime.node import Node
from clients.runtime.shown import clock, tail, yuan
from clients.runtime.web import Choice, Question
from clients.warehouse.outcome import Outcome
from clients.warehouse.wall import State, current_document, read_piece, read_return, stock_task_for
from sync_core.errors import MalformedError, RefusedError
from trade import kinds
from trade.calendar import MarketCalendar, business_day, days_between
from trade.piece_code import PieceCode, check_piece_code, label_qr

CALENDAR = MarketCalendar()


def receive(node: Node, courier_no: str) -> Outcome:
    """Take a parcel in that was announced; a second scan says so."""
    state = read_return(node, courier_no)
    if state is None:
        return unknown(node, courier_no)
    about = {"return": courier_no, "order": state["order"], "pieces": [row["piece"] for row in state["pieces"]]}
    parts = {"courier": courier_no, "n": len(state["pieces"]), "order": state["order_no"] or "—"}
    if state["received"]:
        return Outcome(word="return_again", parts={**parts, "at": clock(state["received_at_ms"])}, answer=about)
    body = kinds.ReturnReceived(courier_no=courier_no, matched=True)
    ids = node.act(current_document(node), [body.about(f"return:{courier_no}", *_piece_subjects(state))])
    return Outcome(word="return_received", parts=parts, answer={**about, "facts": list(ids)})


def unknown(node: Node, courier_no: str) -> Outcome:  # noqa: ARG001 - the desk's functions take the node alike
    """Nobody announced this parcel: nothing is recorded until it has a shelf place (E19)."""
    return Outcome(
        word="return_unknown", parts={"courier": courier_no}, answer={"return": courier_no, "unmatched": True}
    )


def take_unmatched(node: Node, courier_no: str, *, shelf: str, sender_phone: str) -> Outcome:
    """Take in a parcel nobody announced, with a shelf place and the sender's phone; it is bound later (E19)."""
    courier_no = courier_no.upper()
    if not courier_no.isascii() or not 6 <= len(courier_no) <= 40 or not courier_no.isalnum():
        raise RefusedError("return.courier_no", courier_no[:40])
    if read_return(node, courier_no) is not None:
        return receive(node, courier_no)
    body = kinds.ReturnReceived(courier_no=courier_no, matched=False, shelf=shelf, sender_phone=sender_phone)
    ids = node.act(current_document(node), [body.about(f"return:{courier_no}")])
    return Outcome(
        word="unmatched_taken",
        parts={"courier": courier_no, "shelf": shelf},
        answer={"return": courier_no, "shelf": shelf, "facts": list(ids)},
    )


def inspect(node: Node, courier_no: str, piece: str, *, passed: bool, reason: str) -> Outcome:
    """Fit: it is stock and gets its return label. Not fit: the pending area, with the reason (R54-R56).

    Raises:
        RefusedError: the parcel was not received, the piece is not of it, or was inspected already.
    """
    code = check_piece_code(piece)
    state = read_return(node, courier_no)
    row = next((row for row in (state or {}).get("pieces", []) if row["piece"] == code), None)
    if state is None or not state["received"] or row is None:
        raise RefusedError("return.not_received", courier_no)
    if row["verdict"] is not None:
        raise RefusedError("return.inspected", code)
    if not passed and not reason:
        raise RefusedError("return.reason", code)
    garment = kinds.ReturnedPiece.model_validate(
        {name: row[name] for name in kinds.ReturnedPiece.model_fields if name in row}
    )
    body = kinds.PieceInspected(passed=passed, reason=reason, garment=garment)
    job = ""

    def also(conn: sqlite3.Connection, _ids: tuple[str, ...]) -> None:
        nonlocal job
        if passed:
            job = _print_return_label(node, conn, code, garment, state)

    ids = node.act(current_document(node), [body.about(f"piece:{code}", f"return:{courier_no}")], also=also)
    return Outcome(
        word="passed" if passed else "pending",
        parts={"code": tail(code), "reason": reason, "style": garment.style},
        answer={"piece": code, "return": courier_no, "facts": list(ids), "job": job},
    )


def bag(node: Node, code: PieceCode, trip: str, *, confirmed: bool) -> Outcome:
    """Return-mode scan: out of the stock, into the runner's bag (R58).

    Raises:
        Question: the piece is past its stall's term (D21); a supervisor confirms.
        RefusedError: the bag has no name.
    """
    if not trip:
        raise RefusedError("bag.no_trip", "")
    state = read_piece(node, code)
    about = {"piece": code, "trip": trip}
    if state is not None and state["place"] == "with_runner":
        return Outcome(word="bagged_again", parts={"code": tail(code), "trip": state["trip"] or trip}, answer=about)
    if state is None or state["place"] != "in_stock":
        if state is not None and state["place"] in ("inbound", "in_cell", "packed", "shipped") and state["return"]:
            return Outcome(word="sold", parts={"code": tail(code)}, answer=about)
        parts = {"code": tail(code), "place": "—" if state is None else state["place"]}
        return Outcome(word="not_stock", parts=parts, answer=about)
    if stock_task_for(node, code) is not None:
        return Outcome(word="sold", parts={"code": tail(code)}, answer=about)
    garment = state["garment"]
    if garment is not None and not confirmed:
        bought = business_day(garment["bought_at_ms"], CALENDAR)
        over = days_between(bought, business_day(node.clock.wall_ms(), CALENDAR)) - garment["terms_days"]
        if over > 0:
            fields = {"code": str(code), "mode": "bag", "trip": trip, "confirm": "1"}
            choice = Choice(key="bag.supervisor", address="/scan", fields=fields, look="warn")
            raise Question("bag.past_term", [choice], days=over)
    ids = node.act(current_document(node), [kinds.PieceBagged().about(f"piece:{code}", f"trip:{trip}")])
    stall = f"{garment['floor']} {garment['stall']}".strip() if garment is not None else ""
    return Outcome(
        word="bagged",
        parts={"code": tail(code), "trip": trip, "stall": stall or "—"},
        answer={**about, "facts": list(ids)},
    )


def bring_back(node: Node, code: PieceCode) -> Outcome:
    """A runner brought a piece back: stock again (D15)."""
    ids = node.act(current_document(node), [kinds.PieceBroughtBack().about(f"piece:{code}")])
    return Outcome(word="brought_back", parts={"code": tail(code)}, answer={"piece": code, "facts": list(ids)})


def end_pending(node: Node, piece: str, *, outcome: str, fee_fen: int, payer: str) -> Outcome:
    """Say where an unfit piece ended (R55).

    Raises:
        RefusedError: the piece is not in the pending area.
    """
    code = check_piece_code(piece)
    state = read_piece(node, code)
    if state is None or state["place"] != "pending":
        raise RefusedError("pending.not_there", code)
    try:
        body = kinds.PendingEnded.model_validate({"outcome": outcome, "fee_fen": fee_fen, "fee_payer": payer})
    except ValueError as error:
        raise MalformedError("form.choice", f"{outcome} {payer}"[:60]) from error
    ids = node.act(current_document(node), [body.about(f"piece:{code}")])
    return Outcome(
        word="pending_ended",
        parts={"code": tail(code), "end": outcome},
        answer={"piece": code, "end": outcome, "facts": list(ids)},
    )


def _piece_subjects(state: State) -> list[str]:
    return [f"piece:{row['piece']}" for row in state["pieces"]][:60]


def _print_return_label(
    node: Node, conn: sqlite3.Connection, code: PieceCode, garment: kinds.ReturnedPiece, state: dict[str, Any]
) -> str:
    fields = {
        "stall": "-".join(part for part in (garment.floor, garment.stall) if part),
        "market": garment.market,
        "style": garment.style,
        "colour": garment.colour,
        "size": garment.size,
        "reason": "",
        "order_tail": tail(state["order_no"] or ""),
        "price": yuan(garment.paid_fen),
        "trip": "",
        "cell": "",
        "count": "",
        "merchant": state["merchant_name"] or "",
        "qr": label_qr(
            code=code,
            task=garment.task,
            order=state["order"] or "O0",
            piece_no=1,
            order_pieces=1,
            price_fen=garment.paid_fen,
        ),
        "code": str(code),
    }
    return node.printers.enqueue(
        conn,
        printer="label",
        template="return",
        fields=fields,
        subject=str(code),
        copy_no=1,
        at_ms=node.clock.wall_ms(),
    )
