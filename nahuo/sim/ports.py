"""What stands behind a simulated device's ports: a clock that may be wrong, a link to the simulated network, paper in the world.

The print queue is a table of the replica's own file, written in the action's transaction like the real one; the paper is the world's and
outlives every crash.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from clients.runtime.ports import LinkState, PrintJob, PrintState
from nahuo.sim.world import PowerCut, World
from server.receivers import open_receiver
from sync_core.errors import RetryableError
from sync_core.facts import Json
from sync_core.replica import Replica

_QUEUE: Final = (
    "CREATE TABLE IF NOT EXISTS sim_print_job (id INTEGER PRIMARY KEY, printer TEXT NOT NULL, template TEXT NOT NULL,"
    " subject TEXT NOT NULL, copy_no INTEGER NOT NULL, fields TEXT NOT NULL, at_ms INTEGER NOT NULL,"
    " printed INTEGER NOT NULL DEFAULT 0) STRICT"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """A label or waybill that came out of a printer. It exists whatever any program remembers."""

    printer: str
    subject: str
    copy_no: int
    fields: Mapping[str, str]
    device: str


class SimClock:
    """A device's clocks: the wall's is off by `skew_ms`, the steady one starts anew with each boot."""

    def __init__(self, world: World, skew_ms: int) -> None:
        self._world = world
        self._skew_ms = skew_ms
        self._boots = 1
        self._booted_ms = -world.random.randrange(1, 10**9)

    def wall_ms(self) -> int:
        """Now, as the device believes."""
        return self._world.wall_ms + self._skew_ms

    def steady_ms(self) -> int:
        """Milliseconds since the boot."""
        return self._world.now_ms - self._booted_ms

    def boot(self) -> str:
        """Name the run of the steady clock."""
        return f"boot-{self._boots}"

    def reboot(self) -> None:
        """The battery was out: the steady clock begins again."""
        self._boots += 1
        self._booted_ms = self._world.now_ms


class SimReplica(Replica):
    """The real replica, whose device may die at each transaction."""

    power: Callable[[str], None] | None = None
    """Called with "inside" before a commit and "after" behind it; raises PowerCut when the battery falls out."""

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Open the real transaction; only the outermost has points to die at."""
        if self._depth or self.power is None:
            with super().transaction() as conn:
                yield conn
            return
        with super().transaction() as conn:
            yield conn
            self.power("inside")
        self.power("after")


class SimLink:
    """The link port: the signal switch, and a bell for the device."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self.enabled = True

    def state(self) -> LinkState:
        """Return what the state bar shows."""
        return LinkState(status="live" if self.enabled else "offline", since_ms=None, last_ack_ms=None)

    def notify(self) -> None:
        """Say that the replica holds something new to send."""
        self._ring()

    async def run(self) -> None:
        """Nothing: the world drives the link."""


class SimPrinters:
    """The printers port over a table of the replica; `print_next` is the printer itself."""

    def __init__(
        self, world: World, replica: Replica, device: str, papers: list[Paper], ring: Callable[[], None]
    ) -> None:
        self._world = world
        self._replica = replica
        self._device = device
        self._papers = papers
        self._ring = ring
        with replica.transaction() as conn:
            conn.execute(_QUEUE)

    def enqueue(
        self,
        conn: sqlite3.Connection,
        *,
        printer: str,
        template: str,
        fields: Mapping[str, str],
        subject: str,
        copy_no: int,
        at_ms: int,
    ) -> str:
        """Queue a label inside the caller's transaction and return the job's id."""
        job = conn.execute(
            "INSERT INTO sim_print_job (printer, template, subject, copy_no, fields, at_ms) VALUES (?, ?, ?, ?, ?, ?)",
            (printer, template, subject, copy_no, json.dumps(dict(fields), sort_keys=True), at_ms),
        ).lastrowid
        return str(job)

    def cancel(self, conn: sqlite3.Connection, *, subject: str) -> int:
        """Take labels of `subject` that are not printed out of the queue."""
        return conn.execute("DELETE FROM sim_print_job WHERE subject = ? AND printed = 0", (subject,)).rowcount

    def confirm_scanned(self, conn: sqlite3.Connection, *, subject: str, at_ms: int) -> None:
        """A scanned code proves that its paper came out."""

    def address(self, printer: str) -> tuple[str, str]:
        """Return (address, language) of a printer."""
        return f"sim:{printer}", "tspl"

    def jobs(self, *, limit: int = 50) -> Sequence[PrintJob]:  # noqa: ARG002
        """Return nothing: no person looks at the queue here."""
        return []

    def states(self) -> Sequence[PrintState]:
        """Return nothing: the printers are well."""
        return []

    def answer_unknown(self, job: str, *, came_out: bool) -> None:
        """Never asked here."""

    def retry(self, job: str) -> None:
        """Never asked here."""

    def choose(self, printer: str, address: str, language: str) -> None:
        """Never asked here."""

    def notify(self) -> None:
        """Say that the queue holds something new."""
        self._ring()

    async def run(self) -> None:
        """Nothing: the world drives the printer."""

    def waiting(self) -> bool:
        """True while a label is to be printed."""
        row = self._replica.conn.execute("SELECT 1 FROM sim_print_job WHERE printed = 0 LIMIT 1").fetchone()
        return row is not None

    def print_next(self) -> Paper | None:
        """Let the oldest label come out. The paper is there before the queue knows it: a crash between prints it twice."""
        row = self._replica.conn.execute(
            "SELECT id, printer, subject, copy_no, fields FROM sim_print_job WHERE printed = 0 ORDER BY id LIMIT 1"
        ).fetchone()
        if row is None:
            return None
        paper = Paper(printer=row[1], subject=row[2], copy_no=row[3], fields=json.loads(row[4]), device=self._device)
        self._papers.append(paper)
        if self._world.chance(self._world.faults.printer_lost):
            self._world.sometimes("crash_after_paper")
            raise PowerCut
        with self._replica.transaction() as conn:
            conn.execute("UPDATE sim_print_job SET printed = 1 WHERE id = ?", (row[0],))
        return paper


class SimUnsealer:
    """Opens a parcel's receiver with the server's own function."""

    def unseal(self, sealed: str, key: bytes) -> Mapping[str, Json] | None:
        """Return {name, phone, address}, or None when the key does not fit."""
        try:
            receiver = open_receiver(key, sealed)
        except Exception:  # noqa: BLE001 - InvalidTag and whatever a damaged seal raises: it does not open
            return None
        return {"name": receiver.name, "phone": receiver.phone, "address": receiver.address}


class SimDoor:
    """The server's few questions, asked only while there is a signal. Coroutines that never wait: `ask` runs them to their end."""

    def __init__(self, reach: Callable[[], Any], keys: Callable[[Sequence[str]], Mapping[str, str]]) -> None:
        self._reach = reach
        self._keys = keys

    async def enrol(self, body: Mapping[str, Json]) -> Mapping[str, Json]:  # noqa: ARG002
        """Never asked here: devices are enrolled before the day begins."""
        raise RetryableError("no enrolment during the day")

    async def renumber(self, body: Mapping[str, Json]) -> Mapping[str, Json]:  # noqa: ARG002
        """Never asked here."""
        raise RetryableError("no renumbering during the day")

    async def parcel_keys(self, parcels: Sequence[str]) -> Mapping[str, str]:
        """Return {parcel: hex key}.

        Raises:
            RetryableError: no signal, or the server is down.
        """
        self._reach()
        return self._keys(parcels)


def ask(coroutine: Any) -> Any:
    """Run a coroutine that never waits to its end, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise RuntimeError("a simulated port waited")
