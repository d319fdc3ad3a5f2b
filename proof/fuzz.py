"""Proof `fuzz`: real traffic, mutated by seed, does not break the engine (REL-G7); `proof.fuzz_server` sends it to a real server.

The frames go through the engine in processes of their own (`proof.fuzz_core`). A frame that fails is named by corpus, seed and index:
`python -m proof.fuzz CORPUS SEED INDEX` takes it again.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from proof.fuzz_core import Tally, run_frames
from proof.report import Part, Size
from proof.stage import SPAWN, Stage
from proof.traffic import Corpus, record

SEED: Final = 20261120
KEPT: Final = Path("out/proof")
SHORT_FRAMES: Final = 46_500
FULL_FRAMES: Final = 9_990_000
"""With the frames of `proof.fuzz_server` 50,000 and ten million."""
PROCESSES: Final = {Size.SHORT: 1, Size.FULL: 2}
MUTATIONS: Final = (
    "Frames of a recorded session between a real device and a real server, mutated by seed (flips, cuts, splices, lying lengths, other"
    " ids, fields doubled and reordered, JSON turned around, also signed by an enrolled device)"
)
DOES_NOT_SHOW: Final = "Shapes that no mutation of this traffic reaches; TLS and a front proxy; PostgreSQL."


def prove(size: Size, folder: Path) -> Part:
    """Run the fuzzing; FULL runs as many frames as FRAMES says, 9,990,000 by default."""
    frames = SHORT_FRAMES if size is Size.SHORT else int(os.environ.get("FRAMES", FULL_FRAMES))
    part = Part(
        name="fuzz",
        title="Mutated traffic",
        shows=f"{MUTATIONS}, through the engine: no death, no exception but refusals, and what the gate admits is the native document's"
        " byte for byte.",
        does_not_show=DOES_NOT_SHOW,
    )
    with Stage(folder, members=1) as stage:
        asyncio.run(record(stage, stage.members[0], folder)).write(folder / "corpus.json")
    _in_the_engine(part, folder, frames=frames, processes=PROCESSES[size], seed=seed_of(size))
    keep_corpus(part, folder)
    return part


def seed_of(size: Size) -> int:
    """Every push sends the same frames, a full run new ones."""
    return SEED if size is Size.SHORT else time.time_ns() % 1_000_000


def keep_corpus(part: Part, folder: Path) -> None:
    """Keep the recorded session of a run that found something."""
    if part.faults:
        KEPT.mkdir(parents=True, exist_ok=True)
        kept = KEPT / f"{part.name}-corpus.json"
        shutil.copy(folder / "corpus.json", kept)
        part.faults.append(f"the corpus is kept in {kept}: python -m proof.fuzz {kept} SEED INDEX")


def _in_the_engine(part: Part, folder: Path, *, frames: int, processes: int, seed: int) -> None:
    share = frames // processes
    told: Any = SPAWN.Queue()
    running = []
    began = time.monotonic()
    for place in range(processes):
        at = SPAWN.Value("q", -1)
        span = (seed, place * share, (place + 1) * share - 1)
        process = SPAWN.Process(
            daemon=True, target=_engine_apart, args=(folder / f"core-{place}", folder / "corpus.json", span, at, told)
        )
        process.start()
        running.append((process, at))
    tallies = []
    for process, at in running:
        process.join()
        if process.exitcode != 0:
            part.faults.append(f"seed {seed} frame {at.value}: the process died with {process.exitcode}")
        else:
            tallies.append(told.get(timeout=60))
    part.faults += [fault for tally in tallies for fault in tally.faults]
    outcomes: Counter[str] = sum((tally.outcomes for tally in tallies), Counter())
    drawn = f"{share * processes:,} frames, seed {seed}, {time.monotonic() - began:,.0f} s"
    broken = sum(len(tally.faults) for tally in tallies) + len(running) - len(tallies)
    part.add("deaths, panics and exceptions of the engine", str(broken), drawn, goal="0", holds=broken == 0)
    part.add(
        "admitted by the gate, applied by pycrdt and encoded again byte for byte",
        f"{outcomes['applied and encoded again']:,}",
        drawn,
    )
    rows = [f"| {name} | {count:,} |" for name, count in outcomes.most_common()]
    part.table = "\n".join(["What became of the frames in the engine:", "", "| Outcome | Frames |", "|---|---|", *rows])


def _engine_apart(folder: Path, corpus: Path, span: tuple[int, int, int], at: Any, told: Any) -> None:
    seed, first, last = span
    told.put(run_frames(folder, Corpus.read(corpus), seed=seed, first=first, last=last, at=at))


def main(argv: list[str]) -> int:
    """Take one frame again: corpus, seed, index."""
    corpus, seed, index = Corpus.read(Path(argv[0])), int(argv[1]), int(argv[2])
    with tempfile.TemporaryDirectory() as folder:
        tally: Tally = run_frames(Path(folder), corpus, seed=seed, first=index, last=index)
    print(dict(tally.outcomes), *tally.faults, sep=os.linesep)
    return int(bool(tally.faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
