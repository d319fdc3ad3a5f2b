"""What the authority decides: purchases, answers, recalls, homes for second pieces."""

from __future__ import annotations

import pytest

from sync_core.facts import PlacedFact
from tests.unit.trade.scene import A1, ANNA, B1, BO, SERVER, Scene, T, answered, assigned, bought, recalled
from trade import kinds
from trade.calendar import MarketCalendar
from trade.conflicts import (
    Accepted,
    ClosedSeen,
    ClosedUnseen,
    Keeps,
    OverCap,
    Overruled,
    PrincipalBack,
    Purchase,
    Second,
    StillOut,
    TooLate,
    Undone,
    WaitingLine,
    Want,
    WasBought,
    find_home,
    judge_answer,
    judge_bounce,
    judge_purchase,
    judge_purchases,
    judge_recall,
    known_pairs,
    rank_purchases,
    verdict_body,
)
from trade.kinds import Answer
from trade.screening import Sku

ANNAS = Purchase(fact="101.5.0", piece=A1, device=ANNA, price_fen=6000)
BOS = Purchase(fact="102.3.0", piece=B1, device=BO, price_fen=6100, assigned=False)


def want(*purchases: Purchase, keeper: str | None = None, recall: str | None = None, known: frozenset[tuple[str, str]] = frozenset(),
         drop_ship: bool = True, drawn: str | None = None) -> Want:  # fmt: skip
    return Want(
        merchant="M1",
        cap_fen=6500,
        drop_ship=drop_ship,
        purchases=purchases,
        known=known,
        keeper=keeper,
        recall=recall,
        drawn=drawn,
    )


def test_r81_a_purchase_below_the_cap_keeps_and_releases_the_rest() -> None:
    assert judge_purchase(want(ANNAS), ANNAS.fact) == Keeps(piece=A1, owner="M1", charged_fen=6000, release_fen=500)


def test_e7_an_override_charges_the_cap_and_the_excess_is_the_platforms() -> None:
    dear = Purchase(fact="101.5.0", piece=A1, device=ANNA, price_fen=6501)
    decision = judge_purchase(want(dear), dear.fact)
    assert decision == OverCap(piece=A1, owner="M1", charged_fen=6500, excess_fen=1)
    body = verdict_body(decision, dear.fact)
    assert (body.outcome, body.keeper, body.charged_fen, body.excess_fen) == ("over_cap", A1, 6500, 1)


def test_d20_an_own_shipped_order_touches_no_wallet_and_has_no_excess() -> None:
    dear = Purchase(fact="101.5.0", piece=A1, device=ANNA, price_fen=9900)
    decision = judge_purchase(want(dear, drop_ship=False), dear.fact)
    assert decision == Keeps(piece=A1, owner="M1", charged_fen=0, release_fen=0)


def test_e3_d10_of_two_purchases_one_keeps_and_nobody_is_charged_twice() -> None:
    both = want(ANNAS, BOS)
    assert isinstance(judge_purchase(both, ANNAS.fact), Keeps)
    assert judge_purchase(both, BOS.fact) == Second(keeper=A1)
    assert verdict_body(Second(keeper=A1), BOS.fact).charged_fen == 0
    assert judge_purchases(both) == ANNAS


def test_d10_a_named_keeper_stands_against_a_better_rank() -> None:
    both = want(ANNAS, BOS, keeper=BOS.fact)
    assert judge_purchase(both, ANNAS.fact) == Second(keeper=B1)
    assert judge_purchases(both) == BOS


def test_d10_rank_is_assigned_then_knowledge_then_numeric_fact_id() -> None:
    def claim(fact: str, *, assigned: bool = False) -> Purchase:
        return Purchase(fact=fact, piece=A1, device=1, price_fen=1, assigned=assigned)

    ranked = rank_purchases([claim("103.1.0"), claim("102.10.0"), claim("102.9.0"), claim("104.1.0", assigned=True)])
    assert [purchase.fact for purchase in ranked] == ["104.1.0", "102.9.0", "102.10.0", "103.1.0"]
    known = frozenset({("102.9.0", "103.1.0")})
    ranked = rank_purchases([claim("102.9.0"), claim("103.1.0")], known)
    assert [purchase.fact for purchase in ranked] == ["103.1.0", "102.9.0"]
    circle = known | {("103.1.0", "102.9.0")}
    ranked = rank_purchases([claim("103.1.0"), claim("102.9.0")], circle)
    assert [purchase.fact for purchase in ranked] == ["102.9.0", "103.1.0"], "a hostile circle is cut at the lowest id"


