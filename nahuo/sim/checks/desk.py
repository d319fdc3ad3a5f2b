"""What the desks put in is there once, and what they gave away is not left open elsewhere (R4, R20, D4, D10)."""

from __future__ import annotations

from collections import Counter

from nahuo.sim.scene import Scene
from nahuo.sim.world import Broken


def check_desk(scene: Scene) -> None:
    """Orders and top-ups stand as they were entered; of each want one attempt is open, and one piece at most is the merchant's."""
    office = scene.office
    with scene.server.store.reading() as conn:
        taken = [
            (row.shop, row.order_no)
            for row in conn.exec_driver_sql("SELECT shop, order_no FROM shop_order ORDER BY number")
        ]
        paid_in = {
            row[0]: int(row[1])
            for row in conn.exec_driver_sql(
                "SELECT e.merchant, sum(p.amount_fen) FROM entry e JOIN posting p ON p.entry = e.id"
                " WHERE e.kind = 'top_up' AND p.account = 'merchant:' || e.merchant || ':available' GROUP BY e.merchant"
            )
        }
        left_open = conn.exec_driver_sql(_LEFT_OPEN).first()
        untold = conn.exec_driver_sql(_UNTOLD).first()
        both = conn.exec_driver_sql(_BOTH_ARE_HIS).first()
    for shop, order_no in taken:
        if (shop, order_no) not in office.entered:
            raise Broken(f"R4: the order {order_no!r} of {shop} is taken, and no file held it")
    if missing := office.entered - set(taken):
        raise Broken(f"R4: the order {min(missing)[1]} stood in a file and was never taken")
    told_fen: Counter[str] = Counter()
    for (merchant, _), amount_fen in office.paid_in.items():
        told_fen[merchant] += amount_fen
    if told_fen != Counter(paid_in):
        raise Broken(f"R20: {dict(told_fen)} fen were paid in, {paid_in} are booked")
    if left_open is not None:
        raise Broken(f"D4: {left_open[1]} serves {left_open[2]}, and {left_open[0]} is still out for it")
    if untold is not None:
        raise Broken(f"D4: {untold[0]} was taken back, and its device {untold[1]} was never told")
    if both is not None:
        raise Broken(f"D10: {both[1]} pieces bought for {both[0]} are its merchant's")


_LEFT_OPEN = (
    "SELECT t.id, w.keeper, w.id FROM task t JOIN wanted w ON w.id = t.wanted"
    " WHERE w.keeper IS NOT NULL AND w.status IN ('bought', 'in', 'shipped')"
    " AND t.status IN ('ready', 'out', 'asked', 'answered') AND t.recalled IS NULL"
    # The attempt that bought it is still out where its phone's own word is parked: the label tells of the piece.
    " AND NOT EXISTS (SELECT 1 FROM piece p WHERE p.code = w.keeper AND p.task = t.id)"
)
_UNTOLD = (
    "SELECT t.id, t.device FROM task t JOIN wanted w ON w.id = t.wanted"
    " WHERE t.document IS NOT NULL AND (t.recalled IS NOT NULL OR (t.id <> w.task AND t.status IN ('out', 'asked')))"
    " AND NOT EXISTS (SELECT 1 FROM fact f JOIN fact_subject s ON s.document = f.document AND s.writer = f.writer"
    " AND s.seq = f.seq AND s.place = f.place WHERE s.subject = 'task:' || t.id AND f.kind = 'task.recalled')"
)
_BOTH_ARE_HIS = (
    "SELECT p.wanted, count(*) AS pieces FROM piece p WHERE p.outcome IN ('keeps', 'over_cap', 'closed_unseen')"
    " AND p.place <> 'undone' AND p.charged_fen > 0"
    # What was swapped into the want was paid for by the one it was bought for (E11).
    " AND EXISTS (SELECT 1 FROM fact f WHERE f.id = p.bought_fact AND f.kind IN ('piece.bought', 'piece.adopted')"
    " AND f.subjects LIKE '%\"piece:' || p.code || '\"%' AND f.subjects LIKE '%\"task:' || p.task || '\"%')"
    " GROUP BY p.wanted HAVING pieces > 1"
)
