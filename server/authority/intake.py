"""Orders come in: stored once, screened, paid for, and cut into wanted pieces.

An order goes on only as a whole: a bad product code or an unread message holds it, a line being refunded is left out (R31). Money is
frozen when it goes on, all of it or nothing; what the wallet does not cover waits as "money" in the order of arrival and goes on by
itself after a top-up (E25). Rules R30-R37, R64-R66, R79, D1, D2, D12, D20.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import Row, bindparam, func, or_, select

from server import commands as c
from server import schema_trade as st
from server.authority import waybills
from server.authority.batch import Batch
from server.authority.dispatch import put_in_warehouse
from server.authority.shelving import may_take, ships_from
from server.authority.works import Work, do_each
from server.installation import FIRST_ORDER
from server.ledger import HoldPart, tell_parts
from server.orders import Receiver, ShopLine, ShopOrder, read_order_files
from server.orders.reading import code_problem
from server.receivers import is_kept, keep_receiver
from server.rows import get_meta, set_meta, to_json
from sync_core.errors import RefusedError
from sync_core.payload import canonical_json
from trade.ids import parcel_of_order, task_id, want_of
from trade.pricing import LineWanted, OrderPrice, Quote, order_price
from trade.product_code import ProductCode, ProductCodeError, read_product_code
from trade.screening import (
    LineToScreen,
    OrderToScreen,
    Pick,
    Screened,
    ScreeningRules,
    Sku,
    Stock,
    StockPiece,
    screen,
)


def import_orders(b: Batch, command: c.OrdersImport) -> dict[str, Any]:
    """Read a shop's files and take what is new.

    Raises:
        RefusedError: `shop.unknown`, `orders.base64`, or an OrderFileError; nothing was stored.
    """
    shop = b.row(st.shop, command.shop)
    if shop is None:
        raise RefusedError("shop.unknown", f"没有店铺「{command.shop}」 / there is no shop {command.shop}")
    try:
        files = [(file.name, base64.b64decode(file.content, validate=True)) for file in command.files]
    except binascii.Error as error:
        raise RefusedError("orders.base64", "文件没有传完整 / the file did not arrive whole") from error
    read = read_order_files(files)
    counts = {"read": len(read.orders), "new": 0, "unchanged": 0, "changed": 0, "skipped": 0}
    statuses: dict[str, int] = {}
    changes: list[dict[str, Any]] = []
    fresh: list[str] = []
    for order in read.orders:
        known = next(iter(b.rows(st.shop_order, shop=command.shop, order_no=order.order_no)), None)
        digest = _digest(order)
        if known is not None:
            same = known.digest == digest
            counts["unchanged" if same else "changed"] += 1
            if not same:
                changes.append(_report_change(b, order, known))
        elif order.status in ("closed", "unpaid", "shipped") or not order.lines:
            counts["skipped"] += 1
            statuses[order.status] = statuses.get(order.status, 0) + 1
        else:
            counts["new"] += 1
            fresh.append(_store_order(b, shop, order, digest))
    for order_id in fresh:
        screen_order(b, order_id)
    problems = [problem.as_json() for problem in read.problems]
    return {**counts, "skipped_as": statuses, "changes": changes, "problems": problems, "format": read.format}


def release_orders(b: Batch, command: c.OrdersRelease) -> dict[str, Any]:
    """A person has read these orders: screen them again."""
    gone_on = 0
    for order_id in command.orders:
        order = need_order(b, order_id)
        if order.status in ("held", "money"):
            b.set(st.shop_order, order_id, message_read=1)
            gone_on += screen_order(b, order_id)
    return {"orders": len(command.orders), "gone_on": gone_on}


def set_line_code(b: Batch, command: c.LineCode) -> dict[str, Any]:
    """A better product code for a line of a held order.

    Raises:
        RefusedError: the code cannot be read, or the order went on already.
    """
    order = need_order(b, command.order)
    if order.status not in ("held", "money"):
        raise RefusedError(
            "order.gone_on", "订单已经开始拿货，不能改编码 / the order has gone on; decide about its task instead"
        )
    code = read_product_code(command.code)
    ol = st.order_line
    done = b.conn.execute(
        ol.update()
        .where(ol.c.order_id == command.order, ol.c.line == command.line)
        .values(code=command.code, code_problem=None, **_place(code))
    )
    if done.rowcount != 1:
        raise RefusedError("line.unknown", "没有这一行 / the order has no such line")
    return {"gone_on": screen_order(b, command.order)}


def give_address(b: Batch, command: c.AddressGiven) -> dict[str, Any]:
    """The receiver in full; a waybill printed for the old one is voided (E16)."""
    order = need_order(b, command.order)
    receiver = Receiver(name=command.name.strip(), phone=command.phone.strip(), address=command.address.strip())
    if not receiver.complete:
        raise RefusedError("order.address", "地址仍不完整或有 * 号 / the address is still incomplete or masked")
    if order.shipped_ms is not None or order.status == "closed":
        raise RefusedError("order.done", "订单已发货或已关闭 / the order has shipped or is closed")
    parcel = parcel_of_order(order.id)
    if not is_kept(b.conn, order.id, parcel, receiver):  # Sent twice, it costs no second number.
        keep_receiver(b.conn, order.id, parcel, receiver)
        waybills.address_changed(b, order.id)
    return {"parcel": parcel}


def need_order(b: Batch, order_id: str) -> Row[Any]:
    """Return an order's row.

    Raises:
        RefusedError: `order.unknown`.
    """
    order = b.row(st.shop_order, order_id)
    if order is None:
        raise RefusedError("order.unknown", f"没有订单 {order_id} / there is no order {order_id}")
    return order


def screen_order(b: Batch, order_id: str) -> bool:
    """Screen a waiting order; True when it goes on (its money is frozen, its tasks exist)."""
    order = need_order(b, order_id)
    shop = b.row(st.shop, order.shop)
    assert shop is not None
    lines = sorted(b.rows(st.order_line, order_id=order_id), key=lambda line: (len(line.line), line.line))
    screened_lines = [_line_to_screen(line, shop.tolerance_fen) for line in lines]
    living = [line for line in screened_lines if not line.refund_asked and line.code is not None]
    price = _price(b, order, living)
    whole = OrderToScreen(
        order=order.id,
        merchant=order.merchant,
        drop_ship=bool(order.drop_ship),
        lines=tuple(screened_lines),
        price_fen=price.hold_fen if order.drop_ship else 0,
        refund_asked=bool(order.refund_open),
        region=order.region,
        message=order.message,
        message_read=bool(order.message_read),
    )
    available_fen = b.ledger.available_fen(order.merchant)
    plan = screen(whole, _stock(b, order, screened_lines), available_fen, _rules(b, order, shop))
    holds = [reason for reason in plan.holds if reason != "refund" or not plan.runs]
    if holds:
        status = "money" if holds == ["money"] else "held"
        b.set(st.shop_order, order_id, status=status, holds=to_json(holds), hold_fen=price.hold_fen)
        return False
    _go_on(b, order, living, plan, price)
    return True


def retry_money(b: Batch, merchant: str) -> int:
    """Let what waits for money go on, in order of arrival; returns how many orders did."""
    o = st.shop_order.c
    waiting = b.conn.execute(
        select(o.id).where(o.merchant == merchant, o.status == "money").order_by(o.number)
    ).scalars()
    works = [
        Work(name=f"money:{order_id}", subject=f"order:{order_id}", do=partial(screen_order, order_id=order_id))
        for order_id in waiting
    ]
    return do_each(b, works).count


def _go_on(b: Batch, order: Row[Any], lines: Sequence[LineToScreen], plan: Screened, price: OrderPrice) -> None:
    answers = [(line, copy, answer) for line in lines for copy, answer in enumerate(plan.lines[line.line], 1)]
    if order.drop_ship:
        parts = []
        for number, piece in enumerate(price.pieces, 1):
            subject = task_id(order.id, number)
            for part, amount in (
                ("principal", piece.principal_fen), ("commission", piece.commission_fen), ("check", piece.check_fen),
            ):  # fmt: skip
                if amount:
                    parts.append(HoldPart(subject=subject, part=part, amount_fen=amount))
        for part, amount in (("courier", price.courier_fen), ("packing", price.packing_fen)):
            if amount:
                parts.append(HoldPart(subject=order.id, part=part, amount_fen=amount))
        parts_zh, parts_en = tell_parts(parts)
        b.ledger.hold(
            parts, key=f"hold:{order.id}", about=b.about(order=order),
            zh=f"订单 {order.order_no} 冻结：{parts_zh}",
            en=f"Order {order.order_no}: held for {parts_en}",
        )  # fmt: skip
    for number, (line, copy, answer) in enumerate(answers, 1):
        _want(b, order, line, number, copy, answer)
    b.set(st.shop_order, order.id, status="ready", holds="[]", hold_fen=price.hold_fen, accepted_ms=b.now_ms)
    if any(isinstance(answer, Stock) for _, _, answer in answers):
        put_in_warehouse(b, order.id)


def _want(b: Batch, order: Row[Any], line: LineToScreen, number: int, copy: int, answer: Stock | Pick | Any) -> None:
    code = line.code
    assert code is not None
    want = task_id(order.id, number)
    b.add(
        st.wanted,
        id=want,
        order_id=order.id,
        line=line.line,
        merchant=order.merchant,
        piece_no=number,
        copy_no=copy,
        status="ready",
        task=want,
        queued=order.number,
    )
    b.add(
        st.task,
        id=want,
        wanted=want_of(want),
        order_id=order.id,
        attempt=1,
        source="stock" if isinstance(answer, Stock) else "stall",
        piece=answer.piece if isinstance(answer, Stock) else None,
        stall_id=code.stall_id,
        market=code.market,
        floor=code.floor,
        stall=code.stall,
        style=code.style,
        colour=code.colour or line.colour,
        size=code.size or line.size,
        quote_fen=code.quote_fen,
        cap_fen=line.cap_fen,
        status="ready",
    )
    if isinstance(answer, Stock):
        b.set(st.piece, answer.piece, reserved=want)


def _price(b: Batch, order: Row[Any], lines: Sequence[LineToScreen]) -> OrderPrice:
    wanted = [
        LineWanted(
            quote=Quote(quote_fen=line.code.quote_fen, tolerance_fen=line.cap_fen - line.code.quote_fen),
            copies=line.copies,
        )
        for line in lines
        if line.code is not None
    ]
    return order_price(b.settings.fees, wanted, region=order.region)


def _line_to_screen(line: Row[Any], tolerance_fen: int) -> LineToScreen:
    try:
        code: ProductCode | None = read_product_code(line.code)
    except ProductCodeError:
        code = None
    cap_fen = Quote(quote_fen=code.quote_fen, tolerance_fen=tolerance_fen).cap_fen if code else 0
    return LineToScreen(
        line=line.line,
        code=code,
        colour=line.colour,
        size=line.size,
        copies=line.copies,
        cap_fen=cap_fen,
        refund_asked=bool(line.refund_asked or line.closed),
    )


def _stock(b: Batch, order: Row[Any], lines: Sequence[LineToScreen]) -> list[StockPiece]:
    """The pieces of the order's styles that lie on a shelf, unreserved, within its reach (D12, D20)."""
    styles = {line.code.style for line in lines if line.code is not None}
    warehouse = ships_from(b, order.id)
    rows = b.read(_ON_THE_SHELF, styles_=sorted(styles))
    return [
        StockPiece(
            piece=row.code,
            sku=Sku(stall_id=row.stall_id, style=row.style, colour=row.colour, size=row.size),
            owner=row.owner,
            price_fen=row.price_fen,
            since_ms=row.stock_since_ms or 0,
        )
        for row in rows
        if may_take(b, row, merchant=order.merchant, warehouse=warehouse)
    ]


