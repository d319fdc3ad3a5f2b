"""A simulated device's process: the real replica on a real file, the real node and actions, and a battery that may fall out.

Whatever enters the device (a tap, a frame, a printer's turn) goes through `guard`, where a power cut ends the process: memory is gone, the
file stays, and the device boots again later. A dozing phone keeps what comes in the background until it wakes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import select

from clients.field import recalls
from clients.field.actions import CALENDAR
from clients.runtime.device_key import DeviceKey
from clients.runtime.launch import DATABASE
from clients.runtime.node import Node
from clients.warehouse import receivers, wall
from nahuo.sim.nodes.copies import keep_copy, owes, put_back
from nahuo.sim.nodes.disk import SimDisk, SimReplica
from nahuo.sim.nodes.ports import SimClock, SimDoor, SimLink, SimUnsealer
from nahuo.sim.nodes.printers import Paper, SimPrinters
from nahuo.sim.nodes.server import ServerNode
from nahuo.sim.seams import PIN
from nahuo.sim.world import MINUTE_MS, Broken, PowerCut, World
from server import schema as s
from sync_core.errors import AlreadyOpenError, CorruptError, DiskFullError, RefusedError, RetryableError
from trade.projections import MARKET_DAY

Answer = TypeVar("Answer")


class DeviceProcess:
    """One phone or terminal without its link: its file, its person's hand, and what survives a crash."""

    def __init__(self, world: World, server: ServerNode, *, name: str, role: str, folder: Path) -> None:
        self.world = world
        self.server = server
        self.name = name
        self.role = role
        self.folder = folder
        self.papers: list[Paper] = []
        """What came out of this device's printers, oldest first."""
        self.elsewhere: list[Paper] = []
        """What a colleague's printer made of its jobs: it lies in a bin."""
        self.trade = MARKET_DAY
        """What the program knows; an older version knows less."""
        self.rewound = False
        """Its files were put back from a copy: what was queued since is forgotten with them."""
        self.done: list[tuple[str, str]] = []
        """(document, fact id) of every action that was shown as done."""
        self.dead = False
        self.offline_until_ms = 0
        self.dozes_until_ms = 0
        self.crashes = 0
        self.folding = False
        self.folded: dict[str, dict[int, int]] = {}
        """What surely has its rows: {document: the vector at a moment when nothing there waited to be folded}."""
        self.changed: list[Callable[[str], None]] = []
        """Called with the name of a document that grew."""
        self.rings: list[Callable[[], None]] = []
        """Called when there is something new to send."""
        self.down: list[Callable[[], None]] = []
        """Called when the process is gone."""
        self._deferred: list[Callable[[], Any]] = []
        self._looking = False
        self._printing = False
        self.may_be_behind = False
        """This is an old copy: the hub may hold what it has forgotten."""
        self.numbers: list[int] = []
        """The numbers it has borne, the present one last."""
        self.given_up: set[int] = set()
        """Those of them that it gave up with their key: the server takes nothing under them, and all of it under the next."""
        self.asks_for_key = False
        """It asked for its next number because it wants another key, not because it is a copy."""
        self.family = name.rstrip("b")
        """A phone and its clone share their people."""
        self.disk = SimDisk(world, self)
        skew_ms = world.storm_faults.clock_wrong_ms_max
        self.clock = SimClock(world, world.random.randrange(-skew_ms, skew_ms + 1) if skew_ms else 0)
        # Making a key and a file is no part of the storm.
        self.disk.safe = True
        self.boot()
        self.disk.safe = False
        if self.replica.number is not None:
            self.numbers.append(self.replica.number)

    # --- life and death ---------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Open the file and put the node on it; a power cut may come while it does."""
        self.replica = SimReplica.open_on(self.disk, self.folder / DATABASE, self.trade)
        self.key = DeviceKey(self.folder, self.replica)
        self.link = SimLink(self.world, self._ring)
        self.printers = SimPrinters(self.world, self.replica, self.name, self.papers, self.elsewhere, self.ring_printer)
        self.node = Node(
            folder=self.folder,
            replica=self.replica,
            clock=self.clock,
            printers=self.printers,
            link=self.link,
            door=SimDoor(self.reach, self.server, lambda: self.replica.number, self._loses_answer),
            unsealer=SimUnsealer(),
        )
        self.watch: recalls.Watch | None = None
        with self.replica.transaction() as conn:
            if self.role in ("picker", "runner"):
                recalls.prepare(conn)
            else:
                receivers.prepare(conn)
                wall.prepare(conn)
                self.node.before_forgetting.append(receivers.forget_keys)
        if self.role in ("picker", "runner"):
            self.watch = recalls.Watch(self.node, CALENDAR)
            self.node.after_change.append(self.watch.look)
        self.replica.listeners.append(self._replica_changed)
        self.replica.fold_at_once_max = self.world.faults.fold_at_once
        self.folding = False
        self.folded = {document: self.replica.state_vector(document) for document in self.replica.documents()}
        self.dead = False

    def _loses_answer(self) -> bool:
        lost = self.world.chance(min(self.world.faults.new_key, 0.3))
        if lost:
            self.world.sometimes("new_key_answer_lost")
        return lost

    def renumbered(self, *, new_key: bool) -> None:
        """It has another number now: what it owed was said again under it."""
        number = self.node.number
        self.world.sometimes("new_key" if new_key else "renumbered")
        if new_key:
            self.given_up.add(self.numbers[-1])
        self.numbers.append(number)
        self.may_be_behind = False
        self.done = [(document, fact) for document, fact in self.done if self._is_in_log(document, fact)]
        self.folded = {document: self.replica.state_vector(document) for document in self.replica.documents()}

    def crash(self) -> None:
        """The process is gone. What was shown as done must be there when it boots again."""
        self.stop()
        if self.world.random.random() < 0.3:
            self.clock.reboot()
        self.world.later(self.world.random.randrange(1_000, 10 * MINUTE_MS), f"{self.name} boots", self._boot_again)

    def update(self) -> None:
        """Today's program takes the place of the one that runs, or would run next."""
        self.trade = MARKET_DAY
        if not self.dead:
            if self.replica.needs_update:
                self.world.sometimes("facts_waited_on_device")
            self.stop()
            self.world.later(MINUTE_MS, f"{self.name} boots", self._boot_again)

    def reboot(self) -> None:
        """End in good order and start again, before anything has begun."""
        self.disk.close()
        self.disk.safe = True
        self.boot()
        self.disk.safe = False

    def put_back(self, copy: Path, *, token_stays: bool) -> None:
        """The files are those of an older copy from now on."""
        self.stop()
        if token_stays and owes(copy / DATABASE):
            # Until the hub has answered for what the copy still owes, it cannot tell a lost answer from a later self.
            self.server.put_back.add(self.numbers[-1])
        put_back(copy, self.folder, DATABASE, token_stays=token_stays)
        self.may_be_behind = self.rewound = True
        self.done.clear()
        self.world.later(MINUTE_MS, f"{self.name} boots", self._boot_again)

    def keep_copy(self, into: Path) -> Path:
        """Copy the files as a backup does."""
        return keep_copy(self.folder / DATABASE, into)

    def stop(self) -> None:
        """End the process without a word."""
        self.crashes += 1
        self.dead = True
        self.dozes_until_ms = 0
        self._deferred.clear()
        for tell in self.down:
            tell()
        self.disk.close()

    def _boot_again(self) -> None:
        if not self.dead:
            return
        try:
            self.boot()
        except PowerCut:
            self.world.sometimes("crash_device_booting")
            self.crash()
            return
        except (sqlite3.OperationalError, CorruptError) as error:
            if isinstance(error, CorruptError) and "disk I/O error" not in str(error.__cause__):
                raise
            # A write that failed while it opened: the file is as it was, and the next start finds it whole.
            self.world.sometimes("disk_error_at_boot")
            self.crash()
            return
        except DiskFullError:
            self.world.sometimes("booted_on_a_full_disk")
            self.disk.free()
            self.crash()
            return
        if self.replica.number is not None and self.replica.number not in self.numbers:
            # It died when that was on the disk, and had not heard it from its own program yet.
            self.renumbered(new_key=self.asks_for_key)
        self.check_done()
        self.start()
        self.ring_printer()

    def start(self) -> None:
        """Begin to work; the link adds what it does."""

    def check_done(self) -> None:
        """Raise when something shown as done is not in the log (REL-I4)."""
        for document, fact in self.done:
            if not self._is_in_log(document, fact):
                raise Broken(f"REL-I4: {self.name}: {fact} was shown as done and is gone after a crash")

    def _is_in_log(self, document: str, fact: str) -> bool:
        device, seq, _ = fact.split(".")
        if self.replica.is_gone(document):
            # It ended and left: the server has all of ours that it held; one that was restored may have lost it with its disk.
            if self.server.down or self.server.server.number > 0:
                return True
            return self.server.store.read_vector(document).get(int(device), 0) >= int(seq)
        row = self.replica.conn.execute(
            "SELECT 1 FROM envelope WHERE document = ? AND device = ? AND seq = ?", (document, int(device), int(seq))
        ).fetchone()
        return row is not None

    def piece_state(self, code: str) -> dict[str, Any] | None:
        """Return what the phone said of a piece: its own row, or the server's when the piece's route ended and left the phone."""
        state = self.replica.state(f"piece:{code}")
        if state is not None or self.server.down:
            return state
        with self.server.store.reading() as conn:
            rows = select(s.state.c.state).where(
                s.state.c.subject == f"piece:{code}", s.state.c.document.startswith("route/")
            )
            states = [dict(json.loads(text)) for text in conn.execute(rows.order_by(s.state.c.document)).scalars()]
        # Where it was only swapped to, nothing is known of what it cost.
        return next((told for told in states if told["price_fen"] is not None), states[0] if states else None)

    def guard(self, call: Callable[[], Answer]) -> Answer | None:
        """Run what enters the device; None when it is off, or the battery falls out meanwhile."""
        if self.dead:
            return None
        try:
            return call()
        except PowerCut:
            self.crash()
        except sqlite3.OperationalError as error:
            self.disk.seen_error(error)
        return None

    def in_background(self, call: Callable[[], Any]) -> None:
        """Run what nobody taps: a dozing phone keeps it until it wakes."""
        if self.dozes:
            self._deferred.append(call)
            return
        try:
            self.guard(call)
        except DiskFullError:
            self.disk.seen_full()

    def close(self) -> None:
        """End the run."""
        if not self.dead:
            self.disk.close()

    # --- doze -------------------------------------------------------------------------------------------------------------

    @property
    def dozes(self) -> bool:
        """True while the system has stopped the process to save the battery."""
        return self.world.now_ms < self.dozes_until_ms

    def doze(self, for_ms: int) -> None:
        """Stop the process for a while; nobody is told."""
        if self.dead or self.dozes:
            return
        self.world.sometimes("dozed")
        self.dozes_until_ms = self.world.now_ms + for_ms
        self.world.later(for_ms, f"{self.name} wakes", self.wake)

    def wake(self) -> None:
        """Go on with what came meanwhile, in its order."""
        self.dozes_until_ms = 0
        deferred, self._deferred = self._deferred, []
        if deferred:
            self.world.sometimes("woke_with_work")
        for call in deferred:
            self.in_background(call)

    # --- the person's hand ------------------------------------------------------------------------------------------------

    def act(self, action: Callable[[Node], Any]) -> Any:
        """Let the person do something; the answer of the action, None when the device died or refused.

        Raises:
            NahuoError: the action said no.
        """
        if self.dozes:
            self.wake()

        def tap() -> Any:
            self.sign_in()
            before = self.heads()
            try:
                answer = action(self.node)
            except (RefusedError, DiskFullError):
                if self.heads() != before:
                    raise Broken(f"I11: an action of {self.name} was refused and left facts behind") from None
                raise
            self._check_basis(before)
            self._remember_done(answer)
            return answer

        return self.guard(tap)

    def sign_in(self) -> None:
        """Sign in by PIN when the device lay idle; now and then another person takes the device over."""
        signed, people = self.node.sign_in, self.node.people()
        if signed.person() is None and people:
            chosen = self.world.random.choice(people) if self.world.faults.colleague else people[0]
            if chosen is not people[0]:
                self.world.sometimes("another_person_signed_in")
            signed.sign_in(people, chosen["id"], PIN)
        signed.touch()

    def heads(self) -> dict[str, int]:
        """Return {document: this device's last seq there}."""
        rows = self.replica.conn.execute("SELECT document, seq FROM writer WHERE device = ?", (self.replica.number,))
        return dict(rows.fetchall())

    def _check_basis(self, before: dict[str, int]) -> None:
        """Raise when an action claims knowledge of what had no rows yet: nobody can have seen it (design section 4)."""
        for document, seq in self.heads().items():
            if seq == before.get(document, 0):
                continue
            if self.folding:
                self.world.sometimes("acted_while_folding")
            text = self.replica.conn.execute(
                "SELECT basis FROM writer WHERE document = ? AND device = ?", (document, self.replica.number)
            ).fetchone()[0]
            for writer, claimed in json.loads(text).items():
                folded = self.folded.get(document, {}).get(int(writer), 0)
                if claimed > folded:
                    raise Broken(f"D11: {self.name}: {document} claims to know {writer}.{claimed}, rows reach {folded}")

    def _remember_done(self, answer: Any) -> None:
        """Note what the screen now shows as done, by the log's own heads: whatever is there must stay."""
        number = self.replica.number
        for document, seq in self.heads().items():
            if seq:
                self.done.append((document, f"{number}.{seq}.0"))
        self.world.note(f"{self.name} did {answer!r}"[:2_000])

    # --- what runs beside -------------------------------------------------------------------------------------------------

    @property
    def online(self) -> bool:
        """True while there is a signal."""
        return self.world.now_ms >= self.offline_until_ms

    def reach(self) -> None:
        """Raise when a question cannot get to the server.

        Raises:
            RetryableError: no signal, or the server is down.
        """
        if not self.online or self.server.down:
            raise RetryableError("no signal")

    def open_twice(self) -> None:
        """A second instance of the application is started: it must be told no."""
        if self.dead:
            return
        try:
            SimReplica.open(self.folder / DATABASE, MARKET_DAY, synchronous="OFF").close()
        except AlreadyOpenError:
            self.world.sometimes("second_instance_refused")
            return
        raise Broken(f"P32: two processes have the replica of {self.name} open")

    def _replica_changed(self, document: str) -> None:
        for tell in self.changed:
            tell(document)
        self._ring()
        self._ring_watch()

    def _ring(self) -> None:
        for ring in self.rings:
            ring()

    def _ring_watch(self) -> None:
        if not self._looking and self.node.after_change:
            self._looking = True
            self.world.later(self.world.random.randrange(10, 3_000), f"{self.name} looks", self._look)

    def _look(self) -> None:
        self._looking = False
        self.in_background(self.look)

    def look(self) -> None:
        """Let the background work decide whether to act."""
        for look in self.node.after_change:
            look()

    def ring_printer(self) -> None:
        """Let the printer look at its queue soon."""
        if not self._printing:
            self._printing = True
            self.world.later(self.world.random.randrange(500, 8_000), f"{self.name} prints", self._print)

    def _print(self) -> None:
        self._printing = False
        self.in_background(self.printers.print_next)
        if not self.dead and self.printers.waiting():
            self.ring_printer()
