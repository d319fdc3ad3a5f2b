"""The fold of a task: purchases, answers, bounces, recalls, and who keeps what."""

from __future__ import annotations

import pytest

from tests.unit.trade.scene import (
    A1,
    A2,
    ANNA,
    B1,
    BO,
    DOOR,
    SERVER,
    Scene,
    T,
    answered,
    assigned,
    bought,
    drawn,
    recalled,
    verdict,
)  # fmt: skip
from trade import kinds
from trade.kinds import Answer


def scene() -> Scene:
    start = Scene()
    start.tell_all(start.say(SERVER, assigned()))
    return start


def test_r40_an_assigned_task_is_wanted() -> None:
    state = scene().task()
    assert state["status"] == "wanted"
    assert state["assigned"]["style"] == "8821#"
    assert (state["cap_fen"], state["keeper"], state["provisional"]) == (6500, None, False)


def test_r43_a_purchase_serves_its_task_until_a_verdict_says_so_for_good() -> None:
    day = scene()
    purchase = day.say(ANNA, bought(price_fen=4850, late=True))
    state = day.task()
    assert (state["status"], state["keeper"], state["provisional"]) == ("bought", A1, True)
    assert state["purchases"][0] == {
        "fact": purchase.id, "device": ANNA, "person": "anna", "at_ms": 1_000, "piece": A1, "price_fen": 4850,
        "means": "cash", "late": True, "seen_recall": False, "override": False, "undone": False, "outcome": None,
    }  # fmt: skip
    day.say(SERVER, verdict(purchase, A1, "keeps", keeper=A1))
    assert (day.task()["keeper"], day.task()["provisional"]) == (A1, False)


def test_d10_the_assigned_device_keeps_it_before_any_other() -> None:
    day = scene()
    day.say(BO, bought(B1))
    day.say(ANNA, bought(A1))
    assert day.task()["keeper"] == A1


def test_d10_without_an_assigned_device_the_earlier_by_knowledge_keeps_it() -> None:
    day = Scene()
    day.tell_all(day.say(SERVER, assigned(to=None)))
    first = day.say(BO, bought(B1), at_ms=9_999)
    day.hear(ANNA, first)
    day.say(ANNA, bought(A1), at_ms=1)
    assert day.task()["keeper"] == B1


def test_d10_neither_knew_the_lower_fact_id_keeps_it_in_numeric_order() -> None:
    day = Scene()
    day.tell_all(day.say(SERVER, assigned(to=None)))
    for _ in range(9):
        day.say(ANNA, kinds.RecallSeen().about("task:other"))
    day.say(ANNA, bought(A1))
    assert day.facts[-1].id == "101.10.0"
    day.say(ANNA, bought(A2))
    day.say(BO, bought(B1))
    assert day.task()["keeper"] == A1


def test_d10_a_verdict_stands_whatever_comes_later() -> None:
    day = scene()
    theirs = day.say(BO, bought(B1))
    day.say(SERVER, verdict(theirs, B1, "keeps", keeper=B1))
    day.say(ANNA, bought(A1))
    state = day.task()
    assert (state["keeper"], state["provisional"]) == (B1, False)


def test_e3_the_second_piece_does_not_serve_the_task() -> None:
    day = scene()
    mine, theirs = day.say(ANNA, bought(A1)), day.say(BO, bought(B1))
    day.say(SERVER, verdict(mine, A1, "keeps", keeper=A1), verdict(theirs, B1, "second", keeper=A1))
    state = day.task()
    assert [purchase["outcome"] for purchase in state["purchases"]] == ["keeps", "second"]
    assert state["keeper"] == A1


@pytest.mark.parametrize("answer_first", [True, False])
def test_e4_bought_beats_answered_whoever_spoke_first(answer_first: bool) -> None:
    day = scene()
    if answer_first:
        day.hear(ANNA, day.say(BO, answered()))
        day.say(ANNA, bought())
    else:
        day.hear(BO, day.say(ANNA, bought()))
        day.say(BO, answered())
    state = day.task()
    assert (state["status"], state["keeper"]) == ("bought", A1)
    assert state["answer"]["answer"] == "out_of_stock", "kept as an observation"
    assert state["answer"]["outcome"] == "overruled"


def test_r46_a_withdrawn_answer_opens_the_task_again() -> None:
    day = scene()
    slip = day.say(ANNA, answered(Answer.STYLE_GONE))
    assert day.task()["status"] == "answered"
    day.say(ANNA, kinds.AnswerWithdrawn(fact=slip.id).about(T))
    assert (day.task()["status"], day.task()["answer"]) == ("wanted", None)


def test_d6_a_stopped_answer_ends_the_task() -> None:
    day = scene()
    said = day.say(ANNA, answered(Answer.TOMORROW))
    day.say(SERVER, kinds.AnswerVerdict(fact=said.id, outcome="accepted", next="stopped").about(T))
    assert day.task()["status"] == "ended"


def test_r80_a_bounce_and_a_question_have_their_words() -> None:
    day = scene()
    day.hear(SERVER, day.say(ANNA, kinds.PriceAsked(price_fen=7000).about(T)))
    assert day.task()["status"] == "asked"
    day.tell_all(day.say(SERVER, kinds.AskAnswered(accepted=True, cap_fen=7000).about(T)))
    assert (day.task()["status"], day.task()["cap_fen"]) == ("wanted", 7000)
    day.say(ANNA, kinds.TaskBounced(price_fen=7200).about(T, "stall:a/b/c"))
    assert (day.task()["status"], day.task()["bounced"]["price_fen"]) == ("bounced", 7200)


