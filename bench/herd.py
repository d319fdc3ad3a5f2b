"""The herd: a server was away for hours, and all phones that worked meanwhile come back at once.

Every phone has a route document of its own, asks for a token, connects, and delivers what it wrote; the clock runs from the first to the
last acknowledgement. The phones run in one other process on the same cores, so their own work is in the figure. Two hundred phones share
an address, as behind one router (127.0.x.1 here), because the server counts what an address asks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from bench.engine import signer
from bench.scene import Scene
from server import commands, schema
from server.authority.batch import Batch
from server.authority.documents import open_route
from server.devices import enrol, keep_code
from server.installation import open_server
from trade.projections import MARKET_DAY

DAY = "2026-11-22"
PICKER = "lin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Herd:
    """Seconds until all was acknowledged; what the server's log holds of it; the server's memory in MiB."""

    devices: int
    envelopes: int
    seconds: float
    retries: int
    in_log: int
    memory_before_mib: float
    memory_after_mib: float

    @property
    def lost(self) -> int:
        """Envelopes that were acknowledged and are not in the log."""
        return max(0, self.devices * self.envelopes - self.in_log)

    @property
    def twice(self) -> int:
        """Envelopes that stand in the log more than once."""
        return max(0, self.in_log - self.devices * self.envelopes)


def herd(folder: Path, *, devices: int, envelopes: int) -> Herd:
    """Measure so many phones with so many envelopes each on a fresh server."""
    numbers: list[int] = []
    with Scene(folder, founded=lambda data: numbers.extend(enrol_many(data, devices))) as scene:
        crowd = scene.player("lean_herd")
        crowd.ask("write", numbers=numbers, documents=[route_of(number) for number in numbers], envelopes=envelopes)
        before = scene.memory_mib()
        told = crowd.ask("return", url=scene.url)
        after = scene.memory_mib()
        in_log = scene.count(f"SELECT count(*) FROM envelope WHERE document LIKE 'route/{DAY}-%' AND device >= 100")
        crowd.ask("close")
    return Herd(
        devices=devices, envelopes=envelopes, seconds=told["seconds"], retries=told["retries"], in_log=in_log,
        memory_before_mib=before, memory_after_mib=after,
    )  # fmt: skip


def route_of(number: int) -> str:
    """The document a phone of the herd writes into."""
    return f"route/{DAY}-{number}"


def enrol_many(data: Path, devices: int) -> list[int]:
    """Enrol so many pickers' phones in a server's folder, before it is served; return their numbers in the order of their keys."""
    now_ms = time.time_ns() // 1_000_000
    server = open_server(data, now_ms=now_ms)
    numbers = []
    try:
        with server.store.transaction() as conn:
            b = Batch(store=server.store, server=server, trade=MARKET_DAY, conn=conn, now_ms=now_ms)
            b.put(
                schema.person,
                ("id",),
                id=PICKER,
                name="阿林",
                organisation="platform",
                pin_salt="00",
                pin_hash="0" * 64,
                ended_ms=None,
            )
            for place in range(devices):
                _, digest = commands.new_enrol_code()
                keep_code(
                    b, commands.DeviceCode(code_digest=digest, role="picker", name=f"phone {place}", people=[PICKER])
                )
                asked = commands.DeviceEnrol(code_digest=digest, public_key=signer(place).public_key.hex())
                number = int(enrol(b, asked)["number"])
                open_route(b, number, DAY)
                numbers.append(number)
            b.flush()
    finally:
        server.store.close()
    return numbers
