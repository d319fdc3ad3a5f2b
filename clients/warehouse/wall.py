"""What a terminal knows: orders put together from their tasks and pieces, parcels, returns, stock. Reads only.

States stand in the warehouse's document (its successor opens with all living subjects, so the newest that knows a subject is asked).
`trade.parcels.view_order` puts an order together; nothing here decides. Rules R51, D16.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from clients.runtime.node import Node
from sync_core.errors import RefusedError
from trade.ids import bare_id, parcel_of_order
from trade.parcels import OrderView, StopReason, may_pack, new_order, new_parcel, view_order
from trade.pieces import new_piece

State = dict[str, Any]

_HAS_VOIDED = "kind = 'parcel' AND json_extract(state, '$.voided[0]') IS NOT NULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as this terminal shows it."""

    id: str
    document: str
    state: State
    view: OrderView
    parcel: str
    parcel_state: State

    @property
    def count(self) -> str:
        """ "2/3": how many of its living pieces are in the house."""
        return f"{len(self.view.arrived)}/{max(len(self.view.pieces), 1)}"

    @property
    def cell(self) -> str:
        """Its cell in the wall, empty for a single piece."""
        return str(self.state["cell"] or "")

    def stop(self, own: Collection[int | None]) -> StopReason | None:
        """Return why the terminal of these numbers may not pack or ship it now."""
        return may_pack(self.view, self.parcel_state, order_terminal=self.state["terminal"], own=own)


def prepare(conn: sqlite3.Connection) -> None:
    """Make the indexes a scan needs to answer at once among ten thousand pieces."""
    for name, kind, path in (
        ("piece_by_order", "piece", "$.order"),
        ("parcel_by_waybill", "parcel", "$.waybill.waybill_no"),
    ):
        conn.execute(
            f"CREATE INDEX IF NOT EXISTS {name} ON state (json_extract(state, '{path}')) WHERE kind = '{kind}'"
        )
    # Every label at the door is first held against voided waybills, of which there are few.
    conn.execute(f"CREATE INDEX IF NOT EXISTS parcel_with_voided ON state (document) WHERE {_HAS_VOIDED}")


def current_document(node: Node) -> str:
    """Return the document this terminal writes in.

    Raises:
        RefusedError: the server has named none yet.
    """
    documents = node.documents("warehouse")
    if not documents:
        raise RefusedError("warehouse.no_document", "")
    return documents[-1]


def read_piece(node: Node, code: str) -> State | None:
    """Return a piece's state, None when this terminal never heard of it."""
    return node.replica.state(f"piece:{code}", current_document(node))


def read_order(node: Node, order: str) -> Order:
    """Return an order, empty when this terminal never heard of it."""
    document = current_document(node)
    state = node.replica.state(f"order:{order}", document) or new_order()
    tasks = {
        task: known for task in state["tasks"] if (known := node.replica.state(f"task:{task}", document)) is not None
    }
    codes = {task["keeper"] for task in tasks.values() if task["keeper"] is not None}
    pieces = {
        bare_id(subject): json.loads(text)
        for subject, text in node.replica.conn.execute(
            "SELECT subject, state FROM state WHERE kind = 'piece' AND json_extract(state, '$.order') = ? AND document = ?",
            (order, document),
        )
    }
    for code in codes - pieces.keys():
        pieces[code] = node.replica.state(f"piece:{code}", document) or new_piece()
    return _order(node, order, document, state, tasks, pieces)


def read_orders(node: Node) -> list[Order]:
    """Return all orders of the document; for lists. One of which only a return tells, long after it left, has no tasks here."""
    document = current_document(node)
    replica = node.replica
    tasks = {bare_id(subject): state for _, subject, state in replica.states("task", document)}
    pieces = {bare_id(subject): state for _, subject, state in replica.states("piece", document)}
    by_order: dict[str, dict[str, State]] = {}
    for code, piece in pieces.items():
        if piece["order"] is not None:
            by_order.setdefault(piece["order"], {})[code] = piece
    orders = []
    for _, subject, state in replica.states("order", document):
        order = bare_id(subject)
        if not state["tasks"] and order not in by_order:
            continue
        own_tasks = {task: tasks[task] for task in state["tasks"] if task in tasks}
        own_pieces = dict(by_order.get(order, {}))
        for task in own_tasks.values():
            keeper = task["keeper"]
            if keeper is not None and keeper in pieces:
                own_pieces.setdefault(keeper, pieces[keeper])
        orders.append(_order(node, order, document, state, own_tasks, own_pieces))
    return orders


def find_waybill(node: Node, text: str) -> tuple[str, State, bool] | None:
    """Return (parcel, state, voided) of a waybill number, None when it is none of ours."""
    document = current_document(node)
    row = node.replica.conn.execute(
        "SELECT subject, state FROM state WHERE kind = 'parcel' AND json_extract(state, '$.waybill.waybill_no') = ?"
        " AND document = ?",
        (text, document),
    ).fetchone()
    if row is not None:
        return bare_id(row[0]), json.loads(row[1]), False
    row = node.replica.conn.execute(
        "SELECT subject, state FROM state INDEXED BY parcel_with_voided, json_each(state.state, '$.voided')"
        f" WHERE document = ? AND {_HAS_VOIDED} AND json_each.value = ? LIMIT 1",
        (document, text),
    ).fetchone()
    return None if row is None else (bare_id(row[0]), json.loads(row[1]), True)


def read_return(node: Node, courier_no: str) -> State | None:
    """Return the state of a returned parcel, None when nobody announced it and nobody received it."""
    return node.replica.state(f"return:{courier_no}", current_document(node))


def stock_task_for(node: Node, piece: str) -> str | None:
    """Return the waiting task that draws this very piece from the stock, if there is one (R34)."""
    row = node.replica.conn.execute(
        "SELECT subject FROM state WHERE kind = 'task' AND document = ? AND json_extract(state, '$.assigned.piece') = ?"
        " AND json_extract(state, '$.assigned.source') = 'stock' AND json_extract(state, '$.status') = 'wanted'"
        " AND json_extract(state, '$.keeper') IS NULL ORDER BY subject LIMIT 1",
        (current_document(node), piece),
    ).fetchone()
    return None if row is None else bare_id(row[0])


def stock_tasks(node: Node) -> list[tuple[str, State]]:
    """Return the tasks that wait for a piece of the stock."""
    return [
        (bare_id(subject), state)
        for _, subject, state in node.replica.states("task", current_document(node))
        if state["assigned"].get("source") == "stock" and state["status"] == "wanted" and state["keeper"] is None
    ]


def pieces_in(node: Node, *places: str) -> list[tuple[str, State]]:
    """Return (code, state) of the pieces in these places."""
    marks = ",".join("?" * len(places))
    return [
        (bare_id(subject), json.loads(text))
        for subject, text in node.replica.conn.execute(
            f"SELECT subject, state FROM state WHERE kind = 'piece' AND document = ?"
            f" AND json_extract(state, '$.place') IN ({marks}) ORDER BY subject",
            (current_document(node), *places),
        )
    ]


def _order(
    node: Node, order: str, document: str, state: State, tasks: dict[str, State], pieces: dict[str, State]
) -> Order:
    parcel = str(state["parcel"] or parcel_of_order(order))
    parcel_state = node.replica.state(f"parcel:{parcel}", document) or new_parcel()
    return Order(
        id=order,
        document=document,
        state=state,
        view=view_order(order, state, tasks, pieces),
        parcel=parcel,
        parcel_state=parcel_state,
    )
