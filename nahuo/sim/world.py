"""The simulated world: a virtual clock, one seed, what may go wrong, and the trace that proves a run repeats.

The problem: faults that matter (a phone dies between two transactions while its frames hang in a tunnel) come once a year and never
twice the same way. The method: everything that happens is an event on one heap, drawn from one generator; the same seed gives
the same events, byte for byte, in any process. Which faults there are at all, and how strong, is drawn per seed ("swarm"), so that no
fault drowns the others. First storm, then calm: faults end, and within a bounded time everything must have come right.

Here and in this package times are whole virtual milliseconds since the run began; wall clocks are `WORLD_STARTS_MS` later.
Nothing here reads a real clock or draws randomness of its own.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from typing import Final

WORLD_STARTS_MS: Final = 1_777_600_000_000
"""A morning in May 2026 in Shanghai, well inside a business day."""

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
EVENTS_MAX: Final = 200_000
"""A run that needs more has a loop in it."""


class PowerCut(BaseException):
    """The process dies here. Not an Exception: no code of ours may catch and outlive it."""


class Broken(Exception):
    """A promise did not hold; the message says which, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What may go wrong in this run. Chances are per occasion, 0 where the fault is off."""

    cut: float
    """A frame breaks its connection; what is in flight is lost."""
    half_open: float
    """A frame leaves a connection on which nothing arrives any more, and nobody is told."""
    delay_ms_max: int
    """The longest a frame takes."""
    stall: float
    """A frame finds the receiver's radio asleep and arrives up to `stall_ms_max` later, on a connection the other end gave up."""
    stall_ms_max: int
    offline: float
    """After an action the phone is without a signal for up to `offline_ms_max`."""
    offline_ms_max: int
    replay: float
    """Old frames arrive once more: a captured connection is played to the hub anew, an old update to the device."""
    device_cut_inside: float
    """A device dies inside a transaction."""
    device_cut_after: float
    """A device dies after a commit, before anything is done about it."""
    server_cut_inside: float
    server_cut_after: float
    """The server dies after a commit, before it acknowledges or fans out."""
    server_cut_deciding: float
    """The server dies inside the authority's transaction."""
    server_down_ms_max: int
    clock_wrong_ms_max: int
    """Devices' wall clocks are off by up to this, either way."""
    fold_at_once: int
    """Subjects a device folds in one step; a person may tap between two."""
    fold_ms_max: int
    """How long a slow phone takes to the next step."""
    printer_lost: float
    """A label comes out and the phone dies before it knows."""


def draw_faults(random: Random) -> Faults:
    """Return what may go wrong: each fault is on in half of the runs."""

    def chance(most: float) -> float:
        return random.uniform(most / 10, most) if random.random() < 0.5 else 0.0

    def up_to(least: int, most: int) -> int:
        return random.randrange(least, most) if random.random() < 0.5 else least

    return Faults(
        cut=chance(0.05),
        half_open=chance(0.03),
        delay_ms_max=up_to(200, 20 * SECOND_MS),
        stall=chance(0.02),
        stall_ms_max=up_to(5 * MINUTE_MS, 3 * HOUR_MS),
        offline=chance(0.4),
        offline_ms_max=up_to(30 * MINUTE_MS, 5 * HOUR_MS),
        replay=chance(0.05),
        device_cut_inside=chance(0.05),
        device_cut_after=chance(0.04),
        server_cut_inside=chance(0.02),
        server_cut_after=chance(0.02),
        server_cut_deciding=chance(0.02),
        server_down_ms_max=up_to(10 * SECOND_MS, 40 * MINUTE_MS),
        clock_wrong_ms_max=random.choice((0, 0, 90 * SECOND_MS, 26 * HOUR_MS, 3_000 * 24 * HOUR_MS)),
        fold_at_once=random.choice((200, 200, 1, 3)),
        fold_ms_max=up_to(2_000, 5 * MINUTE_MS),
        printer_lost=chance(0.05),
    )


NO_FAULTS: Final = Faults(
    cut=0.0, half_open=0.0, delay_ms_max=200, stall=0.0, stall_ms_max=0, offline=0.0, offline_ms_max=0, replay=0.0,
    device_cut_inside=0.0, device_cut_after=0.0, server_cut_inside=0.0, server_cut_after=0.0, server_cut_deciding=0.0,
    server_down_ms_max=SECOND_MS, clock_wrong_ms_max=0, fold_at_once=200, fold_ms_max=1_000, printer_lost=0.0,
)  # fmt: skip


class World:
    """The clock, the generator, the heap and the trace of one run."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.faults = draw_faults(self.random)
        self.storm_faults = self.faults
        self.now_ms = 0
        self.seen: Counter[str] = Counter()
        """How often each rare thing happened: a run in which it never does proves nothing about it."""
        self.events = 0
        self.after_event: list[Callable[[], None]] = []
        """The cheap invariants, looked at after every event."""
        self._heap: list[tuple[int, float, int, str, Callable[[], None]]] = []
        self._count = 0
        self._trace = hashlib.sha256()

    @property
    def wall_ms(self) -> int:
        """The right time since 1970."""
        return WORLD_STARTS_MS + self.now_ms

    def later(self, delay_ms: int, name: str, call: Callable[[], None]) -> None:
        """Let `call` happen; of events of one millisecond the seed says which comes first."""
        self._count += 1
        heappush(self._heap, (self.now_ms + max(0, delay_ms), self.random.random(), self._count, name, call))

    def run(self, until_ms: int) -> None:
        """Let everything happen that is due by then."""
        while self._heap and self._heap[0][0] <= until_ms:
            at_ms, _, _, name, call = heappop(self._heap)
            self.now_ms = at_ms
            self.events += 1
            if self.events > EVENTS_MAX:
                raise Broken(f"the run does not come to rest: {EVENTS_MAX} events, the last is {name}")
            self.note(f"{at_ms} {name}")
            call()
            for check in self.after_event:
                check()
        self.now_ms = max(self.now_ms, until_ms)

    def calm(self) -> None:
        """No more faults from now on."""
        self.faults = NO_FAULTS

    def chance(self, likely: float) -> bool:
        """True with this probability; a fault that is off draws nothing."""
        return likely > 0.0 and self.random.random() < likely

    def note(self, what: str | bytes) -> None:
        """Add to the trace."""
        data = what if isinstance(what, bytes) else what.encode()
        self._trace.update(len(data).to_bytes(4, "big") + data)

    def sometimes(self, name: str) -> None:
        """Count a rare thing."""
        self.seen[name] += 1
        self.note(name)

    def trace(self) -> str:
        """Return the hash of all that happened."""
        return self._trace.hexdigest()
