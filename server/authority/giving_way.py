"""After a restore: a piece that took a want before the lost server's word came makes room for the one which that word names.

The restored server judges what arrives first. The lost one had judged too, and devices have acted on its word: it stands (design section 4,
D10). One want is paid for once: what was charged for the other piece goes back, and it looks for a home like every second piece. What is
packed or has left is not undone; then the piece that comes later is the second one, and a person is told (D10, E3).
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Row

from server import schema_trade as st
from server.authority.batch import PLATFORM, Batch
from server.authority.closing import judge_once_more
from server.authority.holds import freeze_paid, who_paid
from server.authority.shelving import SERVING, settle_arrival
from trade import kinds

GAVE_WAY: Final = "purchase.gave_way"
"""The rule under which a purchase is judged once more: the lost server had let another keep the want."""
_MOVABLE: Final = ("with_picker", "inbound", "in_cell")


def make_room(b: Batch, wanted: Row[Any], order: Row[Any], code: str) -> bool:
    """Let `code` have the want, whoever keeps it now; False when that one can not be moved any more."""
    if wanted.keeper is None or wanted.keeper == code:
        return True
    keeper = b.row(st.piece, wanted.keeper)
    if keeper is None or keeper.bought_fact is None or keeper.outcome not in SERVING or keeper.place not in _MOVABLE:
        return False
    task = b.row(st.task, keeper.task)
    if keeper.reserved == wanted.id or task is None or who_paid(b, keeper.code, task, order)[0].wanted != wanted.id:
        return False  # Of the stock, or swapped: another want's money paid for it, or nobody's yet.
    about = b.about(order=order, task=keeper.task or "", piece=keeper.code, fact=keeper.bought_fact)
    if keeper.charged_fen:
        freeze_paid(
            b, wanted.id, keeper.charged_fen, key=f"gave_way:{keeper.code}", about=about,
            zh=f"恢复前已有另一件：{keeper.code} 退回", en=f"Another piece was kept before the restore: {keeper.code} paid back",
        )  # fmt: skip
    owner = PLATFORM if order.drop_ship else order.merchant  # His own cash paid for it (D20).
    b.set(st.piece, keeper.code, owner=owner, outcome="second", charged_fen=0, excess_fen=0)
    b.decided(("over_cap",), f"piece:{keeper.code}", "second")
    b.settle_discrepancy(f"over_cap|piece:{keeper.code}", "这件让给了另一件 / it gave way to another piece")
    b.discrepancy("second_piece", f"piece:{keeper.code}", PLATFORM, facts=[keeper.bought_fact], code=keeper.code)
    b.set(st.wanted, wanted.id, keeper=None)
    verdict = kinds.PurchaseVerdict(fact=keeper.bought_fact, outcome="second", owner=owner, charged_fen=0, keeper=code)
    judge_once_more(b, GAVE_WAY, keeper, order, verdict)
    moved = b.row(st.piece, keeper.code)
    if moved is not None and moved.scanned_ms is not None:
        settle_arrival(b, moved)
    return True
