"""Rows in and out of tables, by statements that are built once and given to the driver as they are.

Building a statement and carrying it through SQLAlchemy costs ten times what the database needs to run it, and the authority runs some
ninety for one piece's day. Tables hold whole numbers, texts and bytes only, which both drivers take and give without any conversion.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, Delete, Row, Select, Table, Update, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import IteratorResult, Result
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.schema import ScalarElementColumnDefault

from server import schema as s
from sync_core.payload import canonical_json


def upsert(conn: Connection, table: Table, keys: Sequence[str], values: Mapping[str, Any]) -> None:
    """Insert a row, or overwrite the one with the same keys."""
    _run(conn, Verb.UPSERT, table, tuple(keys), values)


def upsert_all(conn: Connection, table: Table, keys: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert or overwrite rows of the same columns."""
    _run_all(conn, Verb.UPSERT, table, tuple(keys), rows)


def insert_once(conn: Connection, table: Table, values: Mapping[str, Any]) -> bool:
    """Insert a row unless a unique key forbids it; True when it was new."""
    return _run(conn, Verb.ONCE, table, (), values) == 1


def add(conn: Connection, table: Table, values: Mapping[str, Any]) -> None:
    """Insert a row."""
    _run(conn, Verb.INSERT, table, (), values)


def add_all(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of the same columns."""
    _run_all(conn, Verb.INSERT, table, (), rows)


def row_by_key(conn: Connection, table: Table, key: Any) -> Row[Any] | None:
    """Return the row of a table by its first primary key column."""
    return read(conn, _select_by_key(table), key_=key).first()


def rows_where(conn: Connection, table: Table, *, order: str | None = None, **equal: Any) -> Sequence[Row[Any]]:
    """Return the rows of a table whose columns have these values, in order of the column `order`."""
    return read(conn, _select_where(table, order, tuple(equal)), **equal).all()


def change_by_key(conn: Connection, table: Table, key: Any, values: Mapping[str, Any]) -> None:
    """Change the row of a table by its first primary key column."""
    _run(conn, Verb.CHANGE, table, (), {**values, "key_": key})


Query = Select[*tuple[Any, ...]]
"""A query of any number of columns."""


def read(conn: Connection, statement: Query, /, **values: Any) -> Result[Any]:
    """Run a query that a module built once, with its values; a list is the value of an expanding parameter.

    Raises:
        DBAPIError: as from SQLAlchemy; OperationalError when the database is at fault.
    """
    sql = _sql_of_query(conn, statement, values)
    found = _execute(conn, sql.text, sql.bind(values)).fetchall()
    assert sql.result is not None
    return IteratorResult(sql.result, iter(found))


def change(conn: Connection, statement: Update | Delete, /, **values: Any) -> int:
    """Run an update or a deletion that a module built once, with its values; returns how many rows it met."""
    sql = _sql_of_query(conn, statement, values)
    return int(_execute(conn, sql.text, sql.bind(values)).rowcount)


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
    defaults: Mapping[str, Any] = field(default_factory=dict)
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """{a parameter that is a list: the places of its elements}."""
    result: SimpleResultMetaData | None = None

    def bind(self, values: Mapping[str, Any]) -> Any:
        """Return the values as the driver takes them."""
        if self.defaults:
            values = {**self.defaults, **values}
        for name, places in self.lists.items():
            # A place too many repeats the last element, which changes no list's meaning.
            elements = list(values[name])
            elements += elements[-1:] * (len(places) - len(elements))
            values = {**values, **dict(zip(places, elements, strict=True))}
        return dict(values) if self.names is None else tuple([values[name] for name in self.names])


def _execute(conn: Connection, text: str, bound: Any, *, many: bool = False) -> Any:
    """Give a statement to the driver, in the transaction of `conn`; what the driver raises comes as from SQLAlchemy."""
    if not conn.in_transaction():
        conn.begin()
    cursor = conn.connection.cursor()
    try:
        if many:
            cursor.executemany(text, bound)
        else:
            cursor.execute(text, bound)
    except conn.dialect.loaded_dbapi.Error as error:
        base = conn.dialect.loaded_dbapi.Error
        raise DBAPIError.instance(text, None, error, base, hide_parameters=True, dialect=conn.dialect) from error
    return cursor


def _run(conn: Connection, verb: Verb, table: Table, keys: tuple[str, ...], values: Mapping[str, Any]) -> int:
    sql = _sql_of(conn, verb, table, keys, tuple(values))
    return int(_execute(conn, sql.text, sql.bind(values)).rowcount)


def _run_all(
    conn: Connection, verb: Verb, table: Table, keys: tuple[str, ...], rows: Sequence[Mapping[str, Any]]
) -> None:
    if rows:
        sql = _sql_of(conn, verb, table, keys, tuple(rows[0]))
        _execute(conn, sql.text, [sql.bind(row) for row in rows], many=True)


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


_Statement = Query | Update | Delete
_QUERIES: dict[tuple[str, _Statement, tuple[str, ...], tuple[int, ...]], _Sql] = {}
"""Every query that was run once, by the names of its values and the room for its lists; there are as many as modules built."""


def _sql_of_query(conn: Connection, statement: _Statement, values: Mapping[str, Any]) -> _Sql:
    rooms = tuple(_room(value) for value in values.values() if isinstance(value, (list, tuple)))
    place = (conn.dialect.name, statement, tuple(values), rooms)
    found = _QUERIES.get(place)
    if found is None:
        found = _QUERIES[place] = _compile_query(conn, statement, values)
    return found


def _compile_query(conn: Connection, statement: _Statement, values: Mapping[str, Any]) -> _Sql:
    lists = {
        name: tuple(f"{name}_{at}" for at in range(1, _room(value) + 1))
        for name, value in values.items()
        if isinstance(value, (list, tuple))
    }
    made: Any = statement.compile(dialect=conn.dialect, column_keys=list(values))
    state = made.construct_expanded_state({**values, **{name: [None] * len(places) for name, places in lists.items()}})
    given = {*values, *(place for places in lists.values() for place in places)}
    return _Sql(
        text=state.statement,
        names=tuple(state.positiontup) if made.positional else None,
        # Constants that the statement itself carries.
        defaults={name: value for name, value in state.parameters.items() if name not in given},
        lists=lists,
        result=SimpleResultMetaData(statement.selected_columns.keys()) if isinstance(statement, Select) else None,
    )


def _room(elements: Sequence[Any]) -> int:
    """The next power of two: a list of each length needs no statement of its own."""
    return 1 << (len(elements) - 1).bit_length() if elements else 0


@cache
def _select_by_key(table: Table) -> Query:
    return select(table).where(_first_key(table) == bindparam("key_"))


@cache
def _select_where(table: Table, order: str | None, names: tuple[str, ...]) -> Query:
    query = select(table).where(*(table.c[name] == bindparam(name) for name in names))
    return query if order is None else query.order_by(table.c[order])


def _first_key(table: Table) -> Any:
    return next(iter(table.primary_key.columns))


_META: Final = select(s.meta.c.value).where(s.meta.c.name == bindparam("name_"))


def get_meta(conn: Connection, name: str, default: Any = None) -> Any:
    """Return a named JSON value."""
    found = read(conn, _META, name_=name).scalar()
    return default if found is None else json.loads(found)


def set_meta(conn: Connection, name: str, value: Any) -> None:
    """Set a named JSON value."""
    upsert(conn, s.meta, ("name",), {"name": name, "value": to_json(value)})


def to_json(value: Any) -> str:
    """Canonical JSON text."""
    return canonical_json(value).decode()
