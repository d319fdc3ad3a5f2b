"""A toy trade for the engine's tests: jars and the marbles people put in. The engine must not know clothes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from sync_core import gate, limits
from sync_core.facts import DOCUMENT_OPENED, Envelope, Fact, PlacedFact, fact_id
from sync_core.fold import State
from sync_core.gate import Head, Run
from sync_core.hub import LogRow, Refused
from sync_core.identity import Ed25519Signer, Verifier
from sync_core.payload import decode_payload, encode_payload
from sync_core.replica import Replica

DOCUMENT = "jar/kitchen"


def signer(number: int) -> Ed25519Signer:
    """A key that belongs to a number, the same in every run."""
    return Ed25519Signer(hashlib.sha256(b"toy key %d" % number).digest())


class Jars:
    """`jar.put` {n} by role "child" adds marbles, `jar.sealed` ends it: sealed wins over concurrent puts being counted after it."""

    schema = 1

    def judge_void(self, fact: PlacedFact) -> str | None:
        if fact.kind not in ("jar.put", "jar.sealed"):
            return "schema.newer" if fact.schema > self.schema else "void.kind"
        if fact.role != ("child" if fact.kind == "jar.put" else "server"):
            return "void.role"
        return None if fact.kind == "jar.sealed" or isinstance(fact.body.get("n"), int) else "void.body"

    def rank(self, fact: PlacedFact) -> int:
        return 1 if fact.kind == "jar.sealed" else 0

    def fold(self, subject: str, facts: Sequence[PlacedFact]) -> State:
        puts: list[str] = []
        sealed = False
        for fact in facts:
            if fact.kind == "jar.sealed":
                sealed = True
            elif fact.kind == "jar.put" and not sealed:
                puts.append(f"{fact.id}+{fact.body['n']}")
        return {"puts": puts, "sealed": sealed, "n": sum(int(p.partition("+")[2]) for p in puts)}


def put(n: int, jar: str = "blue") -> Fact:
    return Fact(kind="jar.put", subjects=(f"jar:{jar}",), body={"n": n})


class MemoryLog:
    """A HubLog in memory: the fake that the stores' conformance suite holds to the same promises."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self.rows: dict[str, dict[int, list[LogRow]]] = {}
        self.refused: list[Refused] = []
        self._verifiers: dict[int, Callable[[bytes, bytes], bool]] = {
            n: Verifier(signer(n).public_key) for n in (0, *numbers)
        }

    @contextmanager
    def transaction(self) -> Iterator[None]:
        yield

    def heads(self, document: str) -> Mapping[int, Head]:
        return {d: Head(seq=rows[-1].seq, digest=rows[-1].digest) for d, rows in self.rows.get(document, {}).items()}

    def stored(self, document: str, device: int, first: int, last: int) -> Sequence[bytes]:
        return [row.stored for row in self.rows[document][device][first - 1 : last]]

    def append(self, document: str, rows: Sequence[LogRow]) -> None:
        for row in rows:
            chain = self.rows.setdefault(document, {}).setdefault(row.device, [])
            assert row.seq == len(chain) + 1
            chain.append(row)

    def quarantine(self, refused: Refused) -> None:
        self.refused.append(refused)

    def verifier(self, device: int) -> Callable[[bytes, bytes], bool] | None:
        return self._verifiers.get(device)

    def read_missing(self, document: str, have: Mapping[int, int], *, bytes_max: int) -> tuple[Run, ...]:
        runs = [
            Run(device=d, first_seq=have.get(d, 0) + 1, stored=tuple(r.stored for r in rows[have.get(d, 0) :]))
            for d, rows in sorted(self.rows.get(document, {}).items())
            if len(rows) > have.get(d, 0)
        ]
        return gate.split_runs(runs, bytes_max=bytes_max)[0] if runs else ()

    def read_vector(self, document: str) -> Mapping[int, int]:
        return {d: len(rows) for d, rows in self.rows.get(document, {}).items()}


def chain(
    device: int,
    document: str,
    actions: Sequence[Sequence[Fact]],
    *,
    after: Head | None = None,
    basis: Mapping[int, int] | None = None,
) -> Run:
    """A run of signed envelopes, one an action."""
    head = after or gate.empty_head(document)
    first = head.seq + 1
    stored = []
    for facts in actions:
        envelope = Envelope(
            device=device, seq=head.seq + 1, person="ann", at_ms=1_000, schema=1, basis=basis or {}, facts=tuple(facts)
        )  # fmt: skip
        data = gate.seal(encode_payload(envelope), head.digest, signer(device).sign)
        stored.append(data)
        head = Head(seq=head.seq + 1, digest=gate.digest_of(data))
    return Run(device=device, first_seq=first, stored=tuple(stored))


def opened(*children: int) -> Fact:
    return Fact(kind=DOCUMENT_OPENED, subjects=("document",), body={"writers": {str(c): "child" for c in children}})


def enrolled(path: Path, number: int, *, synchronous: str = "FULL") -> Replica:
    """A replica with number and key, knowing the server's key."""
    replica = Replica.open(path, Jars(), synchronous=synchronous)
    replica.use_key(signer(number))
    if replica.number is None:
        replica.enrol(number=number, server_key=signer(0).public_key, certificate={})
    return replica


def facts_of(run: Run) -> list[str]:
    """The ids of all facts of a run."""
    ids = []
    for stored in run.stored:
        envelope = decode_payload(stored[gate.HEADER_BYTES :])
        ids += [fact_id(envelope.device, envelope.seq, i) for i in range(len(envelope.facts))]
    return ids


UPDATE_BYTES_MAX = limits.UPDATE_BYTES_MAX
