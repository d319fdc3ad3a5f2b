"""Kill -9 of real processes at random moments: nothing that was shown as done is gone, no file is damaged, all of it meets in the end.

Two phones, a terminal and a server work as processes of their own, over real sockets, on real files with synchronous=FULL. People tap
without pause (proof/market.py); each process is killed after a drawn time, a third of them again while it starts and recovers. After each
kill its files are searched as they lie for what was shown as done; once it is up its pages are. When the storm is over everything comes to
rest: the outboxes are empty, every folder recounts, all replicas agree, each label that was queued came out, and the money is right.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from nahuo.data_folder import read_only
from nahuo.demo.day import Tally
from nahuo.demo.main import free_ports, make_orders
from nahuo.demo.outcome import count_day
from nahuo.demo.processes import Actor
from nahuo.demo.scene import Scene
from printer.virtual.server import LabelFolder
from proof import market
from proof.report import Part, Size
from proof.shown import Shown, acknowledged, copied, lost_on_device, lost_on_server, whole
from sync_core.errors import NahuoError, RetryableError

KILLS = {Size.SHORT: 60, Size.FULL: 1_000}
MARKET_KILLS = {Size.SHORT: 60, Size.FULL: 100}
ORDERS = {Size.SHORT: 150, Size.FULL: 400}
FIRST_SEED = 4_000
DEVICES = ("phone1", "phone2", "terminal")
LIFE_SECONDS = (0.05, 1.5)
"""How long a process that came up works before it is killed."""
DIES_STARTING = 0.35
"""How often a start is killed before it is done."""
START_SECONDS = 1.2
REST_SECONDS = 120


@dataclass(slots=True, kw_only=True)
class Storm:
    """What one market's storm came to."""

    seed: int
    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*DEVICES, "server"), 0))
    starting: int = 0
    shown: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """All kills."""
        return sum(self.kills.values())


def prove(size: Size, folder: Path) -> Part:
    """Run markets until the kills are spent."""
    storms = []
    left, seed = KILLS[size], FIRST_SEED
    while left > 0:
        kills = min(left, MARKET_KILLS[size])
        storms.append(weather(folder / str(seed), seed=seed, kills=kills, orders=ORDERS[size]))
        shutil.rmtree(folder / str(seed), ignore_errors=True)
        left -= max(storms[-1].total, 1)
        seed += 1
    part = Part(
        name="kills",
        title="Kill -9 of real processes",
        shows="Real field, warehouse and server processes under people who tap, scan and command without pause, killed at drawn moments, "
        "also while they start. What was shown as done is looked for in the files as the kill left them and on the pages afterwards; at "
        "the end every folder is recounted, replicas are compared, labels are counted on paper.",
        does_not_show="A kill leaves the kernel's memory alive: what a power cut takes is the proof of power cuts. The moments are drawn "
        "in wall time, so a seed names the people's choices, not the exact instruction.",
    )
    total = sum(storm.total for storm in storms)
    drawn = f"{total} kills, seeds {FIRST_SEED} to {seed - 1}"
    part.faults = [fault for storm in storms for fault in storm.faults]
    lost = sum(": lost" in fault for fault in part.faults)
    corrupt = sum(": corrupt" in fault for fault in part.faults)
    who = {key: sum(storm.kills[key] for storm in storms) for key in (*DEVICES, "server")}
    part.add(
        "kills",
        f"{total}",
        ", ".join(f"{key} {count}" for key, count in who.items()),
        goal=f"{KILLS[size]:,}",
        holds=total >= KILLS[size],
    )
    part.add("of these while starting", f"{sum(s.starting for s in storms)}", f"{total} kills")
    part.add(
        "shown as done and lost",
        f"{lost}",
        f"{sum(s.shown for s in storms):,} things shown as done, {drawn}",
        goal="0",
        holds=lost == 0,
    )
    part.add("damaged files", f"{corrupt}", drawn, goal="0", holds=corrupt == 0)
    part.add(
        "other promises broken at rest", f"{len(part.faults) - lost - corrupt}", f"{len(storms)} markets", goal="0"
    )
    return part


