"""The ledger: a long journal recounts without a difference, and not one changed bit of it goes unseen (REL-G16, threat T14).

The journal is written by the real ledger over a random trade of years. Then single bits of its rows are flipped, one at a time, behind the
triggers' back, as somebody with the database file in his hands would; the recount has to notice each. A change that SQLite itself refuses
(a CHECK, a text that is no text) counts as noticed.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any, Final

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError

from proof.report import Part, Size
from server.ledger import PRINCIPAL, About, HoldPart, Ledger
from server.ledger_reading import recount
from server.store import open_store
from sync_core.errors import InvariantError, RefusedError

ENTRIES: Final = {Size.SHORT: 2_000, Size.FULL: 200_000}
"""The long journal: a merchant with 50 orders a day makes some 90,000 entries a year."""
FLIPS: Final = {Size.SHORT: 300, Size.FULL: 10_000}
SMALL: Final = 60
"""Entries of the journal whose bits are flipped: its recount takes a few milliseconds, and each bit of it is like any other's."""
MERCHANTS: Final = 20
DAY_MS: Final = 86_400_000
SEED: Final = 1

FLIPPED: Final[dict[str, tuple[str, ...]]] = {
    "entry": ("id", "key", "kind", "merchant", "order_id", "task", "piece", "at_ms", "causes", "zh", "en", "prev", "digest"),
    "posting": ("entry", "line", "account", "amount_fen"),
    "account": ("name", "balance_fen"),
    "hold": ("merchant", "order_id", "held_fen", "captured_fen", "released_fen"),
}  # fmt: skip


def prove(size: Size, folder: Path) -> Part:
    """Write, recount, flip."""
    part = Part(
        name="ledger",
        title="The ledger",
        shows="The real ledger writes a journal of random trade, and a recount finds no difference. Then single bits of rows are"
        " flipped behind the triggers' back, and the recount has to notice each.",
        does_not_show="A whole journal replaced by another that is consistent in itself: keep the daily head elsewhere. Columns of"
        " the order tables: they are recounted from the log elsewhere.",
    )
    random = Random(SEED)
    entries = ENTRIES[size]
    faults = _write_and_recount(folder / "long.db", random, entries)
    part.faults += [f"recount of the long journal: {fault}" for fault in faults]
    part.add(
        "differences", str(len(faults)), f"{entries:,} entries of {MERCHANTS} merchants", goal="0", holds=not faults
    )
    _write_and_recount(folder / "small.db", random, SMALL)
    flips = FLIPS[size]
    missed = flip_bits(folder / "small.db", random, flips)
    part.faults += [f"not noticed: {what} (seed {SEED})" for what in missed]
    part.add("flipped bits noticed", f"{flips - len(missed):,}", f"{flips:,} flips", goal="all", holds=not missed)
    return part


def _write_and_recount(path: Path, random: Random, entries: int) -> tuple[str, ...]:
    store = open_store(path, synchronous="OFF")
    try:
        _write_journal(store, random, entries)
        with store.reading() as conn:
            return recount(conn).faults
    finally:
        store.close()


def _write_journal(store: Any, random: Random, entries: int) -> None:
    """Top-ups, holds, posts, fees, releases, credits, in transactions of a hundred, until there are so many entries."""
    number, now_ms = 0, 1_700_000_000_000
    while number < entries:
        with store.transaction() as conn:
            now_ms += DAY_MS // 50
            ledger = Ledger(conn, now_ms)
            for _ in range(100):
                number += 1
                if number > entries * 4:
                    return
                _act(ledger, random, number)
        with store.reading() as conn:
            number = conn.exec_driver_sql("SELECT count(*) FROM entry").scalar()


def _act(ledger: Ledger, random: Random, number: int) -> None:
    merchant = f"m{random.randrange(MERCHANTS)}"
    about = About(merchant=merchant, order=f"O{number}", task=f"T{number}", causes=(f"command:{number}",))
    subject, key = f"{merchant}:w{random.randrange(40)}", str(number)
    amount = random.randrange(1, 90_00)
    words = {"zh": "改动", "en": "a change"}
    try:
        match random.randrange(6):
            case 0:
                ledger.top_up(amount * 40, key=key, about=about)
            case 1 | 2:
                parts = [HoldPart(subject=subject, part=name, amount_fen=amount) for name in (PRINCIPAL, "courier")]
                ledger.hold(parts, key=f"hold:{key}", about=about, **words)
            case 3:
                ledger.post(subject, min(amount, ledger.open_fen(subject, PRINCIPAL)), key=f"post:{key}", about=about)
            case 4:
                ledger.capture_fees(subject, key=f"fees:{key}", about=about, **words)
            case _:
                ledger.release(subject, key=f"release:{key}", about=about, **words)
    except (RefusedError, InvariantError):
        return


def flip_bits(path: Path, random: Random, flips: int) -> list[str]:
    """Flip single bits of the journal in `path`, each alone; return those that a recount did not notice."""
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def _connect(raw: Any, _record: Any) -> None:
        raw.isolation_level = None

    missed = []
    try:
        with engine.connect() as conn:
            conn.exec_driver_sql("BEGIN")
            for (trigger,) in conn.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                conn.exec_driver_sql(f"DROP TRIGGER {trigger}")
            for _ in range(flips):
                conn.exec_driver_sql("SAVEPOINT one")
                what = _flip_one(conn, random)
                if what and not _noticed(conn):
                    missed.append(what)
                conn.exec_driver_sql("ROLLBACK TO one")
            conn.exec_driver_sql("ROLLBACK")
    finally:
        engine.dispose()
    return missed


def _flip_one(conn: Connection, random: Random) -> str:
    """Flip a bit; return where, or nothing when the database would not have it."""
    table = random.choices(list(FLIPPED), weights=(6, 6, 1, 1))[0]
    column = random.choice(FLIPPED[table])
    rows = conn.exec_driver_sql(
        f"SELECT rowid, typeof({column}), CAST({column} AS BLOB), {column} FROM {table}"
    ).fetchall()
    rowid, kind, data, value = random.choice(rows)
    if kind == "integer":
        changed: Any = value ^ (1 << random.randrange(40))
        expression = "?"
    else:
        raw = bytearray(data or b"\0")
        at = random.randrange(len(raw))
        raw[at] ^= 1 << random.randrange(8)
        changed, expression = bytes(raw), "?" if kind == "blob" else "CAST(? AS TEXT)"
    try:
        conn.exec_driver_sql(f"UPDATE {table} SET {column} = {expression} WHERE rowid = ?", (changed, rowid))
    except DBAPIError:
        return ""
    return f"{table}.{column} of row {rowid}: {value!r} -> {changed!r}"


def _noticed(conn: Connection) -> bool:
    try:
        return bool(recount(conn).faults)
    except (DBAPIError, ValueError, TypeError):
        return True


__all__ = ["flip_bits", "prove"]
