"""Screening: stock, pick or hold, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trade.product_code import read_product_code
from trade.screening import (
    Hold,
    LineToScreen,
    OrderToScreen,
    Pick,
    ScreeningRules,
    Sku,
    Stock,
    StockPiece,
    admit,
    pick_stock,
    screen,
)

CODE = read_product_code("国大_3F-315_P65_8821#")
SKU = Sku(stall_id="stall:国大/3F/315", style="8821#", colour="黑", size="M")
LINE = LineToScreen(line="L1", code=CODE, colour="黑", size="M", copies=1, cap_fen=6500)
ORDER = OrderToScreen(order="O1", merchant="M1", drop_ship=True, lines=(LINE,), price_fen=7200)
RULES = ScreeningRules()


def piece(code: str, *, owner: str = "M1", price_fen: int = 6000, since_ms: int = 0, sku: Sku = SKU) -> StockPiece:
    return StockPiece(piece=code, sku=sku, owner=owner, price_fen=price_fen, since_ms=since_ms)


def test_r37_r67_without_stock_it_is_picked() -> None:
    assert screen(ORDER, [], 7200, RULES).lines == {"L1": (Pick(sku=SKU),)}
    assert screen(ORDER, [], 7200, RULES).runs


def test_r34_r66_a_piece_on_the_shelf_serves_it() -> None:
    assert screen(ORDER, [piece("a")], 7200, RULES).lines["L1"] == (Stock(piece="a"),)


def test_r39_partial_stock_serves_one_copy_and_the_rest_is_picked() -> None:
    order = replace(ORDER, lines=(replace(LINE, copies=3),))
    assert screen(order, [piece("a"), piece("b")], 7200, RULES).lines["L1"] == (
        Stock(piece="a"),
        Stock(piece="b"),
        Pick(sku=SKU),
    )


def test_a_piece_of_the_stock_serves_one_line_only() -> None:
    order = replace(ORDER, lines=(LINE, replace(LINE, line="L2")))
    lines = screen(order, [piece("a")], 7200, RULES).lines
    assert (lines["L1"], lines["L2"]) == ((Stock(piece="a"),), (Pick(sku=SKU),))


def test_d12_the_owners_own_piece_first_then_the_oldest_never_one_above_the_cap() -> None:
    stock = [piece("old", owner="M2", since_ms=1), piece("own", since_ms=9), piece("older", owner="M3", since_ms=0)]
    assert pick_stock(stock, SKU, merchant="M1", cap_fen=6500) == stock[1]
    assert pick_stock(stock, SKU, merchant="M9", cap_fen=6500) == stock[2]
    assert pick_stock([piece("a", price_fen=6501)], SKU, merchant="M1", cap_fen=6500) is None
    assert pick_stock([piece("a", sku=replace(SKU, size="L"))], SKU, merchant="M1", cap_fen=6500) is None


def test_r36_d20_an_own_shipped_order_needs_no_money_and_takes_only_its_own_stock() -> None:
    own = replace(ORDER, drop_ship=False)
    assert screen(own, [piece("a", owner="M2")], 0, RULES).lines["L1"] == (Pick(sku=SKU),)
    assert screen(own, [piece("a", price_fen=9999)], 0, RULES).lines["L1"] == (Stock(piece="a"),)


@pytest.mark.parametrize(
    ("order", "rules", "reason"),
    [
        (replace(ORDER, shipped=True), RULES, "shipped"),
        (replace(ORDER, refund_asked=True), RULES, "refund"),
        (replace(ORDER, region="西藏"), ScreeningRules(remote_regions=frozenset({"西藏"})), "remote_area"),
        (replace(ORDER, message="换红色"), RULES, "message"),
        (replace(ORDER, age_days=8), ScreeningRules(days_max=7), "too_old"),
        (ORDER, ScreeningRules(service_ended=True), "service_ended"),
        (replace(ORDER, price_fen=7201), RULES, "money"),
        (replace(ORDER, lines=(replace(LINE, code=None),)), RULES, "bad_code"),
        (replace(ORDER, lines=(replace(LINE, refund_asked=True),)), RULES, "refund"),
        (ORDER, ScreeningRules(closed_stalls=frozenset({CODE.stall_id})), "stall_closed"),
    ],
)
def test_r30_r35_what_is_held_and_why(order: OrderToScreen, rules: ScreeningRules, reason: str) -> None:
    screened = screen(order, [piece("a")], 7200, rules)
    [answer] = screened.lines["L1"]
    assert isinstance(answer, Hold)
    assert answer.reasons == screened.holds == (reason,)
    assert not screened.runs


def test_r31_a_refund_of_one_line_holds_that_line_only() -> None:
    order = replace(ORDER, lines=(replace(LINE, refund_asked=True), replace(LINE, line="L2")))
    lines = screen(order, [], 7200, RULES).lines
    assert (lines["L1"], lines["L2"]) == ((Hold(reasons=("refund",)),), (Pick(sku=SKU),))


def test_r33_a_message_that_was_read_goes_on() -> None:
    assert screen(replace(ORDER, message="谢谢", message_read=True), [], 7200, RULES).runs
    assert screen(replace(ORDER, message="谢谢"), [], 7200, ScreeningRules(hold_messages=False)).runs


def test_every_reason_is_told_at_once_and_money_last() -> None:
    order = replace(ORDER, refund_asked=True, message="x", price_fen=10**9)
    assert screen(order, [], 0, RULES).holds == ("refund", "message")


def test_d23_colour_and_size_of_the_code_hold_against_the_lines() -> None:
    coded = replace(LINE, code=read_product_code("国大_3F-315_P65_8821#_白_L"))
    [answer] = screen(replace(ORDER, lines=(coded,)), [], 7200, RULES).lines["L1"]
    assert answer == Pick(sku=replace(SKU, colour="白", size="L"))


def test_e25_three_orders_race_for_the_last_money_and_exactly_one_passes() -> None:
    passed, left = admit([("O1", 9800), ("O2", 9800), ("O3", 9800)], 10_000)
    assert (passed, left) == (("O1",), ("O2", "O3"))


def test_e25_r65_one_fen_short_waits_and_does_not_stop_a_cheaper_one() -> None:
    assert admit([("O1", 10_001), ("O2", 10_000)], 10_000) == (("O2",), ("O1",))
