"""Planted bugs of the wire: session, gate and hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nahuo.sim.nodes import server
from proof.plants.patching import Layer, Patch
from sync_core import gate, hub, replica, replica_store, session, wire
from sync_core.gate import Head, Refusal, Run

SESSION = Layer("session")
GATE = Layer("gate")
HUB = Layer("hub")


# --- session ----------------------------------------------------------------------------------------------------------------


@SESSION.plant
def acknowledge_before_commit(patch: Patch) -> None:
    """The hub says "applied" when an update arrives, not when it is on the disk."""
    real = session.Session._receive_update

    def early(self: Any, document: str, channel: Any, update: bytes, answer: bool, data: bytes) -> list[Any]:
        events = real(self, document, channel, update, answer, data)
        if self._side is session.Side.HUB and any(isinstance(e, session.Received) and e.runs for e in events):
            patch.reached()
            self._send(wire.Status(address=channel.address, applied=True))
        return events

    patch.set(session.Session, "_receive_update", early)


@SESSION.plant
def own_work_is_sent_back(patch: Patch) -> None:
    """The hub forgets who sent it an update, and fans it out to its author too."""
    real = session.Session._receive_update

    def forgetful(self: Any, document: str, channel: Any, update: bytes, answer: bool, data: bytes) -> list[Any]:
        before = dict(channel.peer)
        events = real(self, document, channel, update, answer, data)
        if self._side is session.Side.HUB and channel.peer != before:
            patch.reached()
            channel.peer = before
        return events

    patch.set(session.Session, "_receive_update", forgetful)


@SESSION.plant
def an_offer_counts_as_delivered(patch: Patch) -> None:
    """A device marks its work as acknowledged when it has sent it."""
    real = replica_store.ReplicaStore.missing

    def missing(self: Any, document: str, have: Mapping[int, int], **more: Any) -> tuple[Run, ...]:
        runs = real(self, document, have, **more)
        for run in runs:
            if run.device == self.number:
                patch.reached()
                with self.transaction() as conn:
                    conn.execute(
                        "UPDATE writer SET acked = max(acked, ?) WHERE document = ? AND device = ?",
                        (run.last_seq, document, run.device),
                    )
        return runs

    patch.set(replica_store.ReplicaStore, "missing", missing)


@SESSION.plant
def readers_are_not_told(patch: Patch) -> None:
    """What the hub commits is not fanned out; a device hears of it when it connects again."""

    def committed(self: Any, document: str, heads: Mapping[int, int]) -> None:
        patch.reached()
        self._encoded.clear()

    patch.set(hub.Hub, "committed", committed)


@SESSION.plant
def a_stale_update_is_encoded(patch: Patch) -> None:
    """The hub keeps what it encoded for a reader after the log has grown."""

    def committed(self: Any, document: str, heads: Mapping[int, int]) -> None:
        for connection in self._open.get(document, ()):
            if connection.session.committed(document, heads):
                patch.reached()
                connection.wake()

    patch.set(hub.Hub, "committed", committed)


# --- gate -------------------------------------------------------------------------------------------------------------------


@GATE.plant
def the_signature_is_not_checked(patch: Patch) -> None:
    """The gate trusts a device's envelopes without their signature."""
    real = gate.verify_run

    def verify(run: Run, head: Head, *, check: Any, **more: Any) -> tuple[Sequence[bytes], Refusal | None]:
        if check is not None:
            patch.reached()
        return real(run, head, check=None, **more)

    patch.set(gate, "verify_run", verify)


@GATE.plant
def any_device_may_speak_for_another(patch: Patch) -> None:
    """The gate checks the signature with the key of whoever sent the envelope."""
    real = hub._judge_run

    def judge(log: Any, document: str, run: Run, head: Head) -> tuple[Sequence[bytes], Refusal | None]:
        good, bad = real(log, document, run, head)
        if bad is not None and bad.code == "gate.signature":
            patch.reached()
            skip = max(0, min(head.seq, run.last_seq) - run.first_seq + 1)
            rest = Run(device=run.device, first_seq=run.first_seq + skip, stored=run.stored[skip:])
            return gate.verify_run(rest, head, check=None)
        return good, bad

    patch.set(hub, "_judge_run", judge)


# --- hub --------------------------------------------------------------------------------------------------------------------


@HUB.plant
def no_duplicate_check_in_the_hub(patch: Patch) -> None:
    """What is in the log already is judged as if it were new."""

    def judge(log: Any, document: str, run: Run, head: Head) -> tuple[Sequence[bytes], Refusal | None]:
        check = log.verifier(run.device)
        if run.first_seq <= head.seq:
            patch.reached()
        return gate.verify_run(run, head, check=check)

    patch.set(hub, "_judge_run", judge)


@HUB.plant
def heads_are_remembered_across_commits(patch: Patch) -> None:
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
                    patch.reached()
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

    patch.set(server, "commit_batch", commit)


@HUB.plant
def one_bad_envelope_stops_a_batch(patch: Patch) -> None:
    """When an update is refused, what shared its commit is answered as done and is not stored."""
    real = hub.commit_batch

    def commit(log: Any, batch: Sequence[Any]) -> list[Any]:
        outcomes = real(log, batch[:1])
        for submission in batch[1:]:
            patch.reached()
            heads = {run.device: run.last_seq for run in submission.runs}
            outcomes.append(hub.Outcome(heads=heads, fresh=0, refusal=None))
        return outcomes

    patch.set(server, "commit_batch", commit)


@HUB.plant
def the_vector_counts_one_too_many(patch: Patch) -> None:
    """A device counts one envelope more as acknowledged than the hub has."""
    real = replica.Replica.acknowledged

    def acknowledged(self: Any, document: str, vector: Mapping[int, int], *, whole: bool, at_ms: int) -> bool:
        number = self.number
        if number in vector:
            patch.reached()
            vector = {**vector, number: vector[number] + 1}
        return real(self, document, vector, whole=whole, at_ms=at_ms)

    patch.set(replica.Replica, "acknowledged", acknowledged)
