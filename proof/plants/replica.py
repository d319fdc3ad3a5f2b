"""Planted bugs of a device's replica, and of the fold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from proof.plants.patching import Layer, Patch
from sync_core import fold, gate, replica, replica_store
from sync_core.facts import outline_of
from sync_core.gate import Run

REPLICA = Layer("replica")
FOLD = Layer("fold")


# --- replica ----------------------------------------------------------------------------------------------------------------


@REPLICA.plant
def rows_and_outbox_in_two_transactions(patch: Patch) -> None:
    """An action commits its envelope first and its rows and label after."""
    real = replica_store.ReplicaStore._store

    def store(self: Any, conn: Any, document: str, rows: Any, before: Any) -> set[str]:
        dirty = real(self, conn, document, rows, before)
        if rows and rows[0][0].device == self.number:
            patch.reached()
            conn.execute("COMMIT")
            conn.execute("BEGIN IMMEDIATE")
        return dirty

    patch.set(replica_store.ReplicaStore, "_store", store)


@REPLICA.plant
def basis_counts_what_has_no_rows(patch: Patch) -> None:
    """A device counts as known what it has received, not what it has folded and could show."""
    real = replica.Replica.admit

    def admit(self: Any, document: str, runs: Sequence[Run]) -> Any:
        admitted = real(self, document, runs)
        with self.transaction() as conn:
            if conn.execute("UPDATE writer SET folded = seq WHERE document = ? AND folded < seq", (document,)).rowcount:
                patch.reached()
        return admitted

    patch.set(replica.Replica, "admit", admit)


@REPLICA.plant
def piece_serial_is_kept_in_memory(patch: Patch) -> None:
    """The count of minted codes is not in the action's transaction: after a crash the same codes are minted again."""

    def next_serial(self: Any) -> int:
        patch.reached()
        self.__dict__["serial"] = self.__dict__.get("serial", 0) + 1
        return int(self.__dict__["serial"])

    patch.set(replica.Replica, "next_serial", next_serial)


@REPLICA.plant
def an_old_clock_is_used_again(patch: Patch) -> None:
    """A device continues after the last envelope that was acknowledged, not after the last it has said."""
    real = replica.Replica._say

    def say(self: Any, conn: Any, document: str, facts: Any, *, person: str, at_ms: int) -> Any:
        number = self.number
        if conn.execute(
            "DELETE FROM envelope WHERE document = ? AND device = ? AND seq > (SELECT acked FROM writer WHERE document = ? AND device = ?)",
            (document, number, document, number),
        ).rowcount:
            patch.reached()
            self._rebuild_heads(conn, number)
        return real(self, conn, document, facts, person=person, at_ms=at_ms)

    patch.set(replica.Replica, "_say", say)


@REPLICA.plant
def what_is_known_is_stored_again(patch: Patch) -> None:
    """A device does not skip what an update repeats."""
    real = replica.Replica._admit_run

    def admit_run(self: Any, conn: Any, document: str, run: Run) -> Any:
        head, before = self._head(document, run.device)
        if run.first_seq <= head.seq:
            patch.reached()
            good, refusal = gate.read_run(run, replace(head, seq=run.first_seq - 1), check=None)
            outlines = [(outline_of(v.envelope), v.stored, v.digest) for v in good]
            return len(good), refusal, self._store(conn, document, outlines, before)
        return real(self, conn, document, run)

    patch.set(replica.Replica, "_admit_run", admit_run)


@REPLICA.plant
def unfolded_is_kept_in_memory(patch: Patch) -> None:
    """What waits to be folded is struck off before it is folded, in a transaction of its own."""
    real = replica_store.ReplicaStore.fold_some

    def fold_some(self: Any, *, subjects_max: int | None = None) -> bool:
        waiting = self.conn.execute("SELECT document, subject FROM unfolded").fetchall()
        if waiting and not self._depth:
            patch.reached()
            with self.transaction() as conn:
                conn.execute("DELETE FROM unfolded")
            with self.transaction() as conn:
                conn.executemany("INSERT OR IGNORE INTO unfolded VALUES (?, ?)", waiting)
        return real(self, subjects_max=subjects_max)

    patch.set(replica_store.ReplicaStore, "fold_some", fold_some)


@REPLICA.plant
def only_new_subjects_are_folded(patch: Patch) -> None:
    """A subject that has a row already is not folded again when the hub brings more about it."""
    real = replica_store.ReplicaStore._fold

    def fold_new(self: Any, conn: Any, document: str, subjects: set[str]) -> None:
        known = {row[0] for row in conn.execute("SELECT subject FROM state WHERE document = ?", (document,))}
        stale = {subject for subject in subjects & known if subject.startswith("piece:")}
        if stale:
            patch.reached()
        real(self, conn, document, subjects - stale)

    patch.set(replica_store.ReplicaStore, "_fold", fold_new)


# --- fold -------------------------------------------------------------------------------------------------------------------


@FOLD.plant
def facts_fold_in_the_order_of_arrival(patch: Patch) -> None:
    """Facts of several writers are folded as they came, not in basis order."""

    def unsorted(trade: Any, facts: list[Any]) -> list[Any]:
        patch.reached()
        return facts

    patch.set(fold, "_sort_topologically", unsorted)


@FOLD.plant
def a_copy_counts_again(patch: Patch) -> None:
    """A fact that was carried in, and came by itself as well, is folded twice."""

    def order(trade: Any, facts: Iterable[Any]) -> list[Any]:
        left = list(facts)
        if len({fact.id for fact in left}) < len(left):
            patch.reached()
        return fold._sort_topologically(trade, left) if len(left) > 1 else left

    patch.set(fold, "order_facts", order)


@FOLD.plant
def the_clock_decides(patch: Patch) -> None:
    """Concurrent facts are folded by their authors' wall clocks, on devices only."""
    real = fold.fold_subject

    def by_clock(trade: Any, subject: str, facts: Iterable[Any]) -> Any:
        counting = [fact for fact in facts if fold.judge(trade, fact) is None]
        ordered = fold.order_facts(trade, counting)
        timed = sorted(ordered, key=lambda fact: fact.at_ms)
        if timed != ordered:
            patch.reached()
        return trade.fold(subject, timed) if subject.startswith(("task:", "piece:")) else real(trade, subject, counting)

    patch.set(replica_store, "fold_subject", by_clock)
