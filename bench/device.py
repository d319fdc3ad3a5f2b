"""A device of the measurement, in a process of its own: a real replica on a real file, and the real link. `python -m bench.device DIR`.

What it is asked is one JSON object a line (`bench.players`). It writes with fsync like any device; only a backlog is laid down in one
transaction, because how long the picking took is not what is measured.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.players import Answer, answer_lines, now_ns
from bench.sample import purchase, scan
from clients.runtime.enrol import enrol
from clients.runtime.system import HttpDoor
from sync_core.identity import open_signer
from sync_core.link import Link
from sync_core.replica import Replica
from trade.kinds import SCHEMA
from trade.projections import MARKET_DAY

WAIT_SECONDS = 120


class Device:
    """The replica, its link and what is waited for."""

    def __init__(self, folder: Path) -> None:
        self.replica = Replica.open(folder / "replica.db", MARKET_DAY)
        self.signer = open_signer(folder / "device.key")
        self.replica.use_key(self.signer)
        self.documents: list[str] = []
        self.url = ""
        self.door: HttpDoor | None = None
        self.link: Link | None = None
        self.running: asyncio.Task[None] | None = None
        self.written: dict[str, int] = {}
        self._changed = asyncio.Event()
        self.replica.listeners.append(lambda _: self._changed.set())

    async def do(self, do: str, said: Answer) -> Answer:
        """Carry one request out."""
        match do:
            case "enrol":
                return await self._enrol(**said)
            case "write":
                return self._write(**said)
            case "buy":
                return self._buy(**said)
            case "connect":
                return self._connect()
            case "switch":
                return self._switch(**said)
            case "acked":
                return {"at_ns": await self._until(lambda: self._acked(said["document"]) >= said["seq"])}
            case "log":
                return {"at_ns": await self._until(lambda: self._head(said["document"], said["device"]) >= said["seq"])}
            case "rows":
                return {"at_ns": await self._until(lambda: self._is_folded(said["document"]))}
            case "kind":
                return {"at_ns": await self._until(lambda: len(self._states(said["kind"])) >= said["count"])}
            case "tasks":
                return {"tasks": [[document, subject] for document, subject, _ in self._states("task")]}
            case "live":
                return await self._write_live(**said)
            case _:
                raise ValueError(f"a device does not know how to {do}")

    async def _enrol(self, url: str, code: str) -> Answer:
        self.url = url
        self.door = HttpDoor(url, self.signer, self.replica)
        number = await enrol(self.replica, self.signer, self.door, code)
        certificate: dict[str, Any] = self.replica.setting("certificate", {})
        self.documents = [str(name) for name in certificate["documents"]]
        return {"number": number, "documents": self.documents}

    def _write(self, document: str, count: int) -> Answer:
        number = self._number
        with self.replica.transaction():
            for _ in range(count):
                self._scan(document, number)
        return {"seq": self._head(document, number)}

    def _scan(self, document: str, number: int) -> None:
        serial = self.written[document] = self.written.get(document, 0) + 1
        self.replica.act(document, [scan(number, serial)], person="cang", at_ms=_at_ms(serial))

    def _buy(self, price_fen: int) -> Answer:
        """Buy every task this replica knows, one envelope each."""
        document = ""
        with self.replica.transaction():
            for document, subject, state in self._states("task"):
                fact = purchase(
                    subject, state, device=self._number, serial=self.replica.next_serial(), price_fen=price_fen
                )
                self.replica.act(document, [fact], person="lin", at_ms=_at_ms(0))
        return {"document": document, "seq": self._head(document, self._number) if document else 0}

    def _connect(self) -> Answer:
        assert self.door is not None
        self.link = Link(
            self.replica,
            self.door.websocket_url,
            token=self.door.token,
            documents=self._wanted,
            renumber=_cannot_renumber,
            schema=SCHEMA,
        )
        self.link.on_change.append(self._changed.set)
        at_ns = now_ns()
        self.running = asyncio.create_task(self.link.run())
        return {"at_ns": at_ns}

    def _switch(self, on: bool) -> Answer:
        """The signal switch of the link."""
        assert self.link is not None
        self.link.switch(on)
        return {"at_ns": now_ns()}

    def _wanted(self) -> list[str]:
        scope = self.replica.state(f"device:{self._number}") or {}
        return list(dict.fromkeys([*self.documents, *(scope.get("documents") or [])]))

    async def _write_live(self, document: str, count: int, gap_ms: int) -> Answer:
        """Write one envelope every `gap_ms`; `stamps` say when each was durable here, by seq."""
        number, stamps = self._number, {}
        start = now_ns()
        for n in range(count):
            await asyncio.sleep(max(0.0, (start + n * gap_ms * 1_000_000 - now_ns()) / 1e9))
            self._scan(document, number)
            stamps[self._head(document, number)] = now_ns()
        return {"stamps": stamps}

    async def _until(self, is_so: Callable[[], bool]) -> int:
        async with asyncio.timeout(WAIT_SECONDS):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()
        return now_ns()

    @property
    def _number(self) -> int:
        number = self.replica.number
        assert number is not None
        return number

    def _head(self, document: str, device: int) -> int:
        return self.replica.state_vector(document).get(device, 0)

    def _acked(self, document: str) -> int:
        row = self.replica.conn.execute(
            "SELECT acked FROM writer WHERE document = ? AND device = ?", (document, self._number)
        ).fetchone()
        return 0 if row is None else int(row[0])

    def _is_folded(self, document: str) -> bool:
        return (
            self.replica.conn.execute("SELECT 1 FROM unfolded WHERE document = ? LIMIT 1", (document,)).fetchone()
            is None
        )

    def _states(self, kind: str) -> list[tuple[str, str, dict[str, Any]]]:
        return self.replica.states(kind)


def _at_ms(n: int) -> int:
    return 1_795_000_000_000 + n


async def _cannot_renumber() -> None:
    raise RuntimeError("a device of the measurement is never a copy")


async def _main(folder: Path) -> None:
    device = Device(folder)
    try:
        await answer_lines(device.do)
    finally:
        if device.running is not None:
            device.running.cancel()
            await asyncio.gather(device.running, return_exceptions=True)
        if device.door is not None:
            await device.door.close()
        device.replica.close()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
