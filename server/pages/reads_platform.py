"""What the platform's pages read: devices, routes, quarantine, discrepancies, the journal, merchants, stalls, people, trips.

Reads only; rows come back as plain dictionaries for templates. Amounts are fen, instants milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, Select, func, select

from server import schema as s
from server import schema_trade as st
from server.ledger import available_of, held_of
from server.pages.reads_orders import PAGE_ROWS, Row, count, first, rows
from server.rows import get_meta

BEHIND_MS = 10 * 60_000
"""A device not seen for so long may know more than the server shows (R17)."""
ROOM_MIB_LOW = 50
"""A device with less left on its disk is shown as one that somebody should look at, before it is given more tasks (REL-R13)."""


def wallet(conn: Connection, merchant: str) -> Row:
    """Return a merchant's free and frozen money."""
    found = {row[0]: int(row[1]) for row in conn.execute(select(s.account.c.name, s.account.c.balance_fen))}
    return {"available_fen": found.get(available_of(merchant), 0), "held_fen": found.get(held_of(merchant), 0)}


def devices(
    conn: Connection,
    now_ms: int,
    *,
    connected: Collection[int] = (),
    reports: Mapping[int, Mapping[str, Any]] | None = None,
) -> list[Row]:
    """Return all devices with their lag: last seen, last word, what waits on them, what the authority has not read, tasks they hold.

    `connected` are the numbers whose link is up now, `reports` what devices last said of themselves.
    """
    found = rows(conn, select(s.device).order_by(s.device.c.number))
    last_word: dict[int, int] = {}
    accepted: dict[int, int] = {}
    for number, at_ms, envelopes in conn.execute(
        select(s.envelope.c.device, func.max(s.envelope.c.received_ms), func.count()).group_by(s.envelope.c.device)
    ):
        last_word[number], accepted[number] = at_ms, envelopes
    read = _by_number(conn, select(s.writer.c.device, func.sum(s.writer.c.seq)).group_by(s.writer.c.device))
    out = _by_number(
        conn,
        select(st.task.c.device, func.count())
        .where(st.task.c.status.in_(("out", "recalled")))
        .group_by(st.task.c.device),
    )
    refused = _by_number(
        conn,
        select(s.quarantine.c.device, func.count())
        .where(s.quarantine.c.resolved_ms.is_(None))
        .group_by(s.quarantine.c.device),
    )
    v, decided = s.verdict.c, s.verdict.alias("decided")
    rule = decided.c.rule.like("decide:%")
    settled = select(decided.c.id).where(decided.c.fact == v.fact, decided.c.document == v.document, rule).exists()
    f = s.fact.c
    parked = _by_number(
        conn,
        select(f.writer, func.count())
        .select_from(s.verdict.join(s.fact, (f.id == v.fact) & (f.document == v.document)))
        .where(v.rule == "parked", f.void.is_(None), ~settled)
        .group_by(f.writer),
    )
    for one in found:
        number = one["number"]
        one["parked"] = parked.get(number, 0)
        one["documents"], one["people"] = json.loads(one["documents"]), json.loads(one["people"])
        one["last_word_ms"] = last_word.get(number)
        one["envelopes"] = accepted.get(number, 0)
        one["unread"] = max(0, accepted.get(number, 0) - read.get(number, 0))
        one["tasks_out"] = out.get(number, 0)
        one["refused"] = refused.get(number, 0)
        one["ended"] = one["revoked_ms"] is not None or one["written_off_ms"] is not None
        report = (reports or {}).get(number, {})
        one["connected"] = number in connected
        one["waiting"] = _still_waiting(conn, number, report)
        free_mib = report.get("free_mib")
        one["room_mib"] = free_mib if free_mib is not None and free_mib < ROOM_MIB_LOW else None
        said_ms, heard_ms = report.get("clock_ms"), report.get("received_ms")
        one["clock_off_s"] = None if said_ms is None or heard_ms is None else (said_ms - heard_ms) // 1000
        one["behind"] = (
            not one["connected"]
            and not one["ended"]
            and (one["seen_ms"] is None or now_ms - one["seen_ms"] > BEHIND_MS)
        )
        one.pop("public_key")
    return found


