"""A real server for one measurement: `nahuo init`, `nahuo server` in a process of its own, set up over its own pages.

Folder and server live for one `with`; every measurement gets fresh ones, so none inherits another's backlog.
"""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.players import Player
from nahuo.demo.hands import Desk
from nahuo.demo.processes import Actor
from nahuo.founding import init_folder
from nahuo.reading_token import make_reading_token

ADMIN, PASSWORD = "admin", "bench-admin-password"
PERSON = "cang"


class Scene:
    """The server, its administrator's desk and the players of a measurement."""

    def __init__(self, folder: Path, *, founded: Callable[[Path], None] = lambda _: None) -> None:
        """`founded` does something to the server's new folder before it is served."""
        self.folder = folder
        self._founded = founded
        self.data = folder / "server"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.desk = Desk(self.url, name=ADMIN, password=PASSWORD)
        arguments = ["server", "--data", str(self.data), "--port", str(self.port)]
        self._server = Actor(name="server", arguments=arguments, log=folder / "logs" / "server.log")
        self._players: list[Player] = []

    def __enter__(self) -> Self:
        init_folder(self.data, admin=ADMIN, password=PASSWORD, zone="Asia/Shanghai", database=None)
        self._founded(self.data)
        self._server.start()
        try:
            self._server.wait()
            self.desk.sign_in()
            self.desk.need("/platform/people", id=PERSON, name="仓叔", pin="3333")
        except BaseException:
            self._server.stop()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        for player in self._players:
            player.end()
        self.desk.close()
        self._server.stop()

    def player(self, module: str, *arguments: str) -> Player:
        """Start a process that ends with this scene."""
        name = f"{module}-{len(self._players)}"
        player = Player(module, *arguments, log=self.folder / "logs" / f"{name}.log")
        self._players.append(player)
        return player

    def code(self, role: str, *, person: str = PERSON) -> str:
        """A one-time code for a device."""
        made = self.desk.need("/platform/devices/codes", role=role, name=role, people=[person], warehouse="main")
        return str(made["code"])

    def device(self, role: str = "warehouse", *, url: str | None = None) -> tuple[Player, int]:
        """Start a device and enrol it; `url` is a detour to the server."""
        folder = self.folder / f"device-{len(self._players)}"
        folder.mkdir(parents=True)
        player = self.player("device", str(folder))
        return player, int(player.ask("enrol", url=url or self.url, code=self.code(role))["number"])

    def reading_token(self, document: str) -> str:
        """A token that reads one document."""
        import time

        return make_reading_token(self.data, [document], hours=1, now_ms=time.time_ns() // 1_000_000)

    def memory_mib(self) -> float:
        """Resident memory of the server's process."""
        assert self._server.process is not None
        status = Path(f"/proc/{self._server.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """A reader's connection to the server's database."""
        conn = sqlite3.connect(f"file:{self.data / 'nahuo.db'}?mode=ro", uri=True)
        try:
            yield conn
        finally:
            conn.close()

    def count(self, sql: str, *values: Any) -> int:
        """One number of the server's database."""
        with self.database() as conn:
            row = conn.execute(sql, values).fetchone()
        return int(row[0] or 0)
