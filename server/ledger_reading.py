"""Read the journal back: a merchant's statement line by line, and the recount that trusts no running balance.

Both read only `entry` and `posting`; the recount compares what it finds with `account` and `hold`. Rules R79, I4-I7, I13.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from server import schema as s
from server.ledger import EMPTY_DIGEST, available_of, entry_digest, held_of


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementLine:
    """One entry as its merchant sees it; balances are those after it."""

    entry: int
    at_ms: int
    kind: str
    order: str
    task: str
    piece: str
    available_change_fen: int
    held_change_fen: int
    available_fen: int
    held_fen: int
    zh: str
    en: str
    causes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recount:
    """What a recount found; `faults` is empty when all holds."""

    entries: int
    postings: int
    sum_fen: int
    accounts: dict[str, int]
    lowest_available_fen: int
    faults: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """True when nothing is wrong."""
        return not self.faults


def statement(conn: Connection, merchant: str) -> list[StatementLine]:
    """Return every line of a merchant's wallet, oldest first, with running balances."""
    available_fen = held_fen = 0
    lines: list[StatementLine] = []
    free, frozen = available_of(merchant), held_of(merchant)
    query = (
        select(s.posting.c.account, s.posting.c.amount_fen, s.entry)
        .join(s.entry, s.entry.c.id == s.posting.c.entry)
        .where(s.posting.c.account.in_((free, frozen)))
        .order_by(s.posting.c.entry, s.posting.c.line)
    )
    changes: dict[int, dict[str, int]] = defaultdict(lambda: {free: 0, frozen: 0})
    rows = {}
    for row in conn.execute(query):
        changes[row.id][row.account] += row.amount_fen
        rows[row.id] = row
    for number, row in rows.items():
        change = changes[number]
        available_fen += change[free]
        held_fen += change[frozen]
        lines.append(
            StatementLine(
                entry=number,
                at_ms=row.at_ms,
                kind=row.kind,
                order=row.order_id,
                task=row.task,
                piece=row.piece,
                available_change_fen=change[free],
                held_change_fen=change[frozen],
                available_fen=available_fen,
                held_fen=held_fen,
                zh=row.zh,
                en=row.en,
                causes=tuple(json.loads(row.causes)),
            )
        )
    return lines


def recount(conn: Connection) -> Recount:
    """Add the whole journal up again and compare: chain, zero sums, guarded prefixes, balances, open holds."""
    faults: list[str] = []
    balances: dict[str, int] = defaultdict(int)
    frozen: set[tuple[str, str]] = set()
    before, expected_id, lowest_fen, postings = EMPTY_DIGEST, 1, 0, 0
    for row, numbered in _entries(conn):
        lines = [(name, amount) for _, name, amount in numbered]
        postings += len(lines)
        if [number for number, _, _ in numbered] != list(range(1, len(lines) + 1)):
            faults.append(f"entry {row['id']}: its lines do not count 1, 2, 3…")
        if row["id"] != expected_id:
            faults.append(f"entry {expected_id} is missing")
            expected_id = row["id"]
        if bytes(row["prev"]) != before or entry_digest(before, row, lines) != bytes(row["digest"]):
            faults.append(f"entry {row['id']}: its hash does not fit the chain")
        if sum(amount for _, amount in lines) != 0 or not lines:
            faults.append(f"entry {row['id']}: its lines do not sum to zero")
        for name, amount in lines:
            balances[name] += amount
        for name, _ in lines:
            if name.startswith("merchant:") and balances[name] < 0:
                faults.append(f"entry {row['id']}: {name} stands at {balances[name]} fen")
                lowest_fen = min(lowest_fen, balances[name])
        if row["kind"] == "hold":
            frozen.add((row["order_id"], row["merchant"]))
        before, expected_id = bytes(row["digest"]), expected_id + 1
    stored = {row.name: row.balance_fen for row in conn.execute(select(s.account))}
    faults += [
        f"{name}: the account says {stored.get(name, 0)} fen, the journal {balances.get(name, 0)}"
        for name in sorted(set(stored) | set(balances))
        if stored.get(name, 0) != balances.get(name, 0)
    ]
    faults += _recount_holds(conn, balances, frozen)
    return Recount(
        entries=expected_id - 1,
        postings=postings,
        sum_fen=sum(balances.values()),
        accounts=dict(sorted(balances.items())),
        lowest_available_fen=lowest_fen,
        faults=tuple(faults),
    )


def _recount_holds(conn: Connection, balances: dict[str, int], frozen: set[tuple[str, str]]) -> list[str]:
    """`frozen`: the (order, merchant) for whom the journal froze something; a hold that is used up moves no sum, yet names one of them."""
    faults = []
    open_fen: dict[str, int] = defaultdict(int)
    for row in conn.execute(select(s.hold)):
        left = row.held_fen - row.captured_fen - row.released_fen
        if left < 0:
            faults.append(f"hold {row.subject} {row.part} is resolved beyond itself by {-left} fen")
        if (row.order_id, row.merchant) not in frozen:
            faults.append(
                f"hold {row.subject} {row.part}: nothing was frozen of {row.merchant} for order {row.order_id}"
            )
        open_fen[held_of(row.merchant)] += left
    held = {name: amount for name, amount in balances.items() if name.endswith(":held")}
    faults += [
        f"{name}: {held.get(name, 0)} fen held, but {open_fen.get(name, 0)} in open holds"
        for name in sorted(set(held) | set(open_fen))
        if held.get(name, 0) != open_fen.get(name, 0)
    ]
    return faults


def _entries(conn: Connection) -> Iterator[tuple[dict[str, Any], list[tuple[int, str, int]]]]:
    by_entry: dict[int, list[tuple[int, str, int]]] = defaultdict(list)
    for row in conn.execute(select(s.posting).order_by(s.posting.c.entry, s.posting.c.line)):
        by_entry[row.entry].append((row.line, row.account, row.amount_fen))
    for row in conn.execute(select(s.entry).order_by(s.entry.c.id)):
        yield dict(row._mapping), by_entry.get(row.id, [])
