"""Closing, refunds and recalls: what goes back at once, what waits for a phone's answer, what never comes back.

Courier and packing fees come back at once; a piece that never left the server gives all its money back at once; one that is out is
recalled, and its principal goes back when its device's own facts show that it knew and had not bought, or a supervisor wrote the
device off (D9). So no offline purchase can find the wallet empty (E26), and a closed order ends with nothing held (I13).
Rules R31, R49, R69, R82, D9, D11, D12, E1, E2, E15.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, select, update

from server import commands as c
from server import schema as s
from server import schema_trade as st
from server.authority import waybills
from server.authority.batch import Batch, warehouse_document
from server.authority.dispatch import device_gone, recall
from server.authority.documents import free_cell
from server.authority.intake import screen_order
from server.authority.shelving import to_stock
from server.ledger import About, tell_parts
from sync_core.errors import RefusedError
from sync_core.facts import PlacedFact
from trade import kinds
from trade.conflicts import PrincipalBack, judge_recall
from trade.ids import first_id

_OUT = ("out", "asked", "answered", "recalled")
"""Task states in which a phone may still buy."""
CLOSED_AFTER = "purchase.closed_after"
"""The rule under which a purchase is judged once more: its order was closed after it."""
EVERY_LINE = "每一件都关闭了 / every piece of it was closed"
"""Why an order was closed whose last piece a merchant, or his shop's setting, closed."""


def close_order(b: Batch, command: c.OrderClose) -> dict[str, Any]:
    """Close an order (R49, R69, D9).

    Raises:
        RefusedError: `order.unknown`, `order.done`.
    """
    order = b.row(st.shop_order, command.order)
    if order is None:
        raise RefusedError("order.unknown", f"没有订单 {command.order} / there is no order {command.order}")
    if order.status in ("shipped", "closed"):
        raise RefusedError("order.done", "订单已发货或已关闭 / the order has shipped or is closed already")
    parcel = b.conn.execute(select(st.parcel).where(st.parcel.c.order_id == order.id)).first()
    if parcel is not None and parcel.shipped_ms is not None:
        raise RefusedError("order.done", "包裹已发出 / its parcel has shipped")
    _close_whole(b, order, command.reason)
    out = 0
    for wanted in b.conn.execute(select(st.wanted).where(st.wanted.c.order_id == order.id)).all():
        close_want(b, wanted, order, reason="closed")
        out += _is_out(b, wanted.id)
    return {"order": order.id, "pieces_out": out}


def close_line(b: Batch, wanted: Row[Any], order: Row[Any], *, reason: str) -> None:
    """Close one piece of an order; with its last one the order is closed whole, so that nothing stays held for an empty parcel (I13)."""
    close_want(b, wanted, order, reason=reason)
    w = st.wanted.c
    left = select(w.id).where(w.order_id == order.id, w.status.not_in(("closing", "closed"))).limit(1)
    if order.status not in ("shipped", "closed") and b.conn.execute(left).first() is None:
        _close_whole(b, order, EVERY_LINE)


def close_want(b: Batch, wanted: Row[Any], order: Row[Any], *, reason: str) -> None:
    """One piece is not wanted any more: recall what is out, give back what may go back, make stock of what is in the house."""
    if wanted.status in ("closed", "closing", "shipped"):
        return
    t = st.task.c
    for task in b.conn.execute(select(st.task).where(t.wanted == wanted.id, t.recalled.is_(None))).all():
        if task.status not in ("ended", "bought"):
            recall(b, task, reason)
        elif task.warehouse:
            b.say(
                warehouse_document(task.warehouse),
                kinds.TaskRecalled.model_validate({"reason": reason}).about(f"task:{task.id}", *_drawn_for(b, wanted)),
            )
            b.set(st.task, task.id, recalled=reason)
    b.decided(("answer", "bounce", "ask"), f"task:{wanted.task}", "closed")
    b.conn.execute(
        update(st.order_line)
        .where(st.order_line.c.order_id == order.id, st.order_line.c.line == wanted.line)
        .values(closed=1)
    )
    if wanted.keeper is not None:
        _free_keeper(b, wanted, order)
        return
    b.conn.execute(update(st.piece).where(st.piece.c.reserved == wanted.id).values(reserved=None))
    b.set(st.wanted, wanted.id, status="closing")
    settle_recalls(b, wanted.id)


