"""What pages and the JSON API read about orders: lists, one order with its pieces' story, decisions, notices, returns.

Every function takes `merchant`: an organisation reads only its own rows (None is the platform, which sees all). Reads only;
rows come back as plain dictionaries for templates. Amounts are fen, instants milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select

from server.commands import OrdersImport
from server.ledger import available_of, held_of
from server.pages.reads_story import story, without_others
from server.schema import command as command_table
from server.schema import device, entry, posting
from server.schema_trade import (
    decision,
    expected_return,
    notice,
    order_line,
    parcel,
    piece,
    shop,
    shop_order,
    task,
    wanted,
)
from server.schema_trade import (
    merchant as merchant_table,
)

Row = dict[str, Any]
PAGE_ROWS = 50
IMPORTS_SHOWN, IMPORTS_LOOKED_AT = 20, 200
"""A merchant's own are looked for among so many of all."""

STATUSES = ("held", "money", "ready", "out", "shipped", "closed")


def rows(conn: Connection, query: Select[*tuple[Any, ...]]) -> list[Row]:
    """Return the rows of a query as dictionaries."""
    return [dict(row._mapping) for row in conn.execute(query)]


def first(conn: Connection, query: Select[*tuple[Any, ...]]) -> Row | None:
    """Return the first row, or None."""
    row = conn.execute(query).first()
    return None if row is None else dict(row._mapping)


def count(conn: Connection, table: Any, *where: ColumnElement[bool]) -> int:
    """Return how many rows of a table are meant."""
    return int(conn.execute(select(func.count()).select_from(table).where(*where)).scalar_one())


def order_counts(conn: Connection, merchant: str | None) -> dict[str, int]:
    """Return {status: orders}, every status named."""
    query = select(shop_order.c.status, func.count()).group_by(shop_order.c.status)
    if merchant is not None:
        query = query.where(shop_order.c.merchant == merchant)
    found = {str(status): int(number) for status, number in conn.execute(query)}
    return {status: found.get(status, 0) for status in (*STATUSES, *sorted(set(found) - set(STATUSES)))}


def orders(
    conn: Connection, merchant: str | None, *, status: str = "", search: str = "", page: int = 1
) -> tuple[list[Row], bool]:
    """Return one page of orders, newest first, each with its pieces counted by place; True when there are more."""
    query = select(shop_order).order_by(shop_order.c.number.desc()).limit(PAGE_ROWS + 1).offset((page - 1) * PAGE_ROWS)
    if merchant is not None:
        query = query.where(shop_order.c.merchant == merchant)
    if status:
        query = query.where(shop_order.c.status == status)
    if search:
        like = f"%{_escaped(search)}%"
        of_line = select(order_line.c.order_id).where(
            or_(order_line.c.code.like(like, escape="\\"), order_line.c.style.like(like, escape="\\"))
        )
        of_piece = select(piece.c.order_id).where(piece.c.code == search)
        of_parcel = select(parcel.c.order_id).where(parcel.c.waybill_no == search)
        query = query.where(
            or_(
                shop_order.c.order_no.like(like, escape="\\"),
                shop_order.c.id == search,
                shop_order.c.id.in_(of_line),
                shop_order.c.id.in_(of_piece),
                shop_order.c.id.in_(of_parcel),
            )
        )
    found = rows(conn, query)
    shown = found[:PAGE_ROWS]
    _add_pieces(conn, shown)
    return shown, len(found) > PAGE_ROWS


