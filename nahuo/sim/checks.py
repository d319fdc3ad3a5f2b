"""What must hold: cheap promises after every event, and all of them when the storm is over and everything has come to rest.

Ids are those of docs/rules.md section 10 (I…) and of the reliability notes (REL-I…). Each check says which promise broke, for whom, and by
how much, in one line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from nahuo.sim.server_node import ServerNode
from nahuo.sim.world import Broken, World
from server import schema as s
from server import schema_trade as st
from server.ledger_reading import recount
from server.recount import recount_server
from sync_core.check import Check
from trade.projections import MARKET_DAY

if TYPE_CHECKING:
    from nahuo.sim.day import Day


class CheapChecks:
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


def check_at_rest(day: Day) -> None:
    """Raise when anything is not as it must be after the calm."""
    day.checks.look()
    _check_outboxes(day)
    checks, hashes = recount_server(day.server.server, MARKET_DAY)
    for document, digest in sorted(hashes.items()):
        day.world.note(f"{document} {digest}")
    _check_replicas(day, hashes)
    _check_recount(day, checks)
    _check_pieces(day)
    _check_money(day)


def _check_outboxes(day: Day) -> None:
    if day.server.down:
        raise Broken("REL-I8: the server is down after two quiet hours")
    for device in day.devices:
        if device.dead:
            raise Broken(f"REL-I8: {device.name} is off after two quiet hours")
        device.check_done()
        waiting = device.replica.waiting()
        if waiting.actions:
            raise Broken(f"REL-I8: {device.name} still owes {waiting.actions} actions after two quiet hours")
        refused = device.replica.conn.execute("SELECT code, detail FROM refusal").fetchone()
        if refused is not None:
            raise Broken(f"REL-I4: work of {device.name} was refused: {refused[0]}: {refused[1]}")
        for document in device.replica.documents():
            device.check_acknowledged(document)
    with day.server.store.reading() as conn:
        quarantined = conn.execute(select(s.quarantine.c.code, s.quarantine.c.detail)).first()
    if quarantined is not None:
        raise Broken(f"I9: honest work lies in quarantine: {quarantined.code}: {quarantined.detail}")


def _check_replicas(day: Day, hashes: Mapping[str, str]) -> None:
    """I15: a replica that has seen all envelopes of a document equals the server's fold of it."""
    for device in day.devices:
        known = day.server.store.key_of(device.node.number)
        if known is None or known.revoked:
            # It may deliver what it holds and is sent nothing.
            continue
        named = set(device.node.wanted_documents())
        for document in sorted(named):
            theirs = day.server.store.read_vector(document)
            mine = device.replica.state_vector(document)
            if mine != theirs:
                raise Broken(f"I15: {device.name} has {mine} of {document}, the server {theirs}")
            if theirs and device.replica.canonical_hash(document) != hashes.get(document):
                raise Broken(
                    f"I15: {device.name} folds {document} otherwise than the server{_first_difference(day, device, document)}"
                )


def _first_difference(day: Day, device: object, document: str) -> str:
    replica = device.replica  # type: ignore[attr-defined]
    with day.server.store.reading() as conn:
        rows = conn.execute(select(s.state.c.subject, s.state.c.state).where(s.state.c.document == document)).all()
    server = {row.subject: json.loads(row.state) for row in rows}
    for subject, text in replica.conn.execute(
        "SELECT subject, state FROM state WHERE document = ? ORDER BY subject", (document,)
    ):
        if subject != "document" and server.get(subject) != json.loads(text):
            return f": {subject}"
    return ""


def _check_recount(day: Day, checks: Iterable[Check]) -> None:
    """Recount everything from the logs: log, rows, money, trade."""
    for check in checks:
        if not check.holds:
            raise Broken(f"recount {check.name}: {check.faults[0]}")
    with day.server.store.reading() as conn:
        faults = recount(conn)
    if faults.faults:
        raise Broken(f"recount of the ledger: {faults.faults[0]}")


def _check_pieces(day: Day) -> None:
    """The system's pieces are the world's garments: each once, each where it lies (I1, I12, REL-I1, REL-I7)."""
    papers: dict[str, str] = {}
    for device in day.devices:
        for paper in device.papers:
            # A terminal prints return labels of pieces that a phone minted; two phones never mint one code.
            if paper.printer == "label" and device.role == "picker":
                first = papers.setdefault(paper.subject, device.name)
                if first != device.name:
                    raise Broken(f"REL-I7: the code {paper.subject} came out of {first} and {device.name}")
    with day.server.store.reading() as conn:
        rows = conn.execute(select(st.piece.c.code, st.piece.c.place, st.piece.c.price_fen, st.piece.c.device)).all()
        bought = conn.execute(
            select(s.fact.c.subjects, func.count()).where(
                s.fact.c.kind == "piece.bought", s.fact.c.carried == 0, s.fact.c.void.is_(None)
            ).group_by(s.fact.c.subjects)
        ).all()  # fmt: skip
    for subjects, count in bought:
        if count != 1:
            raise Broken(f"REL-I3: {subjects} was bought {count} times")
    pieces = {row.code: row for row in rows}
    for code in sorted(papers):
        if code not in pieces:
            raise Broken(f"REL-I7: the label {code} is on paper and the server has never heard of it")
    for garment in day.physical.garments:
        piece = pieces.get(garment.code)
        if piece is None:
            raise Broken(f"REL-I1: the garment {garment.code} was paid for and the server has never heard of it")
        if garment.gone:
            if piece.place != "undone":
                raise Broken(f"REL-I1: {garment.code} was undone, the server has it at {piece.place}")
        elif garment.code not in papers:
            raise Broken(f"REL-I4: {garment.code} was paid for, and its label never came out of {garment.device}")
        elif piece.place not in _PLACES[garment.place]:
            raise Broken(f"REL-I1: {garment.code} lies at {garment.place}, the server has it at {piece.place}")
    codes = {garment.code for garment in day.physical.garments}
    for code in sorted(pieces):
        if code not in codes:
            raise Broken(f"REL-I1: the server knows a piece {code} that is nowhere")


