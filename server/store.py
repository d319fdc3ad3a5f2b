"""The server's database: one writer, many readers, SQLite or PostgreSQL behind one port.

The writer thread alone opens `transaction()`; everything durable happens there, so no two writers ever race and the order of
`envelope.n` is the order of commits. Readers use `reading()`, a connection of their own, and see whole commits only.
SQLite runs in WAL with synchronous=FULL: a commit that returned survives a power cut (reliability notes, section 2). PostgreSQL is not let
off that by its own settings.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    RowMapping,
    bindparam,
    create_engine,
    event,
    select,
    text,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from server import schema as s
from server import schema_trade  # noqa: F401  (its tables join the metadata)
from server.migrations import migrate
from server.quarantine import Quarantine
from server.rows import add_all, get_meta, read, row_by_key, set_meta, to_json, upsert, upsert_all
from sync_core.errors import AlreadyOpenError, CorruptError, IncompatibleError, InvariantError
from sync_core.facts import is_server
from sync_core.gate import Head, Run, entry_bytes, group_runs
from sync_core.hub import LogRow, Refused
from sync_core.identity import Verifier
from sync_core.storage import plain_error


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRecord:
    """A device the server knows: its key, and what it may sync."""

    number: int
    public_key: bytes
    alg: str
    role: str
    organisation: str
    revoked: bool
    documents: tuple[str, ...]


_HEADS = select(s.head.c.device, s.head.c.seq, s.head.c.digest).where(s.head.c.document == bindparam("document_"))
_LAST_SEQ = select(s.head.c.seq).where(
    s.head.c.document == bindparam("document_"), s.head.c.device == bindparam("device_")
)
_AFTER = (
    select(s.envelope.c.seq, s.envelope.c.stored)
    .where(
        s.envelope.c.document == bindparam("document_"),
        s.envelope.c.device == bindparam("device_"),
        s.envelope.c.seq > bindparam("after_"),
    )
    .order_by(s.envelope.c.seq)
)
_SEEN = update(s.device).where(s.device.c.number == bindparam("device_")).values(seen_ms=bindparam("at_ms_"))
_CLAIM = select(s.meta.c.value).where(s.meta.c.name == bindparam("name_")).with_for_update()
CLAIM = "writer.claim"
"""Which process writes: the last that claimed the database."""
DAMAGED_WORDS = (
    "the server's database cannot be read. Start it once more: a disk that failed once looks like this. If it stays so, put the newest"
    " backup into a new folder (nahuo restore); devices bring back what they hold"
)
CHECKPOINT_PAGES = 4_000
"""Pages of 4 KiB in the write-ahead log, 16 MB, after which a commit copies them into the database: some 50 ms in which nobody is
acknowledged. A backlog of 10,000 envelopes fits before."""
WRITER_WAIT_MS = 15_000
"""How long one connection waits for another's SQLite write lock; sign-in pages write a row now and then."""


