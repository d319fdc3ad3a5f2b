"""The device's printers: the durable spool of `printer`, on the replica's own connection, behind the port `Printers`.

A job is queued in the transaction of the pick it belongs to. Templates are settings (`label_template.<name>`), the built-in ones stand in
for a setting that is missing or wrong: a bad template must not stop a pick. Addresses are `tcp://host:port`, `file:DIR`, `ble:ADDR`.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from clients.runtime.language import say
from clients.runtime.ports import Clock, PrintJob, PrintState
from printer import spool
from printer.default_templates import DEFAULT_TEMPLATES
from printer.errors import PrinterError, SpoolError, find_reason, message_en, message_zh
from printer.label import Label
from printer.languages.choose import choose_language
from printer.profiles import (
    ESCPOS_LABEL_58,
    ESCPOS_RECEIPT_80,
    TSPL_LABEL_58,
    TSPL_WAYBILL_100,
    PrinterProfile,
)
from printer.spooler import Spooler
from printer.template import LabelTemplate, render_template
from printer.transports.file import FileTransport
from printer.transports.port import Transport
from printer.transports.tcp import DEFAULT_PORT, TcpTransport
from sync_core.errors import NahuoError, RefusedError
from sync_core.replica import Replica

_log: Final = logging.getLogger(__name__)
PROFILES_BY_USE: Final[Mapping[tuple[str, str], PrinterProfile]] = {
    ("label", "tspl"): TSPL_LABEL_58,
    ("label", "escpos"): ESCPOS_LABEL_58,
    ("waybill", "tspl"): TSPL_WAYBILL_100,
    ("waybill", "escpos"): ESCPOS_RECEIPT_80,
}
DONE_KEPT_MS: Final = 2 * 24 * 3_600_000
"""Printed labels are listed for two days (a reprint is made from the piece's row, whenever); waybills, which carry a receiver in clear, a
day (REL-T15)."""
NO_PRINTER: Final = "printer.none"
"""The reason of a printer that was never chosen while labels wait for it."""
FORGET_EVERY_S: Final = 3600
WAYBILL_KEPT_MS: Final = 24 * 3_600_000


class SpoolPrinters:
    """One durable queue, one worker a printer. `names` are the printers this device has: `label`, `waybill`."""

    def __init__(self, replica: Replica, clock: Clock, names: Sequence[spool.PrinterName]) -> None:
        self._replica = replica
        self._clock = clock
        self._names = tuple(names)
        self._spoolers: dict[str, Spooler] = {}
        self._restart: dict[str, asyncio.Event] = {name: asyncio.Event() for name in names}
        with replica.transaction() as conn:
            spool.create_tables(conn)

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
        label = self._render(template, fields)
        job = spool.NewPrintJob(
            printer=_name(printer), code=subject, kind=template, label=label, created_ms=at_ms, copy=copy_no
        )
        return str(spool.enqueue(conn, job))

    def _render(self, template: str, fields: Mapping[str, str]) -> Label:
        """Fill the platform's template, else ours, else ours without its QR: whatever is wrong, the bag gets its bar code.

        Raises:
            RefusedError: not even that fits the paper.
        """
        own = self._replica.setting(f"label_template.{template}")
        last: Exception | None = None
        for described, texts in (
            (own, fields),
            (DEFAULT_TEMPLATES[template], fields),
            (DEFAULT_TEMPLATES[template], {**fields, "qr": ""}),
        ):
            try:
                if described is not None:
                    return render_template(LabelTemplate.model_validate(described), texts)
            except (ValidationError, PrinterError) as error:
                _log.warning("the template %s is not used: %s", template, error)
                last = error
        raise RefusedError("printer.bad_template", str(last))

    def cancel(self, conn: sqlite3.Connection, *, subject: str) -> None:
        """Print no label of `subject` any more, whatever became of those it has."""
        spool.forget_code(conn, subject)

    def confirm_scanned(self, conn: sqlite3.Connection, *, subject: str, at_ms: int) -> None:
        """A scanned code proves that its paper came out."""
        spool.confirm_scanned(conn, subject, now_ms=at_ms)

    def jobs(self, *, limit: int = 50) -> list[PrintJob]:
        """Return the newest jobs first."""
        return [self._shown(job) for job in spool.list_jobs(self._replica.conn, limit=limit)]

    def _shown(self, job: spool.PrintJob) -> PrintJob:
        reason = find_reason(job.reason)
        return PrintJob(
            id=str(job.id),
            printer=job.printer,
            subject=job.code,
            title=job.code,
            state=job.state.value,
            copy_no=job.copy,
            at_ms=job.created_ms,
            reason=reason.code if reason else None,
            zh=message_zh(reason) if reason else "",
            en=message_en(reason) if reason else "",
        )

    def states(self) -> list[PrintState]:
        """Return each printer's state: what stops it, or what waits for an answer."""
        states = []
        for name in self._names:
            counted = spool.summary(self._replica.conn, name)
            if counted.waiting and not self.address(name)[0]:
                zh, en = (say(language, "printer.none", n=counted.waiting) for language in ("zh", "en"))
                states.append(PrintState(name=name, waiting=counted.waiting, reason=NO_PRINTER, zh=zh, en=en))
                continue
            spooler = self._spoolers.get(name)
            blocked = spooler.state.blocked_by if spooler is not None and counted.waiting else None
            reason = blocked or (find_reason(counted.last_error) if counted.unknown or counted.failed else None)
            states.append(
                PrintState(
                    name=name,
                    waiting=counted.waiting,
                    reason=reason.code if reason else None,
                    zh=message_zh(reason) if reason else "",
                    en=message_en(reason) if reason else "",
                )
            )
        return states

    def answer_unknown(self, job: str, *, came_out: bool) -> None:
        """A person looked: it came out, or it is to be printed again (same piece, same code)."""
        try:
            with self._replica.transaction() as conn:
                spool.resolve_unknown(conn, _id(job), came_out, now_ms=self._clock.wall_ms())
        except SpoolError as error:
            raise RefusedError(error.code, error.detail) from error
        self.notify()

    def retry(self, job: str) -> None:
        """Print one more paper of a job, with the next copy number."""
        try:
            with self._replica.transaction() as conn:
                found = spool.read_job(conn, _id(job))
                spool.reprint(conn, found.id, now_ms=self._clock.wall_ms())
                if found.state is spool.JobState.FAILED:
                    conn.execute("DELETE FROM print_job WHERE id = ?", (found.id,))
        except SpoolError as error:
            raise RefusedError(error.code, error.detail) from error
        self.notify()

    def address(self, printer: str) -> tuple[str, str]:
        """Return (address, language) of a printer; the address is empty until one was chosen."""
        chosen = self._replica.setting(f"printer.{printer}", {})
        return str(chosen.get("address", "")), str(chosen.get("language", "tspl"))

    def choose(self, printer: str, address: str, language: str) -> None:
        """Use the printer at `address` from now on.

        Raises:
            RefusedError: the address or language is none we know.
        """
        if printer not in self._names or (printer, language) not in PROFILES_BY_USE:
            raise RefusedError("printer.unknown_choice", f"{printer} {language}")
        open_transport(address, PROFILES_BY_USE[printer, language])
        with self._replica.transaction() as conn:
            self._settle_by_former(conn, _name(printer))
            self._replica.set_setting(f"printer.{printer}", {"address": address, "language": language})
        self._restart[printer].set()

    def _settle_by_former(self, conn: sqlite3.Connection, name: spool.PrinterName) -> None:
        """What a killed process was sending went to the former printer, which says whether paper may be out; a worker settles its own."""
        address, language = self.address(name)
        if address and name not in self._spoolers:
            prints = choose_language(PROFILES_BY_USE[name, language]).prints_while_sending
            spool.recover(conn, name, prints_while_sending=prints, now_ms=self._clock.wall_ms())

    def notify(self) -> None:
        """Say that the queue holds something new."""
        for spooler in self._spoolers.values():
            spooler.notify()

    async def run(self) -> None:
        """Print what is queued until cancelled; also forget old paper."""
        self.forget_old()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_forgetting())
            for name in self._names:
                group.create_task(self._run_one(name))

    def forget_old(self) -> None:
        """Delete what came out days ago: the queue stays small however long the client runs."""
        with self._replica.transaction() as conn:
            now_ms = self._clock.wall_ms()
            for name, kept_ms in (("label", DONE_KEPT_MS), ("waybill", WAYBILL_KEPT_MS)):
                conn.execute(
                    "DELETE FROM print_job WHERE printer = ? AND state IN ('printed', 'sent') AND changed_ms < ?",
                    (name, now_ms - kept_ms),
                )

    async def _keep_forgetting(self) -> None:
        while True:
            await asyncio.sleep(FORGET_EVERY_S)
            try:
                self.forget_old()
            except NahuoError as error:
                _log.warning("old paper is kept: %s", error)

    async def _run_one(self, name: spool.PrinterName) -> None:
        """Run the worker of one printer, anew whenever another printer is chosen."""
        while True:
            self._restart[name].clear()
            address, language = self.address(name)
            if not address:
                await self._restart[name].wait()
                continue
            profile = profile_of(name, address, language)
            spooler = Spooler(
                printer=name,
                profile=profile,
                transaction=self._replica.transaction,
                open_transport=lambda address=address, profile=profile: open_transport(address, profile),  # type: ignore[misc]
                now_ms=self._clock.wall_ms,
            )
            self._spoolers[name] = spooler
            worker = asyncio.create_task(spooler.run())
            chosen = asyncio.create_task(self._restart[name].wait())
            try:
                await asyncio.wait({worker, chosen}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                worker.cancel()
                chosen.cancel()
                (fault, _) = await asyncio.gather(worker, chosen, return_exceptions=True)
            if isinstance(fault, Exception):
                # The row moved under the worker (a label was cancelled), or a bug: start over from the rows, never stop a pick.
                _log.warning("the worker of printer %s starts over: %r", name, fault)
                await asyncio.sleep(0.2)


def profile_of(printer: str, address: str, language: str) -> PrinterProfile:
    """Return what the chosen printer can do; a folder answers no questions."""
    profile = PROFILES_BY_USE[printer, language]
    return profile.model_copy(update={"has_status": False}) if address.startswith("file:") else profile


def open_transport(address: str, profile: PrinterProfile) -> Transport:
    """Return the way to a printer.

    Raises:
        RefusedError: the address is none we know.
    """
    way, _, rest = address.partition(":")
    match way:
        case "tcp" if rest.removeprefix("//"):
            host, _, port = rest.removeprefix("//").rstrip("/").rpartition(":")
            if not host:
                host, port = port, str(DEFAULT_PORT)
            if port.isascii() and port.isdigit() and 0 < int(port) < 65_536:
                return TcpTransport(host.strip("[]"), int(port))
        case "file" if rest:
            return FileTransport(Path(rest.removeprefix("//")))
        case "ble" if rest:
            # Only a device with a Bluetooth printer pays for loading its stack.
            from printer.transports.ble import BleTransport

            return BleTransport(profile, address=rest.removeprefix("//"))
        case _:
            pass
    raise RefusedError("printer.bad_address", address[:60])


def _name(printer: str) -> spool.PrinterName:
    return "waybill" if printer == "waybill" else "label"


def _id(job: str) -> spool.JobId:
    return spool.JobId(int(job) if job.isascii() and job.isdigit() and len(job) < 16 else 0)