def settle_recalls(b: Batch, wanted_id: str, fact: str = "") -> None:
    """Give a closing piece's money back once no phone can buy it any more (D9)."""
    wanted = b.row(st.wanted, wanted_id)
    if wanted is None or wanted.status != "closing" or _is_out(b, wanted_id):
        return
    order = b.row(st.shop_order, wanted.order_id)
    key = f"close:{wanted_id}"
    while b.ledger.has(key):  # It had been closed before; then the purchase that closed it was taken back.
        key += ":again"
    b.ledger.release(
        wanted_id,
        key=key,
        about=b.about(order=order, task=wanted.task, fact=fact),
        zh="关闭退回货款与佣金",
        en="Closed: principal and commission back",
    )
    b.set(st.wanted, wanted_id, status="closed")
    settle_order(b, wanted.order_id)
    b.rescreen.add(wanted.merchant)


def settle_order(b: Batch, order_id: str) -> None:
    """An order of which a parcel left is shipped as soon as no piece of it is waited for any more."""
    order = b.row(st.shop_order, order_id)
    left = select(st.parcel.c.shipped_ms).where(st.parcel.c.order_id == order_id, st.parcel.c.shipped_ms.is_not(None))
    shipped_ms = b.conn.execute(left).scalar()
    if order is None or order.status == "shipped" or shipped_ms is None:
        return
    if all(wanted.status in ("shipped", "closed") for wanted in b.rows(st.wanted, order_id=order_id)):
        b.set(st.shop_order, order_id, status="shipped", shipped_ms=shipped_ms)


def take_closed_back(b: Batch, wanted: Row[Any], order: Row[Any], task: Row[Any], code: str, about: About) -> None:
    """The purchase for which a close kept principal and commission was a slip: nothing was bought, so all of it goes back (D9, D12).

    Its principal is frozen again already. The phone may buy again until it knows of the close, so it goes back when that has answered.
    """
    b.ledger.uncapture_fees(
        wanted.id,
        key=f"unwalk:{code}",
        about=about,
        zh="撤销拿货：跑腿佣金退回",
        en="Purchase taken back: the commission of the walk too",
    )
    b.set(st.wanted, wanted.id, status="closing")
    b.settle_discrepancy(f"closed_unseen|piece:{code}", "拿货已撤销 / the purchase was taken back")
    b.notice(order.merchant, "closed_taken_back", f"piece:{code}", fact=about.causes[0] if about.causes else "")
    # Closed after it was bought, the phone heard that its piece serves no order, and not that the task is over.
    said = b.memory.facts_of(f"task:{task.id}", document=task.document, own_only=True) if task.document else {}
    if task.document and not any(fact.kind == kinds.TaskRecalled.KIND for fact in said.get(task.document, [])):
        b.say(task.document, kinds.TaskRecalled(reason="closed").about(f"task:{task.id}"))
    silent = task.document is None or task.recall_seen or device_gone(b, task.device)
    b.set(st.task, task.id, status="ended" if silent else "recalled", recalled=task.recalled or "closed")
    if task.document is not None and not silent:
        recheck_recall(b, task.document, task.id)
    settle_recalls(b, wanted.id, about.causes[0] if about.causes else "")


def on_recall_seen(b: Batch, document: str, fact: PlacedFact) -> None:
    """The phone that has the task knows of the recall and had not bought (D9). A copy's word says nothing about the other's hands."""
    task = b.row(st.task, first_id(fact.subjects, "task"))
    said_by = b.row(s.device, fact.writer)
    if task is None or task.document != document or said_by is None:
        return
    if task.device not in [device.number for device in numbers_since(b, said_by)]:
        return
    b.set(
        st.task,
        task.id,
        recall_seen=1,
        status="ended" if task.status in _OUT or task.status == "ready" else task.status,
    )
    settle_recalls(b, task.wanted, fact.id)


