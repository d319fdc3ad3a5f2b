"""The replica's tables and their migrations, each run in one transaction and counted in `PRAGMA user_version`."""

from __future__ import annotations

import sqlite3

from sync_core.errors import IncompatibleError

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE envelope (
        n INTEGER PRIMARY KEY, document TEXT NOT NULL, device INTEGER NOT NULL, seq INTEGER NOT NULL, at_ms INTEGER NOT NULL,
        basis TEXT NOT NULL, stored BLOB NOT NULL, UNIQUE (document, device, seq)
    ) STRICT;
    CREATE TABLE writer (
        document TEXT NOT NULL, device INTEGER NOT NULL, seq INTEGER NOT NULL, digest BLOB NOT NULL, basis TEXT NOT NULL,
        folded INTEGER NOT NULL DEFAULT 0, acked INTEGER NOT NULL DEFAULT 0, acked_ms INTEGER, PRIMARY KEY (document, device)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE fact (
        document TEXT NOT NULL, subject TEXT NOT NULL, n INTEGER NOT NULL, idx INTEGER NOT NULL, PRIMARY KEY (document, subject, n, idx)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE state (
        rowid INTEGER PRIMARY KEY, document TEXT NOT NULL, subject TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL,
        UNIQUE (document, subject)
    ) STRICT;
    CREATE INDEX state_by_kind ON state (kind, document);
    CREATE INDEX state_by_subject ON state (subject);
    CREATE TABLE unfolded (document TEXT NOT NULL, subject TEXT NOT NULL, PRIMARY KEY (document, subject)) STRICT, WITHOUT ROWID;
    CREATE TABLE refusal (
        n INTEGER PRIMARY KEY, document TEXT NOT NULL, device INTEGER NOT NULL, seq INTEGER NOT NULL, code TEXT NOT NULL,
        detail TEXT NOT NULL, stored BLOB NOT NULL, seen INTEGER NOT NULL DEFAULT 0, UNIQUE (document, device, seq, code, stored)
    ) STRICT;
    CREATE TABLE set_aside (document TEXT NOT NULL, stored BLOB NOT NULL, why TEXT NOT NULL, UNIQUE (document, stored)) STRICT;
    """,
    """
    CREATE TABLE saved (n INTEGER PRIMARY KEY, document TEXT NOT NULL, stored BLOB NOT NULL, UNIQUE (document, stored)) STRICT;
    """,
    """
    CREATE TABLE gone (n INTEGER PRIMARY KEY, document TEXT NOT NULL UNIQUE) STRICT;
    """,
)


def migrate(conn: sqlite3.Connection) -> None:
    """Bring the file to the newest schema; each step is one transaction, so a kill between two leaves a whole one.

    Raises:
        IncompatibleError: a newer program wrote the file.
    """
    version = conn.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise IncompatibleError("a newer program wrote this file: update this one")
    for step, script in enumerate(MIGRATIONS[version:], version + 1):
        conn.execute("BEGIN IMMEDIATE")
        try:
            for statement in script.split(";\n"):
                if statement.strip():
                    conn.execute(statement)
            conn.execute(f"PRAGMA user_version = {step}")
            conn.execute("COMMIT")
        except BaseException:
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            raise