def orphans(conn: Connection) -> list[Row]:
    """Return the pieces in the house that no phone explains, the oldest first, each with the phone that printed its label."""
    p = st.piece.c
    found = rows(
        conn,
        select(st.piece)
        .where(p.outcome == "unexplained", p.scanned_ms.is_not(None))
        .order_by(p.scanned_ms, p.code)
        .limit(PAGE_ROWS),
    )
    for one in found:
        number = int(one["code"][:5])
        phone = first(conn, select(s.device).where(s.device.c.number == number))
        one["phone"] = number
        one["people"] = json.loads(phone["people"]) if phone else []
        one["phone_ended"] = phone is None or phone["revoked_ms"] is not None
    return found


def devices_behind(conn: Connection, now_ms: int) -> int:
    """Return how many living devices were not seen for ten minutes (R17)."""
    column = s.device.c
    return count(conn, s.device, column.revoked_ms.is_(None), func.coalesce(column.seen_ms, 0) < now_ms - BEHIND_MS)


def routes(conn: Connection) -> list[Row]:
    """Return the pickers' open routes with their device and how far they are; a runner's trip stands among the trips."""
    found = rows(
        conn,
        select(s.document, s.writer.c.device)
        .select_from(
            s.document.join(
                s.writer,
                (s.writer.c.document == s.document.c.name) & (s.writer.c.role.in_(("picker", "runner"))),
                isouter=True,
            )
        )
        .where(
            s.document.c.name.like("route/%"),
            s.document.c.closed_ms.is_(None),
            s.document.c.name.not_in(select(st.trip.c.document)),
        )
        .order_by(s.document.c.opened_ms.desc(), s.document.c.name)
        .limit(200),
    )
    done = st.task.c
    for one in found:
        one["tasks"] = {
            str(status): int(number)
            for status, number in conn.execute(
                select(done.status, func.count()).where(done.document == one["name"]).group_by(done.status)
            )
        }
        one["stalls"] = conn.execute(
            select(func.count(func.distinct(done.stall_id))).where(done.document == one["name"])
        ).scalar_one()
    return found


def ready_tasks(conn: Connection) -> list[Row]:
    """Return what is not yet assigned, by stall: how many pieces wait where (D4)."""
    column = st.task.c
    return rows(
        conn,
        select(
            column.stall_id,
            column.market,
            column.floor,
            column.stall,
            func.count().label("tasks"),
            func.sum(column.cap_fen).label("cap_fen"),
        )
        .where(column.status == "ready", column.source == "stall")
        .group_by(column.stall_id, column.market, column.floor, column.stall)
        .order_by(column.market, column.floor, column.stall),
    )


def route_tasks(conn: Connection, document: str) -> list[Row]:
    """Return the tasks of a route in the order of its walk."""
    query = (
        select(st.task, st.shop_order.c.order_no, st.shop_order.c.merchant)
        .select_from(st.task.join(st.shop_order, st.task.c.order_id == st.shop_order.c.id))
        .where(st.task.c.document == document)
        .order_by(st.task.c.market, st.task.c.floor, st.task.c.stall, st.task.c.id)
    )
    return rows(conn, query.limit(2000))


def quarantine(conn: Connection, *, page: int = 1) -> tuple[list[Row], bool]:
    """Return what was refused and kept, unresolved first, newest first."""
    q = s.quarantine
    query = (
        select(q)
        .order_by(q.c.resolved_ms.is_not(None), q.c.id.desc())
        .limit(PAGE_ROWS + 1)
        .offset((page - 1) * PAGE_ROWS)
    )
    found = rows(conn, query)
    for one in found:
        one["bytes"] = len(one.pop("stored"))
    return found[:PAGE_ROWS], len(found) > PAGE_ROWS


