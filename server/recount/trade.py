"""Hold the trade's invariants against the log read again: places, shipments, waybills, stock, codes, inboxes."""

from __future__ import annotations

import json
from collections import Counter, defaultdict

from sqlalchemy import Connection, case, func, select

from server import schema as s
from server import schema_trade as st
from server.authority.deciding import PARKED
from server.authority.waybills import GIVEN_BACK
from server.recount.log import LogAgain
from sync_core.check import Check
from sync_core.facts import PlacedFact, is_server
from trade.carry import document_kind
from trade.ids import bare_id, first_id
from trade.inbox import inbox
from trade.piece_code import CodeError, check_piece_code
from trade.pieces import PLACES

LOST = frozenset({"second", "closed_unseen", "closed_seen", "over_cap"})


def check_trade(conn: Connection, again: LogAgain) -> list[Check]:
    """Return I1, I2, I3, I8, I12, I13, I14, and that orders stand where their pieces do."""
    return [
        _check_places(conn, again),
        _check_shipped_per_line(conn, again),
        _check_waybills(again),
        _check_stock(conn, again),
        _check_codes(again),
        _check_closed_orders(conn),
        _check_order_status(conn),
        _check_inboxes(conn, again),
    ]


def _check_places(conn: Connection, again: LogAgain) -> Check:
    check = Check(name="I1", what="each piece is in exactly one place, and none is missing")
    rows = {row.code: row for row in conn.execute(select(st.piece))}
    bought = {(bare_id(fact.subjects[1]), document, fact.id) for document, fact in again.said("piece.bought")}
    v = s.verdict.c
    # What a stopped device delivered waits for a supervisor: its pieces have no place until he lets them count (E31).
    parked = {(row.document, row.fact) for row in conn.execute(select(v.document, v.fact).where(v.rule == PARKED))}
    for code, document, fact_id in sorted(bought):
        row = rows.get(code)
        if row is None and (document, fact_id) in parked:
            continue
        check.expect(row is not None and row.place in PLACES, f"piece {code}: {'no row' if row is None else row.place}")
    for code in sorted(set(rows) - bought):
        # A piece no purchase explains came in by its label, or was minted at the returns desk.
        seen = any(key[1] == f"piece:{code}" for key in again.states)
        check.expect(seen and rows[code].place in PLACES, f"piece {code}: a row that no fact explains")
    return check


def _check_shipped_per_line(conn: Connection, again: LogAgain) -> Check:
    check = Check(
        name="I2", what="pieces shipped of a line are at most those ordered, and no piece ships in two parcels"
    )
    line_of = {row.id: (row.order_id, row.line) for row in conn.execute(select(st.wanted))}
    task_of = {row.id: row.wanted for row in conn.execute(select(st.task))}
    shipped: dict[tuple[str, str], set[str]] = defaultdict(set)
    parcels: dict[str, set[str]] = defaultdict(set)
    for row in conn.execute(select(st.piece)):
        if row.place == "shipped" and row.task is not None:
            line = line_of.get(task_of.get(row.task, ""))
            if line is None:
                check.expect(False, f"piece {row.code} shipped for task {row.task}, of which there is no row")
                continue
            shipped[line].add(row.code)
    for document, fact in again.said("parcel.shipped"):
        parcel = again.states.get((document, fact.subjects[0]), {})
        for code in parcel.get("pieces", []) if parcel.get("status") == "shipped" else []:
            parcels[code].add(fact.subjects[0])
    copies = {(row.order_id, row.line): row.copies for row in conn.execute(select(st.order_line))}
    for line, codes in shipped.items():
        check.expect(
            len(codes) <= copies.get(line, 0),
            f"{line[0]} line {line[1]}: {len(codes)} shipped of {copies.get(line, 0)}",
        )
    returned = {row.code for row in conn.execute(select(st.piece)) if row.return_no is not None}
    for code, held in parcels.items():
        check.expect(len(held) == 1 or code in returned, f"piece {code} shipped in {sorted(held)}")
    return check


