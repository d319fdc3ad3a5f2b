"""The sync endpoint: one WebSocket, many documents. A thin shell between a socket, its session, the hub and the writer.

Read a frame, ask the session, commit through the writer, send what the session has to say: in this order. The next frame is read while
the last commits, so that updates of one socket share a commit too; they are settled in their order. A socket whose peer does not
read blocks its own sender only; its cursor stays behind. Frames and control frames are counted per connection, envelopes never.
A revoked device may still deliver what it holds, and is sent nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from server.writer import Writer
from sync_core import session, wire
from sync_core.gate import Run
from sync_core.hub import Connection, Hub, HubLog, Outcome, Refused, Submission, refusal_message
from sync_core.session import Session, Side

FRAMES_PER_SECOND = 400
FRAMES_BURST = 2_000
"""A device that sends a backlog sends some 600 envelopes a frame; no honest one comes near."""

UNSETTLED_MAX = 16
"""Updates of one socket on their way to the disk; a device keeps eight."""

ANONYMOUS_SECONDS = 10
"""A stock client that presents its token in the first frame has this long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is behind a token. `readonly` tokens may read `documents` only; a device's are asked of the store each time."""

    device: int
    schema: int = 0
    readonly: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncPorts:
    """What the endpoint asks of the rest of the server."""

    hub: Hub
    log: HubLog
    writer: Writer
    peer_of_token: Callable[[str], Awaitable[Peer | None]]
    scope_of: Callable[[Peer, str], Awaitable[str | None]]
    """(peer, document) -> "read-write", "readonly" or None."""
    is_revoked: Callable[[int], Awaitable[bool]]
    reported: Callable[[int, dict[str, Any]], Awaitable[None]]
    hello: Callable[[], dict[str, Any]]
    quarantine: Callable[[Refused], Awaitable[None]]
    now_ms: Callable[[], int]


async def serve_sync(socket: WebSocket, ports: SyncPorts) -> None:
    """Serve one connection until either side ends it."""
    peer: Peer | None = None
    header = socket.headers.get("authorization", "")
    if header.startswith("Bearer "):
        peer = await ports.peer_of_token(header.removeprefix("Bearer "))
        if peer is None:
            await socket.close(4401, "the token is not valid: get a new one")
            return
    await socket.accept()
    await _Served(socket, ports, peer).run()


