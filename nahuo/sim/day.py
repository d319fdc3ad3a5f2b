"""One simulated market day: set up, storm, calm, the last checks.

Worlds are small (two pickers, a runner, a terminal, a few orders): rare meetings come from many seeds, not from long ones.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nahuo.sim.checks.at_rest import check_at_rest
from nahuo.sim.checks.prefix import PrefixChecks
from nahuo.sim.checks.story import note_money_story
from nahuo.sim.faults import Faults, switched_on
from nahuo.sim.nodes.device import DeviceNode
from nahuo.sim.nodes.server import ServerNode
from nahuo.sim.people.nemesis import Nemesis
from nahuo.sim.people.office import MERCHANTS, Office
from nahuo.sim.people.physical import Physical
from nahuo.sim.people.pickers import Picker, Runner
from nahuo.sim.people.stranger import Stranger
from nahuo.sim.people.terminals import Packer
from nahuo.sim.prepared import DEVICES, SERVER, STRANGER, lay_out, server_key
from nahuo.sim.scene import Scene
from nahuo.sim.seams import seeded
from nahuo.sim.versions import leave_behind, update_all
from nahuo.sim.world import HOUR_MS, MINUTE_MS, NO_FAULTS, Broken, World
from server import commands as c

CALM_ROUNDS: Final = 6
CALM_ROUND_MS: Final = 20 * MINUTE_MS
"""Two virtual hours after the last fault everything has come to rest (REL-I8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one seed; `failure` is empty when every promise held."""

    seed: int
    failure: str
    trace: str
    events: int
    seen: Counter[str]
    faults: tuple[str, ...] = ()
    """The names of the faults that were on."""


def run_seed(
    seed: int, folder: Path, *, without: Sequence[str] = (), watch: Callable[[World], None] | None = None
) -> Result:
    """Live through the day of a seed in an empty folder."""
    world = World(seed, without=without)
    with seeded(seed):
        try:
            day = Day(world, folder)
            try:
                if watch is not None:
                    watch(world)
                with _overhear(day.scene.server.failures):
                    day.live()
            finally:
                day.close()
            failure = ""
        except Broken as error:
            failure = str(error)
        except Exception as error:  # noqa: BLE001 - any exception of the code under test is a finding of this seed
            failure = describe(error)
    return Result(
        seed=seed,
        failure=failure,
        trace=world.trace(),
        events=world.events,
        seen=world.seen,
        faults=tuple(switched_on(world.storm_faults)),
    )


class _Overheard(logging.Handler):
    """The authority sets a failing fact aside and goes on (REL-R15); here each failure fails the run."""

    def __init__(self, failures: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._failures = failures

    def emit(self, record: logging.LogRecord) -> None:
        """Note an error with the place that raised it."""
        error = record.exc_info[1] if record.exc_info is not None else None
        self._failures.append(f"{record.getMessage()}: {describe(error)}" if error is not None else record.getMessage())


@contextmanager
def _overhear(failures: list[str]) -> Iterator[None]:
    log = logging.getLogger("nahuo")
    handler, propagated = _Overheard(failures), log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = propagated


def describe(error: BaseException) -> str:
    """Return an exception with the place of ours that raised it, in one line."""
    place = ""
    step = error.__traceback__
    while step is not None:
        name = step.tb_frame.f_code.co_filename
        if "site-packages" not in name and "/lib/python" not in name:
            place = f"{Path(name).parent.name}/{Path(name).name}:{step.tb_lineno}"
        step = step.tb_next
    words = " ".join(str(error).split())[:300]
    return f"{type(error).__name__} at {place}: {words}"


class Day:
    """Everybody and everything of one run."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        storm, world.faults = world.faults, NO_FAULTS
        lay_out(folder)
        physical = Physical()
        server = ServerNode(world, folder / SERVER, key=server_key())
        checks = PrefixChecks(world, server)
        self.scene = scene = Scene(world=world, folder=folder, server=server, physical=physical, checks=checks)
        for name, role in DEVICES.items():
            if name != STRANGER and (storm.two_gates or name != "terminal-2"):
                scene.add(DeviceNode(world, server, name=name, role=role, folder=folder / name))
        self._settle_in(storm)
        if storm.short_leash:
            scene.office.tighten_leash()
        if storm.old_programs:
            leave_behind(scene)
        world.faults = storm
        world.after_event.append(checks.look)

    def _settle_in(self, storm: Faults) -> None:
        """Give everybody his place, and merchants their money."""
        world, scene = self.world, self.scene
        phones = [scene.device("phone-1"), scene.device("phone-2")]
        scene.pickers = [Picker(world, phone, scene.physical) for phone in phones]
        scene.runners = [Runner(world, scene.device("phone-3"), scene.physical)]
        terminals = [device for device in scene.devices if device.role == "warehouse"]
        scene.packers = [Packer(world, terminal, scene.physical, scene.devices) for terminal in terminals]
        for packer in scene.packers:
            packer.colleagues = scene.packers
        scene.office = Office(
            world, scene.server, scene.physical, pickers=phones, runner=scene.device("phone-3"), packer=scene.packers[0]
        )
        self.nemesis = Nemesis(scene)
        other = DeviceNode(world, scene.server, name=STRANGER, role=DEVICES[STRANGER], folder=scene.folder / STRANGER)
        self.stranger = Stranger(world, scene.server, other)
        scene.server.hostile.add(other.node.number)
        other.close()
        for merchant in MERCHANTS:
            money_fen = world.random.choice((4_000, 9_000) if storm.dry_wallet else (15_000, 40_000, 100_000))
            start = c.TopUp(merchant=merchant, amount_fen=money_fen, key=f"start-{merchant}")
            scene.server.carry_out(start, by="platform:office")
            scene.office.paid_in[merchant, start.key] = money_fen

    # --- the day ----------------------------------------------------------------------------------------------------------

    def live(self) -> None:
        """Storm, then calm, then look at everything."""
        world, scene = self.world, self.scene
        storm_ms = world.random.randrange(3 * HOUR_MS, 9 * HOUR_MS)
        if world.faults.long_storm:
            world.sometimes("long_storm")
            storm_ms *= world.random.randrange(3, 9)
        self._begin(storm_ms)
        world.run(storm_ms)
        self._calm(storm_ms)
        check_at_rest(scene)
        for name, count in sorted(scene.office.refused_commands().items()):
            world.seen[f"command_refused_{name}"] += count
        for refused in [*(picker.refused for picker in scene.pickers), *(packer.refused for packer in scene.packers)]:
            world.seen.update(f"action_refused_{code}" for code in refused)
        note_money_story(scene)

    def _begin(self, storm_ms: int) -> None:
        world, scene = self.world, self.scene
        scene.office.import_orders(world.random.randrange(3, 7))
        scene.office.assign()
        scene.server.tick()
        for device in scene.devices:
            device.start()
        turns = world.random.randrange(45, 110)
        actors: list[tuple[Any, int]] = [
            (scene.pickers[0], 30), (scene.pickers[1], 25), (scene.packers[0], 30), (scene.office, 15), (scene.runners[0], 6),
            (self.nemesis, 14), *((packer, 12) for packer in scene.packers[1:]),
        ]  # fmt: skip
        if world.faults.forger or world.faults.mute_reader:
            actors.append((self.stranger, 20))
        for actor, weight in actors:
            self._keep_busy(actor, max(2, turns * weight // 106), storm_ms)

    def _keep_busy(self, actor: Any, turns: int, storm_ms: int) -> None:
        """Give an actor his turns at drawn moments of the day."""
        for number in range(turns):
            at_ms = int((number + self.world.random.random()) * max(storm_ms, 8 * HOUR_MS) * 0.9 / turns)
            self.world.later_turn(max(5_000, at_ms), f"{type(actor).__name__} turn", actor.turn)

    def _calm(self, storm_ms: int) -> None:
        world, scene = self.world, self.scene
        world.calm()
        until_ms = max(storm_ms, world.now_ms)
        scene.server.unreachable_until_ms = 0
        update_all(scene)
        if world.storm_faults.short_leash:
            world.later(CALM_ROUND_MS // 4, "leash is loosened", scene.office.loosen_leash)
        scene.server.disk_is_full = False
        for device in scene.devices:
            device.regain_signal()
        for number in range(CALM_ROUNDS):
            until_ms += CALM_ROUND_MS
            world.run(until_ms)
            scene.office.look_at_parked()
            if number in (0, 1):
                scene.office.close_everything_closable()
            for picker in scene.pickers:
                picker.settle_slips()
                picker.finish()
            for packer in scene.packers:
                packer.finish(look_again=number % 2 == 1)
            if number == 1:
                scene.packers[0].finish_returns()
                scene.office.send_runner()
            elif number >= 2:
                for runner in scene.runners:
                    runner.turn()
            for device in scene.devices:
                if not device.dead:
                    device.in_background(device.look)
        # A label takes seconds to come out and a bag its way: what is bought in the last of them is at rest nowhere.
        world.go_home()
        world.run(until_ms + CALM_ROUND_MS)

    def close(self) -> None:
        """Close every file."""
        for device in self.scene.devices:
            device.close()
        self.scene.server.close()
