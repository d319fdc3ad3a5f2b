"""Planted bugs at the edges: the rules of the trade, what a terminal lets pass, paper and codes, copies of a phone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace as changed
from typing import Any

from clients.field import actions
from clients.warehouse import parcels as parcels_at_terminal
from clients.warehouse import scans, wall
from nahuo.sim.nodes import printers
from proof.plants.patching import Layer, Patch, Reached
from server.authority import purchases
from sync_core import replica
from trade import conflicts, parcels, piece_code, pieces, projections

TRADE = Layer("trade rules")
TERMINAL = Layer("terminal")
PRINT = Layer("print and codes")
COPIES = Layer("renumber")


# --- trade rules ------------------------------------------------------------------------------------------------------------


@TRADE.plant(1)
def the_last_purchase_keeps(patch: Patch, reached: Reached) -> None:
    """Of two purchases the one that came in last keeps the want."""
    real = conflicts.rank_purchases

    def rank(purchases: Any, known: Any = frozenset()) -> Any:
        ranked = real(purchases, known)
        if len(ranked) > 1:
            reached()
        return tuple(reversed(ranked))

    patch.set(conflicts, "rank_purchases", rank)


@TRADE.plant(1)
def a_stop_is_not_looked_at(patch: Patch, reached: Reached) -> None:
    """An order under refund, or closed, is packed and shipped like any other."""
    real = parcels.view_order

    def view(order: str, state: Any, tasks: Mapping[str, Any], pieces_: Mapping[str, Any]) -> Any:
        seen = real(order, state, tasks, pieces_)
        if seen.stop is None:
            return seen
        reached()
        whole = bool(seen.pieces) and len(seen.arrived) == len(seen.pieces)
        return changed(seen, stop=None, complete=whole)

    patch.set(wall, "view_order", view)


@TRADE.plant(1)
def a_parcel_goes_with_what_is_there(patch: Patch, reached: Reached) -> None:
    """An order counts as complete when its first piece is in the house."""
    real = parcels.view_order

    def view(order: str, state: Any, tasks: Mapping[str, Any], pieces_: Mapping[str, Any]) -> Any:
        seen = real(order, state, tasks, pieces_)
        if seen.arrived and not seen.complete and seen.stop is None:
            reached()
            return changed(seen, complete=True)
        return seen

    patch.set(wall, "view_order", view)


@TRADE.plant(1)
def a_closed_order_is_bought_for_nothing(patch: Patch, reached: Reached) -> None:
    """A purchase whose phone could not know of the close is the platform's: the merchant pays nothing."""
    real = conflicts.judge_purchase

    def judge(want: Any, fact: str) -> Any:
        decision = real(want, fact)
        if isinstance(decision, conflicts.ClosedUnseen):
            reached()
            return changed(decision, charged_fen=0, release_fen=want.cap_fen)
        return decision

    patch.set(purchases, "judge_purchase", judge)


@TRADE.plant(1)
def a_scan_moves_what_has_shipped(patch: Patch, reached: Reached) -> None:
    """The fold of a piece lets a late scan at the door move it back into the house."""
    real = pieces.fold_piece

    def fold(subject: str, facts: Any) -> Any:
        state = real(subject, facts)
        if state["place"] == "shipped" and len(state["scans"]) > 1:
            reached()
            state["place"] = "inbound"
        return state

    patch.set(projections, "fold_piece", fold)


# --- terminal ---------------------------------------------------------------------------------------------------------------


@TERMINAL.plant(1)
def a_scan_counts_each_time(patch: Patch, reached: Reached) -> None:
    """A waybill scanned a second time ships its parcel a second time."""
    real = wall.find_waybill

    def find(node: Any, text: str) -> Any:
        found = real(node, text)
        if found is not None and found[1]["shipped"]:
            reached()
            parcel, state, voided = found
            return parcel, {**state, "shipped": []}, voided
        return found

    patch.set(parcels_at_terminal, "find_waybill", find)


@TERMINAL.plant(1)
def any_terminal_packs_any_order(patch: Patch, reached: Reached) -> None:
    """A terminal does not look whose order it is."""
    real = scans._place

    def place(node: Any, order: Any, about: Any, cell: str, terminal: int | None, label: Any) -> Any:
        if terminal is not None and terminal != node.number:
            reached()
        return real(node, order, about, cell, None, label)

    patch.set(scans, "_place", place)


@TERMINAL.plant(1)
def a_voided_waybill_still_ships(patch: Patch, reached: Reached) -> None:
    """The number of a closed order's parcel is not looked up among the voided ones."""
    real = wall.find_waybill

    def find(node: Any, text: str) -> Any:
        found = real(node, text)
        if found is not None and found[2]:
            reached()
            return found[0], found[1], False
        return found

    patch.set(parcels_at_terminal, "find_waybill", find)
    patch.set(parcels_at_terminal, "read_order", _unstopped(wall.read_order))


