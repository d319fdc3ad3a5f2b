"""The server's tables, the same on SQLite and PostgreSQL.

Three layers: the log (envelopes as they came, for ever), the ledger (append-only, guarded by triggers), and rows derived from both,
which a recount can make again. Amounts are whole fen, instants whole milliseconds UTC, JSON is canonical text.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION: Final = 5

metadata = MetaData()

_BIG: Any = BigInteger().with_variant(Integer(), "sqlite")


class Blob(LargeBinary):
    """Bytes as both drivers take and give them: SQLAlchemy's own wraps each value, a third of what writing the log cost."""

    def bind_processor(self, dialect: Any) -> None:
        """Pass values on as they are."""

    def result_processor(self, dialect: Any, coltype: Any) -> None:
        """Pass values on as they are."""


def _table(name: str, *columns: Any) -> Table:
    return Table(name, metadata, *columns, sqlite_strict=True)


def _whole(name: str, default: int | None = None, *, null: bool = False, **options: Any) -> Column[int]:
    if default is not None:
        options["server_default"] = str(default)
        options["default"] = default
    return Column(name, _BIG, nullable=null, **options)


def _text(name: str, default: str | None = None, *, null: bool = False, **options: Any) -> Column[str]:
    if default is not None:
        options["server_default"] = default
        options["default"] = default
    return Column(name, Text, nullable=null, **options)


meta = _table("meta", _text("name", primary_key=True), _text("value"))
"""Counters, the reading position, the server's number: JSON values by name."""

# --- the log -----------------------------------------------------------------------------------------------------------

envelope = _table(
    "envelope",
    Column("n", _BIG, primary_key=True, autoincrement=True),
    _text("document"),
    _whole("device"),
    _whole("seq"),
    Column("stored", Blob, nullable=False),
    Column("digest", Blob, nullable=False),
    _whole("received_ms"),
    UniqueConstraint("document", "device", "seq"),
    Index("envelope_by_document", "document", "n"),
)
"""Every accepted envelope; `n` grows in the order of acceptance."""

head = _table(
    "head",
    _text("document", primary_key=True),
    _whole("device", primary_key=True, autoincrement=False),
    _whole("seq"),
    Column("digest", Blob, nullable=False),
)
"""Where each writer's chain stands in each document."""

quarantine = _table(
    "quarantine",
    Column("id", _BIG, primary_key=True, autoincrement=True),
    _text("document"),
    _whole("device"),
    _whole("seq"),
    _text("code"),
    _text("detail"),
    Column("stored", Blob, nullable=False),
    _whole("sent_by"),
    _whole("received_ms"),
    _whole("resolved_ms", null=True),
    Index("quarantine_by_place", "document", "device", "seq"),
)

device = _table(
    "device",
    _whole("number", primary_key=True, autoincrement=False),
    Column("public_key", Blob, nullable=False),
    _text("alg"),
    _text("role"),
    _text("organisation"),
    _text("name"),
    _text("warehouse", ""),
    _text("documents"),
    _text("people"),
    _text("certificate"),
    _whole("override_fen_per_piece", 0),
    _whole("override_fen_per_day", 0),
    _whole("enrolled_ms"),
    _whole("seen_ms", null=True),
    _whole("revoked_ms", null=True),
    _whole("written_off_ms", null=True),
    _whole("replaced_by", null=True),
)

key_asked = _table("key_asked", _whole("device", primary_key=True, autoincrement=False), _whole("asked_ms"))
"""Devices that shall take another key and have not yet."""

absence = _table(
    "absence",
    _whole("device", primary_key=True, autoincrement=False),
    _whole("from_ms"),
    _whole("back_ms"),
    _whole("heard_ms"),
    _whole("actions", 0),
    _whole("fen", 0),
    _whole("beyond", 0),
)
"""How a device came back from its last time without a server, and what it has delivered of it (server/contact.py)."""

enrol_code = _table(
    "enrol_code",
    _text("digest", primary_key=True),
    _text("role"),
    _text("organisation"),
    _text("warehouse", ""),
    _text("name"),
    _text("people"),
    _whole("created_ms"),
    _whole("expires_ms"),
    _whole("used_ms", null=True),
    _whole("device", null=True),
)

person = _table(
    "person",
    _text("id", primary_key=True),
    _text("name"),
    _text("organisation"),
    _text("pin_salt"),
    _text("pin_hash"),
    _whole("ended_ms", null=True),
)

