"""Planted bugs of the rules of the trade."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from clients.warehouse import wall
from proof.plants.patching import Layer, Patch
from server.authority import purchases
from trade import conflicts, projections

TRADE = Layer("trade rules")


@TRADE.plant
def the_last_purchase_keeps(patch: Patch) -> None:
    """Of two purchases the one that came in last keeps the want: the verdict about the first is not asked for."""

    def judge(want: Any, fact: str) -> Any:
        if want.keeper not in (None, fact):
            patch.reached()
            want = replace(want, keeper=None, purchases=tuple(one for one in want.purchases if one.fact == fact))
        return real(want, fact)

    real = patch.set(purchases, "judge_purchase", judge)


@TRADE.plant
def a_stop_is_not_looked_at(patch: Patch) -> None:
    """An order under refund, or closed, is packed and shipped like any other."""

    def unstopped(seen: Any, *_: Any) -> Any:
        whole = bool(seen.pieces) and len(seen.arrived) == len(seen.pieces)
        return None if seen.stop is None else replace(seen, stop=None, complete=whole)

    patch.alter(wall, "view_order", unstopped)


@TRADE.plant
def a_parcel_goes_with_what_is_there(patch: Patch) -> None:
    """An order counts as complete when its first piece is in the house."""

    def complete(seen: Any, *_: Any) -> Any:
        begun = seen.arrived and not seen.complete and seen.stop is None
        return replace(seen, complete=True) if begun else None

    patch.alter(wall, "view_order", complete)


@TRADE.plant
def a_closed_order_is_bought_for_nothing(patch: Patch) -> None:
    """A purchase whose phone could not know of the close is the platform's: the merchant pays nothing."""

    def free(decision: Any, want: Any, _fact: str) -> Any:
        unseen = isinstance(decision, conflicts.ClosedUnseen)
        return replace(decision, charged_fen=0, release_fen=want.cap_fen) if unseen else None

    patch.alter(purchases, "judge_purchase", free)


@TRADE.plant
def a_scan_moves_what_has_shipped(patch: Patch) -> None:
    """The fold of a piece lets a late scan at the door move it back into the house."""

    def moved(state: Any, *_: Any) -> Any:
        return {**state, "place": "inbound"} if state["place"] == "shipped" and len(state["scans"]) > 1 else None

    patch.alter(projections, "fold_piece", moved)
