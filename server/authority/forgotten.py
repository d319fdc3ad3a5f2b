"""What a lost server had sent out after its backup, and the server that was put back from it decided about as if it had never left.

Whichever comes first, the lost server's word or the phone's, makes it known; then the phone is told what was decided meanwhile, and money
stands as it would have stood if it had been known (D9, D10, E26). Design: restored servers, section 4.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sqlalchemy import Row

from server import schema as s
from server import schema_trade as st
from server.authority.batch import Batch, warehouse_document
from server.authority.dispatch import device_gone
from server.authority.documents import free_cell
from server.authority.holds import freeze
from server.authority.shelving import HOMELESS, verdict_on
from server.ledger import PRINCIPAL
from sync_core.errors import RefusedError
from trade import kinds
from trade.carry import document_kind


def is_out(b: Batch, task: Row[Any], document: str, device: int | None, day: str | None = None) -> Row[Any]:
    """A task turns out to be out in a route of the lost server; returns its row as it is then.

    It was withdrawn meanwhile as one that never left: its phone hears of that, and what a close gave back is frozen again until it has
    answered; what the wallet does not cover any more of a purchase the platform bears (I5).
    """
    if not b.server.number or task.document is not None or task.recalled is None or document_kind(document) != "route":
        return task
    silent = device_gone(b, device)
    b.set(st.task, task.id, document=document, device=device, day=day, status="ended" if silent else "recalled")
    _say_recalled(b, document, task, task.recalled)
    wanted, order = b.row(st.wanted, task.wanted), b.row(st.shop_order, task.order_id)
    assert wanted is not None
    assert order is not None
    paid = wanted.keeper is not None or b.ledger.captured_fen(wanted.id, PRINCIPAL) > 0
    if not silent and wanted.status == "closed" and not paid:
        with suppress(RefusedError):
            freeze(b, order, wanted, task, again=document)
        b.set(st.wanted, wanted.id, status="closing")
    now = b.row(st.task, task.id)
    assert now is not None
    return now


def numbers_of(b: Batch, number: int) -> list[int]:
    """A device's number and those it has taken since, with new keys or as a copy: the last is the one that now has its work."""
    numbers = [number]
    while (device := b.row(s.device, numbers[-1])) is not None and device.replaced_by is not None:
        numbers.append(device.replaced_by)
    return numbers


def recall_the_other(b: Batch, task: Row[Any], document: str) -> None:
    """One task is out twice, in a route of the lost server and in one of this: who has not bought it hears that another has it (D10)."""
    if task.document in (None, document) or document_kind(document) != "route":
        return
    wanted = b.row(st.wanted, task.wanted)
    kept = None if wanted is None or wanted.keeper is None else b.row(st.piece, wanted.keeper)
    other = document
    if kept is not None and kept.bought_fact is not None and kept.device != task.device:
        other = task.document
    _say_recalled(b, other, task, "reassigned")


def is_in_warehouse(b: Batch, task: Row[Any], order: Row[Any]) -> None:
    """A task turns out to stand in a warehouse's document: there it is told that it was withdrawn, bought for nobody, its order closed."""
    document = warehouse_document(order.warehouse)
    for piece in b.rows(st.piece, task=task.id):
        if piece.bought_fact is not None and piece.outcome in HOMELESS:
            verdict = verdict_on(piece, piece.bought_fact)
            b.say(document, verdict.about(f"task:{task.id}", f"piece:{piece.code}"))
    if task.recalled is not None:
        _say_recalled(b, document, task, task.recalled)
    if order.status == "closed":
        b.say(document, kinds.OrderClosed(reason=order.closed_reason[:300]).about(f"order:{order.id}"))
        free_cell(b, order.id)


def _say_recalled(b: Batch, document: str, task: Row[Any], reason: str) -> None:
    b.say(document, kinds.TaskRecalled.model_validate({"reason": reason}).about(f"task:{task.id}"))
