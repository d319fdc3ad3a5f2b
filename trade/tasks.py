"""Fold a task: one wanted piece, from its assignment to the purchase, answer, bounce or recall that ended it.

Several phones may buy one wanted piece without knowing of each other. Until a verdict names the keeper every node ranks the
purchases alike and shows its answer as provisional (D10). Bought beats answered (E4); a recall never undoes a purchase (E1).
Pure and total. Amounts are whole fen. Rules R40-R43, R46, R49, R80, D1, D7, D9-D11, E1-E6, E11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sync_core.facts import PlacedFact
from trade import kinds
from trade.conflicts import Purchase, known_pairs, rank_purchases
from trade.ids import bare_id, first_id
from trade.reading import State, dump, read_body, said

KEEPING = frozenset({"keeps", "over_cap"})
"""Outcomes of a purchase that serves its order."""
LOSING = frozenset({"second", "closed_unseen", "closed_seen", "undone"})

Spoken = Sequence[tuple[PlacedFact, kinds.FactBody]]
"""The facts that can be read, each with its body, in folded order."""


def new_task() -> State:
    """Return the state of a task nothing is known about."""
    return {
        "status": "wanted",
        "assigned": {},
        "cap_fen": 0,
        "purchases": [],
        "keeper": None,
        "provisional": False,
        "answer": None,
        "answers": [],
        "asked": None,
        "bounced": None,
        "recall": None,
        "recall_seen": False,
        "drawn": None,
        "verdicts": [],
    }


def fold_task(subject: str, facts: Sequence[PlacedFact]) -> State:
    """Return the state of one task from its facts in folded order.

    `purchases` are all that were said, each with its `outcome` once a verdict stands; `keeper` is the code of the piece that
    serves the task; `provisional` is True while only ranking says so.
    """
    task = bare_id(subject)
    state = new_task()
    spoken = [(fact, body) for fact in facts if (body := read_body(fact)) is not None]
    for fact, body in spoken:
        _apply(state, fact, body)
    joined = _join_adopted(state, spoken)
    _correct_purchases(state, spoken)
    _choose_keeper(state, spoken, joined)
    _apply_swap(state, task, spoken)
    _judge_answers(state)
    state["status"] = _status(state)
    return state


def _apply(state: State, fact: PlacedFact, body: kinds.FactBody) -> None:
    match body:
        case kinds.TaskAssigned():
            state["assigned"] = dump(body)
            state["cap_fen"] = max(body.cap_fen, state["cap_fen"])
        case kinds.TaskRecalled():
            state["recall"] = {"reason": body.reason, "note": body.note, "fact": fact.id}
            drawn = state["drawn"]
            if drawn is not None and drawn["piece"] == first_id(fact.subjects, "piece"):
                state["drawn"] = None  # Another serves the want, or nobody wants it: the piece lies in the stock again.
        case kinds.AskAnswered():
            if state["asked"] is not None:
                state["asked"]["accepted"] = body.accepted
            if body.accepted:
                state["cap_fen"] = max(body.cap_fen, state["cap_fen"])
        case kinds.PieceBought():
            state["purchases"].append(_purchase(fact, body))
        case kinds.PieceAdopted():
            state["purchases"].append(_adopted(fact, body))
        case kinds.PieceDrawn():
            state["drawn"] = {**said(fact), "piece": first_id(fact.subjects, "piece")}
        case kinds.StockVerdict():
            if state["drawn"] is not None and state["drawn"]["fact"] == body.fact:
                state["drawn"] = None
            state["verdicts"].append(_verdict(fact, body))
        case kinds.PurchaseVerdict() | kinds.AnswerVerdict():
            state["verdicts"].append(_verdict(fact, body))
        case _:
            _apply_answer(state, fact, body)


def _apply_answer(state: State, fact: PlacedFact, body: kinds.FactBody) -> None:
    match body:
        case kinds.TaskAnswered():
            answer = {**said(fact), "answer": body.answer.value, "on_day": body.on_day, "note": body.note}
            state["answers"].append({**answer, "withdrawn": False, "outcome": None, "next": None})
            state["asked"] = state["bounced"] = None
        case kinds.AnswerWithdrawn():
            for answer in state["answers"]:
                same = answer["device"] == fact.device or answer["person"] == fact.person
                if answer["fact"] == body.fact and same:
                    answer["withdrawn"] = True
            for word in ("asked", "bounced"):
                if state[word] is not None and state[word]["fact"] == body.fact:
                    state[word] = None
        case kinds.PriceAsked():
            state["asked"] = {**said(fact), "price_fen": body.price_fen, "accepted": None}
        case kinds.TaskBounced():
            state["bounced"] = {**said(fact), "price_fen": body.price_fen, "outcome": None, "next": None}
            state["asked"] = None
        case kinds.RecallSeen():
            state["recall_seen"] = True
        case _:
            pass


def _purchase(fact: PlacedFact, body: kinds.PieceBought) -> State:
    return {
        **said(fact),
        "piece": first_id(fact.subjects, "piece"),
        "price_fen": body.price_fen,
        "means": body.means.value,
        "late": body.late,
        "seen_recall": body.seen_recall,
        "override": body.override,
        "undone": False,
        "outcome": None,
    }


def _adopted(fact: PlacedFact, body: kinds.PieceAdopted) -> State:
    """The purchase of a lost phone, as a supervisor vouches for it (E29)."""
    said_by = {**said(fact), "device": body.bought_by, "person": body.person}
    return {
        **said_by, "piece": first_id(fact.subjects, "piece"), "price_fen": body.price_fen, "means": body.means.value,
        "late": False, "seen_recall": False, "override": False, "undone": False, "outcome": None,
    }  # fmt: skip


def _join_adopted(state: State, spoken: Spoken) -> dict[str, str]:
    """Drop the adoption of a piece whose phone was heard after all; returns {its fact: the phone's own}, whose verdict it shares."""
    adopted = {fact.id for fact, body in spoken if isinstance(body, kinds.PieceAdopted)}
    if not adopted:
        return {}
    own = {p["piece"]: p["fact"] for p in state["purchases"] if p["fact"] not in adopted}
    joined = {p["fact"]: own[p["piece"]] for p in state["purchases"] if p["fact"] in adopted and p["piece"] in own}
    state["purchases"] = [p for p in state["purchases"] if p["fact"] not in joined]
    return joined


def _correct_purchases(state: State, spoken: Spoken) -> None:
    """Apply undos and corrected prices to the purchases they speak of; only the buyer takes his purchase back, or corrects it."""
    for fact, body in spoken:
        match body:
            case kinds.PieceUndone(fact=bought):
                for purchase in state["purchases"]:
                    same = fact.device == purchase["device"] or fact.person == purchase["person"]
                    if purchase["fact"] == bought and same:
                        purchase["undone"] = True
            case kinds.PriceCorrected(price_fen=price_fen):
                piece = first_id(fact.subjects, "piece")
                for purchase in state["purchases"]:
                    same = fact.device == purchase["device"] or fact.person == purchase["person"]
                    if purchase["piece"] == piece and same:
                        purchase["price_fen"] = price_fen
            case _:
                pass


def _verdict(fact: PlacedFact, body: kinds.PurchaseVerdict | kinds.AnswerVerdict | kinds.StockVerdict) -> State:
    return {**dump(body), "kind": fact.kind, "fact": fact.id, "about": body.fact}


def _choose_keeper(state: State, spoken: Spoken, joined: Mapping[str, str]) -> None:
    """Set outcomes, keeper and provisional: the verdict's word, else the stock's piece, else the ranking (D10)."""
    outcomes: dict[str, str] = {}
    for verdict in state["verdicts"]:
        about = joined.get(verdict["about"], verdict["about"])
        if verdict["kind"] == kinds.PurchaseVerdict.KIND and outcomes.get(about) not in LOSING:
            outcomes[about] = verdict["outcome"]
    living = []
    for purchase in state["purchases"]:
        purchase["outcome"] = outcomes.get(purchase["fact"])
        if purchase["outcome"] == "undone":
            purchase["undone"] = True
        if not purchase["undone"] and purchase["outcome"] not in LOSING:
            living.append(purchase)
    kept = next((purchase["piece"] for purchase in living if purchase["outcome"] in KEEPING), None)
    if kept is not None:
        state["keeper"], state["provisional"] = kept, False
        return
    if state["drawn"] is not None:
        state["keeper"], state["provisional"] = state["drawn"]["piece"], False
        return
    if len(living) > 1:
        bought = [fact for fact, body in spoken if isinstance(body, kinds.PieceBought)]
        ranked = rank_purchases([_claim(state, purchase) for purchase in living], known_pairs(bought))
        state["keeper"], state["provisional"] = ranked[0].piece, True
    elif living:
        state["keeper"], state["provisional"] = living[0]["piece"], True


def _claim(state: State, purchase: State) -> Purchase:
    return Purchase(
        fact=purchase["fact"],
        piece=purchase["piece"],
        device=purchase["device"],
        price_fen=purchase["price_fen"],
        assigned=state["assigned"].get("assigned_to") in (None, purchase["device"]),
    )


def _apply_swap(state: State, task: str, spoken: Spoken) -> None:
    """Two bags carry each other's label: the piece that serves the task is the one the last swap says (E11)."""
    for fact, body in spoken:
        if isinstance(body, kinds.PiecesSwapped) and task in body.tasks:
            pieces = [bare_id(subject) for subject in fact.subjects[:2]]
            state["keeper"] = pieces[body.tasks.index(task)]


def _judge_answers(state: State) -> None:
    """Give every answer its outcome: a verdict's, else overruled as soon as a piece serves the task (E4)."""
    outcomes: dict[str, Any] = {
        verdict["about"]: verdict for verdict in state["verdicts"] if verdict["kind"] == kinds.AnswerVerdict.KIND
    }
    spoken = [*state["answers"], *([state["bounced"]] if state["bounced"] else [])]
    for answer in spoken:
        verdict = outcomes.get(answer["fact"])
        if verdict is not None:
            answer["outcome"], answer["next"] = verdict["outcome"], verdict["next"]
            if verdict["on_day"] is not None:
                answer["comes_back_on"] = verdict["on_day"]
        elif state["keeper"] is not None and not answer.get("withdrawn"):
            answer["outcome"] = "overruled"
    standing = [answer for answer in state["answers"] if not answer["withdrawn"]]
    state["answer"] = standing[-1] if standing else None


def _status(state: State) -> str:
    """One word of wanted, asked, bought, answered, bounced, recalled, ended."""
    if state["keeper"] is not None:
        return "bought"
    if state["recall"] is not None:
        return "recalled"
    if any(purchase["outcome"] in ("second", "closed_unseen", "closed_seen") for purchase in state["purchases"]):
        return "ended"
    last = state["bounced"] or state["answer"]
    if last is not None and last["next"] == "stopped":
        return "ended"
    if state["asked"] is not None:
        return {None: "asked", True: "wanted", False: "bounced"}[state["asked"]["accepted"]]
    if state["bounced"] is not None:
        return "bounced"
    return "answered" if state["answer"] is not None else "wanted"
