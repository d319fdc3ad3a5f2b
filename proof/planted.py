"""Bugs planted one by one: the simulator must reach and find each. `docs/planted-bugs.md` is written from what it found.

SHORT takes eight, each tried from the seed that found it and up to 20; FULL takes all from seed 1,
up to 1,000 seeds each. Every plant runs in a process of its own, two at a time.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from nahuo.sim.prepared import prepare_now
from nahuo.sim.runs import run_one
from proof.plants import PLANTS, Plant, planted
from proof.report import Part, Size

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "planted-bugs.md"
KEPT: Final = Path(__file__).with_name("planted.json")
"""{plant: what found it}: so that a short run begins where a long one ended, and the page can be written again."""
SHORT_PLANTS: Final = frozenset({
    "a_fen_is_lost_in_rounding", "lost_remainder_of_a_hold", "a_scan_counts_each_time", "a_carried_fact_gets_a_new_name",
    "an_old_clock_is_used_again", "the_position_runs_ahead", "the_chain_of_entries_is_broken", "every_purchase_keeps_its_want",
})  # fmt: skip
"""One of nearly every layer; each is found by the first seed it is tried with."""
SHORT_SEEDS: Final = 20
FULL_SEEDS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of one plant: the seed that found it (0: none did), how many seeds that took, what broke, how often the bug ran."""

    name: str
    seed: int
    seeds: int
    failure: str
    reached: int


def prove(size: Size, folder: Path) -> Part:  # noqa: ARG001 - each seed makes its own folder
    """Plant, run, and see each found."""
    part = Part(
        name="planted",
        title="Planted bugs",
        shows="Each planted bug is reached and found by the simulator: it would see such a fault in the real code.",
        does_not_show="Bugs of kinds nobody thought of planting.",
    )
    kept = read_kept()
    if size is Size.SHORT:
        chosen = [plant for plant in PLANTS if plant.name in SHORT_PLANTS]
        jobs = [(plant.name, _short_seeds(plant, kept)) for plant in chosen]
    else:
        jobs = [(plant.name, list(range(1, FULL_SEEDS + 1))) for plant in PLANTS]
    with multiprocessing.get_context("spawn").Pool(min(2, os.cpu_count() or 1), maxtasksperchild=1) as pool:
        results = list(pool.imap_unordered(find_job, jobs, chunksize=1))
    results.sort(key=lambda found: found.name)
    hit = [found for found in results if found.seed]
    part.add(
        "planted bugs found",
        f"{len(hit)} of {len(results)}",
        _drawn_from(size),
        goal="all",
        holds=len(hit) == len(results),
    )
    if hit:
        counts = sorted(found.seeds for found in hit)
        part.add("seeds until found", f"median {counts[len(counts) // 2]}, most {counts[-1]}", f"{len(hit)} plants")
    for found in results:
        if not found.reached:
            part.faults.append(f"{found.name}: the wrong code never ran in {found.seeds} seeds")
        elif not found.seed:
            part.faults.append(
                f"{found.name}: not found in {found.seeds} seeds (again: python -m proof.planted {found.name})"
            )
    if size is Size.FULL:
        keep({**kept, **{found.name: found for found in results}})
        part.table = table(read_kept())
    return part


def find_job(job: tuple[str, Sequence[int]]) -> Found:
    """Run one plant in this process."""
    name, seeds = job
    return find(next(plant for plant in PLANTS if plant.name == name), seeds)


def find(plant: Plant, seeds: Iterable[int]) -> Found:
    """Run seeds with a bug planted until one fails that holds without it: what fails anyhow shows nothing about the plant."""
    prepare_now()
    tried = reached_before = 0
    for seed in seeds:
        tried += 1
        with planted(plant) as reached:
            result = run_one(seed)
            times = reached()
        reached_before += times
        if result.failure and times and not run_one(seed).failure:
            return Found(name=plant.name, seed=seed, seeds=tried, failure=result.failure, reached=reached_before)
    return Found(name=plant.name, seed=0, seeds=tried, failure="", reached=reached_before)


def _short_seeds(plant: Plant, kept: dict[str, Found]) -> list[int]:
    last = kept[plant.name].seed if plant.name in kept else 1
    return [last, *(seed for seed in range(1, SHORT_SEEDS + 1) if seed != last)]


def _drawn_from(size: Size) -> str:
    return (
        f"{len(SHORT_PLANTS)} of {len(PLANTS)}, {SHORT_SEEDS} seeds each at most"
        if size is Size.SHORT
        else f"seeds 1 to {FULL_SEEDS:,}"
    )


# --- the page ---------------------------------------------------------------------------------------------------------------


def read_kept() -> dict[str, Found]:
    """Return what found each plant last."""
    if not KEPT.is_file():
        return {}
    return {name: Found(name=name, **body) for name, body in json.loads(KEPT.read_text("utf-8")).items()}


def keep(found: dict[str, Found]) -> None:
    """Keep what found each plant, and write the page."""
    order = [plant.name for plant in PLANTS if plant.name in found]
    body = {name: {key: value for key, value in asdict(found[name]).items() if key != "name"} for name in order}
    KEPT.write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n", "utf-8")
    PAGE.write_text(page(found), "utf-8")


def page(found: dict[str, Found]) -> str:
    """Return docs/planted-bugs.md."""
    return (
        "# Planted bugs\n\n"
        "Written by `python -m proof planted`; not by hand. Each row is a small wrong version of the code that the simulator was run"
        " with, in memory; how many seeds, from 1 on, it took to find it, and the promise that broke.\n\n"
        + table(found)
    )


def table(found: dict[str, Found]) -> str:
    """Return the table of plants."""
    lines = ["| Layer | Bug | What is wrong | Seeds to find | What found it |", "|---|---|---|---|---|"]
    for plant in PLANTS:
        known = found.get(plant.name)
        seeds = "not run yet" if known is None else str(known.seeds) if known.seed else f"**none in {known.seeds}**"
        failure = "" if known is None else known.failure.replace("|", "\\|")[:160]
        lines.append(f"| {plant.layer} | `{plant.name}` | {plant.what} | {seeds} | {failure} |")
    return "\n".join(lines) + "\n"


def main(names: Sequence[str]) -> int:
    """`python -m proof.planted [NAME…] [N]`: run some plants, or all not yet found, on N seeds from 1, and keep what found them."""
    most = FULL_SEEDS
    chosen = [name for name in names if not name.isdigit()]
    for name in names:
        if name.isdigit():
            most = int(name)
    kept = read_kept()
    missing = [plant.name for plant in PLANTS if plant.name not in kept or not kept[plant.name].seed]
    for name in chosen or missing:
        plant = next((plant for plant in PLANTS if plant.name == name), None)
        if plant is None:
            print(f"there is no plant {name}")
            return 2
        found = find(plant, range(1, most + 1))
        print(f"{name}: seed {found.seed} of {found.seeds}, reached {found.reached}: {found.failure[:150]}", flush=True)
        keep({**read_kept(), name: found})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
