"""The inbox: this device's actions that did not win, and what the server refused of it; nothing vanishes (I14)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from clients.runtime.language import Language, say
from clients.runtime.node import Node
from clients.runtime.shared_pages import Entry
from clients.runtime.web import Frame
from trade import inbox as trade_inbox
from trade.ids import bare_id

COUNT_MS: Final = 2_000


def prepare_inbox(conn: sqlite3.Connection) -> None:
    """Make the table of entries a person has read."""
    conn.execute("CREATE TABLE IF NOT EXISTS inbox_seen (entry TEXT PRIMARY KEY, at_ms INTEGER NOT NULL) STRICT")


class Inbox:
    """Lists the entries, unread first. The bar's count may be two seconds old: every page shows it, and it reads every state."""

    def __init__(self, node: Node, frame: Frame, kinds: Sequence[str]) -> None:
        self._node = node
        self._frame = frame
        self._kinds = tuple(kinds)
        self._counted = -1
        self._count = 0
        self._counted_ms = 0

    def entries(self) -> list[Entry]:
        """Return all entries as they are now."""
        found = _read(self._node, self._frame.language(), self._kinds)
        self._note(found)
        return found

    def unread(self) -> int:
        """Return how many wait for a person."""
        now_ms = self._node.clock.steady_ms()
        if self._counted < 0 or (self._counted != self._node.version and now_ms - self._counted_ms >= COUNT_MS):
            self._note(_read(self._node, self._frame.language(), self._kinds))
        return self._count

    def seen(self, entry: str) -> None:
        """Note that a person has read an entry; it stays readable."""
        self._node.replica.conn.execute(
            "INSERT OR IGNORE INTO inbox_seen (entry, at_ms) VALUES (?, ?)", (entry, self._node.clock.wall_ms())
        )
        self._counted = -1

    def _note(self, found: Sequence[Entry]) -> None:
        self._count = sum(1 for entry in found if not entry.seen)
        self._counted = self._node.version
        self._counted_ms = self._node.clock.steady_ms()


def _read(node: Node, language: Language, kinds: Sequence[str]) -> list[Entry]:
    conn = node.replica.conn
    seen = {row[0] for row in conn.execute("SELECT entry FROM inbox_seen")}
    states = [(subject, state) for kind in kinds for _, subject, state in node.replica.states(kind)]
    found = []
    for entry in trade_inbox.inbox(states, node.replica.number):
        # A second look at one's own scan was told on the spot, by colour and sound.
        if entry.code in ("scan.already_in", "parcel.already_shipped"):
            continue
        mark = f"{entry.fact}/{entry.code}"
        found.append(
            Entry(
                id=mark,
                title=say(language, "inbox.did_not_win"),
                words=entry.en if language == "en" else entry.zh,
                todo=say(language, "inbox.provisional") if entry.provisional else "",
                about=bare_id(entry.subject),
                at_ms=entry.at_ms,
                seen=mark in seen,
            )
        )
    for n, document, device, seq, code, detail in conn.execute(
        "SELECT n, document, device, seq, code, detail FROM refusal ORDER BY n DESC LIMIT 200"
    ):
        mark = f"refusal/{n}"
        found.append(
            Entry(
                id=mark,
                title=say(language, "inbox.refused"),
                words=detail,
                todo=say(language, "inbox.tell_platform"),
                about=f"{document} {device}.{seq} {code}",
                at_ms=node.clock.wall_ms(),
                seen=mark in seen,
            )
        )
    return sorted(found, key=lambda entry: (entry.seen, -entry.at_ms))
