"""The figures of the wire, from measurements with real processes: each beside its budget and what the machine does raw."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.catch_up import CatchUp, catch_up
from bench.figures import Figure
from bench.herd import Herd, herd
from bench.live import Burst, Live, burst, live
from bench.raw import Raw, measure_raw
from bench.settle import Settled, WireBytes, settle, wire_bytes

WEEK = 5_000
"""What one phone writes in a week without a signal."""
HERD_ENVELOPES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured. Budgets hold for the full size only."""

    backlogs: tuple[int, ...]
    runs: int
    burst: int
    singles: int
    readers: int
    live_seconds: float
    orders: int
    herd: int

    @property
    def is_full(self) -> bool:
        """True for the size the budgets speak of."""
        return self == FULL


FULL = Size(
    backlogs=(1_000, WEEK, 10_000), runs=3, burst=10_000, singles=1_000, readers=100, live_seconds=5, orders=300,
    herd=2_000,
)  # fmt: skip
QUICK = Size(backlogs=(200,), runs=1, burst=400, singles=100, readers=5, live_seconds=0.5, orders=10, herd=10)


def measure_wire(folder: Path, size: Size, tell: Callable[[str], None]) -> Iterator[Figure]:
    """Measure everything that needs a server, each part on a fresh one."""
    tell("what this machine does raw")
    with _fresh(folder) as part:
        raw = measure_raw(
            part, rows=max(size.backlogs), readers=size.readers, seconds=size.live_seconds, herd=size.herd
        )
    yield from _of_raw(raw, size)
    for backlog in size.backlogs:
        runs = []
        for run in range(size.runs if backlog == max(size.backlogs) else 1):
            tell(f"catch-up of {backlog} envelopes, run {run + 1}")
            with _fresh(folder) as part:
                runs.append(catch_up(part, backlog))
        yield from _of_catch_up(backlog, runs, raw, size)
    tell("bursts")
    with _fresh(folder) as part:
        one = burst(part, devices=1, envelopes=size.burst, update_envelopes=size.burst)
    with _fresh(folder) as part:
        single = burst(part, devices=1, envelopes=size.singles, update_envelopes=1)
    with _fresh(folder) as part:
        ten = burst(part, devices=10, envelopes=size.burst // 10, update_envelopes=size.burst)
    yield from _of_bursts(one, single, ten, raw, size)
    tell(f"one live writer, {size.readers} readers")
    with _fresh(folder) as part:
        yield from _of_live(live(part, readers=size.readers, seconds=size.live_seconds), raw, size)
    tell(f"a herd of {size.herd} phones")
    with _fresh(folder) as part:
        yield from _of_herd(herd(part, devices=size.herd, envelopes=HERD_ENVELOPES), raw, size)
    tell(f"{size.orders} purchases")
    with _fresh(folder) as part:
        yield _of_settling(settle(part, orders=size.orders))
    tell("bytes on the wire")
    with _fresh(folder) as part:
        yield from _of_bytes(wire_bytes(part, envelopes=min(size.backlogs)))


@contextmanager
def _fresh(folder: Path) -> Iterator[Path]:
    with TemporaryDirectory(dir=folder) as part:
        yield Path(part)


def _of_raw(raw: Raw, size: Size) -> list[Figure]:
    rows = max(size.backlogs)
    return [
        Figure(name="machine: raw WebSocket echo of 400 bytes", value=raw.echo_per_s, unit="/s"),
        Figure(name=f"machine: {rows:,} rows sent, committed, answered", value=raw.commit_seconds, unit="s"),
        Figure(name="machine: messages each committed and answered", value=raw.commit_per_s, unit="/s"),
        Figure(name=f"machine: raw fan-out to {size.readers} readers, p50", value=raw.fan_p50_ms, unit="ms"),
        Figure(name=f"machine: raw fan-out to {size.readers} readers, p99", value=raw.fan_p99_ms, unit="ms"),
        Figure(
            name=f"machine: {size.herd:,} sockets opened, 20 rows committed for each", value=raw.herd_seconds, unit="s"
        ),
    ]


def _of_catch_up(backlog: int, runs: list[CatchUp], raw: Raw, size: Size) -> list[Figure]:
    def median(name: str) -> float:
        return float(statistics.median(getattr(run, name) for run in runs))

    whole = size.is_full and backlog == 10_000
    week = 10.0 if size.is_full and backlog == WEEK else None
    times = "" if len(runs) == 1 else f"median of {len(runs)}; "
    raw_seconds = raw.commit_seconds * backlog / max(size.backlogs)
    after = [run.memory_after_mib for run in runs]
    before = [run.memory_before_mib for run in runs]
    settled = [backlog / run.settled for run in runs if run.settled]

    def figure(name: str, field: str, budget: float | None = None) -> Figure:
        value = median(field)
        ratio = f"{times}{value / raw_seconds:.1f} times raw" if raw_seconds else times
        return Figure(
            name=f"{backlog:,} envelopes, {name}",
            value=value,
            unit="s",
            budget=budget if whole else week if field == "durable" else None,
            note=ratio,
        )

    figures = [
        figure("durable and acknowledged", "durable", 0.4),
        figure("in a second device's log", "second", 0.6),
        figure("rows of the second device", "second_rows"),
        figure("in a late third device's log", "third", 0.4),
        figure("rows of the late third device", "third_rows"),
        Figure(name=f"{backlog:,} envelopes, server memory after", value=statistics.median(after), unit="MiB",
               note=f"{statistics.median(before):.0f} before"),
    ]  # fmt: skip
    if settled:
        note = "labels nobody explains, read and folded by the authority"
        figures.append(
            Figure(name=f"{backlog:,} scans settled", value=statistics.median(settled), unit="/s", note=note)
        )
    return figures


def _of_bursts(one: Burst, single: Burst, ten: Burst, raw: Raw, size: Size) -> list[Figure]:
    def figure(name: str, value: Burst, budget: float | None, note: str) -> Figure:
        return Figure(
            name=name,
            value=value.per_s,
            unit="/s",
            budget=budget if size.is_full else None,
            more_is_better=True,
            note=note,
        )

    return [
        figure("burst from one device, acknowledged", one, 5_000, f"{one.envelopes} envelopes in full updates"),
        figure(
            "burst from one device, an envelope an update", single, None, f"{raw.commit_per_s / single.per_s:.1f} times slower than raw"
        ),
        figure(
            "burst from ten devices with fan-out, acknowledged", ten, 2_000, f"everywhere after {ten.everywhere:.2f} s"
        ),
    ]  # fmt: skip


def _of_live(measured: Live, raw: Raw, size: Size) -> list[Figure]:
    name = f"live, 50 envelopes/s to {size.readers} readers"
    return [
        Figure(name=f"{name}, p50", value=measured.p50_ms, unit="ms", budget=15 if size.is_full else None,
               note=f"{measured.p50_ms / raw.fan_p50_ms:.1f} times raw"),
        Figure(name=f"{name}, p99", value=measured.p99_ms, unit="ms", budget=60 if size.is_full else None,
               note=f"{measured.p99_ms / raw.fan_p99_ms:.1f} times raw; worst {measured.worst_ms:.0f} ms"),
        Figure(name="server memory per connected reader", value=measured.mib_per_reader * 1024, unit="KiB"),
    ]  # fmt: skip


def _of_herd(measured: Herd, raw: Raw, size: Size) -> list[Figure]:
    name = f"herd of {measured.devices:,} phones"
    full = size.is_full
    took = f"{measured.seconds / raw.herd_seconds:.1f} times raw; {measured.retries} came again"
    grown = (measured.memory_after_mib - measured.memory_before_mib) * 1024 / measured.devices
    return [
        Figure(name=f"{name}, {measured.envelopes} envelopes each, acknowledged", value=measured.seconds, unit="s",
               budget=40 if full else None, note=took),
        Figure(name=f"{name}, lost", value=measured.lost, unit="", budget=0 if full else None),
        Figure(name=f"{name}, twice in the log", value=measured.twice, unit="", budget=0 if full else None),
        Figure(name=f"{name}, server memory after", value=measured.memory_after_mib, unit="MiB",
               budget=300 if full else None, note=f"{measured.memory_before_mib:.0f} before"),
        Figure(name="server memory per connected phone", value=grown, unit="KiB", note="with what it delivered"),
    ]  # fmt: skip


def _of_settling(settled: Settled) -> Figure:
    return Figure(
        name="purchases settled: judged, booked, said", value=settled.purchases / settled.seconds, unit="/s",
        note=f"{settled.purchases} in {settled.seconds:.2f} s after they were durable",
    )  # fmt: skip


def _of_bytes(counted: WireBytes) -> list[Figure]:
    note = f"TCP payload, connecting included; an envelope has {counted.stored:.0f} bytes"
    return [
        Figure(name="bytes up per envelope", value=counted.up, unit="B", note=note),
        Figure(name="bytes down per envelope to a second device", value=counted.down, unit="B", note=note),
    ]
