"""Printers of the simulation: the queue is a table of the replica's own file, written in the action's transaction like the real one.

The paper is the world's and outlives every crash. A printer prints and its word is lost, prints twice, runs out of paper, tears a label in
the middle, or a colleague's printer takes the job: whatever comes out, the code on it is one piece.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from clients.runtime.ports import PrintJob, PrintState
from clients.runtime.printing import DONE_KEPT_MS
from nahuo.sim.world import MINUTE_MS, PowerCut, World
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
    whole: bool = True
    """False for half a label: no scanner reads it."""


class SimPrinters:
    """The printers port over a table of the replica; `print_next` is the printer itself."""

    def __init__(
        self,
        world: World,
        replica: Replica,
        device: str,
        papers: list[Paper],
        elsewhere: list[Paper],
        ring: Callable[[], None],
    ) -> None:
        self._world = world
        self._replica = replica
        self._device = device
        self._papers = papers
        self._elsewhere = elsewhere
        self._ring = ring
        self._no_paper_until_ms = 0
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

    def cancel(self, conn: sqlite3.Connection, *, subject: str) -> None:
        """Take labels of `subject` that are not printed out of the queue."""
        conn.execute("DELETE FROM sim_print_job WHERE subject = ? AND printed = 0", (subject,))

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
        world, faults = self._world, self._world.faults
        if world.now_ms < self._no_paper_until_ms:
            return None
        if world.chance(faults.paper_out):
            world.sometimes("paper_out")
            self._no_paper_until_ms = world.now_ms + world.random.randrange(MINUTE_MS, 60 * MINUTE_MS)
            return None
        torn = world.chance(faults.label_torn)
        paper = Paper(
            printer=row[1],
            subject=row[2],
            copy_no=row[3],
            fields=json.loads(row[4]),
            device=self._device,
            whole=not torn,
        )
        if torn:
            # He tears it off and lets it print again: the job is still the first of the queue.
            world.sometimes("label_torn")
            self._papers.append(paper)
            return None
        if world.chance(faults.wrong_printer):
            world.sometimes("wrong_printer")
            self._elsewhere.append(paper)
        else:
            self._papers.append(paper)
            if world.chance(faults.printer_twice):
                world.sometimes("printed_twice")
                self._papers.append(paper)
        if world.chance(faults.printer_lost):
            world.sometimes("crash_after_paper")
            raise PowerCut
        with self._replica.transaction() as conn:
            conn.execute("UPDATE sim_print_job SET printed = 1 WHERE id = ?", (row[0],))
            kept_ms = self._world.wall_ms - DONE_KEPT_MS
            conn.execute("DELETE FROM sim_print_job WHERE printed = 1 AND at_ms < ?", (kept_ms,))
        return paper
