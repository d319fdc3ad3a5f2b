"""Take back what this server said before it was restored from an older backup.

Devices still hold the server's own envelopes that its backup lacks; the hub takes them because their signature holds. What they say was
decided, so it is carried out again from what stands there, never decided anew: documents are open, tasks are out, numbers are used, orders
are closed, and a purchase gets the outcome and the postings of its old verdict, whichever of the two arrives first.
Design: restored servers, section 4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Row, select, update

from server import commands as c
from server import schema as s
from server import schema_trade as st
from server.authority import waybills
from server.authority.adoption import on_adopted
from server.authority.batch import PLATFORM, Batch, body_of
from server.authority.closing import CLOSED_AFTER, close_order
from server.authority.deciding import decide_now
from server.authority.dispatch import has_left
from server.authority.documents import say_scope
from server.authority.forgotten import is_in_warehouse, is_out, numbers_of, recall_the_other
from server.authority.purchases import PURCHASES, RECOVERED, RECOVERED_UNDONE, by_piece
from server.authority.returns import note_expected
from server.authority.succession import join_newest
from server.authority.trips import is_given_out
from server.rows import insert_once
from sync_core.errors import RefusedError
from sync_core.facts import (
    DOCUMENT_CLOSED,
    DOCUMENT_OPENED,
    DOCUMENT_WRITER,
    Admission,
    Fact,
    PlacedFact,
    read_admissions,
)  # fmt: skip
from sync_core.lines import document_of, line_of
from trade import kinds
from trade.carry import document_kind
from trade.ids import first_id, ids_of
from trade.kinds.common import WAREHOUSE

_SILENT: Final = frozenset({"verdict.answer", "verdict.refund", "verdict.stock"})
"""Verdicts whose rule gives the same outcome again; their copies in the log fold alike."""


def take_back(b: Batch, document: str, fact: PlacedFact) -> None:
    """Carry out again what an earlier number of this server had said."""
    if fact.writer == b.server.number:
        return
    if fact.device != fact.writer:
        _terminal_did(b, document, fact)
        return
    if fact.kind == DOCUMENT_OPENED:
        _document_is_open(b, document, fact)
        return
    if fact.kind == DOCUMENT_WRITER:
        _admit_later_numbers(b, document, read_admissions([fact]))
        return
    if fact.kind == DOCUMENT_CLOSED:
        _document_has_ended(b, document, fact)
        return
    if fact.kind in _SILENT or fact.kind not in kinds.BY_KIND:
        return
    match body_of(fact):
        case kinds.PurchaseVerdict() as verdict:
            _purchase_was_judged(b, document, fact, verdict)
        case kinds.PieceAdopted():
            on_adopted(b, document, fact)
        case kinds.TaskAssigned() as assigned:
            _task_is_out(b, document, fact, assigned)
        case kinds.DeviceScope() as scope:
            _device_had(b, fact, scope)
        case kinds.TripAssigned():
            is_given_out(b, document, fact)
        case kinds.ReturnExpected() as announced:
            _return_is_expected(b, document, fact, announced)
        case kinds.WaybillObtained() as waybill:
            _number_is_used(b, fact, waybill)
        case kinds.WaybillVoided() as voided:
            _number_is_void(b, fact, voided)
        case kinds.OrderClosed() as closed:
            _order_is_closed(b, fact, closed)
        case _:
            pass


def _terminal_did(b: Batch, document: str, copy: PlacedFact) -> None:
    """What a terminal did in a document that all devices have forgotten stands only in the copy with which it was carried on. The server
    that carried it had let it count: it is decided as if the terminal had said it here, once, also when its own words come after all.
    """
    kind = kinds.BY_KIND.get(copy.kind)
    if document_kind(document) == "warehouse" and kind is not None and kind.SAID_BY == WAREHOUSE:
        decide_now(b, document_of(document, int(copy.id.split(".")[1])), copy)


def _document_is_open(b: Batch, document: str, fact: PlacedFact) -> None:
    _know_document(b, document, next(iter(fact.body.get("writers", {})), ""), fact)
    _admit_later_numbers(b, document, read_admissions([fact]))


def _admit_later_numbers(b: Batch, document: str, admitted: Mapping[int, Admission]) -> None:
    """Whom the lost server had let speak here may have taken another number since: it speaks on in the same role, and continues the old."""
    for number, admission in admitted.items():
        before = {number, *admission.continues}
        for device in numbers_of(b, number)[1:]:
            body = {"device": device, "role": admission.role, "continues": sorted(before)}
            b.say_here(document, Fact(kind=DOCUMENT_WRITER, subjects=("document",), body=body))
            before.add(device)


def _document_has_ended(b: Batch, document: str, fact: PlacedFact) -> None:
    """The successor is open; what came into the old one since the backup was read goes on there, and devices are sent to it."""
    successor = fact.body.get("successor")
    if not isinstance(successor, str) or line_of(successor) is None:
        return
    _know_document(b, successor, "", fact)
    b.forget_newest(document)
    join_newest(b, document)


def _know_document(b: Batch, document: str, owner: str, fact: PlacedFact) -> None:
    line = line_of(document)
    owner = line.partition("/")[2] if line is not None else owner or document.partition("/")[2]
    row = {"name": document, "kind": document_kind(document) or "", "owner": owner, "opened_ms": fact.at_ms}
    insert_once(b.conn, s.document, row)


def _device_had(b: Batch, fact: PlacedFact, body: kinds.DeviceScope) -> None:
    """Let a device deliver all it wrote for the lost server: also in documents opened, and in those taken away, after the backup."""
    number = first_id(fact.subjects, "device") or ""
    for one in numbers_of(b, int(number)) if number.isdigit() else ():
        device = b.row(s.device, one)
        if device is not None:  # Of a copied device both numbers are at work.
            _may_deliver(b, device, body)


def _may_deliver(b: Batch, device: Row[Any], body: kinds.DeviceScope) -> None:
    d = s.document.c
    ended = set(b.conn.execute(select(d.name).where(d.name.in_(body.documents), d.closed_ms.is_not(None))).scalars())
    known = json.loads(device.documents)
    after = [*known, *(name for name in body.documents if name not in ended and name not in known)]
    if after != known or set(after) != set(body.documents):
        say_scope(b, device.number, after)


def _purchase_was_judged(b: Batch, document: str, fact: PlacedFact, verdict: kinds.PurchaseVerdict) -> None:
    code = first_id(fact.subjects, "piece") or ""
    if document_kind(document) == "warehouse":
        # It stands there beside the purchase's own document, which may not have heard it.
        document = _bought_in(b, code, verdict.fact) or by_piece(code)
    own = b.verdict_of(document, verdict.fact, kinds.PurchaseVerdict.KIND)
    told = own if own is None else b.verdict_of(document, verdict.fact, CLOSED_AFTER) or own
    if verdict.outcome == "undone":
        b.once(document, verdict.fact, RECOVERED_UNDONE, verdict.model_dump(mode="json"))
        return  # The picker's own word for it undoes it here as well.
    if own is None or told is None:
        # It may have been closed after it was bought: the last verdict is the one that stood.
        b.forget(document, verdict.fact, RECOVERED)
        b.once(document, verdict.fact, RECOVERED, verdict.model_dump(mode="json"))
    elif verdict.outcome not in (own["outcome"], told["outcome"]):
        b.discrepancy("verdict_recovered", f"piece:{code}", PLATFORM, facts=[verdict.fact, fact.id])


def _bought_in(b: Batch, code: str, purchase: str) -> str | None:
    """The document in which a purchase was said, once it has arrived."""
    said = b.memory.facts_of(f"piece:{code}", own_only=True)
    return next(
        (name for name, facts in said.items() if any(fact.id == purchase and fact.kind in PURCHASES for fact in facts)),
        None,
    )


def _task_is_out(b: Batch, document: str, fact: PlacedFact, body: kinds.TaskAssigned) -> None:
    task = b.row(st.task, first_id(fact.subjects, "task"))
    if task is None:
        b.discrepancy(
            "task_recovered",
            f"order:{first_id(fact.subjects, 'order')}",
            PLATFORM,
            facts=[fact.id],
            order_no=body.order_no,
        )
        return
    kind = document_kind(document)
    if kind == "route":
        device = None if body.assigned_to is None else numbers_of(b, body.assigned_to)[-1]
        if task.status == "ready":
            b.set(st.task, task.id, status="out", document=document, device=device, day=body.day)
            w = st.wanted.c
            b.conn.execute(update(st.wanted).where(w.id == task.wanted, w.status == "ready").values(status="out"))
        else:
            recall_the_other(b, is_out(b, task, document, device, body.day), document)
        # Its phone may have spoken first, and bought: the order was out all the same.
        has_left(b, b.row(st.shop_order, task.order_id))
    elif kind == "warehouse" and not task.warehouse:
        warehouse = document.split("/")[1]
        b.set(st.task, task.id, warehouse=warehouse)
        b.set(st.shop_order, task.order_id, warehouse=warehouse, cell=body.cell, terminal=body.terminal)
        if body.cell is not None and body.terminal is not None:
            b.conn.execute(
                update(st.cell)
                .where(st.cell.c.terminal == body.terminal, st.cell.c.cell == body.cell)
                .values(order_id=task.order_id)
            )
        order = b.row(st.shop_order, task.order_id)
        assert order is not None
        is_in_warehouse(b, task, order)


def _return_is_expected(b: Batch, document: str, fact: PlacedFact, body: kinds.ReturnExpected) -> None:
    order, known = b.row(st.shop_order, first_id(fact.subjects, "order")), b.row(st.expected_return, body.courier_no)
    if order is not None and (known is None or known.order_id is None):
        note_expected(b, body.courier_no, order, ids_of(fact.subjects, "piece"), document)


def _number_is_used(b: Batch, fact: PlacedFact, body: kinds.WaybillObtained) -> None:
    parcel, order = first_id(fact.subjects, "parcel"), first_id(fact.subjects, "order")
    row = {"number": body.waybill_no, "courier": body.courier, "parcel": parcel or "", "obtained_ms": fact.at_ms}
    insert_once(b.conn, st.waybill, row)
    waybills.give_back(b, body.waybill_no, parcel or "")
    known = b.conn.execute(select(st.parcel).where(st.parcel.c.id == parcel)).first()
    has = None if known is None or known.waybill_no is None else b.row(st.waybill, known.waybill_no)
    if b.row(st.shop_order, order) is None or (has is not None and has.voided_ms is None):
        return
    b.put(
        st.parcel,
        ("id",),
        id=parcel,
        order_id=order,
        status="ready" if known is None or known.shipped_ms is None else known.status,
        waybill_no=body.waybill_no,
        courier=body.courier,
        three_part_code=body.three_part_code,
        held=None,
    )
    closed = b.row(st.shop_order, order)
    if closed is not None and closed.status == "closed":
        waybills.void(b, closed.id, "closed")


def _number_is_void(b: Batch, fact: PlacedFact, body: kinds.WaybillVoided) -> None:
    """The parcel keeps it until its next one is heard of, which is sealed for the new address: this server knows the old one only."""
    row = b.row(st.waybill, body.waybill_no)
    if row is not None and row.parcel == first_id(fact.subjects, "parcel") and row.voided_ms is None:
        b.set(st.waybill, row.number, voided_ms=fact.at_ms)


def _order_is_closed(b: Batch, fact: PlacedFact, body: kinds.OrderClosed) -> None:
    order = first_id(fact.subjects, "order")
    try:
        close_order(b, c.OrderClose(order=order or "?", reason=body.reason))
    except RefusedError:
        return
