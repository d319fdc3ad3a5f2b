"""Purchases: which one serves its order, who pays for it, and what happens to the others.

`trade.conflicts` decides; here its answer becomes a verdict, postings and rows, once per purchase. All attempts at one piece are one want
with one hold: whoever buys for it first in the authority's order keeps it, whichever attempt he had, and nobody is charged twice.
Rules R43, R80-R82, D7-D11, E1-E4, E7, E8, E11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, assert_never

from sqlalchemy import Row, bindparam, select, update

from server import schema as s
from server import schema_trade as st
from server.authority.batch import PLATFORM, Batch, body_of, warehouse_document
from server.authority.closing import settle_order, settle_recalls
from server.authority.dispatch import has_left, recall
from server.authority.forgotten import is_out, recall_the_other
from server.authority.giving_way import make_room
from server.authority.holds import freeze, is_given_back
from server.authority.shelving import SERVING, free_promised, settle_arrival
from server.authority.words import CLOSED_BECAUSE
from server.ledger import PRINCIPAL, About
from sync_core.errors import RefusedError
from sync_core.facts import PlacedFact, is_server
from trade import kinds
from trade.carry import document_kind
from trade.conflicts import (
    CLOSING,
    ClosedSeen,
    ClosedUnseen,
    Keeps,
    OverCap,
    Purchase,
    PurchaseDecision,
    Second,
    Undone,
    Want,
    judge_purchase,
    known_pairs,
    owner_of_no_want,
    verdict_body,
)
from trade.ids import first_id, ids_of

RECOVERED: Final = "verdict.recovered"
"""The rule under which a lost server's verdict is noted until its purchase arrives."""
RECOVERED_UNDONE: Final = "verdict.recovered_undone"
"""The rule under which is noted that the lost server had seen it taken back: its verdict before that takes no want from another."""


def by_piece(code: str) -> str:
    """Where a lost server's verdict is noted that came without its purchase's document."""
    return f"piece:{code}"


def on_bought(b: Batch, document: str, fact: PlacedFact) -> None:
    """A garment was bought: it exists, whatever is decided about it."""
    body = body_of(fact)
    assert isinstance(body, kinds.PieceBought)
    code = first_id(fact.subjects, "piece") or ""
    task = b.row(st.task, first_id(fact.subjects, "task"))
    stall_id = next((subject for subject in fact.subjects if subject.startswith("stall:")), "")
    known = b.row(st.piece, code)
    if known is not None and known.bought_fact is not None:
        b.discrepancy(
            "piece_code_twice",
            f"piece:{code}",
            PLATFORM,
            facts=[fact.id],
            key=f"piece_code_twice|{document}|{fact.id}",
            code=code,
        )
        return
    keep_piece(
        b, fact, code, task, stall_id, known, price_fen=body.price_fen, means=body.means.value, device=fact.device,
        person=fact.person,
    )  # fmt: skip
    b.ledger.pay_stall(
        body.price_fen, means=body.means.value, person=fact.person, stall_id=stall_id, key=f"paid:{code}",
        about=About(task=task.id if task is not None else "", piece=code, causes=(f"fact:{fact.id}",)),
    )  # fmt: skip
    if task is None:
        b.set(st.piece, code, outcome="second")
        b.discrepancy("unknown_task", f"piece:{code}", PLATFORM, facts=[fact.id])
        return
    if known is not None:
        b.settle_discrepancy(f"orphan|piece:{code}", "手机的记录到了 / its phone's facts arrived")
    partner = None if known is None or known.task in (None, task.id) else _swapped_with(b, code)
    wanted = b.row(st.wanted, task.wanted)
    served_by_partner = partner is not None and wanted is not None and wanted.keeper == partner
    if served_by_partner:
        b.set(
            st.wanted, task.wanted, keeper=None
        )  # It shipped with the other's piece; this purchase is what is paid for it.
    decide_purchase(b, document, fact.id, code, task)
    if known is not None and known.task is not None and partner is not None:
        _serve_swapped(b, code, partner, task, known.task)
        if served_by_partner:
            b.set(st.wanted, task.wanted, keeper=partner)