def test_an_undone_purchase_is_no_purchase() -> None:
    gone = Purchase(fact="101.5.0", piece=A1, device=ANNA, price_fen=6000, undone=True)
    assert judge_purchase(want(gone, BOS), gone.fact) == Undone()
    assert isinstance(judge_purchase(want(gone, BOS), BOS.fact), Keeps)


def test_e1_bought_not_knowing_of_the_close_is_the_merchants_stock() -> None:
    decision = judge_purchase(want(ANNAS, recall="0.9.0"), ANNAS.fact)
    assert decision == ClosedUnseen(owner="M1", charged_fen=6000, release_fen=500, excess_fen=0, cause="neither_knew")


def test_e2_the_cause_is_told_by_knowledge_not_by_clocks() -> None:
    first = want(ANNAS, recall="0.9.0", known=frozenset({("0.9.0", ANNAS.fact)}))
    decision = judge_purchase(first, ANNAS.fact)
    assert isinstance(decision, ClosedUnseen)
    assert decision.cause == "bought_first"


def test_d11_a_recall_that_came_while_the_page_was_open_is_not_seen() -> None:
    open_page = want(ANNAS, recall="0.9.0", known=frozenset({(ANNAS.fact, "0.9.0")}))
    decision = judge_purchase(open_page, ANNAS.fact)
    assert isinstance(decision, ClosedUnseen)
    assert decision.cause == "page_was_open"


def test_d11_bought_although_seen_is_the_platforms() -> None:
    seen = Purchase(fact="101.5.0", piece=A1, device=ANNA, price_fen=6000, seen_recall=True)
    assert judge_purchase(want(seen, recall="0.9.0"), seen.fact) == ClosedSeen()
    assert verdict_body(ClosedSeen(), seen.fact).owner == "platform"


def test_d9_only_one_unseen_purchase_of_a_closed_want_is_charged() -> None:
    both = want(ANNAS, BOS, recall="0.9.0")
    assert isinstance(judge_purchase(both, ANNAS.fact), ClosedUnseen)
    assert judge_purchase(both, BOS.fact) == Second(keeper=A1)


def test_d11_a_seen_purchase_does_not_push_an_unseen_one_aside() -> None:
    seen = Purchase(fact="101.5.0", piece=A1, device=ANNA, price_fen=6000, seen_recall=True)
    assert isinstance(judge_purchase(want(seen, BOS, recall="0.9.0"), BOS.fact), ClosedUnseen)


def test_a_kept_purchase_stays_kept_when_the_order_is_closed_after_the_verdict() -> None:
    decision = judge_purchase(want(ANNAS, keeper=ANNAS.fact, recall="0.9.0"), ANNAS.fact)
    assert isinstance(decision, Keeps)


def test_r34_a_purchase_of_a_want_served_from_stock_is_the_second() -> None:
    assert judge_purchase(want(ANNAS, drawn=B1), ANNAS.fact) == Second(keeper=B1)


MARKET = MarketCalendar()


def test_e4_an_answer_to_a_bought_want_is_overruled() -> None:
    decision = judge_answer(want(BOS), Answer.OUT_OF_STOCK, today="2026-05-01", on_day=None, market=MARKET)
    assert decision == Overruled(keeper=B1)
    assert judge_bounce(want(BOS)) == Overruled(keeper=B1)


def test_an_answer_after_the_close_is_too_late() -> None:
    decision = judge_answer(want(recall="0.9.0"), Answer.TOMORROW, today="2026-05-01", on_day=None, market=MARKET)
    assert decision == TooLate()


@pytest.mark.parametrize(
    "answer", [Answer.OUT_OF_STOCK, Answer.UNSURE, Answer.STYLE_GONE, Answer.DEFECTIVE, Answer.PRICE_WRONG]
)
def test_r46_a_flat_no_asks_the_merchant(answer: Answer) -> None:
    decision = judge_answer(want(), answer, today="2026-05-01", on_day=None, market=MARKET)
    assert decision == Accepted(next="merchant_asked")
    assert judge_bounce(want()) == Accepted(next="merchant_asked")


