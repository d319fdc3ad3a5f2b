"""`nahuo bench`: measure, print the figures beside the budgets, write them as JSON. A missed budget is told, never an error."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.engine import measure_engine
from bench.figures import HEADING, Figure, line, machine
from bench.wire import FULL, QUICK, measure_wire


def run(chosen: argparse.Namespace) -> int:
    """Measure everything in a temporary folder; `--quick` measures little of each, to see that it can be measured."""
    quick = bool(chosen.quick)
    load = os.getloadavg()[0]
    figures: list[Figure] = []
    print(HEADING)
    with TemporaryDirectory(prefix="nahuo-bench-") as folder:
        for figure in _measure(Path(folder), quick=quick):
            print(line(figure), flush=True)
            figures.append(figure)
    missed = [figure for figure in figures if figure.met is False]
    judged = [figure for figure in figures if figure.met is not None]
    print(f"{len(judged) - len(missed)} of {len(judged)} budgets met; load before the start {load:.1f}")
    if chosen.json is not None:
        write_figures(chosen.json, figures, load=load)
    return 0


def _measure(folder: Path, *, quick: bool) -> Iterator[Figure]:
    yield from measure_wire(folder, QUICK if quick else FULL, tell)
    if not quick:
        tell("the engine alone")
        (folder / "engine").mkdir()
        yield from measure_engine(folder / "engine")


def write_figures(path: Path, figures: Sequence[Figure], *, load: float) -> None:
    """Write machine and figures."""
    body = {"machine": {**machine(), "load": round(load, 2)}, "figures": [figure.as_json() for figure in figures]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n")


def tell(what: str) -> None:
    """Say on stderr what is measured now."""
    print(f"measuring: {what}", file=sys.stderr, flush=True)
