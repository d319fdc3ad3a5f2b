"""A simulated device: its process and its link together."""

from __future__ import annotations

from pathlib import Path

from nahuo.sim.nodes.device_link import DeviceLink
from nahuo.sim.nodes.process import DeviceProcess
from nahuo.sim.nodes.server import ServerNode
from nahuo.sim.world import World


class DeviceNode(DeviceProcess):
    """One phone or terminal, whole."""

    def __init__(self, world: World, server: ServerNode, *, name: str, role: str, folder: Path) -> None:
        super().__init__(world, server, name=name, role=role, folder=folder)
        self.sync = DeviceLink(self)

    def start(self) -> None:
        """Begin to connect."""
        self.sync.connect_later(self.world.random.randrange(1, 2_000))

    def lose_signal(self, for_ms: int) -> None:
        """Walk into the basement."""
        self.offline_until_ms = self.world.now_ms + for_ms
        self.sync.lose()
        self.sync.connect_later(for_ms + self.world.random.randrange(1, 5_000))

    def regain_signal(self) -> None:
        """Come up again now, wide awake and with room on the disk."""
        self.offline_until_ms = 0
        self.disk.free()
        self.wake()
        self.sync.radio_wakes()
        self.sync.connect_later(1)
