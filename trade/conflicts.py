"""Who wins when people acted without knowing of each other: purchases, answers, recalls, stock.

The authority calls the `judge_` functions and turns their answers into verdicts; folds call `rank_purchases` and
`judge_stock` to predict one. All are functions of the facts and of who knew what: no clock decides, and the physical
world is never refused. A piece that was bought exists, so every purchase gets an owner and nobody is charged twice.
Pure. Amounts are whole fen. Rules D7, D9-D12, D14, E1-E7, E21.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Literal, assert_never

from sync_core.facts import PlacedFact
from trade import kinds
from trade.calendar import MarketCalendar, comes_back_on, judge_postponement
from trade.ids import fact_order
from trade.screening import Sku

PLATFORM = "platform"
"""The owner of what no merchant owns."""

Known = Set[tuple[str, str]]
"""Pairs (later, earlier) of fact ids: the author of the later had folded the earlier."""

CLOSING = frozenset({"closed", "refund", "delisted"})
"""Recalls after which nobody wants the piece; `reassigned` and `stall_changed` move the want to another task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """One purchase as it is judged. `assigned`: said by the device its task was given to."""

    fact: str
    piece: str
    device: int
    price_fen: int
    assigned: bool = True
    seen_recall: bool = False
    undone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """One wanted garment with all attempts at it: what the authority has when it decides.

    `keeper` is the purchase that an earlier verdict charged for: one that keeps, went over the cap, or was closed unseen.
    `recall` is the id of the recall that closed the want, None when it is open or moved to another task (`CLOSING`).
    """

    merchant: str
    cap_fen: int
    drop_ship: bool
    purchases: tuple[Purchase, ...]
    known: Known = frozenset()
    keeper: str | None = None
    recall: str | None = None
    drawn: str | None = None
    """A piece of the stock that serves the want already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeps:
    """The purchase serves the order; post `charged_fen`, release `release_fen` of the hold."""

    piece: str
    owner: str
    charged_fen: int
    release_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OverCap:
    """It serves the order though it was dearer than the cap: `excess_fen` is the platform's until the merchant accepts (E7)."""

    piece: str
    owner: str
    charged_fen: int
    excess_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """Another purchase serves the order; this piece is the platform's, or his who ships himself (D20), and looks for a home (D10)."""

    keeper: str | None
    owner: str = PLATFORM


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedUnseen:
    """Bought though the want was withdrawn, in good faith: the merchant's stock (D9, E1, E2).

    `cause` says by knowledge, not by clocks, what came first.
    """

    owner: str
    charged_fen: int
    release_fen: int
    excess_fen: int
    cause: Literal["bought_first", "neither_knew", "page_was_open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedSeen:
    """Bought though the phone had shown the recall: the platform's, a discrepancy for the supervisor (D11); his whose cash paid (D20)."""

    owner: str = PLATFORM


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """The author says that there is no such garment."""


PurchaseDecision = Keeps | OverCap | Second | ClosedUnseen | ClosedSeen | Undone


def known_pairs(facts: Sequence[PlacedFact]) -> frozenset[tuple[str, str]]:
    """Return who knew what among some facts of one document; the union over documents is what the authority knows.

    Only what an author said himself counts: a carried fact stands where the server put it, which says nothing about its author.
    """
    return frozenset(
        (late.id, early.id)
        for late in facts
        if late.writer == late.device
        for early in facts
        if late.id != early.id and late.knew(early)
    )


def rank_purchases(purchases: Iterable[Purchase], known: Known = frozenset()) -> tuple[Purchase, ...]:
    """Return the living purchases of one want, the keeper first (D10).

    By the assigned device, then earlier in basis order, then the lower fact id in numeric order. Bases that claim a circle
    are cut at the lowest id, so that every node ranks alike.
    """
    left = [purchase for purchase in purchases if not purchase.undone]
    ranked: list[Purchase] = []
    while left:
        group = [purchase for purchase in left if purchase.assigned] or left
        first = [late for late in group if not any((late.fact, early.fact) in known for early in group)] or group
        best = min(first, key=lambda purchase: fact_order(purchase.fact))
        ranked.append(best)
        left.remove(best)
    return tuple(ranked)


def owner_of_no_want(merchant: str, *, drop_ship: bool) -> str:
    """Who has a piece that serves nobody: the platform, but whoever ships himself paid for it with his own cash (D20)."""
    return PLATFORM if drop_ship else merchant


def judge_purchases(want: Want) -> Purchase | None:
    """Return the purchase that keeps the want, as far as is known: the verdict's, else the best ranked; None when none lives."""
    ranked = rank_purchases(want.purchases, want.known)
    return next((purchase for purchase in ranked if purchase.fact == want.keeper), ranked[0] if ranked else None)


def judge_purchase(want: Want, fact: str) -> PurchaseDecision:
    """Return what becomes of one purchase of a want; `fact` is the id of one of `want.purchases`.

    A named keeper stands whatever comes later, and a later purchase is the second piece (D10).
    """
    purchase = next(candidate for candidate in want.purchases if candidate.fact == fact)
    if purchase.undone:
        return Undone()
    seen = want.recall is not None and purchase.seen_recall
    if want.keeper is not None and want.keeper != fact:
        return Second(
            keeper=_piece_of(want, want.keeper), owner=owner_of_no_want(want.merchant, drop_ship=want.drop_ship)
        )
    if want.keeper is None and seen:
        return ClosedSeen(owner=owner_of_no_want(want.merchant, drop_ship=want.drop_ship))
    if want.keeper is None:
        rivals = [rival for rival in want.purchases if want.recall is None or not rival.seen_recall]
        best = rank_purchases(rivals, want.known)[0]
        if want.drawn is not None:
            return Second(keeper=want.drawn, owner=owner_of_no_want(want.merchant, drop_ship=want.drop_ship))
        if best.fact != fact:
            return Second(keeper=best.piece, owner=owner_of_no_want(want.merchant, drop_ship=want.drop_ship))
    charged_fen, excess_fen = _split_at_cap(want, purchase.price_fen)
    release_fen = want.cap_fen - charged_fen if want.drop_ship else 0
    if want.recall is not None and want.keeper is None:
        return ClosedUnseen(
            owner=want.merchant,
            charged_fen=charged_fen,
            release_fen=release_fen,
            excess_fen=excess_fen,
            cause=_cause(want.recall, fact, want.known),
        )
    if excess_fen:
        return OverCap(piece=purchase.piece, owner=want.merchant, charged_fen=charged_fen, excess_fen=excess_fen)
    return Keeps(piece=purchase.piece, owner=want.merchant, charged_fen=charged_fen, release_fen=release_fen)


def verdict_body(decision: PurchaseDecision, fact: str) -> kinds.PurchaseVerdict:
    """Return the verdict that says a decision."""
    match decision:
        case Keeps(piece=piece, owner=owner, charged_fen=charged_fen):
            return kinds.PurchaseVerdict(fact=fact, outcome="keeps", owner=owner, charged_fen=charged_fen, keeper=piece)
        case OverCap(piece=piece, owner=owner, charged_fen=charged_fen, excess_fen=excess_fen):
            return kinds.PurchaseVerdict(
                fact=fact,
                outcome="over_cap",
                owner=owner,
                charged_fen=charged_fen,
                excess_fen=excess_fen,
                keeper=piece,
            )
        case Second(keeper=keeper, owner=owner):
            return kinds.PurchaseVerdict(fact=fact, outcome="second", owner=owner, charged_fen=0, keeper=keeper)
        case ClosedUnseen(owner=owner, charged_fen=charged_fen, excess_fen=excess_fen):
            return kinds.PurchaseVerdict(
                fact=fact, outcome="closed_unseen", owner=owner, charged_fen=charged_fen, excess_fen=excess_fen
            )
        case ClosedSeen(owner=owner):
            return kinds.PurchaseVerdict(fact=fact, outcome="closed_seen", owner=owner, charged_fen=0)
        case Undone():
            return kinds.PurchaseVerdict(fact=fact, outcome="undone", owner=PLATFORM, charged_fen=0)
        case _:
            assert_never(decision)


# --- stock answers and bounces ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The answer stands; `next` is what happens to the want now."""

    next: Literal["none", "merchant_asked", "again_on_day", "stopped"]
    on_day: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overruled:
    """The want was bought: bought wins, the answer is kept as an observation of that stall (E4)."""

    keeper: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TooLate:
    """The want was withdrawn before; there is nothing left to decide."""


AnswerDecision = Accepted | Overruled | TooLate


def judge_answer(
    want: Want,
    answer: kinds.Answer,
    *,
    today: str,
    on_day: str | None,
    market: MarketCalendar,
    postponed_before: int = 0,
    ship_by: str | None = None,
) -> AnswerDecision:
    """Return what becomes of a stock answer (D6, E4).

    A dated answer re-enters on its day unless that is past the shop's ship-by day or the third postponement; every other
    one is the merchant's to decide.
    """
    decided = _decided_already(want)
    if decided is not None:
        return decided
    comes_back = comes_back_on(answer, today=today, on_day=on_day, market=market)
    if comes_back is None:
        return Accepted(next="merchant_asked")
    again = judge_postponement(
        comes_back=comes_back,
        postponed_before=postponed_before,
        ship_by=ship_by,
        stall_was_closed=answer is kinds.Answer.STALL_CLOSED,
    )
    match again:
        case "again":
            return Accepted(next="again_on_day", on_day=comes_back)
        case "stopped":
            return Accepted(next="stopped")
        case "past_ship_by":
            return Accepted(next="merchant_asked", on_day=comes_back)
        case _:
            assert_never(again)


def judge_bounce(want: Want) -> AnswerDecision:
    """Return what becomes of a bounce, or of a question that ran out: the merchant re-quotes (R80)."""
    return _decided_already(want) or Accepted(next="merchant_asked")


# --- recalls ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalBack:
    """Nothing was bought and nothing will be: release the principal; `fact` shows it, None when a supervisor wrote it off."""

    fact: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StillOut:
    """The device has not answered; the principal stays held (D9, E26)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WasBought:
    """The device bought: `judge_purchase` decides about the money."""

    fact: str


RecallDecision = PrincipalBack | StillOut | WasBought


def judge_recall(
    facts: Sequence[PlacedFact], *, recall: str, device: int, bought: Sequence[Purchase], written_off: bool = False
) -> RecallDecision:
    """Return whether a recalled task's principal may go back (D9).

    `facts` are those of the task in the device's own route document. Only a fact that the device said itself, knowing of the
    recall, that it has not bought (recall seen, or a stock answer or bounce after it) shows that nothing was bought: an
    envelope whose basis merely covers the recall may have been followed by a tap on a page that was still open (D11).
    """
    living = [purchase for purchase in bought if not purchase.undone and purchase.device == device]
    if living:
        return WasBought(fact=rank_purchases(living)[0].fact)
    recalls = [fact for fact in facts if fact.id == recall]
    shows = [
        fact.id
        for fact in facts
        if fact.writer == device
        and fact.kind in _NOT_BOUGHT
        and (fact.kind == kinds.RecallSeen.KIND or any(fact.knew(seen) for seen in recalls))
    ]
    if shows:
        return PrincipalBack(fact=min(shows, key=fact_order))
    return PrincipalBack(fact=None) if written_off else StillOut()


_NOT_BOUGHT = frozenset({kinds.RecallSeen.KIND, kinds.TaskAnswered.KIND, kinds.TaskBounced.KIND})


# --- homes for second pieces --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingLine:
    """A want without a piece; `since_ms` by the server's clock."""

    task: str
    merchant: str
    sku: Sku
    cap_fen: int
    since_ms: int


def find_home(lines: Iterable[WaitingLine], *, sku: Sku, price_fen: int, owner: str) -> WaitingLine | None:
    """Return the waiting line that takes a piece: its owner's own first, then the oldest whose cap covers the price (D10, D12).

    None: the piece becomes stock.
    """
    fitting = [line for line in lines if line.sku == sku and price_fen <= line.cap_fen]
    return min(fitting, key=lambda line: (line.merchant != owner, line.since_ms, line.task), default=None)


def _piece_of(want: Want, fact: str) -> str | None:
    return next((purchase.piece for purchase in want.purchases if purchase.fact == fact), None)


def _split_at_cap(want: Want, price_fen: int) -> tuple[int, int]:
    """Charged and excess. An own-shipped order touches no wallet, and a dear price there is only a warning (D20)."""
    if not want.drop_ship:
        return 0, 0
    return min(price_fen, want.cap_fen), max(price_fen - want.cap_fen, 0)


def _cause(recall: str, fact: str, known: Known) -> Literal["bought_first", "neither_knew", "page_was_open"]:
    if (recall, fact) in known:
        return "bought_first"
    return "page_was_open" if (fact, recall) in known else "neither_knew"


def _decided_already(want: Want) -> Overruled | TooLate | None:
    if want.drawn is not None:
        return Overruled(keeper=want.drawn)
    keeper = judge_purchases(want)
    if keeper is not None:
        return Overruled(keeper=keeper.piece)
    return TooLate() if want.recall is not None else None
