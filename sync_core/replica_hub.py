"""The replica's side towards its hub: what it hears, what it still owes, and what it forgets once all of it is delivered.

What a hub brings is committed first and folded after it; of what it claims to have only its own acknowledgements count, because a copy of
this device may speak under its number.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sync_core import gate, limits
from sync_core.facts import Outline, is_server
from sync_core.fold import Trade
from sync_core.gate import Refusal, Run
from sync_core.identity import Verifier
from sync_core.lines import line_of, number_in_line
from sync_core.payload import outline_payload
from sync_core.replica_store import ReplicaStore


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
    needs_fresh_start: bool = False
    """Only a new connection helps: something is missing before what came, or it speaks under our own number."""


class ReplicaAtHub(ReplicaStore):
    """What a replica and its hub have told each other. `Replica` says things of its own."""

    def __init__(self, path: Path, trade: Trade, conn: sqlite3.Connection) -> None:
        super().__init__(path, trade, conn)
        self._server_check: Verifier | None = None

    @property
    def number(self) -> int | None:
        """The device's number, None before it was enrolled."""
        value = self.setting("number")
        return value if isinstance(value, int) else None

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
        again = any(refusal.code == "gate.gap" or refusal.device == self.number for refusal in refusals)
        return Admitted(heads=heads, fresh=fresh, refusals=tuple(refusals), needs_fresh_start=again)

    def _admit_run(self, conn: sqlite3.Connection, document: str, run: Run) -> tuple[int, Refusal | None, set[str]]:
        head, before = self._head(document, run.device)
        if run.device == self.number and run.last_seq > head.seq:
            # A copy's words under our number: never ours to continue. `is_doubled` sees it, and they come again once we have another.
            return 0, None, set()
        if run.first_seq > head.seq + 1:
            if self._refused_from(document, run.device) <= head.seq + 1:
                return 0, None, set()  # What it follows was refused, and will be again.
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
            # What is owed once more stands in the twin once more: it was emptied when the hub had it all.
            self._twin_is_old = self._twin_is_old or acked < self.proven(document)[number]
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
                refused = self._refused_from(document, number)
                self._twin_is_old = self._twin_is_old or refused <= self.proven(document)[number]
                conn.execute(
                    "UPDATE writer SET acked = min(acked, ?) WHERE document = ? AND device = ?",
                    (refused - 1, document, number),
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

    def save_room(self) -> None:
        """Keep the journal short from now on (some 16 pages): room is scarcer than time."""
        self.conn.execute("PRAGMA wal_autocheckpoint = 16")

    def reuse_log(self) -> bool:
        """Copy the journal's pages into the file, so that the next commits are written over it and need no room of their own.

        False when there was nothing to copy, or no room for it.
        """
        try:
            busy, pages, copied = self.conn.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        except sqlite3.OperationalError:
            return False
        return not busy and pages == copied > 0

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

    # --- owing ------------------------------------------------------------------------------------------------------------

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

    def owing(self) -> list[str]:
        """Return the documents in which the hub has not acknowledged all we wrote: they are synced until it has, also after they ended."""
        rows = self.conn.execute(
            "SELECT document FROM writer WHERE device = ? AND seq > acked ORDER BY document", (self.number,)
        )
        return [row[0] for row in rows]

    def _has_saved(self) -> bool:
        return self.conn.execute("SELECT 1 FROM saved LIMIT 1").fetchone() is not None

    # --- inside -----------------------------------------------------------------------------------------------------------

    def _check_server(self, signature: bytes, signed: bytes) -> bool:
        if self._server_check is None:
            key = self.setting("server_key")
            if not key:
                return False
            self._server_check = Verifier(bytes.fromhex(key))
        return self._server_check(signature, signed)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
