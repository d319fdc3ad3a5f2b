"""When a parcel gets its waybill, loses it, and why it may have to wait (D17, E16, E17)."""

from __future__ import annotations

import json
from typing import Any, Final

from sqlalchemy import Row, select, update

from server import schema_trade as st
from server.authority.batch import Batch, warehouse_document
from server.receivers import sealed_receiver
from server.rows import to_json
from server.waybills import LeasedRanges, NoWaybill
from trade import kinds
from trade.ids import parcel_of_order

SOURCE: Final = LeasedRanges()
GIVEN_BACK: Final = "given_back"
"""Why a number was voided that the lost server had given to another parcel."""
_OPEN: Final = ("waiting", "ready", "out", "asked", "answered", "bounced", "bought", "in")


def after_dispatch(b: Batch, order_id: str) -> None:
    """Obtain the waybill as soon as the order's last task is out."""
    statuses = [wanted.status for wanted in b.rows(st.wanted, order_id=order_id)]
    if statuses and not any(status in ("waiting", "ready") for status in statuses):
        obtain(b, order_id)


def obtain(b: Batch, order_id: str) -> None:
    """Obtain the order's waybill unless it has one, and put it into the warehouse's document; or say why not."""
    order = b.row(st.shop_order, order_id)
    if order is None or not order.warehouse or order.status in ("closed", "shipped"):
        return
    parcel = _parcel(b, order)
    if parcel.waybill_no is not None or parcel.shipped_ms is not None:
        return
    if not order.address_ok:
        _hold(b, order, parcel, "address_needed")
        return
    found = SOURCE.obtain(b.conn, parcel=parcel.id, courier=order.courier, region=order.region, now_ms=b.now_ms)
    if isinstance(found, NoWaybill):
        _hold(b, order, parcel, found.reason)
        return
    tasks = _tasks(b, order_id)
    merchant = b.row(st.merchant, order.merchant)
    body = kinds.WaybillObtained(
        waybill_no=found.number, courier=found.courier, three_part_code=found.three_part_code, bag_place=found.bag_place,
        sender_name=merchant.name if merchant is not None else order.merchant, sealed=sealed_receiver(b.conn, order_id),
        tasks=tasks,
    )  # fmt: skip
    b.say(warehouse_document(order.warehouse), body.about(f"parcel:{parcel.id}", f"order:{order_id}"))
    b.set(
        st.parcel, parcel.id, status="ready", waybill_no=found.number, courier=found.courier,
        three_part_code=found.three_part_code, held=None, tasks=to_json(tasks),
    )  # fmt: skip
    b.settle_discrepancy(f"parcel_held|{parcel.id}", "有了面单 / it has its waybill")


def address_changed(b: Batch, order_id: str) -> None:
    """Another receiver: the old number is voided, a new one obtained (E16)."""
    parcel = b.row(st.parcel, parcel_of_order(order_id))
    if parcel is None:
        return
    if parcel.waybill_no is not None:
        void(b, order_id, "address_changed")
    obtain(b, order_id)


def courier_changed(b: Batch, shop: str, courier: str) -> int:
    """The shop's orders that have not left go with another courier, when they get a number; returns how many that waited got one."""
    o = st.shop_order.c
    of_shop = (o.shop == shop, o.status.not_in(("shipped", "closed")))
    b.conn.execute(update(st.shop_order).where(*of_shop).values(courier=courier))
    return retry_held(b)


def void(b: Batch, order_id: str, reason: str) -> None:
    """Cancel the order's number: its label must not ship."""
    order = b.row(st.shop_order, order_id)
    parcel = b.row(st.parcel, parcel_of_order(order_id))
    if order is None or parcel is None or parcel.waybill_no is None or parcel.shipped_ms is not None:
        return
    SOURCE.void(b.conn, parcel.waybill_no, b.now_ms)
    fact = kinds.WaybillVoided(waybill_no=parcel.waybill_no, reason=reason).about(f"parcel:{parcel.id}")
    b.say(warehouse_document(order.warehouse), fact)
    b.set(st.parcel, parcel.id, status="voided", waybill_no=None)


def give_back(b: Batch, number: str, parcel: str) -> None:
    """The lost server had given a number to `parcel` before this one gave it to another, whose label must not leave: it gets the next."""
    taken = b.row(st.waybill, number)
    if taken is None or taken.parcel == parcel:
        return
    other = b.row(st.parcel, taken.parcel)
    b.set(st.waybill, number, parcel=parcel, voided_ms=None)
    if other is None or other.waybill_no != number:
        return
    if other.shipped_ms is not None:
        b.discrepancy("waybill_twice", f"parcel:{other.id}", "platform", number=number)
        return
    void(b, other.order_id, GIVEN_BACK)
    b.set(st.waybill, number, voided_ms=None)
    obtain(b, other.order_id)


def retry_held(b: Batch) -> int:
    """Try again for parcels that wait for a number; returns how many got one."""
    p = st.parcel.c
    waiting = b.conn.execute(select(p.id, p.order_id).where(p.status == "held", p.held == "no_number")).all()
    for row in waiting:
        obtain(b, row.order_id)
    still = b.conn.execute(select(p.id).where(p.status == "held", p.held == "no_number")).all()
    return len(waiting) - len(still)


def _parcel(b: Batch, order: Row[Any]) -> Row[Any]:
    parcel_id = parcel_of_order(order.id)
    row = b.row(st.parcel, parcel_id)
    if row is None:
        b.add(st.parcel, id=parcel_id, order_id=order.id, status="open")
        row = b.row(st.parcel, parcel_id)
        assert row is not None
    return row


def _hold(b: Batch, order: Row[Any], parcel: Row[Any], reason: str) -> None:
    if parcel.held == reason:
        return
    tasks = _tasks(b, order.id)
    fact = kinds.ParcelHeld.model_validate({"reason": reason, "tasks": tasks}).about(
        f"parcel:{parcel.id}", f"order:{order.id}"
    )
    b.say(warehouse_document(order.warehouse), fact)
    b.set(st.parcel, parcel.id, status="held", held=reason, tasks=to_json(tasks))
    if reason == "address_needed":
        b.notice(order.merchant, "address_needed", f"order:{order.id}", order_no=order.order_no)
        return
    b.discrepancy("parcel_held", f"parcel:{parcel.id}", "platform", key=f"parcel_held|{parcel.id}")


def _tasks(b: Batch, order_id: str) -> list[str]:
    wanted = b.rows(st.wanted, order_id=order_id, order="piece_no")
    return [row.task for row in wanted if row.status in _OPEN]


def parcel_pieces(row: Row[Any]) -> list[str]:
    """Return the codes a parcel holds."""
    return list(json.loads(row.pieces))