class Store:
    """The server's storage; implements the hub's log port."""

    def __init__(self, engine: Engine, writer: Engine) -> None:
        self.engine = engine
        """Readers, and the sign-in pages' own short transactions."""
        self._writer_engine = writer
        self._writing: Connection | None = None
        self._writing_thread: int | None = None
        self._lock = threading.Lock()
        self._claim = ""
        self._verifiers: dict[int, Verifier] = {}
        self.quarantined = Quarantine()
        self.wake: Callable[[], None] = lambda: None
        """Called after a command was left; the application sets it to wake its writer."""
        self.ended: set[int] = set()
        """Devices revoked since the start; their open connections are sent nothing from then on."""
        self.is_overtaken = False
        """Devices hold words of this server that it does not have: it was put back from an older copy, and decides nothing more."""
        self.new_keys: set[int] = set()
        """Devices that shall take another key as soon as they are connected."""
        self.failed_works: set[str] = set()
        """Keys of the authority's works that failed since the start: left alone until a person settled their discrepancy."""
        self.appended: dict[str, dict[int, int]] = {}
        """{document: {writer: last seq}} appended in transactions since the writer last fanned out; uncommitted ones while one is open."""

    @property
    def is_sqlite(self) -> bool:
        """True on SQLite."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open the write transaction, or join the one this thread has open. Commits at the end of the outermost.

        Raises:
            InvariantError: another thread is writing; only the writer thread may.
            AlreadyOpenError: another process has claimed the database since.
        """
        thread = threading.get_ident()
        if self._writing is not None and self._writing_thread == thread:
            yield self._writing
            return
        if not self._lock.acquire(timeout=WRITER_WAIT_MS / 1000):
            raise InvariantError("another thread holds the write transaction")
        try:
            with self._writer_engine.begin() as conn:
                if self._claim and read(conn, _CLAIM, name_=CLAIM).scalar() != self._claim:
                    raise AlreadyOpenError(
                        "another server process has opened this database since, and it alone writes: stop this one"
                    )
                self._writing, self._writing_thread = conn, thread
                yield conn
        except BaseException:
            self.quarantined.forget()
            raise
        finally:
            self._writing, self._writing_thread = None, None
            self._lock.release()

    def claim(self) -> None:
        """Be the one process that writes from now on: whoever claimed the database before writes no more.

        PostgreSQL lets two servers in, of two folders or two machines. Their commits would not come in the order of `envelope.n`, and what
        the authority passed over by that is never decided. The row of the claim lets one transaction in at a time.
        """
        claim = to_json(secrets.token_hex(16))
        with self.transaction() as conn:
            upsert(conn, s.meta, ("name",), {"name": CLAIM, "value": claim})
        self._claim = claim

    @contextmanager
    def outside_writer(self) -> Iterator[Connection]:
        """A short write of another thread (a command left for the authority); joins the writer's own when called there."""
        if self._writing is not None and self._writing_thread == threading.get_ident():
            yield self._writing
            return
        with self.engine.begin() as conn:
            yield conn

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a read connection; on the writer thread inside a transaction, the transaction itself."""
        if self._writing is not None and self._writing_thread == threading.get_ident():
            yield self._writing
            return
        with self.engine.connect() as conn:
            yield conn

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()
        self._writer_engine.dispose()

    def upsert(self, table: Any, keys: Sequence[str], values: Mapping[str, Any]) -> None:
        """Insert a row, or overwrite the one with the same keys."""
        with self.transaction() as conn:
            upsert(conn, table, keys, values)

    # --- the hub's log ---------------------------------------------------------------------------------------------------

    def heads(self, document: str) -> dict[int, Head]:
        """Return {writer: where his chain stands} of a document."""
        with self.reading() as conn:
            rows = conn.execute(_HEADS, {"document_": document})
            return {device: Head(seq=seq, digest=digest) for device, seq, digest in rows}

    def append(self, document: str, rows: Sequence[LogRow]) -> None:
        """Add rows to the log and move the heads. Rows of one writer must continue his chain without a hole.

        Raises:
            InvariantError: a row does not continue its chain; the gate lets none such through.
        """
        if not rows:
            return
        conn = self._in_transaction()
        moved: dict[int, LogRow] = {}
        values = []
        for row in rows:
            before = moved.get(row.device)
            last = before.seq if before is not None else self._last_seq(conn, document, row.device)
            if row.seq != last + 1:
                raise InvariantError(f"envelope {row.device}.{row.seq} does not continue its chain in {document}")
            moved[row.device] = row
            values.append(
                {
                    "document": document,
                    "device": row.device,
                    "seq": row.seq,
                    "stored": row.stored,
                    "digest": row.digest,
                    "received_ms": row.received_ms,
                }
            )
        add_all(conn, s.envelope, values)
        heads = [
            {"document": document, "device": row.device, "seq": row.seq, "digest": row.digest} for row in moved.values()
        ]
        upsert_all(conn, s.head, ("document", "device"), heads)
        self.appended.setdefault(document, {}).update({row.device: row.seq for row in moved.values()})

    def quarantine(self, refused: Refused) -> None:
        """Keep what was refused, once per place, code and content, and so many a day; the rest is counted."""
        self.quarantined.keep(self._in_transaction(), refused)

    def stored(self, document: str, device: int, first: int, last: int) -> list[bytes]:
        """Return the stored bytes of seqs first..last of a writer."""
        e = s.envelope.c
        query = select(e.stored).where(e.document == document, e.device == device, e.seq.between(first, last))
        with self.reading() as conn:
            return [bytes(row[0]) for row in conn.execute(query.order_by(e.seq))]

    def verifier(self, device: int) -> Callable[[bytes, bytes], bool] | None:
        """Return how to check a writer's signatures; None for a number nobody has."""
        if device not in self._verifiers:
            record = self.key_of(device)
            if record is None:
                return None
            self._verifiers[device] = Verifier(record.public_key, record.alg)
        return self._verifiers[device]

    def read_vector(self, document: str) -> dict[int, int]:
        """Return {writer: last committed seq}."""
        return {device: head.seq for device, head in self.heads(document).items()}

    def read_missing(self, document: str, have: Mapping[int, int], *, bytes_max: int) -> tuple[Run, ...]:
        """Return runs beyond the state vector `have`, as much as one update of `bytes_max` carries; one envelope at least."""
        found: list[tuple[int, int, bytes]] = []
        size = 0
        with self.reading() as conn:
            for device, last, _ in sorted(conn.execute(_HEADS, {"document_": document}).all()):
                after = have.get(device, 0)
                if after >= last:
                    continue
                where = {"document_": document, "device_": device, "after_": after}
                with closing(conn.execute(_AFTER, where, execution_options={"yield_per": 200})) as rows:
                    for part in rows.partitions():
                        for seq, stored in part:
                            size += entry_bytes(stored)
                            if found and size > bytes_max - 64:
                                return group_runs(found)
                            found.append((device, seq, stored))
        return group_runs(found)

    def key_of(self, device: int) -> DeviceRecord | None:
        """Return what is known of a device; servers have records too, without documents."""
        with self.reading() as conn:
            if is_server(device):
                own = row_by_key(conn, s.server_number, device)
                return None if own is None else _server_record(own._mapping)
            row = row_by_key(conn, s.device, device)
        return None if row is None else _device_record(row._mapping)

    def devices(self) -> list[DeviceRecord]:
        """Return all devices, by number."""
        with self.reading() as conn:
            return [_device_record(row._mapping) for row in conn.execute(select(s.device).order_by(s.device.c.number))]

    def seen(self, devices: Mapping[int, int]) -> None:
        """Note {device: when it spoke to us}; shown as its lag."""
        if devices:
            with self.transaction() as conn:
                conn.execute(_SEEN, [{"device_": device, "at_ms_": at_ms} for device, at_ms in devices.items()])

    # --- small named values ----------------------------------------------------------------------------------------------

    def meta(self, name: str, default: Any = None) -> Any:
        """Return a named JSON value."""
        with self.reading() as conn:
            return get_meta(conn, name, default)

    def set_meta(self, name: str, value: Any) -> None:
        """Set a named JSON value."""
        with self.transaction() as conn:
            set_meta(conn, name, value)

    def _last_seq(self, conn: Connection, document: str, device: int) -> int:
        return int(conn.execute(_LAST_SEQ, {"document_": document, "device_": device}).scalar() or 0)

    def _in_transaction(self) -> Connection:
        if self._writing is None or self._writing_thread != threading.get_ident():
            raise InvariantError("the log is written only inside the writer's transaction")
        return self._writing