def _swapped_with(b: Batch, code: str) -> str | None:
    said = [fact for facts in b.memory.facts_of(f"piece:{code}").values() for fact in facts]
    swaps = [fact for fact in said if fact.kind == kinds.PiecesSwapped.KIND]
    return next((other for other in ids_of(swaps[-1].subjects, "piece") if other != code), None) if swaps else None


def _serve_swapped(b: Batch, code: str, partner: str, task: Row[Any], serves: str) -> None:
    """Its bag was swapped before its phone spoke (E11): its own task's money paid for it, and it serves the other task."""
    piece, served = b.row(st.piece, code), b.row(st.task, serves)
    if piece is None or served is None or piece.outcome not in SERVING:
        return
    b.set(st.piece, code, task=served.id, wanted=served.wanted, order_id=served.order_id)
    for want, before, after in ((task.wanted, code, partner), (served.wanted, partner, code)):
        wanted = b.row(st.wanted, want)
        if wanted is not None and wanted.keeper == before:
            b.set(st.wanted, want, keeper=after)


def _freeze_again(b: Batch, wanted: Row[Any], task: Row[Any], order: Row[Any], code: str, fact_id: str) -> bool:
    """Freeze anew what a bounce or a question that ran out gave back while a phone had bought within the cap (D7).

    The merchant had agreed to that price, so it is his if his wallet covers it; else the platform bears it (I5). False when it does.
    Whether the piece left before its phone spoke (E12) makes no difference.
    """
    newest = b.row(st.task, wanted.task)
    left_bounced = (
        wanted.status == "shipped" and wanted.keeper == code and newest is not None and newest.status == "bounced"
    )
    if left_bounced or (wanted.status == "bounced" and wanted.keeper is None) or is_given_back(b, order, wanted):
        try:
            freeze(b, order, wanted, task, again=fact_id)
        except RefusedError:
            return False
    return True


def decide_purchase(b: Batch, document: str, fact_id: str, code: str, task: Row[Any]) -> None:
    """Judge one purchase and carry the verdict out."""
    bought = b.row(st.piece, code)
    assert bought is not None
    task = is_out(b, task, document, bought.device)
    wanted = b.row(st.wanted, task.wanted)
    order = b.row(st.shop_order, task.order_id)
    assert wanted is not None
    assert order is not None
    has_left(b, order)  # A lost server may have sent it out, and its word may arrive after the phone's.
    covered = _freeze_again(b, wanted, task, order, code, fact_id)
    want, qualified = _build_want(b, document, fact_id, wanted, task, order)
    decision = judge_purchase(want, qualified)
    if isinstance(decision, ClosedUnseen | Keeps | OverCap) and _written_off(b, wanted, order):
        decision = Second(keeper=wanted.keeper)
    verdict = verdict_body(decision, fact_id)
    here = b.verdict_of(document, fact_id, RECOVERED)
    lost = here or b.verdict_of(by_piece(code), fact_id, RECOVERED)
    said = False
    if lost is not None:
        verdict, covered = _recovered(b, document, lost, code, wanted, task, order, fact_id)
        said = here is not None and verdict.outcome == lost["outcome"] and verdict.charged_fen == lost["charged_fen"]
        decision = _as_judged(verdict, code)
    if not b.once(document, fact_id, kinds.PurchaseVerdict.KIND, verdict.model_dump(mode="json")):
        return
    fact = verdict.about(f"task:{task.id}", f"piece:{code}")
    warehouse = warehouse_document(order.warehouse) if order.warehouse else None
    if not said:
        b.say_to([document, warehouse, *_route_of(b, document, task)], fact)
    _carry_out(b, decision, verdict, code, task, wanted, order, fact_id)
    if isinstance(decision, Keeps | OverCap):
        recall_the_other(b, task, document)
    within_cap = bool(order.drop_ship) and bought.price_fen <= task.cap_fen
    if (isinstance(decision, OverCap) and (not covered or (task.recalled is None and within_cap))) or (
        isinstance(decision, ClosedUnseen) and verdict.excess_fen and within_cap
    ):
        b.discrepancy("wallet_short", f"piece:{code}", PLATFORM, facts=[fact_id], excess_fen=verdict.excess_fen)


