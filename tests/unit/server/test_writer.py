"""The writer: acknowledgements before decisions, and an answer for every submission."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert
from sqlalchemy.exc import OperationalError

from bench.engine import chain, signer
from bench.sample import scan
from server import schema as s
from server.store import Store, open_store
from server.writer import Writer
from sync_core.gate import Run
from sync_core.hub import LogRow, Submission

DOCUMENT = "warehouse/main/1"
DEVICE = 101


class Counting:
    """An authority that only notes how much of the log was committed when it was its turn."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.seen: list[int] = []

    def run_batch(self, now_ms: int, *, go_on: Callable[[], bool]) -> bool:
        self.seen.append(sum(head.seq for head in self._store.heads(DOCUMENT).values()))
        return False


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "nahuo.db", synchronous="OFF")
    with store.transaction() as conn:
        conn.execute(
            insert(s.device).values(
                number=DEVICE,
                public_key=signer(DEVICE).public_key,
                alg="ed25519",
                role="warehouse",
                organisation="platform",
                name="t",
                documents="[]",
                people="[]",
                certificate="{}",
                enrolled_ms=0,
            )
        )
    yield store
    store.close()


def submissions(count: int) -> list[Submission]:
    run = chain(DEVICE, DOCUMENT, [[scan(DEVICE, n)] for n in range(1, count + 1)])
    return [
        Submission(
            document=DOCUMENT,
            runs=(Run(device=DEVICE, first_seq=seq, stored=(stored,)),),
            sent_by=DEVICE,
            received_ms=1,
        )
        for seq, stored in enumerate(run.stored, 1)
    ]


async def test_a_backlog_is_committed_before_the_authority_looks_at_it(store: Store) -> None:
    authority = Counting(store)
    writer = Writer(store, authority, now_ms=lambda: 1, on_commit=lambda document, heads: None)
    waiting = [writer.submit(one) for one in submissions(30)]
    writer.start(asyncio.get_running_loop())
    outcomes = await asyncio.gather(*waiting)
    await asyncio.to_thread(writer.stop)
    assert [outcome.heads for outcome in outcomes] == [{DEVICE: seq} for seq in range(1, 31)]
    assert authority.seen[0] == 30


class Tireless:
    """An authority that always has more to read."""

    def __init__(self) -> None:
        self.read = 0
        self.began = threading.Event()

    def run_batch(self, now_ms: int, *, go_on: Callable[[], bool]) -> bool:
        self.read += 1
        while go_on():
            self.read += 1
            self.began.set()
            time.sleep(0)
        return False


async def test_the_authority_goes_on_until_a_device_waits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.writer.STEP_SECONDS", (0.0, 3600.0))
    authority = Tireless()
    writer = Writer(store, authority, now_ms=lambda: 1, on_commit=lambda document, heads: None)
    writer.start(asyncio.get_running_loop())
    writer.nudge()
    assert await asyncio.to_thread(authority.began.wait, 30)
    async with asyncio.timeout(30):
        assert (await writer.submit(submissions(1)[0])).heads == {DEVICE: 1}
    assert authority.read > 1
    # The next step would be endless, too.
    monkeypatch.setattr("server.writer.STEP_SECONDS", (0.0, 0.0))
    await asyncio.to_thread(writer.stop)


async def test_a_socket_that_ends_while_its_envelope_commits_stops_nobody(store: Store) -> None:
    writer = Writer(store, Counting(store), now_ms=lambda: 1, on_commit=lambda document, heads: None)
    first, second = submissions(2)
    writer.submit(first).cancel()
    last = writer.submit(second)
    writer.start(asyncio.get_running_loop())
    assert (await last).heads == {DEVICE: 2}
    await asyncio.to_thread(writer.stop)


async def test_readers_hear_of_a_commit_that_held_though_its_answer_was_lost(store: Store) -> None:
    """PostgreSQL's connection breaks in the middle of a commit: the device comes again, whoever reads the document is told all the same."""
    told = asyncio.Event()
    heard: dict[str, dict[int, int]] = {}

    def on_commit(document: str, heads: Mapping[int, int]) -> None:
        heard.setdefault(document, {}).update(heads)
        told.set()

    writer = Writer(store, Counting(store), now_ms=lambda: 1, on_commit=on_commit)
    whole = store.transaction
    breaks = iter([True])

    @contextmanager
    def breaking() -> Iterator[Connection]:
        with whole() as conn:
            yield conn
        if next(breaks, False):
            raise OperationalError("COMMIT", None, ConnectionError("the connection was lost"))

    store.transaction = breaking  # type: ignore[method-assign]
    waiting = writer.submit(submissions(1)[0])
    writer.start(asyncio.get_running_loop())
    with pytest.raises(OSError, match="could not commit"):
        await waiting
    async with asyncio.timeout(10):
        await told.wait()
    assert heard == {DOCUMENT: {DEVICE: 1}}
    assert writer.failure == ""
    await asyncio.to_thread(writer.stop)


