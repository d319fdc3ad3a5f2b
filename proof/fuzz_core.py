"""Mutated frames against the engine in this process: the mass of them. Nothing but a refusal may come out, and what the gate admits the
native document must take and give back byte for byte.

A process of its own runs it, and its last frame is in shared memory: also a frame that kills the process is known.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.engine import signer
from proof.mutation import frame
from proof.traffic import Corpus
from server.store import Store, open_store
from sync_core import gate, session, wire
from sync_core.document import Document
from sync_core.errors import MalformedError
from sync_core.gate import Run
from sync_core.hub import Submission, commit_batch
from sync_core.payload import decode_payload
from sync_core.replica import Replica
from sync_core.session import READ_ONLY, READ_WRITE, Session, Side
from trade.projections import MARKET_DAY

DEVICE: Final = 104
STORED_EVERY: Final = 40
"""One frame in so many goes to a device's replica and to a hub's log as well, on disk: 0.5 ms instead of 0.05."""
FAULTS_MAX: Final = 20
CACHE: Final = 64


@dataclass(slots=True)
class Tally:
    """What became of the frames, and what broke."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


class Core:
    """The two ends of a connection, a replica and a hub's log, fed with frames."""

    def __init__(self, folder: Path, corpus: Corpus) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._document = corpus.document
        self._replica = Replica.open(folder / "replica.db", MARKET_DAY, synchronous="OFF")
        self._replica.use_key(signer(DEVICE))
        self._replica.enrol(number=DEVICE, server_key=signer(0).public_key, certificate={})
        self._store: Store = open_store(folder / "hub.db", synchronous="OFF")
        self._hub, self._reader, self._device = self._new_hub(READ_WRITE), self._new_hub(READ_ONLY), self._new_device()

    def close(self) -> None:
        """Close both files."""
        self._replica.close()
        self._store.close()

    def take(self, data: bytes, tally: Tally, *, store: bool) -> None:
        """Let every reader of the engine read a frame; whatever is raised is a fault of ours."""
        decoded: wire.Frame | None = None
        try:
            decoded = wire.decode_frame(data)
        except MalformedError as error:
            tally.outcomes[error.code] += 1
        if not self._hear(self._hub, data, tally):
            self._hub = self._new_hub(READ_WRITE)
        if not self._hear(self._reader, data, None):
            self._reader = self._new_hub(READ_ONLY)
        if not self._hear(self._device, data, None):
            self._device = self._new_device()
        if isinstance(decoded, wire.Update):
            self._take_update(decoded.update, tally, store=store)
        elif isinstance(decoded, wire.Step1):
            self._take_vector(decoded.vector, tally)
        elif decoded is not None:
            tally.outcomes[type(decoded).__name__] += 1

    def _hear(self, end: Session, data: bytes, tally: Tally | None) -> bool:
        """False when this end would have closed the connection."""
        alive = True
        for event in end.receive(data, now_ms=0):
            match event:
                case session.Violation(code=code, fatal=fatal):
                    alive = alive and not fatal
                    if tally is not None:
                        tally.outcomes[f"refused {code}"] += 1
                case session.AuthAsked(document=document):
                    if document == self._document:
                        end.grant(document, scope=READ_WRITE, local={}, now_ms=0)
                    else:
                        end.deny(document, reason="permission-denied")
                case session.Received(document=document, runs=runs):
                    end.settle(document, heads={run.device: run.last_seq for run in runs}, applied=len(data) % 2 == 0)
                case _:
                    pass
        for document, _ in end.wanted():
            end.offer(document, ())
        end.take_frames()
        return alive

    def _take_update(self, update: bytes, tally: Tally, *, store: bool) -> None:
        try:
            runs = gate.parse_update(update)
        except MalformedError:
            return
        tally.outcomes["admitted by the gate"] += 1
        for run in runs:
            for stored in run.stored:
                try:
                    decode_payload(stored[gate.HEADER_BYTES :])
                except MalformedError as error:
                    tally.outcomes[f"payload {error.code}"] += 1
        self._compare(runs, tally)
        if store:
            tally.outcomes["committed or refused"] += 1
            self._replica.admit(self._document, runs)
            with self._store.transaction():
                commit_batch(
                    self._store, [Submission(document=self._document, runs=runs, sent_by=DEVICE, received_ms=1)]
                )

    def _compare(self, runs: tuple[Run, ...], tally: Tally) -> None:
        """The native document takes what the gate admits, and gives it back byte for byte."""
        if not runs or any(run.first_seq > CACHE for run in runs):
            return
        before = [
            Run(device=run.device, first_seq=1, stored=(b"x" * 97,) * (run.first_seq - 1))
            for run in runs
            if run.first_seq > 1
        ]
        document = Document(before)
        document.apply(runs)
        whole = gate.encode_update(
            Run(device=run.device, first_seq=1, stored=(b"x" * 97,) * (run.first_seq - 1) + run.stored) for run in runs
        )
        tally.outcomes["applied and encoded again"] += 1
        if document.missing({}) != whole:
            raise AssertionError("the native document gave other bytes back")
        if document.vector() != {run.device: run.last_seq for run in runs}:
            raise AssertionError("the native document has another state vector")

    def _take_vector(self, vector: bytes, tally: Tally) -> None:
        try:
            have = gate.parse_state_vector(vector)
        except MalformedError as error:
            tally.outcomes[f"vector {error.code}"] += 1
            return
        tally.outcomes["state vector read"] += 1
        self._store.read_missing(self._document, have, bytes_max=4096)

    def _new_hub(self, scope: str) -> Session:
        end = Session(Side.HUB, now_ms=0)
        end.receive(wire.encode_frame(wire.Auth(address=self._document, token="")), now_ms=0)
        end.grant(self._document, scope=scope, local={DEVICE: 3}, now_ms=0)
        end.take_frames()
        return end

    def _new_device(self) -> Session:
        end = Session(Side.DEVICE, now_ms=0)
        end.open(self._document, {DEVICE: 3})
        end.receive(wire.encode_frame(wire.Granted(address=self._document, scope=READ_WRITE)), now_ms=0)
        end.take_frames()
        return end


def run_frames(folder: Path, corpus: Corpus, *, seed: int, first: int, last: int, at: Any = None) -> Tally:
    """Feed the mutated frames `first` to `last` of a seed; `at` is a shared number that always names the frame at hand."""
    tally = Tally()
    core = Core(folder, corpus)
    try:
        for index in range(first, last + 1):
            if at is not None:
                at.value = index
            data = frame(corpus, seed, index)
            try:
                core.take(data, tally, store=index % STORED_EVERY == 0)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001  # a panic of native code is no Exception
                tally.faults.append(f"seed {seed} frame {index}: {type(error).__name__}: {error}"[:300])
                if len(tally.faults) >= FAULTS_MAX:
                    break
    finally:
        core.close()
    return tally