def order(conn: Connection, order_id: str, merchant: str | None) -> Row | None:
    """Return an order whole, or None when it does not exist or is another organisation's."""
    found = first(conn, select(shop_order).where(shop_order.c.id == order_id, _owned(shop_order.c.merchant, merchant)))
    if found is None:
        return None
    found["holds"] = _list(found["holds"])
    found.pop("receiver_sealed", None)
    found["lines"] = rows(conn, select(order_line).where(order_line.c.order_id == order_id).order_by(order_line.c.line))
    tasks = rows(conn, select(task).where(task.c.order_id == order_id).order_by(task.c.attempt))
    pieces = rows(conn, select(piece).where(piece.c.order_id == order_id).order_by(piece.c.bought_ms))
    found["wanted"] = rows(conn, select(wanted).where(wanted.c.order_id == order_id).order_by(wanted.c.piece_no))
    for one in found["wanted"]:
        one["tasks"] = [row for row in tasks if row["wanted"] == one["id"]]
        one["pieces"] = [row for row in pieces if row["wanted"] == one["id"]]
        line = next((row for row in found["lines"] if row["line"] == one["line"]), None)
        one["of_line"] = line or {}
    found["parcels"] = rows(conn, select(parcel).where(parcel.c.order_id == order_id))
    found["decisions"] = decisions(conn, merchant, order_id=order_id)
    found["returns"] = [
        {**row, "pieces": _list(row["pieces"])}
        for row in rows(conn, select(expected_return).where(expected_return.c.order_id == order_id))
    ]
    found["merchant_name"] = merchant_name(conn, found["merchant"])
    parts = _subjects(order_id, tasks, pieces, found["parcels"], found["returns"])
    told = story(conn, parts)
    found["story"] = told if merchant is None else without_others(conn, told, merchant)
    return found


def order_money(conn: Connection, order_id: str, merchant: str) -> list[Row]:
    """Return what an order did to its merchant's wallet, oldest first: free and frozen money, and why."""
    free, frozen = available_of(merchant), held_of(merchant)
    query = (
        select(entry.c.id, entry.c.at_ms, entry.c.zh, entry.c.en, posting.c.account, posting.c.amount_fen)
        .select_from(entry.join(posting, posting.c.entry == entry.c.id))
        .where(entry.c.order_id == order_id, entry.c.merchant == merchant, posting.c.account.in_((free, frozen)))
        .order_by(entry.c.id)
    )
    found: dict[int, Row] = {}
    for row in rows(conn, query):
        line = found.setdefault(row["id"], {**row, "available_change_fen": 0, "held_change_fen": 0})
        line["available_change_fen" if row["account"] == free else "held_change_fen"] += row["amount_fen"]
    return list(found.values())


def owner_of_order(conn: Connection, order_id: str) -> str | None:
    """Return the merchant whose order it is; None when there is none."""
    return conn.execute(select(shop_order.c.merchant).where(shop_order.c.id == order_id)).scalar_one_or_none()


def merchant_exists(conn: Connection, merchant: str) -> bool:
    """True for the id of a merchant."""
    return count(conn, merchant_table, merchant_table.c.id == merchant) == 1


def merchant_name(conn: Connection, merchant: str) -> str:
    """Return a merchant's name; the id when there is none."""
    found = conn.execute(select(merchant_table.c.name).where(merchant_table.c.id == merchant)).scalar_one_or_none()
    return str(found or merchant)


def decisions(
    conn: Connection,
    merchant: str | None,
    *,
    order_id: str | None = None,
    only: int | None = None,
    open_only: bool = True,
) -> list[Row]:
    """Return what waits for a merchant, oldest first, with the task it is about and when its phone was last seen (D9).

    `only`: the one decision of this id.
    """
    query = select(decision).where(_owned(decision.c.merchant, merchant)).order_by(decision.c.opened_ms).limit(300)
    if open_only:
        query = query.where(decision.c.resolved_ms.is_(None))
    if order_id is not None:
        query = query.where(decision.c.order_id == order_id)
    if only is not None:
        query = query.where(decision.c.id == only)
    found = rows(conn, query)
    for one in found:
        one["detail"] = _object(one["detail"])
        _add_task(conn, one)
    return found


