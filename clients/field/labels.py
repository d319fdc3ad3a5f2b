"""The fields of the labels a phone prints: what the templates of the platform may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clients.runtime.shown import tail, yuan
from trade.ids import order_of_task
from trade.piece_code import PieceCode, label_qr


def piece_label(*, code: PieceCode, task: str, assigned: Mapping[str, Any], price_fen: int) -> dict[str, str]:
    """Return what the bag's label says: where it was bought, what it is, where it goes, and the two codes."""
    order = order_of_task(task) or ""
    cell, terminal = assigned.get("cell"), assigned.get("terminal")
    return {
        "stall": "-".join(part for part in (assigned["floor"], assigned["stall"]) if part),
        "market": assigned["market"],
        "style": assigned["style"],
        "colour": assigned["colour"],
        "size": assigned["size"],
        "order_tail": tail(assigned["order_no"]),
        "price": yuan(price_fen),
        "cell": cell or "",
        "count": f"{assigned['piece_no']}/{assigned['order_pieces']}",
        "merchant": assigned["merchant_name"],
        "qr": label_qr(
            code=code, task=task, order=order, piece_no=assigned["piece_no"],
            order_pieces=assigned["order_pieces"], price_fen=price_fen, cell=cell, terminal=terminal,
        ),
        "code": code,
        "reason": "",
        "trip": "",
    }  # fmt: skip
