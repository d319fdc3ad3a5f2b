"""The simulated server: the real store, hub, authority and commands, in the writer's order, on the virtual clock.

A shell like `server.writer` and `server.sync_endpoint` without threads and sockets: what arrived since the last commit shares the next
one; a connection's next frame is read when its last one is committed; then the authority works until it has nothing left. The server may
die inside the hub's transaction, behind its commit before anybody is told, and inside the authority's.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection as Transaction
from sqlalchemy.exc import OperationalError

from nahuo.sim.nodes.copies import keep_copy, put_back
from nahuo.sim.nodes.network import Wire
from nahuo.sim.seams import share_compiled
from nahuo.sim.world import MINUTE_MS, PowerCut, World
from server import commands
from server.authority import Authority
from server.contact import note_return
from server.installation import DATABASE, Server, open_server
from server.receivers import parcel_keys
from server.sync_ports import SyncDesk
from sync_core import session
from sync_core.errors import RefusedError, RetryableError
from sync_core.hub import Connection, Hub, Submission, commit_batch, refusal_message
from sync_core.session import Session, Side
from trade.kinds import SCHEMA
from trade.projections import MARKET_DAY, NEWER

_NO_LIMIT: Final = 1_073_741_823
SENDS_MAX: Final = 2_000
"""A reader who needs more turns in a row is never told what he lacks."""
TICK_MS: Final = 30 * MINUTE_MS


Answer = TypeVar("Answer")


@dataclass(eq=False, slots=True)
class Served:
    """One connection at the hub's end."""

    number: int
    """Counts connections, so that they are served in the same order in every process."""
    device: int
    wire: Wire | None
    talk: Session
    connection: Connection
    inbox: deque[bytes] = field(default_factory=deque)
    waiting: bool = False
    """A frame of this connection is being committed; the next is read after it."""
    greeted: bool = False
    silent: bool = False
    woken: bool = False


