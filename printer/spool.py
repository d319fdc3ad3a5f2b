"""Keep print jobs durably and decide, without any I/O, what each event does to one.

The problem: between "last byte sent" and "label seen" nobody can know whether paper came out. A spool that always retries
prints two waybills with one number; a spool that never retries leaves a garment without a label.

The method: a job is a row in the caller's own database, so it exists exactly when the pick it belongs to exists. Each step
is durable before the bytes it permits leave. The printer's command language says where paper can appear; a cut before
that point is harmless and the job is queued again. A cut after it is doubt, and doubt is resolved by kind of
paper: a bag label is printed again (two papers with one piece code are one piece; at-least-once, a few times), a waybill
waits for a person (at most once by itself). A warehouse scan of the code is evidence as well.

States: queued -> sending (body may leave) -> sent (commit may leave) -> printed (evidence). unknown: doubt, a person decides.
failed: cannot be printed as it is. `sent` with reason "delivered" is the end for printers that never answer, also when another is chosen.

Every function works on the connection it is given, inside the caller's transaction, and never commits.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, NewType, assert_never

from printer.errors import PrinterReason, SpoolError
from printer.label import Label, label_to_json

JobId = NewType("JobId", int)
PrinterName = Literal["label", "waybill"]

DOUBTFUL_ATTEMPTS_MAX: Final = 3
DELIVERED: Final = "delivered"
CODE_CHARS_MAX: Final = 64

_SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS print_job (
        id INTEGER PRIMARY KEY,
        printer TEXT NOT NULL CHECK (printer IN ('label', 'waybill')),
        code TEXT NOT NULL,
        kind TEXT NOT NULL,
        copy INTEGER NOT NULL CHECK (copy >= 1),
        label_json TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('queued', 'sending', 'sent', 'printed', 'unknown', 'failed')),
        reason TEXT,
        attempts INTEGER NOT NULL CHECK (attempts >= 0),
        created_ms INTEGER NOT NULL,
        changed_ms INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX IF NOT EXISTS print_job_by_state ON print_job (printer, state, id)",
    "CREATE INDEX IF NOT EXISTS print_job_by_code ON print_job (code)",
)


class JobState(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    PRINTED = "printed"
    UNKNOWN = "unknown"
    FAILED = "failed"


class JobEvent(StrEnum):
    """What can happen to a job."""

    START = "start"
    COMMIT = "commit"
    DELIVERED = "delivered"
    CONFIRMED = "confirmed"
    CUT = "cut"
    REFUSED = "refused"
    CAME_OUT = "came_out"
    DID_NOT_COME_OUT = "did_not_come_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPrintJob:
    """A label to print. `kind` is the caller's word ("piece", "return", "waybill"); copies count from 1."""

    printer: PrinterName
    code: str
    kind: str
    label: Label
    created_ms: int
    copy: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintJob:
    """A row of the spool."""

    id: JobId
    printer: PrinterName
    code: str
    kind: str
    copy: int
    label_json: str
    state: JobState
    reason: str | None
    attempts: int
    created_ms: int
    changed_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The state and reason a job goes to."""

    state: JobState
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a screen shows about one printer, or all: counts by meaning, and the newest trouble."""

    waiting: int
    unknown: int
    failed: int
    printed: int
    waiting_since_ms: int | None
    last_error: str | None
    last_error_ms: int | None


def step_job(
    job: PrintJob, event: JobEvent, *, prints_while_sending: bool, has_status: bool, reason: str | None = None
) -> Step:
    """Return where `event` brings `job`. Pure.

    `prints_while_sending` and `has_status` describe the printer; `reason` is the error code that came with a cut or a refusal.

    Raises:
        SpoolError: the event cannot happen in this state; that is our bug.
    """
    # Nothing takes the doubt about a paper away but its answer: a scan must find the label that may be out, also while the next is sent.
    doubt = job.reason if is_in_doubt(job) else None
    match job.state, event:
        case JobState.QUEUED, JobEvent.START:
            return Step(state=JobState.SENDING, reason=doubt)
        case JobState.QUEUED, JobEvent.CUT:
            return Step(state=JobState.QUEUED, reason=doubt or reason)
        case ((JobState.QUEUED | JobState.SENDING), JobEvent.REFUSED):
            return Step(state=JobState.FAILED, reason=reason)
        case JobState.SENDING, JobEvent.COMMIT:
            return Step(state=JobState.SENT, reason=doubt)
        case JobState.SENT, JobEvent.DELIVERED:
            return Step(state=JobState.SENT, reason=doubt if has_status else DELIVERED)
        case JobState.SENT, JobEvent.CONFIRMED:
            return Step(state=JobState.PRINTED)
        case JobState.SENDING, JobEvent.CUT:
            return _doubt(job) if prints_while_sending else Step(state=JobState.QUEUED, reason=doubt or reason)
        case JobState.SENT, JobEvent.CUT:
            return Step(state=JobState.SENT, reason=DELIVERED) if job.reason == DELIVERED else _doubt(job)
        case ((JobState.UNKNOWN | JobState.SENT | JobState.QUEUED | JobState.FAILED), JobEvent.CAME_OUT):
            return Step(state=JobState.PRINTED)
        case ((JobState.UNKNOWN | JobState.SENT), JobEvent.DID_NOT_COME_OUT):
            return Step(state=JobState.QUEUED)
        case _:
            raise SpoolError(f"job {job.id} is {job.state}, {event} cannot happen")