@pytest.mark.parametrize(
    ("answer", "on_day", "postponed", "ship_by", "decision"),
    [
        (Answer.THIS_AFTERNOON, None, 0, None, Accepted(next="again_on_day", on_day="2026-05-01")),
        (Answer.TOMORROW, None, 0, None, Accepted(next="again_on_day", on_day="2026-05-02")),
        (Answer.ON_DAY, "2026-05-04", 0, "2026-05-04", Accepted(next="again_on_day", on_day="2026-05-04")),
        (Answer.ON_DAY, "2026-05-05", 0, "2026-05-04", Accepted(next="merchant_asked", on_day="2026-05-05")),
        (Answer.TOMORROW, None, 1, None, Accepted(next="again_on_day", on_day="2026-05-02")),
        (Answer.TOMORROW, None, 2, None, Accepted(next="stopped")),
        (Answer.STALL_CLOSED, None, 2, None, Accepted(next="again_on_day", on_day="2026-05-02")),
    ],
)
def test_d6_r50_e35_e36_dated_answers(
    answer: Answer, on_day: str | None, postponed: int, ship_by: str | None, decision: Accepted
) -> None:
    said = judge_answer(
        want(), answer, today="2026-05-01", on_day=on_day, market=MARKET, postponed_before=postponed, ship_by=ship_by
    )
    assert said == decision


def recalled_day() -> tuple[Scene, PlacedFact]:
    day = Scene()
    day.tell_all(day.say(SERVER, assigned()))
    return day, day.say(SERVER, recalled())


def test_d9_e26_a_phone_that_has_not_answered_keeps_the_principal_held() -> None:
    day, recall = recalled_day()
    day.say(ANNA, answered())
    assert judge_recall(day.facts, recall=recall.id, device=ANNA, bought=[]) == StillOut()
    assert judge_recall(day.facts, recall=recall.id, device=ANNA, bought=[], written_off=True) == PrincipalBack(
        fact=None
    )


def test_d9_the_phones_own_word_gives_the_principal_back() -> None:
    day, recall = recalled_day()
    day.hear(ANNA, recall)
    day.say(BO, kinds.RecallSeen().about(T))
    assert judge_recall(day.facts, recall=recall.id, device=ANNA, bought=[]) == StillOut(), "another phone's word"
    seen = day.say(ANNA, kinds.RecallSeen().about(T))
    assert judge_recall(day.facts, recall=recall.id, device=ANNA, bought=[]) == PrincipalBack(fact=seen.id)


def test_d9_an_answer_said_knowing_of_the_recall_is_the_phones_word_too() -> None:
    day, recall = recalled_day()
    day.hear(ANNA, recall)
    said = day.say(ANNA, answered())
    assert judge_recall(day.facts, recall=recall.id, device=ANNA, bought=[]) == PrincipalBack(fact=said.id)


def test_d9_a_purchase_keeps_the_principal_for_its_verdict() -> None:
    day, recall = recalled_day()
    day.hear(ANNA, recall)
    day.say(ANNA, kinds.RecallSeen().about(T))
    assert judge_recall(day.facts, recall=recall.id, device=ANNA, bought=[ANNAS]) == WasBought(fact=ANNAS.fact)


def test_known_pairs_count_only_what_an_author_said_himself() -> None:
    route, other = Scene(), Scene()
    theirs = route.say(BO, bought(B1))
    carried = other.carried(theirs)
    other.hear(ANNA, carried)
    mine = other.say(ANNA, bought(A1))
    pairs = known_pairs(route.facts) | known_pairs(other.facts)
    assert pairs == {(mine.id, theirs.id)}
    other.carried(route.say(BO, bought(B1)))
    assert not any(later.startswith("102.") for later, _ in known_pairs(other.facts))


SKU = Sku(stall_id="stall:国大/3F/315", style="8821#", colour="黑", size="M")


def line(task: str, merchant: str, *, cap_fen: int = 6500, since_ms: int = 0, sku: Sku = SKU) -> WaitingLine:
    return WaitingLine(task=task, merchant=merchant, sku=sku, cap_fen=cap_fen, since_ms=since_ms)


def test_d10_a_second_piece_finds_its_owners_line_first_then_the_oldest() -> None:
    lines = [line("T3-1", "M2", since_ms=5), line("T2-1", "M1", since_ms=9), line("T4-1", "M3", since_ms=1)]
    assert find_home(lines, sku=SKU, price_fen=6500, owner="M1") == lines[1]
    assert find_home(lines, sku=SKU, price_fen=6500, owner="platform") == lines[2]


def test_d10_no_line_whose_cap_is_below_the_price_nor_of_another_garment() -> None:
    lines = [line("T2-1", "M1", cap_fen=6499), line("T3-1", "M1", sku=Sku(stall_id="s", style="x"))]
    assert find_home(lines, sku=SKU, price_fen=6500, owner="M1") is None