class ServerNode:
    """The server's process and what survives its death."""

    def __init__(self, world: World, folder: Path, *, key: bytes) -> None:
        self._world = world
        self._folder = folder
        self._key = key
        self.down = False
        self.unreachable_until_ms = 0
        self.disk_is_full = False
        self.dirty = True
        """There is something the authority has not looked at."""
        self.connections: dict[int, Served] = {}
        self._queue: list[tuple[Submission, Served]] = []
        self._scheduled = False
        self._count = 0
        self._deciding = False
        self.trade = MARKET_DAY
        """What the program knows; an older version knows less."""
        self.hostile: set[int] = set()
        self.put_back: set[int] = set()
        """Numbers of devices whose files were put back from an older copy: what one says before it knows is a second history (REL-R6)."""
        """Numbers of devices whose owner means no good: they are refused, and nobody is surprised."""
        self.lives = 0
        """Counts restores: what was acknowledged before one is known to devices only."""
        self._copy: Path | None = None
        self._ended = 0
        """How many documents had ended at the last copy."""
        self.writes = 0
        """Counts transactions that may have changed something."""
        self._known_at = (0, 0)
        self._known: dict[tuple[str, object], Any] = {}
        """What was read since the last write."""
        self.failures: list[str] = []
        """Exceptions of the authority: our bugs; the run fails with the first."""
        folder.mkdir(parents=True, exist_ok=True)
        self._boot()

    # --- life and death ---------------------------------------------------------------------------------------------------

    def _boot(self) -> None:
        self.server: Server = open_server(self._folder, synchronous="OFF", now_ms=self._world.wall_ms, seed=self._key)
        self.store = self.server.store
        share_compiled(self.store)
        self._limited = False
        self._watch_transactions()
        self._read_once()
        self.hub = Hub(self.store)
        self.hub.landed_bytes_min = 1 if self._world.seed % 2 else Hub.landed_bytes_min
        self.authority = Authority(self.server, self.trade)
        self.desk = SyncDesk(self.server, now_ms=lambda: self._world.wall_ms)
        self.store.wake = self.nudge
        self.down = False
        self.dirty = True
        self._schedule()

    def _watch_transactions(self) -> None:
        """Give each outermost write transaction its points to die at."""
        real = self.store.transaction
        store = self.store

        @contextmanager
        def transaction() -> Iterator[Any]:
            if store._writing is not None:
                with real() as conn:
                    yield conn
                return
            with real() as conn:
                self._meet_disk(conn)
                yield conn
                self._power("server_inside", self._inside_chance())
                if self._world.chance(self._world.faults.server_disk_error):
                    self._world.sometimes("disk_error_server")
                    raise OperationalError("COMMIT", {}, sqlite3.OperationalError("disk I/O error"))
            self.writes += 1
            self._power("server_after", self._world.faults.server_cut_after)

        store.transaction = transaction  # type: ignore[method-assign]

    def _meet_disk(self, conn: Transaction) -> None:
        """Now and then the disk is found full: the file may not grow, and SQLite says so where it would."""
        if not self.disk_is_full and self._world.chance(self._world.faults.server_disk_full):
            self._world.sometimes("disk_full_server")
            self.disk_is_full = True
            self._world.later(self._world.random.randrange(MINUTE_MS, 40 * MINUTE_MS), "server frees", self.free_disk)
        if self.disk_is_full != self._limited:
            self._limited = self.disk_is_full
            conn.exec_driver_sql(f"PRAGMA max_page_count = {1 if self.disk_is_full else _NO_LIMIT}")

    def free_disk(self) -> None:
        """There is room again."""
        self.disk_is_full = False

    def _inside_chance(self) -> float:
        faults = self._world.faults
        return faults.server_cut_deciding if self._deciding else faults.server_cut_inside

    def _power(self, where: str, likely: float) -> None:
        if self._world.chance(likely):
            self._world.sometimes(f"crash_{'deciding' if self._deciding else 'hub'}_{where}")
            raise PowerCut

    def crash(self) -> None:
        """The process is gone; what was committed stays. It starts again some time later."""
        self._queue.clear()
        for served in list(self.connections.values()):
            if served.wire is not None:
                served.wire.cut()
        self.connections.clear()
        self.down = True
        self._close_store()
        down_ms = self._world.random.randrange(500, self._world.storm_faults.server_down_ms_max + 501)
        self._world.later(down_ms, "server boots", self._boot)

    def update(self) -> None:
        """Today's program takes the place of the one that runs, or would run next."""
        self.trade = MARKET_DAY
        if not self.down:
            with self.store.reading() as conn:
                if conn.exec_driver_sql("SELECT 1 FROM fact WHERE void = ? LIMIT 1", (NEWER,)).first():
                    self._world.sometimes("facts_waited_on_server")
            self.crash()

    def reboot(self) -> None:
        """End in good order and start again, before anything has begun."""
        self._close_store()
        self._boot()

    def keep_copy(self) -> None:
        """Make a backup."""
        if not self.down:
            self._copy = keep_copy(self._folder / DATABASE, self._folder.parent / "server-copy")

    def _copy_after_close(self) -> None:
        """Back up when documents ended, before a device hears of it: what devices forget then is in the copy (docs/operations.md)."""
        if self._copy is None:
            return
        with self.store.reading() as conn:
            ended = conn.exec_driver_sql("SELECT count(*) FROM document WHERE closed_ms IS NOT NULL").scalar_one()
        if ended != self._ended:
            self._ended = ended
            self.keep_copy()

    def restore(self) -> bool:
        """The disk died: an older backup is put on another machine. False when there is none."""
        if self._copy is None or self.down:
            return False
        self._world.sometimes("restored_server")
        self.lives += 1
        self.crash()
        put_back(self._copy, self._folder, DATABASE, token_stays=False)
        self._copy = None
        return True

    def close(self) -> None:
        """End the run."""
        if not self.down:
            self._close_store()

    def _close_store(self) -> None:
        self._reader.close()
        self.store.close()

    @property
    def unreachable(self) -> bool:
        """True while no line leads to it."""
        return self._world.now_ms < self.unreachable_until_ms

    def cut_off(self, for_ms: int) -> None:
        """The line to the server is dead for hours; then everybody is back at once."""
        self.unreachable_until_ms = self._world.now_ms + for_ms
        for served in list(self.connections.values()):
            if served.wire is not None:
                served.wire.cut()

    # --- reading ----------------------------------------------------------------------------------------------------------

    def _read_once(self) -> None:
        """Let the store read heads and devices once between two writes: phones that come back again and again ask for the same."""
        store = self.store
        self._reader = store.engine.connect()
        real = store.reading

        @contextmanager
        def reading() -> Iterator[Transaction]:
            # One connection, taken from the pool once: each reading ends its own transaction.
            if store._writing is not None or self._reader.closed or self._reader.in_transaction():
                with real() as conn:
                    yield conn
                return
            try:
                yield self._reader
            finally:
                self._reader.rollback()

        heads, key_of = store.heads, store.key_of
        store.reading = reading  # type: ignore[method-assign]
        store.heads = lambda document: dict(self._once("heads", document, lambda: heads(document)))  # type: ignore[method-assign]
        store.key_of = lambda device: self._once("key", device, lambda: key_of(device))  # type: ignore[method-assign]

    def _once(self, what: str, name: object, read: Callable[[], Answer]) -> Answer:
        """Return what is committed; inside a transaction it is read anew each time."""
        if self.store._writing is not None:
            return read()
        at = (self.writes, self.lives)
        if at != self._known_at:
            self._known_at = at
            self._known.clear()
        if (what, name) not in self._known:
            self._known[what, name] = read()
        found: Answer = self._known[what, name]
        return found

    # --- commands ---------------------------------------------------------------------------------------------------------

    def command(self, command: commands.Command, *, by: str) -> int | None:
        """Leave a command as a page does; None while the server is down."""
        if self.down:
            return None
        try:
            return commands.submit(self.store, command, by=by, now_ms=self._world.wall_ms)
        except OperationalError:
            self._world.sometimes("page_met_full_disk")
            return None

    def carry_out(self, command: commands.Command, *, by: str) -> dict[str, Any]:
        """Leave a command and let the authority do it at once: setting up before the day begins.

        Raises:
            RuntimeError: it was refused.
        """
        outcome = self._carry_out(command, by)
        if not outcome.get("ok"):
            raise RuntimeError(f"{command.KIND} was not done: {outcome}")
        return outcome

    def _carry_out(self, command: commands.Command, by: str) -> dict[str, Any]:
        number = commands.submit(self.store, command, by=by, now_ms=self._world.wall_ms)
        while self.authority.run_batch(self._world.wall_ms):
            pass
        return commands.outcome(self.store, number) or {}

    @property
    def has_commands(self) -> bool:
        """True while a command waits for the authority: a backup of now would do it again under other numbers."""
        with self.store.reading() as conn:
            return conn.exec_driver_sql("SELECT 1 FROM command WHERE done_ms IS NULL LIMIT 1").first() is not None

    def nudge(self) -> None:
        """There is a new command."""
        self.dirty = True
        self._schedule()

    def tick(self) -> None:
        """Let the authority look at its timed rules: the real writer wakes for them every second, a world of hours more seldom."""
        if not self.down:
            self.nudge()
        self._world.later(TICK_MS, "server ticks", self.tick)

    # --- connections ------------------------------------------------------------------------------------------------------

    def connect(self, device: int, wire: Wire | None) -> Served:
        """Take a connection that has shown a device's token; without a wire its answers go nowhere (a replay)."""
        self._count += 1
        talk = Session(Side.HUB, now_ms=self._world.now_ms)
        number = self._count
        connection = Connection(session=talk, device=device, wake=lambda: self._wake(number))
        served = Served(number, device, wire, talk, connection)
        self.connections[number] = served
        return served

    def heard(self, device: int) -> bool:
        """A device asks for its token: its return is noted before anything it brings; False when the server cannot write now."""
        if not self._world.storm_faults.short_leash:
            return True
        try:
            with self.store.transaction() as conn:
                note_return(conn, device, now_ms=self._world.wall_ms)
        except PowerCut:
            self.crash()
            return False
        except OperationalError:
            return False
        return True

    def lost(self, served: Served) -> None:
        """The connection ended."""
        if self.connections.pop(served.number, None) is not None:
            self.hub.drop(served.connection)

    def receive(self, served: Served, frame: bytes) -> None:
        """A frame arrived on a connection."""
        if self.down or served.number not in self.connections:
            return
        served.inbox.append(frame)
        self._read(served)

    def _read(self, served: Served) -> None:
        while served.inbox and not served.waiting and served.number in self.connections:
            events = deque(served.talk.receive(served.inbox.popleft(), now_ms=self._world.now_ms))
            while events:
                events.extendleft(reversed(self._take(served, events.popleft())))
        self._send(served)

    def _take(self, served: Served, event: session.Event) -> list[session.Event]:
        match event:
            case session.AuthAsked(document=document):
                return self._authorise(served, document)
            case session.Received():
                self._commit(served, event)
            case session.Violation(code=code, detail=detail) if served.device in self.hostile:
                self._world.sometimes("forgery_refused")
                self._world.sometimes(f"violation_{code}")
                self._world.note(detail)
                if served.wire is not None:
                    served.wire.cut()
            case session.Violation(code=code, detail=detail):
                self.failures.append(f"the hub took a device's frame for a violation: {code} {detail}")
            case _:
                pass
        return []

    def _authorise(self, served: Served, document: str) -> list[session.Event]:
        known = self.store.key_of(served.device)
        served.silent = known is None or known.revoked
        scope = self._once("scope", (served.device, document), lambda: self.desk._read_scope(served.device, document))
        if scope is None:
            self._world.sometimes("access_denied")
            served.talk.deny(document, reason="permission-denied")
            return []
        self.hub.subscribe(served.connection, document)
        local = self.store.read_vector(document)
        later = served.talk.grant(document, scope=scope, local=local, now_ms=self._world.now_ms)
        if not served.greeted:
            served.greeted = True
            hello = {"protocol": 1, "clock_ms": self._world.wall_ms, "server": self.server.number, "schema": SCHEMA}
            asks = {"new_key": True} if not served.silent and self.store.new_keys & {served.device} else {}
            served.talk.say(document, {"hello": {**hello, **asks}})
        return later

    def _commit(self, served: Served, received: session.Received) -> None:
        if not received.runs:
            served.talk.settle(received.document, heads={}, applied=True)
            return
        submission = Submission(
            document=received.document, runs=received.runs, sent_by=served.device, received_ms=self._world.wall_ms,
            update=received.update,
        )  # fmt: skip
        served.waiting = True
        self._queue.append((submission, served))
        self._schedule()

    def _wake(self, number: int) -> None:
        served = self.connections.get(number)
        if served is not None:
            served.woken = True

    def _send(self, served: Served) -> None:
        served.woken = False
        for _ in range(SENDS_MAX):
            for frame in served.talk.take_frames():
                if served.wire is not None:
                    served.wire.down.send(frame)
            wanted = served.talk.wanted() if not served.silent else []
            for document, have in wanted:
                runs, update = self.hub.answer(document, have)
                served.talk.offer(document, runs, encoded=update)
            if not wanted:
                return
        self.failures.append(f"the hub sends {served.device} the same for ever")

    # --- the writer -------------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._world.later(self._world.random.randrange(1, 30), "writer", self._write)

    def _write(self) -> None:
        self._scheduled = False
        if self.down:
            return
        try:
            self._note_seen()
            self._commit_received()
            self._decide()
        except PowerCut:
            self._deciding = False
            self.crash()

    def _note_seen(self) -> None:
        """Who is connected is heard: only a certificate asks when that was."""
        if self._world.storm_faults.short_leash:
            with suppress(OperationalError):
                self.store.seen(
                    {served.device: self._world.wall_ms for served in self.connections.values() if served.wire}
                )

    def _commit_received(self) -> None:
        batch, self._queue = self._queue, []
        if not batch:
            return
        if len(batch) > 1:
            self._world.sometimes("group_commit")
        try:
            with self.store.transaction():
                outcomes = commit_batch(self.store, [submission for submission, _ in batch])
        except OperationalError:
            # As the writer does: nothing of the batch counts, and the senders are told to come back.
            self.store.appended.clear()
            for _, served in batch:
                if served.wire is not None:
                    served.wire.cut()
                self.lost(served)
            return
        self.dirty = True
        for (submission, _), outcome in zip(batch, outcomes, strict=True):
            self.hub.landed(submission, outcome)
        self._tell()
        for (submission, served), outcome in zip(batch, outcomes, strict=True):
            refusal = None if outcome.refusal is None else refusal_message(submission.document, outcome.refusal)
            if refusal is not None:
                self._world.sometimes(f"refused_{refusal['code']}")
                if served.device in self.hostile:
                    self._world.sometimes("forgery_refused")
                elif refusal["code"] == "gate.fork" and served.device in self.put_back:
                    self._world.sometimes("old_copy_spoke_before_it_knew")
                elif refusal["code"] != "gate.gap":
                    self.failures.append(f"the hub refused an honest device: {refusal}")
            if not outcome.fresh:
                self._world.sometimes("nothing_new_in_update")
            served.talk.settle(submission.document, heads=outcome.heads, applied=outcome.applied, refusal=refusal)
            served.waiting = False
            self._read(served)
        self._fan_out()

    def _decide(self) -> None:
        if not self.dirty:
            return
        self.dirty = False
        self._deciding = True
        more = True
        while more:
            try:
                more = self.authority.run_batch(self._world.wall_ms)
            except OperationalError:
                self.store.appended.clear()
                self._world.sometimes("authority_met_full_disk" if self.disk_is_full else "authority_met_disk_error")
                self._world.later(MINUTE_MS, "authority tries again", self.nudge)
                break
            self._copy_after_close()
            self._tell()
            self._fan_out()
            if self._queue and more:
                self._deciding = False
                self._commit_received()
                self._deciding = True
        self._deciding = False

    def _tell(self) -> None:
        grown, self.store.appended = self.store.appended, {}
        for document, heads in grown.items():
            self.hub.committed(document, heads)

    def _fan_out(self) -> None:
        # The hub keeps readers in a set; they are served in the order of their connections, the same in every process.
        for number in sorted(self.connections):
            served = self.connections.get(number)
            if served is not None and served.woken and not served.waiting:
                self._send(served)

    # --- what a device asks outside the sync -------------------------------------------------------------------------------

    def keys_of(self, parcels: Sequence[str]) -> Mapping[str, str]:
        """Return the parcels' keys, as the API does for a terminal."""
        with self.store.reading() as conn:
            return parcel_keys(conn, list(parcels))

    def renumber(self, device: int, public_key: str, *, rotated: bool) -> Mapping[str, Any]:
        """Allot another number to a copy, or to a device that changes its key, which has shown the old number's key.

        Raises:
            RetryableError: the server dies while it does.
            RefusedError: the device is unknown or revoked.
        """
        try:
            self._deciding = True
            command = commands.DeviceRenumber(device=device, public_key=public_key, rotated=rotated)
            outcome = self._carry_out(command, f"device:{device}")
        except PowerCut:
            self._deciding = False
            self.crash()
            raise RetryableError("the server died") from None
        except OperationalError:
            self._deciding = False
            self.store.appended.clear()
            raise RetryableError("the server cannot store now") from None
        self._deciding = False
        self._tell()
        self._fan_out()
        if not outcome.get("ok"):
            raise RefusedError(str(outcome.get("code")), str(outcome.get("message")))
        return {key: value for key, value in outcome.items() if key != "ok"}