class Heard:
    """An authority that tells when it was its turn."""

    def __init__(self) -> None:
        self.turn = threading.Event()

    def run_batch(self, now_ms: int, *, go_on: Callable[[], bool]) -> bool:
        self.turn.set()
        return False


async def test_the_authority_waits_while_the_event_loop_has_more_than_it_can_do(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.writer.DECIDE_LATER_SECONDS", 60.0)
    authority = Heard()
    writer = Writer(store, authority, now_ms=lambda: 1, on_commit=lambda document, heads: None)
    writer.start(asyncio.get_running_loop())
    writer.nudge()
    # The loop is busy: with us, who do not let it go on.
    assert not authority.turn.wait(0.2)
    assert await asyncio.to_thread(authority.turn.wait, 30)
    await asyncio.to_thread(writer.stop)


async def test_what_was_committed_is_told_with_its_outcome_before_the_readers_are_woken(store: Store) -> None:
    told: list[object] = []
    writer = Writer(
        store, Counting(store), now_ms=lambda: 1,
        on_commit=lambda document, heads: told.append(dict(heads)),
        on_landed=lambda submission, outcome: told.append(outcome.fresh),
    )  # fmt: skip
    waiting = [writer.submit(one) for one in submissions(2)]
    writer.start(asyncio.get_running_loop())
    await asyncio.gather(*waiting)
    await asyncio.to_thread(writer.stop)
    assert told == [1, 1, {DEVICE: 2}]


class Unspeakable(Exception):
    """An exception that cannot even be put into words."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


async def test_p2_an_error_nobody_can_put_into_words_wedges_neither_the_writer_nor_its_stop(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = store.append
    broken = 2

    def append(document: str, rows: Sequence[LogRow]) -> None:
        nonlocal broken
        broken -= 1
        if broken >= 0:
            raise Unspeakable
        real(document, rows)

    monkeypatch.setattr(store, "append", append)
    writer = Writer(store, Counting(store), now_ms=lambda: 1, on_commit=lambda document, heads: None)
    writer.start(asyncio.get_running_loop())
    first, second = submissions(2)
    for _ in range(2):
        with pytest.raises(OSError, match="could not commit"):
            await asyncio.wait_for(writer.submit(first), 10)
        assert writer.failure == "Unspeakable"
    assert (await asyncio.wait_for(writer.submit(first), 10)).heads == {DEVICE: 1}
    assert (await asyncio.wait_for(writer.submit(second), 10)).heads == {DEVICE: 2}
    await asyncio.wait_for(asyncio.to_thread(writer.stop), 10)


class Failing(Counting):
    """An authority that cannot write what it decided, until `ends_after` rounds."""

    def __init__(self, store: Store, *, ends_after: int) -> None:
        super().__init__(store)
        self.rounds = threading.Semaphore(0)
        self.left = ends_after
        self.failures: list[str] = []
        self.writer: Writer | None = None

    def run_batch(self, now_ms: int, *, go_on: Callable[[], bool]) -> bool:
        assert self.writer is not None
        self.failures.append(self.writer.failure)
        self.rounds.release()
        self.left -= 1
        if self.left >= 0:
            raise OSError("no room for a verdict")
        return False


async def test_rel_r13_a_failure_is_told_until_everything_can_be_written_again_and_then_ends_by_itself(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.writer.IDLE_SECONDS", 0.001)
    authority = Failing(store, ends_after=5)
    writer = Writer(store, authority, now_ms=lambda: 1, on_commit=lambda document, heads: None)
    authority.writer = writer
    writer.start(asyncio.get_running_loop())
    for _ in range(7):
        assert await asyncio.to_thread(authority.rounds.acquire, timeout=10)
    await asyncio.wait_for(asyncio.to_thread(writer.stop), 10)
    words = "no room for a verdict"
    assert authority.failures[:7] == ["", *[words] * 5, ""]
