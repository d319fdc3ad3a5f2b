"""What befalls everybody at drawn moments: lines die for hours, phones doze, clocks are set, files are put back from old copies."""

from __future__ import annotations

from nahuo.sim.scene import Scene
from nahuo.sim.world import HOUR_MS, MINUTE_MS

CLOCKS = ("forth", "back", "1970", "summer", "frozen")


class Nemesis:
    """Draws a misfortune a turn."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._world = scene.world

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
