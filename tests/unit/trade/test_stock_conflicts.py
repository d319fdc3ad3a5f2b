"""Sold and bagged at once, sold twice at once (D14, E21, R34)."""

from __future__ import annotations

from tests.unit.trade.scene import DESK, DOOR, Scene, bagged, drawn, inspected, packed
from trade.stock_conflicts import BagWins, ParcelWins, SaleWins, judge_stock


def stocked() -> Scene:
    day = Scene()
    day.tell_all(day.say(DESK, inspected()))
    return day


def test_d14_the_bag_wins_over_a_sale_without_a_parcel() -> None:
    day = stocked()
    sale, bag = day.say(DOOR, drawn()), day.say(DESK, bagged())
    [decision] = judge_stock(day.facts)
    assert decision == BagWins(lost=sale.id, kept=bag.id)
    assert (decision.verdict.winner, decision.verdict.todo) == ("bag", "pick_again")


def test_d14_a_packed_parcel_wins_over_the_bag() -> None:
    day = stocked()
    sale = day.say(DOOR, drawn())
    day.say(DOOR, packed(order="order:O1002", parcel="parcel:P1002"))
    bag = day.say(DESK, bagged())
    [decision] = judge_stock(day.facts)
    assert decision == ParcelWins(lost=bag.id, kept=sale.id)
    assert (decision.verdict.winner, decision.verdict.todo) == ("parcel", "pull_from_bag")


def test_d14_a_parcel_of_another_order_does_not_count() -> None:
    day = stocked()
    day.say(DOOR, drawn())
    day.say(DOOR, packed())
    day.say(DESK, bagged())
    assert isinstance(judge_stock(day.facts)[0], BagWins)


def test_d14_who_knew_is_no_conflict() -> None:
    day = stocked()
    day.hear(DESK, day.say(DOOR, drawn()))
    day.say(DESK, bagged())
    assert judge_stock(day.facts) == ()


def test_r34_of_two_sales_the_lower_id_keeps_unless_the_other_is_packed() -> None:
    day = stocked()
    first = day.say(DOOR, drawn())
    second = day.say(DESK, drawn(task="task:T1003-1", order="order:O1003"))
    [decision] = judge_stock(day.facts)
    assert decision == SaleWins(lost=second.id, kept=first.id)
    assert (decision.verdict.winner, decision.verdict.todo) == ("parcel", "pick_again")
    day.say(DESK, packed(order="order:O1003", parcel="parcel:P1003"))
    assert judge_stock(day.facts) == (SaleWins(lost=first.id, kept=second.id),)
