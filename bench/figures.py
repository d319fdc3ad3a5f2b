"""A figure: what was measured, its budget, and the table and JSON they are shown in."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measurement. `budget` is the design's: at most for times and sizes, at least where `more_is_better`."""

    name: str
    value: float
    unit: str
    budget: float | None = None
    more_is_better: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """True or False beside a budget, None without one."""
        if self.budget is None:
            return None
        return self.value >= self.budget if self.more_is_better else self.value <= self.budget

    def as_json(self) -> dict[str, Any]:
        """The figure for the JSON file."""
        return {
            "name": self.name,
            "value": round(self.value, 4),
            "unit": self.unit,
            "budget": self.budget,
            "met": self.met,
            "note": self.note,
        }


def percentile(times: Sequence[float], share: float) -> float:
    """The value below which `share` of the times lie."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median_of(runs: int, measure: Callable[[], float]) -> float:
    """Median of several runs."""
    return statistics.median(measure() for _ in range(runs))


class Stopwatch:
    """Seconds since it was made, or since the last `lap`."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last lap, and begin the next."""
        now = time.perf_counter()
        passed, self._since = now - self._since, now
        return passed


HEADING = f"{'figure':<58}{'measured':>14}  {'budget':>12}  "


def line(figure: Figure) -> str:
    """A figure as a line of the table."""
    budget = "" if figure.budget is None else f"{'>=' if figure.more_is_better else '<='} {figure.budget:g}"
    mark = {True: "met", False: "MISSED", None: ""}[figure.met]
    return f"{figure.name:<58}{figure.value:>10.3f} {figure.unit:<4} {budget:>12}  {mark:<7}{figure.note}".rstrip()


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import os
    import sqlite3

    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }
