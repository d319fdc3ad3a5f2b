"""Pack, print and ship: what the last piece's scan and the waybill's scan do.

`trade.parcels.may_pack` says whether; a parcel without a waybill number, or whose receiver's key is not here yet, parks with that reason.
The completing scan packs and prints in the transaction of the scan itself. Printed is not shipped: shipping is a scan of the waybill.
Rules R52, R72, D16, D17, E15-E18, I3.
"""

from __future__ import annotations

import sqlite3

from clients.runtime.node import Node
from clients.runtime.shown import clock, day
from clients.warehouse.outcome import Outcome
from clients.warehouse.receivers import open_receiver
from clients.warehouse.wall import Order, find_waybill, read_order
from sync_core.errors import RefusedError
from trade import kinds


def pack(node: Node, order: Order) -> Outcome:
    """Pack a complete order and print its waybill; or say what it waits for. Inside the caller's transaction.

    The caller has seen that no refund, closing or other terminal stands against it.
    """
    parcel, waybill = order.parcel_state, order.parcel_state["waybill"]
    about = {"order": order.id, "parcel": order.parcel, "cell": order.cell or None, "count": order.count}
    parts = {"cell": order.cell or "—", "count": order.count}
    if waybill is None:
        why = parcel["held"] or "no_number"
        return Outcome(word="complete_waits", parts={**parts, "why": why}, answer={**about, "parked": why})
    receiver = open_receiver(node, order.parcel, waybill)
    if receiver is None:
        return Outcome(word="complete_waits", parts={**parts, "why": "no_key"}, answer={**about, "parked": "no_key"})
    codes = list(order.view.codes)
    packed = kinds.ParcelPacked(waybill_no=waybill["waybill_no"], pieces=codes)
    printed = kinds.WaybillPrinted(waybill_no=waybill["waybill_no"], copy_no=1)
    job = ""

    def also(conn: sqlite3.Connection, _ids: tuple[str, ...]) -> None:
        nonlocal job
        job = _print(node, conn, order, receiver, copy_no=1)

    subjects = (f"parcel:{order.parcel}", f"order:{order.id}", *(f"piece:{code}" for code in codes))
    ids = node.act(order.document, [packed.about(*subjects), printed.about(f"parcel:{order.parcel}")], also=also)
    word = "single_packed" if len(codes) == 1 else "complete_packed"
    answer = {
        **about,
        "waybill_no": waybill["waybill_no"],
        "pieces": list(codes),
        "job": job,
        "packed_facts": list(ids),
    }
    return Outcome(word=word, parts={**parts, "waybill": waybill["waybill_no"]}, answer=answer)


def scan_waybill(node: Node, text: str) -> Outcome | None:
    """Ship the parcel of a scanned waybill; None when the number is none of ours."""
    found = find_waybill(node, text)
    if found is None:
        return None
    parcel, state, voided = found
    about = {"parcel": parcel, "order": state["order"], "waybill_no": text}
    parts = {"waybill": text}
    under_it = [scan for scan in state["shipped"] if scan["waybill_no"] == text]
    if voided and not under_it:
        return Outcome(word="stop_voided", parts=parts, answer=about)
    if state["shipped"]:
        first = (under_it or state["shipped"])[0]
        shown = {**parts, "at": clock(first["at_ms"]), "terminal": first["device"]}
        return Outcome(word="already_shipped", parts=shown, answer=about)
    order = read_order(node, str(state["order"]))
    stop = order.stop(node.own_numbers())
    match stop:
        case "closed":
            return Outcome(word="stop_closed", parts={"order": order.state["order_no"] or order.id}, answer=about)
        case "refund":
            return Outcome(word="stop_refund", parts={"order": order.state["order_no"] or order.id}, answer=about)
        case "other_terminal":
            carry = {"terminal": order.state["terminal"], "cell": order.cell or "—"}
            return Outcome(word="carry", parts=carry, answer={**about, "terminal": order.state["terminal"]})
        case "incomplete":
            return Outcome(word="stop_incomplete", parts={"count": order.count}, answer=about)
        case "waybill_voided" | "no_waybill":
            return Outcome(word="stop_voided", parts=parts, answer=about)
        case None:
            pass
    if state["packed"] is None:
        return Outcome(word="stop_not_packed", parts={"count": order.count}, answer=about)
    pieces = list(state["pieces"])
    body = kinds.ParcelShipped(waybill_no=text, pieces=pieces)
    subjects = (f"parcel:{parcel}", f"order:{order.id}", *(f"piece:{code}" for code in pieces))

    def also(conn: sqlite3.Connection, _ids: tuple[str, ...]) -> None:
        node.printers.confirm_scanned(conn, subject=text, at_ms=node.clock.wall_ms())

    ids = node.act(order.document, [body.about(*subjects)], also=also)
    return Outcome(word="shipped", parts={**parts, "n": len(pieces)}, answer={**about, "facts": list(ids)})


def reprint_waybill(node: Node, parcel: str) -> Outcome:
    """Print a packed parcel's waybill again: the same number, the next copy (D17).

    Raises:
        RefusedError: the parcel is unknown, not packed, shipped, or must stop.
    """
    order_id = f"O{parcel[1:]}"
    order = read_order(node, order_id)
    waybill = order.parcel_state["waybill"]
    if order.parcel != parcel or waybill is None or order.parcel_state["status"] not in ("packed", "printed"):
        raise RefusedError("waybill.not_packed", parcel)
    if order.stop(node.own_numbers()) is not None:
        raise RefusedError("waybill.stopped", parcel)
    receiver = open_receiver(node, parcel, waybill)
    if receiver is None:
        raise RefusedError("waybill.no_key", parcel)
    copy_no = max(int(order.parcel_state["copies"]), 1) + 1
    job = ""

    def also(conn: sqlite3.Connection, _ids: tuple[str, ...]) -> None:
        nonlocal job
        job = _print(node, conn, order, receiver, copy_no=copy_no)

    body = kinds.WaybillPrinted(waybill_no=waybill["waybill_no"], copy_no=copy_no)
    ids = node.act(order.document, [body.about(f"parcel:{parcel}")], also=also)
    return Outcome(
        word="reprinted",
        parts={"code": waybill["waybill_no"], "n": copy_no},
        answer={"parcel": parcel, "copy": copy_no, "job": job, "facts": list(ids)},
    )


def _print(node: Node, conn: sqlite3.Connection, order: Order, receiver: dict[str, str], *, copy_no: int) -> str:
    waybill = order.parcel_state["waybill"]
    at_ms = node.clock.wall_ms()
    fields = {
        "courier": waybill["courier"],
        "three_part_code": waybill["three_part_code"],
        "bag_place": waybill["bag_place"],
        "pieces": str(len(order.view.codes)),
        "receiver_name": receiver["name"],
        "receiver_phone": receiver["phone"],
        "receiver_address": receiver["address"],
        "sender_name": waybill["sender_name"],
        "sender_phone": "",
        "sender_address": "",
        "waybill": waybill["waybill_no"],
        "order": str(order.state["order_no"] or order.id),
        "remark": str(order.state["requirements"] or ""),
        "printed_at": f"{day(at_ms)} {clock(at_ms)}",
    }
    return node.printers.enqueue(
        conn, printer="waybill", template="waybill", fields=fields, subject=waybill["waybill_no"], copy_no=copy_no,
        at_ms=at_ms,
    )  # fmt: skip
