"""Print what the spool holds, one job after the other, on one printer: the worker around `printer.spool`.

Order of every step: durable first, bytes second. Before a body leaves the printer must say it is ready; before a commit
leaves it must answer once more, which proves that the body arrived and that there is paper. No paper or an open lid
stops the queue with a reason and it goes on by itself; a broken link is tried again with growing pauses. Times are
milliseconds. `transaction()` yields the caller's connection inside one durable transaction.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final

from printer.errors import DeviceError, LabelError, PrinterError, PrinterReason
from printer.label import label_from_json, mark_copy
from printer.languages.choose import choose_language
from printer.languages.port import EncodedJob, PrinterStatus
from printer.profiles import PrinterProfile
from printer.spool import (
    JobEvent,
    JobState,
    PrinterName,
    PrintJob,
    is_in_doubt,
    next_job,
    read_job,
    record_step,
    recover,
    step_job,
)
from printer.transports.port import Transport

_log: Final = logging.getLogger(__name__)
# Conditions a person ends at the printer; the link is fine, so it is only asked again.
_WAITS_FOR_HANDS: Final = frozenset(
    {
        PrinterReason.OUT_OF_PAPER,
        PrinterReason.LID_OPEN,
        PrinterReason.PAUSED,
        PrinterReason.JAMMED,
        PrinterReason.TOO_HOT,
        PrinterReason.LOW_BATTERY,
        PrinterReason.BUSY,
    }
)
_UNDER_WAY: Final = frozenset({JobState.SENDING, JobState.SENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolerTimes:
    """The pauses of a spooler."""

    retry_ms_min: int = 500
    retry_ms_max: int = 30_000
    hands_poll_ms: int = 2_000
    answer_ms: int = 1_500
    answers_tried: int = 3
    print_ms_max: int = 20_000
    printing_poll_ms: int = 100
    idle_close_ms: int = 60_000


@dataclass(slots=True, kw_only=True)
class SpoolerState:
    """What the screen shows beside the rows: is there a link, and what stops the queue."""

    is_connected: bool = False
    blocked_by: PrinterReason | None = None
    detail: str = ""


@dataclass(slots=True, kw_only=True)
class Spooler:
    """One worker for one printer. `await run()` until cancelled; `notify()` after a job was committed."""

    printer: PrinterName
    profile: PrinterProfile
    transaction: Callable[[], AbstractContextManager[sqlite3.Connection]]
    open_transport: Callable[[], Transport]
    now_ms: Callable[[], int]
    times: SpoolerTimes = field(default_factory=SpoolerTimes)
    state: SpoolerState = field(default_factory=SpoolerState)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _transport: Transport | None = None

    def notify(self) -> None:
        """Look at the queue now: a job was enqueued, or a person did something at the printer."""
        self._wake.set()

    async def run(self) -> None:
        """Settle what the last process left, then print for ever. Ends only by cancellation or by a bug of ours."""
        language = choose_language(self.profile)
        with self.transaction() as conn:
            recover(
                conn,
                self.printer,
                prints_while_sending=language.prints_while_sending,
                now_ms=self.now_ms(),
            )
        failures = 0
        try:
            while True:
                self._wake.clear()
                with self.transaction() as conn:
                    job = next_job(conn, self.printer)
                if job is None:
                    await self._rest()
                    continue
                try:
                    await self._print(job)
                    failures = 0
                    self.state.blocked_by, self.state.detail = None, ""
                except DeviceError as error:
                    failures += 1
                    await self._pause_after(error, failures)
        finally:
            await self._drop_link()

    async def _print(self, job: PrintJob) -> None:
        """Bring one job as far as it goes. Raises DeviceError when the printer or the link stopped it."""
        try:
            label = mark_copy(label_from_json(job.label_json), job.copy)
            encoded = choose_language(self.profile).encode(label, self.profile)
        except LabelError as error:
            _log.warning("job %s cannot be printed: %s", job.id, error)
            self._move(job, JobEvent.REFUSED, error)
            return
        try:
            transport = await self._link()
            await self._check_ready(transport)
            job = self._move(job, JobEvent.START)
            job = await self._send(transport, job, encoded)
        except DeviceError as error:
            job = self._read_again(job)
            is_news = job.state is JobState.QUEUED and job.reason != error.code and not is_in_doubt(job)
            if job.state in _UNDER_WAY or is_news:
                self._move(job, JobEvent.CUT, error)
            raise
        except asyncio.CancelledError:
            # Another printer may have been chosen: what this one has begun is judged by what this one can do.
            job = self._read_again(job)
            if job.state in _UNDER_WAY:
                self._move(job, JobEvent.CUT)
            raise

    async def _send(self, transport: Transport, job: PrintJob, encoded: EncodedJob) -> PrintJob:
        await transport.write(encoded.body)
        if self.profile.has_status and not choose_language(self.profile).prints_while_sending:
            await self._check_ready(transport)
        job = self._move(job, JobEvent.COMMIT)
        await transport.write(encoded.commit)
        await transport.end_job()
        job = self._move(job, JobEvent.DELIVERED)
        if self.profile.has_status:
            await self._confirm(transport)
            job = self._move(job, JobEvent.CONFIRMED)
        return job

    async def _check_ready(self, transport: Transport) -> None:
        """Return when the printer says it would print. Raises DeviceError with what stops it."""
        if not self.profile.has_status:
            return
        language = choose_language(self.profile)
        status = await self._settled(
            transport,
            language.status_query,
            language.status_bytes,
            lambda got: language.parse_status(got, self.profile),
        )
        if not status.is_ready:
            raise DeviceError(status.reasons[0] if status.reasons else PrinterReason.BUSY, "not ready")

    async def _confirm(self, transport: Transport) -> None:
        """Return when the printer says it is done. Raises DeviceError when it says otherwise, or nothing."""
        language = choose_language(self.profile)
        status = await self._settled(
            transport,
            language.confirm_query,
            language.confirm_bytes,
            lambda got: language.parse_confirm(got, self.profile),
        )
        if not status.is_ready:
            raise DeviceError(status.reasons[0] if status.reasons else PrinterReason.BUSY, "not confirmed")

    async def _settled(
        self, transport: Transport, query: bytes, count: int, parse: Callable[[bytes], PrinterStatus]
    ) -> PrinterStatus:
        """Return the status once it no longer says "printing", or the last one when that takes too long."""
        status = PrinterStatus(reasons=(PrinterReason.NO_ANSWER,))
        try:
            async with asyncio.timeout(self.times.print_ms_max / 1000):
                while True:
                    status = parse(await self._ask(transport, query, count))
                    if not status.printing:
                        return status
                    await asyncio.sleep(self.times.printing_poll_ms / 1000)
        except TimeoutError:
            return status

    async def _ask(self, transport: Transport, query: bytes, count: int) -> bytes:
        """Return the answer to a query, asked a few times: some printers skip queries while they feed."""
        for _ in range(self.times.answers_tried):
            while await transport.read(0.001):
                pass  # late answers to an earlier question
            await transport.write(query)
            answer = b""
            while len(answer) < count:
                got = await transport.read(self.times.answer_ms / 1000)
                if not got:
                    break
                answer += got
            if answer:
                return answer
        return b""

    def _move(self, job: PrintJob, event: JobEvent, error: PrinterError | None = None) -> PrintJob:
        """Make a step durable and return the job as it is now."""
        language = choose_language(self.profile)
        step = step_job(
            job,
            event,
            prints_while_sending=language.prints_while_sending,
            has_status=self.profile.has_status,
            reason=error.code if error else None,
        )
        with self.transaction() as conn:
            return record_step(conn, job, step, self.now_ms())

    def _read_again(self, job: PrintJob) -> PrintJob:
        with self.transaction() as conn:
            return read_job(conn, job.id)

    async def _link(self) -> Transport:
        """Return the open link, opening it when there is none."""
        if self._transport is None:
            transport = self.open_transport()
            await transport.open()
            self._transport = transport
            self.state.is_connected = True
        return self._transport

    async def _drop_link(self) -> None:
        transport, self._transport = self._transport, None
        self.state.is_connected = False
        if transport is not None:
            await transport.close()

    async def _rest(self) -> None:
        """Wait for work; let the printer sleep when there is none for a while."""
        if not await self._woken(self.times.idle_close_ms):
            await self._drop_link()
            await self._wake.wait()

    async def _pause_after(self, error: DeviceError, failures: int) -> None:
        self.state.blocked_by, self.state.detail = error.reason, error.detail
        _log.info("printer %s: %s", self.printer, error)
        if error.reason in _WAITS_FOR_HANDS:
            await self._woken(self.times.hands_poll_ms)
            return
        await self._drop_link()
        await self._woken(min(self.times.retry_ms_max, self.times.retry_ms_min * 2 ** min(failures - 1, 16)))

    async def _woken(self, wait_ms: int) -> bool:
        """Return True when notified within `wait_ms`."""
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True
