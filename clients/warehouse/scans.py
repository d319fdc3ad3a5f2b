"""The scan router of the door and the bench: one box, whatever is held under the scanner.

Read the text, find out what it names (a waybill, a label, a courier's number), do what that means here and now, and answer at once with
a colour, a tone and big words. The physical world is never refused: a label nobody has heard of is sorted by its QR (E12) or lies in the
cell "waiting for its phone". Rules R51, R52, R57, R58, D14-D16, E9, E11, E12, E15, E18.
"""

from __future__ import annotations

import sqlite3
from typing import Final, Literal

from clients.runtime.node import Node
from clients.runtime.shown import clock, tail
from clients.warehouse import returns_desk
from clients.warehouse.outcome import Outcome
from clients.warehouse.parcels import pack, scan_waybill
from clients.warehouse.wall import (
    Order,
    State,
    current_document,
    read_order,
    read_piece,
    read_return,
    stock_task_for,
)
from sync_core.errors import RefusedError
from sync_core.facts import Json
from trade import kinds
from trade.ids import order_of_task
from trade.piece_code import CodeError, ScannedLabel, normalise_scan, read_label
from trade.pieces import AT_WAREHOUSE

Mode = Literal["door", "returns", "bag"]
MODES: Final[tuple[Mode, ...]] = ("door", "returns", "bag")
SCAN_CHARS_MAX: Final = 300
_SWAPPED_AT: Final = frozenset({"wanted", "with_picker", "inbound", "in_cell"})
"""Places of a piece that is on its way to an order and not packed yet."""
_NO_MATTER_OF_THE_DOOR: Final = frozenset(
    {"return_in", "pending", "back_at_stall", "returned_to_buyer", "handed_to_merchant", "written_off"}
)


def scan(node: Node, text: str, *, mode: Mode, trip: str, confirmed: bool = False) -> Outcome:
    """Return what a scan means here, after doing it.

    Raises:
        RefusedError: what was read is no code of ours, or a rule says no; nothing was changed.
    """
    clean = normalise_scan(text[:SCAN_CHARS_MAX])
    if not clean:
        raise CodeError("code.empty", "没有读到条码", "no code was read")
    if mode == "returns":
        return _at_returns_desk(node, clean)
    if mode == "bag":
        return returns_desk.bag(node, read_label(clean).code, trip, confirmed=confirmed)
    shipped = scan_waybill(node, clean)
    if shipped is not None:
        return shipped
    try:
        label = read_label(clean)
    except CodeError:
        if read_return(node, clean.upper()) is not None:
            return returns_desk.receive(node, clean.upper())
        raise
    return scan_label(node, label)


def scan_label(node: Node, label: ScannedLabel) -> Outcome:
    """Scan a bag's label in; the scan that completes an order packs it and prints the waybill."""
    state = read_piece(node, label.code)
    if state is not None:
        known = _lies_elsewhere(node, label, state) or _already_here(node, label, state)
        if known is not None:
            return known
    task = (state["task"] if state is not None else None) or (label.qr.task if label.qr is not None else None)
    with node.replica.transaction():
        if state is not None and _with_runner(state):
            return returns_desk.bring_back(node, label.code)
        drawn = stock_task_for(node, label.code) if state is not None and state["place"] == "in_stock" else None
        if drawn is not None:
            return _draw(node, label, drawn)
        if task is None:
            return _wait_for_phone(node, label)
        order_id = order_of_task(task) or (label.qr.order if label.qr is not None else "")
        return _sort(node, label, state, task, order_id)


def _sort(node: Node, label: ScannedLabel, state: State | None, task: str, order_id: str) -> Outcome:
    """Record the scan with its cell, then say where the bag goes."""
    before = read_order(node, order_id)
    cell, _ = _cell_of(before, label)
    unheard = state is None or (state["at_ms"] is None and state["garment"] is None)
    qr = label.qr if unheard else None
    wanted = before.view.stop is None
    body = kinds.ScannedIn(cell=(cell or None) if wanted else None, qr=qr)
    _scanned_in(node, label, body)
    order = read_order(node, order_id)
    cell, terminal = _cell_of(order, label)
    about: dict[str, Json] = {
        "piece": label.code,
        "task": task,
        "order": order_id,
        "cell": cell or None,
        "count": order.count,
    }
    stop = _stopped(order, about)
    if stop is not None:
        return stop
    if label.code not in order.view.pieces.values():
        return Outcome(word="to_stock", parts={"code": tail(label.code)}, answer=about)
    return _place(node, order, about, cell, terminal, label)


