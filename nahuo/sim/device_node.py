"""A simulated device: the real replica on a real file, the real node and actions, the real session; and a battery that may fall out.

A shell like `sync_core.link` and `clients.runtime.launch` on the virtual clock. Whatever enters the device (a tap, a frame, a printer's
turn) goes through `guard`, where a power cut ends the process: memory is gone, the file stays, and the device boots again later.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from clients.field import recalls
from clients.field.actions import CALENDAR
from clients.runtime.node import Node
from clients.warehouse import receivers, wall
from nahuo.sim.network import Wire
from nahuo.sim.ports import Paper, SimClock, SimDoor, SimLink, SimPrinters, SimReplica, SimUnsealer
from nahuo.sim.seams import PIN
from nahuo.sim.server_node import Served, ServerNode
from nahuo.sim.world import HOUR_MS, MINUTE_MS, Broken, PowerCut, World
from sync_core import session, wire
from sync_core.errors import RetryableError
from sync_core.gate import Run
from sync_core.identity import Ed25519Signer
from sync_core.session import Session, Side
from trade.projections import MARKET_DAY

Answer = TypeVar("Answer")


class DeviceNode:
    """One phone or terminal, its person's hand on it, and what survives a crash."""

    def __init__(self, world: World, server: ServerNode, *, name: str, role: str, folder: Path, key: bytes) -> None:
        self.world = world
        self.server = server
        self.name = name
        self.role = role
        self.papers: list[Paper] = []
        """What came out of this device's printers, oldest first."""
        self.done: list[tuple[str, str]] = []
        """(document, fact id) of every action that was shown as done."""
        self.dead = False
        self.offline_until_ms = 0
        self.crashes = 0
        self._folder = folder
        self._signer = Ed25519Signer(key)
        self.public_key = self._signer.public_key
        self._wire: Wire | None = None
        self._served: Served | None = None
        self._talk: Session | None = None
        self._inbox: deque[bytes] = deque()
        self._folding = False
        self._folded: dict[str, dict[int, int]] = {}
        """What surely has its rows: {document: the vector at a moment when nothing there waited to be folded}."""
        self._denied: set[str] = set()
        self._ringing = False
        self._looking = False
        self._printing = False
        self._tries_at_ms: int | None = None
        self._old_updates: list[bytes] = []
        self._replayed: set[int] = set()
        skew_ms = world.storm_faults.clock_wrong_ms_max
        self.clock = SimClock(world, world.random.randrange(-skew_ms, skew_ms + 1) if skew_ms else 0)
        self._boot()

    # --- life and death ---------------------------------------------------------------------------------------------------

    def _boot(self) -> None:
        opened = SimReplica.open(self._folder / "replica.db", MARKET_DAY, synchronous="OFF")
        assert isinstance(opened, SimReplica)
        self.replica: SimReplica = opened
        self.replica.use_key(self._signer)
        self.link = SimLink(self._ring)
        self.printers = SimPrinters(self.world, self.replica, self.name, self.papers, self._ring_printer)
        self.node = Node(
            folder=self._folder,
            replica=self.replica,
            clock=self.clock,
            printers=self.printers,
            link=self.link,
            door=SimDoor(self._reach, self.server.keys_of),
            unsealer=SimUnsealer(),
        )
        self.watch: recalls.Watch | None = None
        if self.role in ("picker", "runner"):
            with self.replica.transaction() as conn:
                recalls.prepare(conn)
            self.watch = recalls.Watch(self.node, CALENDAR)
            self.node.after_change.append(self.watch.look)
        else:
            self._prepare_terminal()
        self.replica.listeners.append(self._replica_changed)
        self.replica.power = self._power
        self.replica.fold_at_once_max = self.world.faults.fold_at_once
        self._folding = False
        self._folded = {document: self.replica.state_vector(document) for document in self.replica.documents()}
        self.dead = False

    def _prepare_terminal(self) -> None:
        with self.replica.transaction() as conn:
            receivers.prepare(conn)
            wall.prepare(conn)

    def start(self) -> None:
        """Begin to connect."""
        self._connect_later(self.world.random.randrange(1, 2_000))

    def _power(self, where: str) -> None:
        faults = self.world.faults
        likely = faults.device_cut_inside if where == "inside" else faults.device_cut_after
        if self.world.chance(likely):
            self.world.sometimes(f"crash_device_{where}")
            raise PowerCut

    def crash(self) -> None:
        """The process is gone. What was shown as done must be there when it boots again."""
        self.crashes += 1
        self.dead = True
        if self._wire is not None:
            self._wire.cut()
        self._forget_connection()
        self.replica.power = None
        self.replica.close()
        if self.world.random.random() < 0.3:
            self.clock.reboot()
        self.world.later(self.world.random.randrange(1_000, 10 * MINUTE_MS), f"{self.name} boots", self._boot_again)

    def _boot_again(self) -> None:
        self._boot()
        self.check_done()
        self.start()
        self._ring_printer()

    def check_done(self) -> None:
        """Raise when something shown as done is not in the log (REL-I4)."""
        for document, fact in self.done:
            device, seq, _ = fact.split(".")
            row = self.replica.conn.execute(
                "SELECT 1 FROM envelope WHERE document = ? AND device = ? AND seq = ?",
                (document, int(device), int(seq)),
            ).fetchone()
            if row is None:
                raise Broken(f"{self.name}: {fact} was shown as done and is gone after a crash")

    def guard(self, call: Callable[[], Answer]) -> Answer | None:
        """Run what enters the device; None when it is off, or the battery falls out meanwhile."""
        if self.dead:
            return None
        try:
            return call()
        except PowerCut:
            self.crash()
            return None

    def close(self) -> None:
        """End the run."""
        if not self.dead:
            self.replica.power = None
            self.replica.close()

    # --- the person's hand ------------------------------------------------------------------------------------------------

    def act(self, action: Callable[[Node], Any]) -> Any:
        """Let the person do something; the answer of the action, None when the device died or refused.

        Raises:
            NahuoError: the action said no.
        """

        def tap() -> Any:
            self.sign_in()
            before = self._own_heads()
            answer = action(self.node)
            self._check_basis(before)
            self._remember_done(answer)
            return answer

        return self.guard(tap)

    def sign_in(self) -> None:
        """Sign in by PIN when the device lay idle."""
        if self.node.sign_in.person() is None:
            people = self.node.people()
            if people:
                self.node.sign_in.sign_in(people, people[0]["id"], PIN)
        self.node.sign_in.touch()

    def _own_heads(self) -> dict[str, int]:
        rows = self.replica.conn.execute("SELECT document, seq FROM writer WHERE device = ?", (self.replica.number,))
        return dict(rows.fetchall())

    def _check_basis(self, before: dict[str, int]) -> None:
        """Raise when an action claims knowledge of what had no rows yet: nobody can have seen it (design section 4)."""
        for document, seq in self._own_heads().items():
            if seq == before.get(document, 0):
                continue
            if self._folding:
                self.world.sometimes("acted_while_folding")
            text = self.replica.conn.execute(
                "SELECT basis FROM writer WHERE document = ? AND device = ?", (document, self.replica.number)
            ).fetchone()[0]
            for writer, claimed in json.loads(text).items():
                folded = self._folded.get(document, {}).get(int(writer), 0)
                if claimed > folded:
                    raise Broken(f"{self.name}: {document} claims to know {writer}.{claimed}, rows reach {folded}")

    def _remember_done(self, answer: Any) -> None:
        """Note what the screen now shows as done, by the log's own heads: whatever is there must stay."""
        number = self.replica.number
        for document, seq in self.replica.conn.execute(
            "SELECT document, seq FROM writer WHERE device = ?", (number,)
        ).fetchall():
            if seq:
                self.done.append((document, f"{number}.{seq}.0"))
        self.world.note(f"{self.name} did {answer!r}"[:2_000])

    # --- signal -----------------------------------------------------------------------------------------------------------

    @property
    def online(self) -> bool:
        """True while there is a signal."""
        return self.world.now_ms >= self.offline_until_ms

    def lose_signal(self, for_ms: int) -> None:
        """Walk into the basement."""
        self.offline_until_ms = self.world.now_ms + for_ms
        if self._wire is not None:
            self._wire.cut()
        self._forget_connection()
        self._connect_later(for_ms + self.world.random.randrange(1, 5_000))

    def regain_signal(self) -> None:
        """Come up again now."""
        self.offline_until_ms = 0
        self._connect_later(1)

    def _reach(self) -> None:
        if not self.online or self.server.down:
            raise RetryableError("no signal")

    # --- the link ---------------------------------------------------------------------------------------------------------

    def _connect_later(self, delay_ms: int) -> None:
        """Try in a while; of two plans the sooner holds, so that a phone which comes up early does not wait for its old plan."""
        at_ms = self.world.now_ms + delay_ms
        if self._tries_at_ms is None or at_ms < self._tries_at_ms:
            self._tries_at_ms = at_ms
            self.world.later(delay_ms, f"{self.name} connects", lambda: self._connect(at_ms))

    def _connect(self, planned_ms: int) -> None:
        if planned_ms != self._tries_at_ms:
            return
        self._tries_at_ms = None
        if self.dead or self._talk is not None:
            return
        if not self.online:
            self._connect_later(self.offline_until_ms - self.world.now_ms + 1)
            return
        if self.server.down:
            self._connect_later(self.world.random.randrange(1_000, 60_000))
            return
        number = self.node.number
        served: list[Served] = []
        epoch = object()
        self._epoch = epoch
        connection = Wire(
            self.world,
            self.name,
            to_hub=lambda frame: self.server.receive(served[0], frame),
            to_device=lambda frame: self._receive(epoch, frame),
            hub_lost=lambda: self.server.lost(served[0]),
            device_lost=lambda: self._lost(epoch),
        )
        served.append(self.server.connect(number, connection))
        self._wire = connection
        self._talk = Session(Side.DEVICE, now_ms=self.world.now_ms)
        self._denied.clear()
        self.world.note(f"{self.name} connected")
        self._maybe_replay(connection)
        self.guard(self._open_documents)
        self._ring()

    def _maybe_replay(self, connection: Wire) -> None:
        """Old frames come once more: an old update of the hub on the fresh connection, a captured connection at the hub."""
        if self._old_updates and self.world.chance(self.world.faults.replay * 4):
            self.world.sometimes("replayed_to_device")
            frame = self.world.random.choice(self._old_updates)
            epoch = self._epoch
            self.world.later(
                self.world.random.randrange(1, 60_000), f"{self.name} replay", lambda: self._receive(epoch, frame)
            )
        if self._last_up and self.world.chance(self.world.faults.replay * 4):
            self.world.sometimes("replayed_to_hub")
            frames, number = list(self._last_up), self.node.number
            self.world.later(
                self.world.random.randrange(1, 60_000), "replay to hub", lambda: self._replay_to_hub(number, frames)
            )
        self._last_up = connection.up.sent

    _last_up: list[bytes] = []  # noqa: RUF012 - replaced, never appended to

    def _replay_to_hub(self, number: int, frames: Iterable[bytes]) -> None:
        if self.server.down:
            return
        ghost = self.server.connect(number, None)
        for frame in frames:
            self.server.receive(ghost, frame)
        self.world.later(MINUTE_MS, "replay ends", lambda: self.server.lost(ghost))

    def _lost(self, epoch: object) -> None:
        if epoch is self._epoch and self._talk is not None and not self.dead:
            self._forget_connection()
            self._connect_later(self.world.random.randrange(250, 30_000))

    def _forget_connection(self) -> None:
        self._inbox.clear()
        self._wire = None
        self._talk = None
        self._epoch = object()

    _epoch: object = object()

    def _open_documents(self) -> None:
        talk = self._talk
        if talk is None:
            return
        wanted = set(self.node.wanted_documents()) - self._denied
        is_open = set(talk.known_documents())
        for document in sorted(wanted - is_open):
            talk.open(document, self.replica.state_vector(document))
        for document in sorted(is_open - wanted):
            talk.leave(document)

    def _receive(self, epoch: object, frame: bytes) -> None:
        if epoch is not self._epoch or self._talk is None:
            return
        self._inbox.append(frame)
        self.guard(self._read)

    def _read(self) -> None:
        while self._inbox and not self._folding and self._talk is not None:
            self._take_frame(self._inbox.popleft())

    def _take_frame(self, frame: bytes) -> None:
        talk = self._talk
        assert talk is not None
        if isinstance(wire.decode_frame(frame), wire.Update) and len(self._old_updates) < 20:
            self._old_updates.append(frame)
        for event in talk.receive(frame, now_ms=self.world.now_ms):
            self._take(event, talk)
            if self._talk is not talk:
                return
        self._ring()

    def _take(self, event: session.Event, talk: Session) -> None:
        match event:
            case session.Received(document=document, runs=runs):
                self._check_news(document, runs)
                admitted = self.replica.admit(document, runs)
                talk.settle(document, heads=admitted.heads, applied=not admitted.refusals)
                if admitted.refusals:
                    raise Broken(f"{self.name}: the hub's update was not taken: {admitted.refusals[0]}")
                self._note_folded()
                self._fold_rest()
            case session.Acknowledged(document=document, vector=vector, whole=whole):
                if whole and self.replica.hub_is_ahead(document, vector):
                    raise Broken(f"{self.name}: the hub is ahead of its only author in {document}")
                self.replica.acknowledged(document, vector, whole=whole, at_ms=self.clock.wall_ms())
                self.check_acknowledged(document)
            case session.Refused(detail=detail):
                self.replica.note_refusal(event.document, detail)
                self.world.note(f"{self.name} refused {sorted(detail.items())}")
            case session.AccessDenied(document=document):
                self._denied.add(document)
                self.world.sometimes("access_denied")
            case session.Violation(detail=detail):
                raise Broken(f"{self.name}: the hub sent what the session calls a violation: {detail}")
            case _:
                pass

    def _check_news(self, document: str, runs: Iterable[Run]) -> None:
        """Raise when the hub sends an author his own work back."""
        for run in runs:
            if run.device == self.replica.number:
                raise Broken(f"{self.name}: the hub sent back its own {run.device}.{run.first_seq} of {document}")

    def _note_folded(self) -> None:
        waiting = {row[0] for row in self.replica.conn.execute("SELECT DISTINCT document FROM unfolded")}
        for document in self.replica.documents():
            if document not in waiting:
                self._folded[document] = self.replica.state_vector(document)

    def _fold_rest(self) -> None:
        """Fold a step; the next frame is read when nothing is left, taps may come between."""
        if self.dead:
            return
        more = self.replica.fold_some()
        self._note_folded()
        self._folding = more
        if more:
            self.world.later(
                self.world.random.randrange(1, self.world.faults.fold_ms_max),
                f"{self.name} folds",
                lambda: self.guard(self._fold_rest),
            )
            return
        self._open_documents()
        self._read()

    def check_acknowledged(self, document: str) -> None:
        """Raise when the device counts as acknowledged what the server has not committed."""
        if self.server.down:
            return
        number = self.replica.number or 0
        row = self.replica.conn.execute(
            "SELECT acked FROM writer WHERE document = ? AND device = ?", (document, number)
        ).fetchone()
        acked = row[0] if row is not None else 0
        committed = self.server.store.read_vector(document).get(number, 0)
        if acked > committed:
            raise Broken(f"{self.name}: {document} acknowledged up to {acked}, the server has {committed}")

    def _replica_changed(self, document: str) -> None:
        if self._talk is not None:
            self._talk.committed(document, self.replica.state_vector(document))
        self._ring()
        self._ring_watch()

    def _ring(self) -> None:
        if not self._ringing:
            self._ringing = True
            self.world.later(self.world.random.randrange(1, 20), f"{self.name} sends", self._pump)

    def _pump(self) -> None:
        self._ringing = False
        self.guard(self._send)

    def _send(self) -> None:
        talk, connection = self._talk, self._wire
        if talk is None or connection is None:
            return
        while True:
            for frame in talk.take_frames():
                connection.up.send(frame)
                if connection.closed:
                    return
            ready = talk.wanted()
            if not ready:
                return
            for document, have in ready:
                talk.offer(document, self.replica.missing(document, have))

    # --- what runs beside -------------------------------------------------------------------------------------------------

    def _ring_watch(self) -> None:
        if not self._looking and self.node.after_change:
            self._looking = True
            self.world.later(self.world.random.randrange(10, 3_000), f"{self.name} looks", self._look)

    def _look(self) -> None:
        self._looking = False
        self.guard(self.look)

    def look(self) -> None:
        """Let the background work decide whether to act."""
        for look in self.node.after_change:
            look()

    def _ring_printer(self) -> None:
        if not self._printing:
            self._printing = True
            self.world.later(self.world.random.randrange(500, 8_000), f"{self.name} prints", self._print)

    def _print(self) -> None:
        self._printing = False
        self.guard(lambda: self.printers.print_next())
        if not self.dead and self.printers.waiting():
            self._ring_printer()

    def wait_ms(self) -> int:
        """Return how long the person takes to the next action."""
        return self.world.random.randrange(2_000, HOUR_MS // 4)