_PLACES = {
    "bag": {"with_picker"},
    "door": {"with_picker", "inbound"},
    "house": {"inbound", "in_cell", "packed", "in_stock"},
    "shipped": {"shipped"},
    "buyer": {"shipped"},
    "desk": {"shipped", "return_in", "in_stock", "pending", "in_cell", "packed"},
    "runner": {"with_runner", "in_stock", "in_cell", "packed"},
    "stall": {"back_at_stall"},
}


def _check_money(day: Day) -> None:
    """Holds end (I13); a picker's float is what his phone says he paid (REL-I2)."""
    with day.server.store.reading() as conn:
        left = conn.exec_driver_sql(
            "SELECT h.order_id, h.subject, h.part, h.held_fen - h.captured_fen - h.released_fen FROM hold h"
            " JOIN shop_order o ON o.id = h.order_id WHERE o.status = 'closed'"
            " AND h.held_fen - h.captured_fen - h.released_fen > 0 AND NOT EXISTS"
            " (SELECT 1 FROM task t WHERE t.order_id = h.order_id AND t.status = 'recalled')"
        ).first()
        if left is not None:
            raise Broken(f"I13: the closed order {left[0]} still holds {left[3]} fen for {left[1]} {left[2]}")
        kept = conn.exec_driver_sql(
            "SELECT h.order_id, h.subject, h.part, h.held_fen - h.captured_fen - h.released_fen FROM hold h"
            " JOIN shop_order o ON o.id = h.order_id WHERE o.status = 'shipped'"
            # What shipped before its phone spoke keeps its money until the price is known; a parked purchase never tells it.
            " AND NOT EXISTS (SELECT 1 FROM piece p WHERE p.order_id = h.order_id AND p.outcome = 'unexplained')"
            " AND h.held_fen - h.captured_fen - h.released_fen > 0"
        ).first()
        if kept is not None:
            raise Broken(f"R82: the shipped order {kept[0]} still holds {kept[3]} fen for {kept[1]} {kept[2]}")
        second = conn.exec_driver_sql(
            "SELECT p.code FROM piece p JOIN wanted w ON w.id = p.wanted JOIN device d ON d.number = p.device"
            " WHERE p.outcome = 'second' AND d.written_off_ms IS NULL AND (w.keeper IS NULL OR w.keeper = p.code)"
            " AND NOT EXISTS (SELECT 1 FROM piece q WHERE q.wanted = p.wanted AND q.code <> p.code)"
        ).first()
        if second is not None:
            raise Broken(f"D9: {second[0]} counts as a second piece, and there is no first")
        free = conn.exec_driver_sql(
            "SELECT p.code, p.price_fen FROM piece p JOIN task t ON t.id = p.task JOIN shop_order o ON o.id = p.order_id"
            " WHERE p.outcome = 'closed_unseen' AND o.drop_ship = 1 AND p.price_fen <= t.cap_fen AND p.charged_fen = 0"
        ).first()
        if free is not None:
            raise Broken(
                f"D9: {free[0]} was bought for {free[1]} fen before its phone could know of the close, and nobody paid"
            )
        floats: dict[str, int] = {
            row[0]: row[1]
            for row in conn.exec_driver_sql("SELECT name, balance_fen FROM account WHERE name LIKE 'float:%'")
        }
    for picker in day.pickers:
        known = day.server.store.key_of(picker.phone.node.number)
        if known is None or known.revoked:
            # What it delivers waits for a supervisor (parked).
            continue
        paid_fen = 0
        for garment in day.physical.garments:
            if garment.device == picker.phone.name and not garment.gone:
                state = picker.phone.replica.state(f"piece:{garment.code}")
                paid_fen += int(state["price_fen"]) if state is not None and state["price_fen"] else garment.price_fen
        stands_fen = -floats.get(f"float:p-{picker.phone.name}", 0)
        if stands_fen != paid_fen:
            raise Broken(f"REL-I2: {picker.phone.name} paid {paid_fen} fen in cash, the ledger says {stands_fen}")
