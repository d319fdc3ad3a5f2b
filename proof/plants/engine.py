"""Planted bugs of the engine: session, gate, hub, replica and fold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from proof.plants.patching import Layer, Patch, Reached
from sync_core import fold, gate, hub, replica, replica_store, session, wire
from sync_core.facts import outline_of
from sync_core.gate import Head, Refusal, Run

SESSION = Layer("session")
GATE = Layer("gate")
HUB = Layer("hub")
REPLICA = Layer("replica")
FOLD = Layer("fold")


# --- session ----------------------------------------------------------------------------------------------------------------


@SESSION.plant(2)
def acknowledge_before_commit(patch: Patch, reached: Reached) -> None:
    """The hub says "applied" when an update arrives, not when it is on the disk."""
    real = session.Session._receive_update

    def early(self: Any, document: str, channel: Any, update: bytes, answer: bool, data: bytes) -> list[Any]:
        events = real(self, document, channel, update, answer, data)
        if self._side is session.Side.HUB and any(isinstance(e, session.Received) and e.runs for e in events):
            reached()
            self._send(wire.Status(address=channel.address, applied=True))
        return events

    patch.set(session.Session, "_receive_update", early)


@SESSION.plant(1)
def own_work_is_sent_back(patch: Patch, reached: Reached) -> None:
    """The hub forgets who sent it an update, and fans it out to its author too."""
    real = session.Session._receive_update

    def forgetful(self: Any, document: str, channel: Any, update: bytes, answer: bool, data: bytes) -> list[Any]:
        before = dict(channel.peer)
        events = real(self, document, channel, update, answer, data)
        if self._side is session.Side.HUB and channel.peer != before:
            reached()
            channel.peer = before
        return events

    patch.set(session.Session, "_receive_update", forgetful)


@SESSION.plant(1)
def an_offer_counts_as_delivered(patch: Patch, reached: Reached) -> None:
    """A device marks its work as acknowledged when it has sent it."""
    real = replica_store.ReplicaStore.missing

    def missing(self: Any, document: str, have: Mapping[int, int], **more: Any) -> tuple[Run, ...]:
        runs = real(self, document, have, **more)
        for run in runs:
            if run.device == self.number:
                reached()
                with self.transaction() as conn:
                    conn.execute(
                        "UPDATE writer SET acked = max(acked, ?) WHERE document = ? AND device = ?",
                        (run.last_seq, document, run.device),
                    )
        return runs

    patch.set(replica_store.ReplicaStore, "missing", missing)


@SESSION.plant(1)
def readers_are_not_told(patch: Patch, reached: Reached) -> None:
    """What the hub commits is not fanned out; a device hears of it when it connects again."""

    def committed(self: Any, document: str, heads: Mapping[int, int]) -> None:
        reached()
        self._encoded.clear()

    patch.set(hub.Hub, "committed", committed)


@SESSION.plant(1)
def a_stale_update_is_encoded(patch: Patch, reached: Reached) -> None:
    """The hub keeps what it encoded for a reader after the log has grown."""

    def committed(self: Any, document: str, heads: Mapping[int, int]) -> None:
        for connection in self._open.get(document, ()):
            if connection.session.committed(document, heads):
                reached()
                connection.wake()

    patch.set(hub.Hub, "committed", committed)


# --- gate -------------------------------------------------------------------------------------------------------------------


@GATE.plant(1)
def the_signature_is_not_checked(patch: Patch, reached: Reached) -> None:
    """The gate trusts a device's envelopes without their signature."""
    real = gate.verify_run

    def verify(run: Run, head: Head, *, check: Any, **more: Any) -> tuple[Sequence[bytes], Refusal | None]:
        if check is not None:
            reached()
        return real(run, head, check=None, **more)

    patch.set(gate, "verify_run", verify)


@GATE.plant(1)
def any_device_may_speak_for_another(patch: Patch, reached: Reached) -> None:
    """The gate checks the signature with the key of whoever sent the envelope."""
    real = hub._judge_run

    def judge(log: Any, document: str, run: Run, head: Head) -> tuple[Sequence[bytes], Refusal | None]:
        good, bad = real(log, document, run, head)
        if bad is not None and bad.code == "gate.signature":
            reached()
            skip = max(0, min(head.seq, run.last_seq) - run.first_seq + 1)
            rest = Run(device=run.device, first_seq=run.first_seq + skip, stored=run.stored[skip:])
            return gate.verify_run(rest, head, check=None)
        return good, bad

    patch.set(hub, "_judge_run", judge)


# --- hub --------------------------------------------------------------------------------------------------------------------


