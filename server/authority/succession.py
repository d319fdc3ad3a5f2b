"""Documents end: the next of the line opens with the facts of all living subjects, and devices are sent there.

The problem: a terminal's document would grow for ever, and so would every replica of it. The method: at the daily close (earlier when
one grew too large) the server writes the facts of everything that still lives into the successor, whole, in folded order, and as its last
fact in the old one names it. Nothing folded is signed: a replica folds the copies to the rows it had. A device that was away goes on in the
old document; what arrives there late is decided like everything else, and carried on (`Batch.carry_on`). What was left behind comes
back whole as soon as anybody speaks of it (`line_reading.missing_stories`). What waits for a supervisor (parked) is carried when he
admits it.

One step, one transaction: a server that dies inside it has neither closed nor opened anything. Design: documents end.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from sqlalchemy import func, select

from server import schema as s
from server import schema_trade as st
from server.authority.batch import Batch
from server.authority.documents import say_scope
from server.authority.line_reading import carried_in, facts_in_document
from server.authority.works import Done, Work, do_each
from sync_core import limits
from sync_core.facts import DOCUMENT_CLOSED, Fact, PlacedFact, carry
from sync_core.lines import line_of
from trade.living import living_subjects

RETURN_WAIT_MS: Final = 30 * 24 * 60 * 60 * 1000
"""A return that has not come for a month is left behind; when it comes after all it is matched by its number as ever (E19)."""


def end_documents(b: Batch) -> Done:
    """End what has done its day, at the daily close; counts the documents that ended."""
    left = [name for name, _, _, _ in _open_lines(b) if b.newest(name) != name]
    joined = do_each(b, [_work("join", name, _join) for name in left])
    done = [name for name, kind, own, _ in _open_lines(b) if own >= limits.DOCUMENT_ENDS_AFTER[kind]]
    ended = do_each(b, [_work("end", name, _end) for name in done])
    return Done(count=ended.count, failed=joined.failed + ended.failed)


def end_large_documents(b: Batch) -> Done:
    """End what grew too large before its day is over; counts the documents that ended."""
    large = [name for name, _, own, _ in _open_lines(b) if own >= limits.DOCUMENT_ENVELOPES_MAX]
    return do_each(b, [_work("end", name, _end) for name in large if b.newest(name) == name])


def end_document(b: Batch, old: str) -> str:
    """Close a document and open its successor; devices that have it in their scope are sent there. Returns the successor's name."""
    b.flush()
    row = b.row(s.document, old)
    assert row is not None
    facts = facts_in_document(b.conn, old)
    living = living_subjects(
        b.memory.states_of(old),
        kind=row.kind,
        touched=_touched(b, old, facts),
        waiting_orders=_waiting_orders(b),
        given_up=_given_up(b),
    )
    going = [carry(fact) for fact in carried_in(b.trade, facts, living)]
    new = b.open_successor(old, owner=row.owner, writers=_writers(b, old), facts=going)
    send_devices(b, old, new)
    return new


def join_newest(b: Batch, old: str) -> None:
    """The lost server had ended this document: what was read in it since the restore goes on, and devices are sent there."""
    e, f = s.envelope.c, s.fact.c
    since = b.conn.execute(select(func.min(e.n)).where(e.device == b.server.number)).scalar() or 0
    fresh = set(b.conn.execute(select(f.id).where(f.document == old, f.n >= since)).scalars())
    for late in facts_in_document(b.conn, old):
        if late.id in fresh:
            b.say(old, carry(late))
    send_devices(b, old, b.newest(old))


def send_devices(b: Batch, old: str, new: str) -> None:
    """Name the successor in the scope of every device that has the old document in its own."""
    for device in b.conn.execute(
        select(s.device).where(s.device.c.revoked_ms.is_(None)).order_by(s.device.c.number)
    ).all():
        documents = json.loads(device.documents)
        if old in documents:
            say_scope(b, device.number, list(dict.fromkeys(new if name == old else name for name in documents)))


# --- below ------------------------------------------------------------------------------------------------------------------


def _work(what: str, document: str, do: Callable[[Batch, str], int]) -> Work:
    return Work(name=f"{what}:{document}", subject=f"document:{document}", do=lambda b: do(b, document))


def _end(b: Batch, document: str) -> int:
    end_document(b, document)
    return 1


def _join(b: Batch, document: str) -> int:
    """A server restored from a backup had this one open, and devices told it of a later one."""
    b.say_here(document, Fact(kind=DOCUMENT_CLOSED, subjects=("document",), body={"successor": b.newest(document)}))
    join_newest(b, document)
    return 1


def _open_lines(b: Batch) -> list[tuple[str, str, int, int]]:
    """Return (document, kind, envelopes since its opening, envelopes it opened with) of each open document of a line that has grown by as
    many as it opened with; a warehouse's ends with its day in any case.
    """
    d, h = s.document.c, s.head.c
    rows = b.conn.execute(
        select(d.name, d.kind, func.sum(h.seq).label("envelopes"))
        .join(s.head, h.document == d.name)
        .where(d.kind.in_(list(limits.DOCUMENT_ENDS_AFTER)), d.closed_ms.is_(None))
        .group_by(d.name, d.kind)
        # Devices' own documents last: the others' successors are named in them.
        .order_by(d.kind == "device", d.name)
    ).all()
    found = []
    for row in rows:
        opening = max(_openings(b, row.name).values(), default=1)
        own = int(row.envelopes) - opening
        if line_of(row.name) is not None and (row.kind == "warehouse" or own >= opening):
            found.append((row.name, row.kind, own, opening))
    return found


def _openings(b: Batch, document: str) -> dict[int, int]:
    """Return {server's number: seq} of where each opening of a successor ends: two only if a restored server opened it again."""
    state = b.memory.state(document, "document") or {}
    return {int(writer): seq for writer, seq in state.get("opening", {}).items()}


def _touched(b: Batch, document: str, facts: list[PlacedFact]) -> frozenset[str]:
    opened = _openings(b, document)
    return frozenset(x for fact in facts if fact.seq > opened.get(fact.writer, 0) for x in fact.subjects)


def _writers(b: Batch, document: str) -> dict[int, str]:
    """Return {device: role} of those who may speak in the successor: everybody who might here and is still ours."""
    d = s.device.c
    ours = b.conn.execute(select(d.number).where(d.revoked_ms.is_(None), d.replaced_by.is_(None))).scalars()
    return {number: role for number in ours if (role := b.memory.role_of(document, number))}


def _waiting_orders(b: Batch) -> frozenset[str]:
    w = st.wanted.c
    return frozenset(
        b.conn.execute(select(w.order_id).where(w.status.not_in(("shipped", "closed"))).distinct()).scalars()
    )


def _given_up(b: Batch) -> frozenset[str]:
    r = st.expected_return.c
    late = select(r.courier_no).where(r.received_ms.is_(None), r.expected_ms < b.now_ms - RETURN_WAIT_MS)
    return frozenset(f"return:{number}" for number in b.conn.execute(late).scalars())
