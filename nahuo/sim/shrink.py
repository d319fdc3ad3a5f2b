"""Make a failing seed small: switch one kind of fault off after the other, and keep off whatever the failure does not need.

The same failure counts: the words before the first colon (the promise that broke) must stay. A run without a fault draws other numbers,
so this is a search for a smaller story that ends alike, not a cut of the old one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nahuo.sim.day import Result

Run = Callable[[int, Sequence[str]], Result]
"""Runs a seed without some faults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrunk:
    """The smallest set of faults found that still fails."""

    seed: int
    failure: str
    faults: tuple[str, ...]
    without: tuple[str, ...]
    runs: int

    @property
    def command(self) -> str:
        """What replays it."""
        without = f" --without {','.join(self.without)}" if self.without else ""
        return f"nahuo sim --seeds {self.seed}{without}"


def shrink(failed: Result, run: Run, *, without: Sequence[str] = ()) -> Shrunk:
    """Return the failure of a seed with as few faults as a greedy search needs: half of them at once first, then one by one."""
    off, best, runs = list(without), failed, 0

    def try_without(names: Sequence[str]) -> bool:
        nonlocal best, runs
        runs += 1
        result = run(failed.seed, [*off, *names])
        if result.failure and _promise(result.failure) == _promise(failed.failure):
            off.extend(names)
            best = result
            return True
        return False

    chunk = max(1, len(best.faults) // 2)
    while True:
        left = list(best.faults)
        for start in range(0, len(left), chunk):
            names = [name for name in left[start : start + chunk] if name not in off]
            if names:
                try_without(names)
        if chunk == 1:
            break
        chunk = max(1, chunk // 2)
    return Shrunk(seed=failed.seed, failure=best.failure, faults=best.faults, without=tuple(off), runs=runs)


def _promise(failure: str) -> str:
    return failure.partition(":")[0]
