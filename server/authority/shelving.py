"""Where a piece goes that is in the house: to its order, or to a shelf, from which it is offered to whoever waits for one like it.

Rules R34, R51, R71, D8, D10, D12, D17.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Row, select

from server import schema_trade as st
from server.authority import waybills
from server.authority.batch import Batch
from server.authority.dispatch import put_in_warehouse
from server.authority.documents import warehouse_for
from server.authority.holds import bought_for
from server.ledger import PRINCIPAL
from trade import kinds
from trade.conflicts import WaitingLine, find_home
from trade.ids import want_of
from trade.screening import Sku

SERVING: Final = ("keeps", "over_cap")
HOMELESS: Final = ("second", "closed_unseen", "closed_seen")


def settle_arrival(b: Batch, piece: Row[Any]) -> None:
    """A piece is in the house and its purchase is judged: release the difference, complete the order, or find it a home."""
    if piece.outcome in SERVING and piece.wanted is not None:
        wanted = b.row(st.wanted, piece.wanted)
        order = b.row(st.shop_order, piece.order_id)
        if wanted is None or order is None or wanted.keeper != piece.code:
            return
        status = wanted.status
        if status == "bought":
            status = "shipped" if _left_with(b, piece, order) else "in"
            b.set(st.wanted, wanted.id, status=status)
        about = b.about(order=order, task=piece.task or "", piece=piece.code)
        b.ledger.release(
            wanted.id, key=f"difference:{piece.code}", parts=(PRINCIPAL,), about=about,
            zh="低于报价的差额退回", en="Difference below the quote released",
        )  # fmt: skip
        if (
            status == "shipped"
        ):  # It left before its phone spoke (E12), or what a bounce gave back was frozen again (D7).
            b.ledger.capture_fees(
                wanted.id, key=f"fees:{wanted.id}", about=about,
                zh=f"订单 {order.order_no} 已发货：佣金", en=f"Order {order.order_no} shipped: commission",
            )  # fmt: skip
        waybills.obtain(b, order.id)
    elif piece.outcome in HOMELESS and piece.place in ("inbound", "in_cell"):
        to_stock(b, piece.code)


def verdict_on(piece: Row[Any], purchase: str) -> kinds.PurchaseVerdict:
    """Return the verdict on a purchase as its piece's row has it."""
    return kinds.PurchaseVerdict(
        fact=purchase, outcome=piece.outcome, owner=piece.owner, charged_fen=piece.charged_fen, excess_fen=piece.excess_fen,
        keeper=piece.code if piece.outcome in SERVING else None,
    )  # fmt: skip


def _left_with(b: Batch, piece: Row[Any], order: Row[Any]) -> bool:
    """True when a piece was shipped in its order's parcel before anybody here knew what it was bought for."""
    parcel = None if piece.place != "shipped" or piece.parcel is None else b.row(st.parcel, piece.parcel)
    return parcel is not None and parcel.order_id == order.id


def to_stock(b: Batch, code: str) -> None:
    """A piece lies on a shelf and is offered to whoever waits for one like it (D10, D12)."""
    b.set(st.piece, code, place="in_stock", stock_since_ms=b.now_ms, reserved=None, trip=None)
    piece = b.row(st.piece, code)
    assert piece is not None
    b.settle_discrepancy(f"second_piece|piece:{code}", "已入库存 / it lies in stock")
    _offer(b, piece)


def free_promised(b: Batch, want: str, *, served_by: str) -> None:
    """What lies on a shelf for a want that another piece serves by now is offered to whoever else waits for one like it."""
    for piece in b.rows(st.piece, reserved=want, place="in_stock"):
        if piece.code != served_by:
            b.set(st.piece, piece.code, reserved=None)
            _offer(b, piece)


def may_take(b: Batch, piece: Row[Any], *, merchant: str, warehouse: str) -> bool:
    """True when an order of this merchant, shipped from this warehouse, may have the piece.

    What lies in another organisation's house is out of reach, and what was bought for an own-shipped order is its merchant's alone: no
    wallet paid for it, and no other organisation sees it (D20).
    """
    if piece.warehouse not in ("", warehouse):
        return False
    if piece.owner == merchant:
        return True
    bought = bought_for(b, piece.code)  # The piece itself names the order that it was drawn for last.
    order = b.row(st.shop_order, piece.order_id if bought is None else bought.order_id)
    return order is None or bool(order.drop_ship)


def ships_from(b: Batch, order_id: str) -> str:
    """The warehouse that an order ships from."""
    order = b.row(st.shop_order, order_id)
    return "" if order is None else order.warehouse or warehouse_for(b, order)


def _offer(b: Batch, piece: Row[Any]) -> None:
    home = find_home(
        _waiting(b, piece), price_fen=piece.price_fen, owner=piece.owner,
        sku=Sku(stall_id=piece.stall_id, style=piece.style, colour=piece.colour, size=piece.size),
    )  # fmt: skip
    if home is None:
        return
    b.set(st.task, home.task, source="stock", piece=piece.code, warehouse="")
    b.set(st.piece, piece.code, reserved=want_of(home.task))
    task = b.row(st.task, home.task)
    assert task is not None
    put_in_warehouse(b, task.order_id)


def _waiting(b: Batch, piece: Row[Any]) -> list[WaitingLine]:
    """The drop-ship lines that may take a piece."""
    t, w, o = st.task.c, st.wanted.c, st.shop_order.c
    rows = b.conn.execute(
        select(st.task, w.merchant, o.accepted_ms)
        .join(st.wanted, w.task == t.id)
        .join(st.shop_order, o.id == t.order_id)
        .where(t.status == "ready", t.source == "stall", w.status == "ready", t.style == piece.style)
        .where(o.drop_ship == 1, o.refund_open == 0)
    ).all()
    return [
        WaitingLine(
            task=row.id,
            merchant=row.merchant,
            cap_fen=row.cap_fen,
            since_ms=row.accepted_ms or 0,
            sku=Sku(stall_id=row.stall_id, style=row.style, colour=row.colour, size=row.size),
        )
        for row in rows
        if may_take(b, piece, merchant=row.merchant, warehouse=ships_from(b, row.order_id))
    ]