server_number = _table(
    "server_number",
    _whole("number", primary_key=True, autoincrement=False),
    Column("public_key", Blob, nullable=False),
    _whole("since_ms"),
)

# --- what the authority has read ------------------------------------------------------------------------------------------

document = _table(
    "document",
    _text("name", primary_key=True),
    _text("kind"),
    _text("owner"),
    _whole("opened_ms"),
    _whole("closed_ms", null=True),
    _text("successor", null=True),
)

writer = _table(
    "writer",
    _text("document", primary_key=True),
    _whole("device", primary_key=True, autoincrement=False),
    _text("role"),
    _text("continues", "[]"),
    _whole("seq", 0),
    _text("basis", "{}"),
)
"""How far the authority has read each writer, with the whole basis of his last envelope."""

fact = _table(
    "fact",
    _text("document", primary_key=True),
    _whole("writer", primary_key=True, autoincrement=False),
    _whole("seq", primary_key=True, autoincrement=False),
    _whole("place", primary_key=True, autoincrement=False),
    _text("id"),
    _whole("n"),
    _text("kind"),
    _text("subjects"),
    _text("body"),
    _whole("device"),
    _text("person"),
    _whole("at_ms"),
    _text("role"),
    _whole("schema"),
    _text("basis"),
    _whole("carried", 0),
    _text("void", null=True),
    Index("fact_by_n", "n"),
    Index("fact_by_id", "id"),
)

fact_subject = _table(
    "fact_subject",
    _text("document", primary_key=True),
    _text("subject", primary_key=True),
    _whole("writer", primary_key=True, autoincrement=False),
    _whole("seq", primary_key=True, autoincrement=False),
    _whole("place", primary_key=True, autoincrement=False),
    _text("id"),
    Index("fact_subject_by_subject", "subject"),
)

state = _table(
    "state",
    _text("document", primary_key=True),
    _text("subject", primary_key=True),
    _text("kind"),
    _text("state"),
    Index("state_by_kind", "document", "kind"),
)

verdict = _table(
    "verdict",
    _text("id", primary_key=True),
    _text("fact"),
    _text("document"),
    _text("rule"),
    _text("outcome"),
    _whole("decided_ms"),
    Index("verdict_by_fact", "fact"),
)
"""One row per (fact, rule): that which makes every decision happen once, whatever restarts."""

command = _table(
    "command",
    Column("id", _BIG, primary_key=True, autoincrement=True),
    _text("kind"),
    _text("body"),
    _text("by"),
    _whole("created_ms"),
    _whole("done_ms", null=True),
    _text("outcome", null=True),
    Index("command_by_done", "done_ms", "id"),
)

# --- the ledger --------------------------------------------------------------------------------------------------------

entry = _table(
    "entry",
    _whole("id", primary_key=True, autoincrement=False),
    _text("key", unique=True),
    _text("kind"),
    _text("merchant"),
    _text("order_id"),
    _text("task"),
    _text("piece"),
    _whole("at_ms"),
    _text("causes"),
    _text("zh"),
    _text("en"),
    Column("prev", Blob, nullable=False),
    Column("digest", Blob, nullable=False),
    Index("entry_by_merchant", "merchant", "id"),
    Index("entry_by_order", "order_id", "id"),
)

posting = _table(
    "posting",
    _whole("entry", primary_key=True, autoincrement=False),
    _whole("line", primary_key=True, autoincrement=False),
    _text("account"),
    _whole("amount_fen"),
    Index("posting_by_account", "account", "entry"),
)

account = _table(
    "account",
    _text("name", primary_key=True),
    _whole("balance_fen"),
    _whole("guarded", 0),
    CheckConstraint("guarded = 0 OR balance_fen >= 0", name="account_never_below_zero"),
)
"""Running balances: a sum over `posting` that a recount repeats. A guarded account never goes below zero."""

hold = _table(
    "hold",
    _text("subject", primary_key=True),
    _text("part", primary_key=True),
    _text("merchant"),
    _text("order_id"),
    _whole("held_fen", 0),
    _whole("captured_fen", 0),
    _whole("released_fen", 0),
    CheckConstraint("captured_fen + released_fen <= held_fen", name="hold_resolved_once"),
    CheckConstraint("captured_fen >= 0 AND released_fen >= 0", name="hold_whole"),
    Index("hold_by_order", "order_id"),
)
"""What is frozen, for what: subject is a wanted piece (`T1001-1`) or an order, part is principal, commission, courier…"""

LEDGER_TABLES: Final = ("entry", "posting")
