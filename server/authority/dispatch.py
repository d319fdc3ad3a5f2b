"""Tasks leave the server: into a picker's route, and with their cell into the warehouse's document.

A task leaves only with its money frozen (E26). When the first task of an order leaves, all of them stand in the warehouse's document, so
that a terminal counts "2 of 3" before any phone has synced. Rules R40, R66, R67, D1, D4, D5, D16, D20, D22.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row, bindparam, select

from server import commands as c
from server import schema as s
from server import schema_trade as st
from server.authority import waybills
from server.authority.batch import PLATFORM, Batch, warehouse_document
from server.authority.documents import lease_cell, open_route, open_warehouse, warehouse_for
from server.authority.holds import freeze, is_given_back
from sync_core.errors import RefusedError
from sync_core.facts import Fact
from trade import kinds
from trade.ids import attempt_of, task_id
from trade.walk import StallPlace, walk_key

ATTEMPTS_A_SERVER: Final = 100
"""Attempts a server may make at one piece before the numbers of the next one, put back from a backup, begin."""

LIVING = ("waiting", "ready", "out", "asked", "answered", "bounced", "bought", "in", "shipped")


_LIVING_TASKS: Final = (
    select(st.task)
    .join(st.wanted, st.wanted.c.task == st.task.c.id)
    .where(st.task.c.order_id == bindparam("order_"), st.wanted.c.status.in_(LIVING))
    .order_by(st.wanted.c.piece_no)
)


def assign_routes(b: Batch, command: c.RoutesAssign) -> dict[str, Any]:
    """Give everything that is ready to pickers, stall by stall in walking order, about equally many pieces each (D4).

    Raises:
        RefusedError: `routes.no_picker`.
    """
    day = command.day or b.today
    tasks = _ready(b, day)
    given: dict[int, int] = {}
    left = 0
    for organisation, group in _by_organisation(tasks).items():
        pickers = _pickers(b, organisation, command.devices)
        if not pickers:
            left += len(group)
            continue
        for number, batch in _share_out(group, pickers).items():
            route = open_route(b, number, day, markets={task.market for task in batch})
            for task in batch:
                dispatch(b, task, device=number, document=route, day=day)
            given[number] = given.get(number, 0) + len(batch)
    if tasks and not given:
        raise RefusedError("routes.no_picker", "没有可用的拿货员设备 / no picker's device is enrolled")
    for order_id in dict.fromkeys(task.order_id for task in tasks):
        put_in_warehouse(b, order_id)
        waybills.after_dispatch(b, order_id)
    devices = {str(number): count for number, count in given.items()}
    return {"day": day, "tasks": sum(given.values()), "devices": devices, "left": left}


def reassign(b: Batch, command: c.TaskReassign) -> dict[str, Any]:
    """Take a task back and give its piece to another device, as a new attempt (D4).

    Raises:
        RefusedError: `task.settled`, `device.not_picker`, `device.organisation`, `wallet.short`.
    """
    task = need_task(b, command.task)
    wanted = b.row(st.wanted, task.wanted)
    assert wanted is not None
    if wanted.task != task.id or wanted.status not in ("out", "asked", "answered", "bounced", "ready"):
        raise RefusedError("task.settled", "这件已经有结果，不能改派 / this piece is settled already")
    device = b.row(s.device, command.device)
    if device is None or device.revoked_ms is not None or device.role != "picker":
        raise RefusedError("device.not_picker", "这台不是可用的拿货设备 / that is no living picker's device")
    order = b.row(st.shop_order, task.order_id)
    if order is not None and device.organisation != _picked_by(order):
        raise RefusedError("device.organisation", "这台设备属于别的组织 / that device is another organisation's")
    day = b.today
    route = open_route(b, command.device, day, markets={task.market})
    if wanted.status == "out" and (task.device, task.document) == (command.device, route):
        return {"task": task.id, "document": route}  # It is there already.
    if task.status == "ready":
        dispatch(b, task, device=command.device, document=route, day=day)
        put_in_warehouse(b, task.order_id)
        return {"task": task.id, "document": route}
    new = next_attempt(b, task)
    if order is not None and (wanted.status == "bounced" or is_given_back(b, order, wanted)):
        freeze(b, order, wanted, new)  # The bounce had given it back: nothing goes out without its money (E26).
    b.decided(("answer", "ask", "bounce"), f"task:{task.id}", "reassigned")
    recall(b, task, "reassigned")
    dispatch(b, new, device=command.device, document=route, day=day)
    put_in_warehouse(b, task.order_id)
    return {"task": new.id, "document": route}


def hand_over(b: Batch, command: c.TasksHandOver) -> dict[str, Any]:
    """Give all that is still open on one device to another, each as a new attempt: its phone is lost, or its picker went home (E29).

    What a bounce gave the money back of waits for its merchant, also answered since.

    Raises:
        RefusedError: `device.same`, `device.not_picker`.
    """
    if command.device == command.to:
        raise RefusedError("device.same", "不能交给同一台设备 / a device cannot take over from itself")
    t, w = st.task.c, st.wanted.c
    tasks = b.conn.execute(
        select(t.id)
        .join(st.wanted, w.task == t.id)
        .where(t.device == command.device, w.status.in_(("out", "asked", "answered")), t.status != "ready")
        .order_by(t.id)
    ).scalars()
    moved = [
        reassign(b, c.TaskReassign(task=task, device=command.to))["task"]
        for task in list(tasks)
        if not _waits_for_money(b, task)
    ]
    return {"tasks": len(moved)}


def need_task(b: Batch, task: str) -> Row[Any]:
    """Return a task's row.

    Raises:
        RefusedError: `task.unknown`.
    """
    row = b.row(st.task, task)
    if row is None:
        raise RefusedError("task.unknown", f"没有任务 {task} / there is no task {task}")
    return row


def dispatch(b: Batch, task: Row[Any], *, device: int, document: str, day: str) -> None:
    """A task goes out to a device."""
    b.set(st.task, task.id, status="out", device=device, document=document, day=day)
    b.set(st.wanted, task.wanted, status="out", not_before=None)
    row = b.row(st.task, task.id)
    assert row is not None
    lease_cell(b, task.order_id)
    b.say(document, task_fact(b, row, day=day))
    has_left(b, b.row(st.shop_order, task.order_id))


def has_left(b: Batch, order: Row[Any] | None) -> None:
    """A task of an order is out with a picker: the order waits for dispatch no more."""
    if order is not None and order.status == "ready":
        b.set(st.shop_order, order.id, status="out")


def recall(b: Batch, task: Row[Any], reason: str, note: str = "") -> None:
    """Withdraw a task: what never left ends now, what is out waits for its device's answer (D9)."""
    fact = kinds.TaskRecalled.model_validate({"reason": reason, "note": note}).about(f"task:{task.id}")
    if task.warehouse:
        b.say(warehouse_document(task.warehouse), fact)
    if task.status == "ready" or task.document is None:
        b.set(st.task, task.id, status="ended", recalled=reason)
        return
    b.say(task.document, fact)
    answered = task.status in ("bounced", "ended") or device_gone(b, task.device)
    b.set(st.task, task.id, status="ended" if answered else "recalled", recalled=reason)