def test_d7_a_refused_question_bounces() -> None:
    day = scene()
    day.hear(SERVER, day.say(ANNA, kinds.PriceAsked(price_fen=7000).about(T)))
    day.say(SERVER, kinds.AskAnswered(accepted=False, cap_fen=6500).about(T))
    assert (day.task()["status"], day.task()["cap_fen"]) == ("bounced", 6500)


@pytest.mark.parametrize("bought_first", [True, False])
def test_e1_e2_a_purchase_under_a_recall_stands_until_the_verdict(bought_first: bool) -> None:
    day = scene()
    if bought_first:
        purchase = day.say(ANNA, bought())
        day.say(SERVER, recalled())
    else:
        day.say(SERVER, recalled())
        purchase = day.say(ANNA, bought())
    state = day.task()
    assert (state["status"], state["keeper"], state["recall"]["reason"]) == ("bought", A1, "closed")
    day.say(SERVER, verdict(purchase, A1, "closed_unseen"))
    state = day.task()
    assert (state["status"], state["keeper"]) == ("recalled", None)
    assert state["purchases"][0]["outcome"] == "closed_unseen"


def test_d11_a_recall_is_seen_when_the_phone_says_so() -> None:
    day = scene()
    day.hear(ANNA, day.say(SERVER, recalled()))
    assert day.task()["recall_seen"] is False
    day.say(ANNA, kinds.RecallSeen().about(T))
    assert (day.task()["status"], day.task()["recall_seen"]) == ("recalled", True)


def test_an_undone_purchase_opens_the_task_again_and_only_its_buyer_may_undo_it() -> None:
    day = scene()
    purchase = day.say(ANNA, bought())
    undo = kinds.PieceUndone(fact=purchase.id).about(T, f"piece:{A1}")
    day.say(BO, undo)
    assert day.task()["status"] == "bought"
    day.say(ANNA, undo)
    assert (day.task()["status"], day.task()["keeper"]) == ("wanted", None)


def test_an_undone_keeper_makes_room_for_the_other_purchase() -> None:
    day = scene()
    purchase = day.say(ANNA, bought(A1))
    day.say(BO, bought(B1))
    day.say(ANNA, kinds.PieceUndone(fact=purchase.id).about(T, f"piece:{A1}"))
    assert (day.task()["keeper"], day.task()["provisional"]) == (B1, True)


def test_e8_a_corrected_price_replaces_the_keyed_one() -> None:
    day = scene()
    day.say(ANNA, bought(price_fen=5000))
    day.say(ANNA, kinds.PriceCorrected(price_fen=500).about(T, f"piece:{A1}"))
    assert day.task()["purchases"][0]["price_fen"] == 500


def test_e5_of_three_tasks_two_bought_leave_one_open() -> None:
    day = Scene()
    tasks = [f"task:T7-{number}" for number in (1, 2, 3)]
    for number, task in enumerate(tasks, start=1):
        day.say(SERVER, assigned(task=task, order="order:O7", piece_no=number, order_pieces=3))
    day.tell_all()
    day.say(ANNA, bought(A1, task=tasks[0]), bought(A2, task=tasks[1]), answered(task=tasks[2]))
    assert [day.task(task)["status"] for task in tasks] == ["bought", "bought", "answered"]


def test_e11_after_a_swap_each_task_is_served_by_the_other_piece() -> None:
    day = Scene()
    other = "task:T1002-1"
    day.say(SERVER, assigned(), assigned(task=other, order="order:O1002"))
    day.tell_all()
    day.say(ANNA, bought(A1), bought(A2, task=other))
    day.tell_all()
    swap = kinds.PiecesSwapped(tasks=["T1002-1", "T1001-1"])
    day.say(DOOR, swap.about(f"piece:{A1}", f"piece:{A2}", other, T))
    assert (day.task(T)["keeper"], day.task(other)["keeper"]) == (A2, A1)


def test_r34_a_task_served_from_stock_is_bought_by_its_draw() -> None:
    day = Scene()
    day.tell_all(day.say(SERVER, assigned(source="stock", piece=B1, to=None)))
    draw = day.say(DOOR, drawn(B1, task=T, order="order:O1001"))
    assert (day.task()["status"], day.task()["keeper"], day.task()["provisional"]) == ("bought", B1, False)
    lost = kinds.StockVerdict(fact=draw.id, winner="bag", todo="pick_again")
    day.say(SERVER, lost.about(f"piece:{B1}", T))
    assert (day.task()["status"], day.task()["keeper"]) == ("wanted", None)


def test_r34_a_recall_that_names_the_drawn_piece_gives_it_back_and_one_that_does_not_leaves_it() -> None:
    day = Scene()
    day.tell_all(day.say(SERVER, assigned(source="stock", piece=B1, to=None)))
    day.say(DOOR, drawn(B1, task=T, order="order:O1001"))
    day.tell_all()
    day.say(SERVER, recalled("reassigned"))
    assert day.task()["keeper"] == B1, "it was drawn by who had not heard, for an order that wants it still"
    day.say(SERVER, kinds.TaskRecalled(reason="reassigned").about(T, f"piece:{B1}"))
    assert (day.task()["keeper"], day.task()["status"]) == (None, "recalled")
