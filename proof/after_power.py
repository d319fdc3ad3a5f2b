"""Open what a power cut left, as the program does at its next start, and say what is wrong with it.

What the rows hold depends on the transactions that survived and on nothing else, so the costly recount from the log is made once for each
content that occurs; SQLite's own check of the file, the search for what was shown as done and the next action are made at every cut.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clients.runtime.device_key import DeviceKey
from clients.runtime.launch import DATABASE
from nahuo.recount import recount_client
from proof.core_device import ROUTE
from server.authority import Authority
from server.installation import DATABASE as SERVER_DATABASE
from server.installation import open_server
from server.ledger_reading import recount
from server.recount import recount_store
from sync_core.errors import NahuoError
from sync_core.replica import Replica
from trade import kinds
from trade.projections import MARKET_DAY

AT_MS = 1_795_000_000_000
Mark = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Recounts:
    """Contents recounted so far, and how much was compared."""

    seen: dict[bytes, list[str]] = field(default_factory=dict)
    rows: int = 0

    def faults(self, content: bytes, look: Any) -> list[str]:
        """Return the faults of a content, recounting it the first time."""
        if content not in self.seen:
            self.seen[content], rows = look()
            self.rows += rows
        return self.seen[content]


def faults_of_device(folder: Path, marks: Sequence[Mark], recounts: Recounts) -> list[str]:
    """Return what is wrong with a phone's folder after a power cut; `marks` are what it had shown as done before."""
    try:
        replica = Replica.open(folder / DATABASE, MARKET_DAY)
    except NahuoError as error:
        return [f"corrupt: it does not open: {error} [{error.code}]"]
    try:
        conn = replica.conn
        found = [f"corrupt: {row[0]}" for row in conn.execute("PRAGMA integrity_check(3)") if row[0] != "ok"]
        found += _lost_on_device(folder, replica, marks)
        found += recounts.faults(_content(conn), lambda: _recount_device(folder))
        if not found and replica.number is not None and ROUTE in replica.documents():
            fact = kinds.TaskAnswered(answer=kinds.Answer.OUT_OF_STOCK).about("task:T1-1", "stall:国大/3F/301")
            before = len(replica.missing(ROUTE, {}))
            replica.act(ROUTE, [fact], person="p1", at_ms=AT_MS)
            if before and not replica.waiting().actions:
                found.append("the next action is not in the outbox")
        return found
    except (NahuoError, sqlite3.Error) as error:
        return [f"corrupt: it does not go on: {type(error).__name__}: {error}"]
    finally:
        replica.close()


def _lost_on_device(folder: Path, replica: Replica, marks: Sequence[Mark]) -> list[str]:
    conn, found = replica.conn, []
    labels = {row[0] for row in conn.execute("SELECT code FROM print_job")} if _has(conn, "print_job") else set()
    key = DeviceKey(folder, replica).public_key.hex()
    for mark in marks:
        if "number" in mark and (replica.number != mark["number"] or replica.is_copy or key != mark["key"]):
            found.append(
                f"lost: the device was enrolled as {mark['number']}: number {replica.number}, copy {replica.is_copy}"
            )
        if mark.get("label") and mark["label"] not in labels:
            found.append(f"lost: the label {mark['label']}")
        for fact in mark.get("facts", []):
            device, seq, index = (int(part) for part in fact.split("."))
            held = {
                row[0]
                for row in conn.execute(
                    "SELECT f.subject FROM envelope e JOIN fact f ON f.document = e.document AND f.n = e.n AND f.idx = ?"
                    " WHERE e.document = ? AND e.device = ? AND e.seq = ?",
                    (index, ROUTE, device, seq),
                )
            }
            if not set(mark["subjects"]) <= held:
                found.append(f"lost: fact {fact} about {mark['subjects']}")
    return found


def _recount_device(folder: Path) -> tuple[list[str], int]:
    told = recount_client(folder / DATABASE, MARKET_DAY)
    found = [f"{check.name}: {check.faults[0]}" for check in told.checks if not check.holds]
    return found, sum(check.checked for check in told.checks if check.name == "projections")