def next_attempt(b: Batch, task: Row[Any], **changes: Any) -> Row[Any]:
    """Make the next attempt at a task's piece, ready to go out; `changes` are its columns that differ."""
    newest = max(attempt.attempt for attempt in b.rows(st.task, wanted=task.wanted))
    # What a lost server handed out after the backup must not be handed out again: phones may hold it, bought and labelled.
    newest = max(newest, b.server.number * ATTEMPTS_A_SERVER)
    order = task.order_id
    number = int(task.wanted.rpartition("-")[2])
    new_id = task_id(order, number, newest + 1)
    values = dict(task._mapping)
    values.update(
        id=new_id, attempt=newest + 1, status="ready", document=None, device=None, day=None, recalled=None,
        recall_seen=0, replaces=task.id, source="stall", piece=None, warehouse="",
    )  # fmt: skip
    values.update(changes)
    b.add(st.task, **values)
    b.set(st.wanted, task.wanted, task=new_id, attempt=newest + 1, status="ready")
    row = b.row(st.task, new_id)
    assert row is not None
    return row


def put_in_warehouse(b: Batch, order_id: str) -> None:
    """Write every living task of an order that is not there yet into the warehouse's document (D16)."""
    order = b.row(st.shop_order, order_id)
    if order is None or order.status == "closed":
        return
    warehouse = order.warehouse or warehouse_for(b, order)
    if not warehouse:
        return
    if not order.warehouse:
        b.set(st.shop_order, order_id, warehouse=warehouse)
    lease_cell(b, order_id)
    document = open_warehouse(b, warehouse)
    for task in b.read(_LIVING_TASKS, order_=order_id).all():
        if task.warehouse:
            continue
        b.say(document, task_fact(b, task, day=task.day or b.today))
        b.set(st.task, task.id, warehouse=warehouse)
        if task.source == "stock" and task.status == "ready":
            b.set(st.task, task.id, status="out")
            b.set(st.wanted, task.wanted, status="out")
    if not _undispatched(b, order_id):
        has_left(b, order)
    waybills.after_dispatch(b, order_id)


