"""The hub's log and the ledger's guards, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, delete, insert, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, NotSupportedError

from server import schema as s
from server.authority.line_reading import newest_of_line
from server.ledger import About, HoldPart, Ledger
from server.ledger_reading import recount, statement
from server.store import Store, open_store
from sync_core.errors import AlreadyOpenError, IncompatibleError, InvariantError, RefusedError
from sync_core.gate import digest_of
from sync_core.hub import LogRow, Refused

HOLD = HoldPart(subject="T1-1", part="principal", amount_fen=600)
ABOUT = About(merchant="m1", order="O1", task="T1-1", causes=("fact:1.1.0",))


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    if request.param == "sqlite":
        opened = open_store(tmp_path / "nahuo.db", synchronous="OFF")
    else:
        url = request.getfixturevalue("empty_postgresql")
        opened = open_store(url)
    yield opened
    opened.close()


@pytest.fixture
def other(store: Store) -> Iterator[Store]:
    """The same database, opened once more."""
    opened = open_store(store.engine.url.render_as_string(hide_password=False), synchronous="OFF")
    yield opened
    opened.close()


def row(device: int, seq: int, size: int = 100) -> LogRow:
    stored = f"{device}.{seq}".encode().ljust(size, b"x")
    return LogRow(device=device, seq=seq, stored=stored, digest=digest_of(stored), received_ms=1_800_000_000_000 + seq)


def refused(code: str = "gate.chain", stored: bytes = b"bad") -> Refused:
    return Refused(
        document="d",
        device=101,
        seq=3,
        code=code,
        detail="x",
        stored=stored,
        sent_by=101,
        received_ms=1_800_000_000_000,
    )


def fill(store: Store) -> None:
    with store.transaction():
        store.append("d", [row(101, 1), row(101, 2)])
        store.append("d", [row(102, 1)])
        store.append("e", [row(101, 1)])


def test_heads_and_vectors_follow_what_was_committed(store: Store) -> None:
    fill(store)
    assert store.read_vector("d") == {101: 2, 102: 1}
    assert store.heads("d")[101].digest == row(101, 2).digest
    assert store.heads("nothing") == {}
    assert store.stored("d", 101, 1, 2) == [row(101, 1).stored, row(101, 2).stored]


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.transaction():
        store.append("d", [row(101, 1)])
        raise RuntimeError
    assert store.read_vector("d") == {}
    fill(store)
    assert store.read_vector("d") == {101: 2, 102: 1}


def test_i9_a_hole_or_a_repetition_in_a_chain_is_our_bug(store: Store) -> None:
    fill(store)
    for seq in (2, 4):
        with pytest.raises(InvariantError), store.transaction():
            store.append("d", [row(101, seq)])


def test_the_log_is_written_inside_the_writers_transaction_only(store: Store) -> None:
    with pytest.raises(InvariantError):
        store.append("d", [row(101, 1)])


def test_missing_runs_are_what_a_reader_lacks_within_the_size(store: Store) -> None:
    fill(store)
    whole = store.read_missing("d", {}, bytes_max=10_000)
    assert [(run.device, run.first_seq, len(run.stored)) for run in whole] == [(101, 1, 2), (102, 1, 1)]
    rest = store.read_missing("d", {101: 1}, bytes_max=10_000)
    assert [(run.device, run.first_seq, len(run.stored)) for run in rest] == [(101, 2, 1), (102, 1, 1)]
    small = store.read_missing("d", {}, bytes_max=10)
    assert [(run.device, len(run.stored)) for run in small] == [(101, 1)]
    assert store.read_missing("d", {101: 2, 102: 1}, bytes_max=10_000) == ()


def test_positions_grow_over_all_documents(store: Store) -> None:
    fill(store)
    with store.reading() as conn:
        numbers = list(conn.execute(select(s.envelope.c.n).order_by(s.envelope.c.n)).scalars())
    assert len(set(numbers)) == 4


def test_the_same_refusal_is_kept_once(store: Store) -> None:
    with store.transaction():
        for one in (refused(), refused(), refused(stored=b"worse"), refused(code="gate.fork")):
            store.quarantine(one)
    with store.reading() as conn:
        assert len(conn.execute(select(s.quarantine)).all()) == 3


def test_what_was_appended_is_told_to_the_hub(store: Store) -> None:
    fill(store)
    assert store.appended == {"d": {101: 2, 102: 1}, "e": {101: 1}}


def test_a_reader_sees_whole_commits_only(store: Store) -> None:
    with store.transaction():
        store.append("d", [row(101, 1)])
        with store.engine.connect() as conn:
            assert conn.execute(select(s.envelope.c.n)).all() == []
    assert store.read_vector("d") == {101: 1}


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path / "x.db", synchronous="OFF")
    store.set_meta("schema_version", 999)
    store.close()
    with pytest.raises(IncompatibleError):
        open_store(tmp_path / "x.db")


# --- the ledger ---------------------------------------------------------------------------------------------------------------


def booked(conn: Connection) -> Ledger:
    ledger = Ledger(conn, 1_800_000_000_000)
    ledger.top_up(1_000, key="k", about=ABOUT)
    ledger.hold([HOLD], key="hold:O1", about=ABOUT, zh="冻结", en="held")
    ledger.post("T1-1", 500, key="post:p", about=ABOUT)
    ledger.release("T1-1", key="rest", about=ABOUT, zh="退回", en="back")
    return ledger


def test_a_journal_adds_up_and_chains(store: Store) -> None:
    with store.transaction() as conn:
        booked(conn)
    with store.reading() as conn:
        found = recount(conn)
        assert found.holds, found.faults
        assert (found.sum_fen, found.entries) == (0, 4)
        lines = statement(conn, "m1")
    assert [(line.available_fen, line.held_fen) for line in lines] == [(1000, 0), (400, 600), (400, 100), (500, 0)]
    assert all(line.zh and line.en and line.causes for line in lines)


@pytest.mark.parametrize("table", [s.entry, s.posting, s.envelope])
def test_rel_r8_nobody_changes_or_deletes_a_posting(store: Store, table: object) -> None:
    with store.transaction() as conn:
        booked(conn)
        store.append("d", [row(101, 1)])
    column = next(iter(table.columns))  # type: ignore[attr-defined]
    for statement_ in (delete(table), update(table).values({column: column})):  # type: ignore[arg-type]
        with pytest.raises(DatabaseError, match="append only"), store.transaction() as conn:
            conn.execute(statement_)


def test_i5_the_database_itself_keeps_available_above_zero(store: Store) -> None:
    with store.transaction() as conn:
        booked(conn)
    with pytest.raises(DatabaseError), store.transaction() as conn:
        conn.execute(update(s.account).where(s.account.c.name == "merchant:m1:available").values(balance_fen=-1))


def test_a_short_wallet_refuses_and_changes_nothing(store: Store) -> None:
    with store.transaction() as conn:
        ledger = booked(conn)
        with pytest.raises(RefusedError, match="short"):
            ledger.hold([HOLD], key="hold:O2", about=ABOUT, zh="冻结", en="held")
    with store.reading() as conn:
        assert recount(conn).entries == 4


def test_a_resolution_happens_once_and_never_beyond_its_hold(store: Store) -> None:
    with store.transaction() as conn:
        ledger = booked(conn)
        assert not ledger.post("T1-1", 500, key="post:p", about=ABOUT)
        assert ledger.release("T1-1", key="again", about=ABOUT, zh="退", en="back") == 0
        with pytest.raises(InvariantError):
            ledger.post("T1-1", 1, key="post:q", about=ABOUT)


def test_a_recount_finds_what_was_falsified(store: Store) -> None:
    with store.transaction() as conn:
        booked(conn)
        conn.execute(update(s.hold).values(released_fen=0))
        conn.execute(update(s.account).where(s.account.c.name == "outside").values(balance_fen=-999))
    with store.reading() as conn:
        faults = recount(conn).faults
    assert any("outside" in fault for fault in faults)
    assert any("open holds" in fault for fault in faults)


def test_the_open_document_of_a_line_is_found_whatever_order_a_database_sorts_texts_in(store: Store) -> None:
    with store.transaction() as conn:
        if not store.is_sqlite:
            # A slash counts for nothing then, as in the Chinese and English of older C libraries; not every PostgreSQL is built with it.
            with suppress(NotSupportedError), conn.begin_nested():
                conn.execute(text("CREATE COLLATION loose (provider = icu, locale = 'und-u-ka-shifted')"))
                conn.execute(text("ALTER TABLE document ALTER COLUMN name TYPE text COLLATE loose"))
        for name, closed_ms in (("warehouse/main/1", 1), ("warehouse/main/2", None), ("warehouse/main0/3", None)):
            row = {"name": name, "kind": "warehouse", "owner": "main", "opened_ms": 1, "closed_ms": closed_ms}
            conn.execute(insert(s.document).values(**row))
        assert newest_of_line(conn, "warehouse/main/1") == "warehouse/main/2"


def test_of_two_servers_on_one_database_the_last_one_writes(store: Store, other: Store) -> None:
    """Two that write would not commit in the order of `envelope.n`: an authority that has read the second would pass over the first."""
    store.claim()
    fill(store)
    other.claim()
    with pytest.raises(AlreadyOpenError, match="it alone writes"), store.transaction():
        store.append("f", [row(101, 1)])
    with other.transaction():
        other.append("g", [row(101, 1)])
    assert store.read_vector("f") == {}
    assert store.read_vector("g") == {101: 1}


def test_a_claim_waits_for_the_transaction_that_is_open(store: Store, other: Store) -> None:
    store.claim()
    claiming = threading.Thread(target=other.claim)
    with store.transaction():
        claiming.start()
        store.append("d", [row(101, 1)])
        claiming.join(0.3)
        assert claiming.is_alive()
    claiming.join(30)
    assert other.read_vector("d") == {101: 1}
    with pytest.raises(AlreadyOpenError, match="it alone writes"), store.transaction():
        pass


def test_p8_a_commit_waits_for_the_disk_whatever_the_database_was_told(empty_postgresql: str) -> None:
    """Without it a PostgreSQL that crashes forgets what was acknowledged, and the server signs other words under the same numbers."""
    engine = create_engine(
        empty_postgresql.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as conn:
        conn.execute(text("ALTER ROLE CURRENT_USER SET synchronous_commit = off"))
    try:
        opened = open_store(empty_postgresql)
        with opened.transaction() as conn:
            assert conn.execute(text("SHOW synchronous_commit")).scalar_one() == "on"
        with opened.outside_writer() as conn:
            assert conn.execute(text("SHOW synchronous_commit")).scalar_one() == "on"
        opened.close()
    finally:
        with engine.connect() as conn:
            conn.execute(text("ALTER ROLE CURRENT_USER RESET synchronous_commit"))
        engine.dispose()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_keep_chinese_is_refused_before_anything_is_made(
    empty_postgresql: str, encoding: str
) -> None:
    engine = create_engine(
        empty_postgresql.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as conn:
        conn.execute(text("DROP DATABASE IF EXISTS other"))
        conn.execute(
            text(f"CREATE DATABASE other ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
        )
    url = make_url(empty_postgresql).set(database="other").render_as_string(hide_password=False)
    try:
        with pytest.raises(IncompatibleError, match="UTF8"):
            open_store(url)
    finally:
        with engine.connect() as conn:
            conn.execute(text("DROP DATABASE other WITH (FORCE)"))
        engine.dispose()