def _place(
    node: Node, order: Order, about: dict[str, Json], cell: str, terminal: int | None, label: ScannedLabel
) -> Outcome:
    if _is_packed_without(node, order, label.code):
        # A second garment for an order whose parcel is closed: one waybill, and the bag waits on the shelf for a verdict (D10).
        return Outcome(word="to_stock", parts={"code": tail(label.code)}, answer=about)
    shown = {"cell": cell or "—", "count": _count_of(order, label), "code": tail(label.code)}
    answer = {**about, "count": shown["count"], "provisional": label.qr is not None and not order.state["tasks"]}
    if terminal not in node.own_numbers():
        return Outcome(word="carry", parts={**shown, "terminal": terminal}, answer={**answer, "terminal": terminal})
    if not order.view.complete or not order.state["tasks"]:
        return Outcome(word="in_cell", parts=shown, answer=answer)
    done = pack(node, order)
    return Outcome(word=done.word, parts={**shown, **done.parts}, answer={**answer, **done.answer})


def _is_packed_without(node: Node, order: Order, code: str) -> bool:
    """True when the order's parcel holds other garments: not if one of them was taken back for the stock, or lost to a runner's bag."""
    pieces = order.parcel_state["pieces"]
    if order.parcel_state["packed"] is None or code in pieces:
        return False
    states = [read_piece(node, piece) for piece in pieces]
    return all(state is None or state["place"] in ("packed", "shipped") for state in states)


def _draw(node: Node, label: ScannedLabel, task: str) -> Outcome:
    """A piece of the stock is taken for an order: sold before it went to market (R34, R57)."""
    order_id = order_of_task(task) or ""
    fact = kinds.PieceDrawn().about(f"piece:{label.code}", f"task:{task}", f"order:{order_id}")
    node.act(current_document(node), [fact])
    order = read_order(node, order_id)
    cell, terminal = _cell_of(order, label)
    about: dict[str, Json] = {"piece": label.code, "task": task, "order": order_id, "drawn": True, "cell": cell or None}
    return _stopped(order, about) or _place(node, order, about, cell, terminal, label)


def _with_runner(state: State) -> bool:
    """True while a runner has it, or said that he left it at the stall or gave it up: here it is after all (D15)."""
    gave_up = state["place"] == "written_off" and state["refused"] is not None
    return gave_up or state["place"] in ("with_runner", "left_at_stall")


def _lies_elsewhere(node: Node, label: ScannedLabel, state: State) -> Outcome | None:
    """A garment that came back belongs to the returns desk, and one that has gone for good is none for a cell: nothing is recorded."""
    if state["place"] not in _NO_MATTER_OF_THE_DOOR or _with_runner(state):
        return None
    if state["place"] == "return_in":
        return returns_desk.receive(node, state["return"]["courier_no"])
    parts = {"code": tail(label.code), "place": state["place"]}
    return Outcome(word="elsewhere", parts=parts, answer={"piece": label.code, "place": state["place"]})


def _already_here(node: Node, label: ScannedLabel, state: State) -> Outcome | None:
    """A label that was scanned in before: say where it is; pack when what it waited for has come (E9, E18)."""
    about: dict[str, Json] = {"piece": label.code, "order": state["order"], "cell": state["cell"]}
    if state["place"] == "shipped":
        last = (state["shipped"] or [{"at_ms": None, "device": 0}])[0]
        parts = {"waybill": tail(label.code), "at": clock(last["at_ms"]), "terminal": last["device"]}
        return Outcome(word="already_shipped", parts=parts, answer=about)
    learns_now = label.qr is not None and state["task"] is None
    if learns_now or (not state["scans"] and state["place"] != "packed"):
        return None
    if state["place"] == "in_stock" and stock_task_for(node, label.code) is None:
        # It lies on the shelf and nobody wants it: said again, the scan would only make its story longer, every day that somebody counts.
        stop = _stopped(read_order(node, state["order"]), about) if state["order"] is not None else None
        return stop or Outcome(word="to_stock", parts={"code": tail(label.code)}, answer=about)
    if state["place"] not in AT_WAREHOUSE:
        return None
    if state["order"] is not None:
        order = read_order(node, state["order"])
        stop = _stopped(order, about)
        if stop is not None:
            return stop
        if state["place"] == "packed":
            parts = {"waybill": (order.parcel_state["packed"] or {}).get("waybill_no", ""), "code": tail(label.code)}
            return Outcome(word="already_packed", parts=parts, answer=about)
        terminal = order.state["terminal"]
        if order.view.complete and order.state["tasks"] and label.code in order.view.pieces.values():
            if terminal in node.own_numbers():
                with node.replica.transaction():
                    return _place(node, order, about, order.cell, terminal, label)
            parts = {"cell": order.cell or "—", "terminal": terminal, "count": order.count}
            return Outcome(word="carry", parts=parts, answer={**about, "terminal": terminal})
    first = state["scans"][0] if state["scans"] else {"at_ms": None, "device": node.number}
    parts = {"at": clock(first["at_ms"]), "terminal": first["device"], "cell": state["cell"] or "—"}
    answer = {**about, "at_ms": first["at_ms"], "terminal": first["device"]}
    return Outcome(word="already_in", parts=parts, answer=answer)


