"""What counts and what is void; the vocabulary's own promises."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

import pytest

from sync_core.facts import Fact
from tests.unit.trade.scene import A1, ANNA, DOOR, SERVER, STALL, Scene, T, assigned, bought, scanned
from trade import kinds, words
from trade.pieces import PLACES
from trade.projections import MARKET_DAY, NEWER, VOID_CODES


def reason(device: int, fact: Fact, **change: Any) -> str | None:
    placed = Scene().say(device, fact)
    return MARKET_DAY.judge_void(dataclasses.replace(placed, **change))


def test_what_the_right_person_says_rightly_counts() -> None:
    assert reason(ANNA, bought()) is None
    assert reason(SERVER, assigned()) is None
    assert reason(DOOR, scanned()) is None


@pytest.mark.parametrize(
    ("device", "fact", "code"),
    [
        (ANNA, Fact(kind="piece.eaten", subjects=(T,)), "void.kind"),
        (DOOR, bought(), "void.role"),
        (ANNA, assigned(), "void.role"),
        (ANNA, scanned(), "void.role"),
        (
            ANNA,
            Fact(kind="piece.bought", subjects=(T, f"piece:{A1}"), body={"price_fen": 1, "means": "cash"}),
            "void.subjects",
        ),
        (ANNA, Fact(kind="piece.bought", subjects=(f"piece:{A1}", T, STALL), body=bought().body), "void.subjects"),
        (ANNA, Fact(kind="piece.bought", subjects=(T, f"piece:{A1}", STALL), body={"means": "cash"}), "void.body"),
        (
            ANNA,
            Fact(kind="piece.bought", subjects=(T, f"piece:{A1}", STALL), body={"price_fen": 0, "means": "cash"}),
            "void.body",
        ),
        (
            ANNA,
            Fact(kind="piece.bought", subjects=(T, f"piece:{A1}", STALL), body={"price_fen": True, "means": "cash"}),
            "void.body",
        ),
        (
            ANNA,
            Fact(kind="piece.bought", subjects=(T, f"piece:{A1}", STALL), body={"price_fen": 9, "means": "gold"}),
            "void.body",
        ),
    ],
)
def test_what_may_not_be_said_is_void_and_says_why(device: int, fact: Fact, code: str) -> None:
    assert code in VOID_CODES
    assert reason(device, fact) == code


def test_a_stranger_says_nothing_that_counts() -> None:
    assert reason(ANNA, bought(), role="") == "void.role"


def test_a_newer_schema_waits_for_the_upgrade_instead_of_being_void() -> None:
    newer = kinds.SCHEMA + 1
    assert reason(ANNA, Fact(kind="piece.eaten", subjects=(T,)), schema=newer) == NEWER
    odd = Fact(kind="piece.bought", subjects=(T, f"piece:{A1}", STALL), body={"price_fen": 9, "means": "gold"})
    assert reason(ANNA, odd, schema=newer) == NEWER
    assert reason(ANNA, bought(), schema=newer) is None
    assert reason(DOOR, bought(), schema=newer) == "void.role"


def test_fields_of_a_newer_minor_version_are_passed_over() -> None:
    fact = bought()
    assert reason(ANNA, Fact(kind=fact.kind, subjects=fact.subjects, body={**fact.body, "mood": "good"})) is None


def test_a_void_purchase_buys_nothing() -> None:
    day = Scene()
    day.tell_all(day.say(SERVER, assigned()))
    day.say(DOOR, bought())
    assert (day.task()["status"], day.piece()["place"]) == ("wanted", "wanted")


def test_every_kind_names_who_says_it_about_what() -> None:
    assert len(kinds.BY_KIND) == len(kinds.ALL_KINDS)
    for kind in kinds.ALL_KINDS:
        assert kind.SAID_BY
        assert kind.SUBJECTS
        assert kind.__doc__
        assert kind.KIND.count(".") == 1
        assert isinstance(kind.STEP, kinds.Step)
        is_verdict = kind.KIND.startswith("verdict.")
        assert not is_verdict or (kind.STEP is kinds.Step.VERDICT and {kinds.Role.SERVER} == kind.SAID_BY)


def test_a_subject_of_another_trade_has_no_state() -> None:
    assert MARKET_DAY.fold("boat:1", []) == {}


def literals(kind: type[kinds.FactBody], name: str) -> set[str]:
    return set(typing.get_args(kind.model_fields[name].annotation))


def test_every_closed_word_has_its_chinese_and_its_english() -> None:
    assert set(words.ANSWERS) == {answer.value for answer in kinds.Answer}
    assert set(words.MEANS) == {means.value for means in kinds.Means}
    assert set(words.PLACES) == set(PLACES)
    assert set(words.RECALLS) == literals(kinds.TaskRecalled, "reason")
    assert set(words.REFUSALS) == literals(kinds.PieceRefused, "reason")
    assert set(words.REFUSED_THEN) == literals(kinds.PieceRefused, "then")
    assert set(words.PENDING_ENDS) == literals(kinds.PendingEnded, "outcome")
    assert set(words.PARCEL_HOLDS) == literals(kinds.ParcelHeld, "reason")
    assert set(words.NEXT) == literals(kinds.AnswerVerdict, "next")
    outcomes = [literals(kind, "outcome") for kind in (kinds.PurchaseVerdict, kinds.AnswerVerdict, kinds.RefundVerdict)]
    assert set(words.OUTCOMES) == set().union(*outcomes)
    assert set(words.VOIDS) == {*VOID_CODES, NEWER}


def test_a_word_of_a_newer_version_is_shown_as_it_is() -> None:
    assert words.say(words.ANSWERS, "tomorrow") == "明天有货"
    assert words.say(words.ANSWERS, "tomorrow", "en") == "tomorrow"
    assert words.say(words.PLACES, "on_the_moon", "en") == "on_the_moon"
    assert words.say(words.PLACES, None) == ""