@HUB.plant(8)
def no_duplicate_check_in_the_hub(patch: Patch, reached: Reached) -> None:
    """What is in the log already is judged as if it were new."""

    def judge(log: Any, document: str, run: Run, head: Head) -> tuple[Sequence[bytes], Refusal | None]:
        check = log.verifier(run.device)
        if run.first_seq <= head.seq:
            reached()
        return gate.verify_run(run, head, check=check)

    patch.set(hub, "_judge_run", judge)


@HUB.plant(1)
def heads_are_remembered_across_commits(patch: Patch, reached: Reached) -> None:
    """The hub keeps where chains stand in memory, also when the commit failed or the server died."""
    kept: dict[tuple[str, str], dict[int, Head]] = {}
    real = hub.commit_batch

    class Remembered:
        def __init__(self, log: Any) -> None:
            self._log = log

        def __getattr__(self, name: str) -> Any:
            return getattr(self._log, name)

        def heads(self, document: str) -> Mapping[int, Head]:
            key = (str(self._log.engine.url), document)
            heads: Mapping[int, Head] = self._log.heads(document)
            known = kept.setdefault(key, dict(heads))
            for device, head in heads.items():
                before = known.get(device, head)
                if before.seq > head.seq:
                    reached()
                else:
                    known[device] = head
            return known

        def append(self, document: str, rows: Sequence[Any]) -> None:
            self._log.append(document, rows)
            known = kept.setdefault((str(self._log.engine.url), document), {})
            for row in rows:
                known[row.device] = Head(seq=row.seq, digest=row.digest)

    def commit(log: Any, batch: Sequence[Any]) -> list[Any]:
        remembered: Any = Remembered(log)
        return real(remembered, batch)

    from nahuo.sim.nodes import server

    patch.set(server, "commit_batch", commit)


@HUB.plant(1)
def one_bad_envelope_stops_a_batch(patch: Patch, reached: Reached) -> None:
    """When an update is refused, what shared its commit is answered as done and is not stored."""
    real = hub.commit_batch

    def commit(log: Any, batch: Sequence[Any]) -> list[Any]:
        outcomes = real(log, batch[:1])
        for submission in batch[1:]:
            reached()
            heads = {run.device: run.last_seq for run in submission.runs}
            outcomes.append(hub.Outcome(heads=heads, fresh=0, refusal=None))
        return outcomes

    from nahuo.sim.nodes import server

    patch.set(server, "commit_batch", commit)


@HUB.plant(1)
def the_vector_counts_one_too_many(patch: Patch, reached: Reached) -> None:
    """A device counts one envelope more as acknowledged than the hub has."""
    real = replica.Replica.acknowledged

    def acknowledged(self: Any, document: str, vector: Mapping[int, int], *, whole: bool, at_ms: int) -> bool:
        number = self.number
        if number in vector:
            reached()
            vector = {**vector, number: vector[number] + 1}
        return real(self, document, vector, whole=whole, at_ms=at_ms)

    patch.set(replica.Replica, "acknowledged", acknowledged)


# --- replica ----------------------------------------------------------------------------------------------------------------


@REPLICA.plant(4)
def rows_and_outbox_in_two_transactions(patch: Patch, reached: Reached) -> None:
    """An action commits its envelope first and its rows and label after."""
    real = replica_store.ReplicaStore._store

    def store(self: Any, conn: Any, document: str, rows: Any, before: Any) -> set[str]:
        dirty = real(self, conn, document, rows, before)
        if rows and rows[0][0].device == self.number:
            reached()
            conn.execute("COMMIT")
            conn.execute("BEGIN IMMEDIATE")
        return dirty

    patch.set(replica_store.ReplicaStore, "_store", store)


@REPLICA.plant(9)
def basis_counts_what_has_no_rows(patch: Patch, reached: Reached) -> None:
    """A device counts as known what it has received, not what it has folded and could show."""
    real = replica.Replica.admit

    def admit(self: Any, document: str, runs: Sequence[Run]) -> Any:
        admitted = real(self, document, runs)
        with self.transaction() as conn:
            if conn.execute("UPDATE writer SET folded = seq WHERE document = ? AND folded < seq", (document,)).rowcount:
                reached()
        return admitted

    patch.set(replica.Replica, "admit", admit)


@REPLICA.plant(1)
def piece_serial_is_kept_in_memory(patch: Patch, reached: Reached) -> None:
    """The count of minted codes is not in the action's transaction: after a crash the same codes are minted again."""

    def next_serial(self: Any) -> int:
        reached()
        self.__dict__["serial"] = self.__dict__.get("serial", 0) + 1
        return int(self.__dict__["serial"])

    patch.set(replica.Replica, "next_serial", next_serial)