def _unstopped(real: Any) -> Any:
    class Free:
        def __init__(self, order: Any) -> None:
            self._order = order

        def __getattr__(self, name: str) -> Any:
            return getattr(self._order, name)

        def stop(self, terminal: int) -> None:
            return None

    def read_order(node: Any, order: str) -> Any:
        return Free(real(node, order))

    return read_order


# --- print and codes --------------------------------------------------------------------------------------------------------


@PRINT.plant(1)
def a_label_is_queued_after_the_commit(patch: Patch, reached: Reached) -> None:
    """The print job is written when the purchase is on the disk, in a transaction of its own."""
    real = replica.Replica.act

    def act(self: Any, document: str, facts: Any, *, person: str, at_ms: int, also: Any = None) -> Any:
        if also is None or self._depth:
            return real(self, document, facts, person=person, at_ms=at_ms, also=also)
        ids = real(self, document, facts, person=person, at_ms=at_ms)
        reached()
        with self.transaction() as conn:
            also(conn, ids)
        return ids

    def buy(node: Any, *, tasks: Any, price_fen: Any, means: Any, tap: Any) -> Any:
        kept: list[Any] = []
        enqueue = node.printers.enqueue

        def keep(conn: Any, **job: Any) -> str:
            kept.append(job)
            return "0"

        node.printers.enqueue = keep
        try:
            answer = real_buy(node, tasks=tasks, price_fen=price_fen, means=means, tap=tap)
        finally:
            node.printers.enqueue = enqueue
        if kept:
            reached()
            with node.replica.transaction() as conn:
                for job in kept:
                    enqueue(conn, **job)
        return answer

    real_buy = patch.set(actions, "buy", buy)
    patch.set(replica.Replica, "act", act)


@PRINT.plant(1)
def codes_do_not_name_their_device(patch: Patch, reached: Reached) -> None:
    """All phones mint from one series of codes."""
    real = piece_code.mint_piece_code

    def mint(device: int, serial: int) -> Any:
        reached()
        return real(100, serial)

    patch.set(actions, "mint_piece_code", mint)


@PRINT.plant(1)
def a_reprint_is_another_piece(patch: Patch, reached: Reached) -> None:
    """A label printed again carries a fresh code."""
    real = printers.SimPrinters.enqueue

    def enqueue(self: Any, conn: Any, *, subject: str, copy_no: int, **more: Any) -> str:
        if copy_no > 1 and more.get("printer") == "label":
            reached()
            subject = str(piece_code.mint_piece_code(int(subject[:5]), 900_000 + copy_no))
        return str(real(self, conn, subject=subject, copy_no=copy_no, **more))

    patch.set(printers.SimPrinters, "enqueue", enqueue)


@PRINT.plant(1)
def the_queue_forgets_at_a_restart(patch: Patch, reached: Reached) -> None:
    """Labels that wait for the printer are gone after a restart."""
    real = printers.SimPrinters.__init__

    def init(self: Any, world: Any, opened: Any, *more: Any) -> None:
        real(self, world, opened, *more)
        if self.waiting():
            reached()
            with opened.transaction() as conn:
                conn.execute("DELETE FROM sim_print_job WHERE printed = 0")

    patch.set(printers.SimPrinters, "__init__", init)


# --- renumber ---------------------------------------------------------------------------------------------------------------


@COPIES.plant(1)
def a_copy_is_not_noticed(patch: Patch, reached: Reached) -> None:
    """The install token is not looked at: a copy goes on under the number of the original."""

    def is_copy(self: Any) -> bool:
        try:
            token = self._install_token_path.read_text()
        except FileNotFoundError:
            token = ""
        if self.number is not None and token != self.setting("install_token"):
            reached()
        return False

    patch.set(replica.Replica, "is_copy", property(is_copy))


@COPIES.plant(1)
def an_old_copy_is_not_noticed(patch: Patch, reached: Reached) -> None:
    """A device does not see that the hub knows more of it than it does itself."""
    real = replica.Replica.hub_is_ahead

    def ahead(self: Any, document: str, vector: Mapping[int, int]) -> bool:
        if real(self, document, vector):
            reached()
        return False

    patch.set(replica.Replica, "hub_is_ahead", ahead)


@COPIES.plant(1)
def work_said_again_has_no_origin(patch: Patch, reached: Reached) -> None:
    """A renumbered device says its work again as if it were new: it counts twice."""
    real = replica.Replica._say

    def say(self: Any, conn: Any, document: str, facts: Any, **more: Any) -> Any:
        if any(fact.origin for fact in facts):
            reached()
        return real(self, conn, document, [changed(fact, origin=None) for fact in facts], **more)

    patch.set(replica.Replica, "_say", say)