def keep_piece(
    b: Batch, fact: PlacedFact, code: str, task: Row[Any] | None, stall_id: str, known: Row[Any] | None, *,
    price_fen: int, means: str, device: int, person: str,
) -> None:  # fmt: skip
    """Write down a piece that was bought; `known` is its row when it was scanned in before."""
    order = None if task is None else b.row(st.shop_order, task.order_id)
    values: dict[str, Any] = {
        "wanted": None if task is None else task.wanted, "task": None if task is None else task.id,
        "order_id": None if task is None else task.order_id, "merchant": "" if order is None else order.merchant,
        "stall_id": stall_id, "style": "" if task is None else task.style, "colour": "" if task is None else task.colour,
        "size": "" if task is None else task.size, "price_fen": price_fen, "means": means, "device": device,
        "person": person, "bought_ms": fact.at_ms, "bought_fact": fact.id,
    }  # fmt: skip
    if known is None:
        b.add(st.piece, code=code, owner=PLATFORM, place="with_picker", **values)
    else:
        b.set(st.piece, code, **values)


def serve_want(b: Batch, wanted: Row[Any], code: str) -> None:
    """A piece serves a want: its other attempts are recalled, and what was promised to it lies on its shelf for others."""
    b.set(st.wanted, wanted.id, keeper=code, status="shipped" if wanted.status == "shipped" else "bought")
    b.decided(("answer", "bounce", "ask"), f"task:{wanted.task}", "bought")
    others = b.read(_OTHER_ATTEMPTS, wanted_=wanted.id).all()
    piece = b.row(st.piece, code)
    for task in others:
        if piece is not None and task.id == piece.task:
            b.set(st.task, task.id, status="bought")
        else:
            recall(b, task, "reassigned")
    free_promised(b, wanted.id, served_by=code)


# --- below ------------------------------------------------------------------------------------------------------------------


def _route_of(b: Batch, document: str, task: Row[Any]) -> list[str]:
    """The task's own route, while it is open, when its purchase was said elsewhere: an adoption stands in the warehouse's document."""
    if task.document is None or document_kind(document) != "warehouse":
        return []
    route = b.row(s.document, task.document)
    return [task.document] if route is not None and route.closed_ms is None else []


def _adopted_in(b: Batch, pieces: Sequence[Row[Any]]) -> list[str]:
    """The documents in which a supervisor adopted some of these pieces (E29)."""
    f = s.fact.c
    ids = [piece.bought_fact for piece in pieces if is_server(int(piece.bought_fact.partition(".")[0]))]
    if not ids:
        return []
    where = (f.id.in_(ids), f.kind == kinds.PieceAdopted.KIND, f.carried == 0)
    return list(b.conn.execute(select(f.document).where(*where).order_by(f.n)).scalars())


