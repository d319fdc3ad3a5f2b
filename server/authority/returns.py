"""Garments that come back: expected, received, inspected, bagged for the runner, refunded by the stall.

A return counts as stock after it passed inspection (D14); a trip has no assumed success (D15); its owner is credited what the stall
paid, once (I7); a lower amount waits for his word and silence accepts after three days (D12).
Rules R53-R61, R73-R78, R82-R84, D12, D14, D15, D21, E19-E24.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, select

from server import commands as c
from server import schema as s
from server import schema_trade as st
from server.authority.batch import PLATFORM, Batch, body_of, warehouse_document, warehouse_of
from server.authority.holds import owners_about, owners_order
from server.authority.line_reading import own_facts_of_line
from server.authority.shelving import to_stock
from server.authority.sorting import disappoint
from server.authority.words import AFTER_REFUSAL
from server.ledger import About
from server.rows import to_json
from sync_core.errors import RefusedError
from sync_core.facts import PlacedFact
from sync_core.fold import order_facts
from trade import kinds
from trade.ids import first_id
from trade.pieces import fold_piece, overtaken_inspections
from trade.pricing import owners_share
from trade.walk import read_stall_id
from trade.words import REFUSALS, say

CLAIM_MS = 3 * 24 * 60 * 60 * 1000
"""The owner has three days to refuse a lower refund; silence accepts (D12)."""


def expect_return(b: Batch, command: c.ReturnExpected) -> dict[str, Any]:
    """The merchant agrees that a shipped order comes back under a courier number (R73).

    Raises:
        RefusedError: `order.unknown`, `return.not_shipped`, `return.known`, `return.pieces`.
    """
    order = b.row(st.shop_order, command.order)
    if order is None:
        raise RefusedError("order.unknown", f"没有订单 {command.order} / there is no order {command.order}")
    pieces = b.conn.execute(
        select(st.piece).where(st.piece.c.order_id == order.id, st.piece.c.place == "shipped").order_by(st.piece.c.code)
    ).all()
    if command.pieces is not None:
        pieces = [piece for piece in pieces if piece.code in command.pieces]
        if len(pieces) != len(set(command.pieces)):
            raise RefusedError("return.pieces", "有的件不在这个已发订单里 / some pieces are not of this shipped order")
    if not pieces:
        raise RefusedError("return.not_shipped", "订单还没有发出的件 / no piece of the order has shipped")
    courier_no = command.courier_no.upper()  # As its bar code says it, however it was typed.
    known = b.row(st.expected_return, courier_no)
    if known is not None and known.order_id is not None:
        raise RefusedError("return.known", "这个快递单号已登记 / this courier number is known already")
    document = warehouse_document(order.warehouse)
    merchant = b.row(st.merchant, order.merchant)
    body = kinds.ReturnExpected(
        courier_no=courier_no, order_no=order.order_no, merchant=order.merchant,
        merchant_name=merchant.name if merchant is not None else order.merchant, pieces=[garment_of(b, piece) for piece in pieces],
    )  # fmt: skip
    subjects = [f"return:{courier_no}", f"order:{order.id}", *(f"piece:{piece.code}" for piece in pieces)]
    b.say(document, body.about(*subjects))
    note_expected(b, courier_no, order, [piece.code for piece in pieces], document)
    return {"courier_no": courier_no, "pieces": len(pieces)}


def note_expected(b: Batch, courier_no: str, order: Row[Any], codes: Sequence[str], document: str) -> None:
    """A return of an order is expected, or lies here already."""
    known = b.row(st.expected_return, courier_no)
    row = {
        "courier_no": courier_no, "order_id": order.id, "merchant": order.merchant, "document": document,
        "pieces": to_json(list(codes)), "expected_ms": b.now_ms, "matched": 1,
    }  # fmt: skip
    b.put(st.expected_return, ("courier_no",), **row)
    for code in codes:
        piece = b.row(st.piece, code)
        if piece is None:
            continue
        b.set(st.piece, code, return_no=courier_no)
        if known is not None and known.received_ms is not None and piece.place == "shipped":
            b.set(st.piece, code, place="return_in")
    if known is not None:
        b.settle_discrepancy(f"return_unmatched|return:{courier_no}", "已对上订单 / matched to its order")


def garment_of(b: Batch, piece: Row[Any]) -> kinds.ReturnedPiece:
    """Return what the runner needs at the stall (R59)."""
    place = read_stall_id(piece.stall_id)
    stall = b.row(st.stall, piece.stall_id)
    who = b.row(s.person, piece.person)
    return kinds.ReturnedPiece(
        piece=piece.code, task=piece.task or "", style=piece.style, colour=piece.colour, size=piece.size,
        market=place.market if place else "", floor=place.floor if place else "", stall=place.stall if place else "",
        paid_fen=piece.price_fen, picker=who.name if who is not None else piece.person, bought_at_ms=piece.bought_ms or 0,
        terms_days=stall.returns_days if stall is not None else 7,
    )  # fmt: skip


def on_return_received(b: Batch, document: str, fact: PlacedFact) -> None:
    """A buyer's parcel came back; an unknown one is taken in as unmatched (E19)."""
    body = body_of(fact)
    assert isinstance(body, kinds.ReturnReceived)
    known = b.row(st.expected_return, body.courier_no)
    if known is None:
        b.add(st.expected_return, courier_no=body.courier_no, document=document, received_ms=b.now_ms, shelf=body.shelf)
        b.discrepancy(
            "return_unmatched",
            f"return:{body.courier_no}",
            PLATFORM,
            facts=[fact.id],
            courier_no=body.courier_no,
            shelf_zh=body.shelf or "退件区",
            shelf_en=body.shelf or "the returns desk",
        )
        return
    if known.received_ms is not None:
        return
    b.set(st.expected_return, body.courier_no, received_ms=b.now_ms, shelf=body.shelf)
    for code in json.loads(known.pieces):
        piece = b.row(st.piece, code)
        if piece is not None and piece.place == "shipped":
            b.set(st.piece, code, place="return_in")


