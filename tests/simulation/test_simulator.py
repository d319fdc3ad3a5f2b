"""The simulator itself: it repeats, its faults can be switched off one by one, and the system lives through its seeds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from nahuo.sim.counters import SOMETIMES, never_reached
from nahuo.sim.day import Result
from nahuo.sim.faults import SWITCHES, draw_faults, switched_on
from nahuo.sim.runs import run_one, run_seeds
from nahuo.sim.shrink import shrink
from proof.simulation import kept_seeds

SHORT_RANGE = range(1, 9)
"""A taste: the proof runs 200 on every push."""

ALWAYS_SEEN = (
    "command_routes.assign",
    "command_orders.import",
    "crash_device_inside",
    "crash_device_after",
    "cut",
    "half_open",
)
"""What a short range must have met; a simulator that never cuts a connection proves nothing."""


def failures(results: list[Result]) -> list[str]:
    return [f"seed {result.seed}: {result.failure}" for result in results if result.failure]


def test_a_short_range_of_days_keeps_every_promise() -> None:
    results = list(run_seeds(SHORT_RANGE))
    assert failures(results) == []
    seen = {name for result in results for name in result.seen}
    assert [name for name in ALWAYS_SEEN if name not in seen] == []


def test_every_seed_that_once_failed_holds_now() -> None:
    assert failures(list(run_seeds(kept_seeds()))) == []


def test_the_same_seed_is_the_same_day_in_any_process(tmp_path: Path) -> None:
    traces = []
    for number, hash_seed in enumerate(("1", "77")):
        out = tmp_path / f"{number}.json"
        command = [sys.executable, "-m", "nahuo", "sim", "--seeds", "31:38", "--jobs", "1", "--json", str(out)]
        subprocess.run(command, check=False, capture_output=True, env={**os.environ, "PYTHONHASHSEED": hash_seed})
        traces.append(json.loads(out.read_text("utf-8"))["traces"])
    assert traces[0] == traces[1]
    assert len(set(traces[0].values())) == 8


def test_another_seed_is_another_day() -> None:
    first, second = run_seeds((6, 7))
    assert first.trace != second.trace


def test_every_fault_is_drawn_and_can_be_switched_off() -> None:
    drawn = [draw_faults(seed) for seed in range(300)]
    assert [name for name in SWITCHES if not any(name in switched_on(faults) for faults in drawn)] == []
    for name in SWITCHES:
        assert all(name not in switched_on(draw_faults(seed, without=[name])) for seed in range(20))
    with pytest.raises(ValueError, match="no such fault"):
        draw_faults(1, without=["luck"])


def test_a_failing_seed_is_made_small() -> None:
    """Of many faults only the two that the failure needs are left."""

    def run(seed: int, without: Sequence[str]) -> Result:
        on = tuple(name for name in ("cut", "doze", "replay", "stall", "swapped") if name not in without)
        failure = "I5: below zero" if {"doze", "swapped"} <= set(on) else ""
        return Result(seed=seed, failure=failure, trace="", events=0, seen=Counter(), faults=on)

    small = shrink(run(9, ()), run)
    assert set(small.faults) == {"doze", "swapped"}
    assert set(small.without) == {"cut", "replay", "stall"}
    assert small.command == f"nahuo sim --seeds 9 --without {','.join(small.without)}"


def test_rare_events_are_named_with_a_line_each() -> None:
    assert len(SOMETIMES) >= 60
    assert all(len(line) > 10 for line in SOMETIMES.values())
    assert never_reached(dict.fromkeys(SOMETIMES, 1)) == []
    assert never_reached({}) == list(SOMETIMES)


def test_a_seed_runs_without_a_fault() -> None:
    assert "cut" not in run_one(1, without=["cut"]).faults
