"""What befalls everybody at drawn moments: lines die for hours, phones doze, clocks are set, files are put back from old copies."""

from __future__ import annotations

from pathlib import Path

from nahuo.sim.nodes.device import DeviceNode
from nahuo.sim.people.pickers import Picker
from nahuo.sim.scene import Scene
from nahuo.sim.versions import update_one
from nahuo.sim.world import HOUR_MS, MINUTE_MS
from server import commands as c

CLOCKS = ("forth", "back", "1970", "summer", "frozen")

DESK_TURNS = 4
COPY_AGE_MS_MAX = 4 * HOUR_MS


class Nemesis:
    """Draws a misfortune a turn."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._world = scene.world
        self._copies: dict[str, Path] = {}
        self._copied_number = 0
        """The number that the phone had when it was copied."""
        self._once: set[str] = set()
        self._numbers: dict[str, int] = {}
        """How many numbers each device had borne when the server was copied."""

    def turn(self) -> None:
        """Let things happen to whom they happen."""
        world, scene = self._world, self._scene
        faults, random = world.faults, world.random
        if world.chance(faults.outage / 4) and not scene.server.unreachable:
            world.sometimes("outage")
            scene.server.cut_off(random.randrange(30 * MINUTE_MS, 10 * HOUR_MS))
        device = random.choice(scene.devices)
        if world.chance(faults.doze):
            device.doze(random.randrange(MINUTE_MS, random.choice((20 * MINUTE_MS, 8 * HOUR_MS))))
        if world.chance(faults.twice_open):
            device.open_twice()
        if world.chance(faults.clock_jump):
            device.clock.jump(random.choice(CLOCKS))
        if world.chance(faults.restored_phone):
            self._restore_phone()
        if world.chance(faults.cloned_phone):
            self._clone_phone()
        if world.chance(faults.restored_server):
            self._expect_copy()
        if world.chance(faults.revoked):
            self._revoke()
        if world.chance(faults.new_key):
            self._want_new_key(device)
        if world.chance(faults.dismissed):
            scene.office.write_off()
        if world.chance(faults.rules_changed):
            self._change_rules()
        if world.chance(faults.day_closed):
            scene.office.give(c.DayClose())
        if world.chance(faults.short_leash):
            scene.office.look_at_parked()
        if world.chance(faults.old_programs):
            update_one(scene)

    # --- copies -----------------------------------------------------------------------------------------------------------

    def _restore_phone(self) -> None:
        """Copy a phone's files; later put them back, when all that it did since is on the server."""
        phone = self._scene.pickers[0].phone
        if phone.dead or "phone" in self._once:
            return
        copy = self._copies.get(phone.name)
        if copy is None:
            self._copies[phone.name] = phone.keep_copy(self._scene.folder / f"{phone.name}-copy")
            self._copied_number = phone.numbers[-1]
            return
        restoring = "server copy" in self._once and "server" not in self._once
        if phone.replica.waiting().actions or phone.replica.is_copy or restoring:
            return
        if self._copied_number in phone.given_up:
            # It changed its key since; a copy from before holds one that counts for nothing, and is enrolled anew (decision 16).
            return
        self._once.add("phone")
        self._world.sometimes("restored_phone")
        phone.put_back(copy, token_stays=self._world.random.random() < 0.5)

    def _clone_phone(self) -> None:
        """Copy a phone's files onto another phone, whose people are the same; both go on."""
        scene = self._scene
        picker = scene.pickers[0]
        phone = picker.phone
        restoring = "server copy" in self._once and "server" not in self._once
        if phone.dead or phone.replica.is_copy or phone.may_be_behind or "clone" in self._once or restoring:
            return
        self._once.add("clone")
        self._world.sometimes("cloned_phone")
        name = f"{phone.name}b"
        phone.keep_copy(scene.folder / name)
        clone = DeviceNode(self._world, scene.server, name=name, role=phone.role, folder=scene.folder / name)
        clone.may_be_behind = True
        scene.add(clone)
        other = Picker(self._world, clone, scene.physical)
        scene.pickers.append(other)
        clone.start()
        for _ in range(6):
            self._world.later_turn(self._world.random.randrange(MINUTE_MS, 3 * HOUR_MS), "clone turn", other.turn)

    def _expect_copy(self) -> None:
        """The server is backed up at night: what came in before goes out to phones in the morning, and of that the copy knows nothing."""
        if "server copy" in self._once:
            return
        self._once.add("server copy")
        self._scene.office.import_orders(self._world.random.randrange(2, 6))
        self._copy_server()

    def _copy_server(self) -> None:
        """Back the server up, to put that back later. Orders imported and money booked in between are entered again, so none are here."""
        world, scene = self._world, self._scene
        scene.office.may_import = False
        if scene.server.down or scene.server.has_commands:
            world.later_turn(MINUTE_MS, "server copy", self._copy_server)
            return
        self._numbers = {device.name: len(device.numbers) for device in scene.devices}
        scene.server.keep_copy()
        world.later_turn(world.random.randrange(HOUR_MS), "routes after backup", scene.office.assign)
        world.later_turn(world.random.randrange(COPY_AGE_MS_MAX), "server's disk dies", self._restore_server)

    def _restore_server(self) -> None:
        """Put the server's backup back on a new machine, unless the storm is over by now."""
        scene = self._scene
        if not self._world.faults.restored_server:
            return
        if any(len(device.numbers) > self._numbers.get(device.name, 0) for device in scene.devices):
            # A device that got its number after the backup enrols again by hand; that is another story.
            return
        if not scene.server.restore():
            self._world.later_turn(MINUTE_MS, "server's disk dies", self._restore_server)
            return
        scene.office.may_import = True
        # Until devices find the new machine, the desks are at work on what the copy remembers.
        random = self._world.random
        scene.server.cut_off(random.randrange(10 * MINUTE_MS, 2 * HOUR_MS))
        for _ in range(DESK_TURNS):
            self._world.later_turn(random.randrange(MINUTE_MS, HOUR_MS), "office after restore", scene.office.turn)

    # --- the platform's own hand ------------------------------------------------------------------------------------------

    def _revoke(self) -> None:
        """A device is stopped, wherever it is."""
        if "revoke" not in self._once:
            self._once.add("revoke")
            self._scene.office.give(c.DeviceRevoke(device=self._scene.device("phone-2").numbers[-1]))

    def _want_new_key(self, device: DeviceNode) -> None:
        """A device that was in other hands shall take another key. Not one of which there is a copy: the copy's would count for nothing."""
        copied = device is self._scene.pickers[0].phone and (self._copies or "clone" in self._once)
        if device.dead or device.replica.is_copy or device.may_be_behind or copied:
            return
        if self._world.random.random() < 0.5:
            device.in_background(device.replica.ask_for_key)
        else:
            self._scene.office.give(c.DeviceNewKey(device=device.node.number))

    def _change_rules(self) -> None:
        random = self._world.random
        fees = c.FeesSet(
            commission_fen_per_piece=random.choice((0, 150, 300)),
            commission_basis_points=random.choice((0, 333)),
            courier_fen=random.choice((0, 400, 650)),
            packing_fen=random.choice((0, 50)),
        )
        self._scene.office.give(fees)
