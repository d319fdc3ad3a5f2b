"""The session: one connection's protocol, without any I/O. The same class serves the hub's end and the device's.

Bytes, commit notices and `now_ms` go in; frames to send, events for the shell and the next deadline come out. The shell reads a
frame, asks the session, commits what the session hands it, tells the session, and sends what it finds in `take_frames`.

How nothing is lost. A SyncStatus has no id, so it is a hint only: each end counts per document what the other surely has (`peer`)
and what it has itself committed (`local`), as {writer: seq}. What lies between is offered, in log order, as few updates as the
limit allows, and never back to who sent it. A hub says `applied` after its commit only, in the order the updates came. After any
break both start again from the state vectors of committed envelopes, so a lost, repeated or late frame costs bytes, not facts.

Flow. `wanted()` names the documents that have something for the peer and room to send it; the shell reads the log and calls `offer`.
No message is queued for a slow reader: its cursor just stays behind. A device keeps at most `UPDATES_IN_FLIGHT_MAX` updates
unanswered; a hub is bounded by its socket's buffer, which the shell watches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from sync_core import gate, limits, wire
from sync_core.allowance import Allowance
from sync_core.errors import MalformedError
from sync_core.gate import Run
from sync_core.session_events import (
    AccessDenied,
    Acknowledged,
    AuthAsked,
    Event,
    Message,
    Opened,
    Received,
    Refused,
    Violation,
)

__all__ = [
    "READ_ONLY",
    "READ_WRITE",
    "AccessDenied",
    "Acknowledged",
    "AuthAsked",
    "Event",
    "Message",
    "Opened",
    "Received",
    "Refused",
    "Session",
    "Side",
    "Violation",
]


class Side(Enum):
    """Which end of the connection this is."""

    HUB = "hub"
    DEVICE = "device"


READ_WRITE = "read-write"
READ_ONLY = "readonly"


@dataclass(slots=True, kw_only=True)
class _Channel:
    """One document on this connection."""

    address: str
    scope: str = ""
    local: dict[int, int] = field(default_factory=dict)
    peer: dict[int, int] = field(default_factory=dict)
    proven: dict[int, int] = field(default_factory=dict)
    """Device: how far the hub has acknowledged our very bytes."""
    asked: bool = False
    """The peer's step 1 came and its answer, ended by a step 2, is still owed."""
    in_sync: bool = False
    """The peer's step 1 was answered once: from now on plain updates flow."""
    in_flight: deque[dict[int, int]] = field(default_factory=deque)
    applied: list[dict[int, int]] = field(default_factory=list)
    """Device: the ends of updates that were applied, to be told together: each telling is a commit on the device."""
    blocked: bool = False
    """Device: the hub refused our work here; nothing more is offered on this connection, a person must look."""
    refused: set[int] = field(default_factory=set)
    """Device: others of whom the hub refused something; nothing of theirs is offered to it any more on this connection."""
    whole_ms: int | None = None
    """Device: when the hub's answer to our step 1 ended."""
    unsettled: deque[Mapping[str, Any] | None] = field(default_factory=deque)
    """Updates not answered yet, in their order: None is with the shell, which settles it; else why this one is refused."""

    def lacks(self) -> bool:
        """True when the peer has not been given all that is committed here."""
        return any(seq > self.peer.get(writer, 0) for writer, seq in self.local.items())


