"""Nobody's action vanishes: what did not win is told to its author (I14)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.trade.scene import (
    A1,
    ANNA,
    B1,
    BO,
    DESK,
    DOOR,
    PARCEL,
    SERVER,
    Scene,
    T,
    answered,
    assigned,
    bagged,
    bought,
    drawn,
    inspected,
    packed,
    scanned,
    shipped,
    verdict,
    waybill,
)
from trade import kinds
from trade.inbox import ENTRIES, inbox
from trade.kinds import Answer


def codes(day: Scene, device: int | None) -> list[tuple[str, bool]]:
    subjects = sorted({subject for fact in day.facts for subject in fact.subjects})
    own = None if device is None else {device}
    return [(entry.code, entry.provisional) for entry in inbox([(s, day.state(s)) for s in subjects], own)]


def start() -> Scene:
    day = Scene()
    day.tell_all(day.say(SERVER, assigned()))
    return day


def test_e3_d10_the_second_purchase_is_told_before_and_after_the_verdict() -> None:
    day = start()
    mine, theirs = day.say(ANNA, bought(A1)), day.say(BO, bought(B1))
    assert codes(day, BO) == [("purchase.second", True)]
    day.say(SERVER, verdict(mine, A1, "keeps", keeper=A1), verdict(theirs, B1, "second", keeper=A1))
    assert codes(day, BO) == [("purchase.second", False)]
    assert codes(day, ANNA) == []


@pytest.mark.parametrize("outcome", ["closed_unseen", "closed_seen", "over_cap"])
def test_e1_e2_e7_d11_other_outcomes_are_told(outcome: Any) -> None:
    day = start()
    day.say(SERVER, verdict(day.say(ANNA, bought()), A1, outcome))
    assert codes(day, ANNA) == [(f"purchase.{outcome}", False)]


def test_e11_the_buyer_of_a_swapped_piece_is_told_what_became_of_it_under_the_other_task() -> None:
    day = start()
    mine = day.say(ANNA, bought(A1), bought(B1, task="task:T1002-1"))
    day.tell_all()
    swap = kinds.PiecesSwapped(tasks=["T1002-1", "T1001-1"])
    day.say(DOOR, swap.about(f"piece:{A1}", f"piece:{B1}", "task:T1002-1", T))
    day.tell_all()
    body = kinds.PurchaseVerdict(fact=mine.id, outcome="closed_unseen", owner="M1", charged_fen=6000)
    day.say(SERVER, body.about("task:T1002-1", f"piece:{A1}"))
    assert codes(day, ANNA) == [("purchase.closed_unseen", False)]


def test_e4_an_overruled_answer_is_told_but_not_to_whom_bought_himself() -> None:
    day = start()
    day.say(BO, answered())
    day.say(ANNA, answered(Answer.UNSURE))
    day.say(ANNA, bought())
    assert codes(day, BO) == [("answer.overruled", True)]
    assert codes(day, ANNA) == []


def test_a_withdrawn_answer_has_no_entry() -> None:
    day = start()
    slip = day.say(BO, answered())
    day.say(BO, kinds.AnswerWithdrawn(fact=slip.id).about(T))
    day.say(ANNA, bought())
    assert codes(day, BO) == []


def test_e36_d7_a_stopped_postponement_a_late_answer_and_a_refused_question_are_told() -> None:
    day = start()
    said = day.say(ANNA, answered(Answer.TOMORROW))
    day.say(SERVER, kinds.AnswerVerdict(fact=said.id, outcome="accepted", next="stopped").about(T))
    assert codes(day, ANNA) == [("answer.stopped", False)]
    day = start()
    said = day.say(ANNA, kinds.TaskBounced(price_fen=7000).about(T, "stall:a/b/c"))
    day.say(SERVER, kinds.AnswerVerdict(fact=said.id, outcome="too_late").about(T))
    assert codes(day, ANNA) == [("answer.too_late", False)]
    day = start()
    day.hear(SERVER, day.say(ANNA, kinds.PriceAsked(price_fen=7000).about(T)))
    day.say(SERVER, kinds.AskAnswered(accepted=False, cap_fen=6500).about(T))
    assert codes(day, ANNA) == [("ask.refused", False)]


def test_d14_e21_the_loser_of_a_stock_conflict_is_told_what_to_do_with_his_hands() -> None:
    day = Scene()
    day.tell_all(day.say(DESK, inspected()))
    day.say(DOOR, drawn())
    day.say(DESK, bagged())
    assert codes(day, DOOR) == [("stock.pick_again", True)]
    day.say(DOOR, packed(order="order:O1002", parcel="parcel:P1002"))
    assert (codes(day, DESK), codes(day, DOOR)) == ([("stock.pull_from_bag", True)], [])


def test_e9_e18_repeated_scans_are_told() -> None:
    day = Scene()
    day.say(ANNA, bought())
    day.say(DOOR, scanned())
    day.say(DESK, scanned())
    assert codes(day, DESK) == [("scan.already_in", False)]
    day = Scene()
    day.tell_all(day.say(SERVER, waybill()))
    day.say(DOOR, shipped())
    day.say(DESK, shipped())
    assert codes(day, DESK) == [("parcel.already_shipped", False)]


def test_e16_shipping_under_a_voided_waybill_is_told() -> None:
    day = Scene()
    day.tell_all(day.say(SERVER, waybill()))
    day.say(SERVER, kinds.WaybillVoided(waybill_no="SF9").about(PARCEL))
    day.say(DOOR, shipped())
    assert codes(day, None) == [("parcel.shipped_voided", False)]


def test_i12_the_second_purchase_of_one_code_is_told() -> None:
    day = Scene()
    day.say(ANNA, bought())
    day.say(ANNA, bought(task="task:T1002-1"))
    assert ("purchase.same_code", False) in codes(day, ANNA)


def test_every_entry_has_its_words() -> None:
    assert all(words.zh and words.en for words in ENTRIES.values())
    day = start()
    day.say(SERVER, verdict(day.say(ANNA, bought()), A1, "closed_seen"))
    [entry] = inbox([(T, day.task())])
    assert (entry.zh, entry.en) == (ENTRIES[entry.code].zh, ENTRIES[entry.code].en)
    assert (entry.device, entry.person, entry.subject) == (ANNA, "anna", T)


def test_an_unknown_subject_has_no_entries() -> None:
    assert inbox([("boat:1", {}), ("stall:a/b/c", {"answers": []})]) == []


def test_the_same_number_of_two_documents_is_two_entries_and_of_one_subject_in_two_documents_one() -> None:
    first, second = start(), start()
    for day in (first, second):
        day.say(ANNA, bought())
        day.say(BO, bought(B1))
    other = second.task()
    entries = inbox([(T, first.task()), (T, first.task()), ("task:T1002-1", other)], {BO})
    assert len({entry.fact for entry in entries}) == 1
    assert len({entry.key for entry in entries}) == len(entries) == 2
