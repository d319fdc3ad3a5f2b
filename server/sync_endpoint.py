"""The sync endpoint: one WebSocket, many documents. A thin shell between a socket, its session, the hub and the writer.

Read a frame, ask the session, commit through the writer, send what the session has to say: in this order. The next frame is read while
the last commits, so that updates of one socket share a commit too; they are settled in their order. A socket whose peer does not
read blocks its own sender only; its cursor stays behind, and it is not read further. server/socket_protocol.py counts frames below;
here the `Door` counts sockets. A revoked device may still deliver what it holds, and is sent nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from server.socket_protocol import FLOODED
from server.writer import Writer
from sync_core import limits, session, wire
from sync_core.allowance import Allowance
from sync_core.hub import Connection, Hub, HubLog, Outcome, Refused, Submission, refusal_message
from sync_core.session import Session, Side

DEVICES_COUNTED_MAX = 10_000
UNSETTLED_MAX = 16
"""Updates of one socket on their way to the disk; a device keeps eight."""

log = logging.getLogger("nahuo.sync")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is behind a token. `readonly` tokens may read `documents` only; a device's are asked of the store each time."""

    device: int
    schema: int = 0
    readonly: frozenset[str] = frozenset()
    key: str = ""
    """Whose sockets are counted together: a device's, or those of one reading token."""
    until_ms: int | None = None
    """When a reading token ends, by the server's wall clock; None for a device, whose link outlives its token."""


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
    ended: Callable[[int], bool]
    """True for a device that was revoked since this server started: an open connection falls silent at once."""
    asks_new_key: Callable[[int], bool]
    """True for a device that shall take another key and has not yet."""
    reported: Callable[[int, dict[str, Any]], Awaitable[None]]
    hello: Callable[[], dict[str, Any]]
    refuse: Callable[[Refused], None]
    """Keep what a peer sent and no chain would take; waits for nothing."""
    now_ms: Callable[[], int]
    door: Door = field(default_factory=lambda: Door())


class Door:
    """How many sockets each peer has, and how often it comes.

    With one too many the oldest ends: it is the dead one of a phone that lost its signal.
    """

    def __init__(self) -> None:
        self._inside: dict[str, list[_Served]] = {}
        self._comings: dict[int, Allowance] = {}
        self._waiting: Counter[int] = Counter()

    async def wait_turn(self, device: int) -> bool:
        """Wait until a device may connect once more; False when too many of its connections wait already."""
        comings = self._comings.get(device)
        if comings is None:
            if len(self._comings) >= DEVICES_COUNTED_MAX:
                self._comings.clear()
            comings = self._comings[device] = Allowance(
                burst=limits.CONNECTS_BURST, per_second=limits.CONNECTS_PER_SECOND, now_ms=_monotonic_ms()
            )
        if comings.take(_monotonic_ms()):
            return True
        if self._waiting[device] >= limits.CONNECTS_WAITING_MAX:
            return False
        self._waiting[device] += 1
        try:
            while not comings.take(_monotonic_ms()):  # noqa: ASYNC110 - time is all it waits for
                await asyncio.sleep(1 / limits.CONNECTS_PER_SECOND)
        finally:
            self._waiting[device] -= 1
            if not self._waiting[device]:
                del self._waiting[device]
        return True

    def enter(self, served: _Served, key: str, most: int) -> None:
        """Count a socket under a key."""
        others = self._inside.setdefault(key, [])
        others.append(served)
        if len(others) > most:
            others[0].end(_End(4409, "another connection of yours took its place"))

    def leave(self, served: _Served, key: str) -> None:
        """Count it no more."""
        others = self._inside.get(key, [])
        if served in others:
            others.remove(served)
        if not others:
            self._inside.pop(key, None)


