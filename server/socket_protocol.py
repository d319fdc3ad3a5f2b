"""The server's two socket protocols: what a peer may do to the process before, beside and instead of the sync protocol.

The problem: uvicorn's classes trust their peer. Empty frames of a message that never ends keep the event loop parsing, pongs pile up for a
peer that does not read, a request whose head never ends is kept for ever, and frames are parsed before anybody asked who sends them.
None of it reaches the application, so none of it can be refused there.

The method: subclasses of uvicorn's own classes, given to it as `ws=` and `http=`. `GuardedSocket` counts every frame, in slices of what
arrived, so that a flood ends before it was parsed; allows few control frames and few fragments; reads nothing between the request and its
acceptance; and drops a peer that does not read for as long as silence ends a connection. `PatientHttp` ends a request whose head takes too
long, and keeps few of those an address. What they rely on is pinned in pyproject.toml and held by tests (decision 8).

Limits: `sync_core/limits.py`. Times are the event loop's clock.
"""

from __future__ import annotations

import asyncio
from asyncio.transports import BaseTransport
from typing import Any, ClassVar, Final, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request

from sync_core import limits
from sync_core.allowance import Allowance

FLOODED: Final = 4429
"""Close code: too many frames, or none of ours read."""
LINGER_SECONDS: Final = 1.0
"""How long the reason may take to leave before the socket is dropped."""


class GuardedSocket(WebSocketsSansIOProtocol):
    """One upgraded connection, with what its peer may cost counted."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin to count."""
        super().connection_made(transport)
        now_ms = self._now_ms()
        self._frames_left = Allowance(burst=limits.FRAMES_BURST, per_second=limits.FRAMES_PER_SECOND, now_ms=now_ms)
        self._control_left = Allowance(
            burst=limits.CONTROL_FRAMES_BURST, per_second=limits.CONTROL_FRAMES_PER_SECOND, now_ms=now_ms
        )
        self._over = False
        self._unread: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, a slice at a time, until there is too much of it."""
        if len(data) <= limits.READ_SLICE_BYTES:
            if not self._over:
                super().data_received(data)
            return
        for at in range(0, len(data), limits.READ_SLICE_BYTES):
            if self._over:
                return
            super().data_received(data[at : at + limits.READ_SLICE_BYTES])

    def handle_connect(self, event: Request) -> None:
        """Read nothing more until the application has accepted the peer."""
        self.transport.pause_reading()
        super().handle_connect(event)

    def start_keepalive(self) -> None:
        """Called once the handshake is complete: now frames may come."""
        super().start_keepalive()
        self.transport.resume_reading()

    def handle_text(self, event: Frame) -> None:
        """Count, then take."""
        if self._is_counted():
            super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        """Count, then take."""
        if self._is_counted():
            super().handle_bytes(event)

    def handle_cont(self, event: Frame) -> None:
        """Count, also within the message."""
        if not self._is_counted():
            return
        if len(self.frames) >= limits.FRAGMENTS_MAX:
            self._end("a message in too many pieces")
            return
        super().handle_cont(event)

    def handle_ping(self) -> None:
        """Answer, unless there are too many or the answers are not read."""
        if self._is_counted(control=True):
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        """Count; nobody asked for it."""
        if self._is_counted(control=True):
            super().handle_pong(event)

    def pause_writing(self) -> None:
        """The peer does not read: whoever sends waits, and not for ever."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(limits.SILENCE_MS_MAX / 1000, self._end, "what was sent is not read")

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _is_counted(self, *, control: bool = False) -> bool:
        """Count one frame; False when the connection has ended, or ends with it."""
        if self._over:
            return False
        now_ms = self._now_ms()
        if not self._frames_left.take(now_ms):
            self._end("too many frames: slow down")
        elif control and not self._control_left.take(now_ms):
            self._end("too many control frames")
        elif control and self.transport.get_write_buffer_size() > limits.UNREAD_BYTES_MAX:
            self._end("what was sent is not read")
        return not self._over

    def _end(self, reason: str) -> None:
        """End the connection: the application learns why at once, the peer if it reads."""
        if self._over:
            return
        self._over = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": FLOODED, "reason": reason})
        self.disconnected = True  # so that the application's next send ends as for a peer that left
        self.writable.set()
        if not self.handshake_complete or self.transport.get_write_buffer_size() > limits.UNREAD_BYTES_MAX:
            self.transport.abort()
            return
        self.conn.fail(FLOODED, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.close()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _now_ms(self) -> int:
        return int(self.loop.time() * 1000)


class PatientHttp(H11Protocol):
    """One connection before any upgrade: a request's head, and its body, have their time."""

    _half_open: ClassVar[dict[str, dict[PatientHttp, None]]] = {}
    """{address: connections whose request head is not whole, oldest first}."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Wait for the first head."""
        self._deadline: asyncio.TimerHandle | None = None
        self._waits_for_head = False
        super().connection_made(cast(asyncio.Transport, transport))
        self._address = self.client[0] if self.client else "?"
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what arrived; what is still owed of the request has its time."""
        super().data_received(data)
        self._watch()

    def _watch(self) -> None:
        state = self.conn.their_state
        if self.transport.get_protocol() is not self:
            self._unwatch()  # upgraded: no request is owed any more
        elif state is h11.IDLE:
            if not self._waits_for_head:
                self._unwatch()
                self._waits_for_head = True
                self._deadline = self.loop.call_later(limits.HALF_OPEN_MS_MAX / 1000, self._too_slow)
                self._count()
        elif state is h11.SEND_BODY:
            if self._waits_for_head or self._deadline is None:
                self._unwatch()
                self._deadline = self.loop.call_later(limits.BODY_MS_MAX / 1000, self._too_slow)
        else:
            self._unwatch()

    def _count(self) -> None:
        waiting = self._half_open.setdefault(self._address, {})
        waiting[self] = None
        if len(waiting) > limits.HALF_OPEN_PER_ADDRESS_MAX:
            oldest = next(iter(waiting))
            del waiting[oldest]
            oldest._hurry()

    def _hurry(self) -> None:
        """One moment more: an honest request whose head is here already must not go with the flood around it."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(limits.HALF_OPEN_GRACE_MS / 1000, self._too_slow)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._waits_for_head:
            self._waits_for_head = False
            waiting = self._half_open.get(self._address, {})
            waiting.pop(self, None)
            if not waiting:
                self._half_open.pop(self._address, None)

    def _too_slow(self) -> None:
        self._unwatch()
        self.transport.abort()


PROTOCOLS: Final[dict[str, Any]] = {"ws": GuardedSocket, "http": PatientHttp}
"""What `uvicorn.Config` is given."""
