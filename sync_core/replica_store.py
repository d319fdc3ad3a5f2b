"""The replica's store: its connection, transactions, log and folded rows. What the device may say is `replica.Replica`'s.

The log (`envelope`) is the truth; `fact` says which envelopes speak about a subject, `state` holds what the fold made of them.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import sqlite_utils

from sync_core import gate, limits
from sync_core.errors import CorruptError, NahuoError
from sync_core.facts import (
    DOCUMENT_CLOSED,
    ENGINE_KINDS,
    Admission,
    Envelope,
    Outline,
    PlacedFact,
    admission_of,
    is_server,
    place_one,
    read_admissions,
    subject_type,
    whole_basis,
)
from sync_core.fold import State, Trade, fold_subject, judge
from sync_core.gate import Head, Refusal, Run
from sync_core.payload import canonical_json, decode_payload
from sync_core.storage import plain_error
from sync_core.twin import Twin

Answer = TypeVar("Answer")

FOLD_AT_ONCE_MAX = 200
"""Subjects folded within the transaction that brought their facts; more are folded in steps of this size."""

STATES_KEPT = 2_000
"""Rows kept decoded: all tasks of some days, at about 3 KB each."""

NEWEST = "newest_schema"
"""Setting: the newest version that facts which nobody here can read were written in."""
NEWER = "schema.newer"
"""What a trade says of a fact that waits for an upgrade."""


@lru_cache(maxsize=STATES_KEPT)
def _read_state(text: str) -> State:
    """Decode a state's row; all its readers share what it says. Screens and their watchers read every task after each commit."""
    return dict(json.loads(text))


