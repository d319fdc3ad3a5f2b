"""One simulated market day: set up, storm, calm, the last checks.

Worlds are small (two pickers, a runner, a terminal, a few orders): rare meetings come from many seeds, not from long ones.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nahuo.sim.checks import CheapChecks, check_at_rest
from nahuo.sim.device_node import DeviceNode
from nahuo.sim.office import MERCHANTS, SHOPS, STALLS, Office
from nahuo.sim.physical import Physical
from nahuo.sim.pickers import Picker, Runner
from nahuo.sim.seams import key_seed, known_pin, seeded
from nahuo.sim.server_node import ServerNode
from nahuo.sim.terminals import Packer
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


def run_seed(seed: int, folder: Path, *, watch: Callable[[World], None] | None = None) -> Result:
    """Live through the day of a seed in an empty folder."""
    world = World(seed)
    with seeded(seed):
        try:
            day = Day(world, folder)
            try:
                if watch is not None:
                    watch(world)
                with _overhear(day.server.failures):
                    day.live()
            finally:
                day.close()
            failure = ""
        except Broken as error:
            failure = str(error)
        except Exception as error:  # noqa: BLE001 - any exception of the code under test is a finding of this seed
            failure = describe(error)
    return Result(seed=seed, failure=failure, trace=world.trace(), events=world.events, seen=world.seen)


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
        self.physical = Physical()
        self.server = ServerNode(world, folder / "server", key=key_seed(world.seed, "server"))
        self.devices: list[DeviceNode] = []
        self._folder = folder
        self._set_up()
        world.faults = storm
        self.checks = CheapChecks(world, self.server)
        world.after_event.append(self.checks.look)

    # --- setting up -------------------------------------------------------------------------------------------------------

    def _set_up(self) -> None:
        do = self.server.carry_out
        by = "platform:office"
        for merchant in MERCHANTS:
            do(c.MerchantCreate(id=merchant, name=f"商家{merchant}"), by=by)
            money_fen = self.world.random.choice((15_000, 40_000, 100_000))
            do(c.TopUp(merchant=merchant, amount_fen=money_fen, key=f"start-{merchant}"), by=by)
        for number, (shop, merchant) in enumerate(SHOPS.items()):
            do(c.ShopSet(shop=shop, merchant=merchant, tolerance_fen=number * 200), by=by)
        market, floor, stall = STALLS[0]
        do(c.StallListed(market=market, floor=floor, stall=stall, name="白木禾"), by=by)
        do(c.CourierRange(courier="圆通", prefix="YT", first=1, last=400, digits=10), by=by)
        salt, pin = known_pin()
        people = {"phone-1": "picker", "phone-2": "picker", "phone-3": "runner", "terminal-1": "warehouse"}
        for name, role in people.items():
            do(c.PersonCreate(id=f"p-{name}", name=name, pin_salt=salt, pin_hash=pin), by=by)
            self.devices.append(self._enrol(name, role))
        phones = [device for device in self.devices if device.role == "picker"]
        runner, terminal = self.devices[2], self.devices[3]
        self.pickers = [Picker(self.world, phone, self.physical) for phone in phones]
        self.runner = Runner(self.world, runner, self.physical)
        self.packer = Packer(self.world, terminal, self.physical, self.devices)
        numbers = [device.node.number for device in phones]
        self.office = Office(
            self.world, self.server, self.physical, pickers=numbers, runner=runner.node.number, packer=self.packer
        )

    def _enrol(self, name: str, role: Any) -> DeviceNode:
        digest = c.enrol_code_digest(f"ABCDEF{name[-1]}{len(self.devices) + 2}")
        by = "platform:office"
        self.server.carry_out(
            c.DeviceCode(code_digest=digest, role=role, name=name, people=[f"p-{name}"], warehouse="main"), by=by
        )
        key = key_seed(self.world.seed, name)
        folder = self._folder / name
        folder.mkdir(parents=True)
        device = DeviceNode(self.world, self.server, name=name, role=role, folder=folder, key=key)
        outcome = self.server.carry_out(
            c.DeviceEnrol(code_digest=digest, public_key=device.public_key.hex(), name=name), by="device:new"
        )
        certificate = {key: value for key, value in outcome.items() if key != "ok"}
        device.replica.enrol(
            number=int(outcome["number"]), server_key=bytes.fromhex(outcome["server_key"]), certificate=certificate
        )
        return device

    # --- the day ----------------------------------------------------------------------------------------------------------

    def live(self) -> None:
        """Storm, then calm, then look at everything."""
        self._begin()
        storm_ms = self.world.random.randrange(3 * HOUR_MS, 9 * HOUR_MS)
        self.world.run(storm_ms)
        self._calm(storm_ms)
        check_at_rest(self)
        for name, count in sorted(self.office.refused_commands().items()):
            self.world.seen[f"command_refused_{name}"] += count
        refused = [code for picker in self.pickers for code in picker.refused] + self.packer.refused
        for code in refused:
            self.world.seen[f"action_refused_{code}"] += 1

    def _begin(self) -> None:
        self.office.import_orders(self.world.random.randrange(3, 7))
        self.office.give(c.RoutesAssign())
        self.server.tick()
        for device in self.devices:
            device.start()
        turns = self.world.random.randrange(45, 110)
        actors: list[tuple[Any, int]] = [
            (self.pickers[0], 30), (self.pickers[1], 25), (self.packer, 30), (self.office, 15), (self.runner, 6),
        ]  # fmt: skip
        for actor, weight in actors:
            self._keep_busy(actor, max(2, turns * weight // 106))

    def _keep_busy(self, actor: Any, turns: int) -> None:
        """Give an actor his turns at drawn moments of the day."""
        for number in range(turns):
            at_ms = int((number + self.world.random.random()) * 9 * HOUR_MS * 0.8 / turns)
            self.world.later(max(5_000, at_ms), f"{type(actor).__name__} turn", actor.turn)

    def _calm(self, storm_ms: int) -> None:
        world = self.world
        world.calm()
        until_ms = max(storm_ms, world.now_ms)
        for device in self.devices:
            device.regain_signal()
        for number in range(CALM_ROUNDS):
            until_ms += CALM_ROUND_MS
            world.run(until_ms)
            if number == 0 or number == 1:
                self.office.close_everything_closable()
            for picker in self.pickers:
                picker.settle_slips()
                picker.finish()
            self.packer.finish(look_again=number % 2 == 1)
            if number == 1:
                self.packer.finish_returns()
                self.office.send_runner()
            elif number >= 2:
                self.runner.turn()
            for device in self.devices:
                if not device.dead:
                    device.guard(device.look)
        world.run(until_ms + CALM_ROUND_MS)

    def close(self) -> None:
        """Close every file."""
        for device in self.devices:
            device.close()
        self.server.close()
