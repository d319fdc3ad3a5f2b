"""The local node: one replica, one person, the printers and the link, on one asyncio loop and one thread.

Everything a screen shows comes from the replica, and every action is one transaction of it; link and printers only wake up when a
commit brought them work. So the node needs no network to work, and a kill at any instruction loses nothing that was shown as done.

A full disk refuses an action with plain words and nothing recorded. To leave the person room to finish the bag in his hand, a ballast
file of 2 MiB is given up first and laid down again at the next start that finds space. A tap writes some 80 KiB into the database's
journal and a few into the file: on a full disk the journal is copied into the file and kept short, and the ballast is for the file.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clients.runtime.contact import Contact
from clients.runtime.patience import Patience
from clients.runtime.ports import Clock, Link, LinkState, Printers, PrintState, ServerDoor, Unsealer
from clients.runtime.repair import DAMAGE
from clients.runtime.sign_in import SignedIn, SignIn
from sync_core.errors import DiskError, DiskFullError, RefusedError
from sync_core.facts import Fact
from sync_core.lines import line_of, number_in_line
from sync_core.replica import Replica, Waiting
from trade.carry import document_kind

BALLAST: Final = "ballast"
BALLAST_BYTES: Final = 2 * 1024 * 1024
_ROOM_BYTES_MIN: Final = 16 * 1024 * 1024
"""The ballast is laid down only where this much stays free beside it."""

_MIB: Final = 1024 * 1024
ROOM_MIB_LOW: Final = 50
"""With less left the bar says so, and the platform's page of devices, while there are still days to act (REL-R13)."""

CLOCK_OFF_MS_MAX: Final = 2 * 60_000
"""A clock that is wrong by more is shown in the bar; it refuses nothing (REL-R9)."""

TOLD_MS_MAX: Final = 10 * 60_000
"""What the hub has acknowledged is in the successor a second later, unless it waits for a supervisor: so long it must have been heard."""

LOOK_PAUSE_S: Final = 0.1
LOOK_AGAIN_S: Final = 5.0
TWIN_PAUSE_S: Final = 1.0
FAULT_PAUSE_S: Final = 1.0

log = logging.getLogger("nahuo.node")

State = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What the state bar always shows."""

    link: LinkState
    signal: bool
    waiting: Waiting
    needs_person: int
    printers: Sequence[PrintState]
    disk_full: bool
    room_mib: int | None = None
    """What is left on the disk, in whole MiB, when that is little."""
    clock_off_min: int = 0
    """How far this device's clock is off the server's, in whole minutes; 0 up to two of them."""
    newer: bool = False
    """Facts of a newer version wait for an update of this program."""
    contact: str = ""
    """How the certificate stands: "", "soon", "quota_soon", "ended" or "quota" (REL-R10)."""
    damage: bool = False
    """A damaged file was repaired, and nobody has read yet what it cost."""


class Node:
    """One device's local node. Ports are chosen by `main`; tests pass fakes."""

    def __init__(
        self,
        *,
        folder: Path,
        replica: Replica,
        clock: Clock,
        printers: Printers,
        link: Link,
        door: ServerDoor,
        unsealer: Unsealer,
    ) -> None:
        self.folder = folder
        self.replica = replica
        self.clock = clock
        self.printers = printers
        self.link = link
        self.door = door
        self.unsealer = unsealer
        self.sign_in = SignIn(replica, clock)
        self.version = 0
        self.needs_person: Callable[[], int] = lambda: 0
        """How many entries wait for a person, set by the screens that list them."""
        self.contact = Contact(replica, clock)
        self.after_change: list[Callable[[], None]] = [self._look_at_contact]
        """What looks at the replica after it changed: background work that decides by itself whether to act."""
        self.after_change.append(self._forget_ended)
        self.before_forgetting: list[Callable[[sqlite3.Connection, str], None]] = []
        """What saves, in the same transaction, what a person must still see of a document before it leaves."""
        self.background: list[Callable[[], Coroutine[Any, Any, None]]] = []
        """What runs beside link and printers until the node stops."""
        self._patience = Patience(TOLD_MS_MAX)
        self._disk_full = False
        self._woken = asyncio.Event()
        replica.listeners.append(lambda _document: self.changed())

    # --- who and what -----------------------------------------------------------------------------------------------------

    @property
    def number(self) -> int:
        """This device's number.

        Raises:
            RefusedError: it is not enrolled yet.
        """
        number = self.replica.number
        if number is None:
            raise RefusedError("replica.not_enrolled", "this device is not enrolled")
        return number

    def own_numbers(self) -> frozenset[int | None]:
        """Return whose tasks are this device's: its own, those of the numbers it had before a repair or a restore, and nobody's."""
        return frozenset({None, self.replica.number, *self.replica.setting("former_numbers", [])})

    def scope(self) -> State:
        """Return what the server says this device may do: the last `device.scope`, or what it said at the enrolment."""
        if self.replica.number is None:
            return {}
        state = self._said_scope()
        if state is not None:
            return state
        certificate = self.replica.setting("certificate", {})
        return certificate if isinstance(certificate, dict) else {}

    def _said_scope(self) -> State | None:
        """Return the last `device.scope` of the newest own document that has one."""
        for document in reversed(self._own_documents()):
            state = self.replica.state(f"device:{self.replica.number}", document)
            if state and state.get("documents") is not None:
                return state
        return None

    def _own_documents(self) -> list[str]:
        """Return the device's own documents that are here, oldest first."""
        own = f"device/{self.replica.number}"
        return sorted((name for name in self.replica.documents() if line_of(name) == own), key=number_in_line)

    def people(self) -> list[State]:
        """Return who may sign in."""
        return [row for row in self.scope().get("people") or [] if isinstance(row, dict)]

    def documents(self, kind: str) -> list[str]:
        """Return the documents of a kind (route, trip, warehouse, market) that this device works in now, oldest first."""
        held = self.replica.documents()
        named = [name for name in self.scope().get("documents") or [] if document_kind(name) == kind]
        return list(dict.fromkeys(found for name in named if (found := self._workable(name, held)) is not None))

    def _workable(self, name: str, held: Sequence[str]) -> str | None:
        """Return the document to work in where the scope says `name`: its predecessor until all that it opened with is here, and all
        that this device said in the predecessor meanwhile: nobody may forget what he did himself.
        """
        line = line_of(name)
        if line is None:
            return name if name in held else None
        same = sorted((other for other in held if line_of(other) == line), key=number_in_line, reverse=True)
        whole = [other for other in same if self.replica.is_whole(other)]
        for place, newer in enumerate(whole):
            if all(self._is_left(older, newer) for older in whole[place + 1 :]):
                return newer
        return None

    def _is_left(self, older: str, newer: str) -> bool:
        """True when this device works in `newer` already, or what it said in `older` is told there.

        What waits for a supervisor is not told until he lets it count: so long nobody keeps today's orders from the wall, and what a
        server that was heard for ten minutes after its acknowledgement did not tell is not waited for.
        """
        own = {number for number in self.own_numbers() if number is not None}
        said = {number: seq for number, seq in self.replica.state_vector(older).items() if number in own}
        if not said or own & self.replica.state_vector(newer).keys():
            return True
        if self.replica.tells_all(newer, of=older, numbers=own):
            return True
        if older in self.replica.owing():
            return False
        past = self._patience.past(older, newer, said=said, heard=self.link.heard(newer))
        return past == said or (bool(past) and self.replica.tells_all(newer, of=older, numbers=own, after=past))

    def wanted_documents(self) -> list[str]:
        """Return the names of all documents the device syncs now: its own first, those its scope names, those it still owes work of.

        A document that ended or was taken away leaves the scope; what was written there offline is delivered all the same, and what a
        hub that was restored from a backup lacks of others. The device's own document names its successor itself.
        """
        scope = self.scope()
        own = self._own_documents()[-1:]
        if not own and self.replica.number is not None:
            # After the enrolment, or the new number: what the server told then.
            told = [name for name in scope.get("documents") or [] if line_of(name) == f"device/{self.replica.number}"]
            own = told or [f"device/{self.replica.number}/1"]
        for name in list(own):
            successor = (self.replica.state("document", name) or {}).get("successor")
            own += [successor] if isinstance(successor, str) else []
        lacking = [name for name in self.replica.documents() if not self.link.hub_has(name)]
        named: list[str] = [
            *own, *(scope.get("documents") or []), *self.replica.owing(), *self._not_seen_ending(), *lacking
        ]  # fmt: skip
        wanted: dict[str, None] = dict.fromkeys(named)
        return [name for name in wanted if not self.replica.is_gone(name)]

    def _not_seen_ending(self) -> list[str]:
        """Return what has a successor here and whose close has not come: it says what of ours the successor opened with."""
        held = self.replica.documents()
        return [
            name for name in held
            if any(line_of(other) == line_of(name) and number_in_line(other) > number_in_line(name) for other in held)
            and line_of(name) is not None and (self.replica.state("document", name) or {}).get("successor") is None
        ]  # fmt: skip

    def tidy(self) -> list[str]:
        """Forget the documents that ended, or were taken away, and of which the hub has all that is here; returns their names.

        Of a line the old one stays while this device works in it; and nothing is forgotten before the server said what to sync.
        """
        if self._said_scope() is None:
            return []
        wanted, held = self.wanted_documents(), self.replica.documents()
        leaving = []
        for document in held:
            line, number = line_of(document), number_in_line(document)
            later = [
                name for name in wanted if line is not None and line_of(name) == line and number_in_line(name) > number
            ]
            if document not in wanted and (not later or self._workable(document, held) in later):
                leaving.append(document)
        for document in leaving:
            with self.replica.transaction() as conn:
                for look in self.before_forgetting:
                    look(conn, document)
                self.replica.forget(document)
            self._patience.forget(document)
        if leaving:
            self.replica.give_back_space()
        return leaving

    def actor(self) -> SignedIn:
        """Return who acts.

        Raises:
            RefusedError: nobody is signed in.
        """
        person = self.sign_in.person()
        if person is None:
            raise RefusedError("sign_in.needed", "sign in first")
        return person

    # --- acting -----------------------------------------------------------------------------------------------------------

    def act(
        self,
        document: str,
        facts: Sequence[Fact],
        *,
        person: str | None = None,
        also: Callable[[sqlite3.Connection, tuple[str, ...]], None] | None = None,
    ) -> tuple[str, ...]:
        """Say the facts of one action as the person signed in (or as `person`); return their ids.

        Raises:
            RefusedError: nobody is signed in, or the device may not speak yet.
            DiskFullError: nothing was recorded.
        """
        name = person if person is not None else self.actor().id
        return self.replica.act(document, facts, person=name, at_ms=self.clock.wall_ms(), also=also)

    def changed(self, *, acted: bool = False) -> None:
        """Note that something a screen shows has changed; wake link, printers and background work."""
        self.version += 1
        if acted:
            self._disk_full = False
        self.link.notify()
        self.printers.notify()
        self._woken.set()

    def link_changed(self) -> None:
        """Note that the link is in another state; the next pulse shows it."""
        self._woken.set()

    def bar(self) -> Bar:
        """Return what the state bar shows."""
        states = self.printers.states()
        link = self.link.state()
        off_ms = abs(link.clock_ahead_ms or 0)
        waiting = self.replica.waiting()
        return Bar(
            link=link,
            signal=self.link.enabled,
            waiting=waiting,
            needs_person=self.needs_person(),
            printers=states,
            disk_full=self._disk_full,
            room_mib=room_mib if (room_mib := self.room_mib()) < ROOM_MIB_LOW else None,
            clock_off_min=off_ms // 60_000 if off_ms > CLOCK_OFF_MS_MAX else 0,
            newer=self.replica.needs_update,
            contact=self.contact.word(live=self._is_live(link), actions=waiting.actions),
            damage=not self.replica.setting(DAMAGE, {"seen": True})["seen"],
        )

    def _forget_ended(self) -> None:
        self.tidy()

    def _is_live(self, link: LinkState) -> bool:
        return self.link.enabled and link.status in ("live", "update_needed")

    def _look_at_contact(self) -> None:
        self.contact.look(live=self._is_live(self.link.state()))

    # --- disk -------------------------------------------------------------------------------------------------------------

    def room_mib(self) -> int:
        """How much is left on the disk, in whole MiB."""
        return shutil.disk_usage(self.folder).free // _MIB

    def lay_ballast(self) -> None:
        """Keep 2 MiB aside for the moment the disk is full, where there is room for it."""
        path = self.folder / BALLAST
        if path.exists() and path.stat().st_size == BALLAST_BYTES:
            return
        if shutil.disk_usage(self.folder).free < BALLAST_BYTES + _ROOM_BYTES_MIN:
            return
        with open(path, "wb") as file:
            # Real bytes: a sparse file would hold no space at all.
            file.write(os.urandom(BALLAST_BYTES))

    def reuse_log(self) -> bool:
        """The disk is full: let the next commits be written over the journal; True when there was something to gain."""
        self._disk_full = True
        return self.replica.reuse_log()

    def free_ballast(self) -> bool:
        """Give the ballast up; True when there was one."""
        self._disk_full = True
        self.replica.save_room()
        return drop_ballast(self.folder)

    # --- running ----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep link, printers and background work going until cancelled; a fault of one never stops another or a pick."""
        self.lay_ballast()
        workers = [self.link.run, self.printers.run, self._look_after_change, self._sync_twin, *self.background]
        tasks = [asyncio.create_task(_keep_going(worker)) for worker in workers]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _sync_twin(self) -> None:
        """Make what the outbox's twin was given safe a moment later: never a second sync within a tap."""
        while True:
            await asyncio.sleep(TWIN_PAUSE_S)
            twin = self.replica.twin
            if twin is not None and twin.is_too_long:
                self.replica.renew_twin()
            elif twin is not None and twin.unsynced:
                await asyncio.to_thread(twin.sync)

    async def _look_after_change(self) -> None:
        while True:
            await self._woken.wait()
            # Several commits in a row are looked at once.
            await asyncio.sleep(LOOK_PAUSE_S)
            self._woken.clear()
            for look in self.after_change:
                try:
                    look()
                except DiskFullError:
                    self._disk_full = True
                except DiskError as error:
                    log.warning("looked at later: %s", error)
            # Also without a change, what waited for time to pass is looked at again.
            try:
                await asyncio.wait_for(self._woken.wait(), timeout=LOOK_AGAIN_S)
            except TimeoutError:
                self._woken.set()

    def close(self) -> None:
        """Close the replica; what was committed is on the disk already."""
        self.replica.close()


async def _keep_going(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run one worker; after a fault of ours it starts again, so that nothing waits for it until somebody restarts the phone (P2)."""
    while True:
        try:
            await work()
            return
        except Exception:
            log.exception("%s broke on a fault of its own", getattr(work, "__qualname__", work))
            await asyncio.sleep(FAULT_PAUSE_S)


def drop_ballast(folder: Path) -> bool:
    """Remove the ballast file; True when there was one."""
    try:
        (folder / BALLAST).unlink()
    except FileNotFoundError:
        return False
    return True
