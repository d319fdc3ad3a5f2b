"""The warehouse's facts: scanned in, swapped, drawn from stock, packed, shipped.

A scan never waits for a phone: a label nobody explained is kept as it is and becomes normal when its purchase arrives; unexplained
within a day it is an orphan with an owner (E12). Rules R51, R52, R57, R71, R72, D8, D12, D14, D16, D17, E9, E11, E15, E18, I2.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Row

from server import schema_trade as st
from server.authority import waybills
from server.authority.batch import PLATFORM, Batch, body_of, warehouse_document, warehouse_of
from server.authority.closing import settle_order
from server.authority.dispatch import next_attempt, put_in_warehouse
from server.authority.documents import free_cell
from server.authority.holds import owners_about
from server.authority.line_reading import own_facts_of_line
from server.authority.purchases import serve_want
from server.authority.shelving import settle_arrival, to_stock
from server.ledger import PRINCIPAL, tell_parts
from server.rows import to_json
from sync_core.facts import PlacedFact
from trade import kinds
from trade.ids import first_id, ids_of
from trade.pricing import owners_share
from trade.stock_conflicts import BagWins, SaleWins, judge_stock

AFTER_THE_BAG: Final = ("with_runner", "back_at_stall", "left_at_stall", "written_off")
"""Where a piece is that went into a bag and was not brought back."""
LOST_TO_NOBODY: Final = "stock.lost_to_nobody"
"""The rule under which a sale is noted that lost to what has not got the piece any more: a bag that was brought back."""
_SERVING: Final = ("inbound", "in_cell", "packed")


def on_scanned_in(b: Batch, document: str, fact: PlacedFact) -> None:
    """A label was scanned at the warehouse's door."""
    body = body_of(fact)
    assert isinstance(body, kinds.ScannedIn)
    code = first_id(fact.subjects, "piece") or ""
    piece = b.row(st.piece, code)
    if piece is None:
        qr = body.qr
        task = b.row(st.task, qr.task) if qr is not None else None
        b.add(
            st.piece,
            code=code,
            owner=PLATFORM,
            place="in_cell" if body.cell else "inbound",
            outcome="unexplained",
            scanned_ms=b.now_ms,
            warehouse=warehouse_of(document),
            task=qr.task if qr is not None else None,
            order_id=task.order_id if task is not None else None,
            wanted=task.wanted if task is not None else None,
            price_fen=qr.price_fen if qr is not None else 0,
        )
        if task is not None:
            waybills.obtain(b, task.order_id)
        return
    if piece.scanned_ms is not None:
        return  # The second copy of a label, or a second scan: the same piece (E9).
    b.set(st.piece, code, scanned_ms=b.now_ms, warehouse=warehouse_of(document))
    if piece.place == "undone":
        b.set(st.piece, code, place="inbound")
        b.discrepancy("undone_but_scanned", f"piece:{code}", PLATFORM, facts=[fact.id])
        return
    if piece.place == "with_picker":
        b.set(st.piece, code, place="in_cell" if body.cell else "inbound")
    moved = b.row(st.piece, code)
    assert moved is not None
    settle_arrival(b, moved)


def on_swapped(b: Batch, _document: str, fact: PlacedFact) -> None:
    """Two bags carry each other's label: each piece now serves the other's task (E11)."""
    body = body_of(fact)
    assert isinstance(body, kinds.PiecesSwapped)
    codes = ids_of(fact.subjects, "piece")[:2]
    for code, task_id in zip(codes, body.tasks, strict=False):
        task = b.row(st.task, task_id)
        if task is None or b.row(st.piece, code) is None:
            continue
        b.set(st.piece, code, task=task_id, wanted=task.wanted, order_id=task.order_id)
        wanted = b.row(st.wanted, task.wanted)
        if wanted is not None and wanted.keeper in codes:
            b.set(st.wanted, wanted.id, keeper=code)


