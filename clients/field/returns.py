"""What a runner can do at a stall with the pieces in his bag: money back, or refused with a reason (R59-R61, D15).

A trip has no assumed success: a piece is with the runner until one of these is said of it. Amounts are whole fen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from clients.field.actions import CALENDAR
from clients.runtime.node import Node
from clients.runtime.shown import yuan
from clients.runtime.web import Choice, Question
from sync_core.errors import MalformedError, RefusedError
from sync_core.facts import Json
from trade import kinds
from trade.calendar import business_day, days_between
from trade.ids import bare_id
from trade.piece_code import check_piece_code
from trade.pricing import looks_wrong
from trade.walk import StallPlace

State = dict[str, Any]
ENDED: Final = frozenset({"back_at_stall", "left_at_stall", "written_off", "in_stock"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BagPiece:
    """One return piece of a trip as the runner sees it (R59)."""

    code: str
    document: str
    state: State
    days_left: int

    @property
    def garment(self) -> State:
        """What it is, where and for how much it was bought, and by whom."""
        garment: State = self.state["garment"]
        return garment

    @property
    def place(self) -> StallPlace:
        """Where its stall stands."""
        return StallPlace(market=self.garment["market"], floor=self.garment["floor"], stall=self.garment["stall"])

    @property
    def is_open(self) -> bool:
        """True while nobody said where it went."""
        return self.state["place"] not in ENDED


def read_bag(node: Node) -> list[BagPiece]:
    """Return the pieces of this runner's trips, the shortest term first (D21)."""
    trips = set(node.documents("trip"))
    pieces = [
        _bag_piece(node, document, bare_id(subject), state)
        for document, subject, state in node.replica.states("piece")
        if document in trips and state["garment"]
    ]
    return sorted(pieces, key=lambda piece: (not piece.is_open, piece.days_left, piece.code))


def find_in_bag(node: Node, text: str) -> BagPiece:
    """Return the piece of a scanned label, a typed code or the last four digits.

    Raises:
        RefusedError: it is in no bag of this runner, or the digits fit several.
    """
    bag = read_bag(node)
    short = {piece.code for piece in bag if len(text) >= 3 and text.isdigit() and piece.code.endswith(text)}
    code = short.pop() if len(short) == 1 else check_piece_code(text)
    # A piece that was brought back and went out once more stands in two bags: it is in the later one.
    trips = node.documents("trip")
    same = [piece for piece in bag if piece.code == code]
    found = max(same, key=lambda piece: (piece.is_open, trips.index(piece.document)), default=None)
    if found is None:
        raise RefusedError("return.not_in_bag", code)
    return found


def refund(node: Node, *, piece: str, received_fen: int | None, means: str | None, confirmed: bool) -> dict[str, Json]:
    """The stall took the piece back: record what it gave, the price paid when nothing was typed (R60).

    Raises:
        Question: the amount looks wrong; nothing was done.
        RefusedError: the piece is in no bag of this runner, or its end was said already.
    """
    found = _open_piece(node, piece)
    paid_fen = int(found.state["price_fen"] or found.garment["paid_fen"])
    got_fen = received_fen if received_fen is not None else paid_fen
    if not 0 < got_fen <= kinds.PRICE_FEN_MAX:
        raise RefusedError("refund.none" if got_fen == 0 else "price.absurd", yuan(got_fen))
    fields = {"piece": found.code, "received": yuan(got_fen), **({"means": means} if means else {})}
    doubt = looks_wrong(got_fen, quote_fen=paid_fen)
    if (doubt is not None or got_fen > paid_fen) and not confirmed:
        choice = Choice(key="refund.really", address="/trip/refund", fields={**fields, "confirm": "1"}, look="warn")
        raise Question("refund.unusual", [choice], received=yuan(got_fen), paid=yuan(paid_fen))
    try:
        chosen = kinds.Means(means or kinds.Means.CASH.value)
    except ValueError as error:
        raise MalformedError("form.choice", str(means)) from error
    fact = kinds.PieceRefunded(received_fen=got_fen, means=chosen).about(f"piece:{found.code}", found.place.stall_id)
    ids = node.act(found.document, [fact])
    return {"piece": found.code, "received_fen": got_fen, "paid_fen": paid_fen, "facts": list(ids)}


def refuse(node: Node, *, piece: str, reason: str, then: str, note: str = "") -> dict[str, Json]:
    """The stall did not take it back: why, and where the piece is now (R61)."""
    found = _open_piece(node, piece)
    try:
        body = kinds.PieceRefused.model_validate({"reason": reason, "then": then, "note": note})
    except ValueError as error:
        raise MalformedError("form.choice", f"{reason} {then}"[:60]) from error
    ids = node.act(found.document, [body.about(f"piece:{found.code}", found.place.stall_id)])
    return {"piece": found.code, "reason": reason, "then": then, "facts": list(ids)}


def _open_piece(node: Node, piece: str) -> BagPiece:
    found = find_in_bag(node, piece)
    if not found.is_open:
        raise RefusedError("return.ended", found.code)
    return found


def _bag_piece(node: Node, document: str, code: str, state: State) -> BagPiece:
    garment = state["garment"]
    today = business_day(node.clock.wall_ms(), CALENDAR)
    bought = business_day(garment["bought_at_ms"], CALENDAR)
    return BagPiece(
        code=code, document=document, state=state, days_left=garment["terms_days"] - days_between(bought, today)
    )