def recheck_recall(b: Batch, document: str, task_id: str) -> None:
    """A later answer or bounce of the phone may show that it knew of the recall and had not bought."""
    task = b.row(st.task, task_id)
    if task is None or task.status != "recalled" or task.document != document or task.device is None:
        return
    facts = b.memory.facts_of(f"task:{task.id}", document=document, own_only=True).get(document, [])
    recalls = [fact.id for fact in facts if fact.kind == kinds.TaskRecalled.KIND]
    if not recalls:
        return
    judged = judge_recall(facts, recall=recalls[-1], device=task.device, bought=())
    if isinstance(judged, PrincipalBack):
        b.set(st.task, task.id, status="ended")
        settle_recalls(b, task.wanted, judged.fact or "")


def numbers_since(b: Batch, device: Row[Any]) -> list[Row[Any]]:
    """Return the device under this number, and under those it took with new keys since."""
    numbers = [device]
    while numbers[-1].replaced_by is not None:
        after = b.row(s.device, numbers[-1].replaced_by)
        # A change of keys ends the old number in the moment in which the new one begins; a copy's new number is another device's.
        if after is None or numbers[-1].revoked_ms != after.enrolled_ms:
            break
        numbers.append(after)
    return numbers


def write_off_device(b: Batch, command: c.DeviceWriteOff) -> dict[str, Any]:
    """A supervisor declares that a device will never answer: its recalls count as answered (D9), also under a number it took just now."""
    known = b.row(s.device, command.device)
    if known is None:
        raise RefusedError("device.unknown", "没有这台设备 / there is no such device")
    numbers = numbers_since(b, known)
    for device in numbers:
        b.set(s.device, device.number, written_off_ms=b.now_ms, revoked_ms=device.revoked_ms or b.now_ms)
        b.store.ended.add(device.number)
    t = st.task.c
    tasks = b.conn.execute(
        select(st.task).where(t.device.in_([device.number for device in numbers]), t.status == "recalled")
    ).all()
    for task in tasks:
        b.set(st.task, task.id, status="ended")
        settle_recalls(b, task.wanted)
    return {"recalls_settled": len(tasks)}


def ask_refund(b: Batch, command: c.RefundAsked) -> dict[str, Any]:
    """The buyer wants his money back: nothing of the order ships until that is settled (R31, E15)."""
    order = _need_order(b, command.order)
    if order.status in ("closed", "shipped"):
        raise RefusedError("order.done", "订单已发货或已关闭 / the order has shipped or is closed")
    if not order.refund_open:
        b.set(st.shop_order, order.id, refund_open=1)
        if order.warehouse:
            b.say(warehouse_document(order.warehouse), kinds.RefundAsked().about(f"order:{order.id}"))
    return {"order": order.id}


def withdraw_refund(b: Batch, command: c.RefundWithdrawn) -> dict[str, Any]:
    """The buyer took it back: shipping goes on."""
    order = _need_order(b, command.order)
    if order.refund_open:
        b.set(st.shop_order, order.id, refund_open=0)
        if order.warehouse:
            b.say(warehouse_document(order.warehouse), kinds.RefundAsked(withdrawn=True).about(f"order:{order.id}"))
        if order.status == "held":
            screen_order(b, order.id)
    return {"order": order.id}


def _close_whole(b: Batch, order: Row[Any], reason: str) -> None:
    """The order as a whole: no waybill, no cell, courier and packing fees back at once."""
    b.set(st.shop_order, order.id, status="closed", closed_ms=b.now_ms, closed_reason=reason)
    if order.warehouse:
        b.say(warehouse_document(order.warehouse), kinds.OrderClosed(reason=reason[:300]).about(f"order:{order.id}"))
        waybills.void(b, order.id, "closed")
    parts_zh, parts_en = tell_parts(b.ledger.open_parts(order.id))
    b.ledger.release(
        order.id,
        key=f"close:{order.id}:fees",
        about=b.about(order=order),
        zh=f"订单 {order.order_no} 关闭，退回：{parts_zh}",
        en=f"Order {order.order_no} closed, back: {parts_en}",
    )
    free_cell(b, order.id)
    b.rescreen.add(order.merchant)


