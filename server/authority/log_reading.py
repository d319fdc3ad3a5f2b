"""Read accepted envelopes into facts, and facts into states: the authority's memory of every document.

Envelopes of a writer come in their order and once; what was read already (its own envelopes, or everything when the reading position
was lost) is passed over by `writer.seq`. Facts are placed with the whole basis and the role their writer has in that document;
void ones are kept, marked, and counted by nothing. States are folded by `trade` alone, so that they equal every replica's (I15).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, select, update

from server import schema as s
from server.rows import add, add_all, read, to_json, upsert, upsert_all
from sync_core.facts import (
    DOCUMENT_CLOSED,
    STRANGER,
    Admission,
    Envelope,
    PlacedFact,
    admission_of,
    is_server,
    place,
    place_one,
    read_admissions,
    subject_type,
    whole_basis,
)
from sync_core.fold import Trade, fold_subject, judge
from sync_core.gate import HEADER_BYTES
from sync_core.payload import decode_payload

SUBJECTS_AT_ONCE: Final = 200
NEWER: Final = "schema.newer"
"""Waits for the upgrade; neither folded nor decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writer:
    """How far a writer was read in a document, and how he may speak there."""

    admission: Admission = STRANGER
    seq: int = 0
    basis: Mapping[int, int] = field(default_factory=dict)


