"""`nahuo sim`: run seeds, print a line for each that fails with the command that replays it, and what was seen in all of them."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from nahuo.sim.counters import SOMETIMES, never_reached
from nahuo.sim.day import Result
from nahuo.sim.runs import run_one, run_seeds
from nahuo.sim.shrink import shrink


def run(chosen: argparse.Namespace) -> int:
    """Run the seeds of the command line; return 1 when one fails."""
    first, last = chosen.seeds
    seeds = range(first, last + 1)
    without: tuple[str, ...] = tuple(chosen.without)
    began = time.monotonic()
    results = []
    for result in run_seeds(seeds, folder=chosen.data, processes=_processes(chosen, len(seeds)), without=without):
        results.append(result)
        if result.failure:
            again = f" --without {','.join(without)}" if without else ""
            print(f"seed {result.seed}: {result.failure}\n  again: nahuo sim --seeds {result.seed}{again}", flush=True)
            if chosen.shrink:
                _print_shrunk(result, without)
    seconds = time.monotonic() - began
    print(summary(results, seconds))
    if chosen.json is not None:
        _write_json(chosen.json, results, seconds)
    return 1 if any(result.failure for result in results) else 0


def _print_shrunk(result: Result, without: Sequence[str]) -> None:
    small = shrink(result, lambda seed, off: run_one(seed, without=off), without=without)
    print(
        f"  smaller, after {small.runs} runs: {small.failure}\n  faults left: {', '.join(small.faults) or 'none'}\n"
        f"  again: {small.command}",
        flush=True,
    )


def seen_in(results: Sequence[Result]) -> Counter[str]:
    """Return how often each rare thing happened."""
    seen: Counter[str] = Counter()
    for result in results:
        seen.update(result.seen)
    return seen


def summary(results: Sequence[Result], seconds: float) -> str:
    """Return the last lines: how many, how fast, how often each rare thing happened, and which never did."""
    seen = seen_in(results)
    failed = sum(1 for result in results if result.failure)
    events = sum(result.events for result in results)
    never = never_reached(seen)
    lines = [
        f"{len(results)} seeds, {failed} failed, {seconds:.1f} s, {len(results) / max(seconds, 0.001):.1f} seeds/s, {events:,} events",
        *_wrapped([f"{name} {count}" for name, count in sorted(seen.items())]),
        f"rare events reached: {len(SOMETIMES) - len(never)} of {len(SOMETIMES)}",
    ]
    return "\n".join([*lines, *_wrapped([f"never {name}" for name in never])])


def _wrapped(words: Sequence[str]) -> list[str]:
    lines = []
    line = ""
    for word in words:
        if len(line) + len(word) > 130:
            lines.append(line)
            line = ""
        line = f"{line}, {word}" if line else f"  {word}"
    return [*lines, line] if line else lines


def _write_json(path: Path, results: Sequence[Result], seconds: float) -> None:
    seen = seen_in(results)
    body = {
        "seeds": len(results),
        "failed": [{"seed": result.seed, "why": result.failure} for result in results if result.failure],
        "seconds": round(seconds, 2),
        "events": sum(result.events for result in results),
        "seen": dict(sorted(seen.items())),
        "sometimes": {name: seen[name] for name in SOMETIMES},
        "never": never_reached(seen),
        "traces": {str(result.seed): result.trace for result in results},
    }
    path.write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n")


def _processes(chosen: argparse.Namespace, seeds: int) -> int:
    return max(1, min(chosen.jobs or os.cpu_count() or 1, seeds // 4))


def main() -> int:
    """Run without the command line of the project, for profiling: `python -m nahuo.sim.main 1:20`."""
    first, _, last = sys.argv[1].partition(":")
    chosen = argparse.Namespace(
        seeds=(int(first), int(last or first)), json=None, data=None, jobs=1, without=sys.argv[2:], shrink=False
    )
    return run(chosen)


__all__ = ["run", "seen_in", "summary"]

if __name__ == "__main__":
    sys.exit(main())
