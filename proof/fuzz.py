"""Proof `fuzz`: real traffic, mutated by seed, breaks neither the engine nor a real server at which good devices work (REL-G7).

Most frames go through the engine in processes of their own (`proof.fuzz_core`), a part through a real server over real sockets
(`proof.fuzz_sockets`). A frame that fails is named by corpus, seed and index: `python -m proof.fuzz CORPUS SEED INDEX` takes it again.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.figures import percentile
from nahuo.verify import verify_folder
from proof.fuzz_core import Tally, run_frames
from proof.fuzz_sockets import Lane, LaneTally
from proof.report import Part, Size
from proof.stage import SPAWN, GoodDevices, HealthProbe, Member, Stage, Work
from proof.traffic import Corpus, RealDevice, record

SEED: Final = 20261120
KEPT: Final = Path("out/proof")


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """How much of each."""

    core: int
    sockets: int
    processes: int


SHORT: Final = Amount(core=46_500, sockets=3_500, processes=1)
FULL_FRAMES: Final = 10_000_000
FULL_SOCKETS: Final = 10_000
"""A frame over a socket costs a hundred times what one in the engine does, and meets the same readers behind it."""
HEALTH_GOAL_MS: Final = 100.0
PER_WAREHOUSE: Final = 63
"""Two good devices, one that looks, sixty hostile: each may connect once a second."""


def amount_of(size: Size) -> Amount:
    """SHORT is what every push runs; FULL as many frames as FRAMES says, 10,000,000 by default."""
    if size is Size.SHORT:
        return SHORT
    frames = int(os.environ.get("FRAMES", FULL_FRAMES))
    sockets = min(FULL_SOCKETS, frames // 10)
    return Amount(core=frames - sockets, sockets=sockets, processes=2)


def prove(size: Size, folder: Path) -> Part:
    """Run the fuzzing."""
    amount = amount_of(size)
    seed = SEED if size is Size.SHORT else time.time_ns() % 1_000_000
    part = Part(
        name="fuzz",
        title="Mutated traffic",
        shows="Frames of a recorded session between a real device and a real server, mutated by seed (flips, cuts, splices, lying"
        " lengths, other ids, fields doubled and reordered, JSON turned around, also signed by an enrolled device), through the"
        " engine and through a real server over real sockets while good devices work at it: no death, no exception but refusals,"
        " and what the gate admits is the native document's byte for byte.",
        does_not_show="Shapes that no mutation of this traffic reaches; TLS and a front proxy; PostgreSQL.",
    )
    with Stage(folder, members=PER_WAREHOUSE * 3, per_warehouse=PER_WAREHOUSE) as stage:
        _over_sockets(part, stage, amount, folder, seed)
    _in_the_engine(part, folder, amount, seed)
    if part.faults:
        KEPT.mkdir(parents=True, exist_ok=True)
        kept = KEPT / "fuzz-corpus.json"
        shutil.copy(folder / "corpus.json", kept)
        part.faults.append(f"the corpus is kept in {kept}: python -m proof.fuzz {kept} SEED INDEX")
    return part


# --- through a real server ----------------------------------------------------------------------------------------------


def _over_sockets(part: Part, stage: Stage, amount: Amount, folder: Path, seed: int) -> None:
    good, hostile, witnesses, recorder = _roles(stage)
    pid = stage.pid
    corpus = asyncio.run(record(stage, recorder, folder))
    corpus.write(folder / "corpus.json")
    probe = HealthProbe(stage.port)
    devices = GoodDevices(stage, good, gap_s=0.5)
    probe.waits()
    lanes = [
        Lane(stage, squad, corpus, seed=seed, first=place, step=len(hostile)) for place, squad in enumerate(hostile)
    ]
    began = time.monotonic()
    asyncio.run(_run_lanes(lanes, amount.sockets // len(lanes)))
    seconds = time.monotonic() - began
    health = probe.waits()
    work = devices.stop()
    health += probe.stop()
    alive = stage.server.is_running and stage.pid == pid
    part.faults += [fault for lane in lanes for fault in lane.tally.faults]
    part.faults += [] if alive else ["the server's process died"]
    if alive:
        asyncio.run(_converge(part, stage, witnesses, folder))
    stage.server.stop()
    _say_sockets(part, [lane.tally for lane in lanes], health, work, seconds, died=not alive)
    _check_folder(part, stage, work)


async def _run_lanes(lanes: list[Lane], frames: int) -> None:
    await asyncio.gather(*(lane.run(frames) for lane in lanes))


def _roles(stage: Stage) -> tuple[list[Member], list[list[Member]], list[Member], Member]:
    """Of each warehouse two good devices, one that only looks, and a squad of hostile ones; the first that looks is recorded."""
    rows = [stage.members[at : at + PER_WAREHOUSE] for at in range(0, len(stage.members), PER_WAREHOUSE)]
    return (
        [member for row in rows for member in row[:2]],
        [row[3:] for row in rows],
        [row[2] for row in rows[1:]],
        rows[0][2],
    )


def _say_sockets(
    part: Part, lanes: list[LaneTally], health: list[float], work: Work, seconds: float, *, died: bool
) -> None:
    frames = sum(lane.frames for lane in lanes)
    outcomes: Counter[str] = sum((lane.outcomes for lane in lanes), Counter())
    drawn = f"{frames:,} frames over {outcomes['connections']:,} connections, {seconds:,.0f} s"
    part.add("deaths of the server", str(int(died)), drawn, goal="0", holds=not died)
    taken, refused = outcomes["signed and taken"], outcomes["signed and refused"]
    part.add(
        "signed by an enrolled device, turned around inside", f"{taken:,} taken and folded, {refused:,} refused", drawn
    )
    p99 = percentile(health, 0.99)
    part.add(
        "health answer p99 meanwhile", f"{p99:.0f} ms", f"{len(health):,} requests", goal=f"< {HEALTH_GOAL_MS:.0f} ms",
        holds=p99 < HEALTH_GOAL_MS, timed=True,
    )  # fmt: skip
    waits = work.waits_ms
    part.add(
        "good devices: acknowledgement p99 meanwhile",
        f"{percentile(waits, 0.99):.0f} ms",
        f"{len(waits):,} envelopes of {len(work.acked)} devices",
    )
    part.add(
        "good devices cut off or refused",
        str(len(work.broken)),
        f"{len(work.acked)} devices",
        goal="0",
        holds=not work.broken,
    )
    part.faults += work.broken[:5]


async def _converge(part: Part, stage: Stage, witnesses: list[Member], folder: Path) -> None:
    """Devices that begin with nothing sync what the hub has; `_check_folder` compares what they hold with the server's recount."""
    for witness in witnesses:
        path = folder / f"witness-{witness.number}.db"
        device = RealDevice(path, stage, witness, documents=[witness.document])
        device.connect(stage.port)
        wanted = _heads(stage, witness.document)

        def has_all(device: RealDevice = device, document: str = witness.document, wanted: Any = wanted) -> bool:
            have = device.replica.state_vector(document)
            return all(have.get(number, 0) >= seq for number, seq in wanted.items())

        try:
            await device.until(has_all, "a new device")
        except TimeoutError as error:
            part.faults.append(str(error))
        while device.replica.fold_some():
            pass
        _WITNESSED[witness.document] = device.replica.canonical_hash(witness.document)
        await device.close()


