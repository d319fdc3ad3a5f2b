"""A server's data folder: its database, its key, and the token that tells an original from a restored copy.

`nahuo.db` and `server.key` are backed up; `install.token` never is. The database keeps the token's hash. When the token is missing or
another, this is a restored backup or a clone: the server takes the next number, so that nothing it signs from now on can meet what
the lost original signed under the old one, and jumps the device counter, so that no device number is allotted twice (design section 4).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, func, select, update

from server import schema as s
from server import schema_trade as st
from server.overtaken import OVERTAKEN
from server.rows import get_meta, insert_once, set_meta
from server.store import Store, open_store
from sync_core import limits
from sync_core.errors import CorruptError, IncompatibleError
from sync_core.files import write_durably
from sync_core.identity import Ed25519Signer, open_signer

DATABASE = "nahuo.db"
KEY = "server.key"
TOKEN = "install.token"
EXTENT = "log.extent"
AGAIN = "restored.again"
"""Written by the restore: how many servers were restored before this one since its backup was made, each under a number of its own."""
NOT_FOR_BACKUP = (TOKEN, EXTENT, AGAIN)
FIRST_DEVICE = 100
DEVICE_JUMP = 1000
"""More than any shop enrols between two backups."""


FIRST_ORDER = 1001
ORDER_JUMP = 100_000
WAYBILL_JUMP = 200
"""Leased numbers given up per range after a restore: two parcels under one number cost more."""
_GONE = (
    "{} holds nothing, and this folder's server has decided much: name its database with --database if it is kept elsewhere, or put the"
    " newest backup into a new folder (nahuo restore)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """An opened installation. `restored` is True when this start found a restored copy."""

    data: Path
    store: Store
    signer: Ed25519Signer
    number: int
    secret: bytes
    restored: bool
    zone: str

    def note_extent(self) -> None:
        """Keep beside the database how far its log reaches by now, and under which number; any thread.

        Raises:
            OSError: the disk did not take it; the older word stays.
        """
        with self.store.reading() as conn:
            noted = [_extent(conn), self.number]
        if noted != _read_counts(self.data / EXTENT, 2):
            write_durably(self.data / EXTENT, " ".join(map(str, noted)).encode())


def init_server(data: Path, *, database: str | None = None, now_ms: int) -> Server:
    """Make a data folder, or open the one that is there."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    return open_server(data, database=database, now_ms=now_ms)


def open_server(
    data: Path, *, database: str | None = None, synchronous: str = "FULL", now_ms: int, seed: bytes | None = None
) -> Server:
    """Open a data folder; a restored copy takes the next server number. `seed` fixes the key in tests.

    Raises:
        IncompatibleError: a newer schema, or all hundred server numbers are used.
        CorruptError: the key file is no key, or another server's; or the database that the folder's server wrote is not there.
    """
    extent, used = _read_counts(data / EXTENT, 2)
    if seed is None and not (data / KEY).is_file() and (extent or _has_content(data / DATABASE)):
        raise CorruptError(
            f"{data / KEY} is gone, and devices believe no other: put it back from a backup of this folder"
        )
    signer = Ed25519Signer(seed) if seed is not None else open_signer(data / KEY)
    if extent and database is None and not _has_content(data / DATABASE):
        raise CorruptError(_GONE.format(data / DATABASE))
    store = open_store(database or data / DATABASE, synchronous=synchronous)
    token, digest = _read_token(data / TOKEN)
    with store.transaction() as conn:
        known = get_meta(conn, "install_digest")
        number = int(get_meta(conn, "server_number", 0))
        restored = known is not None and not hmac.compare_digest(known, digest or "")
        if known is None and extent:
            raise CorruptError(_GONE.format("the database"))
        restored = restored or _extent(conn) < extent or get_meta(conn, OVERTAKEN) == number
        if known is None or restored:
            token, digest = token or secrets.token_hex(32), digest
            if digest is None:
                digest = hashlib.sha256(token.encode()).hexdigest()
                write_durably(data / TOKEN, token.encode())
            set_meta(conn, "install_digest", digest)
        if restored:
            (again,) = _read_counts(data / AGAIN, 1)
            lost = 1 + max(again, used - number)
            if number + lost not in limits.SERVER_NUMBERS:
                raise IncompatibleError("this server was restored a hundred times: its numbers are used up")
            # What the lost servers handed out after the backup must not be handed out again, and what they said holds.
            set_meta(conn, "device_next", int(get_meta(conn, "device_next", FIRST_DEVICE)) + lost * DEVICE_JUMP)
            set_meta(conn, "order_next", int(get_meta(conn, "order_next", FIRST_ORDER)) + lost * ORDER_JUMP)
            _skip_numbers(conn, lost)
            for between in range(number + 1, number + lost):
                row = {"number": between, "public_key": signer.public_key, "since_ms": now_ms}
                insert_once(conn, s.server_number, row)
            number += lost
        set_meta(conn, "server_number", number)
        insert_once(conn, s.server_number, {"number": number, "public_key": signer.public_key, "since_ms": now_ms})
        registered = select(s.server_number.c.public_key).where(s.server_number.c.number == number)
        if conn.execute(registered).scalar_one() != signer.public_key:
            # Whatever it signed now no device could check: it would wait on the phones for ever.
            raise CorruptError(
                f"{data / KEY} is not the key of this database: put back the {KEY} that belongs to it, from its backup"
            )
        zone = str(get_meta(conn, "zone", "Asia/Shanghai"))
    server = Server(
        data=data, store=store, signer=signer, number=number, secret=secret_of(signer), restored=restored, zone=zone
    )
    # After the commit: a start that dies between the two, or has no room for it, costs one number more.
    with suppress(OSError):
        (data / AGAIN).unlink(missing_ok=True)
        server.note_extent()
    return server


def secret_of(signer: Ed25519Signer) -> bytes:
    """Return the server's secret for tokens: made from its key, so that it needs no file of its own."""
    return hashlib.sha256(signer.sign(b"nahuo server secret")).digest()


def _skip_numbers(conn: Connection, lost: int) -> None:
    r = st.courier_range.c
    conn.execute(update(st.courier_range).where(r.next <= r.last).values(next=r.next + lost * WAYBILL_JUMP))


def _extent(conn: Connection) -> int:
    return int(conn.execute(select(func.coalesce(func.max(s.envelope.c.n), 0))).scalar_one())


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _read_counts(path: Path, count: int) -> list[int]:
    try:
        numbers = [max(0, int(text)) for text in path.read_text().split()]
    except (FileNotFoundError, ValueError):
        numbers = []
    return numbers if len(numbers) == count else [0] * count


def _read_token(path: Path) -> tuple[str | None, str | None]:
    try:
        token = path.read_text().strip()
    except FileNotFoundError:
        return None, None
    return token, hashlib.sha256(token.encode()).hexdigest()