def order_out(conn: Connection, order_id: str) -> list[Row]:
    """Return the devices that hold tasks of an order now, each with when it was last seen: what a close must warn of (D9)."""
    query = (
        select(device.c.number, device.c.name, device.c.seen_ms, func.count().label("tasks"))
        .select_from(task.join(device, task.c.device == device.c.number))
        .where(task.c.order_id == order_id, task.c.status.in_(("out", "recalled", "answered", "asked")))
        .group_by(device.c.number, device.c.name, device.c.seen_ms)
    )
    return rows(conn, query)


def notices(conn: Connection, owner: str, *, page: int = 1) -> tuple[list[Row], bool]:
    """Return notices of an owner, newest first (I14)."""
    query = select(notice).where(notice.c.owner == owner).order_by(notice.c.id.desc())
    found = rows(conn, query.limit(PAGE_ROWS + 1).offset((page - 1) * PAGE_ROWS))
    return found[:PAGE_ROWS], len(found) > PAGE_ROWS


def shops(conn: Connection, merchant: str | None) -> list[Row]:
    """Return the shops of a merchant, or all."""
    return rows(conn, select(shop).where(_owned(shop.c.merchant, merchant)).order_by(shop.c.name))


def imports(conn: Connection, merchant: str | None, *, command: int | None = None) -> list[Row]:
    """Return the last imports that a merchant's shops, or all, were given, newest first, or this one only: `id`, `by`, `shop`, `done_ms`
    and `outcome`. One that was left for the server from its machine is here as well; one that waits is not.
    """
    c = command_table.c
    query = select(c.id, c.by, c.body, c.done_ms, c.outcome).where(c.kind == OrdersImport.KIND, c.done_ms.is_not(None))
    if command is not None:
        query = query.where(c.id == command)
    names = None if merchant is None else {row["name"] for row in shops(conn, merchant)}
    found = []
    for row in rows(conn, query.order_by(c.id.desc()).limit(IMPORTS_LOOKED_AT)):
        name = str(json.loads(row.pop("body")).get("shop", ""))
        if names is None or name in names:
            found.append({**row, "shop": name, "outcome": json.loads(row["outcome"])})
    return found[:IMPORTS_SHOWN]


def returns(conn: Connection, merchant: str | None, *, page: int = 1) -> tuple[list[Row], bool]:
    """Return buyers' parcels on their way back or received, newest first."""
    query = (
        select(expected_return, shop_order.c.order_no)
        .select_from(expected_return.join(shop_order, expected_return.c.order_id == shop_order.c.id, isouter=True))
        .where(_owned(expected_return.c.merchant, merchant))
        .order_by(func.coalesce(expected_return.c.received_ms, expected_return.c.expected_ms).desc())
    )
    found = rows(conn, query.limit(PAGE_ROWS + 1).offset((page - 1) * PAGE_ROWS))
    for one in found:
        one["pieces"] = _list(one["pieces"])
        codes = [str(code) for code in one["pieces"]]
        one["now"] = rows(conn, select(piece).where(piece.c.code.in_(codes))) if codes else []
    return found[:PAGE_ROWS], len(found) > PAGE_ROWS


def stock(conn: Connection, merchant: str | None) -> list[Row]:
    """Return pieces that lie in stock, are pending or travel back, oldest first."""
    places = ("in_stock", "return_in", "pending", "with_runner", "left_at_stall")
    query = select(piece).where(piece.c.place.in_(places)).order_by(piece.c.stock_since_ms).limit(300)
    if merchant is not None:
        query = query.where(piece.c.owner == merchant)
    return rows(conn, query)


def parcels_held_count(conn: Connection, merchant: str | None) -> int:
    """Return how many parcels have no waybill."""
    held = select(func.count()).select_from(parcel.join(shop_order, parcel.c.order_id == shop_order.c.id))
    return int(conn.execute(held.where(*_held(merchant))).scalar_one())


def _held(merchant: str | None) -> tuple[ColumnElement[bool], ...]:
    return parcel.c.held.is_not(None), parcel.c.status == "held", _owned(shop_order.c.merchant, merchant)


