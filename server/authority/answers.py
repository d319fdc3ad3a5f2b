"""Stock answers, questions and bounces from the stall, and what merchants decide about them.

Bought wins over any answer (E4). A dated answer comes back on its day by itself, every other one waits for the merchant, or at the daily
close for the shop's setting. All attempts at a piece share one hold; a bounce gives it back at once (R80), a new quote freezes it anew.
Rules R46-R50, R69, R70, R80, D6, D7, E4, E35, E36.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Row, select, update

from server import commands as c
from server import schema as s
from server import schema_trade as st
from server.authority.batch import PLATFORM, Batch, body_of, warehouse_document
from server.authority.closing import close_line, recheck_recall
from server.authority.dispatch import dispatch, has_left, need_task, next_attempt, put_in_warehouse, recall
from server.authority.documents import open_route
from server.authority.holds import freeze, is_given_back
from server.ledger import PRINCIPAL, HoldPart
from sync_core.errors import RefusedError
from sync_core.facts import PlacedFact
from trade import kinds
from trade.conflicts import Accepted, AnswerDecision, Overruled, TooLate, Want, judge_answer, judge_bounce
from trade.ids import first_id
from trade.kinds import PRICE_FEN_MAX
from trade.pricing import ASK_MS_MAX, Quote
from trade.product_code import read_product_code


def on_answered(b: Batch, document: str, fact: PlacedFact) -> None:
    """The stall does not sell it now (D6)."""
    body = body_of(fact)
    assert isinstance(body, kinds.TaskAnswered)
    task, wanted, order = _rows(b, fact)
    if task is None or wanted is None or order is None:
        return
    decision = judge_answer(
        _want(task, wanted, order, document), body.answer, today=task.day or b.today, on_day=body.on_day,
        market=b.settings.calendar, postponed_before=wanted.postponed,
    )  # fmt: skip
    _say_verdict(b, document, fact, decision, task, order)
    recheck_recall(b, document, task.id)
    if not isinstance(decision, Accepted) or wanted.task != task.id:
        return
    b.set(st.task, task.id, status="answered")
    b.set(st.wanted, wanted.id, status="answered", not_before=decision.on_day)
    b.decided(("ask", "bounce"), f"task:{task.id}", "over")  # The later word of the same phone.
    if body.answer in (kinds.Answer.TOMORROW, kinds.Answer.ON_DAY, kinds.Answer.THIS_AFTERNOON):
        b.set(st.wanted, wanted.id, postponed=wanted.postponed + 1)
    b.ask(
        "answer", f"task:{task.id}", order=order.id, merchant=order.merchant, cause=f"{document}|{fact.id}",
        detail={
            "answer": body.answer.value, "on_day": body.on_day, "note": body.note, "next": decision.next,
            "comes_back_on": decision.on_day, "task": task.id, "stall": task.stall_id,
        },
    )  # fmt: skip


def on_answer_withdrawn(b: Batch, document: str, fact: PlacedFact) -> None:
    """The answer was a slip."""
    body = body_of(fact)
    assert isinstance(body, kinds.AnswerWithdrawn)
    task, wanted, order = _rows(b, fact)
    if task is None or wanted is None or order is None or wanted.task != task.id:
        return
    if task.status == "bounced" and wanted.status == "bounced":
        _take_back(b, "bounce", document, body.fact, task, wanted, order)
    elif task.status == "answered" and wanted.status == "answered":
        _take_back(b, "answer", document, body.fact, task, wanted, order)


def on_asked(b: Batch, document: str, fact: PlacedFact) -> None:
    """The stall wants more than the cap; the merchant has 30 minutes (D7)."""
    body = body_of(fact)
    assert isinstance(body, kinds.PriceAsked)
    task, wanted, order = _rows(b, fact)
    if (
        task is None
        or wanted is None
        or order is None
        or wanted.task != task.id
        or wanted.status not in ("out", "answered")
        or _is_anothers(task, document)
    ):
        return
    b.set(st.task, task.id, status="asked")
    b.set(st.wanted, wanted.id, status="asked")
    b.ask(
        "ask", f"task:{task.id}", order=order.id, merchant=order.merchant, cause=f"{document}|{fact.id}",
        detail={"price_fen": body.price_fen, "cap_fen": task.cap_fen, "task": task.id, "stall": task.stall_id},
        deadline_ms=b.now_ms + ASK_MS_MAX,
    )  # fmt: skip


def on_bounced(b: Batch, document: str, fact: PlacedFact) -> None:
    """The stall wants more than the cap: the line goes back to the merchant, its money at once (R80)."""
    body = body_of(fact)
    assert isinstance(body, kinds.TaskBounced)
    task, wanted, order = _rows(b, fact)
    if task is None or wanted is None or order is None:
        return
    decision = judge_bounce(_want(task, wanted, order, document))
    _say_verdict(b, document, fact, decision, task, order)
    recheck_recall(b, document, task.id)
    if isinstance(decision, Accepted) and wanted.task == task.id:
        bounce(b, task, wanted, order, price_fen=body.price_fen, cause=f"{document}|{fact.id}", fact=fact.id)


def bounce(
    b: Batch, task: Row[Any], wanted: Row[Any], order: Row[Any], *, price_fen: int, cause: str, fact: str = ""
) -> None:
    """The merchant is asked for another quote; when the phone itself said it (`fact`), the task ends and its money is released (R80).

    A question that was refused or ran out ends nothing on a phone that has not heard of it: it may still buy within the cap, so the
    money stays frozen until the phone's own facts show that it did not (D9, D13). So it does while an earlier attempt's phone is out.
    """
    b.set(st.wanted, wanted.id, status="bounced")
    if fact:
        b.set(st.task, task.id, status="bounced")
        t = st.task.c
        elsewhere = select(t.id).where(t.wanted == wanted.id, t.status.in_(("out", "asked", "answered", "recalled")))
        if b.conn.execute(elsewhere.limit(1)).first() is None:
            b.ledger.release(
                wanted.id, key=f"bounce:{task.id}:{fact}", about=b.about(order=order, task=task.id, fact=fact),
                zh=f"档口价 {_yuan(price_fen)} 高于上限，退回冻结",
                en=f"The stall wants {_yuan(price_fen)}, above the cap: released",
            )  # fmt: skip
            b.rescreen.add(order.merchant)
    b.ask(
        "bounce", f"task:{task.id}", order=order.id, merchant=order.merchant, cause=cause,
        detail={"price_fen": price_fen, "cap_fen": task.cap_fen, "quote_fen": task.quote_fen, "task": task.id, "stall": task.stall_id},
    )  # fmt: skip


def answer_ask(b: Batch, command: c.AskAnswer) -> dict[str, Any]:
    """The merchant accepts the stall's price (more is frozen, the cap rises), or not (it bounces) (D7).

    Raises:
        RefusedError: `ask.over` when there is no open question, `wallet.short`.
    """
    task = need_task(b, command.task)
    wanted, order = _need(b, task)
    d = st.decision.c
    question = b.conn.execute(
        select(st.decision).where(d.kind == "ask", d.subject == f"task:{task.id}", d.resolved_ms.is_(None))
    ).first()
    if question is None or wanted.status != "asked" or wanted.task != task.id:
        raise RefusedError("ask.over", "这个问题已经过期或已处理 / this question is over")
    price_fen = int(_detail(question)["price_fen"])
    if command.accepted:
        if is_given_back(b, order, wanted):
            freeze(b, order, wanted, task, again=f"ask:{question.id}")
        more_fen = price_fen - b.ledger.open_fen(wanted.id, PRINCIPAL)
        if order.drop_ship and more_fen > 0:
            b.ledger.hold(
                [HoldPart(subject=wanted.id, part=PRINCIPAL, amount_fen=more_fen)], key=f"ask:{question.id}",
                about=b.about(order=order, task=task.id),
                zh=f"同意加价到 {_yuan(price_fen)}，追加冻结",
                en=f"Price raised to {_yuan(price_fen)}: more is held",
            )  # fmt: skip
    refuse_or_raise(
        b,
        task,
        wanted,
        order,
        accepted=command.accepted,
        price_fen=price_fen,
        choice="accepted" if command.accepted else "refused",
    )
    return {"task": task.id, "accepted": command.accepted}


def refuse_or_raise(
    b: Batch, task: Row[Any], wanted: Row[Any], order: Row[Any], *, accepted: bool, price_fen: int, choice: str
) -> None:
    """Tell the phone, and bounce when it was refused or nobody answered."""
    # Asked before the phone had heard the answer to a dearer question, it lowers no cap.
    cap_fen = max(min(price_fen, PRICE_FEN_MAX), task.cap_fen) if accepted else task.cap_fen
    fact = kinds.AskAnswered(accepted=accepted, cap_fen=cap_fen).about(f"task:{task.id}")
    b.say_to([task.document, warehouse_document(order.warehouse) if order.warehouse else None], fact)
    b.decided(("ask",), f"task:{task.id}", choice)
    if accepted:
        b.set(st.task, task.id, cap_fen=cap_fen, status="out")
        b.set(st.wanted, wanted.id, status="out")
    else:
        bounce(b, task, wanted, order, price_fen=price_fen, cause=f"ask|{task.id}|{price_fen}")


def decide_task(b: Batch, command: c.TaskDecide) -> dict[str, Any]:
    """The merchant's choice about an answered or bounced piece.

    Raises:
        RefusedError: `task.settled`, `task.choice`, `wallet.short`, or a bad product code.
    """
    task = need_task(b, command.task)
    wanted, order = _need(b, task)
    if wanted.status not in ("answered", "bounced", "waiting", "ready") or wanted.task != task.id:
        raise RefusedError("task.settled", "这件已经有结果 / this piece is settled already")
    if command.choice in ("close_line", "delist"):
        close_line(b, wanted, order, reason="delisted" if command.choice == "delist" else "closed")
        if command.choice == "delist":
            delist(b, order.merchant, task)
        b.decided(("answer", "bounce"), f"task:{task.id}", command.choice)
        return {"task": task.id, "closed": True}
    changes = _changes(b, command, task, order)
    if command.choice == "on_day" and command.on_day is None:
        raise RefusedError("task.choice", "请选日期 / name the day")
    new = again(
        b,
        task,
        wanted,
        order,
        changes=changes,
        on_day=command.on_day if command.choice == "on_day" else None,
        reason="stall_changed",
    )
    b.decided(("answer", "bounce"), f"task:{task.id}", command.choice)
    return {"task": new.id, "status": new.status}


def again(
    b: Batch,
    task: Row[Any],
    wanted: Row[Any],
    order: Row[Any],
    *,
    changes: dict[str, Any],
    on_day: str | None,
    reason: str,
) -> Row[Any]:
    """Make the next attempt, with its money frozen; it goes back to the same route if that is still today's (D7).

    Raises:
        RefusedError: `wallet.short`.
    """
    new = next_attempt(b, task, **changes)
    freeze(b, order, wanted, new)
    if task.status != "ready" or task.document is not None:
        recall(b, task, reason)
    else:
        b.set(st.task, task.id, status="ended")
    if on_day is not None and on_day > b.today:
        b.set(st.wanted, wanted.id, not_before=on_day)
    elif task.device is not None and task.day == b.today and _living(b, task.device):
        route = open_route(b, task.device, b.today, markets={new.market})
        dispatch(b, new, device=task.device, document=route, day=b.today)
    put_in_warehouse(b, order.id)
    row = b.row(st.task, new.id)
    assert row is not None
    return row


def _take_back(
    b: Batch, kind: str, document: str, said: str, task: Row[Any], wanted: Row[Any], order: Row[Any]
) -> None:
    """A bounce or an answer was a slip: freeze the money that went back again if it is there; if not, the merchant is asked as before."""
    d = st.decision.c
    where = (d.kind == kind, d.cause == f"{document}|{said}", d.resolved_ms.is_(None))
    if b.conn.execute(select(d.id).where(*where)).first() is None:
        return
    if kind == "bounce" or is_given_back(b, order, wanted):
        try:
            freeze(b, order, wanted, task, again=said)
        except RefusedError:
            return
    b.conn.execute(update(st.decision).where(*where).values(resolved_ms=b.now_ms, choice="withdrawn"))
    b.set(st.task, task.id, status="out")
    b.set(st.wanted, wanted.id, status="out", not_before=None)


def delist(b: Batch, merchant: str, task: Row[Any]) -> int:
    """The product is off sale: the merchant is told of his other open pieces of it (R48)."""
    t, w = st.task.c, st.wanted.c
    others = b.conn.execute(
        select(st.task).join(st.wanted, w.task == t.id).where(
            t.stall_id == task.stall_id, t.style == task.style, w.merchant == merchant, w.status.in_(("ready", "out")), t.id != task.id
        )
    ).all()  # fmt: skip
    for other in others:
        b.notice(
            merchant,
            "delisted",
            f"task:{other.id}",
            style=task.style,
            task=other.id,
        )
    return len(others)


# --- below ------------------------------------------------------------------------------------------------------------------


def _changes(b: Batch, command: c.TaskDecide, task: Row[Any], order: Row[Any]) -> dict[str, Any]:
    shop = b.row(st.shop, order.shop)
    tolerance_fen = shop.tolerance_fen if shop is not None else 0
    if command.choice == "change_stall":
        if not command.code:
            raise RefusedError("task.choice", "请填新的商品编码 / give the other stall's product code")
        code = read_product_code(command.code)
        return {
            "stall_id": code.stall_id, "market": code.market, "floor": code.floor, "stall": code.stall, "style": code.style,
            "colour": code.colour or task.colour, "size": code.size or task.size, "quote_fen": code.quote_fen,
            "cap_fen": Quote(quote_fen=code.quote_fen, tolerance_fen=tolerance_fen).cap_fen,
        }  # fmt: skip
    if command.choice == "requote":
        if command.quote_fen is None:
            raise RefusedError("task.choice", "请填新报价 / give the new quote")
        quote = Quote(quote_fen=command.quote_fen, tolerance_fen=tolerance_fen)
        return {"quote_fen": command.quote_fen, "cap_fen": quote.cap_fen}
    return {}


def _want(task: Row[Any], wanted: Row[Any], order: Row[Any], document: str) -> Want:
    gone = task.recalled is not None or wanted.status in ("closing", "closed") or _is_anothers(task, document)
    return Want(
        merchant=order.merchant, cap_fen=task.cap_fen, drop_ship=bool(order.drop_ship), purchases=(),
        recall="0.0.0" if gone else None, drawn=wanted.keeper,
    )  # fmt: skip


def _is_anothers(task: Row[Any], document: str) -> bool:
    """True when a phone speaks of a task that another has: it says nothing about that one's hands (D9)."""
    return task.document not in (None, document)


