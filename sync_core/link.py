"""The link: a device's one WebSocket to its hub, kept up for as long as the signal lasts, and again after it.

A thin shell around `Session`: read a frame, ask the session, commit to the replica, send what the session wants sent. Nothing waits
for the link; actions are on the disk before it hears of them. Reconnects back off with full jitter up to 30 s; the signal switch ends
the pause. Times shown are the device's wall clock; waits use the monotonic one.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from sync_core import limits, session, wire
from sync_core.errors import CorruptError, DiskError, RefusedError, RetryableError
from sync_core.replica import Replica
from sync_core.session import Session, Side

log = logging.getLogger("nahuo.link")

OWN = "device/"
"""How the documents begin in which a hub says what a device may sync."""
HELLO = "hello"
REPORT = "report"
_REVOKED, _NO_NUMBERS = "device.revoked", "enrol.numbers"
"""Why a hub gives no new key: not to this device any more; not before somebody has made room for numbers."""


class Phase(StrEnum):
    """What the screen says about the link."""

    OFFLINE = "offline"
    CONNECTING = "connecting"
    LIVE = "live"
    REFUSED = "refused"
    UPDATE_NEEDED = "update_needed"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStatus:
    """The link as a person sees it. `clock_ahead_ms`: how far the device's clock is ahead of the server's, None when unknown.

    `revoked`: the server takes what this device still holds, and lets it wait for a supervisor.
    """

    phase: Phase
    since_ms: int
    last_ack_ms: int | None
    detail: str
    clock_ahead_ms: int | None
    revoked: bool = False


class Link:
    """Keeps a replica in sync with its hub. Run `run()` as one task; it ends only by cancellation."""

    def __init__(
        self,
        replica: Replica,
        url: str,
        *,
        token: Callable[[], Awaitable[str]],
        documents: Callable[[], Sequence[str]],
        renumber: Callable[[], Awaitable[None]],
        schema: int,
        tells: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """`url`: the hub's WebSocket. `token()` fetches a fresh one; it raises RetryableError (no signal) or RefusedError (revoked).

        `documents()` names what to sync now. `renumber()` gets this device a new number when it turns out to be a copy.
        `tells()`: what else the device reports of itself, as whole numbers.
        """
        self._replica = replica
        self._url = url
        self._token = token
        self._documents = documents
        self._renumber = renumber
        self._schema = schema
        self._tells = tells
        self._enabled = True
        self._wake = asyncio.Event()
        self._switched = asyncio.Event()
        self._socket: ClientConnection | None = None
        self._talk: Session | None = None
        self._last: Session | None = None
        """This connection's, or the one before it."""
        self._denied: set[str] = set()
        self._claimed: dict[str, Mapping[int, int]] = {}
        """{document: what the hub counts there}, as it said last on this connection."""
        self._outdated = False
        self._keeps_key = False
        """The hub gave no new key since this program started: it is not asked again and again."""
        self._has_delivered = False
        """All that was said under the old key is delivered, or was given its time: the new one may be asked for."""
        self._wished_ms: int | None = None
        """Since when a new key is wanted while there is a connection, by the monotonic clock."""
        self._unfolded = False
        self._folded_ms = 0
        self.status = LinkStatus(
            phase=Phase.OFFLINE, since_ms=_wall_ms(), last_ack_ms=None, detail="", clock_ahead_ms=None
        )
        self.on_change: list[Callable[[], None]] = []
        replica.listeners.append(self._replica_changed)

    @property
    def enabled(self) -> bool:
        """False while the signal switch is off."""
        return self._enabled

    def switch(self, enabled: bool) -> None:
        """Turn the signal on or off, as a walk into the basement does: the socket is dropped, not closed politely."""
        self._enabled = enabled
        self._switched.set()
        if not enabled and self._socket is not None:
            self._socket.transport.abort()
        self.notify()

    def heard(self, document: str) -> tuple[int, int] | None:
        """Return from when to when this connection's hub had told all that it has of a document, by the monotonic clock; None before."""
        return None if self._talk is None else self._talk.heard(document)

    def hub_has(self, document: str) -> bool:
        """True when the hub was seen, on this connection or the last, to have all of a document that is here, or takes no more of it."""
        return self._last is not None and self._last.hub_has(document)

    def notify(self) -> None:
        """Something new is in the replica, or it is worth trying now."""
        self._wake.set()

    async def run(self) -> None:
        """Connect, sync, reconnect; for ever."""
        attempt = 0
        while True:
            self._switched.clear()
            if not self._enabled:
                self._show(Phase.OFFLINE, "signal switched off")
                await self._switched.wait()
                attempt = 0
                continue
            started = time.monotonic()
            self._wake.clear()
            try:
                await self._live()
                self._show(Phase.OFFLINE, "the connection ended")
            except RefusedError as error:
                self._show(Phase.REFUSED, str(error))
            except (RetryableError, OSError, WebSocketException, TimeoutError) as error:
                self._show(Phase.OFFLINE, _plain(error))
            except (DiskError, CorruptError) as error:
                self._show(Phase.REFUSED, str(error))
            except sqlite3.Error as error:
                self._show(Phase.REFUSED, str(self._replica.plain(error) or error))
            except Exception as error:  # a bug of ours costs this connection, never the next one (P2)
                log.exception("the link broke on a fault of its own")
                self._show(Phase.OFFLINE, f"a fault of this program: {type(error).__name__}")
            with suppress(DiskError, CorruptError, sqlite3.Error):
                await self._fold_the_rest()
            attempt = 0 if time.monotonic() - started > 30 else attempt + 1
            await self._pause(attempt)

    async def _pause(self, attempt: int) -> None:
        """Wait before the next attempt, the longer the more have failed; not so long if something was said here since the last began."""
        if self._switched.is_set():
            return
        top_ms = min(limits.BACKOFF_MS_MAX, limits.BACKOFF_MS_MIN * 2 ** min(attempt, 8))
        pause = random.uniform(limits.BACKOFF_MS_MIN, top_ms) / 1000
        at_least = min(pause, random.uniform(0.5, 1) * limits.BACKOFF_WORKING_MS_MAX / 1000)
        with suppress(TimeoutError):
            async with asyncio.timeout(at_least):
                await self._switched.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(pause - at_least):
                await self._wake.wait()

    async def _live(self) -> None:
        self._show(Phase.CONNECTING, "")
        if self._replica.is_copy or self._replica.is_forked:
            await self._become_another()
        elif self._wants_key() and (self._has_delivered or self._replica.asked_for_key):
            await self._change_key()
        token = await self._token()
        async with connect(
            self._url,
            additional_headers={"Authorization": f"Bearer {token}"},
            compression=None,
            max_size=limits.FRAME_BYTES_MAX,
            open_timeout=limits.CONNECT_TIMEOUT_MS / 1000,
            ping_interval=None,
            close_timeout=2,
            proxy=None,
        ) as socket:
            self._socket = socket
            if not self._enabled:
                socket.transport.abort()
                return
            talk = self._talk = self._last = Session(Side.DEVICE, now_ms=_monotonic_ms())
            self._denied.clear()
            self._claimed.clear()
            # Not a TaskGroup: one that breaks at the moment of its own cancellation tells only of the break, and never ends (P2).
            tasks = [asyncio.create_task(self._read(socket, talk)), asyncio.create_task(self._send(socket, talk))]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    if task.done():
                        task.result()
            finally:
                self._socket = self._talk = None
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                # A connection that came up has carried what was said: that it fell is no reason to hurry.
                self._wake.clear()

    async def _become_another(self) -> None:
        """Get a copy a number of its own. One of a revoked device gets none: it mints nothing, and delivers what it has."""
        try:
            await self._renumber()
        except RefusedError as error:
            if error.code != _REVOKED:
                raise
            log.warning("no new number: %s", error)

    async def _change_key(self) -> None:
        """Ask for the new key. A device that is told that there is none goes on under the one it has, and delivers its work.

        Nothing else ends the asking: a server whose answer got lost may have changed the key already, and takes nothing more under the old.
        """
        self._has_delivered, self._wished_ms = False, None
        try:
            await self._renumber()
        except RefusedError as error:
            if error.code not in (_REVOKED, _NO_NUMBERS):
                raise
            log.warning("no new key: %s", error)
            self._keeps_key = True
            if error.code == _REVOKED:
                self._replica.give_up_key()

    def _wants_key(self) -> bool:
        return self._replica.wants_key and not self._keeps_key

    def _may_change_key(self) -> bool:
        """True when this hub has told of each document what it has of ours, and lacks nothing: then nothing need be said twice, and a hub
        restored from a backup takes back what it had lost while it still believes the old key. Work that is refused, or has no end,
        does not keep a device from its key.
        """
        now_ms = _monotonic_ms()
        self._wished_ms = self._wished_ms or now_ms
        if now_ms - self._wished_ms > limits.KEY_WAITS_MS_MAX:
            return True
        told = set(self._documents()) - self._denied <= self._claimed.keys()
        return told and self._replica.waiting().actions == 0

    async def _read(self, socket: ClientConnection, talk: Session) -> None:
        self._open_documents(talk)
        self._wake.set()
        while True:
            wait = max(0, talk.deadline_ms() - _monotonic_ms()) / 1000
            try:
                async with asyncio.timeout(min(wait, self._fold_pause_ms(talk) / 1000) if self._unfolded else wait):
                    message = await socket.recv(decode=False)
            except TimeoutError:
                if self._unfolded:
                    self._fold_some()
                    self._open_documents(talk)
                elif not talk.tick(_monotonic_ms()):
                    socket.transport.abort()
                    raise RetryableError("the server has been silent for too long") from None
                continue
            for event in talk.receive(message, now_ms=_monotonic_ms()):
                await self._take(event, talk)
            if self._unfolded and _monotonic_ms() - self._folded_ms > limits.FOLD_LATER_MS_MAX:
                self._fold_some()
            self._wake.set()
            if socket.transport.get_write_buffer_size() > limits.SEND_BUFFER_BYTES_MAX:
                await asyncio.sleep(0)

    async def _take(self, event: session.Event, talk: Session) -> None:
        match event:
            case session.Opened():
                self._show(Phase.UPDATE_NEEDED if self._outdated else Phase.LIVE, "")
                talk.say(event.document, {REPORT: self._report()})
            case session.Received(document=document, runs=runs):
                admitted = self._replica.admit(document, runs)
                talk.settle(document, heads=admitted.heads, applied=not admitted.refusals)
                if admitted.needs_fresh_start:
                    raise RetryableError(f"the server's update was not taken: {admitted.refusals[0].detail}")
                if not self._unfolded:
                    self._unfolded, self._folded_ms = True, _monotonic_ms()
                if document.startswith(OWN):
                    # The hub says anew what this device may have: what it denied is asked for again.
                    self._denied.clear()
                self._open_documents(talk)
            case session.Acknowledged(document=document, vector=vector, whole=whole, claimed=claimed):
                if whole:
                    self._claimed[document] = claimed
                if self._replica.acknowledged(document, vector, whole=whole, at_ms=_wall_ms()):
                    self._change(last_ack_ms=_wall_ms())
                await self._part_from_copy(document)
            case session.Refused(document=document, detail=detail):
                self._replica.note_refusal(document, detail)
                self._change(detail=str(detail.get("detail", "")))
                await self._part_from_copy(document)
            case session.AccessDenied(document=document, reason=reason):
                self._denied.add(document)
                self._change(detail=f"{document}: {reason}")
            case session.Message(message={"hello": dict(hello)}):
                self._heed(hello)
            case session.Violation(detail=detail):
                raise RetryableError(f"the server said what we do not understand: {detail}")
            case _:
                pass

    async def _part_from_copy(self, document: str) -> None:
        """Two devices speak under one number, a backup was put back or a card copied: this one takes another (REL-R6)."""
        if self._replica.is_doubled(document, self._claimed.get(document, {})):
            await self._renumber()
            raise RetryableError("this device got a new number: it connects again")

    def _fold_pause_ms(self, talk: Session) -> int:
        """How long the wire pauses before rows are folded; while the hub owes answers it is no pause."""
        return limits.FOLD_LATER_MS_MAX if talk.under_way() else limits.FOLD_PAUSE_MS

    def _fold_some(self) -> None:
        """One step of the rows that are behind the log: in the pauses of the wire, so that a backlog is on the disk before it is folded."""
        self._unfolded = self._replica.fold_some()
        self._folded_ms = _monotonic_ms()

    async def _fold_the_rest(self) -> None:
        while self._unfolded:
            self._fold_some()
            await asyncio.sleep(0)

    def _heed(self, hello: dict[str, Any]) -> None:
        clock = hello.get("clock_ms")
        if isinstance(clock, int):
            self._change(clock_ahead_ms=_wall_ms() - clock)
        self._change(revoked=hello.get("revoked") is True)
        if hello.get("new_key") is True and not self._keeps_key:
            self._replica.ask_for_key()
        least = hello.get("schema_min", 0)
        self._outdated = hello.get("protocol", wire.PROTOCOL) != wire.PROTOCOL or (
            isinstance(least, int) and least > self._schema
        )
        if self._outdated:
            self._show(Phase.UPDATE_NEEDED, "")

    async def _send(self, socket: ClientConnection, talk: Session) -> None:
        while True:
            self._wake.clear()
            if self._wants_key() and self._may_change_key():
                self._has_delivered = True
                raise RetryableError("this device gets a new key: it connects again")
            for frame in talk.take_frames():
                await socket.send(frame)
            ready = talk.wanted()
            for document, have in ready:
                talk.offer(document, self._replica.missing(document, have))
            if not ready:
                await self._wake.wait()

    def _open_documents(self, talk: Session) -> None:
        wanted = set(self._documents()) - self._denied
        is_open = set(talk.known_documents())
        for document in sorted(wanted - is_open):
            talk.open(document, self._replica.state_vector(document), proven=self._replica.proven(document))
        for document in sorted(is_open - wanted):
            talk.leave(document)

    def _replica_changed(self, document: str) -> None:
        if self._talk is not None:
            self._talk.committed(document, self._replica.state_vector(document))
        self._wake.set()

    def _report(self) -> dict[str, Any]:
        waiting = self._replica.waiting()
        return {
            "protocol": wire.PROTOCOL,
            "schema": self._schema,
            "waiting": waiting.actions,
            "since_ms": waiting.since_ms,
            "clock_ms": _wall_ms(),
            **self._tells(),
        }

    def _show(self, phase: Phase, detail: str) -> None:
        if phase is not self.status.phase or detail != self.status.detail:
            since = self.status.since_ms if phase is self.status.phase else _wall_ms()
            self._change(phase=phase, detail=detail, since_ms=since)

    def _change(self, **fields: Any) -> None:
        old = self.status
        self.status = LinkStatus(
            phase=fields.get("phase", old.phase),
            since_ms=fields.get("since_ms", old.since_ms),
            last_ack_ms=fields.get("last_ack_ms", old.last_ack_ms),
            detail=fields.get("detail", old.detail),
            clock_ahead_ms=fields.get("clock_ahead_ms", old.clock_ahead_ms),
            revoked=fields.get("revoked", old.revoked),
        )
        for listener in self.on_change:
            listener()


def _plain(error: BaseException) -> str:
    match error:
        case InvalidStatus():
            return f"the server answered {error.response.status_code}"
        case TimeoutError():
            return "the server does not answer"
        case OSError():
            return "no connection to the server"
        case _:
            return str(error) or "the connection broke"


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
