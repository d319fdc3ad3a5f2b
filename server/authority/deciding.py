"""Which rule decides about which kind of fact; every fact is decided once, whatever restarts.

Facts of a revoked device, or of a person who left, that came after that are parked until a supervisor lets them count (E31); so are
those of a device that came back after the end of its certificate, or with more than its offline quota (REL-R10).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from server import contact
from server import schema as s
from server.authority import adoption, answers, closing, corrections, returns, sorting, trips
from server.authority.batch import PLATFORM, Batch, body_of
from sync_core.facts import PlacedFact
from trade import kinds
from trade.ids import first_id

Rule = Callable[[Batch, str, PlacedFact], None]

PARKED: Final = "parked"
"""The rule under which a fact waits for a supervisor."""

RULES: Final[dict[str, Rule]] = {
    kinds.PieceBought.KIND: adoption.on_bought,
    kinds.PieceUndone.KIND: corrections.on_undone,
    kinds.PriceCorrected.KIND: corrections.on_price_corrected,
    kinds.TaskAnswered.KIND: answers.on_answered,
    kinds.AnswerWithdrawn.KIND: answers.on_answer_withdrawn,
    kinds.PriceAsked.KIND: answers.on_asked,
    kinds.TaskBounced.KIND: answers.on_bounced,
    kinds.RecallSeen.KIND: closing.on_recall_seen,
    kinds.ScannedIn.KIND: sorting.on_scanned_in,
    kinds.PiecesSwapped.KIND: sorting.on_swapped,
    kinds.PieceDrawn.KIND: sorting.on_drawn,
    kinds.ParcelPacked.KIND: sorting.on_packed,
    kinds.WaybillPrinted.KIND: sorting.on_printed,
    kinds.ParcelShipped.KIND: sorting.on_shipped,
    kinds.ReturnReceived.KIND: returns.on_return_received,
    kinds.PieceInspected.KIND: returns.on_inspected,
    kinds.PieceBagged.KIND: trips.on_bagged,
    kinds.PieceBroughtBack.KIND: returns.on_brought_back,
    kinds.PendingEnded.KIND: returns.on_pending_ended,
    kinds.PieceRefunded.KIND: returns.on_refunded,
    kinds.PieceRefused.KIND: returns.on_refused,
}
"""What decides; kinds that are not here (a reprint) change no money and no row."""


def decide(b: Batch, document: str, fact: PlacedFact, *, received_ms: int) -> None:
    """Decide about a device's fact, once, and carry it to the other documents that need it."""
    device, person = b.row(s.device, fact.writer), b.row(s.person, fact.person)
    ends_ms = [device.revoked_ms if device is not None else None, person.ended_ms if person is not None else None]
    ended = any(end_ms is not None and received_ms > end_ms for end_ms in ends_ms)
    if ended or contact.is_beyond(b, fact, received_ms=received_ms):
        park(b, document, fact)
    else:
        decide_now(b, document, fact)


def park(b: Batch, document: str, fact: PlacedFact) -> None:
    """Let a fact wait for a supervisor; an entry he has settled before is opened again.

    What the device has said again under its next number counts already: nobody needs to look at it.
    """
    if b.verdict_of(document, fact.id, f"decide:{fact.kind}") is not None:
        return
    if b.once(document, fact.id, PARKED):
        key = f"{PARKED}|{fact.writer}"
        b.discrepancy("parked", f"device:{fact.writer}", PLATFORM, facts=[fact.id], key=key)
        b.reopen_discrepancy(key)


def decide_now(b: Batch, document: str, fact: PlacedFact) -> bool:
    """Decide without asking whether the author is still welcome; False when it was decided before."""
    rule = RULES.get(fact.kind)
    if not b.once(document, fact.id, f"decide:{fact.kind}"):
        return False
    b.carry_on(document, fact)
    if rule is not None:
        rule(b, document, fact)
    return True


def correct_again(b: Batch, fact: PlacedFact) -> None:
    """A fact counts only from now, released or understood since an upgrade: what corrects it was decided in vain before."""
    for document, told in b.memory.facts_of(fact.subjects[0], own_only=True).items():
        for later in told:
            if b.verdict_of(document, later.id, f"decide:{later.kind}") is not None and _corrects(later, fact):
                RULES[later.kind](b, document, later)


def _corrects(later: PlacedFact, fact: PlacedFact) -> bool:
    body = body_of(later) if later.kind in _CORRECTIONS else None
    match body:
        case kinds.PieceUndone() | kinds.AnswerWithdrawn():
            return body.fact == fact.id
        case kinds.PriceCorrected():
            return fact.kind == kinds.PieceBought.KIND and first_id(later.subjects, "piece") == first_id(
                fact.subjects, "piece"
            )
        case _:
            return False


_CORRECTIONS: Final = frozenset({kinds.PieceUndone.KIND, kinds.PriceCorrected.KIND, kinds.AnswerWithdrawn.KIND})
