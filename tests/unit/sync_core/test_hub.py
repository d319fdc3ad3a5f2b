"""The hub's fan-out: a large update goes on as it came, and nothing goes that is not in the log."""

from __future__ import annotations

import pytest

from sync_core import gate, limits
from sync_core.gate import Run
from sync_core.hub import Hub, Outcome, Submission, commit_batch
from tests.toy import DOCUMENT, MemoryLog, chain, opened, put


class Watched(MemoryLog):
    """A log that counts how often it is read for readers."""

    reads = 0

    def read_missing(self, document: str, have: object, *, bytes_max: int) -> tuple[Run, ...]:
        self.reads += 1
        return super().read_missing(document, have, bytes_max=bytes_max)  # type: ignore[arg-type]


@pytest.fixture
def log() -> Watched:
    log = Watched([700, 701])
    opening = chain(0, DOCUMENT, [[opened(700, 701)]])
    commit_batch(log, [Submission(document=DOCUMENT, runs=(opening,), sent_by=0, received_ms=0)])
    return log


def arrive(log: MemoryLog, hub: Hub, *runs: Run) -> Outcome:
    """An update of these runs comes, is committed as far as it can be, and told to the hub."""
    update = gate.encode_update(runs)
    submission = Submission(document=DOCUMENT, runs=runs, sent_by=700, received_ms=1, update=update)
    (outcome,) = commit_batch(log, [submission])
    hub.landed(submission, outcome)
    hub.committed(DOCUMENT, outcome.heads)
    return outcome


def large(first: int = 1, count: int = 400) -> Run:
    whole = chain(700, DOCUMENT, [[put(n)] for n in range(first + count)])
    return Run(device=700, first_seq=first, stored=whole.stored[first - 1 : first - 1 + count])


def test_a_large_update_goes_on_as_it_came_without_a_look_at_the_log(log: Watched) -> None:
    hub = Hub(log)
    arrive(log, hub, large())
    runs, update = hub.answer(DOCUMENT, {0: 1})
    assert (runs, update) == ((large(),), gate.encode_update([large()]))
    assert log.reads == 0


def test_a_reader_at_another_place_is_answered_from_the_log(log: Watched) -> None:
    hub = Hub(log)
    arrive(log, hub, large())
    runs, update = hub.answer(DOCUMENT, {0: 1, 700: 7})
    assert [(run.first_seq, run.last_seq) for run in runs] == [(8, 400)]
    assert gate.parse_update(update) == runs
    assert log.reads == 1


def test_small_updates_are_read_from_the_log_where_many_become_one(log: Watched) -> None:
    hub = Hub(log)
    run = large(count=20)
    for seq, stored in enumerate(run.stored, 1):
        arrive(log, hub, Run(device=700, first_seq=seq, stored=(stored,)))
    runs, _ = hub.answer(DOCUMENT, {0: 1})
    assert runs == (run,)
    assert log.reads == 1


@pytest.mark.parametrize("wrong", ["its last envelope", "its place", "its half"])
def test_what_was_not_committed_whole_is_never_passed_on(log: Watched, wrong: str) -> None:
    hub = Hub(log)
    run = large()
    match wrong:
        case "its last envelope":
            run = Run(device=700, first_seq=1, stored=(*run.stored[:-1], run.stored[-1][:-1] + b" "))
        case "its place":
            run = large(first=3)
        case _:
            arrive(log, Hub(log), Run(device=700, first_seq=1, stored=run.stored[:200]))
    arrive(log, hub, run)
    committed = log.read_vector(DOCUMENT).get(700, 0)
    assert not hub._landed
    runs, _ = hub.answer(DOCUMENT, {0: 1})
    assert sum(len(run.stored) for run in runs) == committed


def test_only_so_much_is_kept(log: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(log)
    monkeypatch.setattr(limits, "LANDED_BYTES_MAX", 3 * len(gate.encode_update([large()])))
    whole = chain(700, DOCUMENT, [[put(n)] for n in range(2_000)])
    for first in range(1, 2_000, 400):
        arrive(log, hub, Run(device=700, first_seq=first, stored=whole.stored[first - 1 : first + 399]))
    assert [first for _, _, first in hub._landed][-1] == 1_601
    assert len(hub._landed) < 5
    assert hub._landed_bytes == sum(len(kept.update) for kept in hub._landed.values()) <= limits.LANDED_BYTES_MAX