def on_drawn(b: Batch, document: str, fact: PlacedFact) -> None:
    """A piece of the stock was taken for an order."""
    code = first_id(fact.subjects, "piece") or ""
    task = b.row(st.task, first_id(fact.subjects, "task"))
    piece = b.row(st.piece, code)
    if task is None or piece is None:
        b.discrepancy("drawn_unknown", f"piece:{code}", PLATFORM, facts=[fact.id])
        return
    lost = settle_stock_conflict(b, document, code)
    if piece.place in AFTER_THE_BAG or fact.id in lost:
        _shelve_if_nobody_has_it(b, code)
        return
    wanted = b.row(st.wanted, task.wanted)
    if wanted is None or wanted.status in ("closing", "closed") or (wanted.keeper not in (None, code)):
        b.discrepancy("drawn_unwanted", f"piece:{code}", PLATFORM, facts=[fact.id])
        if wanted is not None:
            # The terminal that drew it had not heard: it lies on the shelf again, for whoever waits for one like it.
            over = kinds.TaskRecalled(reason="closed" if wanted.status in ("closing", "closed") else "reassigned")
            b.say(document, over.about(f"task:{task.id}", f"piece:{code}"))
            _shelve_if_nobody_has_it(b, code)
        return
    disappoint(b, piece, goes_to=task.order_id)
    b.set(
        st.piece,
        code,
        place="inbound",
        reserved=wanted.id,
        order_id=task.order_id,
        task=task.id,
        wanted=wanted.id,
        scanned_ms=b.now_ms,
        warehouse=warehouse_of(document),
    )
    serve_want(b, wanted, code)
    b.set(st.wanted, wanted.id, status="in")
    b.set(st.task, task.id, status="bought")
    waybills.obtain(b, task.order_id)


def settle_stock_conflict(b: Batch, document: str, code: str) -> frozenset[str]:
    """Sold at one terminal, bagged or sold at another, neither knew: one wins, the loser is told what to do with his hands (D14, E21, R34).
    Returns the facts that lost.
    """
    facts = own_facts_of_line(b.memory, f"piece:{code}", document)
    decisions = judge_stock(facts)
    all_lost = frozenset(decision.lost for decision in decisions)
    for decision in decisions:
        verdict = decision.verdict
        lost = next(fact for fact in facts if fact.id == decision.lost)
        kept = next(fact for fact in facts if fact.id == decision.kept)
        sale = lost if lost.kind == kinds.PieceDrawn.KIND else kept
        task = b.row(st.task, first_id(sale.subjects, "task"))
        piece = b.row(st.piece, code)
        serves = task is not None and piece is not None and piece.reserved == task.wanted and piece.place in _SERVING
        came_back = (
            isinstance(decision, BagWins) and piece is not None and piece.place not in AFTER_THE_BAG and not serves
        )
        if came_back or (isinstance(decision, SaleWins) and decision.kept in all_lost):
            # What won has not got the piece any more: a verdict would put it there again. The sale has lost all the same.
            if task is not None and b.once(document, decision.lost, LOST_TO_NOBODY):
                _look_elsewhere(b, task, code)
            continue
        if not b.once(document, decision.lost, kinds.StockVerdict.KIND, verdict.model_dump(mode="json")):
            continue
        subjects = [f"piece:{code}"] + [subject for subject in sale.subjects if subject.startswith(("task:", "order:"))]
        b.say(document, verdict.about(*subjects))
        if isinstance(decision, SaleWins):
            if task is not None:
                _look_elsewhere(b, task, code)
            continue
        if verdict.winner == "bag":
            # Its runner may have been at the stall already.
            place = piece.place if piece is not None and piece.place in AFTER_THE_BAG else "with_runner"
            b.set(st.piece, code, place=place, reserved=None)
            if task is not None:
                _look_elsewhere(b, task, code)
        elif task is not None:
            wanted = b.row(st.wanted, task.wanted)
            b.set(st.piece, code, place="packed", trip=None, task=task.id, wanted=task.wanted, order_id=task.order_id)
            if wanted is not None and wanted.keeper is None:
                b.set(st.piece, code, reserved=wanted.id)
                serve_want(b, wanted, code)
                b.set(st.wanted, wanted.id, status="in")
        b.discrepancy(
            "bagged_but_sold" if verdict.winner == "parcel" else "sold_but_bagged", f"piece:{code}", "warehouse",
            facts=[decision.lost, decision.kept],
        )  # fmt: skip
    return all_lost


def _shelve_if_nobody_has_it(b: Batch, code: str) -> None:
    """A piece whose sale lost to another that has lost, too, lies on its shelf."""
    piece = b.row(st.piece, code)
    promised = None if piece is None or piece.reserved is None else b.row(st.wanted, piece.reserved)
    if piece is not None and piece.place in ("inbound", "in_cell") and promised is not None and promised.keeper != code:
        to_stock(b, code)


