"""Tell what a data folder holds, and read it beside the process that has it open.

Everything here opens SQLite read-only: status, verify and backup never change what they look at.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from sync_core.check import Check
from sync_core.errors import CorruptError, RefusedError

SERVER_DATABASE: Final = "nahuo.db"
SERVER_KEY: Final = "server.key"
_CLIENT_TABLES: Final = {"envelope", "writer", "state", "setting", "unfolded"}
_SQLITE_MAGIC: Final = b"SQLite format 3\0"

FolderKind = Literal["server", "client"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFolder:
    """A folder of a server or of a client, and its main database."""

    path: Path
    kind: FolderKind
    database: Path


def look_at(path: Path) -> DataFolder:
    """Return what `path` holds.

    Raises:
        RefusedError: it is no folder, or none of ours.
        CorruptError: its database cannot be read.
    """
    if not path.is_dir():
        raise RefusedError(
            "folder.missing", f"there is no folder {path}: name the one that `nahuo init` made, or a client's"
        )
    server = path / SERVER_DATABASE
    if server.is_file():
        if not is_sqlite(server):
            raise CorruptError(
                f"{server} is no database any more: put the newest backup into a new folder (nahuo restore)"
            )
        return DataFolder(path=path, kind="server", database=server)
    for database in sorted(path.glob("*.db")):
        with read_only(database) as conn:
            names = {row[0] for row in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if names >= _CLIENT_TABLES:
            return DataFolder(path=path, kind="client", database=database)
    if (path / SERVER_KEY).is_file():
        raise RefusedError(
            "folder.no_database", f"the server of {path} keeps its database elsewhere: use PostgreSQL's own tools"
        )
    raise RefusedError("folder.foreign", f"{path} holds neither a server's nor a client's data")


def is_sqlite(path: Path) -> bool:
    """True when the file begins as an SQLite database does."""
    with path.open("rb") as file:
        return file.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC


def check_whole(conn: sqlite3.Connection) -> Check:
    """Return whether SQLite finds the file whole, indexes included."""
    check = Check(name="database", what="SQLite finds its file whole", checked=1)
    verdict = conn.execute("PRAGMA integrity_check(5)").fetchall()
    if verdict != [("ok",)]:
        check.faults += [row[0] for row in verdict]
    return check


@contextmanager
def read_only(database: Path) -> Iterator[sqlite3.Connection]:
    """Open a database for reading only, beside whoever writes it.

    Raises:
        CorruptError: it is no database, or damaged.
    """
    # A plain connection kept from writing, not `mode=ro`: that one cannot read a WAL whose shared-memory file is gone.
    try:
        conn = sqlite3.connect(f"{database.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=10)
    except sqlite3.DatabaseError as error:
        raise CorruptError(f"{database.name} cannot be opened: {error}") from error
    try:
        conn.execute("PRAGMA query_only = ON")
        conn.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield conn
    except sqlite3.DatabaseError as error:
        raise CorruptError(f"{database.name} cannot be read: {error}") from error
    finally:
        conn.close()