def is_in_doubt(job: PrintJob) -> bool:
    """True for a job that is sent again although its label may be out."""
    return job.reason == PrinterReason.MAYBE_PRINTED.code


def create_tables(conn: sqlite3.Connection) -> None:
    """Create the table and its indexes if they are not there."""
    for statement in _SCHEMA:
        conn.execute(statement)


def enqueue(conn: sqlite3.Connection, job: NewPrintJob) -> JobId:
    """Insert a queued job in the caller's transaction and return its id. Commits nothing.

    Raises:
        SpoolError: an empty or overlong code, or a copy below 1.
    """
    if not 1 <= len(job.code) <= CODE_CHARS_MAX or job.copy < 1:
        raise SpoolError(f"a job needs a code of 1 to {CODE_CHARS_MAX} characters and a copy from 1")
    cursor = conn.execute(
        "INSERT INTO print_job (printer, code, kind, copy, label_json, state, attempts, created_ms, changed_ms)"
        " VALUES (?, ?, ?, ?, ?, 'queued', 0, ?, ?)",
        (job.printer, job.code, job.kind, job.copy, label_to_json(job.label), job.created_ms, job.created_ms),
    )
    assert cursor.lastrowid is not None
    return JobId(cursor.lastrowid)


def read_job(conn: sqlite3.Connection, job_id: JobId) -> PrintJob:
    """Return a job. Raises SpoolError when there is none."""
    row = conn.execute(f"SELECT {_COLUMNS} FROM print_job WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise SpoolError(f"there is no print job {job_id}")
    return _job(row)


def list_jobs(conn: sqlite3.Connection, *, state: JobState | None = None, limit: int = 200) -> list[PrintJob]:
    """Return jobs, newest first, of one state or of all."""
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM print_job WHERE ? IS NULL OR state = ? ORDER BY id DESC LIMIT ?", (state, state, limit)
    )
    return [_job(row) for row in rows]


def next_job(conn: sqlite3.Connection, printer: PrinterName) -> PrintJob | None:
    """Return the oldest queued job of a printer."""
    row = conn.execute(
        f"SELECT {_COLUMNS} FROM print_job WHERE printer = ? AND state = 'queued' ORDER BY id LIMIT 1", (printer,)
    ).fetchone()
    return None if row is None else _job(row)


def record_step(conn: sqlite3.Connection, job: PrintJob, step: Step, now_ms: int) -> PrintJob:
    """Write a step and return the job as it is now; starting counts an attempt.

    Raises:
        SpoolError: the row is not in the state `job` says: somebody else moved it, or it was taken back and another label has its number.
    """
    is_start = job.state is JobState.QUEUED and step.state is JobState.SENDING
    changed = conn.execute(
        "UPDATE print_job SET state = ?, reason = ?, attempts = attempts + ?, changed_ms = ? WHERE id = ? AND code = ? AND state = ?",
        (step.state, step.reason, int(is_start), now_ms, job.id, job.code, job.state),
    ).rowcount
    if changed != 1:
        raise SpoolError(f"job {job.id} is no longer {job.state}")
    return read_job(conn, job.id)


def recover(conn: sqlite3.Connection, printer: PrinterName, *, prints_while_sending: bool, now_ms: int) -> int:
    """Settle what a killed process left in `sending` or `sent`; return how many rows changed. Call before printing."""
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM print_job WHERE printer = ? AND state IN ('sending', 'sent') ORDER BY id", (printer,)
    ).fetchall()
    count = 0
    for job in map(_job, rows):
        step = step_job(job, JobEvent.CUT, prints_while_sending=prints_while_sending, has_status=True)
        if (step.state, step.reason) != (job.state, job.reason):
            record_step(conn, job, step, now_ms)
            count += 1
    return count


def resolve_unknown(conn: sqlite3.Connection, job_id: JobId, came_out: bool, *, now_ms: int) -> PrintJob:
    """Record a person's answer to "did it come out?"; no queues it again with fresh attempts.

    Raises:
        SpoolError: there is no such job, or nobody asked about it.
    """
    job = read_job(conn, job_id)
    if job.state not in (JobState.UNKNOWN, JobState.SENT):
        raise SpoolError(f"job {job_id} is {job.state}: nothing to answer")
    event = JobEvent.CAME_OUT if came_out else JobEvent.DID_NOT_COME_OUT
    step = step_job(job, event, prints_while_sending=False, has_status=True)
    moved = record_step(conn, job, step, now_ms)
    if not came_out:
        conn.execute("UPDATE print_job SET attempts = 0 WHERE id = ?", (job_id,))
    return moved


