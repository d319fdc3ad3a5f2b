"""What the server's tables tell of a day at its end, counted as rare events: pieces bought twice, orders short of money, work set apart."""

from __future__ import annotations

from typing import Final

from nahuo.sim.scene import Scene

_STORIES: Final = {
    "second_piece": "SELECT count(*) FROM piece WHERE outcome = 'second'",
    "piece_bought_late_for_closed_order": "SELECT count(*) FROM piece WHERE outcome = 'closed_unseen'",
    "money_short": "SELECT count(*) FROM shop_order WHERE status = 'money'",
    "stock_sold": "SELECT count(*) FROM task WHERE source = 'stock'",
    "parked": "SELECT count(*) FROM verdict WHERE rule = 'parked'",
    "discrepancy": "SELECT count(*) FROM discrepancy",
}


def note_money_story(scene: Scene) -> None:
    """Count what the tables say."""
    with scene.server.store.reading() as conn:
        for name, query in _STORIES.items():
            count = conn.exec_driver_sql(query).scalar() or 0
            if count:
                scene.world.seen[name] += count
