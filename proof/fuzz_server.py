"""Proof `fuzz_server`: mutated traffic sent to a real server over real sockets while good devices work at it (REL-G7).

The frames are those of `proof.fuzz`; each lane of hostile devices sends its share (`proof.fuzz_sockets`). A frame over a socket costs a
hundred times what one in the engine does, and meets the same readers behind it.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from bench.figures import percentile
from nahuo.verify import verify_folder
from proof.fuzz import DOES_NOT_SHOW, MUTATIONS, keep_corpus, seed_of
from proof.fuzz_sockets import Lane, LaneTally
from proof.report import Part, Size
from proof.stage import GoodDevices, HealthProbe, Member, Stage, Work
from proof.traffic import RealDevice, record

FRAMES: Final = {Size.SHORT: 3_500, Size.FULL: 10_000}
HEALTH_GOAL_MS: Final = 100.0
PER_WAREHOUSE: Final = 63
"""Two good devices, one that looks, sixty hostile: each may connect once a second."""


def prove(size: Size, folder: Path) -> Part:
    """Run the fuzzing."""
    part = Part(
        name="fuzz_server",
        title="Mutated traffic at a server",
        shows=f"{MUTATIONS}, to a real server over real sockets while good devices work at it: no death, nothing lost, nobody cut off,"
        " and the server answers.",
        does_not_show=DOES_NOT_SHOW,
    )
    with Stage(folder, members=PER_WAREHOUSE * 3, per_warehouse=PER_WAREHOUSE) as stage:
        _over_sockets(part, stage, folder, frames=FRAMES[size], seed=seed_of(size))
    keep_corpus(part, folder)
    return part


def _over_sockets(part: Part, stage: Stage, folder: Path, *, frames: int, seed: int) -> None:
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
    asyncio.run(_run_lanes(lanes, frames // len(lanes)))
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
    work.tell_cut_off(part)
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