def _check_waybills(again: LogAgain) -> Check:
    """No waybill printed, nothing shipped, while its terminal knew of an open refund, a close, or a living line not scanned."""
    check = Check(
        name="I3", what="no waybill while a living piece is unscanned or a refund is open that the terminal knew of"
    )
    for kind in ("waybill.printed", "parcel.shipped"):
        for document, fact in again.said(kind):
            if document_kind(document) == "warehouse":
                _judge_waybill(again, document, fact, check)
    named: dict[str, set[str]] = defaultdict(set)
    for _, fact in again.said("waybill.obtained"):
        named[str(fact.body.get("waybill_no"))].add(fact.subjects[0])
    for _, fact in again.said("waybill.voided"):
        if fact.body.get("reason") == GIVEN_BACK:
            named[str(fact.body.get("waybill_no"))].discard(fact.subjects[0])
    for number, parcels in sorted(named.items()):
        check.expect(len(parcels) <= 1, f"waybill {number} was given to {sorted(parcels)} (D17)")
    return check


def _judge_waybill(again: LogAgain, document: str, fact: PlacedFact, check: Check) -> None:
    parcel = fact.subjects[0]
    known = [f for f in again.subjects.get((document, parcel), []) if fact.knew(f)]
    waybills = [
        f for f in known if f.kind == "waybill.obtained" and f.body.get("waybill_no") == fact.body.get("waybill_no")
    ]
    if not waybills:
        check.expect(False, f"{parcel}: {fact.kind} with a number the terminal was never given")
        return
    order = next((x for x in waybills[-1].subjects if x.startswith("order:")), "")
    about_order = [f for f in again.subjects.get((document, order), []) if fact.knew(f)]
    refunds = [f for f in about_order if f.kind == "order.refund_asked"]
    closed = any(f.kind == "order.closed" for f in about_order)
    open_refund = bool(refunds) and not refunds[-1].body.get("withdrawn")
    check.expect(not closed and not open_refund, f"{parcel}: {fact.kind} though the terminal knew of a refund or close")
    owners = [
        f.body["terminal"] for f in about_order if f.kind == "task.assigned" and f.body.get("terminal") is not None
    ]
    check.expect(
        not owners or fact.device in owners or not again.continued[fact.device].isdisjoint(owners),
        f"{parcel}: {fact.kind} at terminal {fact.device}, though {owners[-1:]} packs it (D16)",
    )
    packed = {code for f in known if f.kind == "parcel.packed" for code in f.body.get("pieces", [])}
    for code in sorted(packed):
        arrived = any(
            f.kind in ("piece.scanned_in", "piece.drawn", "piece.brought_back", "piece.inspected") and fact.knew(f)
            for f in again.subjects.get((document, f"piece:{code}"), [])
        )
        check.expect(arrived, f"{parcel}: {fact.kind} with piece {code} that was never scanned")


def _check_stock(conn: Connection, again: LogAgain) -> Check:
    check = Check(name="I8", what="stock is never negative and equals the pieces counted by place")
    by_owner: Counter[str] = Counter()
    # After a restore two servers may have judged one purchase, or the task of one is lost: each end goes by its own, and somebody is
    # asked to settle it.
    told = st.discrepancy.c
    codes = ("verdict_recovered", "unknown_task")
    asked = set(conn.execute(select(told.subject).where(told.code.in_(codes))).scalars())
    for row in conn.execute(select(st.piece).where(st.piece.c.place == "in_stock")):
        by_owner[row.owner] += 1
        states = [
            state
            for (d, subject), state in again.states.items()
            if subject == f"piece:{row.code}" and document_kind(d) == "warehouse"
        ]
        check.expect(
            not states
            or any(state["place"] == "in_stock" for state in states)
            or _stays_on_shelf(states)
            or f"piece:{row.code}" in asked,
            f"piece {row.code}",
        )
    check.checked += len(by_owner)
    drawn: Counter[str] = Counter()
    # The verdict may stand in a successor of the document in which it was drawn.
    lost: dict[tuple[str | None, str], set[str]] = defaultdict(set)
    for (d, subject), state in again.states.items():
        if subject.startswith("piece:"):
            lost[document_kind(d), subject] |= {loss["fact"] for loss in state["losses"]}
    recalled = {first_id(fact.subjects, "task") for _, fact in again.said("task.recalled")}
    for document, fact in again.said("piece.drawn"):
        # What was drawn for an order that does not want it any more lies on its shelf again.
        back = first_id(fact.subjects, "task") in recalled
        if not back and fact.id not in lost[document_kind(document), fact.subjects[0]]:
            drawn[bare_id(fact.subjects[0])] += 1
    put_on_shelf = _put_on_shelf(conn, again)
    for code, times in drawn.items():
        check.expect(times <= max(1, put_on_shelf[code]), f"piece {code} was drawn {times} times")
    return check