class Memory:
    """What the authority has read, within one transaction."""

    def __init__(self, conn: Connection, trade: Trade) -> None:
        self.conn = conn
        self.trade = trade
        self._writers: dict[str, dict[int, _Writer]] = {}
        self.touched: set[tuple[str, str]] = set()
        self.late: list[tuple[str, PlacedFact]] = []
        """(document, fact) of facts whose author was admitted only after they were read: they count from now."""

    def read_of(self, document: str) -> dict[int, int]:
        """Return {writer: last seq read} of a document."""
        return {device: known.seq for device, known in self._of(document).items() if known.seq}

    def basis_of(self, document: str, device: int) -> Mapping[int, int]:
        """Return the whole basis of a writer's last envelope."""
        return self._of(document).get(device, _Writer()).basis

    def role_of(self, document: str, device: int) -> str:
        """Return in which role a number speaks there; "" when it was never admitted."""
        return self._admission(document, device).role

    def record(
        self, document: str, envelope: Envelope, n: int
    ) -> tuple[list[PlacedFact], list[tuple[str, PlacedFact]]]:
        """Store the facts of an envelope; returns (those that count, [(reason, void one)]), nothing of one read before."""
        known = self._of(document).get(envelope.device, _Writer())
        if envelope.seq <= known.seq:
            return [], []
        basis = whole_basis(known.basis, envelope)
        admission = self._admission(document, envelope.device)
        self._keep(document, envelope.device, replace(known, seq=envelope.seq, basis=basis))
        fresh: list[PlacedFact] = []
        voids: list[tuple[str, PlacedFact]] = []
        for fact in place(envelope, document=document, basis=basis, admission=admission):
            self._follow(document, fact)
            void = judge(self.trade, fact)
            self._insert(document, fact, n, void, carried=envelope.facts[fact.index].carried is not None)
            self.touched.update((document, subject) for subject in fact.subjects)
            if void is None:
                fresh.append(fact)
            else:
                voids.append((void, fact))
        return fresh, voids

    def facts_of(
        self, subject: str, *, document: str | None = None, own_only: bool = False
    ) -> dict[str, list[PlacedFact]]:
        """Return {document: facts about a subject}, voids left out; `own_only`: without carried copies."""
        query = _FACTS_OF if document is None else _FACTS_OF_IN
        found: dict[str, list[PlacedFact]] = {}
        where = {"subject_": subject} if document is None else {"subject_": subject, "document_": document}
        for row in read(self.conn, query, **where):
            if own_only and row.carried:
                continue
            found.setdefault(row.document, []).append(placed_fact(row))
        return found

    def fold_touched(self) -> None:
        """Fold every subject that got a fact since the last call, and keep its state."""
        by_document: dict[str, list[str]] = {}
        for document, subject in sorted(self.touched):
            # The subject `document` too: replicas keep its row, and both ends are compared row by row (I15).
            by_document.setdefault(document, []).append(subject)
        self.touched = set()
        for document, subjects in by_document.items():
            for start in range(0, len(subjects), SUBJECTS_AT_ONCE):
                chunk = subjects[start : start + SUBJECTS_AT_ONCE]
                upsert_all(self.conn, s.state, ("document", "subject"), self._fold(document, chunk))

    def _fold(self, document: str, subjects: list[str]) -> list[dict[str, Any]]:
        facts: dict[str, list[PlacedFact]] = {subject: [] for subject in subjects}
        for row in read(self.conn, _FACTS_OF_MANY, document_=document, subjects_=subjects):
            facts[row.about].append(placed_fact(row))
        return [
            {
                "document": document,
                "subject": subject,
                "kind": subject_type(subject),
                "state": to_json(fold_subject(self.trade, subject, about)),
            }
            for subject, about in facts.items()
        ]

    def state(self, document: str, subject: str) -> dict[str, Any] | None:
        """Return a stored state; call `fold_touched` first for a fresh one."""
        found = read(self.conn, _STATE, document_=document, subject_=subject).scalar()
        return None if found is None else dict(json.loads(found))

    def states_of(self, document: str) -> dict[str, dict[str, Any]]:
        """Return {subject: stored state} of a document; call `fold_touched` first for fresh ones."""
        rows = self.conn.execute(select(s.state.c.subject, s.state.c.state).where(s.state.c.document == document))
        return {row.subject: json.loads(row.state) for row in rows}

    def documents_of(self, subjects: Iterable[str]) -> list[str]:
        """Return the documents that speak of one of the subjects, closed ones too."""
        return [row[0] for row in read(self.conn, _DOCUMENTS_OF, subjects_=list(subjects))]

    def known_subjects(self, document: str, subjects: Iterable[str]) -> set[str]:
        """Return those of the subjects that had a row in a document before this step."""
        named = list(subjects)
        found: set[str] = set()
        for start in range(0, len(named), SUBJECTS_AT_ONCE):
            chunk = named[start : start + SUBJECTS_AT_ONCE]
            found.update(read(self.conn, _KNOWN, document_=document, subjects_=chunk).scalars())
        return found

    def keys_in(self, document: str, ids: Sequence[str]) -> set[tuple[str, str, tuple[str, ...]]]:
        """Return (id, kind, subjects) of those of the facts that stand in a document already, as said there or as copies."""
        found: set[tuple[str, str, tuple[str, ...]]] = set()
        for start in range(0, len(ids), SUBJECTS_AT_ONCE):
            chunk = list(ids[start : start + SUBJECTS_AT_ONCE])
            query = select(_F.id, _F.kind, _F.subjects).where(_F.document == document, _F.id.in_(chunk))
            found |= {(row.id, row.kind, tuple(json.loads(row.subjects))) for row in self.conn.execute(query)}
        return found

    def _of(self, document: str) -> dict[int, _Writer]:
        known = self._writers.get(document)
        if known is None:
            rows = read(self.conn, _WRITERS, document_=document)
            known = {
                row.device: _Writer(
                    admission=Admission(role=row.role, continues=frozenset(json.loads(row.continues))),
                    seq=row.seq,
                    basis=_read_basis(row.basis),
                )
                for row in rows
            }
            self._writers[document] = known
        return known

    def _admission(self, document: str, device: int) -> Admission:
        return admission_of(device, {device: self._of(document).get(device, _Writer()).admission})

    def _keep(self, document: str, device: int, known: _Writer) -> None:
        self._of(document)[device] = known
        row = {
            "document": document,
            "device": device,
            "role": known.admission.role,
            "continues": to_json(sorted(known.admission.continues)),
            "seq": known.seq,
            "basis": _write_basis(known.basis),
        }
        upsert(self.conn, s.writer, ("document", "device"), row)

    def _follow(self, document: str, fact: PlacedFact) -> None:
        """The server's word on who may speak in a document, and when it ends."""
        if not is_server(fact.writer):
            return
        for device, admission in read_admissions([fact]).items():
            known = self._of(document).get(device, _Writer())
            self._keep(document, device, replace(known, admission=admission))
            if known.admission == STRANGER and known.seq:
                self._readmit(document, device, admission)
        if fact.kind == DOCUMENT_CLOSED:
            self.conn.execute(
                update(s.document)
                .where(s.document.c.name == document, s.document.c.closed_ms.is_(None))
                .values(closed_ms=fact.at_ms, successor=fact.body.get("successor"))
            )

    def _readmit(self, document: str, device: int, admission: Admission) -> None:
        """After a restore an author's work may arrive before the server's own word that admitted him: judge it again."""
        f, e = s.fact, s.envelope
        where = (f.c.document == document, f.c.writer == device, f.c.role == "")
        rows = select(f, e.c.stored).join(e, e.c.n == f.c.n).where(*where).order_by(f.c.seq, f.c.place)
        for row in self.conn.execute(rows).all():
            envelope = decode_payload(bytes(row.stored)[HEADER_BYTES:])
            basis = _read_basis(row.basis)
            fact = place_one(envelope, row.place, document=document, basis=basis, admission=admission)
            void = judge(self.trade, fact)
            stands = (*where, f.c.seq == row.seq, f.c.place == row.place)
            self.conn.execute(update(f).where(*stands).values(id=fact.id, role=fact.role, void=void))
            self.touched.update((document, subject) for subject in fact.subjects)
            if void is None:
                self.late.append((document, fact))

    def judge_again(self) -> list[tuple[str, PlacedFact, int]]:
        """After an upgrade of the vocabulary: judge what waited for it, and let every subject be folded anew.

        Whatever was void is judged again: an author may have claimed to be older than his words, and replicas judge at every fold.
        Returns (document, fact, received_ms) of what counts from now, in log order.
        """
        f, e = s.fact, s.envelope
        self.touched.update((row.document, row.subject) for row in self.conn.execute(_ALL_SUBJECTS))
        waited = self.conn.execute(
            select(f, e.c.received_ms).join(e, e.c.n == f.c.n).where(f.c.void.is_not(None)).order_by(f.c.n, f.c.place)
        ).all()
        counts: list[tuple[str, PlacedFact, int]] = []
        for row in waited:
            fact = placed_fact(row)
            void = judge(self.trade, fact)
            stands = (
                f.c.document == row.document,
                f.c.writer == row.writer,
                f.c.seq == row.seq,
                f.c.place == row.place,
            )
            self.conn.execute(update(f).where(*stands).values(void=void))
            if void is None:
                counts.append((row.document, fact, row.received_ms))
        return counts

    def _insert(self, document: str, fact: PlacedFact, n: int, void: str | None, *, carried: bool) -> None:
        stands = {"document": document, "writer": fact.writer, "seq": fact.seq, "place": fact.index}
        row = {
            **stands,
            "id": fact.id,
            "n": n,
            "kind": fact.kind,
            "subjects": to_json(list(fact.subjects)),
            "body": to_json(dict(fact.body)),
            "device": fact.device,
            "person": fact.person,
            "at_ms": fact.at_ms,
            "role": fact.role,
            "schema": fact.schema,
            "basis": _write_basis(fact.basis),
            "carried": int(carried),
            "void": void,
        }
        add(self.conn, s.fact, row)
        add_all(
            self.conn,
            s.fact_subject,
            [{**stands, "subject": subject, "id": fact.id} for subject in dict.fromkeys(fact.subjects)],
        )


