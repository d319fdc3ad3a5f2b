"""The simulator itself: it repeats, it finds planted bugs, and the system lives through its seeds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nahuo.sim.day import Result
from nahuo.sim.runs import run_seeds
from tests.simulation.planted import PLANTS, Plant

SHORT_RANGE = range(1, 21)
PLANT_SEEDS_MAX = 60
KEPT = Path(__file__).with_name("seeds.txt")

ALWAYS_SEEN = (
    "command_routes.assign",
    "command_orders.import",
    "crash_device_inside",
    "crash_device_after",
    "cut",
    "half_open",
)
"""What a short range must have met; a simulator that never cuts a connection proves nothing."""


def kept_seeds() -> list[int]:
    """Return the seeds that failed once: `seed, why` a line."""
    lines = [line for line in KEPT.read_text("utf-8").splitlines() if line.strip() and not line.startswith("#")]
    return [int(line.partition(",")[0]) for line in lines]


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
        command = [sys.executable, "-m", "nahuo", "sim", "--seeds", "3:5", "--jobs", "1", "--json", str(out)]
        subprocess.run(command, check=False, capture_output=True, env={**os.environ, "PYTHONHASHSEED": hash_seed})
        traces.append(json.loads(out.read_text("utf-8"))["traces"])
    assert traces[0] == traces[1]
    assert len(set(traces[0].values())) == 3


def test_another_seed_is_another_day() -> None:
    first, second = run_seeds((6, 7))
    assert first.trace != second.trace


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_reached_and_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = 0

    def count() -> None:
        nonlocal reached
        reached += 1

    plant(monkeypatch, count)
    first = PLANTS[plant]
    seeds = [first, *(seed for seed in range(1, PLANT_SEEDS_MAX + 1) if seed != first)]
    found = next((result for result in run_seeds(seeds) if result.failure), None)
    assert reached > 0
    assert found is not None, f"{PLANT_SEEDS_MAX} seeds do not find {plant.__name__}"
