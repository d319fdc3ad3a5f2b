"""What time decides: questions that ran out, promises that came due, orphans, and the daily close.

Deadlines are intervals from when the server asked (D13). Rules R50, R70, D6, D7, D8, D12, E12, E24, E31, E36.
"""

from __future__ import annotations

import json
from typing import Any, Final

from sqlalchemy import select

from server import commands as c
from server import contact
from server import schema as s
from server import schema_trade as st
from server.authority import answers, closing
from server.authority.batch import PLATFORM, Batch
from server.authority.deciding import decide_now
from server.authority.documents import drop_from_scope
from server.authority.log_reading import placed_fact
from server.authority.returns import settle_refund
from server.authority.succession import end_documents, end_large_documents
from server.ledger import PRINCIPAL
from sync_core.errors import RefusedError
from sync_core.facts import DOCUMENT_CLOSED, Fact
from trade.calendar import POSTPONEMENTS_MAX, next_open_day

ORPHAN_MS: Final = 24 * 60 * 60 * 1000
"""A label that no phone explains within a day is an orphan with an owner (E12)."""


def run_timers(b: Batch) -> int:
    """Do what became due; returns how many things were done."""
    done = 0
    d = st.decision.c
    due = b.conn.execute(
        select(st.decision)
        .where(d.resolved_ms.is_(None), d.deadline_ms.is_not(None), d.deadline_ms <= b.now_ms)
        .order_by(d.id)
    ).all()
    for question in due:
        done += 1
        if question.kind == "ask":
            _ask_ran_out(b, question)
        elif question.kind == "refund":
            settle_refund(b, question, "silence")
    done += len(end_large_documents(b))
    p = st.piece.c
    orphans = b.conn.execute(
        select(p.code).where(
            p.outcome == "unexplained", p.scanned_ms.is_not(None), p.scanned_ms <= b.now_ms - ORPHAN_MS
        )
    ).scalars()
    for code in list(orphans):
        b.discrepancy("orphan", f"piece:{code}", PLATFORM, code=code)
    return done


def close_day(b: Batch, command: c.DayClose) -> dict[str, Any]:
    """The daily close: differences go back, unanswered questions fall to the shop's setting, finished routes end (D6, D8)."""
    day = command.day or b.today
    released_fen = _release_differences(b, day)
    answered = _answer_by_setting(b, day)
    closed = _close_routes(b, day)
    ended = end_documents(b)
    return {
        "day": day, "released_fen": released_fen, "answered": answered, "routes_closed": closed, "documents_ended": len(ended),
    }  # fmt: skip


def release_parked(b: Batch, command: c.ParkedRelease) -> dict[str, Any]:
    """Let what a device delivered count after all: revoked (E31), or back too late or with too much (REL-R10)."""
    f, v = s.fact.c, s.verdict.c
    rows = b.conn.execute(
        select(s.fact)
        .where(f.writer == command.device, f.void.is_(None))
        .where(select(v.id).where(v.fact == f.id, v.document == f.document, v.rule == "parked").exists())
        .order_by(f.n, f.place)
    ).all()
    for row in rows:
        decide_now(b, row.document, placed_fact(row))
    contact.end_review(b, command.device)
    b.settle_discrepancy(f"parked|{command.device}", "主管已确认 / a supervisor let it count")
    return {"facts": len(rows)}


def _ask_ran_out(b: Batch, question: Any) -> None:
    detail = json.loads(question.detail)
    task = b.row(st.task, detail["task"])
    wanted = None if task is None else b.row(st.wanted, task.wanted)
    order = None if task is None else b.row(st.shop_order, task.order_id)
    if task is None or wanted is None or order is None or wanted.status != "asked":
        b.decided(("ask",), question.subject, "over")
        return
    answers.refuse_or_raise(b, task, wanted, order, accepted=False, price_fen=detail["price_fen"], choice="silence")


