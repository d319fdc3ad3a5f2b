"""Rows in and out of tables, by statements that are built once and given to the driver as they are.

Building a statement costs ten times what the database needs to run it, and the authority runs some twenty for one purchase.
Tables hold whole numbers, texts and bytes only, which both drivers take and give without any conversion.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Table, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.schema import ScalarElementColumnDefault

from server import schema as s
from sync_core.facts import canonical_json


def upsert(conn: Connection, table: Table, keys: Sequence[str], values: Mapping[str, Any]) -> None:
    """Insert a row, or overwrite the one with the same keys."""
    _run(conn, Verb.UPSERT, table, tuple(keys), values)


def upsert_all(conn: Connection, table: Table, keys: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert or overwrite rows of the same columns."""
    _run_all(conn, Verb.UPSERT, table, tuple(keys), rows)


def insert_once(conn: Connection, table: Table, values: Mapping[str, Any]) -> bool:
    """Insert a row unless a unique key forbids it; True when it was new."""
    return bool(_run(conn, Verb.ONCE, table, (), values).rowcount == 1)


def add(conn: Connection, table: Table, values: Mapping[str, Any]) -> None:
    """Insert a row."""
    _run(conn, Verb.INSERT, table, (), values)


def add_all(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of the same columns."""
    _run_all(conn, Verb.INSERT, table, (), rows)


def row_by_key(conn: Connection, table: Table, key: Any) -> Row[Any] | None:
    """Return the row of a table by its first primary key column."""
    return conn.execute(_select_by_key(table), {"key_": key}).first()


def change_by_key(conn: Connection, table: Table, key: Any, values: Mapping[str, Any]) -> None:
    """Change the row of a table by its first primary key column."""
    _run(conn, Verb.CHANGE, table, (), {**values, "key_": key})


class Verb(Enum):
    """What is done with a row."""

    INSERT = 1
    ONCE = 2
    UPSERT = 3
    CHANGE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sql:
    """A statement as its driver takes it. `names`: the order of its places, None when the driver takes names."""

    text: str
    names: tuple[str, ...] | None
    defaults: Mapping[str, Any]

    def bind(self, values: Mapping[str, Any]) -> Any:
        """Return the values as the driver takes them."""
        if self.defaults:
            values = {**self.defaults, **values}
        return dict(values) if self.names is None else tuple([values[name] for name in self.names])


def _run(conn: Connection, verb: Verb, table: Table, keys: tuple[str, ...], values: Mapping[str, Any]) -> Any:
    sql = _sql_of(conn, verb, table, keys, tuple(values))
    return conn.exec_driver_sql(sql.text, sql.bind(values))


def _run_all(
    conn: Connection, verb: Verb, table: Table, keys: tuple[str, ...], rows: Sequence[Mapping[str, Any]]
) -> None:
    if rows:
        sql = _sql_of(conn, verb, table, keys, tuple(rows[0]))
        conn.exec_driver_sql(sql.text, [sql.bind(row) for row in rows])


_SQL: dict[tuple[str, Verb, str, tuple[str, ...], tuple[str, ...]], _Sql] = {}
"""Every statement that was written once; there are as many as callers."""


def _sql_of(conn: Connection, verb: Verb, table: Table, keys: tuple[str, ...], columns: tuple[str, ...]) -> _Sql:
    place = (conn.dialect.name, verb, table.name, keys, columns)
    found = _SQL.get(place)
    if found is None:
        found = _SQL[place] = _compile(conn, verb, table, keys, columns)
    return found


def _compile(conn: Connection, verb: Verb, table: Table, keys: tuple[str, ...], columns: tuple[str, ...]) -> _Sql:
    insert_of = sqlite.insert if conn.dialect.name == "sqlite" else postgresql.insert
    statement: Any
    match verb:
        case Verb.INSERT:
            statement = insert(table).inline()
        case Verb.ONCE:
            statement = insert_of(table).inline().on_conflict_do_nothing()
        case Verb.UPSERT:
            statement = insert_of(table).inline()
            rest = {name: statement.excluded[name] for name in columns if name not in keys}
            elements = [table.c[name] for name in keys]
            if rest:
                statement = statement.on_conflict_do_update(index_elements=elements, set_=rest)
            else:
                statement = statement.on_conflict_do_nothing(index_elements=elements)
        case Verb.CHANGE:
            statement = update(table).where(_first_key(table) == bindparam("key_"))
    named = [name for name in columns if name in table.c]
    made = statement.compile(dialect=conn.dialect, column_keys=named)
    defaults = {
        column.name: column.default.arg
        for column in table.c
        if verb is not Verb.CHANGE
        and column.name not in named
        and isinstance(column.default, ScalarElementColumnDefault)
    }
    return _Sql(text=str(made), names=tuple(made.positiontup) if made.positional else None, defaults=defaults)


@cache
def _select_by_key(table: Table) -> Any:
    return select(table).where(_first_key(table) == bindparam("key_"))


def _first_key(table: Table) -> Any:
    return next(iter(table.primary_key.columns))


_META = select(s.meta.c.value).where(s.meta.c.name == bindparam("name_"))


def get_meta(conn: Connection, name: str, default: Any = None) -> Any:
    """Return a named JSON value."""
    found = conn.execute(_META, {"name_": name}).scalar()
    return default if found is None else json.loads(found)


def set_meta(conn: Connection, name: str, value: Any) -> None:
    """Set a named JSON value."""
    upsert(conn, s.meta, ("name",), {"name": name, "value": to_json(value)})


def to_json(value: Any) -> str:
    """Canonical JSON text."""
    return canonical_json(value).decode()
