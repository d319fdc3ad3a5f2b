"""The inbox: this device's actions that did not win, and what the server refused of it; nothing vanishes (I14)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from clients.runtime.language import Language, say
from clients.runtime.node import Node
from clients.runtime.shared_pages import Entry
from clients.runtime.web import Frame
from trade import inbox as trade_inbox
from trade.ids import bare_id


def prepare_inbox(conn: sqlite3.Connection) -> None:
    """Make the table of entries a person has read."""
    conn.execute("CREATE TABLE IF NOT EXISTS inbox_seen (entry TEXT PRIMARY KEY, at_ms INTEGER NOT NULL) STRICT")


def inbox_entries(node: Node, frame: Frame, kinds: Sequence[str]) -> Callable[[], list[Entry]]:
    """Return a function that lists the entries, unread and newest first; it reads again only after a change."""
    kept: dict[str, Any] = {"version": -1, "entries": []}

    def entries() -> list[Entry]:
        version = (node.version, frame.language())
        if kept["version"] != version:
            kept["version"], kept["entries"] = version, _read(node, frame.language(), kinds)
        found: list[Entry] = kept["entries"]
        return found

    return entries


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
