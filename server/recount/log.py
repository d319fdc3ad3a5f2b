"""Read the whole log again, trusting no derived row: chains, signatures, voids, folds.

What comes out (`LogAgain`) is what the other checks hold the authority's rows against.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from server import schema as s
from sync_core import gate
from sync_core.check import Check
from sync_core.document import Document
from sync_core.facts import (
    Admission,
    Envelope,
    PlacedFact,
    admission_of,
    is_server,
    place,
    read_admissions,
    whole_basis,
)
from sync_core.fold import State, Trade, fold_subject, judge
from sync_core.payload import canonical_json
from sync_core.replica_store import hash_document

SHUFFLES = 3
"""How many other orders of arrival each subject is folded in; in the first of them everything arrives twice."""

VerifierOf = Callable[[int], Callable[[bytes, bytes], bool] | None]


@dataclass(slots=True, kw_only=True)
class LogAgain:
    """The log, read again: facts by document and subject, folded states, canonical hashes."""

    facts: dict[str, list[PlacedFact]] = field(default_factory=dict)
    """All facts of a document, voids left out, each once by id, in order of writer, seq, index."""
    subjects: dict[tuple[str, str], list[PlacedFact]] = field(default_factory=dict)
    states: dict[tuple[str, str], State] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    continued: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    """{number: those it continues, after a restore or a change of keys}."""
    voids: int = 0

    def said(self, kind: str) -> list[tuple[str, PlacedFact]]:
        """Return (document, fact) of a kind, where it was said first: carried copies left out."""
        return [
            (d, f) for d, facts in sorted(self.facts.items()) for f in facts if f.kind == kind and f.writer == f.device
        ]


def read_log(conn: Connection, trade: Trade, verifier_of: VerifierOf) -> tuple[LogAgain, list[Check]]:
    """Return the log read again, and what was checked on the way: chains, signatures, order-independence, stored rows."""
    chains = Check(name="I9", what="every envelope stands once in its chain, signed by its writer")
    again = LogAgain()
    by_document: dict[str, list[tuple[int, int, bytes]]] = defaultdict(list)
    query = select(s.envelope.c.document, s.envelope.c.device, s.envelope.c.seq, s.envelope.c.stored)
    for document, device, seq, stored in conn.execute(
        query.order_by(s.envelope.c.document, s.envelope.c.device, s.envelope.c.seq)
    ):
        by_document[document].append((device, seq, bytes(stored)))
    for document, rows in by_document.items():
        _read_document(again, document, rows, trade, verifier_of, chains)
    _check_heads(conn, by_document, chains)
    for row in conn.execute(select(s.quarantine)):
        chains.expect(bool(row.code and row.detail), f"quarantine {row.id} has no reason")
    merged = _merge_natively(by_document)
    shuffled = _fold_all(again, trade)
    stored_rows = _compare_states(conn, again)
    for document, rows in by_document.items():
        states = sorted(
            (subject, canonical_json(state).decode()) for (d, subject), state in again.states.items() if d == document
        )
        again.hashes[document] = hash_document(rows, states)
    return again, [chains, merged, shuffled, stored_rows]


def _check_heads(conn: Connection, by_document: Mapping[str, list[tuple[int, int, bytes]]], chains: Check) -> None:
    """Each head stands where its writer's envelopes end: what continues a chain is held against it."""
    ends = {
        (document, device): (seq, gate.digest_of(stored))
        for document, rows in by_document.items()
        for device, seq, stored in rows
    }
    heads = {(row.document, row.device): (row.seq, bytes(row.digest)) for row in conn.execute(select(s.head))}
    for document, device in sorted(key for key in {*ends, *heads} if ends.get(key) != heads.get(key)):
        chains.expect(False, f"{document}: the head of device {device} is not where its envelopes end")