def _say_verdict(
    b: Batch, document: str, fact: PlacedFact, decision: AnswerDecision, task: Row[Any], order: Row[Any]
) -> None:
    told: str | None = None
    match decision:
        case Accepted(next=then, on_day=on_day):
            verdict = kinds.AnswerVerdict(fact=fact.id, outcome="accepted", next=then, on_day=on_day)
        case Overruled():
            verdict = kinds.AnswerVerdict(fact=fact.id, outcome="overruled")
            told = "answer_overruled"
        case TooLate():
            verdict = kinds.AnswerVerdict(fact=fact.id, outcome="too_late")
            told = "answer_too_late"
    if not b.once(document, fact.id, kinds.AnswerVerdict.KIND, verdict.model_dump(mode="json")):
        return
    if told is not None:
        b.notice(PLATFORM, told, f"task:{task.id}", fact=fact.id)
    warehouse = warehouse_document(order.warehouse) if order.warehouse else None
    b.say_to([document, warehouse], verdict.about(f"task:{task.id}"))


def _rows(b: Batch, fact: PlacedFact) -> tuple[Row[Any] | None, Row[Any] | None, Row[Any] | None]:
    task = b.row(st.task, first_id(fact.subjects, "task"))
    if task is None:
        b.discrepancy("unknown_task", fact.subjects[0], PLATFORM, facts=[fact.id], key=f"unknown_task|{fact.id}")
        return None, None, None
    order = b.row(st.shop_order, task.order_id)
    has_left(b, order)  # A lost server may have sent it out, and its word may arrive after the phone's.
    return task, b.row(st.wanted, task.wanted), order


def _need(b: Batch, task: Row[Any]) -> tuple[Row[Any], Row[Any]]:
    wanted, order = b.row(st.wanted, task.wanted), b.row(st.shop_order, task.order_id)
    assert wanted is not None
    assert order is not None
    return wanted, order


def _detail(question: Row[Any]) -> dict[str, Any]:
    return dict(json.loads(question.detail))


def _living(b: Batch, number: int) -> bool:
    device = b.row(s.device, number)
    return device is not None and device.revoked_ms is None and device.written_off_ms is None


def _yuan(amount_fen: int) -> str:
    return f"{amount_fen // 100}.{amount_fen % 100:02d}"
