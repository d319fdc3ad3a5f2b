"""The hub: where all devices' envelopes meet, are judged, committed and fanned out.

Two halves. `commit_batch` runs on the one writer thread, inside a transaction its caller opened: it holds what arrived against the
writers' chains, appends what continues them, quarantines the rest. `Hub` lives on the event loop: it keeps the connections'
sessions, hands what they received to the writer, and after the commit settles, fans out and wakes.

Order: gate, commit, acknowledge, fan out, wake the authority. What arrived during the last fsync shares the next commit.
An envelope that is already in the log is accepted again if its bytes are equal; if not, it is a fork: the first is kept, the second
goes to quarantine, nothing is dropped. Another writer's envelopes are taken from any device if that writer's signature holds: so a
hub restored from a backup gets back from devices what it knew before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from sync_core import gate, limits
from sync_core.gate import Head, Refusal, Run
from sync_core.session import Session


class LogRow(NamedTuple):
    """One committed envelope: its bytes, their digest, and when this hub received it (its own wall clock)."""

    device: int
    seq: int
    stored: bytes
    digest: bytes
    received_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """What goes to quarantine: the bytes, from whom, and why."""

    document: str
    device: int
    seq: int
    code: str
    detail: str
    stored: bytes
    sent_by: int
    received_ms: int


class HubLog(Protocol):
    """What the hub asks of its store. The first group runs on the writer thread, inside the caller's transaction."""

    def heads(self, document: str) -> Mapping[int, Head]:
        """Return {writer: head of its chain}."""
        ...

    def stored(self, document: str, device: int, first: int, last: int) -> Sequence[bytes]:
        """Return the stored bytes of seqs first..last of a writer, all of which are in the log."""
        ...

    def append(self, document: str, rows: Sequence[LogRow]) -> None:
        """Write envelopes that continue their chain."""
        ...

    def quarantine(self, refused: Refused) -> None:
        """Keep what could not be taken; the same bytes once."""
        ...

    def verifier(self, device: int) -> Callable[[bytes, bytes], bool] | None:
        """Return how to check a writer's signatures; None for a number nobody has."""
        ...

    def read_missing(self, document: str, have: Mapping[int, int], *, bytes_max: int) -> tuple[Run, ...]:
        """Return committed runs a peer with `have` lacks, as much as one update carries; any thread, own connection."""
        ...

    def read_vector(self, document: str) -> Mapping[int, int]:
        """Return {writer: last committed seq}; any thread, own connection."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One update that a connection received."""

    document: str
    runs: tuple[Run, ...]
    sent_by: int
    received_ms: int
    update: bytes = b""
    """The runs as they came; readers who wait for just them are sent the same bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a submission: the writers' heads after it, whether all of it is in the log, and the first refusal."""

    heads: Mapping[int, int]
    fresh: int
    refusal: Refusal | None

    @property
    def applied(self) -> bool:
        """True when every envelope of the submission is committed."""
        return self.refusal is None


def commit_batch(log: HubLog, batch: Sequence[Submission]) -> list[Outcome]:
    """Append what continues its chains, quarantine what does not; one outcome a submission, in order.

    Of one update the lowest number's envelopes go first: what a lost server had said, which devices answered, is read before their answers.
    Runs inside the caller's transaction; nothing counts before that commits.
    """
    heads: dict[str, dict[int, Head]] = {}
    outcomes = []
    for submission in batch:
        document = submission.document
        if document not in heads:
            heads[document] = dict(log.heads(document))
        known = heads[document]
        refusal: Refusal | None = None
        fresh = 0
        for run in sorted(submission.runs, key=lambda run: run.device):
            head = known.get(run.device) or gate.empty_head(document)
            digests, bad = _judge_run(log, document, run, head)
            if digests:
                log.append(document, _rows(run, head.seq + 1, digests, submission.received_ms))
                known[run.device] = Head(seq=head.seq + len(digests), digest=digests[-1])
                fresh += len(digests)
            if bad is not None:
                refusal = refusal or bad
                if bad.code != "gate.gap":
                    log.quarantine(_refused(document, bad, submission))
        outcomes.append(
            Outcome(
                heads={run.device: known[run.device].seq for run in submission.runs if run.device in known},
                fresh=fresh,
                refusal=refusal,
            )
        )
    return outcomes


def _judge_run(log: HubLog, document: str, run: Run, head: Head) -> tuple[Sequence[bytes], Refusal | None]:
    """Return the digests of the envelopes of a run that continue the chain at `head`, and why the first of the others does not."""
    if run.first_seq > head.seq + 1:
        detail = f"seq {run.first_seq} came, {head.seq + 1} is the next"
        return (), Refusal(device=run.device, seq=run.first_seq, code="gate.gap", detail=detail, stored=run.stored[0])
    known = min(head.seq, run.last_seq)
    skip = max(0, known - run.first_seq + 1)
    if skip:
        mine = log.stored(document, run.device, run.first_seq, known)
        for seq, own, theirs in zip(range(run.first_seq, known + 1), mine, run.stored, strict=False):
            if own != theirs:
                detail = "the log holds another envelope under this number: this device was copied or restored"
                return (), Refusal(device=run.device, seq=seq, code="gate.fork", detail=detail, stored=theirs)
    rest = Run(device=run.device, first_seq=run.first_seq + skip, stored=run.stored[skip:])
    if not rest.stored:
        return (), None
    check = log.verifier(run.device)
    if check is None:
        return (), Refusal(
            device=run.device,
            seq=rest.first_seq,
            code="gate.writer",
            detail="nobody has this number",
            stored=rest.stored[0],
        )
    return gate.verify_run(rest, head, check=check)