class ReplicaStore:
    """One SQLite file, one connection, one thread."""

    fold_at_once_max = FOLD_AT_ONCE_MAX
    """Simulations lower it, so that small worlds fold in steps too."""

    def __init__(self, path: Path, trade: Trade, conn: sqlite3.Connection) -> None:
        self.path = path
        self.conn = conn
        self.db = sqlite_utils.Database(conn)
        self._trade = trade
        self._depth = 0
        self._admissions: dict[str, dict[int, Admission]] = {}
        self.listeners: list[Callable[[str], None]] = []
        """Called with a document's name after each commit that changed it."""
        self.twin: Twin | None = None
        """Once more what no hub has acknowledged, outside the database."""
        self.twin_identity: Callable[[], Mapping[str, Any]] = dict
        """Who this device is, for the twin's first record."""
        self._twin_is_old = False
        self._own: list[tuple[str, bytes]] = []
        self.on_damage: Callable[[], None] = lambda: None
        """Called when the file turns out to be damaged while it is in use."""
        self._changed: set[str] = set()
        self._read: dict[tuple[str, str], Any] = {}
        """What was read since the last transaction ended: this is the file's only writer, so it stands until the next."""

    # --- transactions and settings ----------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One write transaction; an inner one joins the outer. Leaving it normally commits, an exception undoes all.

        Raises:
            DiskError: the disk is full, or did not take it; nothing was recorded.
            CorruptError: the file is damaged; `on_damage` was called.
        """
        if self._depth:
            self._depth += 1
            try:
                yield self.conn
            finally:
                self._depth -= 1
            return
        self._begin()
        try:
            yield self.conn
            self._depth = 0
            self._read.clear()
            self.conn.execute("COMMIT")
        except BaseException as error:
            self._depth = 0
            self._read.clear()
            self._changed.clear()
            self._own.clear()
            self._admissions.clear()
            self._undo()
            if isinstance(error, sqlite3.Error):
                self._raise_plain(error)
            raise
        self._keep_twin()
        changed, self._changed = self._changed, set()
        for document in sorted(changed):
            for listener in self.listeners:
                listener(document)

    def _begin(self) -> None:
        try:
            self.conn.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self._raise_plain(error)
            raise
        self._depth = 1

    def _keep_twin(self) -> None:
        own, self._own = self._own, []
        if self.twin is not None and self._twin_is_old:
            self.renew_twin()
        elif self.twin is not None and own:
            self.twin.append(own)

    def renew_twin(self) -> None:
        """Write the twin anew from what is committed; a disk that does not take it leaves the old one."""
        self._twin_is_old = False

    def _undo(self) -> None:
        if self.conn.in_transaction:
            # A disk that fails here as well: SQLite has undone it, or undoes it at the next start.
            with suppress(sqlite3.Error):
                self.conn.execute("ROLLBACK")

    def _raise_plain(self, error: sqlite3.Error) -> None:
        plain = self.plain(error)
        if plain is not None:
            raise plain from error

    def plain(self, error: sqlite3.Error) -> NahuoError | None:
        """Return what the disk did, in our words; a damaged file is told to `on_damage`, however it was found."""
        plain = plain_error(error)
        if isinstance(plain, CorruptError):
            self.on_damage()
        return plain

    def setting(self, name: str, default: Any = None) -> Any:
        """Return a local setting (JSON)."""
        text = self._remembered("setting", name, self._setting_text)
        return default if text is None else json.loads(text)

    def _setting_text(self, name: str) -> str | None:
        row = self.conn.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def _remembered(self, what: str, name: str, read: Callable[[str], Answer]) -> Answer:
        """Read something once between two transactions; within one, every time."""
        if self._depth:
            return read(name)
        key = (what, name)
        if key not in self._read:
            self._read[key] = read(name)
        found: Answer = self._read[key]
        return found

    def set_setting(self, name: str, value: Any) -> None:
        """Store a local setting (JSON)."""
        self._read.pop(("setting", name), None)
        self.conn.execute(
            "INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, json.dumps(value)),
        )

    # --- reading ----------------------------------------------------------------------------------------------------------

    def state_vector(self, document: str) -> dict[int, int]:
        """Return {writer: last seq} of what is committed here."""
        return dict(
            self.conn.execute("SELECT device, seq FROM writer WHERE document = ? AND seq > 0", (document,)).fetchall()
        )

    def missing(
        self, document: str, have: Mapping[int, int], *, bytes_max: int = limits.UPDATE_BYTES_MAX
    ) -> tuple[Run, ...]:
        """Return what a peer that has `have` lacks, as much of it as one update carries."""
        rows: list[tuple[int, int, bytes]] = []
        size = 64
        for device, last in sorted(self.state_vector(document).items()):
            for seq, stored in self.conn.execute(
                "SELECT seq, stored FROM envelope WHERE document = ? AND device = ? AND seq > ? AND seq <= ? ORDER BY seq",
                (document, device, have.get(device, 0), last),
            ):
                size += gate.entry_bytes(stored) + (24 if not rows or rows[-1][0] != device else 0)
                if size > bytes_max and rows:
                    return gate.group_runs(rows)
                rows.append((device, seq, stored))
        return gate.group_runs(rows)

    def state(self, subject: str, document: str | None = None) -> State | None:
        """Return the state of a subject; without `document`, of the newest document that speaks of it."""
        sql, args = "SELECT state FROM state WHERE subject = ?", [subject]
        if document is not None:
            sql, args = sql + " AND document = ?", [subject, document]
        row = self.conn.execute(sql + " ORDER BY rowid DESC LIMIT 1", args).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def states(self, kind: str, document: str | None = None) -> list[tuple[str, str, State]]:
        """Return (document, subject, state) of all subjects of a type, e.g. "task", in order of subject. The states are only to be read."""
        sql, args = "SELECT document, subject, state FROM state WHERE kind = ?", [kind]
        if document is not None:
            sql, args = sql + " AND document = ?", [kind, document]
        return [
            (d, s, _read_state(text)) for d, s, text in self.conn.execute(sql + " ORDER BY subject, document", args)
        ]

    def documents(self) -> list[str]:
        """Return the names of all documents this replica holds."""
        return list(self._remembered("documents", "", self._document_names))

    def _document_names(self, _: str) -> list[str]:
        return [row[0] for row in self.conn.execute("SELECT DISTINCT document FROM writer ORDER BY document")]

    def is_whole(self, document: str) -> bool:
        """True when all that a document opened with is here and folded: before that nobody works in it."""
        state = self.state("document", document)
        if state is None:
            return False
        folded = dict(self.conn.execute("SELECT device, folded FROM writer WHERE document = ?", (document,)))
        return all(folded.get(int(writer), 0) >= seq for writer, seq in state.get("opening", {}).items())

    def tells_all(
        self, document: str, *, of: str, numbers: Collection[int], after: Mapping[int, int] = MappingProxyType({})
    ) -> bool:
        """True when a document's rows tell all that these numbers said in its predecessor `of`, each `after` its seq there: what came
        there after its close was carried on and folded.

        What the close had read is in the opening, or ended. Before the close is here nobody knows what came after it.
        """
        closes = [fact for fact in self.facts_about(of, "document") if fact.kind == DOCUMENT_CLOSED]
        closed = [fact.basis for fact in closes if is_server(fact.writer)]
        if not closed:
            return False
        read = {number: min(basis.get(number, 0) for basis in closed) for number in numbers}
        return all(
            self._tells(document, of=of, number=number, after=max(read.get(number, 0), after.get(number, 0)))
            for number in numbers
        )

    def _tells(self, document: str, *, of: str, number: int, after: int) -> bool:
        subjects = self.conn.execute(
            "SELECT DISTINCT f.subject FROM fact f JOIN envelope e USING (n) WHERE e.document = ? AND e.device = ? AND e.seq > ?",
            (of, number, after),
        ).fetchall()
        for (subject,) in subjects:
            late = [f for f in self.facts_about(of, subject) if f.writer == number and f.seq > after]
            told = {(fact.id, fact.kind) for fact in self.facts_about(document, subject)}
            if any((fact.id, fact.kind) not in told and judge(self._trade, fact) is None for fact in late):
                return False
            waits = "SELECT 1 FROM unfolded WHERE document = ? AND subject = ?"
            if self.conn.execute(waits, (document, subject)).fetchone() is not None:
                return False
        return True

    def facts_about(self, document: str, subject: str) -> list[PlacedFact]:
        """Return all facts a document holds about a subject, voids included, in order of arrival."""
        return self._facts_about(self.conn, document, subject)

    def canonical_hash(self, document: str) -> str:
        """SHA-256 over the sorted envelopes and the folded rows of a document: equal on all replicas that have seen all of it."""
        return hash_document(
            self.conn.execute(
                "SELECT device, seq, stored FROM envelope WHERE document = ? ORDER BY device, seq", (document,)
            ),
            self.conn.execute("SELECT subject, state FROM state WHERE document = ? ORDER BY subject", (document,)),
        )

    def fold_some(self, *, subjects_max: int | None = None) -> bool:
        """Fold some of what was committed unfolded, in one transaction; True while more is left."""
        with self.transaction() as conn:
            rows = conn.execute(
                "SELECT document, subject FROM unfolded ORDER BY document LIMIT ?",
                (subjects_max or self.fold_at_once_max,),
            ).fetchall()
            if not rows:
                return False
            for document in {row[0] for row in rows}:
                subjects = {row[1] for row in rows if row[0] == document}
                self._fold(conn, document, subjects)
                conn.executemany(
                    "DELETE FROM unfolded WHERE document = ? AND subject = ?", [(document, s) for s in subjects]
                )
                if conn.execute("SELECT 1 FROM unfolded WHERE document = ? LIMIT 1", (document,)).fetchone() is None:
                    self._all_folded(conn, document)
            return conn.execute("SELECT 1 FROM unfolded LIMIT 1").fetchone() is not None

    # --- for Replica ------------------------------------------------------------------------------------------------------

    def _store(
        self,
        conn: sqlite3.Connection,
        document: str,
        rows: Sequence[tuple[Outline, bytes, bytes]],
        before: Mapping[int, int],
    ) -> set[str]:
        """Write envelopes that continue their writer's chain, whose basis was `before`; return the subjects they speak about."""
        if not rows:
            return set()
        dirty: set[str] = set()
        basis = before
        index_rows: list[tuple[str, str, int, int]] = []
        n = conn.execute("SELECT coalesce(max(n), 0) FROM envelope").fetchone()[0]
        log_rows = []
        text = canonical_json({str(k): v for k, v in basis.items()}).decode()
        for envelope, stored, _ in rows:
            n += 1
            if envelope.basis:
                basis = whole_basis(basis, envelope)
                text = canonical_json({str(k): v for k, v in basis.items()}).decode()
            log_rows.append((n, document, envelope.device, envelope.seq, envelope.at_ms, text, stored))
            for index, (kind, subjects) in enumerate(envelope.facts):
                if kind in ENGINE_KINDS and is_server(envelope.device):
                    self._admissions.pop(document, None)
                    dirty |= {
                        row[0]
                        for row in conn.execute("SELECT DISTINCT subject FROM fact WHERE document = ?", (document,))
                    }
                for subject in dict.fromkeys(subjects):
                    dirty.add(subject)
                    index_rows.append((document, subject, n, index))
        conn.executemany(
            "INSERT INTO envelope (n, document, device, seq, at_ms, basis, stored) VALUES (?, ?, ?, ?, ?, ?, ?)",
            log_rows,
        )
        conn.executemany("INSERT INTO fact VALUES (?, ?, ?, ?)", index_rows)
        last, _, digest = rows[-1]
        conn.execute(
            "INSERT INTO writer (document, device, seq, digest, basis) VALUES (?, ?, ?, ?, ?) ON CONFLICT (document, device)"
            " DO UPDATE SET seq = excluded.seq, digest = excluded.digest, basis = excluded.basis",
            (document, last.device, last.seq, digest, text),
        )
        newer = [stored for envelope, stored, _ in rows if envelope.schema > self._trade.schema]
        if newer:
            self._note_newer(conn, document, [decode_payload(stored[gate.HEADER_BYTES :]) for stored in newer])
        self._changed.add(document)
        return dirty

    def _note_newer(self, conn: sqlite3.Connection, document: str, envelopes: Sequence[Envelope]) -> None:
        """Remember that facts wait for an upgrade; asked once who may speak here is written down."""
        newest = max(self._trade.schema, int(self.setting(NEWEST, 0)))
        for envelope in envelopes:
            if envelope.schema > newest and any(
                self._is_newer(conn, document, envelope, index) for index in range(len(envelope.facts))
            ):
                newest = envelope.schema
                self.set_setting(NEWEST, newest)

    def _is_newer(self, conn: sqlite3.Connection, document: str, envelope: Envelope, index: int) -> bool:
        admission = admission_of(envelope.device, self._admissions_of(conn, document))
        return judge(self._trade, place_one(envelope, index, document=document, basis={}, admission=admission)) == NEWER

    def _fold(self, conn: sqlite3.Connection, document: str, subjects: set[str]) -> None:
        for subject in sorted(subjects):
            state = fold_subject(self._trade, subject, self._facts_about(conn, document, subject))
            conn.execute(
                "INSERT INTO state (document, subject, kind, state) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (document, subject) DO UPDATE SET state = excluded.state",
                (document, subject, subject_type(subject), canonical_json(state).decode()),
            )
        self._changed.add(document)

    def _all_folded(self, conn: sqlite3.Connection, document: str) -> None:
        conn.execute("DELETE FROM unfolded WHERE document = ?", (document,))
        conn.execute("UPDATE writer SET folded = seq WHERE document = ? AND folded < seq", (document,))

    def _facts_about(self, conn: sqlite3.Connection, document: str, subject: str) -> list[PlacedFact]:
        admissions = self._admissions_of(conn, document)
        placed: list[PlacedFact] = []
        for stored, text, index in conn.execute(
            "SELECT e.stored, e.basis, f.idx FROM fact f JOIN envelope e USING (n)"
            " WHERE f.document = ? AND f.subject = ? ORDER BY f.n, f.idx",
            (document, subject),
        ):
            envelope = decode_payload(stored[gate.HEADER_BYTES :])
            basis = {int(k): v for k, v in json.loads(text).items()}
            admission = admission_of(envelope.device, admissions)
            placed.append(place_one(envelope, index, document=document, basis=basis, admission=admission))
        return placed

    def _admissions_of(self, conn: sqlite3.Connection, document: str) -> Mapping[int, Admission]:
        admissions = self._admissions.get(document)
        if admissions is None:
            facts: list[PlacedFact] = []
            for stored, index in conn.execute(
                "SELECT e.stored, f.idx FROM fact f JOIN envelope e USING (n)"
                " WHERE f.document = ? AND f.subject = 'document' ORDER BY e.device, e.seq, f.idx",
                (document,),
            ):
                envelope = decode_payload(stored[gate.HEADER_BYTES :])
                admission = admission_of(envelope.device, {})
                facts.append(place_one(envelope, index, document=document, basis={}, admission=admission))
            admissions = self._admissions[document] = self._foresee(read_admissions(facts))
        return admissions

    def _foresee(self, admissions: dict[int, Admission]) -> dict[int, Admission]:
        """Let our number speak where the one before it may, as the server says in each such document when it allots it: that word may come
        hours after the number, and until then our own rows must not pass over what we do.
        """
        numbers: list[int] = [*self.setting("former_numbers", []), self.setting("number")]
        for last, number in pairwise(numbers):
            if last in admissions and number not in admissions:
                before = admissions[last]
                admissions[number] = Admission(role=before.role, continues=before.continues | {last})
        return admissions

    def _head(self, document: str, device: int) -> tuple[Head, Mapping[int, int]]:
        row = self.conn.execute(
            "SELECT seq, digest, basis FROM writer WHERE document = ? AND device = ?", (document, device)
        ).fetchone()
        if row is None or row[0] == 0:
            return gate.empty_head(document), {}
        return Head(seq=row[0], digest=row[1]), {int(k): v for k, v in json.loads(row[2]).items()}

    def _refuse(self, conn: sqlite3.Connection, document: str, refusal: Refusal) -> None:
        conn.execute(
            "INSERT OR IGNORE INTO refusal (document, device, seq, code, detail, stored) VALUES (?, ?, ?, ?, ?, ?)",
            (document, refusal.device, refusal.seq, refusal.code, refusal.detail, refusal.stored),
        )


def hash_document(envelopes: Iterable[tuple[int, int, bytes]], states: Iterable[tuple[str, str]]) -> str:
    """SHA-256 over rows (device, seq, stored) and (subject, state text), each in sorted order: what convergence is judged by."""
    total = hashlib.sha256()
    for device, seq, stored in envelopes:
        total.update(b"e%d.%d:%d:" % (device, seq, len(stored)))
        total.update(stored)
    for subject, state in states:
        total.update(f"s{subject}={state}\n".encode())
    return total.hexdigest()
