"""Pieces go into a runner's bag, and the bag into a trip document of his device. A trip has no assumed success (D15).

Rules R58, R59, R77, D14, D15, D20, E21, E24.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, select

from server import commands as c
from server import schema as s
from server import schema_trade as st
from server.authority.batch import PLATFORM, Batch, warehouse_of
from server.authority.documents import add_to_scope, organisation_of
from server.authority.forgotten import numbers_of
from server.authority.returns import garment_of
from server.authority.sorting import AFTER_THE_BAG, disappoint, settle_stock_conflict
from sync_core.errors import RefusedError
from sync_core.facts import PlacedFact
from trade import kinds
from trade.ids import first_id


def on_bagged(b: Batch, document: str, fact: PlacedFact) -> None:
    """Return-mode scan: out of stock, into the runner's bag (R58)."""
    code = first_id(fact.subjects, "piece") or ""
    trip_id = first_id(fact.subjects, "trip") or ""
    piece = b.row(st.piece, code)
    if piece is None:
        b.discrepancy("bagged_unknown", f"piece:{code}", PLATFORM, facts=[fact.id])
        return
    if piece.place in AFTER_THE_BAG and piece.trip == trip_id:
        return  # A lost server had heard it, and the runner came before the terminal (E24).
    if piece.place in ("inbound", "in_cell", "packed") and piece.wanted is not None:
        settle_stock_conflict(b, document, code)
        return
    # Pending: whoever bagged it had not heard that another terminal found it unfit (R56).
    if piece.place not in ("in_stock", "pending"):
        b.discrepancy(
            "bagged_not_in_stock",
            f"piece:{code}",
            "warehouse",
            facts=[fact.id],
            key=f"bagged_not_in_stock|{document}|{fact.id}",
            place=piece.place,
        )
        return
    trip = b.row(st.trip, trip_id)
    mine = trip is None or (
        not b.is_closed(trip.document) and _may_carry(b, b.row(s.device, trip.device), warehouse_of(document))
    )
    # The trip of a bag of this name has ended, or is another organisation's: the piece goes with the next trip of its own.
    b.set(st.piece, code, place="with_runner", trip=trip_id if mine else None, warehouse=warehouse_of(document))
    if piece.reserved is not None:
        disappoint(b, piece)
    if trip is not None and mine:
        _into_trip(b, code, trip)


def open_trip(b: Batch, command: c.TripOpen) -> dict[str, Any]:
    """A runner's device gets a trip document; what his organisation's warehouse bagged for it, or for no bag any more, goes in; where no
    bag is named, all that waits (R58, R59, D20). Another bag is in another runner's hands.

    Raises:
        RefusedError: `device.unknown`, `trip.open_already`.
    """
    device = b.row(s.device, command.device)
    if device is None or device.revoked_ms is not None or device.role not in ("runner", "picker"):
        raise RefusedError("device.unknown", "没有这台可用的设备 / there is no such living device")
    day = b.today
    document = _free_name(b, f"route/{day}-trip-{device.number}")
    trip_id = command.trip or document.removeprefix("route/")
    if b.row(st.trip, trip_id) is not None:
        raise RefusedError("trip.open_already", "这个批次已经交出 / this trip was given out already")
    p = st.piece.c
    bags = p.trip == trip_id if command.trip is not None else p.trip.not_in(select(st.trip.c.id))
    waiting = b.conn.execute(
        select(p.code, p.warehouse, p.trip).where(p.place == "with_runner", bags | p.trip.is_(None)).order_by(p.code)
    ).all()
    bagged = [row.code for row in waiting if _may_carry(b, device, row.warehouse)]
    if command.trip is None and not bagged and b.rows(st.trip, device=command.device, day=day):
        raise RefusedError(
            "trip.open_already", "今天的批次已经交出，没有新的件 / today's trip was given out, and nothing new waits"
        )
    b.open_document(document, owner=str(command.device), writers={command.device: "runner"})
    b.add(
        st.trip,
        id=trip_id,
        document=document,
        device=command.device,
        warehouse=_warehouse_of_runner(b, device),
        day=day,
        opened_ms=b.now_ms,
    )
    add_to_scope(b, command.device, [document])
    trip = b.row(st.trip, trip_id)
    assert trip is not None
    for row in waiting:
        if row.code in bagged:
            _into_trip(b, row.code, trip)
        elif row.trip == trip_id:  # Another organisation's bag of the same name waits for a trip of its own people.
            b.set(st.piece, row.code, trip=None)
    return {"trip": trip_id, "document": document, "pieces": len(bagged)}


def is_given_out(b: Batch, document: str, fact: PlacedFact) -> None:
    """The server that was lost gave this piece to a runner after its backup: he is out with it, and the trip lasts here too (D15).

    Its terminal's word that it was bagged may be heard before, and has put it in the bag then, or later.
    """
    code, trip_id = first_id(fact.subjects, "piece") or "", first_id(fact.subjects, "trip") or ""
    known, piece = b.row(s.document, document), b.row(st.piece, code)
    device = None if known is None else b.row(s.device, numbers_of(b, int(known.owner))[-1])
    if device is None:
        return
    trip = next(iter(b.rows(st.trip, document=document)), None)
    if trip is None:
        name = document.removeprefix("route/")
        trip_id = trip_id if b.row(st.trip, trip_id) is None else name
        warehouse, day = _warehouse_of_runner(b, device), name.partition("-trip-")[0]
        b.add(
            st.trip,
            id=trip_id,
            document=document,
            device=device.number,
            warehouse=warehouse,
            day=day,
            opened_ms=fact.at_ms,
        )
    else:
        trip_id = trip.id
    if piece is None:
        return
    said = [one for facts in b.memory.facts_of(f"piece:{code}", own_only=True).values() for one in facts]
    bagged = any(one.kind == kinds.PieceBagged.KIND and set(fact.subjects) <= set(one.subjects) for one in said)
    if not bagged and piece.place in ("shipped", "return_in", "in_stock"):
        disappoint(b, piece)
        b.set(st.piece, code, place="with_runner", trip=trip_id)
    elif piece.place in AFTER_THE_BAG and b.row(st.trip, piece.trip) is None:
        b.set(st.piece, code, trip=trip_id)


def _free_name(b: Batch, name: str) -> str:
    """A trip's document: the runner's number in its name keeps it from the one that a lost server gave to another."""
    count, free = 1, name
    while b.row(s.document, free) is not None:
        count += 1
        free = f"{name}-{count}"
    return free


def _warehouse_of_runner(b: Batch, device: Row[Any]) -> str:
    terminals = b.rows(s.device, role="warehouse", organisation=device.organisation, order="number")
    return next((str(terminal.warehouse) for terminal in terminals), "") or "main"


def _may_carry(b: Batch, device: Row[Any] | None, warehouse: str) -> bool:
    """True when a device may carry what lies in a warehouse: it is of the same organisation (D20)."""
    return device is not None and device.organisation == organisation_of(b, warehouse)


def _into_trip(b: Batch, code: str, trip: Row[Any]) -> None:
    piece = b.row(st.piece, code)
    assert piece is not None
    merchant = b.row(st.merchant, piece.owner)
    name = merchant.name if merchant is not None else piece.owner
    fact = kinds.TripAssigned(garment=garment_of(b, piece), merchant=piece.owner, merchant_name=name)
    b.say(trip.document, fact.about(f"piece:{code}", f"trip:{trip.id}"))
    b.set(st.piece, code, trip=trip.id)