def open_store(url_or_path: str | Path, *, synchronous: str = "FULL") -> Store:
    """Open (and make, if it is new) the database at a path or a SQLAlchemy URL.

    Raises:
        IncompatibleError: it was written by a newer version, or is a PostgreSQL that cannot keep every text.
        DiskError: the disk is full, read-only, or does not give or take bytes.
        CorruptError: what it gives is no database.
    """
    target = str(url_or_path)
    if "://" not in target:
        target = f"sqlite:///{Path(target).resolve()}"
    url = make_url(target)
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite":
        options: dict[str, Any] = {
            "query_cache_size": 2000,
            "connect_args": {"timeout": WRITER_WAIT_MS / 1000, "check_same_thread": False},
        }
        engine = create_engine(url, pool_size=8, max_overflow=40, **options)
        writer = create_engine(url, pool_size=1, max_overflow=0, **options)
        for each, begin in ((engine, "BEGIN"), (writer, "BEGIN IMMEDIATE")):
            _prepare_sqlite(each, begin, synchronous)
    else:
        engine = create_engine(url, pool_size=8, max_overflow=40, pool_pre_ping=True)
        writer = create_engine(url, pool_size=1, max_overflow=0, pool_pre_ping=True)
        for each in (engine, writer):
            _prepare_postgresql(each)
    store = Store(engine, writer)
    try:
        with disk_told_plainly():
            _migrate(store)
    except BaseException:
        store.close()
        raise
    return store


