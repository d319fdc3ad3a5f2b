"""The story of an order: the facts about its subjects, each once, causes before effects, and what their authors had not seen (E2).

A phone that was offline delivers a purchase after the warehouse has scanned the bag in: neither the log's order nor a clock tells a
story a person can follow. So: a fact stands after all that its author knew (its basis, in its own document; a carried fact counts as
known where it was carried to); among facts of which neither author knew the other, the custody path decides, then the log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select, tuple_

from server.schema import device, envelope, fact, fact_subject
from server.schema_trade import expected_return, piece, shop_order
from trade.ids import ids_of, order_of_task
from trade.kinds import BY_KIND, Step

Row = dict[str, Any]
FACTS_MAX = 600

_RANK_OF_SERVER = {
    "verdict.purchase": Step.BOUGHT + 1,
    "verdict.answer": Step.ANSWERED + 1,
    "verdict.stock": Step.BAGGED + 1,
    "verdict.refund": Step.AT_STALL + 1,
    "order.closed": Step.ASSIGNED,
    "order.refund_asked": Step.ASSIGNED,
}
"""A verdict is told with what it judges; folds let it win, which is another matter."""

_MATTERS = frozenset(
    {"task.recalled", "order.closed", "order.refund_asked", "piece.bought", "task.answered", "task.ask_answered"}
)
"""What an author should have known: not having seen one of these explains what he did."""


def story(conn: Connection, subjects: Sequence[str]) -> list[Row]:
    """Return the facts about subjects in the order of their causes; `unseen` lists kinds an author could not know of."""
    if not subjects:
        return []
    of, place = fact_subject.c, (fact.c.document, fact.c.writer, fact.c.seq, fact.c.place)
    about = select(of.document, of.writer, of.seq, of.place).where(of.subject.in_(list(subjects)))
    joined = fact.join(envelope, fact.c.n == envelope.c.n, isouter=True)
    query = (
        select(fact, envelope.c.received_ms, device.c.name.label("device_name"))
        .select_from(joined.join(device, fact.c.device == device.c.number, isouter=True))
        .where(tuple_(*place).in_(about))
        .order_by(fact.c.n, fact.c.place)
        .limit(FACTS_MAX)
    )
    told = order_by_cause(merge_places([dict(row._mapping) for row in conn.execute(query)]))
    for index, row in enumerate(told):
        row["unseen"] = _unseen(row, told[:index])
    return told


def without_others(conn: Connection, told: Sequence[Row], merchant: str) -> list[Row]:
    """Return what one merchant may read of a story: nothing that names another's order, parcel or return, and of a garment that is
    another's by now nothing that was said of it since (D20).
    """
    about = [{*row["subjects"], *(f"order:{order}" for order in _orders_in(row["subjects"]))} for row in told]
    named = [subject for subjects in about for subject in subjects]
    o, r, p = shop_order.c, expected_return.c, piece.c
    queries = {
        "order": select(o.id).where(o.id.in_(ids_of(named, "order")), o.merchant != merchant),
        "return": select(r.courier_no).where(
            r.courier_no.in_(ids_of(named, "return")), r.merchant.not_in((merchant, ""))
        ),
        "piece": select(p.code).where(p.code.in_(ids_of(named, "piece")), p.owner != merchant),
    }
    others = {kind: {f"{kind}:{found}" for found in conn.execute(query).scalars()} for kind, query in queries.items()}
    hidden = [bool(subjects & (others["order"] | others["return"])) for subjects in about]
    since: dict[str, int] = {}
    for row, hides in zip(told, hidden, strict=True):
        for subject in others["piece"].intersection(row["subjects"]) if hides else ():
            since[subject] = min(row["n"], since.get(subject, row["n"]))
    return [
        row
        for row, hides in zip(told, hidden, strict=True)
        if not hides and all(row["n"] <= since.get(subject, row["n"]) for subject in row["subjects"])
    ]


def _orders_in(subjects: Sequence[str]) -> set[str]:
    of_tasks = {order for task in ids_of(subjects, "task") if (order := order_of_task(task)) is not None}
    return {*ids_of(subjects, "order"), *of_tasks, *(f"O{parcel[1:]}" for parcel in ids_of(subjects, "parcel"))}


def merge_places(rows: Sequence[Row]) -> list[Row]:
    """Return each fact once, its first own place first; `places` names every place it stands at: (document, writer, seq, index)."""
    said: dict[tuple[str, ...], Row] = {}
    for row in rows:
        key = _same_words(row)
        here = (row["document"], row["writer"], row["seq"], row["place"])
        known = said.get(key)
        if known is None or (known["carried"] and not row["carried"]):
            said[key] = {**row, "places": [*(known["places"] if known else ()), here]}
        else:
            known["places"].append(here)
    for row in said.values():
        for name in ("body", "subjects", "basis"):
            row[name] = json.loads(row[name])
    return list(said.values())


def order_by_cause(facts: Sequence[Row]) -> list[Row]:
    """Return the facts so that each stands after all its author knew; else by custody step, then by the log."""
    left = sorted(facts, key=_rank)
    waits = [{j for j, cause in enumerate(left) if j != i and _knew(row, cause)} for i, row in enumerate(left)]
    told: list[int] = []
    open_ones = list(range(len(left)))
    while open_ones:
        done = set(told)
        ready = next((i for i in open_ones if waits[i] <= done), open_ones[0])
        told.append(ready)
        open_ones.remove(ready)
    return [left[i] for i in told]


def _knew(row: Mapping[str, Any], cause: Mapping[str, Any]) -> bool:
    if row["carried"]:
        return False
    return any(
        (seq, index) < (row["seq"], row["place"])
        if writer == row["writer"]
        else int(row["basis"].get(str(writer), 0)) >= seq
        for document, writer, seq, index in cause["places"]
        if document == row["document"]
    )


def _rank(row: Mapping[str, Any]) -> tuple[int, int, int]:
    kind = BY_KIND.get(row["kind"])
    step = _RANK_OF_SERVER.get(row["kind"], kind.STEP if kind is not None else Step.OBSERVED)
    return int(step), row["n"], row["place"]


def _same_words(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What makes two rows one fact: carried ones keep their id; what the server says in several documents is said once.

    A fact id counts within its document only, so it names a fact together with what it says.
    """
    if row["role"] != "server":
        return (row["id"], row["kind"], row["subjects"], row["body"])
    return (
        (row["kind"], row["subjects"])
        if row["kind"] == "task.assigned"
        else (row["kind"], row["subjects"], row["body"])
    )


def _unseen(row: Mapping[str, Any], before: Sequence[Row]) -> list[str]:
    """Kinds told earlier of the same subject, in the author's document, by others, which his basis does not cover."""
    if row["role"] == "server" or row["carried"]:
        return []
    about = set(row["subjects"])
    missed = (
        earlier["kind"]
        for earlier in before
        if earlier["kind"] in _MATTERS
        and about.intersection(earlier["subjects"])
        and any(place[0] == row["document"] and place[1] != row["writer"] for place in earlier["places"])
        and not _knew(row, earlier)
    )
    return list(dict.fromkeys(missed))