def _rows(run: Run, first_seq: int, digests: Sequence[bytes], received_ms: int) -> list[LogRow]:
    fresh = run.stored[first_seq - run.first_seq :]
    return [
        LogRow(device=run.device, seq=seq, stored=stored, digest=digest, received_ms=received_ms)
        for seq, (stored, digest) in enumerate(zip(fresh, digests, strict=False), first_seq)
    ]


def _refused(document: str, refusal: Refusal, submission: Submission) -> Refused:
    return Refused(
        document=document,
        device=refusal.device,
        seq=refusal.seq,
        code=refusal.code,
        detail=refusal.detail,
        stored=refusal.stored,
        sent_by=submission.sent_by,
        received_ms=submission.received_ms,
    )


def refusal_message(document: str, refusal: Refusal) -> dict[str, Any]:
    """What the author of a refused envelope is told."""
    return {
        "document": document,
        "device": refusal.device,
        "seq": refusal.seq,
        "code": refusal.code,
        "detail": refusal.detail,
    }


@dataclass(eq=False, slots=True, kw_only=True)
class Connection:
    """One socket on the hub: its session, who is behind it, and how to wake its sender."""

    session: Session
    device: int
    wake: Callable[[], None]
    documents: set[str] = field(default_factory=set)


class Hub:
    """The event loop's half: who has which document open, and what each of them still lacks. Not thread-safe by design."""

    landed_bytes_min = limits.UPDATE_BYTES_MAX // 4
    """Simulations lower it, so that the updates of small worlds are passed on as they came, too."""

    def __init__(self, log: HubLog) -> None:
        self._log = log
        self._open: dict[str, set[Connection]] = {}
        self._encoded: dict[tuple[str, tuple[tuple[int, int], ...]], tuple[tuple[Run, ...], bytes]] = {}
        self._landed: dict[tuple[str, int, int], Submission] = {}
        """{(document, writer, first seq): what was committed of late, just as it came}, oldest first."""
        self._landed_bytes = 0

    def subscribe(self, connection: Connection, document: str) -> None:
        """Fan out what is committed in a document to this connection from now on."""
        self._open.setdefault(document, set()).add(connection)
        connection.documents.add(document)

    def drop(self, connection: Connection) -> None:
        """Forget a connection."""
        for document in connection.documents:
            readers = self._open.get(document)
            if readers is not None:
                readers.discard(connection)
                if not readers:
                    del self._open[document]

    def connections(self) -> Iterable[Connection]:
        """Return every connection that has a document open, once."""
        return {connection for readers in self._open.values() for connection in readers}

    def landed(self, submission: Submission, outcome: Outcome) -> None:
        """Keep a large update that was committed whole for those who wait for just it: it need not be read and encoded again.

        Small ones are read from the log, where many become one update.
        """
        (run, *others) = submission.runs or (None,)
        is_whole = run is not None and outcome.refusal is None and outcome.fresh == len(run.stored)
        if run is None or others or not is_whole or len(submission.update) < self.landed_bytes_min:
            return
        self._landed[submission.document, run.device, run.first_seq] = submission
        self._landed_bytes += len(submission.update)
        while self._landed_bytes > limits.LANDED_BYTES_MAX:
            oldest = self._landed.pop(next(iter(self._landed)))
            self._landed_bytes -= len(oldest.update)

    def committed(self, document: str, heads: Mapping[int, int]) -> None:
        """Tell all readers of a document what was committed; those who lack it are woken."""
        self._encoded.clear()
        for connection in self._open.get(document, ()):
            if connection.session.committed(document, heads):
                connection.wake()

    def answer(self, document: str, have: Mapping[int, int]) -> tuple[tuple[Run, ...], bytes]:
        """Return what a reader with `have` lacks, and its update; readers at the same place share one reading and one encoding."""
        for (where, writer, first_seq), submission in self._landed.items():
            if where == document and have.get(writer, 0) == first_seq - 1:
                return submission.runs, submission.update
        key = (document, tuple(sorted(have.items())))
        ready = self._encoded.get(key)
        if ready is None:
            runs = self._log.read_missing(document, have, bytes_max=limits.UPDATE_BYTES_MAX)
            ready = (runs, gate.encode_update(runs))
            if len(self._encoded) >= 64:
                self._encoded.clear()
            self._encoded[key] = ready
        return ready
