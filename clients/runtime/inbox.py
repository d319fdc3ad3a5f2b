"""The inbox: this device's actions that did not win, and what the server refused of it; nothing vanishes (I14)."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

from clients.runtime.language import Language, say
from clients.runtime.named import name_garment
from clients.runtime.node import Node
from clients.runtime.shared_pages import Entry
from clients.runtime.web import Frame
from trade import inbox as trade_inbox
from trade.ids import bare_id

State = Mapping[str, Any]
HARMLESS: Final = frozenset({"purchase.second", "purchase.closed_unseen"})
"""Results after which the piece goes the way of every other: nobody did anything wrong."""
COUNT_MS: Final = 2_000
KEPT_MAX: Final = 500
"""Unread entries whose document left: more than anybody reads; the server's own list has them all."""


def prepare_inbox(conn: sqlite3.Connection) -> None:
    """Make the table of entries a person has read."""
    conn.execute("CREATE TABLE IF NOT EXISTS inbox_seen (entry TEXT PRIMARY KEY, at_ms INTEGER NOT NULL) STRICT")
    conn.execute(
        "CREATE TABLE IF NOT EXISTS inbox_kept (entry TEXT PRIMARY KEY, zh TEXT NOT NULL, en TEXT NOT NULL, about TEXT NOT NULL,"
        " at_ms INTEGER NOT NULL) STRICT"
    )


class Inbox:
    """Lists the entries, unread first. The bar's count may be two seconds old: every page shows it, and it reads every state."""

    def __init__(self, node: Node, frame: Frame, kinds: Sequence[str]) -> None:
        self._node = node
        self._frame = frame
        self._kinds = tuple(kinds)
        self._counted = -1
        self._count = 0
        self._counted_ms = 0
        node.before_forgetting.append(self._keep_unread)

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
        conn = self._node.replica.conn
        if conn.execute("DELETE FROM inbox_kept WHERE entry = ?", (entry,)).rowcount == 0:
            conn.execute(
                "INSERT OR IGNORE INTO inbox_seen (entry, at_ms) VALUES (?, ?)", (entry, self._node.clock.wall_ms())
            )
        self._counted = -1

    def _keep_unread(self, conn: sqlite3.Connection, document: str) -> None:
        """A document leaves: what nobody has read of it stays until somebody has, and marks of what was read leave with it."""
        replica, own = self._node.replica, self._node.own_numbers()
        states = [(subject, state) for kind in self._kinds for _, subject, state in replica.states(kind, document)]
        others = [(x, state) for kind in self._kinds for d, x, state in replica.states(kind) if d != document]
        known = dict(states)
        still = {_mark(entry) for entry in trade_inbox.inbox(others, own)}
        seen = {row[0] for row in conn.execute("SELECT entry FROM inbox_seen")}
        for entry in trade_inbox.inbox(states, own):
            if _is_told(entry) and _mark(entry) not in seen | still:
                conn.execute(
                    "INSERT OR IGNORE INTO inbox_kept VALUES (?, ?, ?, ?, ?)",
                    (_mark(entry), *self._told(entry, known[entry.subject]), bare_id(entry.subject), entry.at_ms),
                )
        gone = [(mark,) for mark in seen - still if not mark.startswith("refusal/")]
        conn.executemany("DELETE FROM inbox_seen WHERE entry = ?", gone)
        refused = "SELECT 'refusal/' || n FROM refusal WHERE document <> ?"
        conn.execute(f"DELETE FROM inbox_seen WHERE entry LIKE 'refusal/%' AND entry NOT IN ({refused})", (document,))
        conn.execute(
            "DELETE FROM inbox_kept WHERE entry NOT IN (SELECT entry FROM inbox_kept ORDER BY at_ms DESC LIMIT ?)",
            (KEPT_MAX,),
        )

    def _told(self, entry: trade_inbox.Entry, state: State) -> list[str]:
        """Return the words of an entry in both languages, with the garment: its document takes the garment's name along."""
        told = []
        for language in ("zh", "en"):
            garment = name_garment(self._node.replica, language, entry.subject, state, fact=entry.fact)
            told.append(" — ".join(part for part in (garment, _words(language, entry.code)) if part))
        return told

    def _note(self, found: Sequence[Entry]) -> None:
        self._count = sum(1 for entry in found if not entry.seen)
        self._counted = self._node.version
        self._counted_ms = self._node.clock.steady_ms()


def _read(node: Node, language: Language, kinds: Sequence[str]) -> list[Entry]:
    conn = node.replica.conn
    seen = {row[0] for row in conn.execute("SELECT entry FROM inbox_seen")}
    states = [(subject, state) for kind in kinds for _, subject, state in node.replica.states(kind)]
    found: dict[str, Entry] = {}
    known = dict(states)
    for entry in trade_inbox.inbox(states, node.own_numbers()):
        if not _is_told(entry):
            continue
        mark = _mark(entry)
        # A document and its successor tell the same for a while.
        found[mark] = Entry(
            id=mark,
            title=_title(language, entry.code),
            words=_words(language, entry.code),
            garment=name_garment(node.replica, language, entry.subject, known[entry.subject], fact=entry.fact),
            calm=entry.code in HARMLESS,
            todo=say(language, "inbox.provisional") if entry.provisional else "",
            about=bare_id(entry.subject),
            at_ms=entry.at_ms,
            seen=mark in seen,
        )
    for mark, zh, en, about, at_ms in conn.execute("SELECT entry, zh, en, about, at_ms FROM inbox_kept"):
        words = en if language == "en" else zh
        code = mark.rpartition("/")[2]
        kept = Entry(
            id=mark, title=_title(language, code), words=words, todo="", about=about, at_ms=at_ms,
            calm=code in HARMLESS,
        )  # fmt: skip
        found.setdefault(mark, kept)
    for n, document, device, seq, code, detail in conn.execute(
        "SELECT n, document, device, seq, code, detail FROM refusal ORDER BY n DESC LIMIT 200"
    ):
        mark = f"refusal/{n}"
        found[mark] = Entry(
            id=mark,
            title=say(language, "inbox.refused"),
            words=detail,
            todo=say(language, "inbox.tell_platform"),
            about=f"{document} {device}.{seq} {code}",
            at_ms=node.clock.wall_ms(),
            seen=mark in seen,
        )
    return sorted(found.values(), key=lambda entry: (entry.seen, -entry.at_ms))


def _title(language: Language, code: str) -> str:
    return say(language, "inbox.harmless" if code in HARMLESS else "inbox.did_not_win")


def _words(language: Language, code: str) -> str:
    """Return the rule's words for a result; for a harmless one this device's own, which say that nothing was done wrong."""
    if code in HARMLESS:
        return say(language, f"inbox.{code}")
    said = trade_inbox.ENTRIES[code]
    return said.en if language == "en" else said.zh


def _mark(entry: trade_inbox.Entry) -> str:
    return f"{entry.fact}/{entry.code}"


def _is_told(entry: trade_inbox.Entry) -> bool:
    """A second look at one's own scan was told on the spot, by colour and sound."""
    return entry.code not in ("scan.already_in", "parcel.already_shipped")