def _recovered(
    b: Batch,
    document: str,
    lost: Mapping[str, Any],
    code: str,
    wanted: Row[Any],
    task: Row[Any],
    order: Row[Any],
    fact_id: str,
) -> tuple[kinds.PurchaseVerdict, bool]:
    """Return a lost server's verdict as it stands now, and whether the money for it is there.

    The order may be closed since, by the lost server or after the restore: then it was bought before the close. A close that came
    before its task was known gave all its money back; what the lost server had charged is frozen anew, or else the platform's (I5).
    """
    verdict = kinds.PurchaseVerdict.model_validate(lost)
    if verdict.outcome in ("keeps", "over_cap") and wanted.status in ("closing", "closed"):
        verdict = verdict.model_copy(update={"outcome": "closed_unseen", "keeper": None})
    keeper = None
    if verdict.outcome in ("keeps", "over_cap"):
        keeper = wanted.keeper
        places = (document, by_piece(code))
        undone = any(b.verdict_of(place, fact_id, RECOVERED_UNDONE) for place in places) and keeper not in (None, code)
        is_second = undone or not make_room(b, wanted, order, code)
    else:
        # Another piece was paid for since the restore, and then closed: one want is paid for once.
        is_second = verdict.outcome == "closed_unseen" and b.ledger.captured_fen(wanted.id, PRINCIPAL) > 0
    if is_second:
        b.discrepancy("verdict_recovered", f"piece:{code}", PLATFORM, facts=[fact_id])
        owner = owner_of_no_want(order.merchant, drop_ship=bool(order.drop_ship))
        return verdict_body(Second(keeper=keeper, owner=owner), fact_id), True
    missing_fen = verdict.charged_fen - b.ledger.open_fen(wanted.id, PRINCIPAL)
    if missing_fen <= 0:
        return verdict, True
    with suppress(RefusedError):
        freeze(b, order, wanted, task, again=fact_id)
    short_fen = max(verdict.charged_fen - b.ledger.open_fen(wanted.id, PRINCIPAL), 0)
    if short_fen:
        charged_fen, excess_fen = verdict.charged_fen - short_fen, verdict.excess_fen + short_fen
        outcome = "over_cap" if verdict.outcome == "keeps" else verdict.outcome
        verdict = verdict.model_copy(update={"charged_fen": charged_fen, "excess_fen": excess_fen, "outcome": outcome})
    return verdict, short_fen == 0


def _as_judged(verdict: kinds.PurchaseVerdict, code: str) -> PurchaseDecision:
    """The decision behind a verdict that a lost server had given."""
    match verdict.outcome:
        case "keeps":
            return Keeps(piece=code, owner=verdict.owner, charged_fen=verdict.charged_fen, release_fen=0)
        case "over_cap":
            return OverCap(
                piece=code, owner=verdict.owner, charged_fen=verdict.charged_fen, excess_fen=verdict.excess_fen
            )
        case "second":
            return Second(keeper=verdict.keeper)
        case "closed_unseen":
            return ClosedUnseen(
                owner=verdict.owner,
                charged_fen=verdict.charged_fen,
                release_fen=0,
                excess_fen=verdict.excess_fen,
                cause="bought_first",
            )
        case "closed_seen":
            return ClosedSeen()
        case "undone":
            return Undone()
        case _:
            assert_never(verdict.outcome)


def _build_want(
    b: Batch, document: str, fact_id: str, wanted: Row[Any], task: Row[Any], order: Row[Any]
) -> tuple[Want, str]:
    """All purchases of a want over all its attempts and documents; ids are made unique over documents by a suffix."""
    pieces = b.read(_BOUGHT_FOR, wanted_=wanted.id).all()
    if len(pieces) == 1 and task.recalled is None and wanted.status not in ("closing", "closed"):
        return _lonely_want(b, pieces[0], wanted, task, order), pieces[0].bought_fact
    attempts = b.rows(st.task, wanted=wanted.id)
    purchases: list[Purchase] = []
    known: set[tuple[str, str]] = set()
    recall_id: str | None = None
    keeper: str | None = None
    qualified = f"{fact_id}.0"
    routes = [row.document for row in attempts if row.document]
    documents = dict.fromkeys([document, *routes, *_adopted_in(b, pieces)])
    for number, name in enumerate(documents):
        facts: list[PlacedFact] = []
        for attempt in attempts:
            facts += b.memory.facts_of(f"task:{attempt.id}", document=name, own_only=True).get(name, [])
        named = [replace(fact, id=f"{fact.id}.{number}") for fact in {fact.id: fact for fact in facts}.values()]
        known |= known_pairs([fact for fact in named if fact.kind in _RANKED])
        for plain, fact in zip({fact.id: fact for fact in facts}.values(), named, strict=True):
            if fact.kind in PURCHASES:
                code = first_id(fact.subjects, "piece") or ""
                piece = b.row(st.piece, code)
                if piece is None or piece.bought_fact != plain.id:
                    continue
                purchases.append(_purchase(fact, piece, wanted, attempts))
                if code == wanted.keeper:
                    keeper = fact.id
            elif number == 0 and fact.kind == kinds.TaskRecalled.KIND and first_id(fact.subjects, "task") == task.id:
                recall_id = fact.id
    closed = task.recalled in CLOSING or wanted.status in ("closing", "closed")
    drawn = wanted.keeper if wanted.keeper is not None and keeper is None else None
    # Also of what keeps the want already: it left before its phone spoke, and nothing was charged for it yet (E12).
    cap_fen = min(max(task.cap_fen, 0), b.ledger.open_fen(wanted.id, PRINCIPAL)) if order.drop_ship else task.cap_fen
    want = Want(
        merchant=order.merchant, cap_fen=cap_fen, drop_ship=bool(order.drop_ship), purchases=tuple(purchases),
        known=frozenset(known), keeper=keeper, recall=(recall_id or f"0.0.0.{len(documents)}") if closed else None, drawn=drawn,
    )  # fmt: skip
    return want, qualified


