"""Labels that no phone explains, adopted: the phone is lost, the bag lies on the table, and its label says what it cost (E29).

A supervisor vouches for the purchase with `piece.adopted`, a fact of the server's own; it is then judged and booked by the rule for every
purchase (R80, D7-D11), once. Should the lost phone speak after all, its own fact joins: the verdict stands, the stall was paid once, the
merchant is charged once, and only what the phone knows better (price, means, who paid) is corrected, as a picker corrects himself (D8, E8).
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Row

from server import commands as c
from server import schema as s
from server import schema_trade as st
from server.authority import purchases
from server.authority.batch import PLATFORM, Batch, body_of, warehouse_document
from server.authority.corrections import correct_price
from server.authority.shelving import verdict_on
from server.ledger import About
from sync_core.errors import RefusedError
from sync_core.facts import PlacedFact, is_server
from trade import kinds
from trade.carry import document_kind
from trade.ids import first_id


def adopt_orphan(b: Batch, command: c.OrphanAdopt) -> dict[str, Any]:
    """Take an unexplained label as its phone's purchase.

    Raises:
        RefusedError: `orphan.unknown`, `orphan.explained`, `orphan.task`, `orphan.price`, `orphan.person`, `orphan.document`.
    """
    piece = b.row(st.piece, command.piece)
    if piece is None or piece.scanned_ms is None:
        raise RefusedError("orphan.unknown", "仓库没有扫过这张标签 / no terminal has scanned this label")
    if piece.bought_fact is not None or piece.outcome != "unexplained":
        raise RefusedError("orphan.explained", "这件的来历已经清楚 / this piece is explained already")
    task = b.row(st.task, command.task or piece.task)
    if task is None:
        raise RefusedError("orphan.task", "标签上没读到任务，请填上 / the label's task was not read: name it")
    price_fen = command.price_fen or piece.price_fen
    if price_fen <= 0:
        raise RefusedError("orphan.price", "标签上没读到价格，请填上 / the label's price was not read: name it")
    phone = int(command.piece[:5])
    body = kinds.PieceAdopted(
        price_fen=price_fen,
        means=kinds.Means(command.means),
        bought_by=phone,
        person=_who_carried(b, phone, command.person),
    )
    document = _where_it_lies(b, command.piece)
    b.say(document, body.about(f"task:{task.id}", f"piece:{command.piece}", task.stall_id))
    b.flush()
    said = b.memory.facts_of(f"piece:{command.piece}", document=document)[document]
    fact = next(
        fact for fact in reversed(said) if fact.kind == kinds.PieceAdopted.KIND and fact.writer == b.server.number
    )
    b.carry_on(document, fact)
    on_adopted(b, document, fact)
    adopted = b.row(st.piece, command.piece)
    assert adopted is not None
    return {"piece": command.piece, "outcome": adopted.outcome, "charged_fen": adopted.charged_fen, "device": phone}


def on_adopted(b: Batch, document: str, fact: PlacedFact) -> None:
    """Judge and book an adopted purchase, once: when the supervisor says so, or when a restored server hears it from a device."""
    body = body_of(fact)
    assert isinstance(body, kinds.PieceAdopted)
    code = first_id(fact.subjects, "piece") or ""
    task = b.row(st.task, first_id(fact.subjects, "task"))
    known = b.row(st.piece, code)
    if task is None or (known is not None and known.bought_fact is not None):
        return
    stall_id = next((subject for subject in fact.subjects if subject.startswith("stall:")), "")
    purchases.keep_piece(
        b, fact, code, task, stall_id, known, price_fen=body.price_fen, means=body.means.value, device=body.bought_by,
        person=body.person,
    )  # fmt: skip
    b.ledger.pay_stall(
        body.price_fen, means=body.means.value, person=body.person, stall_id=stall_id, key=f"paid:{code}",
        about=About(task=task.id, piece=code, causes=tuple(x for x in (f"fact:{fact.id}", b.cause) if x)),
    )  # fmt: skip
    b.settle_discrepancy(f"orphan|piece:{code}", "主管按标签认领 / a supervisor adopted it by its label")
    purchases.decide_purchase(b, document, fact.id, code, task)


def on_bought(b: Batch, document: str, fact: PlacedFact) -> None:
    """A phone says that it bought: a purchase of its own, or the word of a phone that was given up about a piece adopted since."""
    piece = b.row(st.piece, first_id(fact.subjects, "piece"))
    minted_by = int((first_id(fact.subjects, "piece") or "0")[:5])
    own = int(fact.id.partition(".")[0]) == minted_by
    if piece is not None and piece.bought_fact is not None and is_adopted(piece) and own:
        _join(b, document, fact, piece)
    else:
        purchases.on_bought(b, document, fact)


def is_adopted(piece: Row[Any]) -> bool:
    """True while a supervisor's word stands for the phone's: only the server adopts, and a server buys nothing."""
    return piece.bought_fact is not None and is_server(int(piece.bought_fact.partition(".")[0]))


def _join(b: Batch, document: str, fact: PlacedFact, piece: Row[Any]) -> None:
    body = body_of(fact)
    assert isinstance(body, kinds.PieceBought)
    about = About(
        merchant=piece.merchant, order=piece.order_id or "", task=piece.task or "", piece=piece.code,
        causes=(f"fact:{fact.id}",),
    )  # fmt: skip
    if (piece.means, piece.person) != (body.means.value, fact.person):
        for sign, means, person in ((-1, piece.means, piece.person), (1, body.means.value, fact.person)):
            b.ledger.pay_stall(
                sign * piece.price_fen, means=means, person=person, stall_id=piece.stall_id, key=f"joined:{piece.code}:{sign}",
                about=about,
            )  # fmt: skip
    b.set(
        st.piece, piece.code, device=fact.device, person=fact.person, means=body.means.value, bought_ms=fact.at_ms,
        bought_fact=fact.id,
    )  # fmt: skip
    verdict = verdict_on(piece, fact.id)
    order = b.row(st.shop_order, piece.order_id)
    if b.once(document, fact.id, kinds.PurchaseVerdict.KIND, verdict.model_dump(mode="json")):
        warehouse = warehouse_document(order.warehouse) if order is not None and order.warehouse else None
        subjects = (f"task:{first_id(fact.subjects, 'task')}", f"piece:{piece.code}")
        b.say_to([document, warehouse], verdict.about(*subjects))
    if piece.outcome in ("second", "closed_unseen", "closed_seen", "over_cap"):
        b.discrepancy("adopted_spoke", f"piece:{piece.code}", PLATFORM, facts=[fact.id], code=piece.code)
    differs = piece.task != first_id(fact.subjects, "task") or (body.seen_recall and piece.charged_fen > 0)
    if differs:
        b.discrepancy("adopted_differs", f"piece:{piece.code}", PLATFORM, facts=[fact.id], code=piece.code)
    if body.price_fen != piece.price_fen:
        correct_price(b, document, fact, piece.code, body.price_fen, about)


def _who_carried(b: Batch, phone: int, named: str | None) -> str:
    """Return whose float paid: the person named, else the only one who may sign in on that phone."""
    device = b.row(s.device, phone)
    people = json.loads(device.people) if device is not None else []
    if named is None and len(people) == 1:
        return str(people[0])
    known = named is not None and b.row(s.person, named) is not None
    if not known:
        raise RefusedError("orphan.person", "请选谁用的这台手机 / say who carried that phone")
    return str(named)


def _where_it_lies(b: Batch, code: str) -> str:
    """Return the open warehouse document that knows the piece."""
    found = [name for name in b.memory.documents_of([f"piece:{code}"]) if document_kind(name) == "warehouse"]
    if not found:
        raise RefusedError("orphan.document", "没有开着的仓库文档认得这件 / no open warehouse document knows the piece")
    return found[0]
