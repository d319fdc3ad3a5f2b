"""What time decides: questions that ran out, promises that came due, orphans, and the daily close.

Deadlines are intervals from when the server asked (D13). Rules R50, R70, D6, D7, D8, D12, E12, E24, E31, E36.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from sqlalchemy import Row, select

from server import commands as c
from server import contact
from server import schema as s
from server import schema_trade as st
from server.authority import answers, closing
from server.authority.batch import PLATFORM, Batch
from server.authority.deciding import correct_again, decide_now
from server.authority.documents import drop_from_scope
from server.authority.log_reading import placed_fact
from server.authority.returns import settle_refund
from server.authority.succession import end_documents, end_large_documents
from server.authority.works import Done, Work, do_each
from server.ledger import PRINCIPAL
from sync_core.errors import RefusedError
from sync_core.facts import DOCUMENT_CLOSED, Fact
from trade.calendar import POSTPONEMENTS_MAX, next_open_day

ORPHAN_MS: Final = 24 * 60 * 60 * 1000
"""A label that no phone explains within a day is an orphan with an owner (E12)."""


def run_timers(b: Batch) -> Done:
    """Do what became due, each thing by itself (REL-R15); counts the things done."""
    d = st.decision.c
    due = b.conn.execute(
        select(d.id)
        .where(d.resolved_ms.is_(None), d.deadline_ms.is_not(None), d.deadline_ms <= b.now_ms)
        .order_by(d.id)
    ).scalars()
    questions = do_each(b, [_question_work("ran_out", number, _ran_out) for number in due])
    large = end_large_documents(b)
    p = st.piece.c
    orphans = b.conn.execute(
        select(p.code).where(
            p.outcome == "unexplained", p.scanned_ms.is_not(None), p.scanned_ms <= b.now_ms - ORPHAN_MS
        )
    ).scalars()
    for code in list(orphans):
        b.discrepancy("orphan", f"piece:{code}", PLATFORM, code=code)
    return Done(count=questions.count + large.count, failed=questions.failed + large.failed)


def close_day(b: Batch, command: c.DayClose) -> dict[str, Any]:
    """The daily close: differences go back, unanswered questions fall to the shop's setting, finished routes end (D6, D8).

    Each of these stands for itself: what fails is told and counted as `failed`, and the rest of the day is closed (REL-R15).
    """
    day = command.day or b.today
    released = _release_differences(b, day)
    answered = _answer_by_setting(b, day)
    closed = _close_routes(b, day)
    ended = end_documents(b)
    return {
        "day": day, "released_fen": released.count, "answered": answered.count, "routes_closed": closed.count,
        "documents_ended": ended.count, "failed": released.failed + answered.failed + closed.failed + ended.failed,
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
    done = do_each(b, [_parked_work(row) for row in rows])
    contact.end_review(b, command.device)
    if not done.failed:
        b.settle_discrepancy(f"parked|{command.device}", "主管已确认 / a supervisor let it count")
    return {"facts": done.count, "failed": done.failed}


def _parked_work(row: Row[Any]) -> Work:
    fact = placed_fact(row)

    def count(b: Batch) -> int:
        if not decide_now(b, row.document, fact):
            return 0
        correct_again(b, fact)
        return 1

    return Work(name=f"parked:{row.document}:{fact.id}", subject=f"device:{fact.writer}", do=count)


def _question_work(what: str, number: int, do: Callable[[Batch, Row[Any]], int]) -> Work:
    def done(b: Batch) -> int:
        question = b.row(st.decision, number)
        return 0 if question is None or question.resolved_ms is not None else do(b, question)

    return Work(name=f"{what}:{number}", subject=f"decision:{number}", do=done)


def _ran_out(b: Batch, question: Row[Any]) -> int:
    if question.kind == "ask":
        _ask_ran_out(b, question)
    elif question.kind == "refund":
        settle_refund(b, question, "silence")
    return 1


def _ask_ran_out(b: Batch, question: Row[Any]) -> None:
    detail = json.loads(question.detail)
    task = b.row(st.task, detail["task"])
    wanted = None if task is None else b.row(st.wanted, task.wanted)
    order = None if task is None else b.row(st.shop_order, task.order_id)
    if task is None or wanted is None or order is None or wanted.status != "asked" or wanted.task != task.id:
        b.decided(("ask",), question.subject, "over")
        return
    answers.refuse_or_raise(b, task, wanted, order, accepted=False, price_fen=detail["price_fen"], choice="silence")


def _release_differences(b: Batch, day: str) -> Done:
    """What was paid below the quote is the merchant's again, scanned in or not (D8)."""
    w, t = st.wanted.c, st.task.c
    wants = b.conn.execute(
        select(w.id).join(st.task, t.wanted == w.id).where(w.status == "bought", t.day <= day, t.status == "bought")
    ).scalars()
    return do_each(
        b, [Work(name=f"difference:{want}", subject=f"task:{want}", do=partial(_release_difference, want=want)) for want in wants]
    )  # fmt: skip