class Session:
    """One connection. `now_ms` is a monotonic clock's whole milliseconds."""

    def __init__(self, side: Side, *, now_ms: int) -> None:
        self._side = side
        self._channels: dict[str, _Channel] = {}
        self._frames: list[bytes] = []
        self._heard_ms = now_ms
        self._pinged_ms = now_ms
        self._early: dict[str, list[bytes]] = {}
        """Hub: frames that came before the document was granted, bounded."""
        self._denied: set[str] = set()
        """Hub: documents it did not let the peer have; what a peer sends before it has heard so is passed over. Bounded."""
        self._left: set[str] = set()
        """Device: documents not open any more of which the hub had all that was here."""
        self._denied_ms: dict[str, int] = {}
        """Device: since when the hub does not let us have a document."""
        self._asks = Allowance(burst=limits.ASKS_BURST, per_second=limits.ASKS_PER_SECOND, now_ms=now_ms)
        self.updates_sent = 0

    # --- out --------------------------------------------------------------------------------------------------------------

    def take_frames(self) -> list[bytes]:
        """Return the frames to send now, in order, and forget them."""
        frames, self._frames = self._frames, []
        return frames

    def owed(self) -> int:
        """Return how many frames wait to be taken; a shell does not read on while they are many."""
        return len(self._frames)

    def deadline_ms(self) -> int:
        """Return when `tick` wants to be called."""
        if self._side is Side.HUB:
            return min(self._pinged_ms + limits.PING_INTERVAL_MS, self._heard_ms + limits.SILENCE_MS_MAX)
        return self._heard_ms + limits.SILENCE_MS_MAX

    def tick(self, now_ms: int) -> bool:
        """Keep the connection alive; False when the peer has been silent for too long and the socket must be closed."""
        if now_ms - self._heard_ms >= limits.SILENCE_MS_MAX:
            return False
        if self._side is Side.HUB and now_ms - self._pinged_ms >= limits.PING_INTERVAL_MS:
            self._pinged_ms = now_ms
            self._frames.append(wire.PING)
        return True

    def documents(self) -> list[str]:
        """Return the documents open on this connection."""
        return [document for document, channel in self._channels.items() if channel.scope]

    def under_way(self) -> bool:
        """Device: True while the hub has not answered all that was sent."""
        return any(channel.in_flight for channel in self._channels.values())

    def heard(self, document: str) -> tuple[int, int] | None:
        """Device: from when to when the hub had told all that it has of a document: it answered in full, was heard last. None before."""
        channel = self._channels.get(document)
        return None if channel is None or channel.whole_ms is None else (channel.whole_ms, self._heard_ms)

    def hub_has(self, document: str, *, heard_ms: int | None = None) -> bool:
        """Device: True when the hub was seen on this connection to have all of a document that is here, or takes no more of it.

        Others' words and the hub's own count as well: a hub restored from a backup gets those back from whoever still has them. It denies
        what it does not know yet, until it has read of it in the device's own document: a denial counts when it has stood for a while.
        `heard_ms`: when the hub was heard last, where the shell knows better.
        """
        channel = self._channels.get(document)
        if channel is None:
            heard_ms = self._heard_ms if heard_ms is None else heard_ms
            denied_ms = self._denied_ms.get(document, heard_ms)
            return document in self._left or heard_ms - denied_ms > limits.DENIAL_STANDS_MS
        if channel.scope == READ_ONLY or channel.blocked:
            return True
        whole = channel.in_sync and not channel.asked and not channel.in_flight
        return whole and not channel.lacks()

    def known_documents(self) -> list[str]:
        """Return the documents asked for on this connection, granted or not."""
        return list(self._channels)

    # --- opening ----------------------------------------------------------------------------------------------------------

    def open(
        self, document: str, local: Mapping[int, int], *, token: str = "", proven: Mapping[int, int] | None = None
    ) -> None:
        """Device: ask for a document, saying what we have committed of it.

        `proven` {our number: last seq whose very bytes the hub has acknowledged}: what the hub counts beyond it may be a copy's.
        """
        self._left.discard(document)
        self._denied_ms.pop(document, None)
        self._channels[document] = _Channel(address=document, local=dict(local), proven=dict(proven or {}))
        self._send(wire.Auth(address=document, token=token))
        self._send(wire.Step1(address=document, vector=gate.encode_state_vector(local)))

    def leave(self, document: str) -> None:
        """Device: stop syncing a document."""
        if self.hub_has(document):
            self._left.add(document)
        channel = self._channels.pop(document, None)
        if channel is not None:
            self._send(wire.Close(address=channel.address, reason=""))

    def grant(self, document: str, *, scope: str, local: Mapping[int, int], now_ms: int) -> list[Event]:
        """Hub: let the peer have a document; returns the events of what it had sent before."""
        channel = self._channels[document]
        channel.scope = scope
        # What was committed since `local` was read, on another thread, has been told already and must not be forgotten.
        for writer, seq in local.items():
            channel.local[writer] = max(seq, channel.local.get(writer, 0))
        self._send(wire.Granted(address=channel.address, scope=scope))
        self._send(wire.Step1(address=channel.address, vector=gate.encode_state_vector(channel.local)))
        events: list[Event] = []
        for frame in self._early.pop(document, []):
            events += self.receive(frame, now_ms=now_ms)
        return events

    def deny(self, document: str, *, reason: str) -> None:
        """Hub: do not let the peer have a document; a later Auth is a fresh start."""
        channel = self._channels.pop(document)
        self._early.pop(document, None)
        if len(self._denied) < limits.DOCUMENTS_PER_CONNECTION_MAX:
            self._denied.add(document)
        self._send(wire.Denied(address=channel.address, reason=reason))

    def say(self, document: str, message: Mapping[str, Any]) -> None:
        """Send a stateless message."""
        channel = self._channels.get(document)
        if channel is not None:
            self._send(wire.Stateless(address=channel.address, message=message))

    # --- in ---------------------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, *, now_ms: int) -> list[Event]:
        """Take one binary message of the peer; return what the shell has to do. Never raises."""
        self._heard_ms = now_ms
        try:
            frame = wire.decode_frame(data)
        except MalformedError as error:
            return [Violation(document="", code=error.code, detail=str(error), frame=data, fatal=True)]
        match frame:
            case wire.Ping():
                self._frames.append(wire.PONG)
                return []
            case wire.Pong():
                return []
            case wire.Auth() | wire.Step1() if self._side is Side.HUB and not self._asks.take(now_ms):
                detail = "too many questions: each makes the hub read its log"
                return [Violation(document="", code="wire.asks", detail=detail, frame=data, fatal=True)]
            case wire.Auth():
                return self._receive_auth(frame)
            case _:
                pass
        document = wire.document_of(frame.address)
        channel = self._channels.get(document)
        if channel is None:
            if self._side is Side.DEVICE or document in self._denied:
                return []
            return [
                Violation(
                    document=document,
                    code="wire.no_auth",
                    detail="a frame came before the document was asked for",
                    frame=data,
                    fatal=True,
                )
            ]
        if self._side is Side.HUB and not channel.scope:
            return self._hold_early(document, data)
        match frame:
            case wire.Granted(scope=scope) if self._side is Side.DEVICE:
                channel.scope = scope
                return [Opened(document=document, scope=scope)]
            case wire.Denied(reason=reason) if self._side is Side.DEVICE:
                del self._channels[document]
                self._denied_ms[document] = now_ms
                return [AccessDenied(document=document, reason=reason)]
            case wire.Step1(vector=vector):
                return self._receive_step1(document, channel, vector, data)
            case wire.Update(update=update, answer=answer):
                return self._receive_update(document, channel, update, answer, data)
            case wire.Status(applied=applied) if self._side is Side.DEVICE:
                return self._receive_status(document, channel, applied)
            case wire.Stateless(message=message):
                if self._side is Side.DEVICE and isinstance(message.get("refused"), dict):
                    return self._receive_refused(document, channel, message["refused"])
                return [Message(document=document, message=message)]
            case wire.Close():
                del self._channels[document]
                return []
            case wire.Ignored(type=kind):
                if kind is wire.FrameType.QUERY_AWARENESS:
                    self._send(wire.Ignored(address=channel.address, type=wire.FrameType.AWARENESS))
                return []
            case _:
                return [
                    Violation(
                        document=document,
                        code="wire.side",
                        detail="this end does not take such a frame",
                        frame=data,
                        fatal=True,
                    )
                ]

    def settle(
        self, document: str, *, heads: Mapping[int, int], applied: bool, refusal: Mapping[str, Any] | None = None
    ) -> None:
        """The shell has committed (or not) the oldest unsettled `Received` of a document; `heads` are the writers' new last seqs.

        On the hub this sends the one SyncStatus of that update; where something was refused, also why, and a step 1, so that the
        peer starts again from what is committed.
        """
        channel = self._channels.get(document)
        if channel is None:
            return
        for writer, seq in heads.items():
            channel.local[writer] = max(seq, channel.local.get(writer, 0))
        if channel.unsettled:
            channel.unsettled.popleft()
        if self._side is Side.DEVICE:
            return
        self._answer(channel, heads=heads, applied=applied, refusal=refusal)
        while channel.unsettled and channel.unsettled[0] is not None:
            self._answer(channel, heads={}, applied=False, refusal=channel.unsettled.popleft())

    def _answer(
        self, channel: _Channel, *, heads: Mapping[int, int], applied: bool, refusal: Mapping[str, Any] | None
    ) -> None:
        if not applied:
            # What the peer claimed to have and we did not take is not ours to count on.
            for writer in list(channel.peer):
                channel.peer[writer] = min(
                    channel.peer[writer], max(channel.local.get(writer, 0), heads.get(writer, 0))
                )
            if refusal is not None:
                self._send(wire.Stateless(address=channel.address, message={"refused": dict(refusal)}))
        self._send(wire.Status(address=channel.address, applied=applied))
        if not applied and channel.scope != READ_ONLY:
            self._send(wire.Step1(address=channel.address, vector=gate.encode_state_vector(channel.local)))

    def committed(self, document: str, heads: Mapping[int, int]) -> bool:
        """Something of a document was committed here (by anybody); True when this peer wants it."""
        channel = self._channels.get(document)
        if channel is None:
            return False
        news = False
        for writer, seq in heads.items():
            if seq > channel.local.get(writer, 0):
                channel.local[writer] = seq
            news = news or seq > channel.peer.get(writer, 0)
        return news and bool(channel.scope or self._side is Side.DEVICE)

    # --- offering ---------------------------------------------------------------------------------------------------------

    def wanted(self) -> list[tuple[str, Mapping[int, int]]]:
        """Return (document, what the peer has) of each document that has something to send now, and room for it."""
        ready: list[tuple[str, Mapping[int, int]]] = []
        for document, channel in self._channels.items():
            if not (channel.asked or channel.in_sync) or not channel.scope:
                continue
            if self._side is Side.DEVICE and (
                channel.blocked or channel.scope == READ_ONLY or len(channel.in_flight) >= limits.UPDATES_IN_FLIGHT_MAX
            ):
                continue
            if channel.asked or channel.lacks():
                ready.append((document, dict(channel.peer)))
        return ready

    def offer(self, document: str, runs: Sequence[Run], *, encoded: bytes | None = None) -> None:
        """Send these runs, which continue what `wanted` said the peer has; `encoded` is their update when the shell has it already."""
        channel = self._channels.get(document)
        if channel is None:
            return
        ends = {run.device: run.last_seq for run in runs}
        channel.peer.update(ends)
        if not runs and self._side is Side.DEVICE:
            # The log has no more of it: the document left meanwhile, or this device has another number.
            channel.local = {writer: min(seq, channel.peer.get(writer, 0)) for writer, seq in channel.local.items()}
        answer = channel.asked and not channel.lacks()
        if not runs and not answer:
            return
        update = encoded if encoded is not None else gate.encode_update(runs)
        self._send(wire.Update(address=channel.address, update=update, answer=answer))
        self.updates_sent += 1
        if self._side is Side.DEVICE:
            channel.in_flight.append(ends)
        if answer:
            channel.asked, channel.in_sync = False, True

    # --- inside -----------------------------------------------------------------------------------------------------------

    def _send(self, frame: wire.Frame) -> None:
        self._frames.append(wire.encode_frame(frame))

    def _receive_auth(self, frame: wire.Auth) -> list[Event]:
        document = wire.document_of(frame.address)
        if self._side is Side.DEVICE or len(document.encode()) > limits.NAME_BYTES_MAX or not document:
            return [
                Violation(
                    document="", code="wire.side", detail="this end is not asked for documents", frame=b"", fatal=True
                )
            ]
        if document not in self._channels and len(self._channels) >= limits.DOCUMENTS_PER_CONNECTION_MAX:
            return [
                Violation(
                    document="",
                    code="wire.documents",
                    detail="too many documents on one connection",
                    frame=b"",
                    fatal=True,
                )
            ]
        self._channels[document] = _Channel(address=frame.address)
        self._early.pop(document, None)
        self._denied.discard(document)
        return [AuthAsked(document=document, address=frame.address, token=frame.token)]

    def _hold_early(self, document: str, data: bytes) -> list[Event]:
        held = self._early.setdefault(document, [])
        if sum(map(len, self._early.values())) >= limits.UNDECIDED_FRAMES_MAX:
            return [
                Violation(
                    document=document,
                    code="wire.early",
                    detail="too much came before the decision",
                    frame=b"",
                    fatal=True,
                )
            ]
        held.append(data)
        return []

    def _receive_step1(self, document: str, channel: _Channel, vector_bytes: bytes, data: bytes) -> list[Event]:
        try:
            vector = gate.parse_state_vector(vector_bytes)
        except MalformedError as error:
            return [Violation(document=document, code=error.code, detail=str(error), frame=data, fatal=True)]
        channel.peer = {**vector, **dict.fromkeys(channel.refused, limits.INTEGER_MAX)}
        for writer, seq in channel.proven.items():
            channel.peer[writer] = min(seq, vector.get(writer, 0))
        channel.asked = True
        channel.applied.clear()
        # Updates still in flight keep their place in the queue: each gets its own status, in order, whatever is sent again.
        if self._side is Side.DEVICE:
            return [Acknowledged(document=document, vector=dict(channel.peer), whole=True, claimed=vector)]
        return []

    def _receive_refused(self, document: str, channel: _Channel, detail: Mapping[str, Any]) -> list[Event]:
        """Sent again it would be refused again; only a hole is filled by sending again. A hub that was restored may not know who wrote
        what we hold of others: that keeps nobody from delivering his own.
        """
        writer = detail.get("device")
        if detail.get("code") == "gate.gap":
            pass
        elif isinstance(writer, int) and channel.proven and writer not in channel.proven:
            channel.refused.add(writer)
            channel.peer[writer] = limits.INTEGER_MAX
        else:
            channel.blocked = True
        return [Refused(document=document, detail=detail)]

    def _receive_update(
        self, document: str, channel: _Channel, update: bytes, answer: bool, data: bytes
    ) -> list[Event]:
        try:
            runs = gate.parse_update(update)
        except MalformedError as error:
            if self._side is Side.HUB:
                # Answered in order: its status must not overtake that of an update still being committed.
                refusal = {"document": document, "code": error.code, "detail": str(error)}
                if channel.unsettled:
                    channel.unsettled.append(refusal)
                else:
                    self._answer(channel, heads={}, applied=False, refusal=refusal)
            return [Violation(document=document, code=error.code, detail=str(error), frame=data, fatal=False)]
        if self._side is Side.HUB and channel.scope == READ_ONLY:
            adds = any(run.last_seq > channel.local.get(run.device, 0) for run in runs)
            self._send(wire.Status(address=channel.address, applied=answer and not adds))
            if not adds:
                return []
            detail = "a reader sent an update"
            return [Violation(document=document, code="wire.readonly", detail=detail, frame=data, fatal=False)]
        if answer and self._side is Side.DEVICE and channel.whole_ms is None:
            channel.whole_ms = self._heard_ms
        for run in runs:
            if (
                run.device not in channel.proven
            ):  # Under our own number only a copy's words come: ours are still to be shown.
                channel.peer[run.device] = max(run.last_seq, channel.peer.get(run.device, 0))
        if not runs:
            if self._side is Side.HUB:
                # Settled in order: an empty step 2 must not overtake the answer to an update still being committed.
                channel.unsettled.append(None)
                return [Received(document=document, runs=(), update=update)]
            return []
        channel.unsettled.append(None)
        return [Received(document=document, runs=runs, update=update)]

    def _receive_status(self, document: str, channel: _Channel, applied: bool) -> list[Event]:
        if not channel.in_flight:
            return []
        ends = channel.in_flight.popleft()
        # What was not taken is told anew by the step 1 behind this: until then nobody knows what the hub has.
        channel.in_sync = channel.in_sync and applied
        if applied and ends:
            for writer in channel.proven.keys() & ends.keys():
                channel.proven[writer] = max(channel.proven[writer], ends[writer])
            channel.applied.append(ends)
        if not channel.applied or (channel.in_flight and len(channel.applied) < limits.ACKNOWLEDGED_TOGETHER_MAX):
            return []
        told = {writer: seq for ends in channel.applied for writer, seq in ends.items()}
        channel.applied.clear()
        return [Acknowledged(document=document, vector=told, whole=False)]