async def serve_sync(socket: WebSocket, ports: SyncPorts) -> None:
    """Serve one connection until either side ends it."""
    peer: Peer | None = None
    header = socket.headers.get("authorization", "")
    if header.startswith("Bearer "):
        peer = await ports.peer_of_token(header.removeprefix("Bearer "))
        if peer is None:
            await socket.close(4401, "the token is not valid: get a new one")
            return
        if peer.device >= 0 and not await ports.door.wait_turn(peer.device):
            await socket.close(FLOODED, "too many connections: slow down")
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
        self._key = ""
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._opened_ms = _monotonic_ms()
        self._unsent = 0
        self._drained = asyncio.Event()
        self._greeted = self._told_key = False

    async def run(self) -> None:
        self._enter()
        reader = asyncio.ensure_future(self._read())
        sender = asyncio.ensure_future(self._send())
        settler = asyncio.ensure_future(self._settle())
        tasks = (reader, sender, settler, self._ended)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._ports.door.leave(self, self._key)
            self._ports.hub.drop(self._connection)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            while not self._unsettled.empty():
                _, outcome = self._unsettled.get_nowait()
                if outcome is not None:
                    outcome.cancel()
            reason = next((r for r in results if isinstance(r, _End)), _End(1001, "closed"))
            for result in results:
                if isinstance(result, Exception) and not isinstance(result, _EXPECTED):
                    log.error("a connection failed", exc_info=result)
            with suppress(RuntimeError, WebSocketDisconnect, OSError):
                await self._socket.close(reason.code, reason.reason[:40])

    def end(self, reason: _End) -> None:
        """End this connection from outside."""
        if not self._ended.done():
            self._ended.set_exception(reason)

    def _enter(self) -> None:
        """Count this socket: under its address before it has said who it is, under its peer afterwards."""
        self._ports.door.leave(self, self._key)
        if self._peer is None:
            self._key = f"address {self._socket.client.host if self._socket.client else '?'}"
            most = limits.ANONYMOUS_PER_ADDRESS_MAX
        else:
            self._key = self._peer.key
            most = limits.SOCKETS_PER_DEVICE_MAX if self._peer.device >= 0 else limits.READERS_PER_TOKEN_MAX
        self._ports.door.enter(self, self._key, most)

    async def _read(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._patience_ms() / 1000):
                    while self._session.owed() + self._unsent > limits.OWED_FRAMES_MAX:
                        self._drained.clear()
                        await self._drained.wait()
                    message = await self._socket.receive()
            except TimeoutError:
                if self._is_out_of_time() or not self._session.tick(_monotonic_ms()):
                    raise _End(4408, "silent for too long, or without a token") from None
                self._wake.set()
                continue
            if message["type"] == "websocket.disconnect":
                if message.get("code") == FLOODED:
                    self._refuse("wire.flood", str(message.get("reason", "")), b"")
                raise _End(1000, "gone")
            frame = message.get("bytes")
            if frame is None:
                self._refuse("wire.text", "a text frame", str(message.get("text", "")).encode())
                raise _End(1003, "text frames are not used")
            for event in self._session.receive(frame, now_ms=_monotonic_ms()):
                await self._take(event)
            self._wake.set()

    def _patience_ms(self) -> int:
        now_ms = _monotonic_ms()
        left = max(0, self._session.deadline_ms() - now_ms)
        if self._peer is None:
            return min(left, max(0, self._opened_ms + limits.ANONYMOUS_MS_MAX - now_ms))
        if self._peer.until_ms is not None:
            return min(left, max(0, self._peer.until_ms - self._ports.now_ms()))
        return left

    def _is_out_of_time(self) -> bool:
        if self._peer is None:
            return _monotonic_ms() - self._opened_ms >= limits.ANONYMOUS_MS_MAX
        return self._peer.until_ms is not None and self._peer.until_ms <= self._ports.now_ms()

    def _asks_new_key(self) -> bool:
        asks = not self._silent and self._ports.asks_new_key(self._connection.device)
        self._told_key = self._told_key or asks
        return asks

    def _refuse(self, code: str, detail: str, frame: bytes, *, document: str = "") -> None:
        """Keep what a known peer sent and nobody can take; of a stranger nothing is kept."""
        if self._peer is not None:
            device = self._peer.device
            self._ports.refuse(
                Refused(
                    document=document,
                    device=device,
                    seq=0,
                    code=code,
                    detail=detail,
                    stored=frame,
                    sent_by=device,
                    received_ms=self._ports.now_ms(),
                )
            )

    async def _take(self, event: session.Event) -> None:
        match event:
            case session.AuthAsked():
                await self._authorise(event)
            case session.Received():
                await self._commit(event)
            case session.Message(message={"report": dict(report)}) if self._peer is not None:
                await self._ports.reported(self._peer.device, report)
            case session.Violation(document=document, code=code, detail=detail, frame=frame, fatal=fatal):
                self._refuse(code, detail, frame, document=document)
                if fatal:
                    raise _End(4400, f"{code}: {detail}")
            case _:
                pass

    async def _authorise(self, asked: session.AuthAsked) -> None:
        if self._peer is None:
            self._peer = await self._ports.peer_of_token(asked.token)
            if self._peer is None:
                self._session.deny(asked.document, reason="permission-denied")
                return
            self._connection.device = self._peer.device
            self._enter()
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
                {
                    "hello": {
                        "protocol": wire.PROTOCOL,
                        "clock_ms": self._ports.now_ms(),
                        **self._ports.hello(),
                        **({"revoked": True} if self._silent else {}),
                        **({"new_key": True} if self._asks_new_key() else {}),
                    }
                },
            )
        for event in later:
            await self._take(event)

    async def _commit(self, received: session.Received) -> None:
        outcome = None
        if received.runs:
            submission = Submission(
                document=received.document,
                runs=received.runs,
                sent_by=self._peer.device if self._peer else -1,
                received_ms=self._ports.now_ms(),
                update=received.update,
            )
            outcome = self._ports.writer.submit(submission)
        await self._unsettled.put((received.document, outcome))

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
            self._silent = self._silent or self._ports.ended(self._connection.device)
            if self._greeted and not self._told_key and self._asks_new_key():
                # It was asked for after this device was greeted: it connects again and is told then.
                raise _End(1000, "a new key is wanted: connect again")
            sent = await self._flush()
            for document, have in self._session.wanted():
                runs, update = self._ports.hub.answer(document, have) if not self._silent else ((), b"\x00\x00")
                self._session.offer(document, runs, encoded=update)
                sent += 1 + await self._flush()
            if not sent or self._silent:
                await self._wake.wait()

    async def _flush(self) -> int:
        frames = self._session.take_frames()
        self._unsent = len(frames)
        for frame in frames:
            await self._socket.send_bytes(frame)
            self._unsent -= 1
        self._drained.set()
        return len(frames)


class _End(Exception):
    """The connection ends with this code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


_EXPECTED = (_End, WebSocketDisconnect, OSError)
"""How a connection may end; anything else is a bug of ours and is logged."""


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