def discrepancies(conn: Connection, *, open_only: bool = True, page: int = 1) -> tuple[list[Row], bool]:
    """Return contradictions with their owner and age, oldest open first."""
    d = st.discrepancy
    query = select(d).order_by(d.c.resolved_ms.is_not(None), d.c.opened_ms)
    if open_only:
        query = query.where(d.c.resolved_ms.is_(None))
    found = rows(conn, query.limit(PAGE_ROWS + 1).offset((page - 1) * PAGE_ROWS))
    for one in found:
        one["facts"] = json.loads(one["facts"])
        kind, _, subject = str(one["subject"]).partition(":")
        one["order_id"] = _order_of(conn, kind, subject)
    return found[:PAGE_ROWS], len(found) > PAGE_ROWS


def accounts(conn: Connection) -> list[Row]:
    """Return all ledger accounts with their balances; they add up to zero (I6)."""
    return rows(conn, select(s.account).order_by(s.account.c.name))


def entries(conn: Connection, *, account: str = "", page: int = 1) -> tuple[list[Row], bool]:
    """Return journal entries with their lines, newest first, perhaps only those that touch an account."""
    query = select(s.entry).order_by(s.entry.c.id.desc())
    if account:
        query = query.where(s.entry.c.id.in_(select(s.posting.c.entry).where(s.posting.c.account == account)))
    found = rows(conn, query.limit(PAGE_ROWS + 1).offset((page - 1) * PAGE_ROWS))
    shown = found[:PAGE_ROWS]
    lines = rows(
        conn, select(s.posting).where(s.posting.c.entry.in_([one["id"] for one in shown])).order_by(s.posting.c.line)
    )
    for one in shown:
        one["causes"] = json.loads(one["causes"])
        one["lines"] = [line for line in lines if line["entry"] == one["id"]]
        del one["prev"], one["digest"]
    return shown, len(found) > PAGE_ROWS


def merchants(conn: Connection) -> list[Row]:
    """Return merchants with their money, shops and open orders."""
    found = rows(conn, select(st.merchant).order_by(st.merchant.c.name))
    balances = {row[0]: int(row[1]) for row in conn.execute(select(s.account.c.name, s.account.c.balance_fen))}
    all_shops = rows(conn, select(st.shop).order_by(st.shop.c.name))
    for one in found:
        one["available_fen"] = balances.get(available_of(one["id"]), 0)
        one["held_fen"] = balances.get(held_of(one["id"]), 0)
        one["shops"] = [row for row in all_shops if row["merchant"] == one["id"]]
        one["open_orders"] = count(
            conn,
            st.shop_order,
            st.shop_order.c.merchant == one["id"],
            st.shop_order.c.status.not_in(("shipped", "closed")),
        )
    return found


def stalls(conn: Connection, *, search: str = "", page: int = 1) -> tuple[list[Row], bool]:
    """Return the stall directory."""
    query = select(st.stall).order_by(st.stall.c.market, st.stall.c.floor, st.stall.c.stall)
    if search:
        query = query.where(
            st.stall.c.id.contains(search, autoescape=True) | st.stall.c.name.contains(search, autoescape=True)
        )
    found = rows(conn, query.limit(PAGE_ROWS + 1).offset((page - 1) * PAGE_ROWS))
    return found[:PAGE_ROWS], len(found) > PAGE_ROWS


def courier_ranges(conn: Connection) -> list[Row]:
    """Return the number ranges of couriers and how many numbers they still have."""
    found = rows(conn, select(st.courier_range).order_by(st.courier_range.c.courier, st.courier_range.c.id))
    for one in found:
        one["left"] = max(0, one["last"] - one["next"] + 1)
    return found