def parcels_held(conn: Connection, merchant: str | None) -> list[Row]:
    """Return the first 200 parcels without a waybill and why, with the order they are of (D17)."""
    query = (
        select(
            parcel.c.id,
            parcel.c.held,
            parcel.c.order_id,
            shop_order.c.order_no,
            shop_order.c.shop,
            shop_order.c.merchant,
        )
        .select_from(parcel.join(shop_order, parcel.c.order_id == shop_order.c.id))
        .where(*_held(merchant))
        .order_by(shop_order.c.number)
        .limit(200)
    )
    return rows(conn, query)


def _owned(column: Any, merchant: str | None) -> ColumnElement[bool]:
    return and_(True) if merchant is None else column == merchant


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _list(text: str) -> list[Any]:
    value = json.loads(text or "[]")
    return value if isinstance(value, list) else []


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {"text": text}
    return value if isinstance(value, dict) else {"value": value}


def _add_pieces(conn: Connection, found: Sequence[Row]) -> None:
    ids = [row["id"] for row in found]
    counted: dict[str, dict[str, int]] = {order_id: {} for order_id in ids}
    if ids:
        query = select(wanted.c.order_id, wanted.c.status, func.count()).where(wanted.c.order_id.in_(ids))
        for order_id, status, number in conn.execute(query.group_by(wanted.c.order_id, wanted.c.status)):
            counted[str(order_id)][str(status)] = int(number)
    styles: dict[str, list[str]] = {order_id: [] for order_id in ids}
    waybills: dict[str, str] = {}
    copies_of: dict[str, int] = {}
    if ids:
        for order_id, style, copies in conn.execute(
            select(order_line.c.order_id, order_line.c.style, order_line.c.copies).where(order_line.c.order_id.in_(ids))
        ):
            copies_of[str(order_id)] = copies_of.get(str(order_id), 0) + int(copies)
            styles[str(order_id)].append(f"{style}×{copies}" if copies > 1 else str(style))
        for order_id, number in conn.execute(
            select(parcel.c.order_id, parcel.c.waybill_no).where(parcel.c.order_id.in_(ids))
        ):
            if number:
                waybills[str(order_id)] = str(number)
    for row in found:
        row["holds"] = _list(row["holds"])
        row["wanted"] = counted[row["id"]]
        row["pieces"] = sum(counted[row["id"]].values())
        row["styles"] = styles[row["id"]]
        row["copies"] = copies_of.get(row["id"], 0)
        row["waybill_no"] = waybills.get(row["id"], "")
        row.pop("receiver_sealed", None)


def _add_task(conn: Connection, one: Row) -> None:
    task_id = one["subject"].removeprefix("task:")
    found = first(conn, select(task).where(task.c.id == task_id))
    if found is None:
        code = one["subject"].removeprefix("piece:")
        of_piece = first(conn, select(piece).where(piece.c.code == code))
        one["piece"] = of_piece
        # Its task, unless the piece serves another order by now, which may be another merchant's.
        its_task = select(task).where(
            task.c.id == (of_piece["task"] if of_piece else None), task.c.order_id == one["order_id"]
        )
        found = first(conn, its_task)
    else:
        one["piece"] = None
    one["task"] = found
    one["order_no"] = conn.execute(
        select(shop_order.c.order_no).where(shop_order.c.id == one["order_id"])
    ).scalar_one_or_none()
    one["devices"] = order_out(conn, one["order_id"]) if one["order_id"] else []


def _subjects(
    order_id: str, tasks: Iterable[Row], pieces: Iterable[Row], parcels: Iterable[Row], returned: Iterable[Row]
) -> list[str]:
    return [
        f"order:{order_id}",
        *(f"task:{row['id']}" for row in tasks),
        *(f"piece:{row['code']}" for row in pieces),
        *(f"parcel:{row['id']}" for row in parcels),
        *(f"return:{row['courier_no']}" for row in returned),
        *(f"piece:{code}" for row in returned for code in row["pieces"]),
    ]