def _release_difference(b: Batch, want: str) -> int:
    wanted = b.row(st.wanted, want)
    assert wanted is not None
    order = b.row(st.shop_order, wanted.order_id)
    released_fen = b.ledger.release(
        want, key=f"difference:{wanted.keeper}", parts=(PRINCIPAL,), about=b.about(order=order, piece=wanted.keeper or ""),
        zh="日结：低于报价的差额退回",
        en="Daily close: difference below the quote released",
    )  # fmt: skip
    b.rescreen.add(wanted.merchant)
    return released_fen


def _answer_by_setting(b: Batch, day: str) -> Done:
    """Unanswered, the shop's setting decides; the third postponement stops (D6, E36)."""
    d = st.decision.c
    open_ = b.conn.execute(select(d.id).where(d.kind == "answer", d.resolved_ms.is_(None)).order_by(d.id)).scalars()
    setting = partial(_answer_one, day=day)
    return do_each(b, [_question_work("setting", number, setting) for number in open_])


def _answer_one(b: Batch, question: Row[Any], *, day: str) -> int:
    detail = json.loads(question.detail)
    task = b.row(st.task, detail["task"])
    wanted = None if task is None else b.row(st.wanted, task.wanted)
    order = None if task is None else b.row(st.shop_order, task.order_id)
    if task is None or wanted is None or order is None or wanted.status != "answered" or wanted.task != task.id:
        b.decided(("answer",), question.subject, "over")
        return 0
    shop = b.row(st.shop, order.shop)
    setting = shop.default_answer if shop is not None else "re_enter"
    if detail["next"] == "stopped" or wanted.postponed >= POSTPONEMENTS_MAX or setting == "wait":
        return 0
    if setting == "close_line":
        closing.close_line(b, wanted, order, reason="closed")
    else:
        back = detail["comes_back_on"] or next_open_day(day, b.settings.calendar)
        try:
            # Fees may have risen since its money was frozen: what a wallet cannot pay leaves the piece as it was.
            with b.conn.begin_nested():
                answers.again(b, task, wanted, order, changes={}, on_day=back, reason="stall_changed")
        except RefusedError:
            return 0
    b.decided(("answer",), question.subject, "setting")
    return 1


def _close_routes(b: Batch, day: str) -> Done:
    """End the routes of this day and before in which nothing is open any more; they leave their device's scope (design section 4)."""
    d = s.document.c
    rows = b.conn.execute(
        select(d.name).where(d.kind.in_(("route", "trip")), d.closed_ms.is_(None)).order_by(d.name)
    ).scalars()
    close = partial(_close_route, day=day)
    return do_each(
        b, [Work(name=f"route:{name}", subject=f"document:{name}", do=partial(close, name=name)) for name in rows]
    )


def _close_route(b: Batch, *, day: str, name: str) -> int:
    t, p = st.task.c, st.piece.c
    own_day = name.removeprefix("route/")[: len(day)]
    if own_day > day:
        return 0
    # A bounce that its merchant leaves undecided needs the phone no longer than its day: nobody recalls it.
    waiting = ("out", "asked", "answered", "recalled", *(("bounced",) if own_day == day else ()))
    still = b.conn.execute(select(t.id).where(t.document == name, t.status.in_(waiting))).first()
    unscanned = b.conn.execute(
        select(p.code).join(st.task, t.id == p.task).where(t.document == name, p.place == "with_picker")
    ).first()
    # A trip has no assumed success: it lasts until each of its pieces went somewhere (D15).
    carried = b.conn.execute(
        select(p.code).join(st.trip, st.trip.c.id == p.trip).where(st.trip.c.document == name, p.place == "with_runner")
    ).first()
    row = b.row(s.document, name)
    if row is None or still is not None or unscanned is not None or carried is not None:
        return 0
    b.say(name, Fact(kind=DOCUMENT_CLOSED, subjects=("document",), body={"successor": None}))
    drop_from_scope(b, int(row.owner), [name])
    return 1
