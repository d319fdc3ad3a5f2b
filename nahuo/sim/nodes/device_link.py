"""A simulated device's end of the link: the real session on the virtual network, a shell like `sync_core.link`.

It connects, opens what the device may sync, commits what comes, offers what the hub lacks, and starts over after every cut. A copy gets a
number of its own before it says anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from clients.runtime.enrol import renumber
from nahuo.sim.nodes.network import Wire
from nahuo.sim.nodes.ports import ask
from nahuo.sim.nodes.process import DeviceProcess
from nahuo.sim.nodes.server import Served
from nahuo.sim.world import MINUTE_MS, Broken
from sync_core import session, wire
from sync_core.errors import DiskFullError, RefusedError, RetryableError
from sync_core.gate import Run
from sync_core.link import OWN
from sync_core.session import Session, Side

OLD_UPDATES_MAX = 20
SENDS_MAX = 2_000


class DeviceLink:
    """Connects one device to the hub, for ever."""

    def __init__(self, device: DeviceProcess) -> None:
        self.world = device.world
        self.server = device.server
        self.name = device.name
        self.refused_number = False
        """The server gives this device no number any more: it is a copy of one that was revoked."""
        self._device = device
        self._wire: Wire | None = None
        self._talk: Session | None = None
        self._epoch = object()
        self._inbox: deque[bytes] = deque()
        self._denied: set[str] = set()
        self._claimed: dict[str, Mapping[int, int]] = {}
        self._ringing = False
        self._has_delivered = False
        """All that was said under the old key is delivered: the new one may be asked for."""
        self._life = 0
        self._tries_at_ms: int | None = None
        self._old_updates: list[bytes] = []
        self._last_up: list[bytes] = []
        self._last_number = 0
        """Whose token the connection before this one showed."""
        device.changed.append(self._replica_changed)
        device.rings.append(self.ring)
        device.down.append(self.lose)

    # --- connecting -------------------------------------------------------------------------------------------------------

    def lose(self) -> None:
        """The connection is gone, whoever ended it."""
        if self._wire is not None:
            self._wire.cut()
        self._forget_connection()

    def radio_wakes(self) -> None:
        """A radio that slept finds that the other end gave up long ago."""
        if self._wire is not None and self._wire.stalled:
            self._wire.cut()

    def connect_later(self, delay_ms: int) -> None:
        """Try in a while; of two plans the sooner holds, so that a phone which comes up early does not wait for its old plan."""
        at_ms = self.world.now_ms + delay_ms
        if self._tries_at_ms is None or at_ms < self._tries_at_ms:
            self._tries_at_ms = at_ms
            self.world.later(delay_ms, f"{self.name} connects", lambda: self._connect(at_ms))

    def _connect(self, planned_ms: int) -> None:
        if planned_ms != self._tries_at_ms:
            return
        self._tries_at_ms = None
        device = self._device
        if device.dead or self._talk is not None:
            return
        if not device.online or device.dozes:
            until_ms = max(device.offline_until_ms, device.dozes_until_ms)
            self.connect_later(until_ms - self.world.now_ms + 1)
            return
        if self.server.down or self.server.unreachable:
            self.connect_later(self.world.random.randrange(1_000, 60_000))
            return
        if device.replica.is_copy and not self._renumber():
            return
        if (
            device.replica.wants_key
            and (self._has_delivered or device.replica.asked_for_key)
            and not self._change_key()
        ):
            return
        if not self.server.heard(device.node.number):
            self.connect_later(self.world.random.randrange(1_000, 60_000))
            return
        self._open_connection()

    def _open_connection(self) -> None:
        served: list[Served] = []
        epoch = self._epoch = object()
        connection = Wire(
            self.world,
            self.name,
            to_hub=lambda frame: self.server.receive(served[0], frame),
            to_device=lambda frame: self._receive(epoch, frame),
            hub_lost=lambda: self.server.lost(served[0]),
            device_lost=lambda: self._lost(epoch),
        )
        self._life = self.server.lives
        served.append(self.server.connect(self._device.node.number, connection))
        self._wire = connection
        self._talk = self._device.link.talk = self._device.link.last = Session(Side.DEVICE, now_ms=self.world.now_ms)
        self._device.link.works = connection.down.works
        self._denied.clear()
        self._claimed.clear()
        self.world.note(f"{self.name} connected")
        self._maybe_replay(connection)
        connection.begin()
        self._safely(self._open_documents)
        self.ring()

    def _renumber(self) -> bool:
        """Get a number of one's own; False when there is none to be had now."""
        device = self._device
        device.guard(self._ask_number)
        if device.dead or self.refused_number:
            return False
        if device.replica.is_copy:
            self.connect_later(self.world.random.randrange(5_000, 60_000))
            return False
        return True

    def _change_key(self) -> bool:
        """Take a new key; False while nobody has answered, so that nothing is said under the old one meanwhile."""
        device = self._device
        self._has_delivered = False
        device.guard(self._ask_number)
        if device.dead:
            return False
        if device.replica.wants_key:
            self.connect_later(self.world.random.randrange(1_000, 60_000))
            return False
        return True

    def _may_change_key(self) -> bool:
        """True when the hub has told of each document what it has of ours, and lacks nothing; now and then a device's time is up before."""
        told = set(self._device.node.wanted_documents()) - self._denied <= self._claimed.keys()
        return (told and not self._device.replica.waiting().actions) or self.world.chance(self.world.faults.new_key / 8)

    def _ask_number(self) -> None:
        device = self._device
        new_key = device.asks_for_key = device.replica.wants_key and not device.replica.is_copy
        try:
            ask(renumber(device.replica, device.key, device.node.door))
        except RetryableError:
            return
        except DiskFullError:
            device.disk.seen_full()
            return
        except RefusedError as error:
            self.world.sometimes(f"number_refused_{error.code}")
            if new_key:
                device.replica.give_up_key()
            else:
                self.refused_number = True
            return
        device.renumbered(new_key=new_key)

    def _maybe_replay(self, connection: Wire) -> None:
        """Old frames come once more: an old update of the hub on the fresh connection, a captured connection at the hub."""
        likely = self.world.faults.replay * 4
        if self._old_updates and self.world.chance(likely):
            self.world.sometimes("replayed_to_device")
            frame = self.world.random.choice(self._old_updates)
            epoch = self._epoch
            self.world.later(
                self.world.random.randrange(1, 60_000), f"{self.name} replay", lambda: self._receive(epoch, frame)
            )
        if self._last_up and self.world.chance(likely):
            self.world.sometimes("replayed_to_hub")
            frames, number = list(self._last_up), self._last_number
            self.world.later(
                self.world.random.randrange(1, 60_000), "replay to hub", lambda: self._replay_to_hub(number, frames)
            )
        self._last_up, self._last_number = connection.up.sent, self._device.node.number

    def _replay_to_hub(self, number: int, frames: Iterable[bytes]) -> None:
        if self.server.down:
            return
        ghost = self.server.connect(number, None)
        for frame in frames:
            self.server.receive(ghost, frame)
        self.world.later(MINUTE_MS, "replay ends", lambda: self.server.lost(ghost))

    def _lost(self, epoch: object) -> None:
        if epoch is self._epoch and self._talk is not None and not self._device.dead:
            self._forget_connection()
            self.connect_later(self.world.random.randrange(250, 30_000))

    def _forget_connection(self) -> None:
        self._inbox.clear()
        self._device.link.talk = None
        self._wire = None
        self._talk = None
        self._epoch = object()

    def _safely(self, call: Callable[[], None]) -> None:
        """Run what came over the network; a disk that is full ends the connection, and it is tried again later."""

        def run() -> None:
            try:
                call()
            except DiskFullError:
                self._device.disk.seen_full()
                self.lose()
                self.connect_later(self.world.random.randrange(5_000, 5 * MINUTE_MS))

        self._device.in_background(run)

    # --- what is open -----------------------------------------------------------------------------------------------------

    def _open_documents(self) -> None:
        talk, replica = self._talk, self._device.replica
        if talk is None:
            return
        wanted = set(self._device.node.wanted_documents()) - self._denied
        is_open = set(talk.known_documents())
        for document in sorted(wanted - is_open):
            talk.open(document, replica.state_vector(document), proven=replica.proven(document))
        for document in sorted(is_open - wanted):
            talk.leave(document)

    # --- receiving --------------------------------------------------------------------------------------------------------

    def _receive(self, epoch: object, frame: bytes) -> None:
        if epoch is not self._epoch or self._talk is None:
            return
        self._inbox.append(frame)
        self._safely(self._read)

    def _read(self) -> None:
        while self._inbox and not self._device.folding and self._talk is not None:
            self._take_frame(self._inbox.popleft())

    def _take_frame(self, frame: bytes) -> None:
        talk = self._talk
        assert talk is not None
        if isinstance(wire.decode_frame(frame), wire.Update) and len(self._old_updates) < OLD_UPDATES_MAX:
            self._old_updates.append(frame)
        for event in talk.receive(frame, now_ms=self.world.now_ms):
            self._take(event, talk)
            if self._talk is not talk:
                return
        self.ring()

    def _take(self, event: session.Event, talk: Session) -> None:
        replica = self._device.replica
        match event:
            case session.Received(document=document, runs=runs):
                self._check_news(document, runs)
                admitted = replica.admit(document, runs)
                talk.settle(document, heads=admitted.heads, applied=not admitted.refusals)
                if admitted.refusals:
                    raise Broken(f"{self.name}: the hub's update was not taken: {admitted.refusals[0]}")
                if document.startswith(OWN):
                    self._denied.clear()
                self._note_folded()
                self._fold_rest()
            case session.Acknowledged(document=document, vector=vector, whole=whole, claimed=claimed):
                if whole:
                    self._claimed[document] = claimed
                replica.acknowledged(document, vector, whole=whole, at_ms=self._device.clock.wall_ms())
                self.check_acknowledged(document)
                self._part_from_copy(document)
            case session.Refused(document=document, detail=detail):
                replica.note_refusal(document, detail)
                self.world.note(f"{self.name} refused {sorted(detail.items())}")
                self._part_from_copy(document)
            case session.AccessDenied(document=document):
                self._denied.add(document)
            case session.Message(message={"hello": {"new_key": True}}):
                replica.ask_for_key()
            case session.Violation(detail=detail):
                raise Broken(f"{self.name}: the hub sent what the session calls a violation: {detail}")
            case _:
                pass

    def _part_from_copy(self, document: str) -> None:
        if not self._device.replica.is_doubled(document, self._claimed.get(document, {})):
            return
        if not self._device.may_be_behind:
            raise Broken(f"REL-R6: {self.name}: the hub is ahead of its only author in {document}")
        self.world.sometimes("old_copy_met_its_later_self")
        self._ask_number()
        self.lose()
        self.connect_later(self.world.random.randrange(1_000, 10_000))

    def _check_news(self, document: str, runs: Iterable[Run]) -> None:
        """Raise when the hub sends an author his own work back; an old copy that has not parted yet is sent what it forgot."""
        for run in runs:
            if run.device == self._device.replica.number and not self._device.may_be_behind:
                raise Broken(f"{self.name}: the hub sent back its own {run.device}.{run.first_seq} of {document}")

    def _note_folded(self) -> None:
        replica = self._device.replica
        waiting = {row[0] for row in replica.conn.execute("SELECT DISTINCT document FROM unfolded")}
        for document in replica.documents():
            if document not in waiting:
                self._device.folded[document] = replica.state_vector(document)

    def _fold_rest(self) -> None:
        """Fold a step; the next frame is read when nothing is left, taps may come between."""
        device = self._device
        if device.dead:
            return
        more = device.replica.fold_some()
        self._note_folded()
        device.folding = more
        if more:
            wait_ms = self.world.random.randrange(1, self.world.faults.fold_ms_max)
            self.world.later(wait_ms, f"{self.name} folds", lambda: self._fold_again(device.crashes))
            return
        self._open_documents()
        self._read()

    def _fold_again(self, life: int) -> None:
        if life == self._device.crashes:
            self._device.in_background(self._fold_or_wait)

    def _fold_or_wait(self) -> None:
        try:
            self._fold_rest()
        except DiskFullError:
            self._device.disk.seen_full()
            life = self._device.crashes
            self.world.later(MINUTE_MS, f"{self.name} folds again", lambda: self._fold_again(life))
            if not self._device.folding:
                # All was folded, and a frame behind it found the disk full: it was not taken, so it must come again.
                self.lose()
                self.connect_later(self.world.random.randrange(5_000, 5 * MINUTE_MS))

    def check_acknowledged(self, document: str) -> None:
        """Raise when the device counts as acknowledged what the server has not committed."""
        if self.server.down or self._life != self.server.lives:
            # A server restored since knows less than it once acknowledged: the next handshake tells.
            return
        replica = self._device.replica
        number = replica.number or 0
        row = replica.conn.execute(
            "SELECT acked FROM writer WHERE document = ? AND device = ?", (document, number)
        ).fetchone()
        acked = row[0] if row is not None else 0
        committed = self.server.store.read_vector(document).get(number, 0)
        if acked > committed:
            raise Broken(f"P8: {self.name}: {document} acknowledged up to {acked}, the server has {committed}")

    # --- sending ----------------------------------------------------------------------------------------------------------

    def _replica_changed(self, document: str) -> None:
        if self._talk is not None:
            self._talk.committed(document, self._device.replica.state_vector(document))

    def ring(self) -> None:
        """There may be something to send."""
        if not self._ringing:
            self._ringing = True
            self.world.later(self.world.random.randrange(1, 20), f"{self.name} sends", self._pump)

    def _pump(self) -> None:
        self._ringing = False
        self._safely(self._send)

    def _send(self) -> None:
        talk, connection = self._talk, self._wire
        if talk is None or connection is None:
            return
        if self._device.replica.wants_key and self._may_change_key():
            self._has_delivered = True
            self.lose()
            self.connect_later(self.world.random.randrange(250, 2_000))
            return
        for _ in range(SENDS_MAX):
            for frame in talk.take_frames():
                connection.up.send(frame)
                if connection.closed:
                    return
            ready = talk.wanted()
            if not ready:
                return
            for document, have in ready:
                talk.offer(document, self._device.replica.missing(document, have))
                self.check_acknowledged(document)
        raise Broken(f"{self.name} sends the same for ever")
