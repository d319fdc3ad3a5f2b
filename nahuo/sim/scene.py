"""Everybody and everything of one run, in one place for those who look at it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nahuo.sim.checks.prefix import PrefixChecks
from nahuo.sim.nodes.device import DeviceNode
from nahuo.sim.nodes.server import ServerNode
from nahuo.sim.people.office import Office
from nahuo.sim.people.physical import Physical
from nahuo.sim.people.pickers import Picker, Runner
from nahuo.sim.people.terminals import Packer
from nahuo.sim.world import World


@dataclass(slots=True, kw_only=True)
class Scene:
    """The nodes, the people and the things."""

    world: World
    folder: Path
    server: ServerNode
    physical: Physical
    checks: PrefixChecks
    office: Office = field(init=False)
    devices: list[DeviceNode] = field(default_factory=list)
    pickers: list[Picker] = field(default_factory=list)
    runners: list[Runner] = field(default_factory=list)
    packers: list[Packer] = field(default_factory=list)

    def add(self, device: DeviceNode) -> None:
        """Bring a device in."""
        self.devices.append(device)

    def device(self, name: str) -> DeviceNode:
        """Return the device of a name."""
        return next(device for device in self.devices if device.name == name)