@contextmanager
def disk_told_plainly() -> Iterator[None]:
    """Raise what the disk did to the database as an error of ours that says what to do; anything else as it is.

    Raises:
        DiskError: the disk is full, read-only, or does not give or take bytes.
        CorruptError: what it gives is no database; a single failing read looks like this too.
    """
    try:
        yield
    except DBAPIError as error:
        plain = plain_error(error.orig) if isinstance(error.orig, sqlite3.Error) else None
        if isinstance(plain, CorruptError):
            raise CorruptError(DAMAGED_WORDS) from error
        if plain is None:
            raise
        raise plain from error


def _prepare_sqlite(engine: Engine, begin: str, synchronous: str) -> None:
    @event.listens_for(engine, "connect")
    def _connect(raw: Any, _record: Any) -> None:
        raw.isolation_level = None
        cursor = raw.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={synchronous}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA secure_delete=ON")
        cursor.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        conn.exec_driver_sql(begin)


def _prepare_postgresql(engine: Engine) -> None:
    # Before SQLAlchemy's own first look, which an encoding that is none breaks.
    @event.listens_for(engine, "connect", insert=True)
    def _connect(raw: Any, _record: Any) -> None:
        encoding = raw.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise IncompatibleError(
                f"the PostgreSQL database keeps {encoding}: make one with ENCODING 'UTF8' TEMPLATE template0"
            )
        with raw.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
            )
        raw.commit()


def _migrate(store: Store) -> None:
    with store.transaction() as conn:
        if store.is_sqlite:
            s.meta.create(conn, checkfirst=True)
        else:
            conn.execute(text("SELECT pg_advisory_xact_lock(7640891576956012808)"))
            s.meta.create(conn, checkfirst=True)
        version = get_meta(conn, "schema_version", 0)
        if version > s.SCHEMA_VERSION:
            raise IncompatibleError(
                f"the database has schema {version}, this program knows {s.SCHEMA_VERSION}: update it"
            )
        if version != s.SCHEMA_VERSION:
            if version:
                migrate(conn, version)
            else:
                s.metadata.create_all(conn)
                _forbid_changes(conn)
            set_meta(conn, "schema_version", s.SCHEMA_VERSION)
        # In the same transaction: an older database has this table only from here on.
        store.new_keys.update(conn.execute(select(s.key_asked.c.device)).scalars())


def _forbid_changes(conn: Connection) -> None:
    """Triggers: nobody updates or deletes a posting, not even by hand (REL-R8). The log is guarded the same way."""
    tables = (*s.LEDGER_TABLES, "envelope")
    if conn.dialect.name == "sqlite":
        for name in tables:
            for verb in ("UPDATE", "DELETE"):
                conn.exec_driver_sql(
                    f"CREATE TRIGGER {name}_no_{verb.lower()} BEFORE {verb} ON {name} "
                    f"BEGIN SELECT RAISE(ABORT, 'append only: {name}'); END"
                )
        return
    conn.exec_driver_sql(
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'append only: %%', TG_TABLE_NAME; END $$"
    )
    for name in tables:
        conn.exec_driver_sql(
            f"CREATE TRIGGER {name}_no_change BEFORE UPDATE OR DELETE ON {name} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        conn.exec_driver_sql(
            f"CREATE TRIGGER {name}_no_truncate BEFORE TRUNCATE ON {name} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def _device_record(row: RowMapping) -> DeviceRecord:
    return DeviceRecord(
        number=row["number"],
        public_key=bytes(row["public_key"]),
        alg=row["alg"],
        role=row["role"],
        organisation=row["organisation"],
        revoked=row["revoked_ms"] is not None,
        documents=tuple(json.loads(row["documents"])),
    )


def _server_record(row: RowMapping) -> DeviceRecord:
    return DeviceRecord(
        number=row["number"],
        public_key=bytes(row["public_key"]),
        alg="ed25519",
        role="server",
        organisation="platform",
        revoked=False,
        documents=(),
    )
