"""Prices: caps, bounces, fees, corrections, slips of the finger."""

from __future__ import annotations

import pytest

from sync_core.errors import InvariantError
from trade.pricing import (
    Bounce,
    Charge,
    Correction,
    Doubt,
    FeeTable,
    LineWanted,
    Quote,
    judge_correction,
    judge_pick,
    looks_wrong,
    order_price,
    share_fen,
    split_fen,
)

QUOTE = Quote(quote_fen=6500)


@pytest.mark.parametrize(
    ("paid_fen", "decision"),
    [
        (1, Charge(principal_fen=1, release_fen=6499)),
        (6499, Charge(principal_fen=6499, release_fen=1)),
        (6500, Charge(principal_fen=6500, release_fen=0)),
        (6501, Bounce(over_fen=1)),
        (8500, Bounce(over_fen=2000)),
    ],
)
def test_r80_r81_at_or_under_the_cap_is_charged_and_one_fen_above_bounces(
    paid_fen: int, decision: Charge | Bounce
) -> None:
    assert judge_pick(QUOTE, paid_fen=paid_fen) == decision


def test_d7_the_tolerance_raises_the_cap() -> None:
    tolerant = Quote(quote_fen=6500, tolerance_fen=50)
    assert judge_pick(tolerant, paid_fen=6550) == Charge(principal_fen=6550, release_fen=0)
    assert judge_pick(tolerant, paid_fen=6551) == Bounce(over_fen=1)


@pytest.mark.parametrize("paid_fen", [0, -1])
def test_a_pick_price_is_above_nothing(paid_fen: int) -> None:
    with pytest.raises(InvariantError):
        judge_pick(QUOTE, paid_fen=paid_fen)


def test_r65_r79_an_order_holds_its_caps_and_every_fee() -> None:
    fees = FeeTable(
        commission_fen_per_piece=200,
        courier_fen=500,
        courier_fen_by_region={"新疆": 1800},
        packing_fen=100,
        check_fen_per_piece=30,
    )
    lines = [
        LineWanted(quote=Quote(quote_fen=6500, tolerance_fen=100), copies=2),
        LineWanted(quote=Quote(quote_fen=1000), copies=1),
    ]
    price = order_price(fees, lines)
    assert [piece.principal_fen for piece in price.pieces] == [6600, 6600, 1000]
    assert (price.principal_fen, price.commission_fen, price.check_fen) == (14_200, 600, 90)
    assert price.hold_fen == 14_200 + 600 + 90 + 500 + 100
    assert sum(piece.total_fen for piece in price.pieces) + price.courier_fen + price.packing_fen == price.hold_fen
    assert order_price(fees, lines, region="新疆").courier_fen == 1800
    assert order_price(fees, lines, region="火星").courier_fen == 500
    assert order_price(fees, [], region="新疆").hold_fen == 0


def test_e39_commission_by_percent_keeps_its_sum_to_the_fen() -> None:
    price = order_price(FeeTable(commission_basis_points=333), [LineWanted(quote=Quote(quote_fen=999), copies=3)])
    assert price.commission_fen == share_fen(2997, 333) == 100
    assert [piece.commission_fen for piece in price.pieces] == [34, 33, 33]


@pytest.mark.parametrize(
    ("amount_fen", "points", "share"), [(50, 100, 1), (49, 100, 0), (10_000, 1, 1), (4_999, 1, 0), (5_000, 1, 1)]
)
def test_e39_a_share_is_rounded_half_up(amount_fen: int, points: int, share: int) -> None:
    assert share_fen(amount_fen, points) == share


def test_e39_a_split_gives_the_odd_fen_to_the_largest_remainders() -> None:
    assert split_fen(100, [1, 1, 1]) == (34, 33, 33)
    assert split_fen(10, [7, 2, 1]) == (7, 2, 1)
    assert split_fen(10, [0, 0]) == (5, 5)
    assert split_fen(0, []) == ()
    with pytest.raises(InvariantError):
        split_fen(1, [])


@pytest.mark.parametrize(
    ("price_fen", "held_fen", "correction"),
    [
        (6200, 500, Correction(merchant_fen=200, platform_fen=0)),
        (6800, 500, Correction(merchant_fen=500, platform_fen=300)),
        (6800, 0, Correction(merchant_fen=0, platform_fen=800)),
        (5000, 0, Correction(merchant_fen=-1000, platform_fen=0)),
    ],
)
def test_d8_a_correction_is_charged_only_within_what_is_still_held(
    price_fen: int, held_fen: int, correction: Correction
) -> None:
    assert (
        judge_correction(charged_fen=6000, platform_fen=0, price_fen=price_fen, still_held_fen=held_fen) == correction
    )


def test_d8_a_lower_price_frees_the_platforms_part_first() -> None:
    down = judge_correction(charged_fen=6500, platform_fen=300, price_fen=6400, still_held_fen=0)
    assert down == Correction(merchant_fen=-100, platform_fen=-300)


@pytest.mark.parametrize(
    ("paid_fen", "last_fen", "reason", "meant_fen"),
    [
        (85_000, None, "ten_times", 8500),
        (8_500_00, None, "ten_times", 8500),
        (850, None, "a_tenth", 8500),
        (17_001, None, "far_above", None),
        (4_249, None, "far_below", None),
        (0, None, "not_a_price", None),
        (10_000_01, None, "not_a_price", None),
        (85_000, 84_000, None, None),
        (17_000, None, None, None),
        (8_500, None, None, None),
        (4_250, None, None, None),
    ],
)
def test_e8_a_slip_of_the_finger_is_asked_about(
    paid_fen: int, last_fen: int | None, reason: str | None, meant_fen: int | None
) -> None:
    doubt = looks_wrong(paid_fen, quote_fen=8500, last_fen=last_fen)
    if reason is None:
        assert doubt is None
    else:
        assert isinstance(doubt, Doubt)
        assert (doubt.reason, doubt.meant_fen) == (reason, meant_fen)