def weather(folder: Path, *, seed: int, kills: int, orders: int, plant: Callable[[Scene], None] | None = None) -> Storm:
    """Play one market through its storm and its calm. `plant` breaks the folders between the two, for tests of this proof."""
    storm = Storm(seed=seed)
    files = make_orders(folder / "orders", orders=orders, seed=seed)
    scene = Scene(folder=folder / "scene", ports=free_ports())
    try:
        scene.raise_curtain(lambda _words: None)
        scene.import_orders(files)
        scene.admin.need("/platform/routes/assign")
        _until(lambda: all(scene.hands[k].see("/tasks")["tasks"] for k in market.PHONES), "the tasks reach the phones")
        world = World(scene=scene, storm=storm, kills=kills, room=folder / "copies")
        world.blow()
        storm.shown = sum(shown.count for shown in world.shown.values())
        if plant is not None:
            plant(scene)
        world.rest()
    except NahuoError as error:
        storm.faults.append(f"seed {seed}: at rest: {error}")
    finally:
        scene.drop_curtain()
    if not storm.faults:
        _recount(scene, storm, seed)
    return storm


@dataclass(slots=True, kw_only=True)
class World:
    """One market in its storm: a thread for each process lets it live, kills it and looks; one more sits at the desks."""

    scene: Scene
    storm: Storm
    kills: int
    room: Path
    shown: dict[str, Shown] = field(default_factory=lambda: {key: Shown() for key in (*DEVICES, "server")})
    _over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def blow(self) -> None:
        """Return when the kills are spent, or at the first fault."""
        names = (*DEVICES, "server")
        threads = [threading.Thread(target=self._guarded, args=(self._live, name)) for name in names]
        threads.append(threading.Thread(target=self._guarded, args=(self._sit, "desk")))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def rest(self) -> None:
        """Everything on; wait until nothing waits anywhere.

        Raises:
            RetryableError: something still waits.
        """
        scene = self.scene
        if not scene.server.is_running:
            scene.server.start()
        scene.server.wait()
        scene.admin.sign_in()
        scene.merchant.sign_in()
        for key in DEVICES:
            if not scene.devices[key].client.is_running:
                scene.restart_device(key)
            scene.hands[key].signal(True)
        _until(lambda: all(self._is_idle(key) for key in DEVICES), "the outboxes are empty")
        _until(self._server_rests, "the server has decided")
        _until(lambda: all(self._is_idle(key) for key in DEVICES), "the outboxes are empty again")
        for key in DEVICES:
            with read_only(scene.folder / key / "replica.db") as conn:
                self._fault(key, [*whole(conn), *lost_on_device(conn, self.shown[key]), *self._not_on_paper(key, conn)])
        self._look_at_server()

    # --- one process ------------------------------------------------------------------------------------------------------

    def _live(self, name: str) -> None:
        rng = random.Random(f"{self.storm.seed} {name}")
        actor = self.scene.server if name == "server" else self.scene.devices[name].client
        while not self._over.is_set():
            self._work(name, actor, rng)
            if not self._kill(name, actor):
                return
            self._look(name)
            actor.start()
            while rng.random() < DIES_STARTING:
                time.sleep(rng.random() * START_SECONDS)
                if not self._kill(name, actor):
                    break
                self.storm.starting += 1
                self._look(name)
                actor.start()
            self._come_up(name, actor)

    def _work(self, name: str, actor: Actor, rng: random.Random) -> None:
        """Let it live for a drawn time; a timer kills nothing by itself, it ends the life."""
        ends = time.monotonic() + rng.uniform(*LIFE_SECONDS)
        died = threading.Event()

        def alive() -> bool:
            return not died.is_set() and not self._over.is_set()

        if name == "server":
            time.sleep(max(0.0, ends - time.monotonic()))
            return
        shown, hand = self.shown[name], self.scene.hands[name]
        people = random.Random(rng.random())
        worker = threading.Thread(
            target=self._guarded,
            args=(
                lambda _: (
                    market.scan(hand, self.scene, shown, people, alive)
                    if name == "terminal"
                    else market.tap(hand, shown, people, alive)
                ),
                name,
            ),
        )
        worker.start()
        time.sleep(max(0.0, ends - time.monotonic()))
        # The kill falls while the hand taps; the hand finds out by itself.
        self._kill_now(name, actor)
        died.set()
        worker.join()

    def _kill_now(self, name: str, actor: Actor) -> None:
        with self._lock:
            if self.storm.total >= self.kills:
                self._over.set()
                return
            self.storm.kills[name] += 1
        actor.kill()

    def _kill(self, name: str, actor: Actor) -> bool:
        """Kill it unless it is dead; False when the storm is over."""
        if actor.is_running:
            self._kill_now(name, actor)
        return not self._over.is_set()

    def _come_up(self, name: str, actor: Actor) -> None:
        if name == "server":
            actor.wait()
            return
        self.scene._pick_up(name)
        if name != "terminal":
            self._fault(name, market.contradicts(self.scene.hands[name], self.shown[name]))

    def _sit(self, _name: str) -> None:
        rng = random.Random(f"{self.storm.seed} desk")
        market.sit(self.scene, self.shown["server"], rng, lambda: not self._over.is_set())

    # --- looking ----------------------------------------------------------------------------------------------------------

    def _look(self, name: str) -> None:
        """Search a dead process's files as they lie."""
        if name == "server":
            self._look_at_server()
            return
        with copied(self.scene.folder / name / "replica.db", self.room / name) as conn:
            damaged = whole(conn)
            self._fault(name, damaged or lost_on_device(conn, self.shown[name]))

    def _look_at_server(self) -> None:
        acked: dict[tuple[str, int], int] = {}
        for key in DEVICES:
            with read_only(self.scene.folder / key / "replica.db") as conn:
                acked |= acknowledged(conn)
        with copied(self.scene.folder / "server" / "nahuo.db", self.room / "server") as conn:
            damaged = whole(conn)
            self._fault("server", damaged or lost_on_server(conn, self.shown["server"], acked))

    def _not_on_paper(self, key: str, conn: sqlite3.Connection) -> list[str]:
        """Labels that were queued and neither came out nor wait for a person who looks."""
        printed = {
            str(code)
            for printer in self.scene.devices[key].printers
            for record in LabelFolder(self.scene.printer_folder(key, printer), lambda: 0).read()
            for code in record["codes"]
        }
        asks = {row[0] for row in conn.execute("SELECT code FROM print_job WHERE state IN ('unknown', 'failed')")}
        return [f"lost: the label {code} never came out" for code in sorted(self.shown[key].labels - printed - asks)]

    def _is_idle(self, key: str) -> bool:
        pulse = self.scene.hands[key].see("/pulse")
        printing = key != "terminal" and pulse["printers"]["label"]["waiting"]
        return bool(pulse["link"] == "live" and pulse["waiting"] == 0 and not printing)

    def _server_rests(self) -> bool:
        overview = self.scene.admin.see("/api/overview")
        return not overview["unread"] and not overview["commands"]

    def _fault(self, name: str, found: list[str]) -> None:
        if found:
            with self._lock:
                self.storm.faults += [
                    f"seed {self.storm.seed}, kill {self.storm.total}, {name}: {f}" for f in found[:5]
                ]
            self._over.set()

    def _guarded(self, run: Callable[[str], None], name: str) -> None:
        try:
            run(name)
        except Exception as error:  # noqa: BLE001 - told as a fault of the storm
            self._fault(name, [f"{type(error).__name__}: {error}"])


def _recount(scene: Scene, storm: Storm, seed: int) -> None:
    """Everybody went home: recount every folder."""
    outcome = count_day(scene, Tally(), seed=seed)
    # The day's own papers page counts labels the spool knows as printed; here a label in doubt may wait for a person.
    broken = [c for c in (*outcome.checks.values(), *outcome.other) if not c.holds and c.name != "papers"]
    storm.faults += [f"seed {seed}, at rest: {check.name}: {check.faults[0]}" for check in broken]


def _until(ready: Callable[[], object], what: str, seconds: float = REST_SECONDS) -> None:
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until:
            raise RetryableError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)