def _release_differences(b: Batch, day: str) -> int:
    """What was paid below the quote is the merchant's again, scanned in or not (D8)."""
    w, t = st.wanted.c, st.task.c
    rows = b.conn.execute(
        select(w.id, w.keeper, w.order_id)
        .join(st.task, t.wanted == w.id)
        .where(w.status == "bought", t.day <= day, t.status == "bought")
    ).all()
    total_fen = 0
    for row in rows:
        order = b.row(st.shop_order, row.order_id)
        total_fen += b.ledger.release(
            row.id, key=f"difference:{row.keeper}", parts=(PRINCIPAL,), about=b.about(order=order, piece=row.keeper or ""),
            zh="日结：低于报价的差额退回",
            en="Daily close: difference below the quote released",
        )  # fmt: skip
        if order is not None:
            b.rescreen.add(order.merchant)
    return total_fen


def _answer_by_setting(b: Batch, day: str) -> int:
    """Unanswered, the shop's setting decides; the third postponement stops (D6, E36)."""
    d = st.decision.c
    rows = b.conn.execute(select(st.decision).where(d.kind == "answer", d.resolved_ms.is_(None)).order_by(d.id)).all()
    done = 0
    for question in rows:
        detail = json.loads(question.detail)
        task = b.row(st.task, detail["task"])
        wanted = None if task is None else b.row(st.wanted, task.wanted)
        order = None if task is None else b.row(st.shop_order, task.order_id)
        if task is None or wanted is None or order is None or wanted.status != "answered" or wanted.task != task.id:
            b.decided(("answer",), question.subject, "over")
            continue
        shop = b.row(st.shop, order.shop)
        setting = shop.default_answer if shop is not None else "re_enter"
        if detail["next"] == "stopped" or wanted.postponed >= POSTPONEMENTS_MAX or setting == "wait":
            continue
        if setting == "close_line":
            closing.close_line(b, wanted, order, reason="closed")
        else:
            back = detail["comes_back_on"] or next_open_day(day, b.settings.calendar)
            try:
                # Fees may have risen since its money was frozen: what a wallet cannot pay leaves the piece as it was.
                with b.conn.begin_nested():
                    answers.again(b, task, wanted, order, changes={}, on_day=back, reason="stall_changed")
            except RefusedError:
                continue
        b.decided(("answer",), question.subject, "setting")
        done += 1
    return done


def _close_routes(b: Batch, day: str) -> int:
    """End the routes of this day and before in which nothing is open any more; they leave their device's scope (design section 4)."""
    d, t, p = s.document.c, st.task.c, st.piece.c
    rows = b.conn.execute(
        select(d.name, d.owner).where(d.kind.in_(("route", "trip")), d.closed_ms.is_(None)).order_by(d.name)
    ).all()
    closed = 0
    for row in rows:
        own_day = row.name.removeprefix("route/")[: len(day)]
        if own_day > day:
            continue
        # A bounce that its merchant leaves undecided needs the phone no longer than its day: nobody recalls it.
        waiting = ("out", "asked", "answered", "recalled", *(("bounced",) if own_day == day else ()))
        still = b.conn.execute(select(t.id).where(t.document == row.name, t.status.in_(waiting))).first()
        unscanned = b.conn.execute(
            select(p.code).join(st.task, t.id == p.task).where(t.document == row.name, p.place == "with_picker")
        ).first()
        # A trip has no assumed success: it lasts until each of its pieces went somewhere (D15).
        carried = b.conn.execute(
            select(p.code)
            .join(st.trip, st.trip.c.id == p.trip)
            .where(st.trip.c.document == row.name, p.place == "with_runner")
        ).first()
        if still is not None or unscanned is not None or carried is not None:
            continue
        b.say(row.name, Fact(kind=DOCUMENT_CLOSED, subjects=("document",), body={"successor": None}))
        drop_from_scope(b, int(row.owner), [row.name])
        closed += 1
    return closed