def _read_document(
    again: LogAgain,
    document: str,
    rows: list[tuple[int, int, bytes]],
    trade: Trade,
    verifier_of: VerifierOf,
    chains: Check,
) -> None:
    envelopes: list[Envelope] = []
    try:
        runs = gate.group_runs(rows)
    except ValueError as error:
        chains.expect(False, f"{document}: {error}")
        return
    for run in runs:
        good, refusal = gate.read_run(run, gate.empty_head(document), check=verifier_of(run.device))
        chains.checked += len(good)
        if refusal is not None or run.first_seq != 1:
            why = refusal.detail if refusal is not None else "its first envelopes are missing"
            chains.expect(False, f"{document}: device {run.device}: {why}")
        envelopes += [verified.envelope for verified in good]
    placed = _place_all(again, document, envelopes)
    unique: dict[str, PlacedFact] = {}
    for fact in placed:
        for subject in dict.fromkeys(fact.subjects):
            again.subjects.setdefault((document, subject), []).append(fact)
        if judge(trade, fact) is None:
            unique.setdefault(fact.id, fact)
        else:
            again.voids += 1
    again.facts[document] = list(unique.values())


def _place_all(again: LogAgain, document: str, envelopes: list[Envelope]) -> list[PlacedFact]:
    told = [
        fact
        for envelope in envelopes
        if is_server(envelope.device)
        for fact in place(envelope, document=document, basis={}, admission=admission_of(envelope.device, {}))
        if "document" in fact.subjects
    ]
    admissions: Mapping[int, Admission] = read_admissions(told)
    for device, admission in admissions.items():
        again.continued[device] |= admission.continues
    placed: list[PlacedFact] = []
    basis: dict[int, Mapping[int, int]] = {}
    for envelope in envelopes:
        basis[envelope.device] = whole_basis(basis.get(envelope.device, {}), envelope)
        placed += place(
            envelope,
            document=document,
            basis=basis[envelope.device],
            admission=admission_of(envelope.device, admissions),
        )
    return placed


def _merge_natively(by_document: Mapping[str, list[tuple[int, int, bytes]]]) -> Check:
    """Let the CRDT library merge each document from updates in another order: it must hold the log's envelopes and nothing else."""
    check = Check(name="yjs", what="each document, merged by the CRDT library in any order, is the log")
    rng = random.Random(4)
    for document, rows in by_document.items():
        groups = [group for run in gate.group_runs(rows) for group in gate.split_runs([run], bytes_max=16_384)]
        rng.shuffle(groups)
        merged = Document()
        for group in (*groups, *groups[:2]):
            merged.apply(group)
        expected = dict(sorted((f"{device}.{seq}", stored) for device, seq, stored in rows))
        check.checked += len(rows)
        if merged.envelopes() != expected:
            check.faults.append(f"{document}: the merged document differs from the log")
        vector = {device: seq for device, seq, _ in rows}
        check.expect(
            merged.vector() == vector, f"{document}: its state vector is {merged.vector()}, the log's {vector}"
        )
    return check


def _fold_all(again: LogAgain, trade: Trade) -> Check:
    check = Check(name="I10", what="any order of arrival gives the same rows, and a copy counts for nothing")
    rng = random.Random(10)
    for (document, subject), facts in again.subjects.items():
        state = again.states[document, subject] = fold_subject(trade, subject, facts)
        text = canonical_json(state)
        for number in range(SHUFFLES if len(facts) > 1 else 0):
            arrived = facts * 2 if number == 0 else facts
            shuffled = rng.sample(arrived, len(arrived))
            check.expect(canonical_json(fold_subject(trade, subject, shuffled)) == text, f"{document}: {subject}")
    return check


def _compare_states(conn: Connection, again: LogAgain) -> Check:
    check = Check(name="rows", what="the rows the authority stored follow from the log")
    stored = {(row.document, row.subject): row.state for row in conn.execute(select(s.state))}
    for key in sorted(set(stored) | set(again.states)):
        expected = canonical_json(again.states[key]).decode() if key in again.states else None
        check.expect(stored.get(key) == expected, f"{key[0]}: {key[1]}")
    return check
