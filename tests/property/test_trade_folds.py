"""Folds of the trade under any order of arrival, any clock, any knowledge, and any nonsense that can be decoded."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sync_core.facts import Admission, Envelope, Fact, PlacedFact, carry, place
from sync_core.fold import fold_subject
from sync_core.payload import decode_payload, encode_payload
from tests.unit.trade.scene import (
    A1,
    A2,
    ANNA,
    B1,
    BO,
    DESK,
    DOOR,
    PARCEL,
    ROLES,
    RUNNER,
    SERVER,
    STALL,
    Scene,
    T,
    answered,
    assigned,
    bagged,
    bought,
    drawn,
    inspected,
    packed,
    qr,
    recalled,
    scanned,
    shipped,
    verdict,
    waybill,
)  # fmt: skip
from trade import kinds
from trade.inbox import inbox
from trade.kinds import Answer
from trade.parcels import view_order
from trade.pieces import PLACES, fold_piece
from trade.projections import MARKET_DAY

PIECES = (A1, A2, B1)
T2 = "task:T1001-2"
piece_codes = st.sampled_from(PIECES)
tasks = st.sampled_from((T, T2))
pickers = st.sampled_from((ANNA, BO))
terminals = st.sampled_from((DOOR, DESK))
outcomes = st.sampled_from(("keeps", "second", "closed_unseen", "closed_seen", "over_cap", "undone"))


@st.composite
def said(draw: st.DrawFn, day: Scene) -> tuple[int, Fact]:
    """Something that somebody might do next; he need not know what the others did."""
    piece, task, order = draw(piece_codes), draw(tasks), draw(st.sampled_from(("order:O1001", "order:O1002")))
    earlier = draw(st.sampled_from(day.facts)) if day.facts else None
    about = earlier.id if earlier is not None else "101.1.0"
    subject = f"piece:{piece}"
    choices: list[tuple[int, Fact]] = [
        (SERVER, assigned(task=task, to=draw(st.sampled_from((None, ANNA, BO))))),
        (SERVER, recalled(draw(st.sampled_from(("closed", "reassigned"))), task=task)),
        (SERVER, kinds.OrderClosed().about(order)),
        (SERVER, kinds.RefundAsked(withdrawn=draw(st.booleans())).about(order)),
        (SERVER, waybill(draw(st.sampled_from(("SF8", "SF9"))), order=order)),
        (SERVER, kinds.WaybillVoided(waybill_no="SF9").about(PARCEL)),
        (
            SERVER,
            kinds.StockVerdict(fact=about, winner=draw(st.sampled_from(("bag", "parcel"))), todo="none").about(
                subject, task
            ),
        ),
        (SERVER, kinds.AskAnswered(accepted=draw(st.booleans()), cap_fen=7000).about(task)),
        (
            draw(pickers),
            bought(piece, task=task, price_fen=draw(st.integers(1, 9000)), seen_recall=draw(st.booleans())),
        ),
        (draw(pickers), kinds.PieceUndone(fact=about).about(task, subject)),
        (draw(pickers), kinds.PriceCorrected(price_fen=draw(st.integers(1, 9000))).about(task, subject)),
        (draw(pickers), answered(draw(st.sampled_from(Answer)), task=task)),
        (draw(pickers), kinds.PriceAsked(price_fen=7000).about(task)),
        (draw(pickers), kinds.TaskBounced(price_fen=7000).about(task, STALL)),
        (draw(pickers), kinds.AnswerWithdrawn(fact=about).about(task)),
        (draw(pickers), kinds.RecallSeen().about(task)),
        (
            draw(terminals),
            scanned(piece, cell=draw(st.sampled_from((None, "A3"))), qr=draw(st.sampled_from((None, qr())))),
        ),
        (draw(terminals), drawn(piece, task=task, order=order)),
        (draw(terminals), packed(piece, order=order)),
        (draw(terminals), shipped(piece, order=order)),
        (draw(terminals), inspected(piece, passed=draw(st.booleans()))),
        (draw(terminals), bagged(piece)),
        (draw(terminals), kinds.PieceBroughtBack().about(subject)),
        (draw(terminals), kinds.ReturnReceived(courier_no="SF1", matched=True).about("return:SF1", subject)),
        (RUNNER, kinds.PieceRefunded(received_fen=5000, means=kinds.Means.CASH).about(subject, STALL)),
        (RUNNER, kinds.PieceRefused(reason="smell", then="left_at_stall").about(subject, STALL)),
    ]
    if earlier is not None:
        choices.append((SERVER, verdict(earlier, piece, draw(outcomes), task=task, keeper=piece)))
        swap = kinds.PiecesSwapped(tasks=["T1001-2", "T1001-1"])
        choices.append((DOOR, swap.about(f"piece:{A1}", f"piece:{A2}", T2, T)))
    return draw(st.sampled_from(choices))


@st.composite
def market_days(draw: st.DrawFn) -> Scene:
    """A day in one document: up to 14 actions, each of somebody who heard some of the earlier ones, with a clock of his own."""
    day = Scene()
    for _ in range(draw(st.integers(1, 14))):
        device, fact = draw(said(day))
        heard = draw(st.lists(st.sampled_from(day.facts), max_size=4)) if day.facts else []
        if heard:
            day.hear(device, *heard)
        day.say(device, fact, at_ms=draw(st.integers(-(10**12), 10**12)))
    return day


def all_states(facts: list[PlacedFact]) -> dict[str, Any]:
    subjects = {subject for fact in facts for subject in fact.subjects}
    return {s: fold_subject(MARKET_DAY, s, [fact for fact in facts if s in fact.subjects]) for s in sorted(subjects)}


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if not key.endswith("at_ms")}
    return [without_times(inner) for inner in value] if isinstance(value, list) else value


@settings(max_examples=70)
@given(day=market_days(), data=st.data())
def test_i10_e40_any_order_of_arrival_and_any_repetition_gives_the_same_rows(day: Scene, data: st.DataObject) -> None:
    again = data.draw(st.lists(st.sampled_from(day.facts), max_size=5))
    arrived = data.draw(st.permutations([*day.facts, *again]))
    assert all_states(arrived) == all_states(day.facts)


@settings(max_examples=60)
@given(day=market_days(), data=st.data())
def test_e28_clocks_change_nothing_but_the_times_shown(day: Scene, data: st.DataObject) -> None:
    clocks = data.draw(st.lists(st.integers(-(2**53) + 1, 2**53 - 1), min_size=len(day.facts), max_size=len(day.facts)))
    other = [replace(fact, at_ms=clock) for fact, clock in zip(day.facts, clocks, strict=True)]
    assert without_times(all_states(other)) == without_times(all_states(day.facts))


@settings(max_examples=70)
@given(day=market_days())
def test_i1_every_piece_is_in_exactly_one_place(day: Scene) -> None:
    places = Counter(day.piece(piece)["place"] for piece in PIECES)
    assert set(places) <= set(PLACES)
    assert places.total() == len(PIECES)


@settings(max_examples=60)
@given(day=market_days())
def test_i1_in_every_prefix_a_scanned_piece_is_somewhere(day: Scene) -> None:
    for upto in range(len(day.facts)):
        for piece in PIECES:
            subject = f"piece:{piece}"
            facts = [fact for fact in day.facts[: upto + 1] if subject in fact.subjects]
            state = fold_subject(MARKET_DAY, subject, facts)
            if state["scans"] or state["bought"]:
                assert state["place"] != "wanted"
            if state["scans"]:
                assert state["place"] not in ("with_picker", "undone"), "what was scanned exists and has arrived"


@settings(max_examples=60)
@given(day=market_days())
def test_a_verdict_that_keeps_a_purchase_is_never_overturned_by_later_purchases(day: Scene) -> None:
    purchases = [fact for fact in day.facts if fact.kind == kinds.PieceBought.KIND and T in fact.subjects]
    quiet = [fact for fact in day.facts if not fact.kind.startswith("verdict.") and fact.kind != kinds.PieceUndone.KIND]
    quiet = [fact for fact in quiet if fact.kind != kinds.PiecesSwapped.KIND]
    if not purchases:
        return
    kept = purchases[0]
    piece = next(subject for subject in kept.subjects if subject.startswith("piece:")).partition(":")[2]
    stage = Scene()
    stage.facts = quiet
    stage._seq = dict(day._seq)
    stage.say(SERVER, verdict(kept, piece, "keeps", keeper=piece))
    stage.say(BO, bought(A2))
    stage.say(ANNA, bought(B1))
    assert (stage.task()["keeper"], stage.task()["provisional"]) == (piece, False)


@settings(max_examples=60)
@given(day=market_days(), data=st.data())
def test_carried_facts_tell_the_same_story_in_the_other_document(day: Scene, data: st.DataObject) -> None:
    """Carried in their folded order, with none of the warehouse's own acts between, they give the same places."""
    own = [fact for fact in day.facts if fact.writer == ANNA]
    house = Scene()
    for fact in own:
        house.hear(SERVER)
        house.say(SERVER, carry(fact))
    twice = data.draw(st.permutations(house.facts))
    for piece in PIECES:
        subject = f"piece:{piece}"
        here = fold_subject(MARKET_DAY, subject, [fact for fact in own if subject in fact.subjects])
        there = fold_subject(MARKET_DAY, subject, [fact for fact in twice if subject in fact.subjects])
        assert there == here