def _put_on_shelf(conn: Connection, again: LogAgain) -> Counter[str]:
    """Return {piece: how often it became stock}: bought for nobody, passed or accepted as a return, brought back from the stall."""
    rows = conn.execute(
        select(st.piece.c.code).where(st.piece.c.outcome.in_(("second", "closed_unseen", "closed_seen")))
    )
    put: Counter[str] = Counter(rows.scalars())
    came = [fact for _, fact in again.said("piece.inspected") if fact.body.get("passed")]
    came += [fact for _, fact in again.said("pending.ended") if fact.body.get("outcome") == "accepted"]
    came += [fact for _, fact in again.said("piece.brought_back")]
    put.update(first_id(fact.subjects, "piece") or "" for fact in came)
    return put


def _stays_on_shelf(states: list[dict[str, object]]) -> bool:
    """A second or closed piece that was scanned in lies on the stock shelf by the authority's word."""
    return any(state["place"] in ("inbound", "in_cell") for state in states)


def _check_codes(again: LogAgain) -> Check:
    check = Check(name="I12", what="piece codes are unique over devices, each minted by the device that said it")
    makers: dict[str, set[int]] = defaultdict(set)
    for _, fact in again.said("piece.bought"):
        makers[bare_id(fact.subjects[1])].add(fact.device)
    for code, devices in sorted(makers.items()):
        try:
            check_piece_code(code)
            fits = True
        except CodeError:
            fits = False
        check.expect(fits and len(devices) == 1, f"piece {code}: minted by {sorted(devices)}")
    return check


def _check_closed_orders(conn: Connection) -> Check:
    check = Check(name="I13", what="a closed order ends with nothing held once its recalls are answered")
    waiting = {
        row.order_id
        for row in conn.execute(select(st.task).where(st.task.c.recalled.is_not(None), st.task.c.status == "recalled"))
    }
    left: Counter[str] = Counter()
    for row in conn.execute(select(s.hold)):
        left[row.order_id] += row.held_fen - row.captured_fen - row.released_fen
    for row in conn.execute(select(st.shop_order).where(st.shop_order.c.status == "closed")):
        if row.id not in waiting:
            check.expect(left[row.id] == 0, f"order {row.id}: {left[row.id]} fen still held")
    w, o = st.wanted.c, st.shop_order.c
    empty = (
        select(o.id)
        .join(st.wanted, w.order_id == o.id)
        .where(o.status.not_in(("shipped", "closed")))
        .group_by(o.id)
        .having(func.sum(case((w.status.in_(("closing", "closed")), 0), else_=1)) == 0)
    )
    for order in conn.execute(empty).scalars():
        check.expect(False, f"order {order}: every piece of it is closed, and the order is not")
    return check


def _check_order_status(conn: Connection) -> Check:
    """What the pages show of an order follows from its pieces, whoever carried out what: also a server put back from a backup."""
    check = Check(name="orders", what="each order's status follows from its pieces: waiting for dispatch, out, shipped")
    w, t, p = st.wanted.c, st.task.c, st.parcel.c
    pieces: dict[str, list[tuple[str, str]]] = defaultdict(list)
    wants = select(w.order_id, w.status, t.source).join_from(st.wanted, st.task, w.task == t.id)
    for row in conn.execute(wants):
        pieces[row.order_id].append((row.status, row.source))
    left = set(conn.execute(select(p.order_id).where(p.shipped_ms.is_not(None))).scalars())
    for order in conn.execute(select(st.shop_order)):
        fault = _fault_of_status(order.status, pieces[order.id], left=order.id in left)
        check.expect(not fault, f"order {order.id} is {order.status}, and {fault}")
    return check


