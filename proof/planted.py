"""Bugs planted one by one: the simulator must reach and find each. `docs/planted-bugs.md` is written from what it found.

A plant counts as found only on a seed on which the right code holds. SHORT takes as many as its time allows, at least one of each layer,
each from the seed that found it; FULL takes all from seed 1, up to 1,000 seeds each. What was planted once and is no bug, because another
guard holds, stays in the code with its reason (`HARMLESS`): it must run, and hurt nobody.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Final

from nahuo.sim.prepared import prepare_now
from nahuo.sim.runs import run_one
from proof.plants import HARMLESS, PLANTS, Plant, planted
from proof.report import ROOT, Part, Size

PAGE: Final = ROOT / "docs" / "planted-bugs.md"
KEPT: Final = Path(__file__).with_name("planted.json")
"""{plant: what found it}: so that a short run begins where a long one ended, and the page can be written again."""
SHORT_CPU_SECONDS: Final = 50.0
"""What the chosen plants took together when they were kept; a right run of each seed comes on top. Two cores share it."""
SHORT_SEEDS: Final = 20
FULL_SEEDS: Final = 1_000
HARMLESS_SEEDS: Final = {Size.SHORT: 2, Size.FULL: 100}
WORKERS: Final = 2
SHARE_MAX: Final = 6
"""Plants that a worker takes at once: few enough that both end at about the same time."""
BY_NAME: Final = {plant.name: plant for plant in (*PLANTS, *HARMLESS)}

Job = tuple[str, Sequence[int]]
"""A plant, and the seeds to try in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of one plant: the seed that found it (0: none did), of how many tried, what broke, how often the wrong code ran there,
    and what that run cost."""

    name: str
    seed: int
    tried: int
    failure: str
    reached: int
    cpu_seconds: float


def prove(size: Size, folder: Path) -> Part:  # noqa: ARG001 - each seed makes its own folder
    """Plant, run, and see each found."""
    part = Part(
        name="planted",
        title="Planted bugs",
        shows="Each planted bug is reached and found by the simulator, on a seed on which the right code holds: it would see such a fault "
        "in the real code.",
        does_not_show="Bugs of kinds nobody thought of planting.",
    )
    kept = read_kept()
    chosen = choose(kept) if size is Size.SHORT else list(PLANTS)
    with multiprocessing.get_context("spawn").Pool(min(WORKERS, os.cpu_count() or 1)) as pool:
        found = [one for share in pool.imap(find_share, _shares(chosen, kept, size)) for one in share]
    results = {one.name: one for one in found}
    _tell_plants(part, [results[plant.name] for plant in chosen], size)
    _tell_harmless(part, [results[plant.name] for plant in HARMLESS if plant.name in results])
    if size is Size.FULL:
        keep({**kept, **results})
        part.table = table(read_kept())
    return part


def _tell_plants(part: Part, results: Sequence[Found], size: Size) -> None:
    hit = [found for found in results if found.seed]
    drawn = (
        f"of {len(PLANTS)}; seeds 1 to {FULL_SEEDS:,}"
        if size is Size.FULL
        else f"of {len(PLANTS)}, from their known seeds"
    )
    part.add("planted bugs found", f"{len(hit)} of {len(results)}", drawn, goal="all", holds=len(hit) == len(results))
    if hit:
        counts = sorted(found.tried for found in hit)
        part.add("seeds until found", f"median {counts[len(counts) // 2]}, most {counts[-1]}", f"{len(hit)} plants")
    for found in results:
        if not found.reached:
            part.faults.append(f"{found.name}: the wrong code never ran in {found.tried} seeds")
        elif not found.seed:
            part.faults.append(
                f"{found.name}: not found in {found.tried} seeds (again: python -m proof.planted {found.name})"
            )


def _tell_harmless(part: Part, results: Sequence[Found]) -> None:
    for found in results:
        drawn = f"{found.tried} seeds; {BY_NAME[found.name].what}"
        part.add(
            f"harmless: {found.name}", f"ran {found.reached} times", drawn, goal="hurts nobody", holds=not found.seed
        )
        if found.seed:
            part.faults.append(f"{found.name} is no harmless plant: seed {found.seed}: {found.failure}")


# --- finding ----------------------------------------------------------------------------------------------------------------


def find_share(jobs: Sequence[Job]) -> list[Found]:
    """Run several plants in this process, one after the other."""
    return [find(BY_NAME[name], seeds) for name, seeds in jobs]


def find(plant: Plant, seeds: Iterable[int]) -> Found:
    """Run seeds with a bug planted until one fails that holds without it: what fails anyhow shows nothing about the plant."""
    prepare_now()
    tried = reached_before = 0
    for seed in seeds:
        tried += 1
        began = time.process_time()
        with planted(plant) as reached:
            result = run_one(seed)
            times = reached()
        took = round(time.process_time() - began, 2)
        reached_before += times
        if result.failure and times and _right_code_holds(seed):
            failure = result.failure
            return Found(name=plant.name, seed=seed, tried=tried, failure=failure, reached=times, cpu_seconds=took)
    return Found(name=plant.name, seed=0, tried=tried, failure="", reached=reached_before, cpu_seconds=0.0)


@cache
def _right_code_holds(seed: int) -> bool:
    return not run_one(seed).failure


def choose(kept: Mapping[str, Found]) -> list[Plant]:
    """Return the plants of the short form: the quickest of each layer, then the quickest of all, while their time lasts."""
    known = sorted((kept[plant.name].cpu_seconds, plant.name) for plant in PLANTS if _is_found(plant, kept))
    first: dict[str, str] = {}
    for _, name in known:
        first.setdefault(BY_NAME[name].layer, name)
    chosen: set[str] = set()
    spent = 0.0
    for seconds, name in sorted(known, key=lambda cost: (cost[1] not in first.values(), cost)):
        if spent + seconds <= SHORT_CPU_SECONDS:
            chosen.add(name)
            spent += seconds
    return [plant for plant in PLANTS if plant.name in chosen]


def _is_found(plant: Plant, kept: Mapping[str, Found]) -> bool:
    return plant.name in kept and kept[plant.name].seed > 0


def _shares(chosen: Sequence[Plant], kept: Mapping[str, Found], size: Size) -> list[list[Job]]:
    """Cut the work up; plants whose known seed is the same stay together, so that the right code runs it once."""
    shares: list[list[Job]] = []
    if size is Size.FULL:
        shares += [_alone(plant, FULL_SEEDS) for plant in chosen]
    else:
        by_seed: dict[int, list[Job]] = {}
        for plant in chosen:
            last = kept[plant.name].seed
            by_seed.setdefault(last, []).append((plant.name, list(dict.fromkeys([last, *range(1, SHORT_SEEDS + 1)]))))
        shares = [share[n : n + SHARE_MAX] for share in by_seed.values() for n in range(0, len(share), SHARE_MAX)]
    shares += [_alone(plant, HARMLESS_SEEDS[size]) for plant in HARMLESS]
    return sorted(shares, key=len, reverse=True)


def _alone(plant: Plant, seeds: int) -> list[Job]:
    return [(plant.name, range(1, seeds + 1))]


# --- the page ---------------------------------------------------------------------------------------------------------------


def read_kept() -> dict[str, Found]:
    """Return what found each plant last."""
    if not KEPT.is_file():
        return {}
    return {name: Found(name=name, **body) for name, body in json.loads(KEPT.read_text("utf-8")).items()}


def keep(found: Mapping[str, Found]) -> None:
    """Keep what found each plant, and write the page."""
    order = [plant.name for plant in (*PLANTS, *HARMLESS) if plant.name in found]
    body = {name: {key: value for key, value in asdict(found[name]).items() if key != "name"} for name in order}
    KEPT.write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n", "utf-8")
    PAGE.write_text(page(found), "utf-8")


def page(found: Mapping[str, Found]) -> str:
    """Return docs/planted-bugs.md."""
    return (
        "# Planted bugs\n\n"
        "Written by `python -m proof planted` and `python -m proof.planted`; not by hand. Each row is a small wrong version of the code"
        " that the simulator was run with, in memory. It counts as found by a seed that fails with it and holds without it: from 1 on,"
        " so many seeds find it at most. Short runs begin with that seed.\n\n"
        + table(found)
        + "\n## Planted once, and no bug\n\n"
        "Wrong versions that hurt nobody, because another guard holds. They are run as well, and must break nothing.\n\n"
        + harmless_table(found)
    )


def table(found: Mapping[str, Found]) -> str:
    """Return the table of plants."""
    lines = [
        "| Layer | Bug | What is wrong | Found by seed | Wrong code ran | What found it |",
        "|---|---|---|---|---|---|",
    ]
    for plant in PLANTS:
        known = found.get(plant.name)
        seed = "not run yet" if known is None else str(known.seed) if known.seed else f"**none of {known.tried}**"
        times = "" if known is None else _times(known.reached)
        failure = "" if known is None else _shown(known.failure)
        lines.append(f"| {plant.layer} | `{plant.name}` | {plant.what} | {seed} | {times} | {failure} |")
    return "\n".join(lines) + "\n"


def harmless_table(found: Mapping[str, Found]) -> str:
    """Return the table of what turned out to be no bug."""
    lines = [
        "| Layer | Wrong version | What is wrong | Why it hurts nobody | Wrong code ran |",
        "|---|---|---|---|---|",
    ]
    for plant in HARMLESS:
        known = found.get(plant.name)
        times = "not run yet" if known is None else f"{_times(known.reached)} in {known.tried} seeds"
        lines.append(f"| {plant.layer} | `{plant.name}` | {plant.what} | {plant.harmless} | {times} |")
    return "\n".join(lines) + "\n"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _shown(failure: str) -> str:
    """The failure, without the bytes of an envelope that follow it."""
    return failure.partition(", stored=")[0].replace("|", "\\|")[:160]


def main(words: Sequence[str]) -> int:
    """`python -m proof.planted [NAME…] [N | A:B | A,B,C]`: run some plants, or all not yet found, on the seed that found each last and on
    these (default: 1 to 1,000), and keep what found them."""
    names = [word for word in words if not word[0].isdigit()]
    seeds = next((_read_seeds(word) for word in words if word[0].isdigit()), range(1, FULL_SEEDS + 1))
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        print(f"there is no plant {', '.join(unknown)}")
        return 2
    kept = read_kept()
    for name in names or [plant.name for plant in PLANTS if not _is_found(plant, kept)]:
        last = [kept[name].seed] if name in kept and kept[name].seed else []
        found = find(BY_NAME[name], dict.fromkeys([*last, *seeds]))
        print(
            f"{name}: seed {found.seed} of {found.tried}, ran {found.reached} times: {found.failure[:150]}", flush=True
        )
        keep({**read_kept(), name: found})
    return 0


def _read_seeds(word: str) -> Sequence[int]:
    if "," in word:
        return [int(seed) for seed in word.split(",")]
    first, _, last = word.rpartition(":")
    return range(int(first or 1), int(last) + 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