def placed_fact(row: Row[Any]) -> PlacedFact:
    """Return the fact of a stored row."""
    return PlacedFact(
        id=row.id,
        kind=row.kind,
        subjects=tuple(json.loads(row.subjects)),
        body=json.loads(row.body),
        device=row.device,
        person=row.person,
        at_ms=row.at_ms,
        role=row.role,
        schema=row.schema,
        writer=row.writer,
        seq=row.seq,
        index=row.place,
        basis=_read_basis(row.basis),
    )


def _read_basis(text: str) -> dict[int, int]:
    return {int(writer): seq for writer, seq in json.loads(text).items()}


def _write_basis(basis: Mapping[int, int]) -> str:
    return to_json({str(writer): seq for writer, seq in basis.items()})


_F, _FS = s.fact.c, s.fact_subject.c
_JOINED: Final = s.fact.join(
    s.fact_subject,
    (_FS.document == _F.document) & (_FS.writer == _F.writer) & (_FS.seq == _F.seq) & (_FS.place == _F.place),
)
_STATE: Final = select(s.state.c.state).where(
    s.state.c.document == bindparam("document_"), s.state.c.subject == bindparam("subject_")
)
_KNOWN: Final = select(s.state.c.subject).where(
    s.state.c.document == bindparam("document_"), s.state.c.subject.in_(bindparam("subjects_", expanding=True))
)
_WRITERS: Final = select(s.writer).where(s.writer.c.document == bindparam("document_"))
_FACTS_OF: Final = (
    select(s.fact)
    .select_from(_JOINED)
    .where(_FS.subject == bindparam("subject_"), _F.void.is_(None))
    .order_by(_F.n, _F.place)
)
_FACTS_OF_IN: Final = _FACTS_OF.where(_FS.document == bindparam("document_"))
_FACTS_OF_MANY: Final = (
    select(s.fact, _FS.subject.label("about"))
    .select_from(_JOINED)
    .where(_FS.document == bindparam("document_"), _FS.subject.in_(bindparam("subjects_", expanding=True)))
    .where(_F.void.is_(None))
    .order_by(_F.n, _F.place)
)
_ALL_SUBJECTS: Final = select(_FS.document, _FS.subject).distinct()
_DOCUMENTS_OF: Final = (
    select(_FS.document)
    .where(_FS.subject.in_(bindparam("subjects_", expanding=True)))
    .distinct()
    .order_by(_FS.document)
)
