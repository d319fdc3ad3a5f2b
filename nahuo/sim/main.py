"""`nahuo sim`: run seeds, print a line for each that fails with the command that replays it, and what was seen in all of them."""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from nahuo.sim.day import Result, run_seed

FAST_FOLDER: Final = Path("/dev/shm")
"""Memory with the semantics of files: a simulated crash closes and reopens, it never loses pages."""


def run(chosen: argparse.Namespace) -> int:
    """Run the seeds of the command line; return 1 when one fails."""
    first, last = chosen.seeds
    seeds = range(first, last + 1)
    began = time.monotonic()
    results = []
    for result in run_seeds(seeds, folder=chosen.data, processes=_processes(chosen, len(seeds))):
        results.append(result)
        if result.failure:
            print(f"seed {result.seed}: {result.failure}\n  again: nahuo sim --seeds {result.seed}", flush=True)
    seconds = time.monotonic() - began
    failed = [result for result in results if result.failure]
    print(summary(results, seconds))
    if chosen.json is not None:
        _write_json(chosen.json, results, seconds)
    return 1 if failed else 0


def run_seeds(seeds: Iterable[int], *, folder: Path | None = None, processes: int = 1) -> Iterator[Result]:
    """Yield the results of seeds in their order; every seed has a folder of its own, deleted behind it."""
    jobs = [(seed, folder) for seed in seeds]
    if processes <= 1:
        yield from map(_run_one, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(_run_one, jobs, chunksize=1)


def _run_one(job: tuple[int, Path | None]) -> Result:
    # A seed lives a second: its rubbish is collected behind it, not fifty times within it.
    gc.disable()
    try:
        return _run_in_its_folder(*job)
    finally:
        gc.enable()
        gc.collect()


def _run_in_its_folder(seed: int, folder: Path | None) -> Result:
    if folder is not None:
        place = folder / f"seed-{seed}"
        if place.exists():
            shutil.rmtree(place)
        place.mkdir(parents=True)
        return run_seed(seed, place)
    fast = FAST_FOLDER if os.access(FAST_FOLDER, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="nahuo-sim-", dir=fast) as name:
        return run_seed(seed, Path(name))


def summary(results: list[Result], seconds: float) -> str:
    """Return the last lines: how many, how fast, and how often each rare thing happened."""
    seen: Counter[str] = Counter()
    for result in results:
        seen.update(result.seen)
    failed = sum(1 for result in results if result.failure)
    events = sum(result.events for result in results)
    lines = [
        f"{len(results)} seeds, {failed} failed, {seconds:.1f} s, {len(results) / max(seconds, 0.001):.1f} seeds/s, {events:,} events"
    ]
    line = ""
    for name, count in sorted(seen.items()):
        word = f"{name} {count}"
        if len(line) + len(word) > 130:
            lines.append(line)
            line = ""
        line = f"{line}, {word}" if line else f"  {word}"
    return "\n".join([*lines, line]) if line else "\n".join(lines)


def _write_json(path: Path, results: list[Result], seconds: float) -> None:
    seen: Counter[str] = Counter()
    for result in results:
        seen.update(result.seen)
    body = {
        "seeds": len(results),
        "failed": [{"seed": result.seed, "why": result.failure} for result in results if result.failure],
        "seconds": round(seconds, 2),
        "events": sum(result.events for result in results),
        "seen": dict(sorted(seen.items())),
        "traces": {str(result.seed): result.trace for result in results},
    }
    path.write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n")


def _processes(chosen: argparse.Namespace, seeds: int) -> int:
    return max(1, min(chosen.jobs or os.cpu_count() or 1, seeds // 4))


def main() -> int:
    """Run without the command line of the project, for profiling: `python -m nahuo.sim.main 1:20`."""
    first, _, last = sys.argv[1].partition(":")
    chosen = argparse.Namespace(seeds=(int(first), int(last or first)), json=None, data=None, jobs=1)
    return run(chosen)


__all__ = ["run", "run_seeds", "summary"]

if __name__ == "__main__":
    sys.exit(main())
