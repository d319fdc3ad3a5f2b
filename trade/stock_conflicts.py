"""Who keeps a return piece that was sold at one terminal while another bagged it for the runner (D14, E21).

The bag scan wins if the sale has no parcel packed; otherwise the parcel wins, because there the piece physically is. Stock
never counts below zero, for the loser's fact counts for nothing and its author is told what to do with his hands.
Pure. Rules R57, R58, D14, E21.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sync_core.facts import PlacedFact
from trade import kinds
from trade.ids import fact_order


@dataclass(frozen=True, slots=True, kw_only=True)
class BagWins:
    """The runner keeps it; the sale's author picks another for the buyer."""

    lost: str
    kept: str

    @property
    def verdict(self) -> kinds.StockVerdict:
        return kinds.StockVerdict(fact=self.lost, winner="bag", todo="pick_again")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParcelWins:
    """The buyer gets it; the bag's author takes it out of the bag."""

    lost: str
    kept: str

    @property
    def verdict(self) -> kinds.StockVerdict:
        return kinds.StockVerdict(fact=self.lost, winner="parcel", todo="pull_from_bag")


@dataclass(frozen=True, slots=True, kw_only=True)
class SaleWins:
    """Two terminals sold one piece: the other sale's author picks another for his buyer (R34)."""

    lost: str
    kept: str

    @property
    def verdict(self) -> kinds.StockVerdict:
        return kinds.StockVerdict(fact=self.lost, winner="parcel", todo="pick_again")


StockDecision = BagWins | ParcelWins | SaleWins


def judge_stock(facts: Sequence[PlacedFact]) -> tuple[StockDecision, ...]:
    """Return one decision for every two facts that took one piece and did not know of each other; usually none.

    `facts` are those of the piece in the warehouse's document, in any order. Of two sales the one with a parcel packed
    keeps the piece, else the lower fact id.
    """
    ordered = sorted(facts, key=lambda fact: fact_order(fact.id))
    sales = [fact for fact in ordered if fact.kind == kinds.PieceDrawn.KIND]
    bags = [fact for fact in ordered if fact.kind == kinds.PieceBagged.KIND]
    packed = [fact for fact in ordered if fact.kind in (kinds.ParcelPacked.KIND, kinds.ParcelShipped.KIND)]
    decisions: list[StockDecision] = []
    lost_sales: set[str] = set()
    for at, first in enumerate(sales):
        for second in sales[at + 1 :]:
            if _concurrent(first, second) and not {first.id, second.id} & lost_sales:
                swap = _in_parcel(second, first, packed) and not _in_parcel(first, second, packed)
                kept, lost = (second, first) if swap else (first, second)
                lost_sales.add(lost.id)
                decisions.append(SaleWins(lost=lost.id, kept=kept.id))
    for sale in sales:
        for bag in bags:
            if sale.id in lost_sales or not _concurrent(sale, bag):
                continue
            if _in_parcel(sale, bag, packed):
                decisions.append(ParcelWins(lost=bag.id, kept=sale.id))
            else:
                decisions.append(BagWins(lost=sale.id, kept=bag.id))
    return tuple(decisions)


def _concurrent(one: PlacedFact, other: PlacedFact) -> bool:
    return not one.knew(other) and not other.knew(one)


def _in_parcel(sale: PlacedFact, rival: PlacedFact, packed: Sequence[PlacedFact]) -> bool:
    """True when a parcel of the sale's order was packed after the sale, and the rival did not know it."""
    orders = {subject for subject in sale.subjects if subject.startswith("order:")}
    return any(parcel.knew(sale) and not rival.knew(parcel) and orders & set(parcel.subjects) for parcel in packed)
