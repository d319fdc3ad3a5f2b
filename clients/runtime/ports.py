"""What a client needs from outside itself: the ports, and nothing behind them.

Whatever cannot run inside a phone's browser (pycrdt, cryptography, bleak, sockets, Pillow) stands behind one of these; the
screens and actions see only this module, the replica, `trade` and the label's description. Instants are whole milliseconds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sync_core.facts import Json


class Clock(Protocol):
    """Two clocks: the wall's, which may be a day off, and one that only ever runs forward."""

    def wall_ms(self) -> int:
        """Now, since 1970 UTC, as the device believes: shown, never deciding."""
        ...

    def steady_ms(self) -> int:
        """Milliseconds of a clock that nobody sets; comparable within one `boot` only."""
        ...

    def boot(self) -> str:
        """Name the run of the steady clock, so that its readings can be kept on disk."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """The link as the state bar shows it: `status` is live, offline, connecting, refused or update_needed.

    `clock_ahead_ms`: this device's clock against the server's, as last heard. `revoked`: what it delivers waits for a supervisor.
    """

    status: str
    since_ms: int | None
    last_ack_ms: int | None
    detail: str = ""
    clock_ahead_ms: int | None = None
    revoked: bool = False


class Link(Protocol):
    """The way to the server; everything works without it."""

    @property
    def enabled(self) -> bool:
        """The signal switch: False closes the socket and keeps it closed."""
        ...

    @enabled.setter
    def enabled(self, on: bool) -> None: ...

    def state(self) -> LinkState:
        """Return what the state bar shows."""
        ...

    def heard(self, document: str) -> tuple[int, int] | None:
        """Return from when to when the server had told all that it has of a document, on the connection that is up: (ms, ms) of a clock
        that nobody sets, comparable with each other only. None without a connection, and before the server has told it all.
        """
        ...

    def hub_has(self, document: str) -> bool:
        """Return True when the server was seen on this connection or the last, to have all of a document that is here, or takes no more."""
        ...

    def notify(self) -> None:
        """Say that the replica holds something new to send."""
        ...

    async def run(self) -> None:
        """Keep the device connected until cancelled; never raises for a network's fault."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintState:
    """A printer as the state bar shows it; `reason` is a stable code or None when all is well."""

    name: str
    waiting: int
    reason: str | None
    zh: str
    en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintJob:
    """One label on its way to paper: `state` is queued, sending, sent, printed, unknown or failed."""

    id: str
    printer: str
    subject: str
    title: str
    state: str
    copy_no: int
    at_ms: int
    reason: str | None
    zh: str
    en: str


class Printers(Protocol):
    """The device's printers by name (`label`, `waybill`), with one durable queue in the replica's database."""

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
        ...

    def cancel(self, conn: sqlite3.Connection, *, subject: str) -> None:
        """Print no label of `subject` any more, whatever became of those it has."""
        ...

    def confirm_scanned(self, conn: sqlite3.Connection, *, subject: str, at_ms: int) -> None:
        """A scanned code proves that its paper came out."""
        ...

    def address(self, printer: str) -> tuple[str, str]:
        """Return (address, language) of a printer; the address is empty until one was chosen."""
        ...

    def jobs(self, *, limit: int = 50) -> Sequence[PrintJob]:
        """Return the newest jobs first."""
        ...

    def states(self) -> Sequence[PrintState]:
        """Return each printer's state."""
        ...

    def answer_unknown(self, job: str, *, came_out: bool) -> None:
        """A person looked: it came out, or it is to be printed again (same piece, same code)."""
        ...

    def retry(self, job: str) -> None:
        """Try a failed job again."""
        ...

    def choose(self, printer: str, address: str, language: str) -> None:
        """Use the printer at `address` (tcp://host:port, file:DIR, ble:ADDR) from now on.

        Raises:
            RefusedError: the address or language is none we know.
        """
        ...

    def notify(self) -> None:
        """Say that the queue holds something new."""
        ...

    async def run(self) -> None:
        """Print what is queued until cancelled."""
        ...


class Unsealer(Protocol):
    """Opens what the server sealed for one parcel (D18)."""

    def unseal(self, sealed: str, key: bytes) -> Mapping[str, Json] | None:
        """Return {name, phone, address}, or None when the key does not fit."""
        ...


class ServerDoor(Protocol):
    """The few questions a client asks outside the sync."""

    async def enrol(self, body: Mapping[str, Json]) -> Mapping[str, Json]:
        """Redeem a one-time code.

        Raises:
            RefusedError: the code is wrong, used or expired.
            RetryableError: the server cannot be reached.
        """
        ...

    async def renumber(self, body: Mapping[str, Json]) -> Mapping[str, Json]:
        """Ask for a new number for this restored or copied device; the answer is like that of an enrolment.

        Raises:
            RefusedError: the device is unknown or dismissed.
            RetryableError: the server cannot be reached.
        """
        ...

    async def parcel_keys(self, parcels: Sequence[str]) -> Mapping[str, str]:
        """Return {parcel: hex key} of those the server still has."""
        ...