class _Served:
    """One accepted socket."""

    def __init__(self, socket: WebSocket, ports: SyncPorts, peer: Peer | None) -> None:
        self._socket = socket
        self._ports = ports
        self._peer = peer
        self._wake = asyncio.Event()
        self._session = Session(Side.HUB, now_ms=_monotonic_ms())
        self._connection = Connection(session=self._session, device=peer.device if peer else -1, wake=self._wake.set)
        self._unsettled: asyncio.Queue[tuple[str, asyncio.Future[Outcome] | None]] = asyncio.Queue(UNSETTLED_MAX)
        self._silent = False
        """A revoked device: it delivers, and is sent no envelopes."""
        self._allowance = float(FRAMES_BURST)
        self._counted = time.monotonic()
        self._greeted = False

    async def run(self) -> None:
        reader = asyncio.ensure_future(self._read())
        sender = asyncio.ensure_future(self._send())
        settler = asyncio.ensure_future(self._settle())
        tasks = (reader, sender, settler)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._ports.hub.drop(self._connection)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            while not self._unsettled.empty():
                _, outcome = self._unsettled.get_nowait()
                if outcome is not None:
                    outcome.cancel()
            reason = next((r for r in results if isinstance(r, _End)), _End(1001, "closed"))
            with suppress(RuntimeError, WebSocketDisconnect, OSError):
                await self._socket.close(reason.code, reason.reason[:120])

    async def _read(self) -> None:
        while True:
            wait = (
                ANONYMOUS_SECONDS
                if self._peer is None
                else max(0.0, (self._session.deadline_ms() - _monotonic_ms()) / 1000)
            )
            try:
                async with asyncio.timeout(wait):
                    message = await self._socket.receive()
            except TimeoutError:
                if self._peer is None or not self._session.tick(_monotonic_ms()):
                    raise _End(4408, "silent for too long") from None
                self._wake.set()
                continue
            if message["type"] == "websocket.disconnect":
                raise _End(1000, "gone")
            frame = message.get("bytes")
            if frame is None:
                raise _End(1003, "text frames are not used")
            self._count()
            for event in self._session.receive(frame, now_ms=_monotonic_ms()):
                await self._take(event)
            self._wake.set()

    async def _take(self, event: session.Event) -> None:
        match event:
            case session.AuthAsked():
                await self._authorise(event)
            case session.Received(document=document, runs=runs):
                await self._commit(document, runs)
            case session.Message(message={"report": dict(report)}) if self._peer is not None:
                await self._ports.reported(self._peer.device, report)
            case session.Violation(fatal=True, code=code, detail=detail):
                raise _End(4400, f"{code}: {detail}")
            case session.Violation(document=document, code=code, detail=detail, frame=frame) if self._peer is not None:
                refused = Refused(
                    document=document, device=self._peer.device, seq=0, code=code, detail=detail, stored=frame,
                    sent_by=self._peer.device, received_ms=self._ports.now_ms(),
                )  # fmt: skip
                await self._ports.quarantine(refused)
            case _:
                pass

    async def _authorise(self, asked: session.AuthAsked) -> None:
        if self._peer is None:
            self._peer = await self._ports.peer_of_token(asked.token)
            if self._peer is None:
                self._session.deny(asked.document, reason="permission-denied")
                return
            self._connection.device = self._peer.device
        self._silent = await self._ports.is_revoked(self._peer.device)
        scope = await self._ports.scope_of(self._peer, asked.document)
        if scope is None:
            self._session.deny(asked.document, reason="permission-denied")
            return
        # Subscribe before reading the vector: what is committed in between is then told twice, never missed.
        self._ports.hub.subscribe(self._connection, asked.document)
        local = await asyncio.to_thread(self._ports.log.read_vector, asked.document)
        later = self._session.grant(asked.document, scope=scope, local=local, now_ms=_monotonic_ms())
        if not self._greeted:
            self._greeted = True
            self._session.say(
                asked.document,
                {"hello": {"protocol": wire.PROTOCOL, "clock_ms": self._ports.now_ms(), **self._ports.hello()}},
            )
        for event in later:
            await self._take(event)

    async def _commit(self, document: str, runs: tuple[Run, ...]) -> None:
        outcome = None
        if runs:
            sent_by = self._peer.device if self._peer else -1
            submission = Submission(document=document, runs=runs, sent_by=sent_by, received_ms=self._ports.now_ms())
            outcome = self._ports.writer.submit(submission)
        await self._unsettled.put((document, outcome))

    async def _settle(self) -> None:
        while True:
            document, future = await self._unsettled.get()
            if future is None:
                self._session.settle(document, heads={}, applied=True)
            else:
                try:
                    outcome = await future
                except OSError:
                    raise _End(1013, "the server cannot store now: come back later") from None
                refusal = None if outcome.refusal is None else refusal_message(document, outcome.refusal)
                self._session.settle(document, heads=outcome.heads, applied=outcome.applied, refusal=refusal)
            self._wake.set()

    async def _send(self) -> None:
        while True:
            self._wake.clear()
            sent = 0
            for frame in self._session.take_frames():
                await self._socket.send_bytes(frame)
                sent += 1
            for document, have in self._session.wanted():
                runs, update = self._ports.hub.answer(document, have) if not self._silent else ((), b"\x00\x00")
                self._session.offer(document, runs, encoded=update)
                sent += 1
                for frame in self._session.take_frames():
                    await self._socket.send_bytes(frame)
            if not sent or self._silent:
                await self._wake.wait()

    def _count(self) -> None:
        now = time.monotonic()
        self._allowance = min(FRAMES_BURST, self._allowance + (now - self._counted) * FRAMES_PER_SECOND)
        self._counted = now
        self._allowance -= 1
        if self._allowance < 0:
            raise _End(4429, "too many frames: slow down")


class _End(Exception):
    """The connection ends with this code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
