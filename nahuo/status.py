"""Say what a data folder waits for: not yet acknowledged, not yet decided, not yet printed, and what needs a person.

Reads beside the running process and changes nothing. Instants are shown as ages; `--json` has whole milliseconds.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nahuo.data_folder import DataFolder, look_at, read_only

OVERTAKEN: Final = "server_number_overtaken"
"""As server/overtaken.py notes it; nothing of the server is loaded for a status."""
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the status: what, how many, since when (ms), and words."""

    what: str
    count: int
    since_ms: int | None = None
    note: str = ""


@dataclass(slots=True, kw_only=True)
class Status:
    """What a folder says of itself."""

    kind: str
    name: str
    waiting: list[Line] = field(default_factory=list)
    discrepancies: list[Line] = field(default_factory=list)
    last_acknowledged_ms: int | None = None
    devices: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The status as `--json` prints it."""

        def lines(rows: list[Line]) -> list[dict[str, Any]]:
            return [{"what": r.what, "count": r.count, "since_ms": r.since_ms, "note": r.note} for r in rows]

        return {
            "kind": self.kind, "name": self.name, "last_acknowledged_ms": self.last_acknowledged_ms,
            "waiting": lines(self.waiting), "discrepancies": lines(self.discrepancies), "devices": self.devices,
        }  # fmt: skip


def read_status(data: Path) -> Status:
    """Return the status of a server's or a client's folder.

    Raises:
        RefusedError: the folder is none of ours.
        CorruptError: its database cannot be read.
    """
    folder = look_at(data)
    with read_only(folder.database) as conn:
        conn.execute("BEGIN")
        status = _server_status(folder, conn) if folder.kind == "server" else _client_status(conn)
        conn.execute("COMMIT")
    return status


def show_status(status: Status, *, now_ms: int) -> str:
    """Return the status as lines a person reads."""
    out = [f"{status.kind} {status.name}"]
    if status.kind == "client":
        out.append(f"  last acknowledged          {_age(status.last_acknowledged_ms, now_ms)}")
    for line in status.waiting:
        since = f", oldest {_age(line.since_ms, now_ms)}" if line.count and line.since_ms is not None else ""
        out.append(f"  {line.what:<26} {line.count}{since}{'  ' + line.note if line.note else ''}")
    for device in status.devices:
        seen = _age(device["seen_ms"], now_ms)
        out.append(f"  device {device['number']} {device['role']} {device['name']}: last heard {seen}{device['note']}")
    out.append(f"  discrepancies open         {sum(line.count for line in status.discrepancies)}")
    out += [f"    {line.what}: {_age(line.since_ms, now_ms)}  {line.note}" for line in status.discrepancies]
    return "\n".join(out)


def _client_status(conn: sqlite3.Connection) -> Status:
    number = _setting(conn, "number")
    status = Status(kind="client", name=f"device {number}" if number is not None else "not enrolled")
    status.last_acknowledged_ms = _one(conn, "SELECT max(acked_ms) FROM writer WHERE device = ?", number)
    count, since = conn.execute(
        "SELECT count(*), min(e.at_ms) FROM envelope e JOIN writer w USING (document, device)"
        " WHERE e.device = ? AND e.seq > w.acked",
        (number,),
    ).fetchone()
    status.waiting.append(Line(what="actions to send", count=count, since_ms=since))
    status.waiting.append(Line(what="rows to fold", count=_one(conn, "SELECT count(*) FROM unfolded")))
    if _has_table(conn, "print_job"):
        for state in ("queued", "unknown", "failed"):
            jobs, since = conn.execute(
                "SELECT count(*), min(created_ms) FROM print_job WHERE state = ?", (state,)
            ).fetchone()
            status.waiting.append(Line(what=f"labels {state}", count=jobs, since_ms=since))
    for document, seq, code, detail in conn.execute("SELECT document, seq, code, detail FROM refusal WHERE seen = 0"):
        status.discrepancies.append(Line(what=f"{code} in {document}", count=1, note=f"envelope {seq}: {detail}"))
    return status


def _server_status(folder: DataFolder, conn: sqlite3.Connection) -> Status:
    number = _meta(conn, "server_number")
    status = Status(kind="server", name=f"number {number}" if number is not None else folder.path.name)
    position = _meta(conn, "authority.position")
    unread, since = conn.execute(
        "SELECT count(*), min(received_ms) FROM envelope WHERE n > ?", (position if isinstance(position, int) else 0,)
    ).fetchone()
    status.waiting.append(Line(what="envelopes to decide", count=unread, since_ms=since))
    for what, sql in {
        "commands to carry out": "SELECT count(*), min(created_ms) FROM command WHERE done_ms IS NULL",
        "quarantined": "SELECT count(*), min(received_ms) FROM quarantine WHERE resolved_ms IS NULL",
        "merchants' decisions": "SELECT count(*), min(opened_ms) FROM decision WHERE resolved_ms IS NULL",
        "orders held": "SELECT count(*), min(created_ms) FROM shop_order WHERE status = 'held'",
        "orders without money": "SELECT count(*), min(created_ms) FROM shop_order WHERE status = 'money'",
        "tasks recalled, unanswered": "SELECT count(*), NULL FROM task WHERE status = 'recalled'",
        "parcels held": "SELECT count(*), NULL FROM parcel WHERE status = 'held'",
    }.items():
        count, since = conn.execute(sql).fetchone()
        status.waiting.append(Line(what=what, count=count, since_ms=since))
    if number is not None and _meta(conn, OVERTAKEN) == number:
        note = (
            "put back from an older copy: devices hold what it signed and does not have; until then it decides nothing"
        )
        status.waiting.append(Line(what="a new start", count=1, note=note))
    for code, subject, owner, english, opened_ms in conn.execute(
        "SELECT code, subject, owner, en, opened_ms FROM discrepancy WHERE resolved_ms IS NULL ORDER BY opened_ms"
    ):
        note = f"{subject} (owner {owner}): {english}"
        status.discrepancies.append(Line(what=code, count=1, since_ms=opened_ms, note=note))
    for device, name, role, seen_ms, revoked_ms in conn.execute(
        "SELECT number, name, role, seen_ms, revoked_ms FROM device ORDER BY number"
    ):
        note = ", revoked" if revoked_ms is not None else ""
        status.devices.append({"number": device, "name": name, "role": role, "seen_ms": seen_ms, "note": note})
    return status


def _age(at_ms: int | None, now_ms: int) -> str:
    """`never`, `just now`, `12 s ago`, `40 min ago`, `3 h ago`, `2 days ago`."""
    if at_ms is None:
        return "never"
    seconds = (now_ms - at_ms) // 1000
    if seconds < 0:
        return "in the future (a clock is wrong)"
    steps: Mapping[str, int] = {"days": 86_400, "h": 3_600, "min": 60, "s": 1}
    for unit, length in steps.items():
        if seconds >= length * (2 if unit == "days" else 1):
            return f"{seconds // length} {unit} ago"
    return "just now"


def _one(conn: sqlite3.Connection, sql: str, *args: Any) -> Any:
    return conn.execute(sql, args).fetchone()[0]


def _has_table(conn: sqlite3.Connection, name: str) -> bool:
    return bool(_one(conn, "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?", name))


def _setting(conn: sqlite3.Connection, name: str) -> Any:
    row = conn.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
    return None if row is None else json.loads(row[0])


def _meta(conn: sqlite3.Connection, name: str) -> Any:
    row = conn.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if row is None else json.loads(row[0])