def confirm_scanned(conn: sqlite3.Connection, code: str, *, now_ms: int) -> int:
    """Settle jobs in doubt about a code that has been scanned: the paper exists. Return how many."""
    return conn.execute(
        "UPDATE print_job SET state = 'printed', reason = NULL, changed_ms = ?"
        " WHERE code = ? AND (state IN ('sent', 'unknown') OR reason = ?)",
        (now_ms, code, PrinterReason.MAYBE_PRINTED.code),
    ).rowcount


def forget_code(conn: sqlite3.Connection, code: str) -> None:
    """Delete all jobs of a code that means nothing any more: none of them is printed, nor asked about, from now on."""
    conn.execute("DELETE FROM print_job WHERE code = ?", (code,))


def reprint(conn: sqlite3.Connection, job_id: JobId, *, now_ms: int) -> JobId:
    """Queue one more paper of a job, with the next copy number, and return the new job's id.

    Raises:
        SpoolError: there is no such job, or its code still waits to be printed.
    """
    job = read_job(conn, job_id)
    copies, waiting = conn.execute(
        "SELECT max(copy), count(*) FILTER (WHERE state IN ('queued', 'sending'))"
        " FROM print_job WHERE code = ? AND kind = ? AND printer = ?",
        (job.code, job.kind, job.printer),
    ).fetchone()
    if waiting:
        raise SpoolError(f"{job.code} is waiting to be printed already")
    cursor = conn.execute(
        "INSERT INTO print_job (printer, code, kind, copy, label_json, state, attempts, created_ms, changed_ms)"
        " VALUES (?, ?, ?, ?, ?, 'queued', 0, ?, ?)",
        (job.printer, job.code, job.kind, copies + 1, job.label_json, now_ms, now_ms),
    )
    assert cursor.lastrowid is not None
    return JobId(cursor.lastrowid)


def summary(conn: sqlite3.Connection, printer: PrinterName | None = None) -> Summary:
    """Return what waits and what went wrong, for one printer or all."""
    where, values = ("WHERE printer = ?", (printer,)) if printer else ("", ())
    waiting, unknown, failed, printed, since_ms = conn.execute(
        "SELECT count(*) FILTER (WHERE state IN ('queued', 'sending')), count(*) FILTER (WHERE state = 'unknown'),"
        " count(*) FILTER (WHERE state = 'failed'), count(*) FILTER (WHERE state IN ('printed', 'sent')),"
        f" min(created_ms) FILTER (WHERE state IN ('queued', 'sending')) FROM print_job {where}",
        values,
    ).fetchone()
    trouble = conn.execute(
        f"SELECT reason, changed_ms FROM print_job {where + ' AND' if where else 'WHERE'} reason LIKE 'printer.%'"
        " AND state IN ('queued', 'unknown', 'failed') ORDER BY changed_ms DESC, id LIMIT 1",
        values,
    ).fetchone()
    return Summary(
        waiting=waiting,
        unknown=unknown,
        failed=failed,
        printed=printed,
        waiting_since_ms=since_ms,
        last_error=trouble[0] if trouble else None,
        last_error_ms=trouble[1] if trouble else None,
    )


_COLUMNS: Final = "id, printer, code, kind, copy, label_json, state, reason, attempts, created_ms, changed_ms"


def _job(row: tuple[object, ...]) -> PrintJob:
    job_id, printer, code, kind, copy, label_json, state, reason, attempts, created_ms, changed_ms = tuple(row)
    assert isinstance(job_id, int)
    assert isinstance(copy, int)
    assert isinstance(attempts, int)
    assert isinstance(created_ms, int)
    assert isinstance(changed_ms, int)
    return PrintJob(
        id=JobId(job_id),
        printer="waybill" if printer == "waybill" else "label",
        code=str(code),
        kind=str(kind),
        copy=copy,
        label_json=str(label_json),
        state=JobState(str(state)),
        reason=None if reason is None else str(reason),
        attempts=attempts,
        created_ms=created_ms,
        changed_ms=changed_ms,
    )


def _doubt(job: PrintJob) -> Step:
    """Paper may have come out: a label is printed again a few times, a waybill asks a person."""
    maybe = PrinterReason.MAYBE_PRINTED.code
    match job.printer:
        case "waybill":
            return Step(state=JobState.UNKNOWN, reason=maybe)
        case "label":
            is_spent = job.attempts >= DOUBTFUL_ATTEMPTS_MAX
            return Step(state=JobState.UNKNOWN if is_spent else JobState.QUEUED, reason=maybe)
        case never:
            assert_never(never)