_ON_THE_SHELF: Final = select(st.piece).where(
    st.piece.c.place == "in_stock",
    st.piece.c.reserved.is_(None),
    st.piece.c.trip.is_(None),
    st.piece.c.style.in_(bindparam("styles_", expanding=True)),
)


def _rules(b: Batch, order: Row[Any], shop: Row[Any]) -> ScreeningRules:
    merchant = b.row(st.merchant, order.merchant)
    until_ms = merchant.service_until_ms if merchant is not None else None
    return ScreeningRules(
        remote_regions=b.settings.remote_regions,
        hold_messages=bool(shop.hold_messages),
        service_ended=until_ms is not None and until_ms <= b.now_ms,
    )


def _store_order(b: Batch, shop: Row[Any], order: ShopOrder, digest: str) -> str:
    number = int(get_meta(b.conn, "order_next", FIRST_ORDER))
    set_meta(b.conn, "order_next", number + 1)
    order_id = f"O{number}"
    b.add(
        st.shop_order,
        id=order_id,
        number=number,
        order_no=order.order_no,
        shop=shop.name,
        merchant=shop.merchant,
        drop_ship=shop.drop_ship,
        status="held",
        buyer=order.buyer,
        message=order.message,
        remark=order.remark,
        region=order.receiver.region,
        courier=shop.courier,
        refund_open=int(order.status == "refunding"),
        digest=digest,
        created_ms=b.now_ms,
    )
    for line in order.lines:
        b.add(st.order_line, order_id=order_id, **_line_row(line))
    keep_receiver(b.conn, order_id, parcel_of_order(order_id), order.receiver)
    return order_id


