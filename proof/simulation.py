"""Seeds of the simulator: SHORT is 200; FULL all that ever failed and as many as SEEDS says (default 5,000), from FIRST_SEED (1) on.

Those that failed once are run on every push by tests/simulation.

Nights that should not repeat each other set FIRST_SEED.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from nahuo.sim.counters import SOMETIMES, never_reached
from nahuo.sim.main import seen_in
from nahuo.sim.runs import run_seeds
from proof.report import Part, Size

KEPT: Final = Path(__file__).resolve().parents[1] / "tests" / "simulation" / "seeds.txt"
SHORT_SEEDS: Final = 200
FULL_SEEDS: Final = 5_000


def kept_seeds() -> list[int]:
    """Return the seeds that failed once: `seed, why` a line."""
    lines = [line for line in KEPT.read_text("utf-8").splitlines() if line.strip() and not line.startswith("#")]
    return sorted({int(line.partition(",")[0]) for line in lines})


def prove(size: Size, folder: Path) -> Part:  # noqa: ARG001 - each seed makes its own folder
    """Run the seeds."""
    first = int(os.environ.get("FIRST_SEED", "1"))
    count = SHORT_SEEDS if size is Size.SHORT else int(os.environ.get("SEEDS", FULL_SEEDS))
    kept = [] if size is Size.SHORT else [seed for seed in kept_seeds() if not first <= seed < first + count]
    results = []
    for result in run_seeds([*kept, *range(first, first + count)], processes=min(2, os.cpu_count() or 1)):
        results.append(result)
        if result.failure:  # Said at once: a night's run may be cut short.
            print(f"seed {result.seed}: {result.failure}", flush=True)
    part = Part(
        name="simulation",
        title="Simulated days",
        shows="Under faults of every kind of nahuo/sim/faults.py, drawn per seed, and a calm after them, no promise broke: at each step"
        " those about every prefix of the log, at rest all others, and a recount of every log.",
        does_not_show="Threads, sockets and fsync (the other proofs do); people and faults nobody wrote.",
    )
    failed = [result for result in results if result.failure]
    drawn = f"seeds {first} to {first + count - 1}" + (f" and {len(kept)} that failed once" if kept else "")
    part.add("seeds that failed", str(len(failed)), drawn, goal="0", holds=not failed)
    part.add("events", f"{sum(result.events for result in results):,}", drawn)
    never = never_reached(seen_in(results))
    words = f"{len(SOMETIMES) - len(never)} of {len(SOMETIMES)}" + (f"; never: {', '.join(never)}" if never else "")
    if size is Size.FULL:
        part.add("rare events reached", words, drawn, goal="all", holds=not never)
    else:
        part.add("rare events reached", words, drawn)
    part.faults += [f"seed {r.seed}: {r.failure} (again: nahuo sim --seeds {r.seed} --shrink)" for r in failed]
    return part
