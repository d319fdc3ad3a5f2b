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


class Patience:
    """Adds up by (document that ended, successor), as often as somebody looks; a start of the program begins anew."""

    def __init__(self) -> None:
        self._spans: dict[tuple[str, str], _Span] = {}

    def waited_ms(self, older: str, newer: str, *, said: Mapping[int, int], heard: Heard | None) -> int:
        """Return for how long the server was heard in `newer` since it first was after all of `said` ({own number: last seq} in
        `older`) had been acknowledged. Call it only when that is so.
        """
        span = self._spans.get((older, newer))
        if span is None or span.said != said:
            if heard is not None:
                # What was heard before counts for nothing: it may have been acknowledged just now.
                connection_ms, now_ms = heard
                self._spans[older, newer] = _Span(
                    said=dict(said), connection_ms=connection_ms, since_ms=now_ms, until_ms=now_ms
                )
            return 0
        if heard is not None:
            if heard[0] != span.connection_ms:
                span.before_ms += span.until_ms - span.since_ms
                span.connection_ms = span.since_ms = heard[0]
            span.until_ms = heard[1]
        return span.before_ms + span.until_ms - span.since_ms

    def forget(self, older: str) -> None:
        """The document has left this device."""
        self._spans = {names: span for names, span in self._spans.items() if names[0] != older}
