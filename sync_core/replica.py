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
import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sync_core import gate, limits
from sync_core.errors import (
    AlreadyOpenError,
    CorruptError,
    DiskError,
    InvariantError,
    RefusedError,
    RetryableError,
)
from sync_core.facts import (
    Envelope,
    Fact,
    Outline,
    decode_payload,
    encode_payload,
    fact_id,
    is_server,
    outline_of,
    outline_payload,
)
from sync_core.files import write_durably
from sync_core.fold import Trade
from sync_core.gate import Refusal, Run
from sync_core.identity import Signer, Verifier
from sync_core.lines import line_of, number_in_line, seq_in_line
from sync_core.replica_schema import migrate
from sync_core.replica_store import NEWEST, ReplicaStore
from sync_core.storage import plain_error

INSTALL_TOKEN = "install.token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What the hub has not acknowledged yet: how many actions, and the device's clock at the oldest."""

    actions: int
    since_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """What an update of a peer changed: the highest seq per writer now in the log, and what was refused."""

    heads: Mapping[int, int]
    fresh: int
    refusals: tuple[Refusal, ...]


class Replica(ReplicaStore):
    """The local node's memory: what it says, hears and still owes. Open it with `Replica.open`."""

    def __init__(self, path: Path, trade: Trade, conn: sqlite3.Connection, lock: BinaryIO) -> None:
        super().__init__(path, trade, conn)
        self._lock = lock
        self._signer: Signer | None = None
        self._server_check: Verifier | None = None

    @classmethod
    def open(cls, path: Path, trade: Trade, *, synchronous: str = "FULL") -> Replica:
        """Return the replica of `path`, made or migrated as needed.

        Raises:
            AlreadyOpenError: another process has it open.
            CorruptError: the file fails SQLite's own check; it was not changed.
            DiskError: the disk is full, read-only, or did not give or take what was asked.
            IncompatibleError: a newer program wrote it.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = open(path.with_suffix(".lock"), "wb")  # noqa: SIM115 - held for the life of the replica
        except OSError as error:
            raise plain_error(error) or error from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise AlreadyOpenError(f"{path.name} is open in another process: close that one first") from error
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
    def number(self) -> int | None:
        """The device's number, None before it was enrolled."""
        value = self.setting("number")
        return value if isinstance(value, int) else None

    @property
    def is_copy(self) -> bool:
        """True on a clone or a restored backup: it must get a new number before it says anything."""
        if self.number is None:
            return False
        try:
            return bool(self._install_token_path.read_text() != self.setting("install_token"))
        except FileNotFoundError:
            return True

    def renumber(self, number: int, certificate: Mapping[str, Any]) -> int:
        """Continue under a new number: work the hub never acknowledged is said again, each fact with its old id as origin.

        Returns the number of envelopes said again. The old bytes are set aside, never offered: the original may still be at work.
        Where two copies worked under one number, what was said after they parted is another history: the hub holds other facts under
        those ids, so ours get ids of their own, and what they say of each other is told anew.
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
            self._write_install_token()
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

    # --- hearing ----------------------------------------------------------------------------------------------------------

    def admit(self, document: str, runs: Sequence[Run]) -> Admitted:
        """Commit what a peer brought; return the new heads. Rows follow in the same transaction, or by `fold_some` when many.

        The shape was checked by the gate. Other devices' signatures are the hub's to check, the server's are checked here.
        """
        if self.is_gone(document):
            return Admitted(heads={}, fresh=0, refusals=())
        refusals: list[Refusal] = []
        fresh = 0
        heads: dict[int, int] = {}
        with self.transaction() as conn:
            dirty: set[str] = set()
            for run in runs:
                taken, refusal, subjects = self._admit_run(conn, document, run)
                fresh += taken
                dirty |= subjects
                if refusal is not None:
                    refusals.append(refusal)
                    self._refuse(conn, document, refusal)
                heads[run.device] = self._head(document, run.device)[0].seq
            # Counted no further than it matters: a backlog has tens of thousands.
            pending = conn.execute(
                "SELECT count(*) FROM (SELECT 1 FROM unfolded WHERE document = ? LIMIT ?)",
                (document, self.fold_at_once_max + 1),
            ).fetchone()[0]
            if len(dirty) + pending <= self.fold_at_once_max:
                dirty |= {
                    row[0] for row in conn.execute("SELECT subject FROM unfolded WHERE document = ?", (document,))
                }
                self._fold(conn, document, dirty)
                self._all_folded(conn, document)
            else:
                conn.executemany(
                    "INSERT OR IGNORE INTO unfolded VALUES (?, ?)", [(document, subject) for subject in sorted(dirty)]
                )
        return Admitted(heads=heads, fresh=fresh, refusals=tuple(refusals))

    def _admit_run(self, conn: sqlite3.Connection, document: str, run: Run) -> tuple[int, Refusal | None, set[str]]:
        head, before = self._head(document, run.device)
        if run.device == self.number and run.last_seq > head.seq:
            # A copy's words under our number: never ours to continue. `is_doubled` sees it, and they come again once we have another.
            return 0, None, set()
        if run.first_seq > head.seq + 1:
            detail = f"the hub sent seq {run.first_seq} after {head.seq}"
            return (
                0,
                Refusal(device=run.device, seq=run.first_seq, code="gate.gap", detail=detail, stored=run.stored[0]),
                set(),
            )
        known = min(head.seq, run.last_seq)
        if run.first_seq <= known:
            mine = conn.execute(
                "SELECT stored FROM envelope WHERE document = ? AND device = ? AND seq BETWEEN ? AND ? ORDER BY seq",
                (document, run.device, run.first_seq, known),
            ).fetchall()
            for seq, (own,), theirs in zip(range(run.first_seq, known + 1), mine, run.stored, strict=False):
                if own != theirs:
                    detail = "two different envelopes carry the same number"
                    return 0, Refusal(device=run.device, seq=seq, code="gate.fork", detail=detail, stored=theirs), set()
        skip = known - run.first_seq + 1 if known >= run.first_seq else 0
        rest = Run(device=run.device, first_seq=run.first_seq + skip, stored=run.stored[skip:])
        if not rest.stored:
            return 0, None, set()
        check = self._check_server if is_server(run.device) else None
        outlines: list[Outline] = []

        def read(payload: bytes) -> tuple[int, int]:
            outlines.append(outline_payload(payload))
            return outlines[-1][:2]

        digests, refusal = gate.verify_run(rest, head, check=check, read=read)
        dirty = self._store(conn, document, list(zip(outlines, rest.stored, digests, strict=False)), before)
        return len(digests), refusal, dirty

    def acknowledged(self, document: str, vector: Mapping[int, int], *, whole: bool, at_ms: int) -> bool:
        """Remember that the hub has committed our envelopes up to `vector`; True when that is news.

        `whole`: the vector is all the hub has. A hub restored from an older backup then knows less than it acknowledged once: its
        smaller count holds, and all above is offered again. Otherwise the count only grows.
        """
        number = self.number
        if number is None or not (whole or number in vector):
            return False
        acked = min(vector.get(number, 0), self._refused_from(document, number) - 1)
        with self.transaction() as conn:
            changed = conn.execute(
                "UPDATE writer SET acked = min(?, seq), acked_ms = ? WHERE document = ? AND device = ? AND (acked < min(?, seq) OR ?)"
                " AND acked <> min(?, seq)",
                (acked, at_ms, document, number, acked, whole, acked),
            ).rowcount
            if changed:
                self._changed.add(document)
        if changed and self.twin is not None and not self.owing() and not self._has_saved():
            self.twin.empty()
        return changed > 0

    def proven(self, document: str) -> dict[int, int]:
        """Return {our number: last seq the hub has acknowledged}: what `Session.open` takes as shown, not only counted."""
        number = self.number
        if number is None:
            return {}
        row = self.conn.execute(
            "SELECT acked FROM writer WHERE document = ? AND device = ?", (document, number)
        ).fetchone()
        return {number: 0 if row is None else row[0]}

    def is_doubled(self, document: str, claimed: Mapping[int, int]) -> bool:
        """True when a copy of this device speaks under our number: the hub refused ours as a fork, or holds more than we ever said.

        `claimed` is the hub's state vector. While something of ours is still on its way the answer waits: it shows where the two part.
        """
        number = self.number
        if number is None:
            return False
        if self.forked_from(document) is not None:
            return True
        return (
            self.hub_is_ahead(document, claimed)
            and self.proven(document)[number] >= self._head(document, number)[0].seq
        )

    @property
    def is_forked(self) -> bool:
        """True when the hub holds other envelopes under our number than ours: a number of our own is needed."""
        return any(self.forked_from(document) is not None for document in self.documents())

    def forked_from(self, document: str) -> int | None:
        """Return the first seq of ours in a document that the hub holds otherwise; None when there is none."""
        first = self.conn.execute(
            "SELECT min(seq) FROM refusal WHERE document = ? AND device = ? AND seq > 0 AND code IN ('gate.fork', 'gate.chain')",
            (document, self.number),
        ).fetchone()[0]
        return None if first is None else int(first)

    def hub_is_ahead(self, document: str, vector: Mapping[int, int]) -> bool:
        """True when the hub holds envelopes under our own number that we never said: we are a copy, or an old one."""
        number = self.number
        if number is None or self.is_gone(document):
            return False
        return vector.get(number, 0) > self._head(document, number)[0].seq

    def _refused_from(self, document: str, number: int) -> int:
        """Return the first seq of ours that the hub refused for good; the hub's vector may cover it with another's envelope (a fork)."""
        first = self.conn.execute(
            "SELECT min(seq) FROM refusal WHERE document = ? AND device = ? AND seq > 0 AND code <> 'gate.gap'",
            (document, number),
        ).fetchone()[0]
        return limits.INTEGER_MAX if first is None else int(first)

    def note_refusal(self, document: str, detail: Mapping[str, Any]) -> None:
        """Remember that the hub refused work of ours, for the screen; what was refused does not count as acknowledged."""
        with self.transaction() as conn:
            conn.execute(
                "INSERT OR IGNORE INTO refusal (document, device, seq, code, detail, stored) VALUES (?, ?, ?, ?, ?, x'')",
                (
                    document,
                    _whole(detail.get("device")),
                    _whole(detail.get("seq")),
                    str(detail.get("code")),
                    str(detail.get("detail")),
                ),
            )
            number = self.number
            if number is not None:
                conn.execute(
                    "UPDATE writer SET acked = min(acked, ?) WHERE document = ? AND device = ?",
                    (self._refused_from(document, number) - 1, document, number),
                )

    # --- forgetting -------------------------------------------------------------------------------------------------------

    def forget(self, document: str) -> bool:
        """Delete a document that ended, with all its rows, in one transaction; False while the hub still lacks something of ours there.

        It never comes back: a chain that is not here any more cannot be continued.
        """
        with self.transaction() as conn:
            salvaged = conn.execute("SELECT 1 FROM saved WHERE document = ? LIMIT 1", (document,)).fetchone()
            if document in self.owing() or salvaged is not None:
                return False
            for table in ("envelope", "fact", "state", "writer", "unfolded", "refusal", "set_aside"):
                conn.execute(f"DELETE FROM {table} WHERE document = ?", (document,))
            self._admissions.pop(document, None)
            conn.execute("INSERT OR IGNORE INTO gone (document) VALUES (?)", (document,))
            self._prune_gone(conn, document)
            self._changed.add(document)
        return True

    def give_back_space(self) -> None:
        """Give the pages that nothing uses any more back to the disk; a file that an older program made uses them again itself."""
        with self.transaction() as conn:
            if conn.execute("PRAGMA auto_vacuum").fetchone()[0] != 2:
                return
            for _ in range(conn.execute("PRAGMA freelist_count").fetchone()[0]):
                # One page each time: Python steps a statement without rows once.
                conn.execute("PRAGMA incremental_vacuum(1)")

    def is_gone(self, document: str) -> bool:
        """True when a document was here and was forgotten; of a line, also when a later one was."""
        return self._remembered("gone", document, self._look_whether_gone)

    def _look_whether_gone(self, document: str) -> bool:
        if self.conn.execute("SELECT 1 FROM writer WHERE document = ? LIMIT 1", (document,)).fetchone() is not None:
            return False
        line = line_of(document)
        if line is None:
            return self.conn.execute("SELECT 1 FROM gone WHERE document = ?", (document,)).fetchone() is not None
        rows = self.conn.execute(
            "SELECT document FROM gone WHERE document >= ? AND document < ?", (f"{line}/", f"{line}0")
        )
        return any(line_of(name) == line and number_in_line(name) >= number_in_line(document) for (name,) in rows)

    def _prune_gone(self, conn: sqlite3.Connection, document: str) -> None:
        """Of a line the newest says it all; of others the last few hundred: their names are days of long ago."""
        line = line_of(document)
        if line is not None:
            rows = conn.execute(
                "SELECT document FROM gone WHERE document >= ? AND document < ?", (f"{line}/", f"{line}0")
            )
            names = [name for (name,) in rows if line_of(name) == line]
            newest = max(names, key=number_in_line)
            conn.executemany("DELETE FROM gone WHERE document = ?", [(name,) for name in names if name != newest])
        conn.execute(
            "DELETE FROM gone WHERE n NOT IN (SELECT n FROM gone ORDER BY n DESC LIMIT ?)", (limits.FORGOTTEN_KEPT,)
        )

    # --- reading ----------------------------------------------------------------------------------------------------------

    def waiting(self) -> Waiting:
        """Return what the hub has not acknowledged."""
        number = self.number
        if number is None:
            return Waiting(actions=0, since_ms=None)
        count, since = self.conn.execute(
            "SELECT count(*), min(e.at_ms) FROM envelope e JOIN writer w USING (document, device) WHERE e.device = ? AND e.seq > w.acked",
            (number,),
        ).fetchone()
        (saved,) = self.conn.execute("SELECT count(*) FROM saved").fetchone()
        return Waiting(actions=count + saved, since_ms=since)

    def outbox(self) -> list[tuple[str, bytes]]:
        """Return (document, stored) of all that the hub has not acknowledged, in the order of saying; what a repair saved comes first."""
        saved = self.conn.execute("SELECT document, stored FROM saved ORDER BY n").fetchall()
        own = self.conn.execute(
            "SELECT e.document, e.stored FROM envelope e JOIN writer w USING (document, device)"
            " WHERE e.device = ? AND e.seq > w.acked ORDER BY e.n",
            (self.number,),
        ).fetchall()
        return [*saved, *own]

    def renew_twin(self) -> None:
        """Write the twin anew from what is committed; a disk that does not take it leaves the old one, to be written later."""
        super().renew_twin()
        if self.twin is not None:
            try:
                self.twin.write_anew(self.twin_identity(), self.outbox())
            except OSError:
                self.twin.failed = True

    def save(self, envelopes: Sequence[tuple[str, bytes]]) -> None:
        """Keep envelopes of our old number that were saved from a damaged file: they are said again under the next number."""
        with self.transaction() as conn:
            conn.executemany("INSERT OR IGNORE INTO saved (document, stored) VALUES (?, ?)", envelopes)

    def owing(self) -> list[str]:
        """Return the documents in which the hub has not acknowledged all we wrote: they are synced until it has, also after they ended."""
        rows = self.conn.execute(
            "SELECT document FROM writer WHERE device = ? AND seq > acked ORDER BY document", (self.number,)
        )
        return [row[0] for row in rows]

    def delivered_ms(self, document: str) -> int | None:
        """Return when the hub acknowledged the last of what we wrote in a document; None while it has not, or if we wrote nothing."""
        row = self.conn.execute(
            "SELECT acked_ms FROM writer WHERE document = ? AND device = ? AND acked >= seq", (document, self.number)
        ).fetchone()
        return None if row is None or row[0] is None else int(row[0])

    def _has_saved(self) -> bool:
        return self.conn.execute("SELECT 1 FROM saved LIMIT 1").fetchone() is not None

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

    def _check_server(self, signature: bytes, signed: bytes) -> bool:
        if self._server_check is None:
            key = self.setting("server_key")
            if not key:
                return False
            self._server_check = Verifier(bytes.fromhex(key))
        return self._server_check(signature, signed)

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

    def _write_install_token(self) -> None:
        token = secrets.token_hex(16)
        write_durably(self._install_token_path, token.encode())
        self.set_setting("install_token", token)


def _give_up(conn: sqlite3.Connection | None, lock: BinaryIO) -> None:
    if conn is not None:
        conn.close()
    lock.close()


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _corrupt_words(path: Path) -> str:
    return f"{path.name} is damaged: set it aside and enrol this device again; labels already printed are recovered at scan-in"
