"""The spool's rules as a table, its crash points, and its worker against a scripted printer."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from printer.errors import DeviceError, PrinterReason, SpoolError
from printer.profiles import ESCPOS_RECEIPT_58, ESCPOS_RECEIPT_80, TSPL_LABEL_58, TSPL_WAYBILL_100, PrinterProfile
from printer.spool import (
    DELIVERED,
    DOUBTFUL_ATTEMPTS_MAX,
    JobEvent,
    JobId,
    JobState,
    NewPrintJob,
    PrinterName,
    PrintJob,
    confirm_scanned,
    create_tables,
    enqueue,
    list_jobs,
    next_job,
    read_job,
    record_step,
    recover,
    reprint,
    resolve_unknown,
    step_job,
    summary,
)
from printer.spooler import Spooler
from tests.unit.printer.samples import piece_label, waybill_label
from tests.unit.printer.spool_bench import QUICK, SpoolBench

MAYBE = PrinterReason.MAYBE_PRINTED.code
LINK_LOST = PrinterReason.LINK_LOST.code


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[SpoolBench]:
    spool = SpoolBench(tmp_path / "spool.db")
    yield spool
    spool.close()


def job_in(
    state: JobState, *, printer: PrinterName = "label", reason: str | None = None, attempts: int = 1
) -> PrintJob:
    return PrintJob(
        id=JobId(1),
        printer=printer,
        code="1",
        kind="piece",
        copy=1,
        label_json="",
        state=state,
        reason=reason,
        attempts=attempts,
        created_ms=1,
        changed_ms=1,
    )


Q, G, S, P, U, F = (
    JobState.QUEUED,
    JobState.SENDING,
    JobState.SENT,
    JobState.PRINTED,
    JobState.UNKNOWN,
    JobState.FAILED,
)


@pytest.mark.parametrize(
    ("printer", "state", "was", "attempts", "event", "streams", "has_status", "then", "reason"),
    [
        # The good way.
        ("label", Q, None, 0, JobEvent.START, False, True, G, None),
        ("label", G, None, 1, JobEvent.COMMIT, False, True, S, None),
        ("label", S, None, 1, JobEvent.DELIVERED, False, True, S, None),
        ("label", S, None, 1, JobEvent.CONFIRMED, False, True, P, None),
        # A cut before paper can appear is harmless, for labels and waybills, however often.
        ("label", G, None, 9, JobEvent.CUT, False, True, Q, LINK_LOST),
        ("waybill", G, None, 9, JobEvent.CUT, False, True, Q, LINK_LOST),
        # ESC/POS prints as bytes arrive: the same cut is doubt.
        ("label", G, None, 1, JobEvent.CUT, True, True, Q, MAYBE),
        ("waybill", G, None, 1, JobEvent.CUT, True, True, U, MAYBE),
        # After the commit everything is doubt: labels again, a few times, waybills never by themselves.
        ("label", S, None, 1, JobEvent.CUT, False, True, Q, MAYBE),
        ("label", S, None, DOUBTFUL_ATTEMPTS_MAX, JobEvent.CUT, False, True, U, MAYBE),
        ("waybill", S, None, 1, JobEvent.CUT, False, True, U, MAYBE),
        # A second paper keeps the doubt about the first for as long as its own end is open.
        ("label", Q, MAYBE, 1, JobEvent.START, True, True, G, MAYBE),
        ("label", G, MAYBE, 2, JobEvent.COMMIT, True, True, S, MAYBE),
        ("label", S, MAYBE, 2, JobEvent.DELIVERED, True, True, S, MAYBE),
        ("label", S, MAYBE, 2, JobEvent.CONFIRMED, True, True, P, None),
        # A printer that never answers: delivered is all there will ever be, also when another one is asked later.
        ("label", S, MAYBE, 2, JobEvent.DELIVERED, False, False, S, DELIVERED),
        ("waybill", S, DELIVERED, 1, JobEvent.CUT, False, False, S, DELIVERED),
        ("waybill", S, DELIVERED, 1, JobEvent.CUT, False, True, S, DELIVERED),
        ("waybill", S, None, 1, JobEvent.CUT, False, False, U, MAYBE),
        # People.
        ("waybill", U, MAYBE, 1, JobEvent.CAME_OUT, False, True, P, None),
        ("waybill", U, MAYBE, 1, JobEvent.DID_NOT_COME_OUT, False, True, Q, None),
        ("label", S, DELIVERED, 1, JobEvent.DID_NOT_COME_OUT, False, False, Q, None),
        ("label", Q, None, 1, JobEvent.REFUSED, False, True, F, LINK_LOST),
    ],
)
def test_step_table(
    printer: PrinterName,
    state: JobState,
    was: str | None,
    attempts: int,
    event: JobEvent,
    streams: bool,
    has_status: bool,
    then: JobState,
    reason: str | None,
) -> None:
    job = job_in(state, printer=printer, reason=was, attempts=attempts)
    step = step_job(job, event, prints_while_sending=streams, has_status=has_status, reason=LINK_LOST)
    assert (step.state, step.reason) == (then, reason)


@pytest.mark.parametrize("state", [P, F])
@pytest.mark.parametrize(
    "event", [JobEvent.START, JobEvent.COMMIT, JobEvent.DELIVERED, JobEvent.CONFIRMED, JobEvent.CUT]
)
def test_an_ended_job_never_prints_again(state: JobState, event: JobEvent) -> None:
    with pytest.raises(SpoolError):
        step_job(job_in(state), event, prints_while_sending=False, has_status=True)


def test_a_waybill_is_never_queued_again_by_itself_once_paper_was_possible() -> None:
    for reason in (None, DELIVERED):
        for has_status in (True, False):
            for streams in (True, False):
                step = step_job(
                    job_in(S, printer="waybill", reason=reason),
                    JobEvent.CUT,
                    prints_while_sending=streams,
                    has_status=has_status,
                )
                assert step.state is not Q


def test_a_job_exists_exactly_when_the_pick_does(bench: SpoolBench) -> None:
    with contextlib.suppress(ZeroDivisionError):
        with bench.transaction() as conn:
            enqueue(conn, NewPrintJob(printer="label", code="1", kind="piece", label=piece_label(), created_ms=1))
            raise ZeroDivisionError
    assert list_jobs(bench.conn) == []
    bench.add("2")
    other = sqlite3.connect(bench.path)
    assert other.execute("SELECT code, state FROM print_job").fetchall() == [("2", "queued")]
    other.close()


def test_create_tables_may_run_again_and_the_table_is_strict(bench: SpoolBench) -> None:
    with bench.transaction() as conn:
        create_tables(conn)
        enqueue(conn, NewPrintJob(printer="label", code="1", kind="piece", label=piece_label(), created_ms=1))
        for wrong in ("state = 'lost'", "created_ms = 'soon'", "copy = 0"):
            with pytest.raises(sqlite3.IntegrityError):
                conn.execute(f"UPDATE print_job SET {wrong}")


@pytest.mark.parametrize("profile", [TSPL_LABEL_58, ESCPOS_RECEIPT_58], ids=["tspl", "escpos"])
@pytest.mark.parametrize("printer", ["label", "waybill"])
def test_recovery_at_each_crash_point(bench: SpoolBench, profile: PrinterProfile, printer: PrinterName) -> None:
    streams = profile is ESCPOS_RECEIPT_58
    after: list[JobState] = []
    for count in range(5):
        job = read_job(bench.conn, bench.add(f"{count}1", printer=printer))
        for event in (JobEvent.START, JobEvent.COMMIT, JobEvent.DELIVERED, JobEvent.CONFIRMED)[:count]:
            with bench.transaction() as conn:
                step = step_job(job, event, prints_while_sending=streams, has_status=True)
                job = record_step(conn, job, step, bench.now_ms())
        with bench.transaction() as conn:
            recover(conn, printer, prints_while_sending=streams, now_ms=bench.now_ms())
        after.append(bench.state(job.id))
    doubt = U if printer == "waybill" else Q
    assert after == [Q, doubt if streams else Q, doubt, doubt, P]


def test_two_workers_cannot_move_one_job(bench: SpoolBench) -> None:
    job = read_job(bench.conn, bench.add())
    step = step_job(job, JobEvent.START, prints_while_sending=False, has_status=True)
    with bench.transaction() as conn:
        assert record_step(conn, job, step, 5).attempts == 1
        with pytest.raises(SpoolError, match="no longer queued"):
            record_step(conn, job, step, 6)


def test_a_worker_whose_job_was_taken_back_does_not_print_it_as_the_next_one(bench: SpoolBench) -> None:
    # The printer is looked for meanwhile; the purchase is undone and made again, and SQLite gives the new row the old number.
    undone = read_job(bench.conn, bench.add("1"))
    bench.conn.execute("DELETE FROM print_job")
    assert bench.add("2") == undone.id
    step = step_job(undone, JobEvent.START, prints_while_sending=False, has_status=True)
    with bench.transaction() as conn, pytest.raises(SpoolError, match="no longer queued"):
        record_step(conn, undone, step, 5)
    assert bench.state(undone.id) is Q


def put(bench: SpoolBench, job_id: JobId, state: JobState, reason: str | None = None) -> None:
    bench.conn.execute("UPDATE print_job SET state = ?, reason = ? WHERE id = ?", (state, reason, job_id))


def test_a_person_answers_did_it_come_out(bench: SpoolBench) -> None:
    yes, no = bench.add("1", printer="waybill"), bench.add("2", printer="waybill")
    put(bench, yes, U, MAYBE)
    put(bench, no, U, MAYBE)
    with bench.transaction() as conn:
        assert resolve_unknown(conn, yes, True, now_ms=7).state is P
        assert resolve_unknown(conn, no, False, now_ms=7).state is Q
        with pytest.raises(SpoolError, match="nothing to answer"):
            resolve_unknown(conn, yes, True, now_ms=8)
        with pytest.raises(SpoolError, match="no print job 99"):
            resolve_unknown(conn, JobId(99), True, now_ms=8)


def test_a_scan_of_the_code_proves_it_printed(bench: SpoolBench) -> None:
    doubted, waiting = bench.add("1"), bench.add("1")
    put(bench, doubted, U, MAYBE)
    with bench.transaction() as conn:
        assert confirm_scanned(conn, "1", now_ms=9) == 1
    assert (bench.state(doubted), bench.state(waiting)) == (P, Q)


def test_a_label_in_doubt_that_is_scanned_while_its_printer_is_gone_is_not_printed_again(bench: SpoolBench) -> None:
    doubted = bench.add("1")
    put(bench, doubted, Q, MAYBE)
    job = read_job(bench.conn, doubted)
    # The next try finds no printer; the bag is already sorted by the paper that came out.
    step = step_job(job, JobEvent.CUT, prints_while_sending=True, has_status=True, reason=LINK_LOST)
    with bench.transaction() as conn:
        record_step(conn, job, step, 8)
    with bench.transaction() as conn:
        confirm_scanned(conn, "1", now_ms=9)
    assert next_job(bench.conn, "label") is None


def test_a_label_in_doubt_stays_in_doubt_when_its_next_try_is_cut_before_the_paper_begins(bench: SpoolBench) -> None:
    doubted = bench.add("1")
    put(bench, doubted, Q, MAYBE)
    for event in (JobEvent.START, JobEvent.CUT):
        job = read_job(bench.conn, doubted)
        step = step_job(job, event, prints_while_sending=False, has_status=True, reason=LINK_LOST)
        with bench.transaction() as conn:
            record_step(conn, job, step, 8)
    with bench.transaction() as conn:
        assert confirm_scanned(conn, "1", now_ms=9) == 1
    assert next_job(bench.conn, "label") is None


@pytest.mark.parametrize("events", [(JobEvent.START,), (JobEvent.START, JobEvent.COMMIT)])
def test_a_label_in_doubt_that_is_scanned_while_its_second_paper_is_sent_is_settled(
    bench: SpoolBench, events: tuple[JobEvent, ...]
) -> None:
    doubted = bench.add("1")
    put(bench, doubted, Q, MAYBE)
    for event in events:
        job = read_job(bench.conn, doubted)
        step = step_job(job, event, prints_while_sending=True, has_status=True)
        with bench.transaction() as conn:
            record_step(conn, job, step, 8)
    with bench.transaction() as conn:
        assert confirm_scanned(conn, "1", now_ms=9) == 1
        # The sending is cut: at the next start nothing is left of it.
        recover(conn, "label", prints_while_sending=True, now_ms=10)
    assert bench.state(doubted) is P


def test_a_reprint_is_the_same_code_with_the_next_copy_number(bench: SpoolBench) -> None:
    first = bench.add("1")
    with bench.transaction() as conn, pytest.raises(SpoolError, match="waiting to be printed already"):
        reprint(conn, first, now_ms=9)
    put(bench, first, P)
    with bench.transaction() as conn:
        second = reprint(conn, first, now_ms=9)
    put(bench, second, P)
    with bench.transaction() as conn:
        third = reprint(conn, first, now_ms=9)
    assert [(job.code, job.copy) for job in list_jobs(bench.conn)] == [("1", 3), ("1", 2), ("1", 1)]
    assert read_job(bench.conn, third).label_json == read_job(bench.conn, first).label_json


def test_summary_says_what_waits_and_what_is_wrong(bench: SpoolBench) -> None:
    assert summary(bench.conn).waiting == 0
    ids = [bench.add(str(number)) for number in range(4)]
    put(bench, ids[0], P)
    put(bench, ids[1], F, "printer.bad_label")
    put(bench, ids[2], U, MAYBE)
    put(bench, bench.add("9", printer="waybill"), Q, "printer.out_of_paper")
    seen = summary(bench.conn, "label")
    assert (seen.waiting, seen.unknown, seen.failed, seen.printed) == (1, 1, 1, 1)
    assert seen.waiting_since_ms == read_job(bench.conn, ids[3]).created_ms
    assert seen.last_error in {"printer.bad_label", MAYBE}
    assert summary(bench.conn, "waybill").last_error == "printer.out_of_paper"
    assert summary(bench.conn).waiting == 2
    assert next_job(bench.conn, "label") == read_job(bench.conn, ids[3])


class ScriptedPrinter:
    """A TSPL printer in memory that dies where it is told; looks into the database before it takes bytes."""

    def __init__(self, bench: SpoolBench) -> None:
        self.bench = bench
        self.received = b""
        self.papers = 0
        self.states_at_write: list[tuple[bytes, str]] = []
        self.fail: dict[bytes, DeviceError] = {}
        self.answers: list[bytes] = []
        self.status = b"\x00"
        self.opened = 0

    async def open(self) -> None:
        self.opened += 1

    async def write(self, sent: bytes) -> None:
        # Another connection sees only what is durable.
        other = sqlite3.connect(self.bench.path)
        (state,) = other.execute("SELECT state FROM print_job ORDER BY id LIMIT 1").fetchone()
        other.close()
        kind = b"status" if sent == b"\x1b!?" else b"commit" if sent.startswith(b"PRINT") else b"body"
        self.states_at_write.append((kind, state))
        error = self.fail.pop(kind, None)
        if error is not None:
            raise error
        if kind == b"status":
            self.answers.append(self.status)
        if kind == b"commit":
            self.papers += 1

    async def end_job(self) -> None:
        error = self.fail.pop(b"end", None)
        if error is not None:
            raise error

    async def read(self, timeout_s: float) -> bytes:
        del timeout_s
        return self.answers.pop(0) if self.answers else b""

    async def close(self) -> None:
        self.answers.clear()


@contextlib.asynccontextmanager
async def running(
    bench: SpoolBench, printer: ScriptedPrinter, name: PrinterName, profile: PrinterProfile
) -> AsyncIterator[Spooler]:
    spooler = Spooler(
        printer=name,
        profile=profile,
        transaction=bench.transaction,
        open_transport=lambda: printer,
        now_ms=bench.now_ms,
        times=QUICK,
    )
    task = asyncio.create_task(spooler.run())
    try:
        yield spooler
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_every_step_is_durable_before_its_bytes_leave(bench: SpoolBench) -> None:
    job, printer = bench.add(), ScriptedPrinter(bench)
    async with running(bench, printer, "label", TSPL_LABEL_58):
        await bench.wait_for(lambda: bench.state(job) is P)
    assert printer.states_at_write == [
        (b"status", "queued"),
        (b"body", "sending"),
        (b"status", "sending"),
        (b"commit", "sent"),
        (b"status", "sent"),
    ]
    assert printer.papers == 1


@pytest.mark.parametrize("where", [b"status", b"body"])
async def test_a_cut_before_the_commit_prints_exactly_once(bench: SpoolBench, where: bytes) -> None:
    job, printer = bench.add(printer="waybill"), ScriptedPrinter(bench)
    printer.fail[where] = DeviceError(PrinterReason.LINK_LOST)
    async with running(bench, printer, "waybill", TSPL_WAYBILL_100) as spooler:
        await bench.wait_for(lambda: bench.state(job) is P)
        assert spooler.state.blocked_by is None
    assert (printer.papers, printer.opened) == (1, 2)


@pytest.mark.parametrize("where", [b"commit", b"end"])
async def test_a_cut_at_the_commit_asks_about_a_waybill_and_repeats_a_label(bench: SpoolBench, where: bytes) -> None:
    waybill, printer = bench.add(printer="waybill"), ScriptedPrinter(bench)
    printer.fail[where] = DeviceError(PrinterReason.LINK_LOST)
    async with running(bench, printer, "waybill", TSPL_WAYBILL_100):
        await bench.wait_for(lambda: bench.state(waybill) is U)
    assert printer.papers == (1 if where == b"end" else 0)
    label, again = bench.add("2"), ScriptedPrinter(bench)
    again.fail[where] = DeviceError(PrinterReason.LINK_LOST)
    async with running(bench, again, "label", TSPL_LABEL_58):
        await bench.wait_for(lambda: bench.state(label) is P)
    assert again.papers == (2 if where == b"end" else 1)


async def test_no_paper_stops_the_queue_with_a_reason_and_it_goes_on(bench: SpoolBench) -> None:
    jobs, printer = [bench.add(str(number)) for number in range(3)], ScriptedPrinter(bench)
    printer.status = b"\x04"
    async with running(bench, printer, "label", TSPL_LABEL_58) as spooler:
        await bench.wait_for(lambda: spooler.state.blocked_by is PrinterReason.OUT_OF_PAPER)
        assert summary(bench.conn, "label").last_error == "printer.out_of_paper"
        assert printer.papers == 0
        printer.status = b"\x00"
        spooler.notify()
        await bench.wait_for(lambda: all(bench.state(job) is P for job in jobs))
    assert printer.papers == 3
    assert printer.opened == 1, "the link was fine all the time"
    assert summary(bench.conn, "label").last_error is None


async def test_a_printer_that_says_nothing_gets_no_label(bench: SpoolBench) -> None:
    job, printer = bench.add(), ScriptedPrinter(bench)
    printer.status = b""
    async with running(bench, printer, "label", TSPL_LABEL_58) as spooler:
        await bench.wait_for(lambda: spooler.state.blocked_by is PrinterReason.NO_ANSWER)
    assert (printer.papers, bench.state(job)) == (0, Q)
    assert all(kind == b"status" for kind, _ in printer.states_at_write)


async def test_a_label_that_does_not_fit_fails_and_the_next_one_prints(bench: SpoolBench) -> None:
    with bench.transaction() as conn:
        wide = enqueue(conn, NewPrintJob(printer="label", code="w", kind="piece", label=waybill_label(), created_ms=1))
    good, printer = bench.add(), ScriptedPrinter(bench)
    async with running(bench, printer, "label", TSPL_LABEL_58):
        await bench.wait_for(lambda: bench.state(good) is P)
    assert read_job(bench.conn, wide).reason == "printer.does_not_fit"
    assert bench.state(wide) is F


async def test_without_status_sent_and_delivered_is_the_end(bench: SpoolBench) -> None:
    silent = TSPL_LABEL_58.model_copy(update={"has_status": False})
    job, printer = bench.add(), ScriptedPrinter(bench)
    async with running(bench, printer, "label", silent):
        await bench.wait_for(lambda: read_job(bench.conn, job).reason == DELIVERED)
    async with running(bench, printer, "label", silent):
        later = bench.add("2")
        await bench.wait_for(lambda: read_job(bench.conn, later).reason == DELIVERED)
    assert (bench.state(job), printer.papers) == (S, 2)


async def test_what_a_silent_printer_took_is_not_printed_again_by_one_that_answers(bench: SpoolBench) -> None:
    silent = TSPL_LABEL_58.model_copy(update={"has_status": False})
    job, printer, other = bench.add(), ScriptedPrinter(bench), ScriptedPrinter(bench)
    async with running(bench, printer, "label", silent):
        await bench.wait_for(lambda: read_job(bench.conn, job).reason == DELIVERED)
    async with running(bench, other, "label", TSPL_LABEL_58):
        later = bench.add("2")
        await bench.wait_for(lambda: bench.state(later) is P)
    assert (bench.state(job), printer.papers, other.papers) == (S, 1, 1)


async def test_d17_a_waybill_that_one_printer_may_have_begun_is_not_printed_by_the_next_one_that_is_chosen(
    bench: SpoolBench,
) -> None:
    class StuckPrinter(ScriptedPrinter):
        async def write(self, sent: bytes) -> None:
            await super().write(sent)
            stuck.set()
            await asyncio.Event().wait()

    stuck, other = asyncio.Event(), ScriptedPrinter(bench)
    with bench.transaction() as conn:
        narrow = NewPrintJob(printer="waybill", code="O1", kind="waybill", label=piece_label(), created_ms=1)
        job = enqueue(conn, narrow)
    silent = ESCPOS_RECEIPT_80.model_copy(update={"has_status": False})
    async with running(bench, StuckPrinter(bench), "waybill", silent):
        await stuck.wait()
    async with running(bench, other, "waybill", TSPL_WAYBILL_100):
        later = bench.add_order("O2")
        await bench.wait_for(lambda: bench.state(later) is P)
    assert (bench.state(job), other.papers) == (U, 1)
