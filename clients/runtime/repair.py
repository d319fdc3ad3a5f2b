"""Open a client's files; when the database is damaged set it aside, save what no server has, and go on as a copy of this device.

The problem: a damaged database must never be written over or thrown away, must not stop a person's day, and what it alone held is to
be named. The method: what can still be read of the outbox is gathered from the damaged file and from the outbox's twin
(sync_core/twin.py), checked by signature, and written into the twin, durably; then the files are moved to `set-aside/<time>/`,
unchanged; then a new database is made that knows the device's number and key and the saved envelopes, and has no install token. So it is
a copy of itself: at the next connection it gets a new number, says the saved facts again with their old ids (each counts once), and the
server sends everything else. A kill between two steps finds the same damage again, with nothing lost; a second process that starts
meanwhile is told that the first is at work. REL-R12.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clients.runtime.device_key import FIRST_KEY, SETTING
from sync_core import gate
from sync_core.errors import CorruptError, MalformedError
from sync_core.files import sync_folder, write_durably
from sync_core.fold import Trade
from sync_core.identity import Ed25519Signer, Verifier
from sync_core.payload import decode_payload
from sync_core.replica import INSTALL_TOKEN, Replica, lock_replica
from sync_core.twin import TWIN, Twin, TwinContent, read_twin

log = logging.getLogger("nahuo.repair")

SET_ASIDE: Final = "set-aside"
DAMAGE: Final = "damage"
"""The setting that tells what happened, for the screen and for the platform."""
_KEPT: Final = (
    "number",
    "server_key",
    "certificate",
    "server",
    "former_numbers",
    SETTING,
    "piece_serial",
    "language",
    "printer.label",
    "printer.waybill",
)
LABELS_TOLD_MAX: Final = 200
KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Saved:
    identity: dict[str, Any]
    envelopes: tuple[tuple[str, bytes], ...]


def open_or_repair(
    database: Path, trade: Trade, *, synchronous: str, stamp: str, now_ms: int, suspect: bool = False
) -> Replica:
    """Return the replica of `database`, repaired when it was damaged, gone, or older than its twin. `stamp` names the folder set aside.

    `suspect`: damage was met while it was in use, so the whole file is checked, indexes included.

    Raises:
        AlreadyOpenError: another process has it open, or repairs it.
        CorruptError: it is damaged and nothing tells which device this is: enrol it again.
        DiskError: the disk failed; nothing was moved.
    """
    with lock_replica(database) as locked:

        def open_it() -> Replica:
            return Replica.open(database, trade, synchronous=synchronous, locked=locked)

        try:
            replica = open_it()
        except CorruptError as error:
            log.error("%s", error)
            return _repair(database, open_it, stamp=stamp, now_ms=now_ms)
        why = _what_is_missing(replica) or (_what_is_broken(replica) if suspect else "")
        if why:
            log.error("%s: %s", database.name, why)
            replica.close()
            return _repair(database, open_it, stamp=stamp, now_ms=now_ms)
        return replica


def keep_twin(replica: Replica, folder: Path) -> None:
    """Keep the outbox's twin from now on, and the key file's second copy in it."""

    def identity() -> Mapping[str, Any]:
        told = {name: replica.setting(name) for name in _KEPT}
        key = folder / str(told[SETTING] or FIRST_KEY)
        return {**told, "key": key.read_bytes().hex() if key.is_file() else ""}

    replica.twin, replica.twin_identity = Twin(folder / TWIN), identity
    if replica.number is not None:
        replica.renew_twin()


def restore_key(folder: Path, replica: Replica) -> None:
    """Put the key file back from the twin where it is missing or no key.

    Raises:
        CorruptError: the device has a number and its key is nowhere.
    """
    if replica.number is None:
        return
    path = folder / str(replica.setting(SETTING, FIRST_KEY))
    if path.is_file() and path.stat().st_size == KEY_BYTES:
        return
    key = str((_own_twin(folder, _told_by(replica)).identity or {}).get("key") or "")
    if len(key) != 64:
        raise CorruptError(
            "this device's key is gone, so nobody would believe what it says: start it with an empty folder and a new code"
            " (--data, --enroll); keep this folder, and scan the printed labels in at the warehouse"
        )
    write_durably(path, bytes.fromhex(key))


def _what_is_broken(replica: Replica) -> str:
    try:
        found = str(replica.conn.execute("PRAGMA integrity_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if found == "ok" else found


def _what_is_missing(replica: Replica) -> str:
    """Say what the twin knows and a sound database does not: it was emptied, or an old copy was put in its place."""
    folder = replica.path.parent
    if replica.number is not None and not (folder / INSTALL_TOKEN).is_file():
        return ""  # a restored or copied device: that way is known
    twin = _own_twin(folder, _told_by(replica))
    number = (twin.identity or {}).get("number")
    if not isinstance(number, int):
        return ""
    if replica.number is None:
        return f"the database does not know this device any more, it was number {number}"
    if int((twin.identity or {}).get("piece_serial") or 0) > int(replica.setting("piece_serial", 0)):
        return "fewer labels were minted than the twin knows of: an old copy"
    for document, stored in twin.envelopes:
        with suppress(MalformedError):
            said = decode_payload(stored[gate.HEADER_BYTES :])
            is_there = said.seq <= replica.state_vector(document).get(number, 0)
            if said.device == number and not is_there and not replica.is_gone(document):
                return f"{document}: {number}.{said.seq} was said and is not there: an old copy"
    return ""


def _told_by(replica: Replica) -> dict[str, Any]:
    return {name: replica.setting(name) for name in ("number", "server_key", SETTING)}


def _own_twin(folder: Path, settings: Mapping[str, Any]) -> TwinContent:
    """Return the twin of this folder, empty when it is another installation's: number, server or key are not those known here."""
    twin = read_twin(folder / TWIN)
    identity = twin.identity or {}
    if any(settings.get(name) not in (None, identity.get(name)) for name in ("number", "server_key")):
        return TwinContent()
    path = folder / str(settings.get(SETTING) or identity.get(SETTING) or FIRST_KEY)
    key = path.read_bytes() if path.is_file() else b""
    if len(key) == KEY_BYTES and identity.get("key") not in (None, "", key.hex()):
        return TwinContent()
    return twin


