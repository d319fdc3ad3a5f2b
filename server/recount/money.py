"""Hold the money's invariants against the journal added up again. Rules I4-I7, I11."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, func, select

from server import schema as s
from server import schema_trade as st
from server.ledger import FEE_ACCOUNTS, GOODS, available_of, held_of
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
    _check_undone(conn, holds)
    _check_fees(conn, holds)
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
    tasks = {row.id: row for row in conn.execute(select(st.task))}
    d = st.discrepancy.c
    borne = set(conn.execute(select(d.subject).where(d.code == "wallet_short")).scalars())
    for row in conn.execute(select(st.piece).where(st.piece.c.outcome == "over_cap")):
        cap_fen = _cap_fen(tasks, row.task)
        # Within its cap only when the wallet ran short, which somebody owns by name (docs/decisions: who bears what nothing is held for),
        # or when its price was a slip and was corrected.
        check.expect(
            row.price_fen > cap_fen or row.excess_fen == 0 or f"piece:{row.code}" in borne,
            f"piece {row.code}: judged over its cap of {cap_fen} fen, yet paid {row.price_fen}",
        )
    orders = {row.id: row for row in conn.execute(select(st.shop_order))}
    for row in conn.execute(select(st.piece).where(st.piece.c.outcome == "keeps", st.piece.c.bought_fact.is_not(None))):
        order = orders.get(row.order_id)
        if order is not None and order.drop_ship and row.owner == order.merchant:
            check.expect(row.charged_fen > 0, f"piece {row.code}: serves {order.id} and was charged nothing")
    shared = st.piece.c.outcome.in_(("keeps", "over_cap", "closed_unseen"))
    for row in conn.execute(select(st.piece).where(shared, st.piece.c.bought_fact.is_not(None))):
        order = orders.get(row.order_id)
        if order is not None and order.drop_ship and row.place != "undone":
            check.expect(
                row.charged_fen + row.excess_fen == row.price_fen,
                f"piece {row.code}: {row.charged_fen} charged and {row.excess_fen} borne of {row.price_fen} fen paid",
            )


def _cap_fen(tasks: Mapping[str, Row[Any]], task: str) -> int:
    """Up to what a purchase of a task is its merchant's: its cap, or that of a later attempt he put in its place with a lower quote."""
    if task not in tasks:
        return 0
    own = tasks[task]
    later = [row.cap_fen for row in tasks.values() if row.wanted == own.wanted and row.attempt > own.attempt]
    return int(min(own.cap_fen, *later)) if own.recalled is not None and later else int(own.cap_fen)


def _check_undone(conn: Connection, check: Check) -> None:
    """Of a purchase that was taken back nothing stays with the merchant (E10)."""
    p = s.posting.c
    got = (
        select(s.entry.c.piece, func.sum(p.amount_fen).label("fen"))
        .join(s.entry, s.entry.c.id == p.entry)
        .where(p.account == GOODS, s.entry.c.kind.in_(("post", "charge", "reverse")))
        .group_by(s.entry.c.piece)
        .subquery()
    )
    undone = select(got.c.piece, got.c.fen).join(st.piece, st.piece.c.code == got.c.piece)
    for row in conn.execute(undone.where(st.piece.c.place == "undone")):
        check.expect(row.fen == 0, f"piece {row.piece}: taken back, and {row.fen} fen stay posted for it")


def _check_fees(conn: Connection, check: Check) -> None:
    """The platform's fee accounts got of each order what was captured of its holds, and nothing besides (R72)."""
    h, p = s.hold.c, s.posting.c
    captured = conn.execute(
        select(h.order_id, func.sum(h.captured_fen)).where(h.part.in_(FEE_ACCOUNTS)).group_by(h.order_id)
    )
    want_fen: dict[str, int] = {order: int(fen) for order, fen in captured}
    taken = conn.execute(
        select(s.entry.c.order_id, func.sum(p.amount_fen))
        .join(s.entry, s.entry.c.id == p.entry)
        .where(p.account.in_(sorted(set(FEE_ACCOUNTS.values()))))
        .group_by(s.entry.c.order_id)
    )
    got_fen: dict[str, int] = {order: int(fen) for order, fen in taken}
    for order in sorted(want_fen.keys() | got_fen.keys()):
        got, want = got_fen.get(order, 0), want_fen.get(order, 0)
        check.expect(got == want, f"order {order}: {got} fen of fees taken, {want} captured of its holds")


def _check_refunds(conn: Connection) -> Check:
    check = Check(name="I7", what="principal is refunded at most once per piece to each that paid for it")
    paid: Counter[tuple[str, str]] = Counter()
    credits: Counter[tuple[str, str]] = Counter()
    for row in conn.execute(select(s.entry).where(s.entry.c.piece != "")):
        if row.kind == "credit" and row.key.startswith(("refund:", "resale:", "credit:")):
            credits[row.piece, row.merchant] += 1
        elif row.kind == "post" and row.key.startswith("post:"):
            paid[row.piece, row.merchant] += 1
    for (piece, merchant), times in credits.items():
        # Who paid nothing out of his wallet paid his own stall, or is given by the platform: once as well.
        check.expect(
            times <= max(paid[piece, merchant], 1),
            f"piece {piece} was credited {times} times to {merchant}, who paid for it {paid[piece, merchant]} times",
        )
    return check


def _check_refused_commands(conn: Connection) -> Check:
    check = Check(name="I11", what="a refused command changes nothing")
    caused = {cause for row in conn.execute(select(s.entry.c.causes)) for cause in json.loads(row.causes)}
    for row in conn.execute(select(s.command).where(s.command.c.outcome.is_not(None))):
        if not json.loads(row.outcome).get("ok"):
            check.expect(f"command:{row.id}" not in caused, f"command {row.id} was refused, yet it moved money")
    return check
