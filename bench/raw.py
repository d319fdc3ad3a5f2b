"""What this machine and stack can do at all: raw `websockets` and raw SQLite, with none of our work between. `python -m bench.raw DIR`.

The server commits 400-byte rows of a message in one transaction (WAL, synchronous=FULL) before it answers, or fans a message out. Our
figures are shown as multiples of these.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

from bench.figures import percentile
from bench.players import Answer, Player, answer_lines

ROW_BYTES = 400
ROWS_AT_ONCE = 600
MESSAGE_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """The limits measured beside our figures."""

    echo_per_s: float
    commit_seconds: float
    """10,000 rows in messages of 600: sent, committed with fsync, answered; the next only after the answer of eight before."""
    commit_per_s: float
    """One message and one commit a row, eight under way."""
    fan_p50_ms: float
    fan_p99_ms: float
    herd_seconds: float
    """So many sockets opened, a message of 20 rows committed for each and answered."""


def measure_raw(folder: Path, *, rows: int, readers: int, seconds: float, herd: int) -> Raw:
    """Measure the limits; the server is another process, as ours is."""
    folder.mkdir(parents=True, exist_ok=True)
    player = Player("raw", str(folder), log=folder / "raw.log")
    try:
        port = int(player.ask("serve")["port"])
        return asyncio.run(_measure(f"ws://127.0.0.1:{port}", rows=rows, readers=readers, seconds=seconds, herd=herd))
    finally:
        player.end()


async def _measure(url: str, *, rows: int, readers: int, seconds: float, herd: int) -> Raw:
    async with _open(url + "/echo") as socket:
        count = min(rows, 3_000)
        echo = count / await _pipeline(socket, [b"x" * ROW_BYTES] * count)
    async with _open(url + "/commit") as socket:
        full, rest = divmod(rows, ROWS_AT_ONCE)
        messages = [b"x" * ROW_BYTES * ROWS_AT_ONCE] * full + ([b"x" * ROW_BYTES * rest] if rest else [])
        commit_seconds = await _pipeline(socket, messages)
        count = min(rows, 1_000)
        commit_per_s = count / await _pipeline(socket, [b"x" * ROW_BYTES] * count)
    times = await _fan_out(url + "/fan", readers, seconds)
    herd_seconds = await _herd(url + "/commit", herd)
    return Raw(
        echo_per_s=echo,
        commit_seconds=commit_seconds,
        commit_per_s=commit_per_s,
        fan_p50_ms=percentile(times, 0.5),
        fan_p99_ms=percentile(times, 0.99),
        herd_seconds=herd_seconds,
    )


async def _pipeline(socket: ClientConnection, messages: list[bytes]) -> float:
    """Seconds until all are answered, eight under way at most."""
    room = asyncio.Semaphore(8)

    async def hear() -> None:
        for _ in messages:
            await socket.recv()
            room.release()

    start = time.perf_counter()
    hearing = asyncio.create_task(hear())
    for message in messages:
        await room.acquire()
        await socket.send(message)
    await hearing
    return time.perf_counter() - start


async def _herd(url: str, sockets: int) -> float:
    """Seconds until all have opened, said 20 rows and been answered; so many open at a time as the listener's queue holds."""
    opening = asyncio.Semaphore(64)

    async def deliver() -> None:
        async with opening, _open(url) as socket:
            await socket.send(b"x" * ROW_BYTES * 20)
            await socket.recv()

    start = time.perf_counter()
    await asyncio.gather(*(deliver() for _ in range(sockets)))
    return time.perf_counter() - start


async def _fan_out(url: str, readers: int, seconds: float) -> list[float]:
    times: list[float] = []
    count = int(seconds * 50)

    async def read(socket: ClientConnection) -> None:
        for _ in range(count):
            message = await socket.recv(decode=False)
            times.append((time.monotonic_ns() - int(message[:20])) / 1e6)

    sockets = [await connect(url, compression=None, proxy=None, ping_interval=None) for _ in range(readers)]
    reading = [asyncio.create_task(read(socket)) for socket in sockets]
    async with _open(url) as writer:
        for _ in range(count):
            await writer.send(b"%020d" % time.monotonic_ns() + b"x" * (ROW_BYTES - 20))
            await asyncio.sleep(0.02)
        async with asyncio.timeout(20):
            await asyncio.gather(*reading)
    await asyncio.gather(*(socket.close() for socket in sockets))
    return times


@asynccontextmanager
async def _open(url: str) -> AsyncIterator[ClientConnection]:
    async with connect(url, compression=None, proxy=None, ping_interval=None, max_size=MESSAGE_BYTES_MAX) as socket:
        yield socket


class _Server:
    """The other end."""

    def __init__(self, folder: Path) -> None:
        self._conn = sqlite3.connect(folder / "limits.db", isolation_level=None)
        self._conn.execute("PRAGMA journal_mode = WAL")
        self._conn.execute("PRAGMA synchronous = FULL")
        self._conn.execute("CREATE TABLE log (n INTEGER PRIMARY KEY, stored BLOB)")
        self._fan: set[ServerConnection] = set()

    async def do(self, _do: str, _said: Answer) -> Answer:
        server = await serve(
            self._serve, "127.0.0.1", 0, compression=None, ping_interval=None, max_size=MESSAGE_BYTES_MAX
        )
        return {"port": next(iter(server.sockets)).getsockname()[1]}

    async def _serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        path = socket.request.path
        if path == "/fan":
            self._fan.add(socket)
        async for message in socket:
            assert isinstance(message, bytes)
            match path:
                case "/echo":
                    await socket.send(message)
                case "/commit":
                    self._commit(message)
                    await socket.send(b"\x01")
                case _:
                    self._commit(message)
                    for other in self._fan - {socket}:
                        await other.send(message)
        self._fan.discard(socket)

    def _commit(self, message: bytes) -> None:
        rows = [(message[at : at + ROW_BYTES],) for at in range(0, len(message), ROW_BYTES)]
        self._conn.execute("BEGIN IMMEDIATE")
        self._conn.executemany("INSERT INTO log (stored) VALUES (?)", rows)
        self._conn.execute("COMMIT")


if __name__ == "__main__":
    asyncio.run(answer_lines(_Server(Path(sys.argv[1])).do))
