"""How often something may happen: so much at once, so much a second after. Pure; whole milliseconds of a monotonic clock are passed in."""

from __future__ import annotations


class Allowance:
    """A bucket of `burst`, filled again by `per_second`."""

    __slots__ = ("_burst_milli", "_counted_ms", "_left_milli", "_per_second")

    def __init__(self, *, burst: int, per_second: int, now_ms: int) -> None:
        self._burst_milli = self._left_milli = burst * 1_000
        self._per_second = per_second
        self._counted_ms = now_ms

    def take(self, now_ms: int) -> bool:
        """Count one; False when there is none left."""
        self._left_milli = min(self._burst_milli, self._left_milli + (now_ms - self._counted_ms) * self._per_second)
        self._counted_ms = now_ms
        if self._left_milli < 1_000:
            return False
        self._left_milli -= 1_000
        return True
