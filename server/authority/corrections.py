"""What a picker takes back: a purchase that was a slip, a price that was keyed wrong. Always a further fact, never an edit.

Rules D8, E8, E10; the reversal is a posting of its own.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from sqlalchemy import Row

from server import schema_trade as st
from server.authority import closing
from server.authority.batch import PLATFORM, Batch, body_of, warehouse_document
from server.authority.dispatch import next_attempt, put_in_warehouse
from server.authority.holds import freeze_paid, who_paid
from server.authority.purchases import give_back
from server.ledger import PRINCIPAL, About, HoldPart
from sync_core.errors import RefusedError
from sync_core.facts import PlacedFact
from trade import kinds
from trade.ids import first_id
from trade.pricing import judge_correction


def on_undone(b: Batch, document: str, fact: PlacedFact) -> None:
    """The tap was a mistake: no garment, no money, the task is open again; unless the garment was scanned, or swapped with another."""
    body = body_of(fact)
    assert isinstance(body, kinds.PieceUndone)
    code = first_id(fact.subjects, "piece") or ""
    piece = b.row(st.piece, code)
    if piece is None or piece.bought_fact != body.fact or piece.place == "undone":
        return
    if not _is_its_buyers(piece, fact):
        return
    swapped = piece.task not in (None, first_id(fact.subjects, "task"))  # So it was in a hand at the warehouse (E11).
    if piece.scanned_ms is not None or swapped:
        b.discrepancy("undone_but_scanned", f"piece:{code}", PLATFORM, facts=[fact.id])
        return
    task = b.row(st.task, piece.task)
    about = About(
        merchant=piece.merchant,
        order=piece.order_id or "",
        task=piece.task or "",
        piece=code,
        causes=(f"fact:{fact.id}",),
    )
    b.ledger.pay_stall(
        -piece.price_fen,
        means=piece.means,
        person=piece.person,
        stall_id=piece.stall_id,
        key=f"unpaid:{code}",
        about=about,
    )
    b.set(st.piece, code, place="undone", outcome="undone")
    if task is None:
        return
    verdict = kinds.PurchaseVerdict(fact=body.fact, outcome="undone", owner=PLATFORM, charged_fen=0)
    order = b.row(st.shop_order, task.order_id)
    warehouse = warehouse_document(order.warehouse) if order is not None and order.warehouse else None
    b.say_to([document, warehouse], verdict.about(f"task:{task.id}", f"piece:{code}"))
    if piece.charged_fen:
        freeze_paid(
            b,
            task.wanted,
            piece.charged_fen,
            key=f"undo:{code}",
            about=about,
            zh=f"撤销拿货 {code}",
            en=f"Purchase {code} taken back",
        )
        b.set(st.piece, code, charged_fen=0)
    wanted = b.row(st.wanted, task.wanted)
    b.decided(("over_cap",), f"piece:{code}", "undone")
    b.settle_discrepancy(f"over_cap|piece:{code}", "拿货已撤销 / the purchase was taken back")
    if (
        wanted is not None
        and order is not None
        and wanted.keeper == code
        and wanted.status not in ("closing", "closed")
    ):
        _want_again(b, wanted, task, order, code, about)
    elif wanted is not None and order is not None and wanted.status == "closed" and piece.outcome == "closed_unseen":
        _freeze_whole(b, wanted, task, order, code, about)
        closing.take_closed_back(b, wanted, order, task, code, about)
    elif wanted is not None and wanted.status == "closed":
        give_back(b, wanted, order, f"undo:{code}:back", about)


def _want_again(b: Batch, wanted: Row[Any], task: Row[Any], order: Row[Any], code: str, about: About) -> None:
    """Nothing serves the want any more: its task is open again, or, when that was withdrawn for another, the next attempt is made."""
    if task.recalled is None:
        b.set(st.wanted, wanted.id, keeper=None, status="out")
        b.set(st.task, task.id, status="out")
    else:
        b.set(st.wanted, wanted.id, keeper=None)
        b.set(st.task, task.id, status="recalled")
        newest = b.row(st.task, wanted.task)
        task = next_attempt(b, newest if newest is not None else task)
        put_in_warehouse(b, order.id)
    _freeze_whole(b, wanted, task, order, code, about)


def on_price_corrected(b: Batch, document: str, fact: PlacedFact) -> None:
    """The price was keyed wrong: the merchant pays more only within what is still held (D8, E8)."""
    body = body_of(fact)
    assert isinstance(body, kinds.PriceCorrected)
    code = first_id(fact.subjects, "piece") or ""
    piece = b.row(st.piece, code)
    if piece is None or piece.place == "undone" or piece.bought_fact is None:
        return
    if not _is_its_buyers(piece, fact):
        return
    about = About(
        merchant=piece.merchant,
        order=piece.order_id or "",
        task=piece.task or "",
        piece=code,
        causes=(f"fact:{fact.id}",),
    )
    correct_price(b, document, fact, code, body.price_fen, about)


def correct_price(b: Batch, document: str, fact: PlacedFact, code: str, price_fen: int, about: About) -> None:
    """Book another price of a bought piece: what its stall got, what the merchant pays, what the platform bears."""
    piece = b.row(st.piece, code)
    assert piece is not None
    change_fen = price_fen - piece.price_fen
    b.ledger.pay_stall(
        change_fen,
        means=piece.means,
        person=piece.person,
        stall_id=piece.stall_id,
        key=f"repaid:{document}:{fact.id}",
        about=about,
    )
    b.set(st.piece, code, price_fen=price_fen)
    task = b.row(st.task, piece.task)
    order = b.row(st.shop_order, piece.order_id)
    if task is None or order is None or piece.outcome not in ("keeps", "over_cap", "closed_unseen"):
        return
    task, order = who_paid(b, code, task, order)
    if not order.drop_ship:
        # Its merchant's own cash paid for it (D20), also while it is drawn for a drop-ship order of his.
        return
    about = replace(about, merchant=order.merchant, order=order.id, task=task.id)
    held_fen = b.ledger.open_fen(task.wanted, PRINCIPAL)
    judged = judge_correction(
        charged_fen=piece.charged_fen, platform_fen=piece.excess_fen, price_fen=price_fen, still_held_fen=held_fen
    )
    key = f"correct:{document}:{fact.id}"
    if judged.merchant_fen > 0:
        b.ledger.post(task.wanted, judged.merchant_fen, key=key, about=about)
    elif judged.merchant_fen < 0:
        freeze_paid(
            b,
            task.wanted,
            -judged.merchant_fen,
            key=key,
            about=about,
            zh=f"改价退回 {code}",
            en=f"Lower price of piece {code}",
        )
        wanted = b.row(st.wanted, task.wanted)
        # Its difference is free already: since the scan, or since the daily close before it (D8).
        free = piece.scanned_ms is not None or b.ledger.has(f"difference:{code}")
        if free or (wanted is not None and wanted.status == "closed"):
            b.ledger.release(
                task.wanted,
                key=f"{key}:back",
                about=about,
                parts=(PRINCIPAL,),
                zh="改价差额退回",
                en="Difference of the corrected price",
            )
    b.set(
        st.piece,
        code,
        charged_fen=piece.charged_fen + judged.merchant_fen,
        excess_fen=piece.excess_fen + judged.platform_fen,
    )
    if piece.excess_fen + judged.platform_fen == 0:
        b.decided(("over_cap",), f"piece:{code}", "corrected")
        b.settle_discrepancy(f"over_cap|piece:{code}", "价格已更正 / its price was corrected")
    if judged.platform_fen > 0:
        b.discrepancy(
            "price_raised",
            f"piece:{code}",
            PLATFORM,
            facts=[fact.id],
            key=f"price_raised|{document}|{fact.id}",
            platform_fen=judged.platform_fen,
        )


def _freeze_whole(b: Batch, wanted: Row[Any], task: Row[Any], order: Row[Any], code: str, about: About) -> None:
    """The task is open again up to its cap: freeze anew the difference that the daily close had given back (D8), if it is there."""
    missing_fen = task.cap_fen - b.ledger.open_fen(wanted.id, PRINCIPAL)
    if not order.drop_ship or missing_fen <= 0:
        return
    part = HoldPart(subject=wanted.id, part=PRINCIPAL, amount_fen=missing_fen)
    # What a short wallet cannot freeze is the platform's, should the phone buy for more (I5).
    with suppress(RefusedError):
        b.ledger.hold(
            [part],
            key=f"undo:{code}:hold",
            about=about,
            zh=f"订单 {order.order_no} 重新冻结",
            en=f"Order {order.order_no}: held again",
        )


def _is_its_buyers(piece: Row[Any], fact: PlacedFact) -> bool:
    """True of what the buyer says, on the same device or on his next one: only he takes his purchase back, or knows what he paid (D19)."""
    return bool(fact.device == piece.device or fact.person == piece.person)
