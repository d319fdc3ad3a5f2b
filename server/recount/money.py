"""Hold the money's invariants against the journal added up again. Rules I4-I7, I11."""

from __future__ import annotations

import json
from collections import Counter

from sqlalchemy import Connection, select

from server import schema as s
from server import schema_trade as st
from server.ledger import available_of, held_of
from server.ledger_reading import recount, statement
from sync_core.check import Check


def check_money(conn: Connection) -> list[Check]:
    """Return I4, I5, I6, I7 and I11."""
    found = recount(conn)
    prefixes = Check(
        name="I5", what="available and held are never below zero, at any prefix of the journal", checked=found.entries
    )
    sums = Check(
        name="I6",
        what="all accounts sum to zero, each entry too; hashes chain; statements equal the journal",
        checked=found.entries,
    )
    holds = Check(name="I4", what="captured is at most held, for each part of each order; held equals the open holds")
    holds.checked = len(conn.execute(select(s.hold.c.subject)).all())
    _check_charges(conn, holds)
    for fault in found.faults:
        if "resolved beyond" in fault or "open holds" in fault:
            holds.faults.append(fault)
        elif " stands at " in fault:
            prefixes.faults.append(fault)
        else:
            sums.faults.append(fault)
    sums.expect(found.sum_fen == 0, f"all accounts sum to {found.sum_fen} fen")
    for row in conn.execute(select(st.merchant)):
        lines = statement(conn, row.id)
        last = (lines[-1].available_fen, lines[-1].held_fen) if lines else (0, 0)
        journal = (found.accounts.get(available_of(row.id), 0), found.accounts.get(held_of(row.id), 0))
        sums.expect(last == journal, f"merchant {row.id}: the statement ends at {last}, the journal at {journal}")
    return [holds, prefixes, sums, _check_refunds(conn), _check_refused_commands(conn)]


def _check_charges(conn: Connection, check: Check) -> None:
    """A piece that serves a drop-ship order at or under the cap is charged its pick price, whatever arrived first (D7, D8)."""
    caps = {row.id: row for row in conn.execute(select(st.task))}
    for row in conn.execute(select(st.piece).where(st.piece.c.outcome == "over_cap")):
        cap_fen = caps[row.task].cap_fen if row.task in caps else 0
        check.expect(
            row.price_fen > cap_fen, f"piece {row.code}: judged over its cap of {cap_fen} fen, yet paid {row.price_fen}"
        )
    orders = {row.id: row for row in conn.execute(select(st.shop_order))}
    for row in conn.execute(select(st.piece).where(st.piece.c.outcome == "keeps", st.piece.c.bought_fact.is_not(None))):
        order = orders.get(row.order_id)
        if order is not None and order.drop_ship and row.owner == order.merchant:
            check.expect(row.charged_fen > 0, f"piece {row.code}: serves {order.id} and was charged nothing")


def _check_refunds(conn: Connection) -> Check:
    check = Check(name="I7", what="principal is refunded at most once per piece")
    credits: Counter[str] = Counter()
    for row in conn.execute(select(s.entry).where(s.entry.c.piece != "")):
        if row.kind == "credit" and row.key.startswith(("refund:", "resale:", "credit:")):
            credits[row.piece] += 1
    for piece, times in credits.items():
        check.expect(times == 1, f"piece {piece} was credited {times} times")
    return check


def _check_refused_commands(conn: Connection) -> Check:
    check = Check(name="I11", what="a refused command changes nothing")
    caused = {cause for row in conn.execute(select(s.entry.c.causes)) for cause in json.loads(row.causes)}
    for row in conn.execute(select(s.command).where(s.command.c.outcome.is_not(None))):
        if not json.loads(row.outcome).get("ok"):
            check.expect(f"command:{row.id}" not in caused, f"command {row.id} was refused, yet it moved money")
    return check
