"""Two devices and a hub under any schedule Hypothesis can think of: acts, frames one at a time, cuts, crashes, restarts.

The engine of the toy trade: real sessions, real replicas on files, the real hub's judgement. Nothing shown as done vanishes, nothing counts
as acknowledged that is not committed, and when the wire is quiet everybody has the same.
"""

from __future__ import annotations

import tempfile
from collections import deque
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sync_core.hub import Submission, commit_batch
from tests.pair import Pair
from tests.toy import DOCUMENT, MemoryLog, chain, enrolled, opened, put

NUMBERS = (700, 701)
DEVICES = st.sampled_from((0, 1))
JARS = st.sampled_from(("blue", "red"))


class Engine(RuleBasedStateMachine):
    """Two pairs share a hub's log; each has a wire of frames on their way."""

    @initialize(fold_at_once=st.sampled_from((1, 200)))
    def begin(self, fold_at_once: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.log = MemoryLog(list(NUMBERS))
        opening = chain(0, DOCUMENT, [[opened(*NUMBERS)]])
        commit_batch(self.log, [Submission(document=DOCUMENT, runs=(opening,), sent_by=0, received_ms=0)])
        self.fold_at_once = fold_at_once
        self.pairs = [Pair(replica=self._open(number), log=self.log) for number in NUMBERS]
        self.up: list[deque[bytes]] = [deque(), deque()]
        self.down: list[deque[bytes]] = [deque(), deque()]
        self.done: list[set[str]] = [set(), set()]
        self.said = 0
        for pair in self.pairs:
            pair.connect()
            pair.settle()

    def _open(self, number: int):  # type: ignore[no-untyped-def]
        replica = enrolled(Path(self.folder.name) / str(number) / "replica.db", number, synchronous="OFF")
        replica.fold_at_once_max = self.fold_at_once
        return replica

    def teardown(self) -> None:
        if not hasattr(self, "pairs"):
            return
        for which in (0, 1):
            self.reconnect(which)
        for _ in range(6):
            for pair in self.pairs:
                pair.settle()
                pair.hub.committed(DOCUMENT, self.log.read_vector(DOCUMENT))
                while pair.replica.fold_some():
                    pass
        assert {tuple(sorted(p.replica.state_vector(DOCUMENT).items())) for p in self.pairs} == {
            tuple(sorted(self.log.read_vector(DOCUMENT).items()))
        }
        assert len({pair.replica.canonical_hash(DOCUMENT) for pair in self.pairs}) == 1
        assert [pair.replica.waiting().actions for pair in self.pairs] == [0, 0]
        for pair in self.pairs:
            pair.replica.close()
        self.folder.cleanup()

    # --- what may happen ----------------------------------------------------------------------------------------------------

    @rule(which=DEVICES, jar=JARS)
    def act(self, which: int, jar: str) -> None:
        pair = self.pairs[which]
        self.said += 1
        ids = pair.replica.act(DOCUMENT, [put(self.said, jar)], person="ann", at_ms=self.said)
        self.done[which] |= set(ids)
        pair.device.committed(DOCUMENT, pair.replica.state_vector(DOCUMENT))

    @rule(which=DEVICES, count=st.integers(1, 6))
    def frames_go_up(self, which: int, count: int) -> None:
        pair, queue = self.pairs[which], self.up[which]
        queue.extend(pair.device_frames())
        for _ in range(min(count, len(queue))):
            pair.to_hub(queue.popleft())
        for other in self.pairs:
            other.hub.committed(DOCUMENT, self.log.read_vector(DOCUMENT))

    @rule(which=DEVICES, count=st.integers(1, 6))
    def frames_come_down(self, which: int, count: int) -> None:
        pair, queue = self.pairs[which], self.down[which]
        queue.extend(pair.hub_frames())
        for _ in range(min(count, len(queue))):
            pair.to_device(queue.popleft())

    @rule(which=DEVICES)
    def reconnect(self, which: int) -> None:
        """The connection breaks with all that is on its way, and a new one begins."""
        self.up[which].clear()
        self.down[which].clear()
        self.pairs[which].connect()

    @rule(which=DEVICES)
    def crash_device(self, which: int) -> None:
        self.pairs[which].replica.close()
        self.pairs[which].replica = self._open(NUMBERS[which])
        self.reconnect(which)

    @rule()
    def restart_hub(self) -> None:
        for which in (0, 1):
            self.reconnect(which)

    @rule(which=DEVICES)
    def fold_a_step(self, which: int) -> None:
        self.pairs[which].replica.fold_some(subjects_max=1)

    # --- what must hold at each moment ----------------------------------------------------------------------------------------

    @invariant()
    def nothing_shown_as_done_is_gone(self) -> None:
        if not hasattr(self, "pairs"):
            return
        for pair, done in zip(self.pairs, self.done, strict=True):
            (seq,) = pair.replica.conn.execute(
                "SELECT coalesce(max(seq), 0) FROM envelope WHERE device = ?", (pair.replica.number,)
            ).fetchone()
            assert seq == len(done)

    @invariant()
    def nothing_counts_as_acknowledged_that_is_not_committed(self) -> None:
        for pair in getattr(self, "pairs", ()):
            number = pair.replica.number
            acked = pair.replica.conn.execute(
                "SELECT acked FROM writer WHERE document = ? AND device = ?", (DOCUMENT, number)
            ).fetchone()
            assert (acked[0] if acked else 0) <= self.log.read_vector(DOCUMENT).get(number, 0)

    @invariant()
    def nobody_is_refused(self) -> None:
        assert getattr(self, "log", None) is None or self.log.refused == []


TestEngine = Engine.TestCase
TestEngine.settings = settings(max_examples=60, stateful_step_count=50)
