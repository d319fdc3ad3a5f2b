"""How long a connected server has told nothing in a successor of what this device did in the document before it.

The problem: what the server has acknowledged it carries on a second later, unless it waits for a supervisor, and then it may never come.
A device must neither go on without it too soon (a parcel would be shipped twice) nor wait for ever. Wall clocks jump, connections last
seconds, a phone sleeps for hours, and a server that was away for an hour has decided nothing in it. The method: add up only the time in
which a connection had brought all that the server had in the successor, and was heard; whatever it had said by then would be here.
Pure. Times are whole milliseconds of the link's own clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Heard = tuple[int, int]
"""From when to when a connection has told all that the server has (`ports.Link.heard`)."""


@dataclass(slots=True, kw_only=True)
class _Span:
    said: Mapping[int, int]
    connection_ms: int
    since_ms: int
    until_ms: int
    before_ms: int = 0
    """Heard on earlier connections."""


@dataclass(slots=True, kw_only=True)
class _Wait:
    past: Mapping[int, int]
    span: _Span | None = None


class Patience:
    """Adds up by (document that ended, successor), as often as somebody looks; a start of the program begins anew."""

    def __init__(self, enough_ms: int) -> None:
        self._enough_ms = enough_ms
        self._waits: dict[tuple[str, str], _Wait] = {}

    def past(self, older: str, newer: str, *, said: Mapping[int, int], heard: Heard | None) -> Mapping[int, int]:
        """Return {own number: last seq} in `older` of what had its time: since it had been acknowledged the server was heard in `newer`
        for longer than is enough. Empty while that is true of nothing.

        `said` is {own number: last seq} of all; call it only when that is acknowledged. What is said while others wait has its time after
        them, so whoever never rests is not kept from it.
        """
        wait = self._waits.setdefault((older, newer), _Wait(past={}))
        if heard is None:
            return wait.past
        connection_ms, now_ms = heard
        if (span := wait.span) is not None:
            if connection_ms != span.connection_ms:
                span.before_ms += span.until_ms - span.since_ms
                span.connection_ms = span.since_ms = connection_ms
            span.until_ms = now_ms
            if span.before_ms + span.until_ms - span.since_ms > self._enough_ms:
                wait.past, wait.span = span.said, None
        if wait.span is None and said != wait.past:
            # What was heard before counts for nothing: it may have been acknowledged just now.
            wait.span = _Span(said=dict(said), connection_ms=connection_ms, since_ms=now_ms, until_ms=now_ms)
        return wait.past

    def forget(self, older: str) -> None:
        """The document has left this device."""
        self._waits = {names: wait for names, wait in self._waits.items() if names[0] != older}