def on_inspected(b: Batch, document: str, fact: PlacedFact) -> None:
    """Fit: stock of its merchant. Not fit: the pending area (R54-R56)."""
    body = body_of(fact)
    assert isinstance(body, kinds.PieceInspected)
    code = first_id(fact.subjects, "piece") or ""
    piece = b.row(st.piece, code)
    if piece is None:
        b.add(
            st.piece,
            code=code,
            owner=PLATFORM,
            place="foreign",
            outcome="unexplained",
            warehouse=warehouse_of(document),
            **_described(body),
        )
        b.discrepancy("foreign_piece", f"piece:{code}", PLATFORM, facts=[fact.id])
        return
    facts = _as_terminals_fold(b, document, fact, f"piece:{code}")
    if fact.id in overtaken_inspections(facts):
        return
    if piece.place in ("pending", "in_stock") and piece.return_no == first_id(fact.subjects, "return"):
        # Two terminals that knew nothing of each other looked at it: the word that stands on every terminal stands here.
        place = "in_stock" if body.passed else "pending"
        if place == piece.place or fold_piece(f"piece:{code}", facts)["place"] != place:
            return
        disappoint(b, piece)
    elif piece.place not in ("shipped", "return_in", "pending"):
        return
    # Whose buyer sent it back; `piece.merchant` is whom it was bought for, who was paid when it was resold.
    order = b.row(st.shop_order, piece.order_id)
    owner = (order.merchant if order is not None else piece.merchant) or PLATFORM
    b.set(
        st.piece,
        code,
        owner=owner,
        return_no=first_id(fact.subjects, "return"),
        reserved=None,
        warehouse=warehouse_of(document),
    )
    if body.passed:
        to_stock(b, code)
    else:
        b.set(st.piece, code, place="pending")
        b.notice(
            owner,
            "return_unfit",
            f"piece:{code}",
            fact=fact.id,
            reason=body.reason,
        )


def on_brought_back(b: Batch, document: str, fact: PlacedFact) -> None:
    """A runner brought the piece back, perhaps after he had said that it is left at the stall or lost: stock again (D15)."""
    code = first_id(fact.subjects, "piece") or ""
    piece = b.row(st.piece, code)
    if piece is not None and piece.place in ("with_runner", "left_at_stall", "written_off"):
        b.set(st.piece, code, warehouse=warehouse_of(document))
        b.settle_discrepancy(f"stall_refused|piece:{code}", "已带回入库 / it was brought back")
        to_stock(b, code)


