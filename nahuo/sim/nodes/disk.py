"""A device's disk: the real replica's file, whose battery may fall out at each transaction, which may be full, and may fail to write.

Full is SQLite's own: the file may not grow (`max_page_count`), so statements fail where they would on a full disk. A failing write
is an error raised in place of the commit: nothing of the transaction is there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from nahuo.sim.world import MINUTE_MS, PowerCut, World
from sync_core.fold import Trade
from sync_core.replica import Replica

_NO_LIMIT: Final = 1_073_741_823


class Owner(Protocol):
    """Whose disk it is."""

    name: str

    def crash(self) -> None:
        """The process dies of what it cannot handle."""


class SimDisk:
    """What can happen to a file; `replica` is the one that is open on it."""

    def __init__(self, world: World, owner: Owner) -> None:
        self._world = world
        self._owner = owner
        self.replica: SimReplica | None = None
        self.is_full = False
        self.safe = False
        """True while the world's own hand is at work, which no fault may hit."""

    def begin(self) -> None:
        """A transaction begins: now and then the disk is found full."""
        if not self.is_full and not self.safe and self._world.chance(self._world.faults.disk_full):
            self._world.sometimes("disk_full_device")
            self.is_full = True
            self._limit(1)
            self._world.later(
                self._world.random.randrange(MINUTE_MS, 40 * MINUTE_MS), f"{self._owner.name} frees", self.free
            )

    def end(self, where: str) -> None:
        """A transaction is about to commit ("inside") or has ("after"); the battery may fall out, the write may fail.

        Raises:
            PowerCut: it fell out.
            sqlite3.OperationalError: the write failed.
        """
        if self.safe:
            return
        faults = self._world.faults
        if self._world.chance(faults.device_cut_inside if where == "inside" else faults.device_cut_after):
            self._world.sometimes(f"crash_device_{where}")
            raise PowerCut
        if where == "inside" and self._world.chance(faults.disk_error):
            self._world.sometimes("disk_error_device")
            raise sqlite3.OperationalError("disk I/O error")

    def free(self) -> None:
        """There is room again."""
        self.is_full = False
        self._limit(_NO_LIMIT)

    def seen_full(self) -> None:
        """The background work met the full disk: it tries again later."""
        self._world.sometimes("background_met_full_disk")

    def seen_error(self, error: sqlite3.OperationalError) -> None:
        """A write failed: the process ends, as any exception that nobody expects ends it.

        Raises:
            sqlite3.OperationalError: it is not one of ours.
        """
        if "disk I/O error" not in str(error):
            raise error
        self._owner.crash()

    def close(self) -> None:
        """Close the file without another write that could fail."""
        if self.replica is not None:
            replica, self.replica = self.replica, None
            replica.close()

    def _limit(self, pages: int) -> None:
        if self.replica is not None:
            self.replica.conn.execute(f"PRAGMA max_page_count = {pages}")


class SimReplica(Replica):
    """The real replica on a disk that fails."""

    disk: SimDisk | None = None

    @classmethod
    def open_on(cls, disk: SimDisk, path: Path, trade: Trade) -> SimReplica:
        """Open the replica of `path`; a crash may come at each of its own transactions.

        Raises:
            PowerCut: the battery fell out while it opened.
        """
        cls.disk = disk
        try:
            opened = cls.open(path, trade, synchronous="OFF")
        except BaseException:
            disk.close()
            raise
        finally:
            cls.disk = None
        assert isinstance(opened, SimReplica)
        opened.disk = disk
        return opened

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Open the real transaction; only the outermost has points to die at."""
        disk = self.disk
        if self._depth or disk is None:
            with super().transaction() as conn:
                yield conn
            return
        if disk.replica is not self:
            disk.replica = self
            if disk.is_full:
                disk.free()
        disk.begin()
        with super().transaction() as conn:
            yield conn
            disk.end("inside")
        disk.end("after")
