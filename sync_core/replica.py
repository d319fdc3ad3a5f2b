"""The replica: one device's SQLite file, its log of envelopes and the rows folded from them.

The log (`envelope`) is the truth; `fact` says which envelopes speak about a subject, `state` holds what the fold made of them.
What the screen calls done is on the disk: every transaction commits with WAL and synchronous=FULL. An act writes envelope, rows
and whatever the caller adds (a print job) in one transaction. What a peer brings is committed first and folded after it, in
bounded steps, so that an acknowledgement never waits for rows; `basis` counts only what was folded.

One connection, one thread, one process: a second process that opens the same file is told so.
A copy of the files on another phone, or an old backup, is known by the install token, which lies in a file that backups leave out.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from sync_core import gate
from sync_core.errors import (
    AlreadyOpenError,
    CorruptError,
    DiskError,
    InvariantError,
    RefusedError,
    RetryableError,
)
from sync_core.facts import Envelope, Fact, fact_id, outline_of
from sync_core.files import write_durably
from sync_core.fold import Trade
from sync_core.identity import Signer, Verifier
from sync_core.lines import seq_in_line
from sync_core.payload import decode_payload, encode_payload
from sync_core.replica_hub import Admitted, ReplicaAtHub, Waiting
from sync_core.replica_schema import migrate
from sync_core.replica_store import NEWEST
from sync_core.storage import plain_error

__all__ = ["INSTALL_TOKEN", "NEW_KEY", "Admitted", "Replica", "Waiting"]

INSTALL_TOKEN = "install.token"
NEW_KEY = "new_key"
"""The setting of a device that is to change its key: `{"file": name, "token": text}` of the key that is asked for and the install token
that comes with it; the name is "" before there is one."""
NEXT_TOKEN = "next_token"
"""The setting of a device whose key has just changed: the install token that takes the place of the one the change came with."""


class Replica(ReplicaAtHub):
    """The local node's memory: what it says, hears and still owes. Open it with `Replica.open`."""

    def __init__(self, path: Path, trade: Trade, conn: sqlite3.Connection, lock: BinaryIO) -> None:
        super().__init__(path, trade, conn)
        self._lock = lock
        self._signer: Signer | None = None

    @classmethod
    def open(cls, path: Path, trade: Trade, *, synchronous: str = "FULL", locked: BinaryIO | None = None) -> Replica:
        """Return the replica of `path`, made or migrated as needed. `locked`: what the caller has of `lock_replica`, and closes himself.

        Raises:
            AlreadyOpenError: another process has it open.
            CorruptError: the file fails SQLite's own check; it was not changed.
            DiskError: the disk is full, read-only, or did not give or take what was asked.
            IncompatibleError: a newer program wrote it.
        """
        # A second handle of one lock: the replica is kept until both are closed.
        lock = lock_replica(path) if locked is None else open(os.dup(locked.fileno()), "wb")  # noqa: SIM115
        conn: sqlite3.Connection | None = None
        try:
            conn = sqlite3.connect(path, isolation_level=None, cached_statements=512, check_same_thread=False)
            # Says something only to a file that has no table yet: pages that are freed can be given back to the disk.
            conn.execute("PRAGMA auto_vacuum = INCREMENTAL")
            conn.execute("PRAGMA journal_mode = WAL")
            conn.execute(f"PRAGMA synchronous = {synchronous}")
            conn.execute("PRAGMA foreign_keys = ON")
            conn.execute("PRAGMA cache_size = -16000")
            if conn.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise CorruptError(_corrupt_words(path))
            migrate(conn)
            replica = cls(path, trade, conn, lock)
            replica._recover(trade)
            replica.turn_token()
        except sqlite3.DatabaseError as error:
            _give_up(conn, lock)
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise RetryableError(f"{path.name} is in use: try again") from error
            plain = plain_error(error)
            raise plain if isinstance(plain, DiskError) else CorruptError(_corrupt_words(path)) from error
        except BaseException:
            _give_up(conn, lock)
            raise
        return replica

    def close(self) -> None:
        """Close the file and let another process have it."""
        if self.twin is not None:
            self.twin.close()
        self.conn.close()
        self._lock.close()

    # --- identity ---------------------------------------------------------------------------------------------------------

    def use_key(self, signer: Signer) -> None:
        """Sign as this device from now on."""
        self._signer = signer

    def enrol(self, *, number: int, server_key: bytes, certificate: Mapping[str, Any]) -> None:
        """Remember what the server allotted: this device's number, the server's pinned key, and the signed certificate."""
        with self.transaction():
            self.set_setting("number", number)
            self.set_setting("server_key", server_key.hex())
            self.set_setting("certificate", dict(certificate))
            self._write_install_token()
            self._twin_is_old = True
        self._server_check = Verifier(server_key)

    @property
    def is_copy(self) -> bool:
        """True on a clone or a restored backup: it must get a new number before it says anything."""
        if self.number is None:
            return False
        try:
            token = self._install_token_path.read_text()
        except FileNotFoundError:
            return True
        return token not in (self.setting("install_token"), self._asked_token(), self.setting(NEXT_TOKEN))

    @property
    def wants_key(self) -> bool:
        """True from `ask_for_key` until the new key is in force: the link gets it before it connects; work goes on meanwhile."""
        return bool(self.setting(NEW_KEY))

    @property
    def asked_for_key(self) -> bool:
        """True when the hub was asked for that key already: it may have changed it, and takes nothing more under the old one."""
        wish = self.setting(NEW_KEY)
        return bool(wish and wish["file"])

    def ask_for_key(self) -> None:
        """A person, here or at the server, wants this device to have another key; asked twice it gets one."""
        if not self.wants_key:
            with self.transaction():
                self.set_setting(NEW_KEY, {"file": ""})

    def note_asked(self, file: str) -> None:
        """The hub is asked for the key in this file. Written down before: the token that comes into force with it, because the hub may end
        the old number at any moment, and a death between the token's file and the database would leave a copy of a device that is no more.
        """
        with self.transaction():
            self.set_setting(NEW_KEY, {"file": file, "token": self._asked_token() or secrets.token_hex(16)})

    def give_up_key(self) -> None:
        """The server allots none (it revoked this device): go on under the old one."""
        with self.transaction():
            self.set_setting(NEW_KEY, None)

    def renumber(self, number: int, certificate: Mapping[str, Any]) -> int:
        """Continue under a new number: work the hub never acknowledged is said again, each fact with its old id as origin.

        Returns the number of envelopes said again. The old bytes are set aside, never offered: the original may still be at work.
        Where two copies worked under one number, what was said after they parted is another history: the hub holds other facts under
        those ids, so ours get ids of their own, and what they say of each other is told anew. Call `turn_token` when it is committed.
        """
        old = self.number
        if old is None:
            raise InvariantError("a device without a number cannot be renumbered")
        with self.transaction() as conn:
            rows = conn.execute(
                "SELECT e.document, e.n, e.stored FROM envelope e JOIN writer w USING (document, device)"
                " WHERE e.device = ? AND e.seq > w.acked ORDER BY e.n",
                (old,),
            ).fetchall()
            saved = conn.execute("SELECT document, stored FROM saved ORDER BY n").fetchall()
            conn.execute("DELETE FROM saved")
            conn.executemany(
                "INSERT OR IGNORE INTO set_aside (document, stored, why) VALUES (?, ?, 'renumbered')",
                [*saved, *((document, stored) for document, _, stored in rows)],
            )
            for document, n, _ in rows:
                conn.execute("DELETE FROM fact WHERE document = ? AND n = ?", (document, n))
                conn.execute("DELETE FROM envelope WHERE n = ?", (n,))
            parted = {document: self.forked_from(document) for document, _, _ in rows}
            self._rebuild_heads(conn, old)
            self.set_setting("number", number)
            self.set_setting("certificate", dict(certificate))
            self.set_setting("former_numbers", [*self.setting("former_numbers", []), old])
            self.set_setting("piece_serial", 0)
            asked_with = self._asked_token()
            self._write_install_token(asked_with)
            if asked_with is not None:
                self.set_setting(NEXT_TOKEN, secrets.token_hex(16))
            self.set_setting(NEW_KEY, None)
            self._admissions.clear()
            self._twin_is_old = True
            renamed: dict[str, str] = {}
            again = [*saved, *((document, stored) for document, _, stored in rows)]
            for document, stored in again:
                said = decode_payload(stored[gate.HEADER_BYTES :])
                first = parted.get(document)
                is_own_history = first is not None and said.seq >= first
                facts = [
                    Fact(
                        kind=f.kind,
                        subjects=f.subjects,
                        body={
                            k: renamed.get(f"{document} {v}", v) if isinstance(v, str) else v for k, v in f.body.items()
                        },
                        origin=f.origin
                        or (None if is_own_history else fact_id(said.device, seq_in_line(document, said.seq), i)),
                    )
                    for i, f in enumerate(said.facts)
                ]
                ids = self._say(conn, document, facts, person=said.person, at_ms=said.at_ms)
                if is_own_history:
                    renamed |= {
                        f"{document} {fact_id(said.device, seq_in_line(document, said.seq), i)}": new
                        for i, (f, new) in enumerate(zip(said.facts, ids, strict=True))
                        if f.origin is None
                    }
        return len(again)

    def turn_token(self) -> None:
        """Put the install token out of force that a change of keys came with: whatever was copied while that was asked for knows it. A disk
        that does not take it leaves it for the next start.
        """
        token = self.setting(NEXT_TOKEN)
        if token is None or self.is_copy:
            return
        with suppress(DiskError), self.transaction():
            self._write_install_token(token)
            self.set_setting(NEXT_TOKEN, None)

    # --- saying -----------------------------------------------------------------------------------------------------------

    def act(
        self,
        document: str,
        facts: Sequence[Fact],
        *,
        person: str,
        at_ms: int,
        also: Callable[[sqlite3.Connection, tuple[str, ...]], None] | None = None,
    ) -> tuple[str, ...]:
        """Sign and store one action; return its facts' ids. `also(connection, ids)` writes in the same transaction.

        When this returns, the action is on the disk; when it raises, nothing of it is.

        Raises:
            RefusedError: the device has no number or key, or is a copy that must be renumbered first, or the document was forgotten.
            DiskError: nothing was recorded.
            MalformedError: a fact breaks a limit.
        """
        if self.is_gone(document):
            raise RefusedError("document.gone", document)
        if self.is_copy:
            raise RefusedError(
                "replica.copy", "this is a restored or copied device: connect it once, it will get a number of its own"
            )
        with self.transaction() as conn:
            ids = self._say(conn, document, facts, person=person, at_ms=at_ms)
            if also is not None:
                also(conn, ids)
        return ids

    def _say(
        self, conn: sqlite3.Connection, document: str, facts: Sequence[Fact], *, person: str, at_ms: int
    ) -> tuple[str, ...]:
        number, signer = self.number, self._signer
        if number is None or signer is None:
            raise RefusedError(
                "replica.not_enrolled", "this device is not enrolled: enter the code the platform gave you"
            )
        head, before = self._head(document, number)
        folded = dict(
            conn.execute(
                "SELECT device, folded FROM writer WHERE document = ? AND device <> ?", (document, number)
            ).fetchall()
        )
        basis = {writer: seq for writer, seq in folded.items() if seq > before.get(writer, 0)}
        envelope = Envelope(
            device=number, seq=head.seq + 1, person=person, at_ms=at_ms, schema=self._trade.schema, basis=basis, facts=tuple(facts)
        )  # fmt: skip
        stored = gate.seal(encode_payload(envelope), head.digest, signer.sign)
        self._own.append((document, stored))
        dirty = self._store(conn, document, [(outline_of(envelope), stored, gate.digest_of(stored))], before)
        self._fold(conn, document, dirty)
        conn.execute("UPDATE writer SET folded = seq WHERE document = ? AND device = ?", (document, number))
        return tuple(fact_id(number, seq_in_line(document, envelope.seq), index) for index in range(len(facts)))

    def next_serial(self) -> int:
        """Return the device's next piece serial (1, 2, 3…); call it inside the transaction that uses it."""
        if self._depth == 0:
            raise InvariantError("a serial is drawn inside the transaction that uses it")
        serial = int(self.setting("piece_serial", 0)) + 1
        self.set_setting("piece_serial", serial)
        return serial

    def renew_twin(self) -> None:
        """Write the twin anew from what is committed; a disk that does not give or take it leaves the old one, to be written later: what
        was committed is not told as failed.
        """
        super().renew_twin()
        if self.twin is not None:
            try:
                self.twin.write_anew(self.twin_identity(), self.outbox())
            except (OSError, sqlite3.OperationalError):
                self.twin.failed = True

    def save(self, envelopes: Sequence[tuple[str, bytes]]) -> None:
        """Keep envelopes of our old number that were saved from a damaged file: they are said again under the next number."""
        with self.transaction() as conn:
            conn.executemany("INSERT OR IGNORE INTO saved (document, stored) VALUES (?, ?)", envelopes)

    @property
    def needs_update(self) -> bool:
        """True while facts of a newer version wait for an upgrade of this program."""
        newest = self.setting(NEWEST, 0)
        return isinstance(newest, int) and newest > self._trade.schema

    # --- inside -----------------------------------------------------------------------------------------------------------

    def _rebuild_heads(self, conn: sqlite3.Connection, device: int) -> None:
        for (document,) in conn.execute("SELECT document FROM writer WHERE device = ?", (device,)).fetchall():
            row = conn.execute(
                "SELECT seq, stored, basis FROM envelope WHERE document = ? AND device = ? ORDER BY seq DESC LIMIT 1",
                (document, device),
            ).fetchone()
            if row is None:
                conn.execute("DELETE FROM writer WHERE document = ? AND device = ?", (document, device))
            else:
                conn.execute(
                    "UPDATE writer SET seq = ?, digest = ?, basis = ?, folded = min(folded, ?) WHERE document = ? AND device = ?",
                    (row[0], gate.digest_of(row[1]), row[2], row[0], document, device),
                )
            subjects = {r[0] for r in conn.execute("SELECT subject FROM state WHERE document = ?", (document,))}
            self._fold(conn, document, subjects)

    def _recover(self, trade: Trade) -> None:
        """After an upgrade of the trade's schema all rows are folded anew; after a kill nothing needs mending."""
        if self.setting("folded_schema") != trade.schema:
            with self.transaction() as conn:
                conn.execute("INSERT OR IGNORE INTO unfolded SELECT DISTINCT document, subject FROM fact")
                self.set_setting("folded_schema", trade.schema)
        while self.fold_some():
            pass

    @property
    def _install_token_path(self) -> Path:
        return self.path.parent / INSTALL_TOKEN

    def _asked_token(self) -> str | None:
        wish = self.setting(NEW_KEY)
        return str(wish["token"]) if wish and wish.get("token") else None

    def _write_install_token(self, token: str | None = None) -> None:
        token = token or secrets.token_hex(16)
        try:
            write_durably(self._install_token_path, token.encode())
        except OSError as error:
            raise plain_error(error) or error from error
        self.set_setting("install_token", token)


def lock_replica(path: Path) -> BinaryIO:
    """Keep every other process from the replica of `path` until this file is closed, and all that were opened with it.

    Raises:
        AlreadyOpenError: another process has it.
        DiskError: the disk did not take the lock's file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path.with_suffix(".lock"), "wb")  # noqa: SIM115 - the caller closes it
    except OSError as error:
        raise plain_error(error) or error from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise AlreadyOpenError(f"{path.name} is open in another process: close that one first") from error
    return lock


def _give_up(conn: sqlite3.Connection | None, lock: BinaryIO) -> None:
    if conn is not None:
        conn.close()
    lock.close()


def _corrupt_words(path: Path) -> str:
    return f"{path.name} is damaged: set it aside and enrol this device again; labels already printed are recovered at scan-in"
