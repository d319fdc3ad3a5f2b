"""A spool on a real SQLite file, its transactions, and a printer that records, for the spool's tests."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from printer.default_templates import WAYBILL
from printer.spool import JobId, JobState, NewPrintJob, PrinterName, create_tables, enqueue, read_job
from printer.spooler import SpoolerTimes
from printer.template import render_template
from tests.unit.printer.samples import WAYBILL_FIELDS, piece_label, waybill_label

QUICK = SpoolerTimes(
    retry_ms_min=5,
    retry_ms_max=20,
    hands_poll_ms=10,
    answer_ms=500,
    answers_tried=2,
    print_ms_max=2_000,
    printing_poll_ms=5,
)
DEADLINE_S = 20.0


@dataclass(slots=True)
class SpoolBench:
    """A database file with a spool in it, and a clock that counts its readings."""

    path: Path
    conn: sqlite3.Connection = field(init=False)
    clock_ms: int = 1_000

    def __post_init__(self) -> None:
        self.conn = sqlite3.connect(self.path, isolation_level=None)
        self.conn.execute("PRAGMA journal_mode=WAL")
        with self.transaction() as conn:
            create_tables(conn)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        self.conn.execute("BEGIN IMMEDIATE")
        try:
            yield self.conn
        except BaseException:
            self.conn.execute("ROLLBACK")
            raise
        self.conn.execute("COMMIT")

    def now_ms(self) -> int:
        self.clock_ms += 1
        return self.clock_ms

    def add(self, code: str = "000010000017", *, printer: PrinterName = "label") -> JobId:
        label = piece_label(code) if printer == "label" else waybill_label()
        kind = "piece" if printer == "label" else "waybill"
        with self.transaction() as conn:
            return enqueue(
                conn, NewPrintJob(printer=printer, code=code, kind=kind, label=label, created_ms=self.now_ms())
            )

    def add_order(self, order: str) -> JobId:
        """Queue a waybill of its own order number."""
        label = render_template(WAYBILL, WAYBILL_FIELDS | {"order": order})
        with self.transaction() as conn:
            return enqueue(
                conn, NewPrintJob(printer="waybill", code=order, kind="waybill", label=label, created_ms=self.now_ms())
            )

    def state(self, job_id: JobId) -> JobState:
        return read_job(self.conn, job_id).state

    async def wait_for(self, is_true: Callable[[], bool]) -> None:
        """Return when a condition holds, looked at whenever the loop turns; fails at the deadline."""
        async with asyncio.timeout(DEADLINE_S):
            while not is_true():  # noqa: ASYNC110 - the condition lives in SQLite, which sends no event
                await asyncio.sleep(0.005)

    def close(self) -> None:
        self.conn.close()
