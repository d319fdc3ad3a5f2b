"""Rows in and out of tables, by statements that are built once.

Building a statement costs ten times what the database needs to run it, and the authority runs some twenty for one purchase.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Table, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from server import schema as s
from sync_core.facts import canonical_json


def upsert(conn: Connection, table: Table, keys: Sequence[str], values: Mapping[str, Any]) -> None:
    """Insert a row, or overwrite the one with the same keys."""
    conn.execute(_upsert(conn.dialect.name, table, tuple(keys), tuple(values)), dict(values))


def upsert_all(conn: Connection, table: Table, keys: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert or overwrite rows of the same columns."""
    if rows:
        conn.execute(_upsert(conn.dialect.name, table, tuple(keys), tuple(rows[0])), [dict(row) for row in rows])


def insert_once(conn: Connection, table: Table, values: Mapping[str, Any]) -> bool:
    """Insert a row unless a unique key forbids it; True when it was new."""
    return conn.execute(_insert_once(conn.dialect.name, table), dict(values)).rowcount == 1


def add(conn: Connection, table: Table, values: Mapping[str, Any]) -> None:
    """Insert a row."""
    conn.execute(_insert(table), dict(values))


def add_all(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of the same columns."""
    if rows:
        conn.execute(_insert(table), [dict(row) for row in rows])


def row_by_key(conn: Connection, table: Table, key: Any) -> Row[Any] | None:
    """Return the row of a table by its first primary key column."""
    return conn.execute(_select_by_key(table), {"key_": key}).first()


def change_by_key(conn: Connection, table: Table, key: Any, values: Mapping[str, Any]) -> None:
    """Change the row of a table by its first primary key column."""
    conn.execute(_update_by_key(table), {"key_": key, **values})


@cache
def _insert(table: Table) -> Any:
    return insert(table)


@cache
def _insert_once(dialect: str, table: Table) -> Any:
    return _insert_of(dialect)(table).on_conflict_do_nothing()


@cache
def _upsert(dialect: str, table: Table, keys: tuple[str, ...], columns: tuple[str, ...]) -> Any:
    statement = _insert_of(dialect)(table)
    elements = [table.c[name] for name in keys]
    rest = {name: statement.excluded[name] for name in columns if name not in keys}
    if rest:
        return statement.on_conflict_do_update(index_elements=elements, set_=rest)
    return statement.on_conflict_do_nothing(index_elements=elements)


@cache
def _select_by_key(table: Table) -> Any:
    return select(table).where(next(iter(table.primary_key.columns)) == bindparam("key_"))


@cache
def _update_by_key(table: Table) -> Any:
    return update(table).where(next(iter(table.primary_key.columns)) == bindparam("key_"))


def _insert_of(dialect: str) -> Any:
    return sqlite.insert if dialect == "sqlite" else postgresql.insert


def get_meta(conn: Connection, name: str, default: Any = None) -> Any:
    """Return a named JSON value."""
    found = conn.execute(select(s.meta.c.value).where(s.meta.c.name == name)).scalar()
    return default if found is None else json.loads(found)


def set_meta(conn: Connection, name: str, value: Any) -> None:
    """Set a named JSON value."""
    upsert(conn, s.meta, ("name",), {"name": name, "value": to_json(value)})


def to_json(value: Any) -> str:
    """Canonical JSON text."""
    return canonical_json(value).decode()
