"""Quarantine: what peers sent and could not be taken, kept as it came, within bounds.

A hostile device must fill neither the disk nor the writer's time: the first bytes of each code are kept, so many a sender and day; the
rest is counted, and the count stands in words behind the last that was kept. The same bytes are kept once.
Runs in the writer's transaction only. What one that was rolled back had noted is forgotten: a device whose work could not be committed
comes again with it, and none of its tries may take the room of the one that is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select, update

from server import schema as s
from sync_core import limits
from sync_core.hub import Refused

DAY_MS = 24 * 3_600_000


@dataclass(slots=True, kw_only=True)
class _Kept:
    """What is kept of one sender and code today, and how many more there were since the last."""

    day: int
    rows: int
    last_row: int = 0
    last_detail: str = ""
    more: int = 0
    told: int = 0


class Quarantine:
    """Keeps what was refused; see the module."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, str], _Kept] = {}

    def count(self, conn: Connection, refused: Refused, count: int) -> None:
        """Count so many like this one, of which nothing is kept."""
        self._of(conn, refused).more += count

    def forget(self) -> None:
        """A transaction was rolled back: what the table holds is read anew."""
        self._kept.clear()

    def keep(self, conn: Connection, refused: Refused) -> None:
        """Keep what was refused, or count it."""
        kept = self._of(conn, refused)
        stored = refused.stored[: limits.QUARANTINE_BYTES_MAX]
        if kept.rows >= limits.QUARANTINE_ROWS_MAX:
            kept.more += 1
            return
        q = s.quarantine.c
        known = conn.execute(
            select(q.id).where(
                q.document == refused.document, q.device == refused.device, q.seq == refused.seq,
                q.code == refused.code, q.stored == stored,
            )
        ).first()  # fmt: skip
        if known is not None:
            return
        row = conn.execute(
            insert(s.quarantine)
            .values(
                document=refused.document, device=refused.device, seq=refused.seq, code=refused.code,
                detail=refused.detail, stored=stored, sent_by=refused.sent_by, received_ms=refused.received_ms,
            )
            .returning(q.id)
        ).scalar_one()  # fmt: skip
        kept.rows += 1
        kept.last_row, kept.last_detail = row, refused.detail

    @property
    def owes(self) -> bool:
        """True while a count is not in the table yet."""
        return any(kept.more != kept.told for kept in self._kept.values())

    def tell(self, conn: Connection) -> None:
        """Write the counts behind the last row that was kept of each."""
        q = s.quarantine
        for (sender, code), kept in self._kept.items():
            if kept.more == kept.told:
                continue
            if not kept.last_row:
                self._find_last(conn, sender, code, kept)
            kept.told = kept.more
            if not kept.last_row:
                continue  # all that came were bytes which another sender's row holds already
            detail = f"{kept.last_detail}{MORE}{kept.more:,}"
            conn.execute(update(q).where(q.c.id == kept.last_row).values(detail=detail))

    def _of(self, conn: Connection, refused: Refused) -> _Kept:
        key, day = (refused.sent_by, refused.code), refused.received_ms // DAY_MS
        kept = self._kept.get(key)
        if kept is None or kept.day != day:
            q = s.quarantine.c
            of_today = (q.sent_by == key[0], q.code == key[1], q.received_ms >= day * DAY_MS)
            rows = conn.execute(select(func.count()).select_from(s.quarantine).where(*of_today)).scalar_one()
            kept = self._kept[key] = _Kept(day=day, rows=rows)
        return kept

    def _find_last(self, conn: Connection, sender: int, code: str, kept: _Kept) -> None:
        """After a restart: go on counting behind the row that was the last."""
        q = s.quarantine.c
        query = select(q.id, q.detail).where(q.sent_by == sender, q.code == code).order_by(q.id.desc()).limit(1)
        row = conn.execute(query).first()
        if row is None:
            return
        detail, _, before = str(row.detail).partition(MORE)
        kept.last_row, kept.last_detail = row.id, detail
        kept.more += int(before.replace(",", "")) if before else 0


MORE = "; more of the same today, not kept: "