def task_fact(b: Batch, task: Row[Any], *, day: str) -> Fact:
    """Return the fact that assigns a task."""
    order = b.row(st.shop_order, task.order_id)
    wanted = b.row(st.wanted, task.wanted)
    assert order is not None
    assert wanted is not None
    [line] = b.rows(st.order_line, order_id=order.id, line=wanted.line)
    merchant = b.row(st.merchant, order.merchant)
    shop = b.row(st.shop, order.shop)
    siblings = [sibling.line for sibling in b.rows(st.wanted, order_id=order.id)]
    body = kinds.TaskAssigned(
        source=task.source, piece=task.piece, order_no=order.order_no, merchant=order.merchant,
        merchant_name=merchant.name if merchant is not None else order.merchant, shop=order.shop, line=wanted.line,
        copy_no=wanted.copy_no, copies=sum(line_of == wanted.line for line_of in siblings), piece_no=wanted.piece_no,
        order_pieces=len(siblings), title=line.title[:200], style=task.style, colour=task.colour, size=task.size,
        market=task.market, floor=task.floor, stall=task.stall, drop_ship=bool(order.drop_ship), quote_fen=task.quote_fen,
        cap_fen=task.cap_fen, cell=order.cell, terminal=order.terminal, day=day, attempt=attempt_of(task.id),
        replaces=task.replaces, assigned_to=task.device, courier=order.courier,
        requirements=(shop.requirements if shop is not None else "")[:300], note=order.remark[:300],
    )  # fmt: skip
    subjects = [f"task:{task.id}", f"order:{order.id}"]
    if task.piece is not None:
        subjects.append(f"piece:{task.piece}")
    return body.about(*subjects)


def device_gone(b: Batch, number: int | None) -> bool:
    """True when a supervisor declared that a device will never answer, or there is none (D9)."""
    device = None if number is None else b.row(s.device, number)
    return device is None or device.written_off_ms is not None


# --- below ------------------------------------------------------------------------------------------------------------------


def _waits_for_money(b: Batch, task: str) -> bool:
    row = need_task(b, task)
    order, wanted = b.row(st.shop_order, row.order_id), b.row(st.wanted, row.wanted)
    return order is not None and wanted is not None and is_given_back(b, order, wanted)


def _ready(b: Batch, day: str) -> list[Row[Any]]:
    t, w = st.task.c, st.wanted.c
    return list(
        b.conn.execute(
            select(st.task, st.shop_order.c.merchant, st.shop_order.c.drop_ship)
            .join(st.wanted, w.task == t.id)
            .join(st.shop_order, st.shop_order.c.id == t.order_id)
            .where(t.status == "ready", t.source == "stall", w.status == "ready")
            .where((w.not_before.is_(None)) | (w.not_before <= day), st.shop_order.c.refund_open == 0)
            .order_by(w.queued, w.piece_no)
        )
    )


def _by_organisation(tasks: Sequence[Row[Any]]) -> dict[str, list[Row[Any]]]:
    """Drop-ship orders are the platform's to pick; an own-shipped one is its merchant's own people's (D20)."""
    groups: dict[str, list[Row[Any]]] = defaultdict(list)
    for task in tasks:
        groups[_picked_by(task)].append(task)
    return groups


def _picked_by(order: Row[Any]) -> str:
    """The organisation whose people pick for an order (D20)."""
    return PLATFORM if order.drop_ship else str(order.merchant)


def _pickers(b: Batch, organisation: str, only: Sequence[int] | None) -> list[int]:
    """The living pickers' devices, or those named: one whose number another took the place of must be named."""
    d = s.device.c
    rows = b.conn.execute(
        select(d.number, d.replaced_by)
        .where(d.role == "picker", d.organisation == organisation, d.revoked_ms.is_(None))
        .where(d.written_off_ms.is_(None))
        .order_by(d.number)
    )
    return [row.number for row in rows if (row.replaced_by is None if only is None else row.number in only)]


def _share_out(tasks: Sequence[Row[Any]], pickers: Sequence[int]) -> dict[int, list[Row[Any]]]:
    """Cut the walk into as many stretches as there are pickers, a stall never in two (D4)."""
    stalls: dict[str, list[Row[Any]]] = defaultdict(list)
    for task in tasks:
        stalls[task.stall_id].append(task)
    walk = sorted(
        stalls.values(),
        key=lambda group: walk_key(StallPlace(market=group[0].market, floor=group[0].floor, stall=group[0].stall)),
    )
    shares: dict[int, list[Row[Any]]] = {number: [] for number in pickers}
    total, done, at = len(tasks), 0, 0
    for group in walk:
        while at + 1 < len(pickers) and done + len(group) / 2 > total * (at + 1) / len(pickers):
            at += 1
        shares[pickers[at]] += group
        done += len(group)
    return {number: share for number, share in shares.items() if share}


def _undispatched(b: Batch, order_id: str) -> bool:
    return any(wanted.status in ("ready", "waiting") for wanted in b.rows(st.wanted, order_id=order_id))
