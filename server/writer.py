"""The writer: the one thread that writes. Hub first, then the authority, then the commands pages left in the table.

What arrived while the last commit was on its way to the disk shares the next one, so an fsync serves many devices. An outcome is told
to the event loop only after the commit that made it true. When a commit fails (disk full, database gone) nothing of the batch
counts: the senders are told to come back, and what is on the devices stays there.

Acknowledgements come before decisions: while envelopes keep arriving the authority waits for a pause between them, half a second at most,
and has a quarter of the time after that; its steps are kept so short that a device which speaks meanwhile waits for a tenth of a second
at most.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Protocol

from server.contact import note_return
from server.overtaken import commit_received
from server.rows import set_meta
from server.store import Store
from sync_core import limits
from sync_core.hub import Outcome, Refused, Submission

IDLE_SECONDS = 1.0
"""The authority looks at its timed rules at least this often."""

PAUSE_SECONDS = 0.04
"""A device that delivers a backlog sends its next update within this time of an acknowledgement."""
DECIDE_LATER_SECONDS = 0.5
"""The longest that the authority waits for such a pause before its first step."""
LAG_SECONDS = 0.005
"""An event loop that needs longer to take a word has more to do than it can: whoever waits there for an acknowledgement goes first, too."""
RUSH_SHARE = 3
"""While there is no pause the hub has so many times as long as the authority's step before took, so that a herd is acknowledged before
its purchases are judged; in a pause the authority works until it has caught up."""
STEP_SECONDS = (0.01, 0.05)
"""How long one step of the authority reads: while a device waits for an acknowledgement, and while nobody does. Writing down what was
decided takes about as long again. Each step costs a commit, so long ones catch up in a fraction of the time."""

WRITTEN = "writer.written_ms"
"""When a commit was tried after a failure, and held."""

log = logging.getLogger("nahuo.writer")


class Authority(Protocol):
    """What the writer drives; see server/authority."""

    def run_batch(self, now_ms: int, *, go_on: Callable[[], bool]) -> bool:
        """Do one transaction's worth of work, until `go_on` says no; True while there is more."""
        ...


def words_of(error: BaseException) -> str:
    """Return what an exception says; its type alone when even its words fail, so that no error ends the writer (P2)."""
    try:
        return str(error) or type(error).__name__
    except Exception:  # noqa: BLE001 - whatever an exception's own words raise
        return type(error).__name__


