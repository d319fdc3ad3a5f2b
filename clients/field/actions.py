"""What a picker can do at a stall: one function an action, each one transaction of the replica.

An action checks the rule of `trade`, builds its facts, and commits envelope, rows and print jobs together; when it returns, all of it
is on the disk. Nothing here decides about money: the phone predicts with the same rule as the server and says so.
Amounts are whole fen. Rules R42-R46, R80, D1, D6, D7, D11, D13, E5-E10.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from clients.field.labels import piece_label
from clients.field.tasks import Task, find_task
from clients.runtime.node import Node
from clients.runtime.shown import yuan
from clients.runtime.web import Choice, Question
from sync_core.errors import MalformedError, RefusedError
from sync_core.facts import Fact, Json
from trade import kinds
from trade.calendar import MarketCalendar, business_day, is_day
from trade.piece_code import PieceCode, check_piece_code, mint_piece_code
from trade.pricing import Bounce, Doubt, Quote, judge_pick, looks_wrong

CALENDAR: Final = MarketCalendar()
PIECES_AT_ONCE_MAX: Final = 20
LAST_ACTION: Final = "last_action"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """How the page stood when the person tapped. `recall_shown`: it was under the red band (D11); None when no page was shown."""

    recall_shown: bool | None = None
    late_confirmed: bool = False
    price_confirmed: bool = False


def buy(node: Node, *, tasks: Sequence[str], price_fen: int | None, means: str | None, tap: Tap) -> dict[str, Json]:
    """Buy a piece for each task, at the quote when no price is given; mint the codes and queue the labels.

    Raises:
        Question: the price is above the cap (ask or bounce), looks wrong, or the deadline is past; nothing was done.
        RefusedError: a task is unknown, a colleague's, or was bought already.
    """
    wanted = _open_tasks(node, tasks, verb="buy")
    first = wanted[0]
    paid_fen = price_fen if price_fen is not None else int(first.assigned["quote_fen"])
    ids = ",".join(task.id for task in wanted)
    fields = {"tasks": ids, "price": yuan(paid_fen), **({"means": means} if means else {})}
    _check_price(node, wanted, paid_fen, fields, confirmed=tap.price_confirmed)
    _check_cap(wanted, paid_fen, fields, confirmed=tap.price_confirmed)
    late = [task for task in wanted if task.late]
    if late and not tap.late_confirmed:
        fields = {**fields, "late_shown": "1", "confirm": "1"}
        raise Question("task.late", [Choice(key="buy.paid_late", address="/buy", fields=fields, look="warn")])
    stall = first.place.stall_id
    chosen = kinds.Means(means or default_means(node, stall))
    facts: list[Fact] = []
    codes: list[PieceCode] = []
    with node.replica.transaction():
        for task in wanted:
            code = mint_piece_code(node.number, node.replica.next_serial())
            recalled = task.state["recall"] is not None
            body = kinds.PieceBought(
                price_fen=paid_fen,
                means=chosen,
                late=task.late,
                seen_recall=recalled if tap.recall_shown is None else recalled and tap.recall_shown,
            )
            facts.append(body.about(f"task:{task.id}", f"piece:{code}", stall))
            codes.append(code)
        jobs: list[str] = []

        def also(conn: sqlite3.Connection, ids: tuple[str, ...]) -> None:
            at_ms = node.clock.wall_ms()
            for task, code in zip(wanted, codes, strict=True):
                label = piece_label(code=code, task=task.id, assigned=task.assigned, price_fen=paid_fen)
                jobs.append(
                    node.printers.enqueue(
                        conn, printer="label", template="piece", fields=label, subject=code, copy_no=1, at_ms=at_ms
                    )
                )
            _remember(node, "buy", wanted, ids, codes)
            node.replica.set_setting("last_stall", stall)
            node.replica.set_setting(f"price:{stall}:{first.assigned['style']}", paid_fen)
            node.replica.set_setting("means", {**node.replica.setting("means", {}), stall: chosen.value})

        ids_said = node.act(first.document, facts, also=also)
    return {
        "tasks": [task.id for task in wanted],
        "pieces": [str(code) for code in codes],
        "facts": list(ids_said),
        "jobs": list(jobs),
        "price_fen": paid_fen,
    }


def ask(node: Node, *, tasks: Sequence[str], price_fen: int) -> dict[str, Json]:
    """Ask the merchant about a price above the cap; the question travels when there is a signal (D7, E6)."""
    wanted = _open_tasks(node, tasks, verb="ask")
    _above_cap(wanted[0], price_fen)
    body = kinds.PriceAsked(price_fen=price_fen)
    return _say(node, "ask", wanted, [body.about(f"task:{task.id}") for task in wanted])


def bounce(node: Node, *, tasks: Sequence[str], price_fen: int) -> dict[str, Json]:
    """Send the order back to the merchant because the stall wants more than the cap (R80)."""
    wanted = _open_tasks(node, tasks, verb="bounce")
    _above_cap(wanted[0], price_fen)
    body = kinds.TaskBounced(price_fen=price_fen)
    return _say(node, "bounce", wanted, [body.about(f"task:{task.id}", task.place.stall_id) for task in wanted])


def answer(
    node: Node, *, tasks: Sequence[str], answer: str, on_day: str | None = None, note: str = ""
) -> dict[str, Json]:
    """Say why the stall does not sell it now (D6)."""
    wanted = _open_tasks(node, tasks, verb="answer")
    try:
        word = kinds.Answer(answer)
    except ValueError as error:
        raise MalformedError("form.choice", answer) from error
    if word is kinds.Answer.ON_DAY:
        today = business_day(node.clock.wall_ms(), CALENDAR)
        if on_day is None or not is_day(on_day) or on_day <= today:
            raise RefusedError("answer.day", on_day or "")
    else:
        on_day = None
    body = kinds.TaskAnswered(answer=word, on_day=on_day, note=note)
    return _say(node, "answer", wanted, [body.about(f"task:{task.id}", task.place.stall_id) for task in wanted])


def undo(node: Node, *, task: str | None = None) -> dict[str, Json]:
    """Take back the last action, or the purchase of one task: the tap was a mistake. Labels that are not out are not printed any more.

    Raises:
        RefusedError: there is nothing to undo, or the piece is in the warehouse already.
    """
    last = _purchase_of(node, task) if task is not None else node.replica.setting(LAST_ACTION)
    if not isinstance(last, dict):
        raise RefusedError("undo.nothing", "")
    facts: list[Fact] = []
    for number, task_id in enumerate(last["tasks"]):
        if last["kind"] == "buy":
            piece = last["pieces"][number]
            if _is_scanned_in(node, piece, last["document"]):
                raise RefusedError("undo.in_warehouse", piece)
            facts.append(kinds.PieceUndone(fact=last["facts"][number]).about(f"task:{task_id}", f"piece:{piece}"))
        else:
            facts.append(kinds.AnswerWithdrawn(fact=last["facts"][number]).about(f"task:{task_id}"))

    def also(conn: sqlite3.Connection, _ids: tuple[str, ...]) -> None:
        for piece in last["pieces"]:
            node.printers.cancel(conn, subject=piece)
        node.replica.set_setting(LAST_ACTION, None)

    ids = node.act(last["document"], facts, also=also)
    return {"undone": last["kind"], "tasks": list(last["tasks"]), "pieces": list(last["pieces"]), "facts": list(ids)}


def last_action(node: Node) -> dict[str, Any] | None:
    """Return the last action while it can be undone: not once a piece of it is in the warehouse."""
    last = node.replica.setting(LAST_ACTION)
    if not isinstance(last, dict):
        return None
    return None if any(_is_scanned_in(node, piece, last["document"]) for piece in last["pieces"]) else last


def correct_price(node: Node, *, piece: str, price_fen: int, confirmed: bool) -> dict[str, Json]:
    """Correct the price of a piece that is bought: a new fact, never an edit (E8)."""
    code = check_piece_code(piece)
    document, state = _own_piece(node, code)
    task = find_task(node, state["task"])
    if price_fen == state["price_fen"]:
        raise RefusedError("price.same", yuan(price_fen))
    fields = {"piece": str(code), "price": yuan(price_fen)}
    _check_doubt(node, [task], price_fen, fields, confirmed=confirmed, address="/correct")
    fact = kinds.PriceCorrected(price_fen=price_fen).about(f"task:{task.id}", f"piece:{code}")
    ids = node.act(document, [fact])
    return {"piece": str(code), "price_fen": price_fen, "facts": list(ids)}


def reprint(node: Node, *, piece: str) -> dict[str, Json]:
    """Print another label of the same piece: same code, next copy (E9, E10)."""
    code = check_piece_code(piece)
    document, state = _own_piece(node, code)
    task = find_task(node, state["task"])
    copy_no = max(int(state["copies"]), 1) + 1
    job = ""

    def also(conn: sqlite3.Connection, _ids: tuple[str, ...]) -> None:
        nonlocal job
        label = piece_label(code=code, task=task.id, assigned=task.assigned, price_fen=state["price_fen"])
        job = node.printers.enqueue(
            conn, printer="label", template="piece", fields=label, subject=code, copy_no=copy_no,
            at_ms=node.clock.wall_ms(),
        )  # fmt: skip

    ids = node.act(document, [kinds.LabelReprinted(copy_no=copy_no).about(f"piece:{code}")], also=also)
    return {"piece": str(code), "copy": copy_no, "facts": list(ids), "job": job}


def default_means(node: Node, stall: str) -> str:
    """Return how this stall was paid last, cash at first (D19)."""
    known = node.replica.setting("means", {})
    return str(known.get(stall, kinds.Means.CASH.value))


# --- the checks, each asking the rule -----------------------------------------------------------------------------------


def _open_tasks(node: Node, tasks: Sequence[str], *, verb: str) -> list[Task]:
    if not 1 <= len(tasks) <= PIECES_AT_ONCE_MAX or len(set(tasks)) != len(tasks):
        raise MalformedError("form.tasks", ",".join(tasks)[:80])
    late = node.replica.setting("late_tasks", [])
    found = [find_task(node, task, frozenset(late)) for task in tasks]
    for task in found:
        if not task.mine:
            raise RefusedError("task.not_mine", task.id)
        if task.status == "bought":
            raise RefusedError("task.bought", task.id)
        # A garment that is paid for exists whatever became of the task; an answer to a withdrawn one says nothing (D9).
        if task.state["recall"] is not None and verb != "buy":
            raise RefusedError("task.recalled", task.id)
        if task.status == "ended":
            raise RefusedError("task.ended", task.id)
    if len({(task.document, task.place.stall_id, task.assigned["line"], task.state["cap_fen"]) for task in found}) > 1:
        raise RefusedError("task.not_one_line", ",".join(tasks)[:80])
    return found


def _pad(wanted: Sequence[Task], fields: Mapping[str, str]) -> str:
    """Return the price pad of these tasks with what was keyed: the way back from a question about it."""
    keyed = {name: value for name, value in fields.items() if name in ("price", "means")}
    return f"/task/{wanted[0].id}?{urlencode({**keyed, 'count': len(wanted)})}"


def _check_price(node: Node, wanted: Sequence[Task], paid_fen: int, fields: dict[str, str], *, confirmed: bool) -> None:
    if not 0 < paid_fen <= kinds.PRICE_FEN_MAX:
        raise RefusedError("price.absurd", yuan(paid_fen))
    _check_doubt(node, wanted, paid_fen, fields, confirmed=confirmed, address="/buy")


def _check_doubt(
    node: Node, wanted: Sequence[Task], paid_fen: int, fields: dict[str, str], *, confirmed: bool, address: str
) -> None:
    """Ask about a price that is far from the quote and the last one (E8)."""
    if not 0 < paid_fen <= kinds.PRICE_FEN_MAX:
        raise RefusedError("price.absurd", yuan(paid_fen))
    task = wanted[0]
    doubt = looks_wrong(paid_fen, quote_fen=task.assigned["quote_fen"], last_fen=_last_price(node, task))
    if doubt is None or confirmed:
        return
    raise Question(
        f"price.{doubt.reason}",
        _doubt_choices(doubt, fields, address),
        back=_pad(wanted, fields),
        paid=yuan(paid_fen),
        reference=yuan(doubt.reference_fen),
    )


def _doubt_choices(doubt: Doubt, fields: dict[str, str], address: str) -> list[Choice]:
    choices = []
    if doubt.meant_fen is not None:
        meant = {**fields, "price": yuan(doubt.meant_fen)}
        choices.append(Choice(key="price.meant", address=address, fields=meant, look="go"))
    return [*choices, Choice(key="price.really", address=address, fields={**fields, "confirm": "1"}, look="warn")]


def _check_cap(wanted: Sequence[Task], paid_fen: int, fields: dict[str, str], *, confirmed: bool) -> None:
    """Above the cap the phone does not buy: ask or bounce (E6). An own-shipped order only warns (D20)."""
    first = wanted[0]
    decision = judge_pick(Quote(quote_fen=first.state["cap_fen"]), paid_fen=paid_fen)
    if not isinstance(decision, Bounce):
        return
    parts = {"paid": yuan(paid_fen), "cap": yuan(first.state["cap_fen"]), "over": yuan(decision.over_fen)}
    if not first.assigned["drop_ship"]:
        if confirmed:
            return
        choice = Choice(key="buy.anyway", address="/buy", fields={**fields, "confirm": "1"}, look="warn")
        raise Question("price.above_expected", [choice], back=_pad(wanted, fields), **parts)
    choices = [
        Choice(key="ask.merchant", address="/ask", fields=fields, look="go"),
        Choice(key="bounce.order", address="/bounce", fields=fields, look="warn"),
    ]
    raise Question("price.above_cap", choices, back=_pad(wanted, fields), **parts)


def _above_cap(task: Task, price_fen: int) -> None:
    if not 0 < price_fen <= kinds.PRICE_FEN_MAX:
        raise RefusedError("price.absurd", yuan(price_fen))
    if not isinstance(judge_pick(Quote(quote_fen=task.state["cap_fen"]), paid_fen=price_fen), Bounce):
        raise RefusedError("price.within_cap", yuan(task.state["cap_fen"]))


def _last_price(node: Node, task: Task) -> int | None:
    """Return the last price this device paid for the style at the stall."""
    key = f"price:{task.place.stall_id}:{task.assigned['style']}"
    value = node.replica.setting(key)
    return value if isinstance(value, int) else None


# --- inside -------------------------------------------------------------------------------------------------------------


def _say(node: Node, kind: str, wanted: Sequence[Task], facts: Sequence[Fact]) -> dict[str, Json]:
    def also(_conn: sqlite3.Connection, ids: tuple[str, ...]) -> None:
        _remember(node, kind, wanted, ids, [])
        node.replica.set_setting("last_stall", wanted[0].place.stall_id)

    ids = node.act(wanted[0].document, facts, also=also)
    return {"tasks": [task.id for task in wanted], "facts": list(ids)}


def _remember(node: Node, kind: str, wanted: Sequence[Task], ids: Sequence[str], codes: Sequence[PieceCode]) -> None:
    node.replica.set_setting(
        LAST_ACTION,
        {
            "kind": kind,
            "document": wanted[0].document,
            "tasks": [task.id for task in wanted],
            "facts": list(ids),
            "pieces": [str(code) for code in codes],
            "at_ms": node.clock.wall_ms(),
            "style": wanted[0].assigned["style"],
        },
    )


def _purchase_of(node: Node, task: str) -> dict[str, Any] | None:
    found = find_task(node, task)
    own = [p for p in found.state["purchases"] if p["device"] in node.own_numbers() and not p["undone"]]
    if not own:
        return None
    last = own[-1]
    return {
        "kind": "buy",
        "document": found.document,
        "tasks": [task],
        "facts": [last["fact"]],
        "pieces": [last["piece"]],
    }


def _is_scanned_in(node: Node, piece: str, document: str) -> bool:
    state = node.replica.state(f"piece:{piece}", document) or {}
    return bool(state.get("scans"))


def _own_piece(node: Node, code: PieceCode) -> tuple[str, dict[str, Any]]:
    for document in reversed(node.documents("route")):
        state = node.replica.state(f"piece:{code}", document)
        if state is not None and state["task"] is not None and state["price_fen"] is not None and not state["undone"]:
            return document, state
    raise RefusedError("piece.unknown", code)
