"""Bugs planted in memory: each is a way the design names in which such a system is built wrong. The simulator must find every one.

A plant that is never reached proves nothing, so each counts how often the wrong code ran.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from server import ledger
from server.authority import batch, closing
from sync_core import gate, hub, replica, replica_store, session, wire
from sync_core.gate import Head, Refusal, Run, Verified

Reached = Callable[[], None]
Plant = Callable[[pytest.MonkeyPatch, Reached], None]


def acknowledge_before_commit(patch: pytest.MonkeyPatch, reached: Reached) -> None:
    """The hub says "applied" when an update arrives, not when it is on the disk."""
    real = session.Session._receive_update

    def early(self: Any, document: str, channel: Any, update: bytes, answer: bool, data: bytes) -> list[Any]:
        events = real(self, document, channel, update, answer, data)
        if self._side is session.Side.HUB and any(
            isinstance(event, session.Received) and event.runs for event in events
        ):
            reached()
            self._send(wire.Status(address=channel.address, applied=True))
        return events

    patch.setattr(session.Session, "_receive_update", early)


def rows_and_outbox_in_two_transactions(patch: pytest.MonkeyPatch, reached: Reached) -> None:
    """An action commits its envelope first and its rows and label after."""
    real = replica_store.ReplicaStore._store

    def store(self: Any, conn: Any, document: str, rows: Any, before: Any) -> set[str]:
        dirty = real(self, conn, document, rows, before)
        if rows and rows[0][0].device == self.number:
            reached()
            conn.execute("COMMIT")
            conn.execute("BEGIN IMMEDIATE")
        return dirty

    patch.setattr(replica_store.ReplicaStore, "_store", store)


def no_duplicate_check_in_the_hub(patch: pytest.MonkeyPatch, reached: Reached) -> None:
    """What is in the log already is judged as if it were new."""

    def judge(log: Any, document: str, run: Run, head: Head) -> tuple[tuple[Verified, ...], Refusal | None]:
        check = log.verifier(run.device)
        if run.first_seq <= head.seq:
            reached()
        return gate.verify_run(run, head, check=check)

    patch.setattr(hub, "_judge_run", judge)


def lost_remainder_of_a_hold(patch: pytest.MonkeyPatch, reached: Reached) -> None:
    """A piece bought below its cap: the difference is never given back."""
    real = ledger.Ledger.release

    def release(self: Any, subject: str, *, key: str, **more: Any) -> int:
        if key.startswith("difference:"):
            reached()
            return 0
        return real(self, subject, key=key, **more)

    patch.setattr(ledger.Ledger, "release", release)


def own_work_is_sent_back(patch: pytest.MonkeyPatch, reached: Reached) -> None:
    """The hub forgets who sent it an update, and fans it out to its author too."""
    real = session.Session._receive_update

    def forgetful(self: Any, document: str, channel: Any, update: bytes, answer: bool, data: bytes) -> list[Any]:
        before = dict(channel.peer)
        events = real(self, document, channel, update, answer, data)
        if self._side is session.Side.HUB and channel.peer != before:
            reached()
            channel.peer = before
        return events

    patch.setattr(session.Session, "_receive_update", forgetful)


def basis_counts_what_has_no_rows(patch: pytest.MonkeyPatch, reached: Reached) -> None:
    """A device counts as known what it has received, not what it has folded and could show."""
    real = replica.Replica.admit

    def admit(self: Any, document: str, runs: Sequence[Run]) -> Any:
        admitted = real(self, document, runs)
        with self.transaction() as conn:
            if conn.execute("UPDATE writer SET folded = seq WHERE document = ? AND folded < seq", (document,)).rowcount:
                reached()
        return admitted

    patch.setattr(replica.Replica, "admit", admit)


def piece_serial_is_kept_in_memory(patch: pytest.MonkeyPatch, reached: Reached) -> None:
    """The count of minted codes is not in the action's transaction: after a crash the same codes are minted again."""

    def next_serial(self: Any) -> int:
        reached()
        self.__dict__["serial"] = self.__dict__.get("serial", 0) + 1
        return int(self.__dict__["serial"])

    patch.setattr(replica.Replica, "next_serial", next_serial)


def principal_back_before_the_phone_answered(patch: pytest.MonkeyPatch, reached: Reached) -> None:
    """A closed order's money goes back at once, though a phone may still spend it."""

    def is_out(b: Any, wanted: str) -> bool:
        reached()
        return False

    patch.setattr(closing, "_is_out", is_out)


def a_verdict_is_not_said(patch: pytest.MonkeyPatch, reached: Reached) -> None:
    """The server's rows follow what it decided about a purchase, but no signed fact says so: replicas and rows part."""
    real = batch.Batch.say_to

    def say_to(self: Any, documents: Iterable[str | None], fact: Any) -> None:
        if fact.kind == "verdict.purchase":
            reached()
            return
        real(self, documents, fact)

    patch.setattr(batch.Batch, "say_to", say_to)


PLANTS: dict[Plant, int] = {
    acknowledge_before_commit: 2,
    rows_and_outbox_in_two_transactions: 4,
    no_duplicate_check_in_the_hub: 8,
    lost_remainder_of_a_hold: 1,
    own_work_is_sent_back: 1,
    basis_counts_what_has_no_rows: 9,
    piece_serial_is_kept_in_memory: 1,
    principal_back_before_the_phone_answered: 8,
    a_verdict_is_not_said: 2,
}
"""Each plant and the seed that found it last: tried first, all others after it."""
