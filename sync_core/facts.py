"""Facts and envelopes: what is said, who said it, and what he knew. The bytes that are signed: `payload`.

A fact is one immutable observation. The facts of one action travel in one envelope, which its device signs and chains.
Pure. Instants are whole milliseconds since 1970 UTC and are claims of the author's clock: shown, never deciding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NewType

from sync_core import limits
from sync_core.lines import seq_in_line

DeviceNumber = NewType("DeviceNumber", int)

Json = None | bool | int | str | list["Json"] | dict[str, "Json"]
"""What a body may hold: JSON without floats."""

Body = Mapping[str, Any]

SERVER = "server"
"""The role of every number in `limits.SERVER_NUMBERS`."""

DOCUMENT_OPENED = "document.opened"
"""Server, first fact of a document: `{"writers": {"<number>": "<role>"}, "opening"?: seq}`. A successor's `opening` is the seq of its
author's envelope up to which everything was carried in: a replica works in it when it has that much."""
DOCUMENT_WRITER = "document.writer"
"""Server: `{"device": number, "role": role}`, lets a device speak in this document in that role."""
DOCUMENT_CLOSED = "document.closed"
"""Server, last fact of a document: `{"successor": name or null}`."""
ENGINE_KINDS = frozenset({DOCUMENT_OPENED, DOCUMENT_WRITER, DOCUMENT_CLOSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Where a fact was said first, when the server bridges it whole into another document."""

    fact_id: str
    person: str
    at_ms: int
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One observation: its kind, the ids it speaks about, and its body.

    `origin` is the id under which a restored device said the same thing before; a fact counts once per origin.
    """

    kind: str
    subjects: tuple[str, ...]
    body: Body = field(default_factory=dict)
    origin: str | None = None
    carried: Carried | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The facts of one action, as one device says them in one document.

    `seq` counts 1, 2, 3… per device and document without holes. `basis` is {writer: seq}: only what the author had folded
    since its own previous envelope there.
    """

    device: int
    seq: int
    person: str
    at_ms: int
    schema: int
    basis: Mapping[int, int]
    facts: tuple[Fact, ...]


class Outline(NamedTuple):
    """What a replica files an envelope under: a backlog is in its log before anybody reads what the facts say."""

    device: int
    seq: int
    at_ms: int
    schema: int
    basis: Mapping[int, int]
    facts: Sequence[tuple[str, Sequence[str]]]
    """(kind, subjects) of each fact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedFact:
    """A fact as a fold sees it: with its meaning's author and its place in a document.

    `id`, `device`, `person`, `at_ms`, `role` are those of the first time it was said; `writer`, `seq`, `index` say where it stands
    in this document and `basis` ({writer: seq}, whole) what stood before it.
    """

    id: str
    kind: str
    subjects: tuple[str, ...]
    body: Body
    device: int
    person: str
    at_ms: int
    role: str
    schema: int
    writer: int
    seq: int
    index: int
    basis: Mapping[int, int]
    memo: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)
    """What the trade has read of the fact, so that it reads it once."""

    def knew(self, other: PlacedFact) -> bool:
        """True when the author had folded `other` before saying this."""
        if self.writer == other.writer:
            return (other.seq, other.index) < (self.seq, self.index)
        return self.basis.get(other.writer, 0) >= other.seq


def is_server(device: int) -> bool:
    """True for the numbers of servers (design section 4)."""
    return device in limits.SERVER_NUMBERS


def fact_id(device: int, seq: int, index: int) -> str:
    """`device.seq.index`, the id of a fact; `seq` counts on through the document's line (`lines.seq_in_line`)."""
    return f"{device}.{seq}.{index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """In which role a number speaks in a document, and which lost numbers it continues after a restore."""

    role: str
    continues: frozenset[int] = frozenset()


STRANGER = Admission(role="")
"""A number that was never admitted to a document: all it says there is void."""


def admission_of(device: int, admissions: Mapping[int, Admission]) -> Admission:
    """Return how a number may speak in a document."""
    return Admission(role=SERVER) if is_server(device) else admissions.get(device, STRANGER)


def read_admissions(facts: Iterable[PlacedFact]) -> dict[int, Admission]:
    """Return who may speak in a document, from the server's `document.*` facts in their order; others' are passed over."""
    admitted: dict[int, Admission] = {}
    for fact in facts:
        if not is_server(fact.writer):
            continue
        match fact.kind, fact.body:
            case "document.opened", {"writers": dict(writers)}:
                for number, role in writers.items():
                    if number.isdigit() and isinstance(role, str):
                        admitted[int(number)] = Admission(role=role)
            case "document.writer", {"device": int(device), "role": str(role)}:
                continues = fact.body.get("continues", [])
                admitted[device] = Admission(role=role, continues=frozenset(n for n in continues if isinstance(n, int)))
            case _:
                pass
    return admitted


def place(
    envelope: Envelope, *, document: str, basis: Mapping[int, int], admission: Admission
) -> tuple[PlacedFact, ...]:
    """Return the facts of an envelope as folds see them; `basis` is the whole one, `admission` the writer's in this document.

    Only the server carries; only a number that the server lets continue another may speak under that one's ids. Anything else is
    placed under its own id without a role, so that it is void and suppresses nobody's fact.
    """
    return tuple(
        place_one(envelope, index, document=document, basis=basis, admission=admission)
        for index in range(len(envelope.facts))
    )


def place_one(
    envelope: Envelope, index: int, *, document: str, basis: Mapping[int, int], admission: Admission
) -> PlacedFact:
    """Return one of an envelope's facts as `place` does; an opening holds hundreds, and a subject asks for one."""
    fact = envelope.facts[index]
    said_id = fact_id(envelope.device, seq_in_line(document, envelope.seq), index)
    device, person, at_ms, role = envelope.device, envelope.person, envelope.at_ms, admission.role
    if fact.carried is not None:
        if is_server(envelope.device):
            said = fact.carried
            said_id, person, at_ms, role = said.fact_id, said.person, said.at_ms, said.role
            device = int(said_id.partition(".")[0])
        else:
            role = ""
    elif fact.origin is not None:
        old = int(fact.origin.partition(".")[0])
        if old in admission.continues or old == envelope.device or (is_server(old) and is_server(envelope.device)):
            said_id = fact.origin
        else:
            role = ""
    return PlacedFact(
        id=said_id, kind=fact.kind, subjects=fact.subjects, body=fact.body, device=device, person=person, at_ms=at_ms,
        role=role, schema=envelope.schema, writer=envelope.device, seq=envelope.seq, index=index, basis=basis,
    )  # fmt: skip


def carry(fact: PlacedFact) -> Fact:
    """Return the fact whole, as the server writes it into another document."""
    return Fact(
        kind=fact.kind,
        subjects=fact.subjects,
        body=fact.body,
        carried=Carried(fact_id=fact.id, person=fact.person, at_ms=fact.at_ms, role=fact.role),
    )


def outline_of(envelope: Envelope) -> Outline:
    """Return the outline of an envelope."""
    facts = [(fact.kind, fact.subjects) for fact in envelope.facts]
    return Outline(envelope.device, envelope.seq, envelope.at_ms, envelope.schema, envelope.basis, facts)


def whole_basis(before: Mapping[int, int], envelope: Envelope | Outline) -> Mapping[int, int]:
    """Return the whole basis of an envelope from that of its author's previous one in the same document."""
    if not envelope.basis:
        return before
    whole = dict(before)
    for writer, seq in envelope.basis.items():
        if seq > whole.get(writer, 0):
            whole[writer] = seq
    return whole


def subject_type(subject: str) -> str:
    """`task:T1-1` -> `task`."""
    return subject.partition(":")[0]