def faults_of_server(folder: Path, marks: Sequence[Mark], recounts: Recounts) -> list[str]:
    """Return what is wrong with a server's folder after a power cut; `marks` are what devices and pages had been told before."""
    try:
        server = open_server(folder, now_ms=AT_MS)
    except Exception as error:  # noqa: BLE001 - whatever it is, the server does not start
        return [f"corrupt: it does not open: {type(error).__name__}: {error}"]
    try:
        with closing(sqlite3.connect(folder / SERVER_DATABASE, isolation_level=None)) as conn:
            found = [f"corrupt: {row[0]}" for row in conn.execute("PRAGMA integrity_check(3)") if row[0] != "ok"]
            found += _lost_on_server(conn, marks)
            if server.restored and any("command" in mark for mark in marks):
                found.append("lost: the server takes itself for a restored copy")
            key = conn.execute("SELECT public_key FROM server_number WHERE number = ?", (server.number,)).fetchone()
            if key is None or key[0] != server.signer.public_key:
                found.append("lost: the server's key")
            content = _content(conn)

        def look() -> tuple[list[str], int]:
            # What is committed and not read yet is decided first: a recount compares with the authority's rows.
            authority = Authority(server)
            while authority.run_batch(AT_MS):
                pass
            checks, _ = recount_store(server.store, MARKET_DAY)
            with server.store.reading() as reading:
                money = recount(reading)
            broken = [f"{check.name}: {check.faults[0]}" for check in checks if not check.holds]
            if not money.holds or money.sum_fen:
                broken.append(f"money: {money.sum_fen} fen, {money.faults[:1]}")
            return broken, sum(check.checked for check in checks if check.name == "rows")

        found += recounts.faults(content, look)
        server.store.set_meta("proof", AT_MS)
        return found
    except Exception as error:  # noqa: BLE001 - told as a fault of this cut
        return [f"corrupt: it does not go on: {type(error).__name__}: {error}"]
    finally:
        server.store.close()


def _lost_on_server(conn: sqlite3.Connection, marks: Sequence[Mark]) -> list[str]:
    found = []
    told = dict(conn.execute("SELECT id, outcome FROM command").fetchall()) if _has(conn, "command") else {}
    heads = {(d, n): seq for d, n, seq in conn.execute("SELECT document, device, seq FROM head")}
    last = {
        (row[0], row[1]): row[2]
        for row in conn.execute("SELECT document, device, max(seq) FROM envelope GROUP BY 1, 2")
    }
    held = {
        (row[0], row[1], row[2]): bytes(row[3]).hex()
        for row in conn.execute("SELECT document, device, seq, digest FROM envelope")
    }
    if {key: seq for key, seq in heads.items() if seq} != last:
        found.append("half a transaction: heads and log differ")
    for mark in marks:
        if "acked" in mark:
            document, device, seq = mark["acked"]
            if heads.get((document, device), 0) < seq:
                found.append(f"lost: {document} {device}.{seq} was acknowledged")
            elif held.get((document, device, seq)) != mark["digest"]:
                found.append(f"lost: {document} {device}.{seq} was acknowledged, and another stands in its place")
        if "command" in mark:
            outcome = told.get(mark["command"])
            if outcome is None or bool(json.loads(outcome).get("ok")) != mark["ok"]:
                found.append(f"lost: command {mark['command']} was answered")
    return found


def _has(conn: sqlite3.Connection, table: str) -> bool:
    return (
        conn.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone() is not None
    )


def _content(conn: sqlite3.Connection) -> bytes:
    """Name all rows of all tables: equal for equal rows, whatever the pages look like."""
    total = hashlib.sha256()
    tables = [row[0] for row in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    for table in tables:
        total.update(table.encode())
        for row in conn.execute(f'SELECT * FROM "{table}"'):
            total.update(repr(row).encode())
    return total.digest()
