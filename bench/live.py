"""Many connections: bursts from one device and from ten, one live writer to a hundred readers, and what a connection costs.

Bursts come from lean sessions (`bench.lean`), so that the devices' own work does not stand in the figure; the live writer is a real device
that acts with fsync, and a stamp of his is taken when its action was durable on him.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.catch_up import WAREHOUSE, wait_settled
from bench.figures import percentile
from bench.scene import Scene

LIVE_GAP_MS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """Seconds until the last acknowledgement, and until every device had every envelope."""

    devices: int
    envelopes: int
    acked: float
    everywhere: float

    @property
    def per_s(self) -> float:
        """Durable, acknowledged envelopes a second, all devices together."""
        return self.devices * self.envelopes / self.acked


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """Milliseconds from durable on the writer to decoded at a reader."""

    p50_ms: float
    p99_ms: float
    worst_ms: float
    mib_per_reader: float


def burst(folder: Path, *, devices: int, envelopes: int, update_envelopes: int) -> Burst:
    """Measure live devices that all speak at once, in updates of so many envelopes at most."""
    with Scene(folder) as scene:
        crowd = scene.player("lean")
        crowd.ask("enrol", url=scene.url, codes=[scene.code("warehouse") for _ in range(devices)])
        crowd.ask("open", url=scene.url, document=WAREHOUSE, reading_tokens=[])
        told = crowd.ask("burst", envelopes=envelopes, update_envelopes=update_envelopes)
        crowd.ask("close")
    return Burst(devices=devices, envelopes=envelopes, acked=told["acked_s"], everywhere=told["everywhere_s"])


def live(folder: Path, *, readers: int, seconds: float) -> Live:
    """Measure one writer who acts fifty times a second, and his readers in one other process."""
    with Scene(folder) as scene:
        writer, number = scene.device()
        writer.ask("connect")
        writer.ask("log", document=WAREHOUSE, device=0, seq=1)
        first = int(writer.ask("write", document=WAREHOUSE, count=1)["seq"])
        writer.ask("acked", document=WAREHOUSE, seq=first)
        wait_settled(scene)
        before = scene.memory_mib()
        crowd = scene.player("lean")
        tokens = [scene.reading_token(WAREHOUSE)] * readers
        crowd.ask("open", url=scene.url, document=WAREHOUSE, reading_tokens=tokens)
        crowd.ask("read", device=number, first=first, last=first)
        after = scene.memory_mib()
        count = int(seconds * 1000 / LIVE_GAP_MS)
        written = writer.ask("live", document=WAREHOUSE, count=count, gap_ms=LIVE_GAP_MS)["stamps"]
        sent = [int(written[str(seq)]) for seq in range(first + 1, first + count + 1)]
        heard = crowd.ask("read", device=number, first=first + 1, last=first + count)["stamps"]
        crowd.ask("close")
    times = [(at - since) / 1e6 for stamps in heard for since, at in zip(sent, stamps, strict=True)]
    return Live(
        p50_ms=percentile(times, 0.5),
        p99_ms=percentile(times, 0.99),
        worst_ms=max(times),
        mib_per_reader=(after - before) / readers,
    )
