"""The money that an attempt at one piece needs: frozen when it is made, again when a bounce or a close had given it back.

All attempts at a piece share the hold of their want. Rules R79, R80, D7, E26.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from server import schema_trade as st
from server.authority.batch import Batch
from server.ledger import PRINCIPAL, About, HoldPart
from trade.pricing import LineWanted, Quote, order_price


def freeze(b: Batch, order: Row[Any], wanted: Row[Any], task: Row[Any], again: str = "") -> None:
    """Freeze what the attempt needs beyond what its want still has frozen.

    What is frozen beyond that stays: the phone of an earlier attempt may buy up to its own cap until it has answered (E26). It goes back
    as the difference below the quote does (D8), or with the close. `again` names what froze a second time for the same attempt.

    Raises:
        RefusedError: `wallet.short`; nothing was frozen.
    """
    if not order.drop_ship:
        return
    price = order_price(
        b.settings.fees, [LineWanted(quote=Quote(quote_fen=task.quote_fen, tolerance_fen=task.cap_fen - task.quote_fen), copies=1)],
        region=order.region, with_courier=False,
    ).pieces[0]  # fmt: skip
    needs = {"principal": price.principal_fen, "commission": price.commission_fen, "check": price.check_fen}
    more = []
    for part, amount_fen in needs.items():
        # A fee that was taken for the want (it has left already, or the walk was paid) is not frozen a second time.
        taken_fen = 0 if part == PRINCIPAL else b.ledger.captured_fen(wanted.id, part)
        missing_fen = amount_fen - taken_fen - b.ledger.open_fen(wanted.id, part)
        if missing_fen > 0:
            more.append(HoldPart(subject=wanted.id, part=part, amount_fen=missing_fen))
    if more:
        b.ledger.hold(
            more,
            key=f"hold:{task.id}:{again}" if again else f"hold:{task.id}",
            about=b.about(order=order, task=task.id),
            zh=f"订单 {order.order_no} 重新冻结",
            en=f"Order {order.order_no}: held again",
        )


def is_given_back(b: Batch, order: Row[Any], wanted: Row[Any]) -> bool:
    """True when a bounce gave the money of a want back, whatever its stall has answered since (E26)."""
    waits = wanted.keeper is None and wanted.status in ("bounced", "answered", "asked")
    return waits and bool(order.drop_ship) and b.ledger.open_fen(wanted.id, PRINCIPAL) == 0


def freeze_paid(b: Batch, wanted: str, amount_fen: int, *, key: str, about: About, zh: str, en: str) -> None:
    """Freeze again what was taken out of a want's frozen money; what its merchant had paid on top of that goes to his wallet (E7)."""
    frozen_fen = min(amount_fen, b.ledger.captured_fen(wanted, PRINCIPAL))
    b.ledger.unpost(wanted, frozen_fen, key=key, about=about, zh=zh, en=en)
    b.ledger.uncharge(amount_fen - frozen_fen, key=f"{key}:excess", about=about, zh=zh, en=en)


def who_paid(b: Batch, code: str, task: Row[Any], order: Row[Any]) -> tuple[Row[Any], Row[Any]]:
    """The task and the order whose money paid for a piece: those it was resold to, else those it was bought for.

    A piece that was swapped, or drawn for another order that has not shipped, serves one that paid nothing for it.
    """
    if b.ledger.has(f"post:{code}:{task.wanted}"):
        return task, order
    bought = bought_for(b, code) or task
    return bought, b.row(st.shop_order, bought.order_id) or order


def bought_for(b: Batch, code: str) -> Row[Any] | None:
    """The task that a piece was bought for, whatever it was swapped with or drawn for since; None: nobody knows."""
    paid = b.ledger.about(f"post:{code}") or b.ledger.about(f"paid:{code}")
    return None if paid is None else b.row(st.task, paid.task)


def owners_order(b: Batch, piece: Row[Any]) -> str:
    """The order through which its owner has a piece: the one that came back, else the one whose money paid for it; empty: neither is his.

    The piece itself names the order that it was drawn for last, which may be another merchant's (D20).
    """
    came_back, paid = b.row(st.expected_return, piece.return_no), b.ledger.about(f"post:{piece.code}")
    if came_back is not None and came_back.order_id is not None and came_back.merchant == piece.owner:
        return str(came_back.order_id)
    return paid.order if paid is not None and paid.merchant == piece.owner else ""


def owners_about(b: Batch, piece: Row[Any], fact: str) -> About:
    """What a credit to a piece's owner speaks of."""
    return About(
        merchant=piece.owner,
        order=owners_order(b, piece),
        piece=piece.code,
        causes=tuple(x for x in (f"fact:{fact}", b.cause) if x),
    )
