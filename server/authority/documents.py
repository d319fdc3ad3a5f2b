"""Documents are opened, devices get them into their scope, and orders get their cells (D16, D20; design section 4)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Row, bindparam, func, select, update

from server import schema as s
from server import schema_trade as st
from server.authority.batch import PLATFORM, Batch, device_document, market_document, warehouse_document
from trade import kinds

OVERFLOW: Final = "溢出架"
"""The shelf for orders that found the wall full (D16)."""


def open_route(b: Batch, number: int, day: str, *, markets: Iterable[str] = ()) -> str:
    """Return the picker's route document of a day, opened and in his scope, with its markets."""
    name = _open_name(b, f"route/{day}-{number}")
    b.open_document(name, owner=str(number), writers={number: "picker"})
    scope = [name]
    for market in sorted(markets):
        document = market_document(market)
        b.open_document(document, owner=market, writers={number: "picker"})
        scope.append(b.newest(document))
    add_to_scope(b, number, scope)
    return name


def open_warehouse(b: Batch, warehouse: str) -> str:
    """Return a warehouse's document, opened for all its terminals."""
    name = warehouse_document(warehouse)
    d = s.device.c
    terminals = b.conn.execute(
        select(d.number).where(d.warehouse == warehouse, d.role == "warehouse", d.revoked_ms.is_(None))
    ).scalars()
    b.open_document(name, owner=warehouse, writers=dict.fromkeys(terminals, "warehouse"))
    return b.newest(name)


def add_to_scope(b: Batch, number: int, documents: Sequence[str]) -> None:
    """Let a device sync these documents too; its own document says so."""
    device = b.row(s.device, number)
    if device is None:
        return
    before = json.loads(device.documents)
    after = before + [document for document in documents if document not in before]
    if after != before:
        say_scope(b, number, after)


def drop_from_scope(b: Batch, number: int, documents: Sequence[str]) -> None:
    """A document that ended leaves a device's scope."""
    device = b.row(s.device, number)
    if device is None:
        return
    before = json.loads(device.documents)
    after = [document for document in before if document not in documents]
    if after != before:
        say_scope(b, number, after)


def say_scope(b: Batch, number: int, documents: Sequence[str]) -> None:
    """Write a device's scope into its own document."""
    b.set(s.device, number, documents=json.dumps(list(documents), ensure_ascii=False))
    device = b.row(s.device, number)
    assert device is not None
    people = []
    for person_id in json.loads(device.people):
        person = b.row(s.person, person_id)
        if person is not None and person.ended_ms is None:
            people.append(
                kinds.Person(id=person.id, name=person.name, pin_salt=person.pin_salt, pin_hash=person.pin_hash)
            )
    scope = kinds.DeviceScope(
        role=kinds.Role(device.role), organisation=device.organisation, documents=list(documents), people=people,
        terminal_name=device.name if device.role == "warehouse" else "",
        override_fen_per_piece=device.override_fen_per_piece, override_fen_per_day=device.override_fen_per_day,
    )  # fmt: skip
    b.say(device_document(number), scope.about(f"device:{number}"))


def _open_name(b: Batch, name: str) -> str:
    """Return a route's name, with a count behind it when that route has ended: a device that forgot a document never has it again."""
    count, free = 1, name
    while b.is_closed(free):
        count += 1
        free = f"{name}-{count}"
    return free


# --- cells ------------------------------------------------------------------------------------------------------------------


def lease_cell(b: Batch, order_id: str) -> None:
    """Give a multi-piece order its owner and its cell, once (D16). Single pieces need none."""
    order = b.row(st.shop_order, order_id)
    if order is None or order.terminal is not None:
        return
    if len(b.rows(st.wanted, order_id=order_id)) < 2:
        return
    warehouse = order.warehouse or warehouse_for(b, order)
    devices = b.rows(s.device, role="warehouse", warehouse=warehouse, order="number")
    terminals = [device.number for device in devices if device.revoked_ms is None and device.replaced_by is None]
    if not terminals:
        return
    load: dict[int, int] = {row.terminal: row.orders for row in b.read(_LOAD)}
    terminal = min(terminals, key=lambda number: (load.get(number, 0), number))
    cell = b.read(_FREE_CELL, terminal_=terminal).scalar()
    if cell is not None:
        b.change(_LEASE, terminal_=terminal, cell_=cell, order_id=order_id)
    b.set(st.shop_order, order_id, terminal=terminal, cell=cell or OVERFLOW)


def free_cell(b: Batch, order_id: str) -> None:
    """The order left its cell."""
    b.change(_FREE, order_=order_id, order_id=None)


def organisation_of(b: Batch, warehouse: str) -> str:
    """The organisation whose warehouse this is (D20): that of its terminals; the platform's while it has none."""
    device = next(iter(b.rows(s.device, role="warehouse", warehouse=warehouse, order="number")), None)
    return PLATFORM if device is None else str(device.organisation)


def warehouse_for(b: Batch, order: Row[Any]) -> str:
    """The warehouse of the order's organisation that has a terminal; "" while there is none."""
    organisations = [PLATFORM] if order.drop_ship else [order.merchant, PLATFORM]
    for organisation in organisations:
        for device in b.rows(s.device, role="warehouse", organisation=organisation, order="number"):
            if device.revoked_ms is None and device.warehouse:
                return str(device.warehouse)
    return ""


_C = st.cell.c
_LOAD: Final = (
    select(st.shop_order.c.terminal, func.count().label("orders"))
    .where(st.shop_order.c.terminal.is_not(None), st.shop_order.c.status.in_(("ready", "out")))
    .group_by(st.shop_order.c.terminal)
)
_FREE_CELL: Final = (
    select(_C.cell)
    .where(_C.terminal == bindparam("terminal_"), _C.order_id.is_(None))
    .order_by(func.length(_C.cell), _C.cell)
    .limit(1)
)
_LEASE: Final = update(st.cell).where(_C.terminal == bindparam("terminal_"), _C.cell == bindparam("cell_"))
_FREE: Final = update(st.cell).where(_C.order_id == bindparam("order_"))
