"""The server's database from one schema to the next: it may die at any statement, and the next start begins again."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from server import migrations
from server import schema as s
from server.store import open_store
from sync_core.errors import IncompatibleError

STEP = (
    "ALTER TABLE device ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'",
    "UPDATE device SET colour = 'blue'",
    "CREATE INDEX device_by_colour ON device (colour)",
)


def shape(path: Path) -> list[Any]:
    conn = sqlite3.connect(path)
    rows = conn.execute("SELECT type, name, sql FROM sqlite_master WHERE name <> 'meta' ORDER BY type, name").fetchall()
    has_meta = conn.execute("SELECT count(*) FROM sqlite_master WHERE name = 'meta'").fetchone()[0]
    version = conn.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone() if has_meta else None
    conn.close()
    return [*rows, version]


def open_until(path: Path, statement: int) -> bool:
    """Open the store, dying at a statement of the migration; True when it came to its end first."""
    left = statement

    def die(_conn: Any, _cursor: Any, _sql: str, *_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    event.listen(Engine, "before_cursor_execute", die)
    try:
        open_store(path, synchronous="OFF").close()
        return True
    except KeyboardInterrupt:
        return False
    finally:
        event.remove(Engine, "before_cursor_execute", die)


def test_a_new_database_dies_at_every_seventh_statement_and_is_finished_by_the_next_start(tmp_path: Path) -> None:
    whole = tmp_path / "whole.db"
    assert open_until(whole, 0)
    cuts = 0
    for statement in range(1, 1000, 7):
        path = tmp_path / f"{statement}.db"
        if open_until(path, statement):
            break
        cuts += 1
        assert shape(path) == [None], "nothing of it"
        assert open_until(path, 0)
        assert shape(path) == shape(whole)
    assert cuts > 8


def test_an_upgrade_dies_at_every_statement_and_leaves_the_old_schema_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "nahuo.db"
    assert open_until(path, 0)
    old = shape(path)
    monkeypatch.setattr(s, "SCHEMA_VERSION", s.SCHEMA_VERSION + 1)
    monkeypatch.setitem(migrations.MIGRATIONS, s.SCHEMA_VERSION, STEP)
    cuts = 0
    for statement in range(1, 500):
        if open_until(path, statement):
            break
        cuts += 1
        assert shape(path) == old
    assert cuts > len(STEP)
    conn = sqlite3.connect(path)
    assert "colour" in [row[1] for row in conn.execute("PRAGMA table_info(device)")]
    conn.close()
    monkeypatch.undo()
    with pytest.raises(IncompatibleError, match="update"):
        open_store(path, synchronous="OFF")


def columns(path: Path) -> dict[str, list[str]]:
    """Return {table: its columns}: one that was added later stands last, and a table keeps the words that made it."""
    conn = sqlite3.connect(path)
    tables = [row[0] for row in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {name: sorted(row[1] for row in conn.execute(f"PRAGMA table_info({name})")) for name in tables}
    conn.close()
    return found


@pytest.mark.parametrize(("version", "lacks"), [(1, ("absence", "key_asked")), (2, ("key_asked",)), (3, ())])
def test_a_database_of_an_older_schema_gets_what_it_lacks_and_may_die_at_any_statement(
    tmp_path: Path, version: int, lacks: tuple[str, ...]
) -> None:
    path = tmp_path / "nahuo.db"
    assert open_until(path, 0)
    new, all_columns = shape(path), columns(path)
    with sqlite3.connect(path) as conn:
        for table in lacks:
            conn.execute(f"DROP TABLE {table}")
        conn.execute("ALTER TABLE piece DROP COLUMN warehouse")
        conn.execute("UPDATE meta SET value = ? WHERE name = 'schema_version'", (str(version),))
    conn.close()
    old = shape(path)
    cuts = 0
    for statement in range(1, 500):
        if open_until(path, statement):
            break
        cuts += 1
        assert shape(path) == old
    assert cuts > len(lacks)
    assert columns(path) == all_columns
    assert [row[:2] for row in shape(path)[:-1]] == [row[:2] for row in new[:-1]]


def test_who_shall_take_a_new_key_is_known_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "nahuo.db"
    assert open_until(path, 0)
    with sqlite3.connect(path) as conn:
        conn.execute("INSERT INTO key_asked (device, asked_ms) VALUES (107, 1)")
    conn.close()
    store = open_store(path, synchronous="OFF")
    assert store.new_keys == {107}
    store.close()
