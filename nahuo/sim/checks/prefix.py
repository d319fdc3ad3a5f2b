"""Promises about every prefix of the server's log, looked at whenever the server has written: cheap, so that the first moment is found."""

from __future__ import annotations

from nahuo.sim.nodes.server import ServerNode
from nahuo.sim.world import Broken, World


class PrefixChecks:
    """Promises about every prefix of the server's log; looked at whenever the server has written."""

    def __init__(self, world: World, server: ServerNode) -> None:
        self._world = world
        self._server = server
        self._looked = -1

    def look(self) -> None:
        """Raise at the first moment a promise does not hold."""
        if self._server.failures:
            raise Broken(self._server.failures[0])
        if self._server.down or self._server.writes == self._looked:
            return
        self._looked = self._server.writes
        with self._server.store.reading() as conn:
            below = conn.exec_driver_sql(
                "SELECT name, balance_fen FROM account WHERE name LIKE 'merchant:%' AND balance_fen < 0"
            ).first()
            if below is not None:
                raise Broken(f"I5: {below[0]} stands at {below[1]} fen")
            total = conn.exec_driver_sql("SELECT coalesce(sum(balance_fen), 0) FROM account").scalar()
            if total != 0:
                raise Broken(f"I6: all accounts sum to {total} fen")
            wrong = conn.exec_driver_sql(
                "SELECT h.merchant, sum(h.held_fen - h.captured_fen - h.released_fen) AS open_fen, a.balance_fen FROM hold h"
                " JOIN account a ON a.name = 'merchant:' || h.merchant || ':held' GROUP BY h.merchant"
                " HAVING open_fen <> a.balance_fen"
            ).first()
            if wrong is not None:
                raise Broken(
                    f"REL-I2: {wrong[0]} has {wrong[1]} fen on hold and {wrong[2]} fen in the account of holds"
                )
