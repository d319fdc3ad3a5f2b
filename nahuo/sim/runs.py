"""Run seeds, each in a folder of its own in memory, one after the other or in several processes."""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from nahuo.sim.day import Result, run_seed

FAST_FOLDER: Final = Path("/dev/shm")
"""Memory with the semantics of files: a simulated crash closes and reopens, it never loses pages."""

SEEDS_BETWEEN_COLLECTIONS: Final = 5
_RUN: Final[list[int]] = []
"""The seeds this process has run."""

Job = tuple[int, Path | None, tuple[str, ...]]


def run_seeds(
    seeds: Iterable[int], *, folder: Path | None = None, processes: int = 1, without: Sequence[str] = ()
) -> Iterator[Result]:
    """Yield the results of seeds in their order; every seed has a folder of its own, deleted behind it."""
    jobs: list[Job] = [(seed, folder, tuple(without)) for seed in seeds]
    if processes <= 1:
        yield from map(_run_job, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(_run_job, jobs, chunksize=1)


def run_one(seed: int, *, without: Sequence[str] = ()) -> Result:
    """Run one seed here."""
    return _run_job((seed, None, tuple(without)))


def _run_job(job: Job) -> Result:
    # A seed lives a second: the rubbish is collected behind every few of them, not fifty times within each.
    gc.disable()
    if not _RUN:
        gc.freeze()
    _RUN.append(job[0])
    try:
        return _run_in_its_folder(*job)
    finally:
        gc.enable()
        if len(_RUN) % SEEDS_BETWEEN_COLLECTIONS == 0:
            gc.collect()


def _run_in_its_folder(seed: int, folder: Path | None, without: Sequence[str]) -> Result:
    if folder is not None:
        place = folder / f"seed-{seed}"
        if place.exists():
            shutil.rmtree(place)
        place.mkdir(parents=True)
        return run_seed(seed, place, without=without)
    fast = FAST_FOLDER if os.access(FAST_FOLDER, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="nahuo-sim-", dir=fast) as name:
        return run_seed(seed, Path(name), without=without)