@REPLICA.plant(1)
def an_old_clock_is_used_again(patch: Patch, reached: Reached) -> None:
    """A device continues after the last envelope that was acknowledged, not after the last it has said."""
    real = replica.Replica._say

    def say(self: Any, conn: Any, document: str, facts: Any, *, person: str, at_ms: int) -> Any:
        number = self.number
        if conn.execute(
            "DELETE FROM envelope WHERE document = ? AND device = ? AND seq > (SELECT acked FROM writer WHERE document = ? AND device = ?)",
            (document, number, document, number),
        ).rowcount:
            reached()
            self._rebuild_heads(conn, number)
        return real(self, conn, document, facts, person=person, at_ms=at_ms)

    patch.set(replica.Replica, "_say", say)


@REPLICA.plant(1)
def what_is_known_is_stored_again(patch: Patch, reached: Reached) -> None:
    """A device does not skip what an update repeats."""
    real = replica.Replica._admit_run

    def admit_run(self: Any, conn: Any, document: str, run: Run) -> Any:
        head, before = self._head(document, run.device)
        if run.first_seq <= head.seq:
            reached()
            good, refusal = gate.read_run(run, replace(head, seq=run.first_seq - 1), check=None)
            outlines = [(outline_of(v.envelope), v.stored, v.digest) for v in good]
            return len(good), refusal, self._store(conn, document, outlines, before)
        return real(self, conn, document, run)

    patch.set(replica.Replica, "_admit_run", admit_run)


@REPLICA.plant(1)
def unfolded_is_kept_in_memory(patch: Patch, reached: Reached) -> None:
    """What waits to be folded is struck off before it is folded, in a transaction of its own."""
    real = replica_store.ReplicaStore.fold_some

    def fold_some(self: Any, *, subjects_max: int | None = None) -> bool:
        waiting = self.conn.execute("SELECT document, subject FROM unfolded").fetchall()
        if waiting and not self._depth:
            reached()
            with self.transaction() as conn:
                conn.execute("DELETE FROM unfolded")
            with self.transaction() as conn:
                conn.executemany("INSERT OR IGNORE INTO unfolded VALUES (?, ?)", waiting)
        return real(self, subjects_max=subjects_max)

    patch.set(replica_store.ReplicaStore, "fold_some", fold_some)


@REPLICA.plant(1)
def only_new_subjects_are_folded(patch: Patch, reached: Reached) -> None:
    """A subject that has a row already is not folded again when the hub brings more about it."""
    real = replica_store.ReplicaStore._fold

    def fold_new(self: Any, conn: Any, document: str, subjects: set[str]) -> None:
        known = {row[0] for row in conn.execute("SELECT subject FROM state WHERE document = ?", (document,))}
        stale = {subject for subject in subjects & known if subject.startswith("piece:")}
        if stale:
            reached()
        real(self, conn, document, subjects - stale)

    patch.set(replica_store.ReplicaStore, "_fold", fold_new)


# --- fold -------------------------------------------------------------------------------------------------------------------


@FOLD.plant(1)
def facts_fold_in_the_order_of_arrival(patch: Patch, reached: Reached) -> None:
    """Facts of several writers are folded as they came, not in basis order."""

    def unsorted(trade: Any, facts: list[Any]) -> list[Any]:
        reached()
        return facts

    patch.set(fold, "_sort_topologically", unsorted)


@FOLD.plant(1)
def a_copy_counts_again(patch: Patch, reached: Reached) -> None:
    """A fact that was carried in, and came by itself as well, is folded twice."""

    def order(trade: Any, facts: Iterable[Any]) -> list[Any]:
        left = list(facts)
        if len({fact.id for fact in left}) < len(left):
            reached()
        return fold._sort_topologically(trade, left) if len(left) > 1 else left

    patch.set(fold, "order_facts", order)


@FOLD.plant(1)
def the_clock_decides(patch: Patch, reached: Reached) -> None:
    """Concurrent facts are folded by their authors' wall clocks, on devices only."""
    real = fold.fold_subject

    def by_clock(trade: Any, subject: str, facts: Iterable[Any]) -> Any:
        counting = [fact for fact in facts if fold.judge(trade, fact) is None]
        ordered = fold.order_facts(trade, counting)
        timed = sorted(ordered, key=lambda fact: fact.at_ms)
        if timed != ordered:
            reached()
        return trade.fold(subject, timed) if subject.startswith(("task:", "piece:")) else real(trade, subject, counting)

    patch.set(replica_store, "fold_subject", by_clock)
