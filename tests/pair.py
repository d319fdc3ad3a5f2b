"""A device and a hub of the toy trade, joined by two real sessions and a wire that a test can cut: no sockets, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sync_core import limits, session
from sync_core.hub import Submission, commit_batch, refusal_message
from sync_core.replica import Replica
from sync_core.session import READ_WRITE, Received, Session, Side
from tests.toy import DOCUMENT, MemoryLog


@dataclass
class Pair:
    """A device's replica and a hub's log, joined by two sessions and a wire that a test can cut."""

    replica: Replica
    log: MemoryLog
    device: Session = field(init=False)
    hub: Session = field(init=False)
    scope: str = READ_WRITE
    documents: Sequence[str] = (DOCUMENT,)

    def connect(self) -> None:
        self.device = Session(Side.DEVICE, now_ms=0)
        self.hub = Session(Side.HUB, now_ms=0)
        for document in self.documents:
            self.device.open(document, self.replica.state_vector(document), proven=self.replica.proven(document))

    def device_frames(self) -> list[bytes]:
        frames = self.device.take_frames()
        for document, have in self.device.wanted():
            self.device.offer(document, self.replica.missing(document, have))
        return frames + self.device.take_frames()

    def hub_frames(self) -> list[bytes]:
        frames = self.hub.take_frames()
        for document, have in self.hub.wanted():
            self.hub.offer(document, self.log.read_missing(document, have, bytes_max=limits.UPDATE_BYTES_MAX))
        return frames + self.hub.take_frames()

    def to_hub(self, frame: bytes) -> None:
        for event in self.hub.receive(frame, now_ms=1):
            self.at_hub(event)

    def at_hub(self, event: session.Event) -> None:
        match event:
            case session.AuthAsked(document=document):
                for later in self.hub.grant(document, scope=self.scope, local=self.log.read_vector(document), now_ms=1):
                    self.at_hub(later)
            case Received(document=document, runs=runs):
                outcome = commit_batch(
                    self.log, [Submission(document=document, runs=runs, sent_by=700, received_ms=1)]
                )[0]
                refusal = None if outcome.refusal is None else refusal_message(document, outcome.refusal)
                self.hub.settle(document, heads=outcome.heads, applied=outcome.applied, refusal=refusal)
            case _:
                pass

    def to_device(self, frame: bytes) -> None:
        for event in self.device.receive(frame, now_ms=1):
            match event:
                case Received(document=document, runs=runs):
                    admitted = self.replica.admit(document, runs)
                    self.device.settle(document, heads=admitted.heads, applied=True)
                case session.Acknowledged(document=document, vector=vector, whole=whole):
                    self.replica.acknowledged(document, vector, whole=whole, at_ms=1)
                case session.Refused(document=document, detail=detail):
                    self.replica.note_refusal(document, detail)
                case _:
                    pass

    def settle(self, rounds: int = 200) -> None:
        for _ in range(rounds):
            up, down = self.device_frames(), self.hub_frames()
            if not up and not down:
                return
            for frame in up:
                self.to_hub(frame)
            for frame in down:
                self.to_device(frame)
        raise AssertionError("the two ends do not come to rest")