# --- arbitrary decodable facts ------------------------------------------------------------------------------------------

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | words | st.sampled_from((A1, "T1001-1", "SF9"))
)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=6
)
field_names = st.sampled_from(sorted({name for kind in kinds.ALL_KINDS for name in kind.model_fields}))
bodies = st.dictionaries(field_names | words, json_values, max_size=6)
subject_names = st.sampled_from(
    (
        T,
        T2,
        f"piece:{A1}",
        f"piece:{B1}",
        "order:O1001",
        PARCEL,
        "return:SF1",
        "trip:t",
        STALL,
        "device:1",
        "document",
        "odd",
        "piece:",
        ":",
    )
)
any_kind = st.sampled_from(
    [*sorted(kinds.BY_KIND), "document.opened", "document.writer", "document.closed", "piece.eaten"]
)


@st.composite
def decodable_facts(draw: st.DrawFn) -> list[PlacedFact]:
    placed: list[PlacedFact] = []
    seqs: Counter[int] = Counter()
    for _ in range(draw(st.integers(1, 8))):
        device = draw(st.sampled_from(sorted(ROLES)))
        seqs[device] += 1
        kind = draw(any_kind)
        required = kinds.BY_KIND[kind].SUBJECTS if kind in kinds.BY_KIND and draw(st.booleans()) else ()
        subjects = [f"{word}:{draw(st.sampled_from((A1, 'T1001-1', 'x')))}" for word in required]
        subjects += draw(st.lists(subject_names, min_size=0 if subjects else 1, max_size=3))
        body = draw(bodies)
        basis = draw(st.dictionaries(st.sampled_from(sorted(ROLES)), st.integers(1, 9), max_size=4))
        envelope = Envelope(
            device=device, seq=seqs[device], person="p", at_ms=draw(st.integers(-(2**53) + 1, 2**53 - 1)),
            schema=draw(st.integers(1, 2)), basis=basis, facts=(Fact(kind=kind, subjects=tuple(subjects), body=body),),
        )  # fmt: skip
        envelope = decode_payload(encode_payload(envelope))
        placed += place(
            envelope, document="", basis=basis, admission=Admission(role=draw(st.sampled_from([*ROLES.values(), ""])))
        )
    return placed


@settings(max_examples=60)
@given(facts=decodable_facts(), data=st.data())
def test_folds_are_total_on_whatever_can_be_decoded(facts: list[PlacedFact], data: st.DataObject) -> None:
    states = all_states(facts)
    json.dumps(states, allow_nan=False)
    assert all_states(data.draw(st.permutations(facts))) == states
    inbox(list(states.items()))
    views: dict[str, dict[str, Any]] = {"task": {}, "piece": {}}
    for subject, state in states.items():
        if subject.partition(":")[0] in views:
            views[subject.partition(":")[0]][subject.partition(":")[2]] = state
    view_order("O1001", states.get("order:O1001", {}), views["task"], views["piece"])


@settings(max_examples=60)
@given(facts=decodable_facts())
def test_folds_are_total_even_when_nobody_judged_the_facts(facts: list[PlacedFact]) -> None:
    for subject in {subject for fact in facts for subject in fact.subjects}:
        MARKET_DAY.fold(subject, facts)
    assert fold_piece("piece:x", facts)["place"] in PLACES
    for fact in facts:
        MARKET_DAY.judge_void(fact)
        MARKET_DAY.rank(fact)