def _repair(database: Path, open_it: Callable[[], Replica], *, stamp: str, now_ms: int) -> Replica:
    folder = database.parent
    saved = _gather(database)
    number = saved.identity.get("number")
    if not isinstance(number, int):
        raise CorruptError(
            f"{database.name} is damaged and nothing tells which device this is: set the folder aside and enrol this device again;"
            " labels already printed are recovered at scan-in"
        )
    _write_twin(folder, saved)
    _move_aside(database, stamp)
    (folder / INSTALL_TOKEN).unlink(missing_ok=True)
    replica = open_it()
    with replica.transaction():
        for name in _KEPT:
            if saved.identity.get(name) is not None:
                replica.set_setting(name, saved.identity[name])
        replica.save(saved.envelopes)
        replica.set_setting(DAMAGE, _told(saved, number, stamp=stamp, now_ms=now_ms))
    return replica


def _told(saved: _Saved, number: int, *, stamp: str, now_ms: int) -> dict[str, Any]:
    return {
        "at_ms": now_ms, "folder": f"{SET_ASIDE}/{stamp}",
        "number": number, "saved": len(saved.envelopes),
        "labels": _bought(saved.envelopes)[:LABELS_TOLD_MAX],
        "serial": int(saved.identity.get("piece_serial") or 0), "seen": False, "told": False,
    }  # fmt: skip


def _gather(database: Path) -> _Saved:
    """Return what the damaged database and the twin hold of identity and outbox, each envelope checked by signature."""
    folder = database.parent
    settings, rows = _read_damaged(database)
    twin = _own_twin(folder, settings)
    # The database is newer than the twin's first record where both can be read.
    identity = dict(twin.identity or {}) | {name: settings[name] for name in _KEPT if name in settings}
    if not identity.get("key"):
        with suppress(OSError):
            identity["key"] = (folder / str(identity.get(SETTING) or FIRST_KEY)).read_bytes().hex()
    try:
        check = Verifier(Ed25519Signer(bytes.fromhex(str(identity.get("key")))).public_key)
    except ValueError:
        return _Saved(identity=identity, envelopes=())
    found: dict[tuple[str, int, int], tuple[str, bytes]] = {}
    for document, stored in [*rows, *twin.envelopes]:
        with suppress(MalformedError, ValueError):
            said = decode_payload(stored[gate.HEADER_BYTES :])
            if check(stored[: gate.SIGNATURE_BYTES], stored[gate.SIGNATURE_BYTES :]):
                found[document, said.device, said.seq] = (document, stored)
    ordered = [
        found[key]
        for key in sorted(found, key=lambda key: (decode_payload(found[key][1][gate.HEADER_BYTES :]).at_ms, key))
    ]
    serials = [int(code[5:11]) for code in _bought(ordered) if code[:5] == f"{identity.get('number') or 0:05d}"]
    identity["piece_serial"] = max(int(identity.get("piece_serial") or 0), *serials, 0)
    return _Saved(identity=identity, envelopes=tuple(ordered))


def _bought(envelopes: Iterable[tuple[str, bytes]]) -> list[str]:
    """Return the codes of the pieces that these envelopes say were bought."""
    facts = [fact for _, stored in envelopes for fact in decode_payload(stored[gate.HEADER_BYTES :]).facts]
    pieces = [s for fact in facts if fact.kind == "piece.bought" for s in fact.subjects if s.startswith("piece:")]
    return sorted({piece.partition(":")[2] for piece in pieces})


def _read_damaged(database: Path) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    """Read settings and unacknowledged envelopes of a damaged file as far as SQLite gets, from both ends. Changes nothing."""
    settings: dict[str, Any] = {}
    rows: list[tuple[str, bytes]] = []
    if not database.is_file():
        return settings, rows
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as conn:
        with suppress(sqlite3.Error, ValueError):
            for name, value in conn.execute("SELECT name, value FROM setting"):
                settings[name] = json.loads(value)
        number = settings.get("number")
        acked: dict[str, int] = {}
        with suppress(sqlite3.Error):
            acked = dict(conn.execute("SELECT document, acked FROM writer WHERE device = ?", (number,)).fetchall())
        for order in ("ASC", "DESC"):
            with suppress(sqlite3.Error):
                for document, device, seq, stored in conn.execute(
                    f"SELECT document, device, seq, stored FROM envelope NOT INDEXED ORDER BY n {order}"
                ):
                    if device == number and seq > acked.get(document, 0) and isinstance(stored, bytes):
                        rows.append((document, stored))
        with suppress(sqlite3.Error):
            rows += conn.execute("SELECT document, stored FROM saved").fetchall()
    return settings, rows


def _write_twin(folder: Path, saved: _Saved) -> None:
    twin = Twin(folder / TWIN)
    twin.write_anew(saved.identity, saved.envelopes)
    twin.close()


def _move_aside(database: Path, stamp: str) -> None:
    """Move the database and its journal, as they are, into a folder of their own."""
    room = database.parent / SET_ASIDE / stamp
    room.mkdir(parents=True, exist_ok=True)
    for end in ("-wal", "-shm", "-journal", ""):
        source = database.with_name(database.name + end)
        if source.exists():
            source.replace(room / source.name)
    sync_folder(room)
    sync_folder(database.parent)