def on_pending_ended(b: Batch, _document: str, fact: PlacedFact) -> None:
    """Where an unfit piece ended (R55)."""
    body = body_of(fact)
    assert isinstance(body, kinds.PendingEnded)
    code = first_id(fact.subjects, "piece") or ""
    piece = b.row(st.piece, code)
    if piece is None or piece.place not in ("pending", "foreign"):
        return
    if body.outcome == "accepted":
        to_stock(b, code)
        return
    place = {
        "returned_to_buyer": "returned_to_buyer",
        "handed_to_merchant": "handed_to_merchant",
        "disposed": "written_off",
    }
    b.set(st.piece, code, place=place[body.outcome])


def on_refunded(b: Batch, document: str, fact: PlacedFact) -> None:
    """The stall took it back and gave this much (R60, R84, E22)."""
    body = body_of(fact)
    assert isinstance(body, kinds.PieceRefunded)
    code = first_id(fact.subjects, "piece") or ""
    piece = b.row(st.piece, code)
    if piece is None:
        return
    about = About(
        merchant=piece.owner, order=piece.order_id or "", task=piece.task or "", piece=code, causes=(f"fact:{fact.id}",)
    )
    b.ledger.pay_stall(
        -body.received_fen,
        means=body.means.value,
        person=fact.person,
        stall_id=piece.stall_id,
        key=f"refunded:{document}:{fact.id}",
        about=about,
    )
    if piece.place == "back_at_stall":
        b.discrepancy(
            "refunded_twice",
            f"piece:{code}",
            PLATFORM,
            facts=[fact.id],
            key=f"refunded_twice|{document}|{fact.id}",
            code=code,
        )
        return
    b.set(st.piece, code, place="back_at_stall")
    b.decided(("over_cap",), f"piece:{code}", "back_at_stall")
    his_fen = piece.price_fen - piece.excess_fen
    lower = body.received_fen < his_fen
    runner = b.row(s.device, fact.device)
    # A merchant's own runner has the money in his own float: no wallet is touched (D20).
    if piece.owner == PLATFORM or (runner is not None and runner.organisation == piece.owner):
        _say_refund(b, document, fact, code, piece, "settled", 0)
    elif lower:
        _say_refund(b, document, fact, code, piece, "lower_waits", 0)
        b.ask(
            "refund", f"piece:{code}", order=owners_order(b, piece), merchant=piece.owner, cause=f"{document}|{fact.id}",
            detail={"received_fen": body.received_fen, "paid_fen": his_fen, "document": document, "fact": fact.id},
            deadline_ms=b.now_ms + CLAIM_MS,
        )  # fmt: skip
    else:
        credited_fen = credit_owner(b, piece, body.received_fen, fact.id)
        _say_refund(b, document, fact, code, piece, "settled", credited_fen)


def on_refused(b: Batch, document: str, fact: PlacedFact) -> None:
    """The stall did not take it back (R61, E23)."""
    body = body_of(fact)
    assert isinstance(body, kinds.PieceRefused)
    code = first_id(fact.subjects, "piece") or ""
    piece = b.row(st.piece, code)
    if piece is None or piece.place == "back_at_stall":
        return
    place = {
        "keep_trying": "with_runner",
        "bring_back": "with_runner",
        "left_at_stall": "left_at_stall",
        "written_off": "written_off",
    }
    # Not brought back, sold or packed before he was heard (E24).
    is_with_him = piece.place in ("with_runner", "left_at_stall", "written_off")
    if is_with_him:
        b.set(st.piece, code, place=place[body.then])
    _say_refund(b, document, fact, code, piece, "refused", 0)
    then_zh, then_en = AFTER_REFUSAL[body.then]
    if piece.owner != PLATFORM:
        b.notice(
            piece.owner,
            "stall_refused",
            f"piece:{code}",
            fact=fact.id,
            reason_zh=say(REFUSALS, body.reason, "zh"),
            reason_en=say(REFUSALS, body.reason, "en"),
            then_zh=then_zh,
            then_en=then_en,
        )
    if is_with_him and body.then in ("left_at_stall", "written_off"):
        b.discrepancy("stall_refused", f"piece:{code}", piece.owner, facts=[fact.id], then_zh=then_zh, then_en=then_en)