def _look_elsewhere(b: Batch, task: Row[Any], code: str) -> None:
    """The piece of the stock that a task waited for, or had, is gone: its want is served from a stall, unless it is already (D4)."""
    wanted = b.row(st.wanted, task.wanted)
    if wanted is None or wanted.keeper not in (None, code):
        return
    b.set(st.wanted, wanted.id, keeper=None)
    b.set(st.task, task.id, status="ended")
    newest = b.row(st.task, wanted.task)
    if newest is None or newest.id == task.id or newest.recalled is not None:
        next_attempt(b, task)
        put_in_warehouse(b, task.order_id)


def on_packed(b: Batch, document: str, fact: PlacedFact) -> None:
    """All living pieces of the parcel are in it."""
    body = body_of(fact)
    assert isinstance(body, kinds.ParcelPacked)
    parcel = b.row(st.parcel, first_id(fact.subjects, "parcel"))
    if parcel is None or parcel.shipped_ms is not None:
        return
    b.set(st.parcel, parcel.id, status="packed", packed_ms=b.now_ms, pieces=to_json(list(body.pieces)))
    for code in body.pieces:
        piece = b.row(st.piece, code)
        if piece is None:
            continue
        if piece.place == "with_runner":
            settle_stock_conflict(b, document, code)
        if piece.place in ("with_picker", "inbound", "in_cell"):
            b.set(st.piece, code, place="packed", parcel=parcel.id, scanned_ms=piece.scanned_ms or b.now_ms)


def on_printed(b: Batch, _document: str, fact: PlacedFact) -> None:
    """Printed is not shipped (D17)."""
    parcel = b.row(st.parcel, first_id(fact.subjects, "parcel"))
    if parcel is not None and parcel.status == "packed":
        b.set(st.parcel, parcel.id, status="printed")


def on_shipped(b: Batch, document: str, fact: PlacedFact) -> None:
    """The parcel left: fees are captured, a resold piece is paid and its owner credited; once (R72, D12, E18)."""
    body = body_of(fact)
    assert isinstance(body, kinds.ParcelShipped)
    parcel = b.row(st.parcel, first_id(fact.subjects, "parcel"))
    order = b.row(st.shop_order, first_id(fact.subjects, "order"))
    if parcel is None or order is None:
        b.discrepancy("shipped_unknown", fact.subjects[0], PLATFORM, facts=[fact.id])
        return
    if parcel.shipped_ms is not None:
        return  # The same waybill twice at the door (E18).
    b.set(st.parcel, parcel.id, status="shipped", shipped_ms=b.now_ms, pieces=to_json(list(body.pieces)))
    if body.waybill_no != parcel.waybill_no:
        b.discrepancy("shipped_voided", f"parcel:{parcel.id}", "warehouse", facts=[fact.id], waybill_no=body.waybill_no)
    _check_stop(b, document, fact, order)
    for code in body.pieces:
        _ship_piece(b, code, order, parcel, fact)
    about = b.about(order=order, fact=fact.id)
    parts_zh, parts_en = tell_parts(b.ledger.open_parts(order.id))
    b.ledger.capture_fees(
        order.id,
        key=f"fees:{order.id}",
        about=about,
        zh=f"订单 {order.order_no} 已发货：{parts_zh}",
        en=f"Order {order.order_no} shipped: {parts_en}",
    )
    settle_order(b, order.id)
    free_cell(b, order.id)


