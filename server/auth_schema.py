"""The tables of sign-in: accounts, sessions, failed attempts.

They hold no fact of the trade; pages write them directly, in short transactions of their own. Instants are milliseconds UTC.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, MetaData, Table, Text

from server.schema import Blob

auth_metadata = MetaData()

_BIG: Any = BigInteger().with_variant(Integer(), "sqlite")

auth_account = Table(
    "auth_account",
    auth_metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("shown_name", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("organisation", Text, nullable=False),
    Column("ended_ms", _BIG, nullable=True),
    Column("created_ms", _BIG, nullable=False),
    sqlite_strict=True,
)

auth_session = Table(
    "auth_session",
    auth_metadata,
    Column("token_digest", Blob, primary_key=True),
    Column("account", Integer, ForeignKey("auth_account.id"), nullable=False),
    Column("created_ms", _BIG, nullable=False),
    Column("seen_ms", _BIG, nullable=False),
    Column("address", Text, nullable=False),
    sqlite_strict=True,
)

auth_failure = Table(
    "auth_failure",
    auth_metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("at_ms", _BIG, nullable=False),
    Index("auth_failure_by_time", "at_ms"),
    sqlite_strict=True,
)