def decide_refund(b: Batch, command: c.RefundDecide) -> dict[str, Any]:
    """The owner accepts a lower refund, or claims the rest (D12).

    Raises:
        RefusedError: `refund.over`.
    """
    question = _open_refund(b, command.piece)
    if question is None:
        raise RefusedError("refund.over", "没有等您决定的退款 / no refund of this piece waits for you")
    return settle_refund(b, question, command.choice)


def settle_refund(b: Batch, question: Row[Any], choice: str) -> dict[str, Any]:
    """Credit what the stall paid; a claim is opened for the rest."""
    code = question.subject.partition(":")[2]
    piece = b.row(st.piece, code)
    assert piece is not None
    detail = json.loads(question.detail)
    credited_fen = credit_owner(b, piece, detail["received_fen"], detail["fact"])
    b.decided(("refund",), question.subject, choice)
    trip = b.row(st.trip, piece.trip)
    subjects = (f"piece:{code}",)
    verdict = kinds.RefundVerdict(fact=detail["fact"], outcome="settled", credited_fen=credited_fen)
    warehouse = warehouse_document(trip.warehouse) if trip is not None else None
    b.say_to([detail["document"], warehouse], verdict.about(*subjects))
    if choice == "claim":
        short_fen = detail["paid_fen"] - detail["received_fen"]
        b.discrepancy("claim", f"piece:{code}", PLATFORM, short_fen=short_fen)
    return {"piece": code, "credited_fen": credited_fen}


def credit_owner(b: Batch, piece: Row[Any], amount_fen: int, fact: str) -> int:
    """Credit the owner for a piece its stall took back, once per piece (I7); what the platform bore of its price is the platform's."""
    amount_fen = owners_share(amount_fen, price_fen=piece.price_fen, borne_fen=piece.excess_fen)
    done = b.ledger.credit(
        amount_fen,
        key=f"credit:{piece.code}:stall",
        about=owners_about(b, piece, fact),
        zh=f"档口退款 {piece.code}",
        en=f"The stall took piece {piece.code} back",
    )
    if done:
        b.set(st.piece, piece.code, credited=1)
        b.rescreen.add(piece.owner)
    return amount_fen if done else 0


# --- below ------------------------------------------------------------------------------------------------------------------


def _say_refund(
    b: Batch, document: str, fact: PlacedFact, code: str, piece: Row[Any], outcome: str, credited_fen: int
) -> None:
    verdict = kinds.RefundVerdict.model_validate({"fact": fact.id, "outcome": outcome, "credited_fen": credited_fen})
    if not b.once(document, fact.id, kinds.RefundVerdict.KIND, verdict.model_dump(mode="json")):
        return
    trip = b.row(st.trip, piece.trip)
    warehouse = warehouse_document(trip.warehouse) if trip is not None else None
    b.say_to([document, warehouse], verdict.about(f"piece:{code}"))


def _open_refund(b: Batch, code: str) -> Row[Any] | None:
    d = st.decision.c
    return b.conn.execute(
        select(st.decision).where(d.kind == "refund", d.subject == f"piece:{code}", d.resolved_ms.is_(None))
    ).first()


def _as_terminals_fold(b: Batch, document: str, fact: PlacedFact, subject: str) -> list[PlacedFact]:
    """All that was said of a garment, in folded order. What came into a document that has ended is carried on behind what stands in its
    successor, and there it is folded last.
    """
    newest, said = b.newest(document), b.memory.facts_of(subject)
    if newest == document or newest not in said:
        return order_facts(b.memory.trade, own_facts_of_line(b.memory, subject, document))
    there = order_facts(b.memory.trade, said[newest])
    return there if any((one.id, one.kind) == (fact.id, fact.kind) for one in there) else [*there, fact]


def _described(body: kinds.PieceInspected) -> dict[str, Any]:
    garment = body.garment
    if garment is None:
        return {}
    return {
        "style": garment.style, "colour": garment.colour, "size": garment.size, "price_fen": garment.paid_fen,
        "stall_id": f"stall:{garment.market}/{garment.floor}/{garment.stall}",
    }  # fmt: skip
