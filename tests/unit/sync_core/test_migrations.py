"""A migration may die at any statement: the file is then as it was, the next start does it, and the outbox is whole."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sync_core import replica_schema
from sync_core.errors import IncompatibleError
from sync_core.replica import Replica
from tests.toy import DOCUMENT, Jars, chain, enrolled, opened, put

NEXT = (
    "CREATE TABLE outbox_note (document TEXT NOT NULL, seq INTEGER NOT NULL) STRICT;\n"
    "INSERT INTO outbox_note SELECT document, seq FROM envelope WHERE device >= 100;\n"
    "ALTER TABLE writer ADD COLUMN told INTEGER NOT NULL DEFAULT 0;\n"
    "UPDATE writer SET told = acked;\n"
    "CREATE INDEX outbox_note_by_seq ON outbox_note (seq);\n"
)
"""A step as a next version may bring one: a table, its rows, a column, its values, an index."""


class Cut(sqlite3.Connection):
    """A connection whose process dies at its `left`-th statement."""

    left = 0

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        Cut.left -= 1
        if Cut.left == 0 and sql != "ROLLBACK":
            raise KeyboardInterrupt(sql)
        return super().execute(sql, *args)


def shape(path: Path) -> list[tuple[Any, ...]]:
    conn = sqlite3.connect(path)
    rows = conn.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()
    rows += conn.execute("PRAGMA user_version").fetchall()
    conn.close()
    return rows


def migrate_until(path: Path, statement: int) -> bool:
    """Migrate, dying at a statement; True when it came to its end first."""
    Cut.left = statement
    conn = sqlite3.connect(path, isolation_level=None, factory=Cut)
    try:
        replica_schema.migrate(conn)
        return True
    except KeyboardInterrupt:
        return False
    finally:
        conn.close()


def test_a_new_file_dies_at_every_statement_and_is_finished_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    with monkeypatch.context() as older:
        for count in range(1, len(replica_schema.MIGRATIONS)):
            older.setattr(replica_schema, "MIGRATIONS", replica_schema.MIGRATIONS[:count])
            assert migrate_until(tmp_path / f"step-{count}.db", 0)
            steps.append(shape(tmp_path / f"step-{count}.db"))
            older.undo()
    whole = tmp_path / "whole.db"
    assert migrate_until(whole, 0)
    cuts = 0
    for statement in range(1, 200):
        path = tmp_path / f"{statement}.db"
        if migrate_until(path, statement):
            break
        cuts += 1
        assert shape(path) in ([(0,)], *steps, shape(whole)), "nothing, or all of a step"
        assert migrate_until(path, 0)
        assert shape(path) == shape(whole)
    assert cuts > 12


def test_an_upgrade_dies_at_every_statement_and_the_outbox_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "replica.db"
    replica = enrolled(path, 700)
    replica.admit(DOCUMENT, [chain(0, DOCUMENT, [[opened(700)]])])
    for n in range(5):
        replica.act(DOCUMENT, [put(n + 1)], person="ann", at_ms=n)
    before = replica.canonical_hash(DOCUMENT)
    replica.close()
    monkeypatch.setattr(replica_schema, "MIGRATIONS", (*replica_schema.MIGRATIONS, NEXT))
    old, cuts = shape(path), 0
    for statement in range(1, 50):
        if migrate_until(path, statement):
            break
        cuts += 1
        assert shape(path) == old, "as it was"
        waiting = sqlite3.connect(path)
        assert waiting.execute("SELECT count(*) FROM envelope WHERE device = 700").fetchone() == (5,)
        waiting.close()
    assert cuts >= 8
    again = enrolled(path, 700)
    assert again.waiting().actions == 5
    assert again.canonical_hash(DOCUMENT) == before
    assert again.conn.execute("SELECT count(*) FROM outbox_note").fetchone() == (5,)
    again.close()


def test_a_real_process_that_is_killed_at_a_statement_leaves_a_file_that_opens(tmp_path: Path) -> None:
    path = tmp_path / "replica.db"
    program = (
        "import os, signal, sqlite3, sys\n"
        "from sync_core import replica_schema\n"
        "class Killed(sqlite3.Connection):\n"
        "    def execute(self, sql, *args):\n"
        "        if sql.strip().startswith('CREATE TABLE state'):\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super().execute(sql, *args)\n"
        "conn = sqlite3.connect(sys.argv[1], isolation_level=None, factory=Killed)\n"
        "conn.execute('PRAGMA journal_mode = WAL')\n"
        "replica_schema.migrate(conn)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(path)], timeout=60, check=False, env={**os.environ})
    assert ended.returncode == -signal.SIGKILL
    replica = Replica.open(path, Jars())
    assert replica.documents() == []
    replica.close()


def test_a_file_of_a_newer_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "replica.db"
    enrolled(path, 700).close()
    conn = sqlite3.connect(path)
    conn.execute(f"PRAGMA user_version = {len(replica_schema.MIGRATIONS) + 1}")
    conn.commit()
    conn.close()
    with pytest.raises(IncompatibleError, match="update"):
        Replica.open(path, Jars())
