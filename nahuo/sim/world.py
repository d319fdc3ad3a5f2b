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
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from random import Random
from typing import Final

from nahuo.sim.faults import DAY_MS, HOUR_MS, MINUTE_MS, NO_FAULTS, SECOND_MS, draw_faults

WORLD_STARTS_MS: Final = 1_777_600_000_000
"""A morning in May 2026 in Shanghai, well inside a business day."""

EVENTS_MAX: Final = 200_000
"""A run that needs more has a loop in it."""


class PowerCut(BaseException):
    """The process dies here. Not an Exception: no code of ours may catch and outlive it."""


class Broken(Exception):
    """A promise did not hold; the message says which, in one line."""


class World:
    """The clock, the generator, the heap and the trace of one run."""

    def __init__(self, seed: int, *, without: Iterable[str] = ()) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.faults = draw_faults(seed, without=without)
        self.storm_faults = self.faults
        self.now_ms = 0
        self.seen: Counter[str] = Counter()
        """How often each rare thing happened: a run in which it never does proves nothing about it."""
        self.events = 0
        self.after_event: list[Callable[[], None]] = []
        """The cheap invariants, looked at after every event."""
        self._heap: list[tuple[int, float, int, str, Callable[[], None]]] = []
        self._count = 0
        self._all_at_home = False
        self._trace = hashlib.sha256()

    @property
    def wall_ms(self) -> int:
        """The right time since 1970."""
        return WORLD_STARTS_MS + self.now_ms

    def later(self, delay_ms: int, name: str, call: Callable[[], None]) -> None:
        """Let `call` happen; of events of one millisecond the seed says which comes first."""
        self._count += 1
        heappush(self._heap, (self.now_ms + max(0, delay_ms), self.random.random(), self._count, name, call))

    def later_turn(self, delay_ms: int, name: str, turn: Callable[[], None]) -> None:
        """Let somebody have a turn, unless he has gone home by then."""
        self.later(delay_ms, name, lambda: None if self._all_at_home else turn())

    def go_home(self) -> None:
        """Nobody begins anything any more: what is begun comes to rest."""
        self._all_at_home = True

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


__all__ = [
    "DAY_MS",
    "EVENTS_MAX",
    "HOUR_MS",
    "MINUTE_MS",
    "NO_FAULTS",
    "SECOND_MS",
    "WORLD_STARTS_MS",
    "Broken",
    "PowerCut",
    "World",
]
