"""How often an address may ask: a count in a sliding window, kept in memory, bounded."""

from __future__ import annotations

from collections import deque

ADDRESSES_MAX = 10_000


class Rate:
    """At most `count` in any `window_ms`, per key."""

    def __init__(self, *, count: int, window_ms: int) -> None:
        self._count, self._window_ms = count, window_ms
        self._asked: dict[str, deque[int]] = {}

    def forget(self) -> None:
        """Count from nothing again."""
        self._asked.clear()

    def allow(self, key: str, now_ms: int) -> bool:
        """True when `key` may ask now; counts it if so."""
        asked = self._asked.get(key)
        if asked is None:
            if len(self._asked) >= ADDRESSES_MAX:
                self._asked.clear()
            asked = self._asked[key] = deque()
        while asked and asked[0] <= now_ms - self._window_ms:
            asked.popleft()
        if len(asked) >= self._count:
            return False
        asked.append(now_ms)
        return True