def _line_row(line: ShopLine) -> dict[str, Any]:
    problem = code_problem(line)
    place = {} if problem is not None else _place(read_product_code(line.code))
    return {
        "line": line.line, "title": line.title, "code": line.code[:200],
        "code_problem": None if problem is None else f"{problem.zh} / {problem.en}",
        "colour": line.colour, "size": line.size, "copies": line.copies, "price_fen": line.price_fen,
        "refund_asked": int(line.refund_asked), **place,
    }  # fmt: skip


def _place(code: ProductCode) -> dict[str, Any]:
    return {
        "style": code.style, "market": code.market, "floor": code.floor, "stall": code.stall, "quote_fen": code.quote_fen,
    }  # fmt: skip


def _digest(order: ShopOrder) -> str:
    lines = [
        [line.line, line.title, line.code, line.colour, line.size, line.copies, line.price_fen, line.refund_asked]
        for line in order.lines
    ]
    receiver = [order.receiver.name, order.receiver.phone, order.receiver.address]
    whole = [order.order_no, order.status, order.message, order.remark, receiver, lines]
    return hashlib.sha256(canonical_json(whole)).hexdigest()


def _report_change(b: Batch, order: ShopOrder, known: Any) -> dict[str, Any]:
    """A known order came again with other words: told, never taken over silently (R4)."""
    lines = b.conn.execute(
        select(func.coalesce(func.sum(st.order_line.c.copies), 0)).where(st.order_line.c.order_id == known.id)
    ).scalar_one()
    refund = order.status == "refunding" or any(line.refund_asked for line in order.lines)
    change = {
        "order": known.id, "order_no": order.order_no, "status_now": order.status, "our_status": known.status,
        "pieces_before": int(lines), "pieces_now": sum(line.copies for line in order.lines), "refund_asked": refund,
    }  # fmt: skip
    b.discrepancy(
        "order_changed",
        f"order:{known.id}",
        "platform",
        facts=[json.dumps(change, ensure_ascii=False)],
        key=f"order_changed|{known.id}|{_digest(order)[:16]}",
        order_no=order.order_no,
    )
    return change


def orders_of(b: Batch, *statuses: str) -> list[str]:
    """Return the ids of orders in some status, oldest first."""
    o = st.shop_order.c
    return list(
        b.conn.execute(select(o.id).where(or_(*(o.status == word for word in statuses))).order_by(o.number)).scalars()
    )
