"""Catch-up: what one device wrote without a signal reaches the server's disk, a second device and a late third. Each is a process.

The clock of every figure starts when its device begins to connect: token, WebSocket and opening of the documents are part of it. The
writer had the signal once before, as every device that was enrolled.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from bench.scene import Scene

WAREHOUSE = "warehouse/main/1"
SETTLE_SECONDS = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUp:
    """One run. Seconds; `rows` are folded rows on the second device, `settled` the authority's end of work after `durable`."""

    durable: float
    second: float
    second_rows: float
    third: float
    third_rows: float
    settled: float | None
    memory_before_mib: float
    memory_after_mib: float


def catch_up(folder: Path, envelopes: int) -> CatchUp:
    """Measure one backlog on a fresh server."""
    with Scene(folder) as scene:
        writer, number = scene.device()
        second, _ = scene.device()
        third, _ = scene.device()
        for device in (writer, second):
            # Both documents have come and gone through the fold, as on every device that was enrolled: it is live and idle.
            device.ask("connect")
            device.ask("kind", kind="device", count=1)
            device.ask("log", document=WAREHOUSE, device=0, seq=1)
        writer.ask("switch", on=False)
        last = int(writer.ask("write", document=WAREHOUSE, count=envelopes)["seq"])
        before = scene.memory_mib()
        second.tell("log", document=WAREHOUSE, device=number, seq=last)
        start = int(writer.ask("switch", on=True)["at_ns"])
        acked = int(writer.ask("acked", document=WAREHOUSE, seq=last)["at_ns"])
        has = int(second.hear()["at_ns"])
        rows = int(second.ask("rows", document=WAREHOUSE)["at_ns"])
        after = scene.memory_mib()
        settled = wait_settled(scene)
        third_start = int(third.ask("connect")["at_ns"])
        third_has = int(third.ask("log", document=WAREHOUSE, device=number, seq=last)["at_ns"])
        third_rows = int(third.ask("rows", document=WAREHOUSE)["at_ns"])
    return CatchUp(
        durable=(acked - start) / 1e9,
        second=(has - start) / 1e9,
        second_rows=(rows - start) / 1e9,
        third=(third_has - third_start) / 1e9,
        third_rows=(third_rows - third_start) / 1e9,
        settled=None if settled is None else (settled - acked) / 1e9,
        memory_before_mib=before,
        memory_after_mib=after,
    )


def wait_settled(scene: Scene) -> int | None:
    """Wait until the authority has read the whole log; return when, None if it does not within the time."""
    until = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < until:
        left = scene.count(
            "SELECT (SELECT max(n) FROM envelope) - (SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'authority.position')"
        )
        if left <= 0:
            return time.monotonic_ns()
        time.sleep(0.02)
    return None