def _free_keeper(b: Batch, wanted: Row[Any], order: Row[Any]) -> None:
    """It was bought before the close was decided: the piece becomes the merchant's stock, the walk is paid (D9, E2)."""
    piece = b.row(st.piece, wanted.keeper)
    assert piece is not None
    about = b.about(order=order, task=piece.task or "", piece=piece.code)
    if piece.reserved == wanted.id:  # A piece of the stock goes back to its shelf; nothing was posted for it yet.
        b.ledger.release(
            wanted.id,
            key=f"close:{wanted.id}",
            about=about,
            zh="关闭退回货款与佣金",
            en="Closed: principal and commission back",
        )
    else:
        if b.settings.commission_stays:
            b.ledger.capture_fees(
                wanted.id,
                key=f"walk:{piece.code}",
                about=about,
                zh="已拿货后关闭，跑腿佣金不退",
                en="Closed after it was bought: the commission of the walk stays",
            )
        b.ledger.release(
            wanted.id, key=f"close:{wanted.id}", about=about, zh="关闭退回余额", en="Closed: the rest back"
        )
        b.set(st.piece, piece.code, owner=order.merchant, outcome="closed_unseen")
        b.decided(("over_cap",), f"piece:{piece.code}", "closed")
        _say_freed(b, piece, order)
        b.notice(
            order.merchant,
            "closed_after_bought",
            f"piece:{piece.code}",
            fact=piece.bought_fact or "",
        )
    b.set(st.wanted, wanted.id, status="closed", keeper=None)
    settle_order(b, order.id)
    b.set(st.piece, piece.code, reserved=None)
    if piece.scanned_ms is not None:
        to_stock(b, piece.code)


def _drawn_for(b: Batch, wanted: Row[Any]) -> list[str]:
    """The subject of the stock's piece that serves a want, so that the wall hears that it is stock again; nothing for a bought one."""
    piece = None if wanted.keeper is None else b.row(st.piece, wanted.keeper)
    return [f"piece:{piece.code}"] if piece is not None and piece.reserved == wanted.id else []


def _say_freed(b: Batch, piece: Row[Any], order: Row[Any]) -> None:
    """Both ends hear that the piece serves no order any more, so that the wall puts it on a shelf."""
    if piece.bought_fact is None:
        return
    verdict = kinds.PurchaseVerdict(
        fact=piece.bought_fact, outcome="closed_unseen", owner=order.merchant, charged_fen=piece.charged_fen,
        excess_fen=piece.excess_fen,
    )  # fmt: skip
    judge_once_more(b, CLOSED_AFTER, piece, order, verdict)


def judge_once_more(b: Batch, rule: str, piece: Row[Any], order: Row[Any], verdict: kinds.PurchaseVerdict) -> None:
    """Say a later verdict on a piece's purchase where its task is and in the warehouse, once per rule."""
    task = b.row(st.task, piece.task)
    if task is None:
        return
    if b.once(task.document or "", verdict.fact, rule, verdict.model_dump(mode="json")):
        warehouse = warehouse_document(order.warehouse) if order.warehouse else None
        b.say_to([task.document, warehouse], verdict.about(f"task:{task.id}", f"piece:{piece.code}"))


def _is_out(b: Batch, wanted_id: str) -> bool:
    t = st.task.c
    return (
        b.conn.execute(
            select(t.id).where(t.wanted == wanted_id, t.status.in_(_OUT), t.document.is_not(None)).limit(1)
        ).first()
        is not None
    )


def _need_order(b: Batch, order_id: str) -> Row[Any]:
    order = b.row(st.shop_order, order_id)
    if order is None:
        raise RefusedError("order.unknown", f"没有订单 {order_id} / there is no order {order_id}")
    return order