def _ship_piece(b: Batch, code: str, order: Row[Any], parcel: Row[Any], fact: PlacedFact) -> None:
    piece = b.row(st.piece, code)
    if piece is None:
        return
    if piece.place == "back_at_stall":
        # As terminals fold it: the stall has paid for it, and a person looks who has it.
        b.discrepancy("shipped_after_refund", f"piece:{code}", "warehouse", facts=[fact.id], order_no=order.order_no)
        return
    b.set(st.piece, code, place="shipped", parcel=parcel.id, scanned_ms=piece.scanned_ms or b.now_ms, trip=None)
    disappoint(b, piece, goes_to=order.id)
    wanted = None if piece.wanted is None else b.row(st.wanted, piece.wanted)
    if wanted is None or wanted.order_id != order.id or wanted.status == "shipped":
        return
    about = b.about(order=order, task=piece.task or "", piece=code, fact=fact.id)
    if order.drop_ship and piece.reserved == wanted.id:
        _pay_resale(b, piece, wanted, order, fact)
    # Until its own purchase is known the principal waits for what was paid (E12): the piece in its parcel may be a swapped one (E11).
    if b.ledger.captured_fen(wanted.id, PRINCIPAL) > 0:
        b.ledger.release(
            wanted.id,
            key=f"difference:{code}:{order.id}",
            parts=(PRINCIPAL,),
            about=about,
            zh="低于报价的差额退回",
            en="Difference below the quote released",
        )
    elif wanted.keeper is None:
        serve_want(b, wanted, code)  # Nobody need walk for it any more (D4).
    b.ledger.capture_fees(
        wanted.id,
        key=f"fees:{wanted.id}",
        about=about,
        zh=f"订单 {order.order_no} 已发货：佣金",
        en=f"Order {order.order_no} shipped: commission",
    )
    b.set(st.wanted, wanted.id, status="shipped")
    b.set(st.piece, code, reserved=None)


def disappoint(b: Batch, piece: Row[Any], *, goes_to: str | None = None) -> None:
    """A terminal that had not heard shipped the piece in its old parcel, drew or bagged it, while another order was promised it: that one
    is told, and served from a stall.
    """
    promised = None if piece.reserved is None else b.row(st.wanted, piece.reserved)
    if promised is None or promised.order_id == goes_to:
        return
    b.set(st.piece, piece.code, reserved=None)
    task = b.row(st.task, promised.task)
    if task is not None and task.piece == piece.code and promised.status in ("ready", "out"):
        b.say(warehouse_document(task.warehouse), kinds.TaskRecalled(reason="reassigned").about(f"task:{task.id}"))
        _look_elsewhere(b, task, piece.code)


def _pay_resale(b: Batch, piece: Row[Any], wanted: Row[Any], order: Row[Any], fact: PlacedFact) -> None:
    """The buyer's wallet pays the piece's own pick price, the owner is credited the same amount, once (D12, R83).

    Of a piece whose price the platform bore in part, the owner is credited what was his and the platform keeps the rest.
    """
    price_fen = min(piece.price_fen, b.ledger.open_fen(wanted.id, PRINCIPAL))
    about = b.about(order=order, task=wanted.task, piece=piece.code, fact=fact.id)
    if price_fen:
        b.ledger.post(wanted.id, price_fen, key=f"post:{piece.code}:{wanted.id}", about=about)
    if piece.owner != PLATFORM and not piece.credited:
        b.ledger.credit(
            owners_share(price_fen, price_fen=piece.price_fen, borne_fen=piece.excess_fen),
            key=f"credit:{piece.code}:{wanted.id}",
            about=owners_about(b, piece, fact.id),
            zh=f"库存件 {piece.code} 已再售，本金退回",
            en=f"Stock piece {piece.code} resold: principal back",
        )
        b.rescreen.add(piece.owner)
    # Whatever the platform bore of its price before, this buyer paid: only what his hold did not cover is still borne.
    borne_fen = piece.price_fen - price_fen
    b.decided(("over_cap",), f"piece:{piece.code}", "resold")
    b.settle_discrepancy(
        f"over_cap|piece:{piece.code}", "已再售，买家付了全价 / it was resold, and its buyer paid the whole price"
    )
    b.set(
        st.piece, piece.code, owner=order.merchant, charged_fen=price_fen, excess_fen=borne_fen, credited=0, outcome="keeps"
    )  # fmt: skip


def _check_stop(b: Batch, document: str, fact: PlacedFact, order: Row[Any]) -> None:
    """Shipped although the buyer wants his money back or nobody wants it: did the terminal know? (E15, I3)."""
    if order.status != "closed" and not order.refund_open:
        return
    facts = b.memory.facts_of(f"order:{order.id}", document=document).get(document, [])
    stops = [one for one in facts if one.kind in (kinds.OrderClosed.KIND, kinds.RefundAsked.KIND)]
    knew = any(fact.knew(stop) for stop in stops)
    b.discrepancy(
        "shipped_though_stopped" if knew else "shipped_before_stop", f"order:{order.id}", "warehouse" if knew else order.merchant,
        facts=[fact.id], order_no=order.order_no,
    )  # fmt: skip