def _fault_of_status(status: str, pieces: list[tuple[str, str]], *, left: bool) -> str:
    """Return what contradicts an order's status; "" when nothing does."""
    wants = {want for want, _ in pieces}
    ended = bool(pieces) and wants <= {"shipped", "closed"}
    match status:
        case "held" | "money":
            return "has pieces already" if pieces else ""
        case "ready":
            gone = {want for want, source in pieces if source == "stall"} - {"ready", "waiting", "closing", "closed"}
            if gone:
                return f"a piece of it is {min(gone)}"
            return "" if wants & {"ready", "waiting"} else "no piece of it waits for dispatch"
        case "shipped":
            return "" if left and wants <= {"shipped", "closing", "closed"} else f"its pieces are {sorted(wants)}"
        case "out":
            return "it has shipped" if left and ended else ""
        case _:
            return ""


def _check_inboxes(conn: Connection, again: LogAgain) -> Check:
    check = Check(name="I14", what="every action that did not win has an inbox entry for its author and its owner")
    told = {entry.fact for entry in inbox((subject, state) for (_, subject), state in sorted(again.states.items()))}
    owners: set[str] = {row.fact for row in conn.execute(select(st.notice)) if row.fact}
    for row in conn.execute(select(st.discrepancy)):
        owners |= set(json.loads(row.facts))
    owners |= {row.cause for row in conn.execute(select(st.decision))}
    owners |= _waiting_for_a_supervisor(conn)
    undone = {fact.body["fact"] for _, fact in again.said("verdict.purchase") if fact.body.get("outcome") == "undone"}
    # A restored server took an answer that the lost one had found too late: it counts, and there is nothing to tell.
    accepted_after = {f.body["fact"] for _, f in again.said("verdict.answer") if f.body.get("outcome") == "accepted"}
    for kind, lost in (("verdict.purchase", LOST), ("verdict.answer", frozenset({"overruled", "too_late"}))):
        for _, fact in again.said(kind):
            if fact.body.get("outcome") not in lost or fact.body.get("fact") in undone | accepted_after:
                continue
            about = str(fact.body.get("fact"))
            if is_server(int(about.partition(".")[0])):
                continue  # An adopted label's author is the supervisor, who reads it in the command's outcome (E29).
            if not _is_here(conn, about):
                continue  # A lost server judged it, and it has not come back to the restored one: that tells of it when it does.
            check.expect(
                about in told or fact.body["outcome"] == "overruled", f"{kind} about {about}: its author is not told"
            )
            check.expect(_names(owners, about), f"{kind} about {about}: no owner is told")
    return check


def _waiting_for_a_supervisor(conn: Connection) -> set[str]:
    """The parked facts whose device has its entry: one stands for all that waits, and only the first is named there (E31)."""
    v, f, decided = s.verdict.c, s.fact.c, s.verdict.alias().c
    told = {row.subject for row in conn.execute(select(st.discrepancy).where(st.discrepancy.c.code == PARKED))}
    counts = select(decided.id).where(
        decided.fact == f.id, decided.document == f.document, decided.rule.startswith("decide:")
    )
    parked = select(f.id, f.writer).where(v.fact == f.id, v.document == f.document, v.rule == PARKED, ~counts.exists())
    return {row.id for row in conn.execute(parked) if f"device:{row.writer}" in told}


def _is_here(conn: Connection, fact_id: str) -> bool:
    f = s.fact.c
    return conn.execute(select(f.id).where(f.id == fact_id, f.carried == 0).limit(1)).first() is not None


def _names(owners: set[str], fact_id: str) -> bool:
    return any(owner == fact_id or owner.endswith((f"|{fact_id}", f":{fact_id}")) for owner in owners)
