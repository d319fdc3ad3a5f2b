"""Planted bugs of what a device does beside its log: what a terminal lets pass, paper and codes, copies of a phone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from clients.field import actions
from clients.warehouse import parcels as parcels_at_terminal
from clients.warehouse import scans, wall
from nahuo.sim.nodes import printers
from proof.plants.patching import Layer, Patch
from sync_core import replica
from trade import piece_code

TERMINAL = Layer("terminal")
PRINT = Layer("print and codes")
COPIES = Layer("renumber")


# --- terminal ---------------------------------------------------------------------------------------------------------------


@TERMINAL.plant
def a_scan_counts_each_time(patch: Patch) -> None:
    """A waybill scanned a second time ships its parcel a second time."""
    real = wall.find_waybill

    def find(node: Any, text: str) -> Any:
        found = real(node, text)
        if found is not None and found[1]["shipped"]:
            patch.reached()
            parcel, state, voided = found
            return parcel, {**state, "shipped": []}, voided
        return found

    patch.set(parcels_at_terminal, "find_waybill", find)


@TERMINAL.plant
def any_terminal_packs_any_order(patch: Patch) -> None:
    """A terminal does not look whose order it is."""
    real = scans._place

    def place(node: Any, order: Any, about: Any, cell: str, terminal: int | None, label: Any) -> Any:
        if terminal is not None and terminal != node.number:
            patch.reached()
        return real(node, order, about, cell, None, label)

    patch.set(scans, "_place", place)


@TERMINAL.plant
def a_voided_waybill_still_ships(patch: Patch) -> None:
    """The number of a closed order's parcel is not looked up among the voided ones."""
    real = wall.find_waybill

    def find(node: Any, text: str) -> Any:
        found = real(node, text)
        if found is not None and found[2]:
            patch.reached()
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


@PRINT.plant
def a_label_is_queued_after_the_commit(patch: Patch) -> None:
    """The print job is written when the purchase is on the disk, in a transaction of its own."""
    real = replica.Replica.act

    def act(self: Any, document: str, facts: Any, *, person: str, at_ms: int, also: Any = None) -> Any:
        if also is None or self._depth:
            return real(self, document, facts, person=person, at_ms=at_ms, also=also)
        ids = real(self, document, facts, person=person, at_ms=at_ms)
        patch.reached()
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
            patch.reached()
            with node.replica.transaction() as conn:
                for job in kept:
                    enqueue(conn, **job)
        return answer

    real_buy = patch.set(actions, "buy", buy)
    patch.set(replica.Replica, "act", act)


@PRINT.plant
def codes_do_not_name_their_device(patch: Patch) -> None:
    """All phones mint from one series of codes."""
    real = piece_code.mint_piece_code

    def mint(device: int, serial: int) -> Any:
        patch.reached()
        return real(100, serial)

    patch.set(actions, "mint_piece_code", mint)


@PRINT.plant
def a_reprint_is_another_piece(patch: Patch) -> None:
    """A label printed again carries a fresh code."""
    real = printers.SimPrinters.enqueue

    def enqueue(self: Any, conn: Any, *, subject: str, copy_no: int, **more: Any) -> str:
        if copy_no > 1 and more.get("printer") == "label":
            patch.reached()
            subject = str(piece_code.mint_piece_code(int(subject[:5]), 900_000 + copy_no))
        return str(real(self, conn, subject=subject, copy_no=copy_no, **more))

    patch.set(printers.SimPrinters, "enqueue", enqueue)


@PRINT.plant
def the_queue_forgets_at_a_restart(patch: Patch) -> None:
    """Labels that wait for the printer are gone after a restart."""
    real = printers.SimPrinters.__init__

    def init(self: Any, world: Any, opened: Any, *more: Any) -> None:
        real(self, world, opened, *more)
        if self.waiting():
            patch.reached()
            with opened.transaction() as conn:
                conn.execute("DELETE FROM sim_print_job WHERE printed = 0")

    patch.set(printers.SimPrinters, "__init__", init)


# --- renumber ---------------------------------------------------------------------------------------------------------------


@COPIES.plant
def a_copy_is_not_noticed(patch: Patch) -> None:
    """The install token is not looked at: a copy goes on under the number of the original."""

    def is_copy(self: Any) -> bool:
        try:
            token = self._install_token_path.read_text()
        except FileNotFoundError:
            token = ""
        if self.number is not None and token != self.setting("install_token"):
            patch.reached()
        return False

    patch.set(replica.Replica, "is_copy", property(is_copy))


@COPIES.plant
def an_old_copy_is_not_noticed(patch: Patch) -> None:
    """A device does not see that the hub knows more of it than it does itself."""
    real = replica.Replica.hub_is_ahead

    def ahead(self: Any, document: str, vector: Mapping[int, int]) -> bool:
        if real(self, document, vector):
            patch.reached()
        return False

    patch.set(replica.Replica, "hub_is_ahead", ahead)


@COPIES.plant
def work_said_again_has_no_origin(patch: Patch) -> None:
    """A renumbered device says its work again as if it were new: it counts twice."""
    real = replica.Replica._say

    def say(self: Any, conn: Any, document: str, facts: Any, **more: Any) -> Any:
        if any(fact.origin for fact in facts):
            patch.reached()
        return real(self, conn, document, [replace(fact, origin=None) for fact in facts], **more)

    patch.set(replica.Replica, "_say", say)
