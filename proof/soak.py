"""Proof `soak`: a server that works for long grows neither in memory nor in open files (REL-G19, REL-I12).

Devices work in shifts: each shift connects, speaks for its time, and leaves; the next shift are others. Memory is sampled while they work,
open files between the shifts, when nobody is there. The slope is that of a straight line through the second half of the samples:
what a process fills once at its start is no leak.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.figures import percentile
from proof.report import Part, Size
from proof.stage import GoodDevices, Stage

SLOPE_MIB_PER_H_MAX: Final = 2.0
SAMPLE_S: Final = 5.0
SETTLE_S: Final = 3.0
"""Sockets of a shift that left are closed by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """How many shifts, how long each, how many devices, how often each speaks. `SOAK_MINUTES` in the environment sets the whole time."""

    shifts: int
    shift_s: float
    devices: int
    gap_s: float


AMOUNTS: Final = {
    Size.SHORT: Amount(shifts=2, shift_s=6.0, devices=20, gap_s=0.5),
    Size.FULL: Amount(shifts=8, shift_s=600.0, devices=40, gap_s=1.0),
}
"""A shift is shorter than the quarter of an hour for which its tokens are good."""


def prove(size: Size, folder: Path) -> Part:
    """Let the shifts work, and watch."""
    amount = AMOUNTS[size]
    shift_s = float(os.environ.get("SOAK_MINUTES", 0)) * 60 / amount.shifts or amount.shift_s
    part = Part(
        name="soak",
        title="Long work",
        shows="A server process under shifts of devices that connect, work and leave: its memory, its open files, its answers.",
        does_not_show="Weeks. The database grows with the work, as a log does. The other programs of the machine are quiet.",
    )
    samples: list[tuple[float, float]] = []
    files: list[int] = []
    waits: list[float] = []
    with Stage(folder, members=amount.devices * amount.shifts) as stage:
        began = time.monotonic()
        for shift in range(amount.shifts):
            team = stage.members[shift * amount.devices : (shift + 1) * amount.devices]
            good = GoodDevices(stage, team, gap_s=amount.gap_s)
            until = time.monotonic() + shift_s
            while (left := until - time.monotonic()) > 0:
                time.sleep(min(SAMPLE_S, left))
                samples.append((time.monotonic() - began, stage.memory_mib()))
                waits += good.waits()
            work = good.stop()
            waits += work.waits_ms
            part.faults += work.broken[:5]
            time.sleep(SETTLE_S)
            files.append(open_files(stage.pid))
        part.faults += stage.log_faults()[:5]
    hours = samples[-1][0] / 3600
    drawn_from = (
        f"{amount.shifts} shifts of {amount.devices} devices, {hours * 60:.0f} minutes, {len(waits):,} envelopes"
    )
    slope = slope_of(samples[len(samples) // 2 :]) * 3600
    told = size is Size.FULL
    part.add(
        "memory grows by", f"{slope:.2f} MiB/h, at {samples[-1][1]:.0f} MiB", drawn_from,
        goal=f"at most {SLOPE_MIB_PER_H_MAX:g} MiB/h" if told else "", holds=slope <= SLOPE_MIB_PER_H_MAX if told else None,
    )  # fmt: skip
    part.add(
        "open files between shifts", " ".join(map(str, files)), drawn_from, goal="no more at the end",
        holds=files[-1] <= files[0] + 1,
    )  # fmt: skip
    part.add("acknowledged within, p99", f"{percentile(waits, 0.99):.0f} ms", drawn_from)
    return part


def open_files(pid: int) -> int:
    """How many files and sockets a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def slope_of(samples: list[tuple[float, float]]) -> float:
    """The slope of the straight line through (seconds, value), by least squares."""
    count = len(samples)
    mean_x, mean_y = sum(x for x, _ in samples) / count, sum(y for _, y in samples) / count
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread if spread else 0.0