def _lonely_want(b: Batch, piece: Row[Any], wanted: Row[Any], task: Row[Any], order: Row[Any]) -> Want:
    """The usual case: one purchase, nobody withdrew anything."""
    cap_fen = min(task.cap_fen, b.ledger.open_fen(wanted.id, PRINCIPAL)) if order.drop_ship else task.cap_fen
    purchase = Purchase(
        fact=piece.bought_fact,
        piece=piece.code,
        device=piece.device,
        price_fen=piece.price_fen,
        undone=piece.place == "undone",
    )
    return Want(
        merchant=order.merchant,
        cap_fen=cap_fen,
        drop_ship=bool(order.drop_ship),
        purchases=(purchase,),
        drawn=wanted.keeper if wanted.keeper != piece.code else None,
    )


PURCHASES = frozenset({kinds.PieceBought.KIND, kinds.PieceAdopted.KIND})
_RANKED = frozenset({kinds.PieceBought.KIND, kinds.TaskRecalled.KIND})
"""What an adoption's author knew says nothing about the lost phone: it ranks by device and id alone."""


def _purchase(fact: PlacedFact, piece: Row[Any], wanted: Row[Any], attempts: Sequence[Row[Any]]) -> Purchase:
    current = next((row for row in attempts if row.id == wanted.task), None)
    return Purchase(
        fact=fact.id,
        piece=piece.code,
        device=piece.device,
        price_fen=piece.price_fen,
        assigned=current is not None and current.device == piece.device,
        seen_recall=bool(fact.body.get("seen_recall", False)),
        undone=piece.place == "undone",
    )


def _written_off(b: Batch, wanted: Row[Any], order: Row[Any]) -> bool:
    """The principal went back already (a supervisor wrote the device off): a purchase after that is the platform's (D9)."""
    return bool(order.drop_ship) and wanted.status == "closed" and b.ledger.open_fen(wanted.id, PRINCIPAL) == 0


