"""The network between a device and the hub: ordered pipes, as TCP gives them, that tear.

Inside one connection nothing is lost, repeated or reordered; a connection may be cut with all that is in flight, may go silent
without telling anybody (half-open), or may deliver hours late what the other end has long given up. The sessions at both ends are the
real ones; this module moves their bytes and knows nothing of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from hashlib import sha256

from nahuo.sim.world import World


class Pipe:
    """One direction of a connection."""

    def __init__(self, world: World, wire: Wire, name: str, deliver: Callable[[bytes], None]) -> None:
        self._world = world
        self._wire = wire
        self._name = name
        self._deliver = deliver
        self._on_the_way: deque[bytes] = deque()
        self.last_ms = 0
        self.deaf = False
        """Nothing sent this way arrives any more; the other direction still works."""
        self.sent: list[bytes] = []
        """All frames of this direction, for replays."""

    def send(self, frame: bytes) -> None:
        """Put a frame on its way."""
        world, wire = self._world, self._wire
        if wire.closed or wire.half_open:
            return
        faults = world.faults
        if world.chance(faults.cut):
            world.sometimes("cut")
            wire.cut()
            return
        if world.chance(faults.cut_mid_frame):
            # The first half of its bytes arrives, which is no message, and then the end.
            world.sometimes("cut_mid_frame")
            wire.cut()
            return
        if world.chance(faults.one_way):
            world.sometimes("one_way")
            self.deaf = True
            wire.go_silent(both=False)
            return
        if self.deaf:
            return
        if world.chance(faults.half_open):
            world.sometimes("half_open")
            wire.go_silent()
            return
        self.sent.append(frame)
        delay_ms = world.random.randrange(1, faults.delay_ms_max)
        if faults.bytes_per_ms:
            delay_ms += len(frame) // faults.bytes_per_ms
        if world.chance(faults.stall):
            world.sometimes("stalled_frame")
            delay_ms = world.random.randrange(1, faults.stall_ms_max)
            wire.stalled = True
            world.later(world.random.randrange(40_000, 80_000), "gave up", wire.cut_far_end)
        self.last_ms = max(self.last_ms, world.now_ms + delay_ms)
        self._on_the_way.append(frame)
        world.later(self.last_ms - world.now_ms, self._name, self._arrive)

    def _arrive(self) -> None:
        # Each arrival takes the oldest frame: two of one millisecond cannot overtake each other.
        if self._wire.closed or not self._on_the_way:
            return
        frame = self._on_the_way.popleft()
        if self._wire.half_open:
            return
        self._world.note(sha256(frame).digest())
        self._deliver(frame)

    def works(self) -> bool:
        """True while what is sent this way arrives."""
        return not (self.deaf or self._wire.closed or self._wire.half_open or self._wire.stalled)

    def drop(self) -> None:
        """Lose what is on the way."""
        self._on_the_way.clear()


class Wire:
    """One connection. `lost_up` and `lost_down` tell the hub and the device that it ended."""

    def __init__(
        self,
        world: World,
        name: str,
        *,
        to_hub: Callable[[bytes], None],
        to_device: Callable[[bytes], None],
        hub_lost: Callable[[], None],
        device_lost: Callable[[], None],
    ) -> None:
        self._world = world
        self.up = Pipe(world, self, f"{name} up", to_hub)
        self.down = Pipe(world, self, f"{name} down", to_device)
        self._hub_lost = hub_lost
        self._device_lost = device_lost
        self._name = name
        self.closed = False
        self.half_open = False
        self.stalled = False

    def cut(self) -> None:
        """End it; both ends hear of it a moment later, each in its own time."""
        if self.closed:
            return
        self.closed = True
        self.up.drop()
        self.down.drop()
        self._world.later(self._world.random.randrange(1, 2_000), f"{self._name} hub lost", self._hub_lost)
        self._world.later(self._world.random.randrange(1, 2_000), f"{self._name} device lost", self._device_lost)

    def begin(self) -> None:
        """A line that flaps lasts a few seconds."""
        if self._world.chance(self._world.faults.flap):
            self._world.sometimes("flapped")
            self._world.later(self._world.random.randrange(500, 8_000), f"{self._name} flaps", self.cut)

    def go_silent(self, *, both: bool = True) -> None:
        """Nothing arrives any more and nobody is told: each end finds out by its own silence limit."""
        self.half_open = both
        self._world.later(40_000 + self._world.random.randrange(20_000), f"{self._name} silent", self.cut)

    def cut_far_end(self) -> None:
        """The hub's end gave up on a sleeping device; what is on the way to the device still arrives."""
        if not self.closed:
            self._hub_lost()
            # The device hears the last of what hung in the air, then nothing; its own silence limit ends it.
            left_ms = max(0, self.down.last_ms - self._world.now_ms) + 60_000
            self._world.later(left_ms, f"{self._name} end", self.cut)
