"""What people were shown as done while processes die, and the search for any of it that is gone.

A tap that was answered, a page that said "bought", a scan that got its colour, a command that was carried out, a label that was queued:
each is noted the moment a person could have seen it. What got no answer may have happened or not. After every kill the killed process's
files are copied as they lie, its journal included, and read there: so the look neither mends nor changes what the next start will find.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

FILES = ("", "-wal", "-journal")
"""A database and what belongs to it. The shared-memory index is left out: it does not survive a power cut, and SQLite makes it anew."""


@dataclass(slots=True, kw_only=True)
class Shown:
    """What one device, or the server, has shown as done so far. One thread writes, another may look."""

    facts: dict[str, set[str]] = field(default_factory=dict)
    """{fact id: subjects it must stand under}."""
    bought: dict[str, str] = field(default_factory=dict)
    """{task: piece code} bought and not taken back."""
    labels: set[str] = field(default_factory=set)
    """Codes whose label was queued and that nobody took back."""
    scanned: set[str] = field(default_factory=set)
    shipped: set[str] = field(default_factory=set)
    commands: dict[int, str] = field(default_factory=dict)
    """{command: `done` or `refused`}."""
    top_ups: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def count(self) -> int:
        """How many things were shown as done."""
        return sum(map(len, (self.facts, self.labels, self.scanned, self.shipped, self.commands)))

    def said(self, fact_ids: list[str], subjects: set[str]) -> None:
        """Note the facts of an answered action."""
        with self.lock:
            for fact in fact_ids:
                self.facts.setdefault(fact, set()).update(subjects)

    def buy(self, task: str, piece: str) -> None:
        """Note a purchase that was shown."""
        with self.lock:
            self.bought[task] = piece
            self.labels.add(piece)

    def may_be_taken_back(self, task: str) -> None:
        """An undo is on its way: until it is answered the purchase may stand or not."""
        with self.lock:
            piece = self.bought.pop(task, None)
            self.labels.discard(piece or "")


@contextmanager
def copied(database: Path, room: Path) -> Iterator[sqlite3.Connection]:
    """Copy a database as it lies on the disk and open the copy."""
    room.mkdir(parents=True, exist_ok=True)
    copy = room / database.name
    for end in FILES:
        (room / (database.name + end)).unlink(missing_ok=True)
        source = database.with_name(database.name + end)
        if source.exists():
            shutil.copyfile(source, room / source.name)
    (room / (database.name + "-shm")).unlink(missing_ok=True)
    with closing(sqlite3.connect(copy, isolation_level=None)) as conn:
        yield conn


def whole(conn: sqlite3.Connection) -> list[str]:
    """Return what SQLite's own check finds wrong with a file."""
    try:
        found = [row[0] for row in conn.execute("PRAGMA integrity_check(3)")]
    except sqlite3.DatabaseError as error:
        return [f"corrupt: {error}"]
    return [] if found == ["ok"] else [f"corrupt: {found[0]}"]


def lost_on_device(conn: sqlite3.Connection, shown: Shown) -> list[str]:
    """Return what a device showed as done and its files do not hold."""
    with shown.lock:
        facts, bought, labels = dict(shown.facts), dict(shown.bought), set(shown.labels)
        scanned, shipped = set(shown.scanned), set(shown.shipped)
    lost = []
    for fact, subjects in facts.items():
        device, seq, index = fact.split(".")
        held = {
            row[0]
            for row in conn.execute(
                "SELECT f.subject FROM envelope e JOIN fact f ON f.document = e.document AND f.n = e.n AND f.idx = ?"
                " WHERE e.device = ? AND e.seq = ? AND f.subject IN (SELECT value FROM json_each(?))",
                (int(index), int(device), int(seq), json.dumps(sorted(subjects))),
            )
        }
        if not subjects <= held:
            lost.append(f"lost: fact {fact} about {', '.join(sorted(subjects - held))}")
    for task, piece in bought.items():
        if not any(purchase["piece"] == piece and not purchase["undone"] for purchase in _purchases(conn, task)):
            lost.append(f"lost: task {task} was bought as piece {piece}")
    queued = {row[0] for row in conn.execute("SELECT DISTINCT code FROM print_job")}
    lost += [f"lost: the label {code}" for code in sorted(labels - queued)]
    lost += [f"lost: the scan of {c}" for c in sorted(scanned) if not _any_state(conn, f"piece:{c}", "scans")]
    lost += [f"lost: parcel {p} was shipped" for p in sorted(shipped) if not _any_state(conn, p, "shipped")]
    return lost


def acknowledged(conn: sqlite3.Connection) -> dict[tuple[str, int], int]:
    """Return {(document, own number): seq} of what a device takes for safe at the hub."""
    return {
        (document, device): acked
        for document, device, acked in conn.execute("SELECT document, device, acked FROM writer WHERE acked > 0")
    }


def lost_on_server(conn: sqlite3.Connection, shown: Shown, acked: dict[tuple[str, int], int]) -> list[str]:
    """Return what the server showed as done, or acknowledged, and its file does not hold."""
    with shown.lock:
        commands, top_ups = dict(shown.commands), set(shown.top_ups)
    outcomes = dict(conn.execute("SELECT id, outcome FROM command WHERE outcome IS NOT NULL").fetchall())
    lost = [f"lost: command {n} was answered" for n in commands if n not in outcomes]
    lost += [
        f"lost: command {n} was {state}, its outcome says {outcomes[n]}"
        for n, state in commands.items()
        if n in outcomes and bool(json.loads(outcomes[n]).get("ok")) != (state == "done")
    ]
    booked = {row[0] for row in conn.execute("SELECT body FROM command WHERE kind = 'topup' AND outcome IS NOT NULL")}
    keys = {str(json.loads(body).get("key")) for body in booked}
    lost += [f"lost: top-up {key}" for key in sorted(top_ups - keys)]
    heads = {(d, n): seq for d, n, seq in conn.execute("SELECT document, device, seq FROM head")}
    lost += [
        f"lost: {document} of device {device}: {seq} acknowledged, {heads.get((document, device), 0)} in the log"
        for (document, device), seq in acked.items()
        if heads.get((document, device), 0) < seq
    ]
    return lost


def _purchases(conn: sqlite3.Connection, task: str) -> list[dict[str, object]]:
    rows = conn.execute("SELECT state FROM state WHERE subject = ?", (f"task:{task}",))
    return [purchase for (text,) in rows for purchase in json.loads(text).get("purchases", [])]


def _any_state(conn: sqlite3.Connection, subject: str, word: str) -> bool:
    rows = conn.execute("SELECT state FROM state WHERE subject = ?", (subject,))
    return any(json.loads(text).get(word) for (text,) in rows)