def _stopped(order: Order, about: dict[str, Json]) -> Outcome | None:
    parts = {"order": order.state["order_no"] or order.id}
    match order.view.stop:
        case "closed":
            return Outcome(word="stop_closed", parts=parts, answer=about)
        case "refund":
            return Outcome(word="stop_refund", parts=parts, answer=about)
        case None:
            return None


def _wait_for_phone(node: Node, label: ScannedLabel) -> Outcome:
    """Only the bar code of a label nobody has heard of: it lies apart until its phone has spoken."""
    _scanned_in(node, label, kinds.ScannedIn(cell=None, qr=None))
    device = int(label.code[:5])
    return Outcome(
        word="waiting_for_phone",
        parts={"device": device, "code": tail(label.code)},
        answer={"piece": label.code, "phone": device},
    )


def _scanned_in(node: Node, label: ScannedLabel, body: kinds.ScannedIn) -> None:
    def also(conn: sqlite3.Connection, _ids: tuple[str, ...]) -> None:
        node.printers.confirm_scanned(conn, subject=label.code, at_ms=node.clock.wall_ms())

    node.act(current_document(node), [body.about(f"piece:{label.code}")], also=also)


def _cell_of(order: Order, label: ScannedLabel) -> tuple[str, int | None]:
    """Cell and owner: the order's, or what the label's QR says of an order this terminal has not heard of."""
    if order.state["tasks"] or label.qr is None:
        return order.cell, order.state["terminal"]
    return label.qr.cell or "", label.qr.terminal


def _count_of(order: Order, label: ScannedLabel) -> str:
    if order.state["tasks"] or label.qr is None:
        return order.count
    return f"{len(order.view.arrived)}/{label.qr.order_pieces}"


def swap(node: Node, first: str, second: str) -> Outcome:
    """Two bags carry each other's label: each piece serves the other's task from now on (E11).

    Raises:
        RefusedError: a piece is unknown, serves no order (a second piece, one on the shelf), is packed or has left. The other would
            then serve an order that has its piece already: the garments are put into their right bags instead.
    """
    codes = [read_label(first).code, read_label(second).code]
    if codes[0] == codes[1]:
        raise RefusedError("swap.same", codes[0])
    tasks: list[str] = []
    for code in codes:
        state = read_piece(node, code)
        if state is None or state["task"] is None or state["place"] in ("packed", "shipped"):
            raise RefusedError("swap.unknown", code)
        if state["place"] not in _SWAPPED_AT:
            raise RefusedError("swap.serves_nothing", code)
        tasks.append(state["task"])
    body = kinds.PiecesSwapped(tasks=[tasks[1], tasks[0]])
    subjects = [*(f"piece:{code}" for code in codes), f"task:{tasks[1]}", f"task:{tasks[0]}"]
    ids = node.act(current_document(node), [body.about(*subjects)])
    return Outcome(
        word="swapped",
        parts={"first": tail(codes[0]), "second": tail(codes[1])},
        answer={"pieces": list(codes), "tasks": [tasks[1], tasks[0]], "facts": list(ids)},
    )


def _at_returns_desk(node: Node, clean: str) -> Outcome:
    courier_no = clean.upper()  # Typed by hand it may be in small letters; the bar code says capitals.
    if read_return(node, courier_no) is not None:
        return returns_desk.receive(node, courier_no)
    try:
        label = read_label(clean)
    except CodeError:
        return returns_desk.unknown(node, courier_no)
    state = read_piece(node, label.code)
    came_under = ((state or {}).get("return") or {}).get("courier_no")
    if came_under is not None:
        return returns_desk.receive(node, str(came_under))
    parts = {"code": tail(label.code), "place": "—" if state is None else state["place"]}
    return Outcome(word="not_stock", parts=parts, answer={"piece": label.code})