def _carry_out(
    b: Batch, decision: PurchaseDecision, verdict: kinds.PurchaseVerdict, code: str, task: Row[Any], wanted: Row[Any],
    order: Row[Any], fact_id: str,
) -> None:  # fmt: skip
    about = b.about(order=order, task=task.id, piece=code, fact=fact_id)
    b.set(
        st.piece,
        code,
        owner=verdict.owner,
        outcome=verdict.outcome,
        charged_fen=verdict.charged_fen,
        excess_fen=verdict.excess_fen,
    )
    match decision:
        case Keeps() | OverCap():
            b.set(st.task, task.id, status="bought")
            serve_want(b, wanted, code)
            if verdict.charged_fen:
                b.ledger.post(wanted.id, verdict.charged_fen, key=f"post:{code}", about=about)
            if isinstance(decision, OverCap):
                _ask_excess(b, verdict, code, order)
            arrived(b, code)
        case ClosedUnseen():
            b.set(st.task, task.id, status="ended")
            if verdict.charged_fen:
                why = CLOSED_BECAUSE[decision.cause]
                b.ledger.post(wanted.id, verdict.charged_fen, key=f"post:{code}", about=about, why=why)
            _close_after_purchase(b, wanted, order, about, cause=decision.cause, code=code)
            if (
                verdict.excess_fen
            ):  # Nobody is asked to pay more for what he had closed; the platform's share is told all the same.
                b.discrepancy("over_cap", f"piece:{code}", PLATFORM, facts=[fact_id], excess_fen=verdict.excess_fen)
        case ClosedSeen():
            b.set(st.task, task.id, status="ended")
            settle_recalls(b, wanted.id, fact_id)  # Not while another attempt's phone may have bought (D9).
            b.discrepancy("bought_though_seen", f"piece:{code}", PLATFORM, facts=[fact_id])
        case Second():
            if task.status not in ("bought", "ended"):
                b.set(st.task, task.id, status="ended")
            b.discrepancy("second_piece", f"piece:{code}", PLATFORM, facts=[fact_id], code=code)
            arrived(b, code)
        case Undone():
            b.set(st.piece, code, place="undone")
    if isinstance(decision, ClosedUnseen | ClosedSeen):
        arrived(b, code)


def arrived(b: Batch, code: str) -> None:
    """Continue with a piece that was scanned in, and may have left, before its purchase was known (E12)."""
    piece = b.row(st.piece, code)
    if piece is not None and piece.scanned_ms is not None:
        settle_arrival(b, piece)
        if piece.place == "shipped" and piece.order_id is not None:
            settle_order(b, piece.order_id)


def _ask_excess(b: Batch, verdict: kinds.PurchaseVerdict, code: str, order: Row[Any]) -> None:
    b.ask(
        "over_cap", f"piece:{code}", order=order.id, merchant=order.merchant, cause=code,
        detail={"excess_fen": verdict.excess_fen, "charged_fen": verdict.charged_fen},
    )  # fmt: skip
    b.discrepancy("over_cap", f"piece:{code}", PLATFORM, facts=[verdict.fact], excess_fen=verdict.excess_fen)


def _close_after_purchase(b: Batch, wanted: Row[Any], order: Row[Any], about: About, *, cause: str, code: str) -> None:
    """Closed, yet bought in good faith: the merchant's stock; the commission of the walk stays (D9)."""
    if b.settings.commission_stays:
        b.ledger.capture_fees(
            wanted.id,
            key=f"walk:{code}",
            about=about,
            zh="关闭前已拿货，跑腿佣金不退",
            en="Commission of the walk stays: it was bought before the close was seen",
        )
    b.ledger.release(wanted.id, key=f"closed:{code}", about=about, zh="关闭退回余额", en="Rest released on close")
    b.set(st.wanted, wanted.id, status="closed")
    settle_order(b, order.id)
    zh, en = CLOSED_BECAUSE[cause]
    fact = about.causes[0] if about.causes else ""
    b.notice(order.merchant, "closed_unseen", f"piece:{code}", fact=fact, because_zh=zh, because_en=en)
    b.discrepancy(
        "closed_unseen", f"piece:{code}", order.merchant, facts=list(about.causes), because_zh=zh, because_en=en
    )


def give_back(b: Batch, wanted: Row[Any], order: Row[Any] | None, key: str, about: About) -> None:
    """Release all that is still held for a want that nobody serves."""
    if order is not None:
        b.ledger.release(wanted.id, key=key, about=about, zh="退回冻结", en="Held money released")
    b.conn.execute(
        update(st.wanted).where(st.wanted.c.id == wanted.id, st.wanted.c.status == "closing").values(status="closed")
    )
    settle_order(b, wanted.order_id)


_OTHER_ATTEMPTS: Final = select(st.task).where(
    st.task.c.wanted == bindparam("wanted_"),
    st.task.c.status.in_(("ready", "out", "asked", "answered")),
    st.task.c.recalled.is_(None),
)
_BOUGHT_FOR: Final = select(st.piece).where(
    st.piece.c.wanted == bindparam("wanted_"), st.piece.c.bought_fact.is_not(None)
)