_WITNESSED: dict[str, str] = {}


def _heads(stage: Stage, document: str) -> dict[int, int]:
    """What the hub has of a document once the authority has caught up."""
    until = time.monotonic() + 120
    while True:
        with sqlite3.connect(f"file:{stage.data / 'nahuo.db'}?mode=ro", uri=True) as conn:
            behind = conn.execute(
                "SELECT (SELECT coalesce(max(n), 0) FROM envelope) - (SELECT coalesce(max(n), 0) FROM fact)"
            ).fetchone()[0]
            heads = dict(conn.execute("SELECT device, seq FROM head WHERE document = ?", (document,)).fetchall())
        conn.close()
        if behind <= 0 or time.monotonic() > until:
            return heads
        time.sleep(0.2)


def _check_folder(part: Part, stage: Stage, work: Work) -> None:
    verdict = verify_folder(stage.data)
    broken = [f"{check.name}: {fault}" for check in verdict.checks for fault in check.faults[:3]]
    checked = sum(check.checked for check in verdict.checks)
    part.add(
        "recount of the server's folder", f"{len(broken)} faults", f"{checked:,} things", goal="0", holds=not broken
    )
    part.faults += broken
    lost = _lost(stage, work)
    acked = sum(len(stored) for stored in work.acked.values())
    part.add(
        "acknowledged envelopes of good devices lost or changed", str(lost), f"{acked:,}", goal="0", holds=lost == 0
    )
    differ = [name for name, found in _WITNESSED.items() if found != verdict.hashes.get(name)]
    part.add(
        "documents that differ on a new device",
        str(len(differ)),
        f"{len(_WITNESSED)} documents",
        goal="0",
        holds=not differ,
    )
    unexpected = stage.log_faults()
    part.add(
        "lines in the server's log that no refusal explains",
        str(len(unexpected)),
        "its whole log",
        goal="0",
        holds=not unexpected,
    )
    part.faults += [line[:300] for line in unexpected[-8:]]


def _lost(stage: Stage, work: Work) -> int:
    lost = 0
    with sqlite3.connect(f"file:{stage.data / 'nahuo.db'}?mode=ro", uri=True) as conn:
        for device, stored in work.acked.items():
            rows = conn.execute(
                "SELECT stored FROM envelope WHERE device = ? AND document LIKE 'warehouse/%' ORDER BY seq", (device,)
            )
            kept = [hashlib.sha256(row[0]).hexdigest() for row in rows]
            lost += sum(1 for at, one in enumerate(stored) if at >= len(kept) or kept[at] != one)
    conn.close()
    return lost


# --- through the engine -------------------------------------------------------------------------------------------------


def _in_the_engine(part: Part, folder: Path, amount: Amount, seed: int) -> None:
    share = amount.core // amount.processes
    told: Any = SPAWN.Queue()
    running = []
    began = time.monotonic()
    for place in range(amount.processes):
        at = SPAWN.Value("q", -1)
        span = (seed + 1, place * share, (place + 1) * share - 1)
        process = SPAWN.Process(
            daemon=True, target=_engine_apart, args=(folder / f"core-{place}", folder / "corpus.json", span, at, told)
        )
        process.start()
        running.append((process, at))
    tallies = []
    for process, at in running:
        process.join()
        if process.exitcode != 0:
            part.faults.append(f"seed {seed + 1} frame {at.value}: the process died with {process.exitcode}")
        else:
            tallies.append(told.get(timeout=60))
    part.faults += [fault for tally in tallies for fault in tally.faults]
    outcomes: Counter[str] = sum((tally.outcomes for tally in tallies), Counter())
    drawn = f"{share * amount.processes:,} frames, seed {seed + 1}, {time.monotonic() - began:,.0f} s"
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