def couriers(conn: Connection) -> list[str]:
    """Return the couriers that have, or had, numbers: those a shop may choose."""
    return list(
        conn.execute(select(st.courier_range.c.courier).distinct().order_by(st.courier_range.c.courier)).scalars()
    )


def people(conn: Connection) -> list[Row]:
    """Return those who sign in by PIN on devices."""
    return rows(
        conn,
        select(s.person.c.id, s.person.c.name, s.person.c.organisation, s.person.c.ended_ms).order_by(
            s.person.c.ended_ms.is_not(None), s.person.c.organisation, s.person.c.name
        ),
    )


def trips(conn: Connection) -> list[Row]:
    """Return the runners' trips, open ones first, with their pieces counted by place (D15)."""
    query = select(st.trip)
    found = rows(conn, query.order_by(st.trip.c.closed_ms.is_not(None), st.trip.c.opened_ms.desc()).limit(100))
    for one in found:
        one["pieces"] = {
            str(place): int(number)
            for place, number in conn.execute(
                select(st.piece.c.place, func.count()).where(st.piece.c.trip == one["id"]).group_by(st.piece.c.place)
            )
        }
    return found


def enrol_codes(conn: Connection, now_ms: int) -> list[Row]:
    """Return the codes that still enrol a device; the codes themselves are not kept, only their digests."""
    c = s.enrol_code.c
    query = select(c.name, c.role, c.organisation, c.warehouse, c.created_ms, c.expires_ms)
    return rows(conn, query.where(c.used_ms.is_(None), c.expires_ms > now_ms).order_by(c.created_ms.desc()))


def figures(conn: Connection, now_ms: int) -> Row:
    """Return the numbers of the platform's first page."""
    return {
        "devices": count(conn, s.device, s.device.c.revoked_ms.is_(None)),
        "behind": devices_behind(conn, now_ms),
        "quarantine": count(conn, s.quarantine, s.quarantine.c.resolved_ms.is_(None)),
        "discrepancies": count(conn, st.discrepancy, st.discrepancy.c.resolved_ms.is_(None)),
        "decisions": count(conn, st.decision, st.decision.c.resolved_ms.is_(None)),
        "ready": count(conn, st.task, st.task.c.status == "ready"),
        "out": count(conn, st.task, st.task.c.status.in_(("out", "recalled"))),
        "held_parcels": count(conn, st.parcel, st.parcel.c.status == "held"),
        "commands": count(conn, s.command, s.command.c.done_ms.is_(None)),
        "unread": count(conn, s.envelope, s.envelope.c.n > int(get_meta(conn, "authority.position", 0))),
        "pieces": {
            str(place): int(number)
            for place, number in conn.execute(select(st.piece.c.place, func.count()).group_by(st.piece.c.place))
        },
    }


def _still_waiting(conn: Connection, number: int, report: Mapping[str, Any]) -> int | None:
    """Return what still waits on a device: it tells a number when it connects, and what came since waits no more."""
    said, heard_ms = report.get("waiting"), report.get("received_ms")
    if not said or heard_ms is None:
        return said
    e = s.envelope.c
    return max(0, int(said) - count(conn, s.envelope, e.device == number, e.received_ms >= heard_ms))


def _by_number(conn: Connection, query: Select[*tuple[Any, ...]]) -> dict[int, int]:
    return {int(number or 0): int(amount or 0) for number, amount in conn.execute(query)}


def _order_of(conn: Connection, kind: str, subject: str) -> str | None:
    if kind == "order":
        return subject
    if kind == "task":
        found = first(conn, select(st.task.c.order_id).where(st.task.c.id == subject))
    elif kind == "piece":
        found = first(conn, select(st.piece.c.order_id).where(st.piece.c.code == subject))
    elif kind == "parcel":
        found = first(conn, select(st.parcel.c.order_id).where(st.parcel.c.id == subject))
    else:
        found = None
    value: Any = None if found is None else found["order_id"]
    return None if value is None else str(value)