class Writer:
    """The writer thread. `on_commit(document, heads)` is called on the event loop for every document that grew, and before it
    `on_landed(submission, outcome)` for what devices sent.
    """

    def __init__(
        self,
        store: Store,
        authority: Authority,
        *,
        now_ms: Callable[[], int],
        on_commit: Callable[[str, Mapping[int, int]], None],
        on_landed: Callable[[Submission, Outcome], None] = lambda _submission, _outcome: None,
    ) -> None:
        self._store = store
        self._authority = authority
        self._now_ms = now_ms
        self._on_commit = on_commit
        self._on_landed = on_landed
        self._queue: deque[tuple[Submission, Future[Outcome]]] = deque()
        self._back: list[tuple[int, Future[None]]] = []
        """Devices that came back from an absence; noted before anything that is received after."""
        self._refused: list[Refused] = []
        """Frames that no chain would take, since they were last kept."""
        self._refused_more: dict[tuple[int, str], tuple[Refused, int]] = {}
        """{(sender, code): (one of them, how many)}: what came beyond the room for them."""
        self._seen: dict[int, int] = {}
        """{device: when it spoke to us} since the last notes."""
        self._work = threading.Condition()
        self._nudged = False
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._committed_at = self._noted_at = self._tried_at = 0.0
        self.failure: str = ""
        """Why the last transaction failed; "" while all is well. Shown by the health page."""
        self._failed = False
        """Something failed in this round: then no small commit that holds says that all is well."""
        self._doubtful: set[str] = set()
        """Documents of commits that failed, or whose answer was lost: what stands there now is told once the database answers again."""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the thread; outcomes are delivered on `loop`."""
        self._loop = loop
        self._thread.start()

    def stop(self) -> None:
        """Finish the batch at hand and end."""
        with self._work:
            self._stopping = True
            self._work.notify()
        self._thread.join()

    def submit(self, submission: Submission) -> asyncio.Future[Outcome]:
        """Commit what a device sent, in the order of the calls; call on the event loop. The future ends after the commit.

        It raises OSError when the commit failed: nothing of the submission counts.
        """
        future: Future[Outcome] = Future()
        # Nobody may cancel it: a socket that ends does not take its envelopes back, and the writer must be able to answer.
        future.set_running_or_notify_cancel()
        with self._work:
            self._queue.append((submission, future))
            self._work.notify()
        return asyncio.wrap_future(future)

    def returned(self, device: int) -> asyncio.Future[None]:
        """Note that a device is back from an absence, with its beginning; ends after the commit. It raises OSError when that failed."""
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()
        with self._work:
            self._back.append((device, future))
            self._work.notify()
        return asyncio.wrap_future(future)

    def refuse(self, refused: Refused) -> None:
        """Keep what a peer sent and no chain would take. It goes with the next commit, a second later at most: no fsync of its own."""
        with self._work:
            if len(self._refused) < limits.QUARANTINE_WAITING_MAX:
                stored = refused.stored[: limits.QUARANTINE_BYTES_MAX]
                self._refused.append(replace(refused, stored=stored))
                return
            first, count = self._refused_more.get((refused.sent_by, refused.code), (refused, 0))
            self._refused_more[refused.sent_by, refused.code] = (replace(first, stored=b""), count + 1)

    def seen(self, devices: Iterable[int]) -> None:
        """Note that these devices spoke to us; as `refuse`, without an fsync of its own."""
        with self._work:
            self._seen.update(dict.fromkeys(devices, self._now_ms()))

    def nudge(self) -> None:
        """There is a new command, or a device was enrolled."""
        with self._work:
            self._nudged = True
            self._work.notify()

    def _run(self) -> None:
        while True:
            with self._work:
                if not (self._queue or self._back or self._nudged or self._stopping):
                    self._work.wait(IDLE_SECONDS)
                self._nudged = self._failed = False
                if self._stopping and not self._queue:
                    break
            self._commit_received()
            self._keep_notes()
            self._decide()
            if not self._failed:
                self._try_to_write()
                self._tell_of_doubtful()
        self._note_returns()
        self._keep_notes()

    def _note_returns(self) -> None:
        with self._work:
            back, self._back = self._back, []
        if not back:
            return
        try:
            with self._store.transaction() as conn:
                for device, _ in back:
                    note_return(conn, device, now_ms=self._now_ms())
        except Exception as error:
            log.exception("returns were not noted")
            self._fail(error)
            for _, future in back:
                future.set_exception(OSError("the server could not commit"))
            return
        for _, future in back:
            future.set_result(None)

    def _keep_notes(self) -> None:
        """Who was seen and what was refused waits for nobody and nobody waits for it: once a second is enough, and costs one fsync."""
        now = time.monotonic()
        if now - self._noted_at < IDLE_SECONDS and not self._stopping:
            return
        with self._work:
            refused, self._refused = self._refused, []
            more, self._refused_more = self._refused_more, {}
            seen, self._seen = self._seen, {}
        if not (refused or more or seen or self._store.quarantined.owes):
            return
        self._noted_at = now
        try:
            with self._store.transaction() as conn:
                self._store.seen(seen)
                for one in refused:
                    self._store.quarantine(one)
                for one, count in more.values():
                    self._store.quarantined.count(conn, one, count)
                self._store.quarantined.tell(conn)
        except Exception as error:
            log.exception("the notes were not written")
            self._fail(error)

    def _commit_received(self) -> None:
        self._note_returns()
        batch = self._take()
        if not batch:
            return
        try:
            outcomes = commit_received(self._store, [submission for submission, _ in batch])
        except Exception as error:
            log.exception("the commit failed")
            self._fail(error)
            self._doubt()
            for _, future in batch:
                future.set_exception(OSError("the server could not commit"))
            return
        self.failure = ""
        self._committed_at = time.monotonic()
        self._tell([(submission, outcome) for (submission, _), outcome in zip(batch, outcomes, strict=True)])
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            future.set_result(outcome)

    def _fail(self, error: Exception) -> None:
        self.failure, self._failed = words_of(error), True

    def _try_to_write(self) -> None:
        """After a failure, once a second: does the disk take a commit again? So that what pages say of it ends without a device's help."""
        if not self.failure or time.monotonic() - self._tried_at < IDLE_SECONDS:
            return
        self._tried_at = time.monotonic()
        try:
            with self._store.transaction() as conn:
                set_meta(conn, WRITTEN, self._now_ms())
        except Exception as error:  # noqa: BLE001 - whatever the database raises, it does not write yet
            self._fail(error)
            return
        log.info("the database takes commits again")
        self.failure = ""

    def _take(self) -> list[tuple[Submission, Future[Outcome]]]:
        batch = []
        envelopes = 0
        with self._work:
            while self._queue and envelopes < limits.GROUP_COMMIT_ENVELOPES_MAX:
                submission, future = self._queue.popleft()
                envelopes += 1 + sum(len(run.stored) for run in submission.runs)
                batch.append((submission, future))
        return batch

    def _decide(self) -> None:
        more = True
        until = time.monotonic() + DECIDE_LATER_SECONDS
        while more:
            self._let_hub_go_first(until)
            started = time.monotonic()
            try:
                more = self._authority.run_batch(self._now_ms(), go_on=partial(self._may_go_on, started))
            except Exception as error:
                log.exception("the authority failed")
                self._fail(error)
                self._doubt()
                return
            took = time.monotonic() - started
            self._tell()
            until = time.monotonic() + RUSH_SHARE * took

    def _may_go_on(self, started: float) -> bool:
        """True while the authority's step, which began then, may read another envelope."""
        in_rush, alone = STEP_SECONDS
        return time.monotonic() - started < (in_rush if self._queue or self._back else alone)

    def _let_hub_go_first(self, until: float) -> None:
        """Commit what arrives until there is a pause, at most `until`: nothing came for a while, and the event loop has time."""
        while True:
            with self._work:
                now = time.monotonic()
                waits = bool(self._queue or self._back)
                if not waits:
                    if now >= until or self._nudged or self._stopping:
                        return
                    pause = min(self._committed_at + PAUSE_SECONDS, until) - now
                    if pause > 0:
                        self._work.wait(pause)
                        continue
            if not waits:
                if self._loop_keeps_up():
                    return
                continue
            self._commit_received()
            if now >= until:
                return

    def _loop_keeps_up(self) -> bool:
        """True when the event loop takes a word at once: a herd that connects keeps it busy before it says anything."""
        heard = threading.Event()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(heard.set)
            return heard.wait(LAG_SECONDS)
        return True

    def _tell(self, landed: Sequence[tuple[Submission, Outcome]] = ()) -> None:
        grown, self._store.appended = self._store.appended, {}
        if grown and self._loop is not None:
            self._loop.call_soon_threadsafe(self._deliver, grown, landed)

    def _doubt(self) -> None:
        """A connection that breaks in the middle of a commit does not say whether it holds."""
        self._doubtful.update(self._store.appended)
        self._store.appended.clear()

    def _tell_of_doubtful(self) -> None:
        """Whoever reads a document in doubt is told what is committed there; its author asks for himself."""
        if not self._doubtful or self._failed:
            return
        try:
            grown = {document: self._store.read_vector(document) for document in self._doubtful}
        except Exception as error:
            log.exception("what stands in the documents of a failed commit was not read")
            self._fail(error)
            return
        self._doubtful.clear()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._deliver, grown, ())

    def _deliver(self, grown: Mapping[str, Mapping[int, int]], landed: Sequence[tuple[Submission, Outcome]]) -> None:
        for submission, outcome in landed:
            self._on_landed(submission, outcome)
        for document, heads in grown.items():
            self._on_commit(document, heads)
