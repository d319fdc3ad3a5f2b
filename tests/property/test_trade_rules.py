"""Money, codes and rankings of the trade: what holds for every input."""

from __future__ import annotations

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.unit.trade.scene import ANNA, BO, SERVER, Scene, T, assigned, bought, code
from trade.conflicts import (
    ClosedUnseen,
    Keeps,
    OverCap,
    Purchase,
    Want,
    judge_purchase,
    judge_purchases,
    known_pairs,
    rank_purchases,
    verdict_body,
)
from trade.piece_code import CodeError, check_digit, check_piece_code, label_qr, mint_piece_code, read_label
from trade.pricing import (
    Charge,
    FeeTable,
    LineWanted,
    Quote,
    judge_correction,
    judge_pick,
    looks_wrong,
    order_price,
    owners_share,
    share_fen,
    split_fen,
)
from trade.product_code import ProductCode, ProductCodeError, read_product_code, write_product_code
from trade.screening import admit

prices = st.integers(1, 10_000_00)
devices = st.integers(100, 99_999)
serials = st.integers(1, 999_999)


@given(total_fen=st.integers(-(10**9), 10**9), weights=st.lists(st.integers(0, 10**6), min_size=1, max_size=30))
def test_e39_a_split_keeps_its_sum_and_is_fair_to_one_fen(total_fen: int, weights: list[int]) -> None:
    parts = split_fen(total_fen, weights)
    assert sum(parts) == total_fen
    whole = sum(weights) or len(weights)
    shares = weights if sum(weights) else [1] * len(weights)
    assert all(abs(part * whole - total_fen * share) < whole for part, share in zip(parts, shares, strict=True))


@given(
    lines=st.lists(st.tuples(prices, st.integers(0, 500), st.integers(1, 4)), max_size=5),
    points=st.integers(0, 2000),
    each=st.integers(0, 500),
)
def test_e39_r79_the_parts_of_an_order_sum_to_what_is_held(
    lines: list[tuple[int, int, int]], points: int, each: int
) -> None:
    fees = FeeTable(commission_fen_per_piece=each, commission_basis_points=points, courier_fen=500, packing_fen=100)
    wanted = [
        LineWanted(quote=Quote(quote_fen=quote, tolerance_fen=more), copies=copies) for quote, more, copies in lines
    ]
    price = order_price(fees, wanted)
    assert price.hold_fen == sum(piece.total_fen for piece in price.pieces) + price.courier_fen + price.packing_fen
    quotes_fen = sum(quote * copies for quote, _, copies in lines)
    assert price.commission_fen == share_fen(quotes_fen, points) + each * len(price.pieces)


@given(quote_fen=prices, tolerance_fen=st.integers(0, 1000), paid_fen=prices)
def test_r80_r81_what_is_held_is_charged_or_released_and_never_exceeded(
    quote_fen: int, tolerance_fen: int, paid_fen: int
) -> None:
    quote = Quote(quote_fen=quote_fen, tolerance_fen=tolerance_fen)
    decision = judge_pick(quote, paid_fen=paid_fen)
    if isinstance(decision, Charge):
        assert decision.principal_fen + decision.release_fen == quote.cap_fen
        assert decision.release_fen >= 0
    else:
        assert decision.over_fen == paid_fen - quote.cap_fen > 0


@given(charged=prices, platform=st.integers(0, 1000), price=prices, held=st.integers(-5, 1000))
def test_d8_a_correction_neither_makes_nor_loses_money(charged: int, platform: int, price: int, held: int) -> None:
    correction = judge_correction(charged_fen=charged, platform_fen=platform, price_fen=price, still_held_fen=held)
    assert charged + platform + correction.merchant_fen + correction.platform_fen == price
    assert correction.merchant_fen <= max(held, 0)
    assert platform + correction.platform_fen >= 0


@given(amount=st.integers(0, 5000), price=prices, borne=st.integers(0, 5000))
def test_d12_an_owner_comes_first_and_gets_no_more_than_came_or_than_he_paid(
    amount: int, price: int, borne: int
) -> None:
    borne = min(borne, price)
    his = owners_share(amount, price_fen=price, borne_fen=borne)
    assert 0 <= his <= amount
    assert his == amount or his >= price - borne
    assert borne == 0 or amount > price or his <= price - borne


@given(quote_fen=prices)
def test_e8_the_quote_itself_never_looks_wrong(quote_fen: int) -> None:
    assert looks_wrong(quote_fen, quote_fen=quote_fen) is None


@given(waiting=st.lists(st.tuples(st.uuids().map(str), st.integers(0, 200))), available_fen=st.integers(0, 500))
def test_e25_admitted_orders_never_cost_more_than_there_is(waiting: list[tuple[str, int]], available_fen: int) -> None:
    passed, left = admit(waiting, available_fen)
    cost = dict(waiting)
    assert sum(cost[order] for order in passed) <= available_fen
    assert [order for order, _ in waiting if order in set(passed)] == list(passed)
    assert sorted((*passed, *left)) == sorted(order for order, _ in waiting)


# --- codes --------------------------------------------------------------------------------------------------------------


@given(device=devices, serial=serials)
def test_i12_a_minted_code_reads_back(device: int, serial: int) -> None:
    minted = mint_piece_code(device, serial)
    assert check_piece_code(minted) == minted
    assert (int(minted[:5]), int(minted[5:11])) == (device, serial)


@given(device=devices, serial=serials, at=st.integers(0, 11), digit=st.integers(0, 9))
def test_a_wrong_digit_is_always_noticed(device: int, serial: int, at: int, digit: int) -> None:
    minted = mint_piece_code(device, serial)
    assume(minted[at] != str(digit))
    wrong = minted[:at] + str(digit) + minted[at + 1 :]
    assert check_digit(wrong[:11]) != wrong[11]


@given(device=devices, serial=serials, at=st.integers(0, 10))
def test_two_swapped_digits_are_always_noticed(device: int, serial: int, at: int) -> None:
    minted = mint_piece_code(device, serial)
    assume(minted[at] != minted[at + 1])
    wrong = minted[:at] + minted[at + 1] + minted[at] + minted[at + 2 :]
    assert check_digit(wrong[:11]) != wrong[11]


cells = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)


@given(cell=cells, terminal=st.none() | devices, price_fen=prices, pieces=st.integers(1, 99))
def test_e12_a_label_reads_back_whole(cell: str | None, terminal: int | None, price_fen: int, pieces: int) -> None:
    text = label_qr(
        code=mint_piece_code(101, 1), task="T1001-2.3", order="O1001", piece_no=1, order_pieces=pieces, price_fen=price_fen,
        cell=cell, terminal=terminal,
    )  # fmt: skip
    label = read_label(text)
    assert label.qr is not None
    assert (label.qr.cell, label.qr.terminal, label.qr.price_fen) == (cell, terminal, price_fen)
    assert (label.qr.task, label.qr.order_pieces) == ("T1001-2.3", pieces)


@settings(max_examples=300)
@given(text=st.text() | st.from_regex(r"NH1:[0-9:/A-Z%]*"))
def test_no_text_breaks_a_reader(text: str) -> None:
    try:
        read_label(text)
    except CodeError as refused:
        assert refused.zh
        assert refused.en
    try:
        read_product_code(text)
    except ProductCodeError as refused:
        assert refused.fix


plain = st.text(st.sampled_from("国大女人街ABCxyz0123456789#-"), min_size=1, max_size=8)
part = plain.filter(lambda text: not text.upper().startswith("P"))


@given(
    market=part,
    floor=st.sampled_from(("", "3F", "B1")),
    stall=plain.filter(lambda text: "-" not in text and not text.upper().startswith("P")),
    quote_fen=prices,
    style=part,
    colour=st.sampled_from(("", "黑")),
    size=st.sampled_from(("", "M")),
)
def test_r62_a_product_code_reads_back(
    market: str, floor: str, stall: str, quote_fen: int, style: str, colour: str, size: str
) -> None:
    written = ProductCode(
        market=market, floor=floor, stall=stall, quote_fen=quote_fen, style=style, colour=colour, size=size
    )
    assert read_product_code(write_product_code(written)) == written


# --- rankings -----------------------------------------------------------------------------------------------------------

purchase_lists = st.lists(
    st.builds(
        Purchase,
        fact=st.builds("{}.{}.0".format, st.integers(100, 104), st.integers(1, 12)),
        piece=st.just(code(ANNA, 1)),
        device=st.sampled_from((ANNA, BO)),
        price_fen=st.integers(1, 9000),
        assigned=st.booleans(),
        seen_recall=st.booleans(),
        undone=st.booleans(),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda purchase: purchase.fact,
)


@given(purchases=purchase_lists, data=st.data())
def test_d10_the_ranking_does_not_depend_on_arrival(purchases: list[Purchase], data: st.DataObject) -> None:
    facts = [purchase.fact for purchase in purchases]
    pairs = data.draw(st.sets(st.tuples(st.sampled_from(facts), st.sampled_from(facts)), max_size=6))
    known = frozenset((later, earlier) for later, earlier in pairs if later != earlier)
    ranked = rank_purchases(purchases, known)
    assert rank_purchases(data.draw(st.permutations(purchases)), known) == ranked
    assert sorted(p.fact for p in ranked) == sorted(p.fact for p in purchases if not p.undone)


@given(purchases=purchase_lists, closed_after=st.none() | st.integers(0, 6), drop_ship=st.booleans())
def test_d10_i4_whatever_arrives_when_a_want_is_charged_once_and_within_its_hold(
    purchases: list[Purchase], closed_after: int | None, drop_ship: bool
) -> None:
    """The authority decides each purchase as it arrives; a later one never changes an earlier verdict."""
    keeper: str | None = None
    charged_fen = charges = 0
    for count in range(1, len(purchases) + 1):
        recall = "0.1.0" if closed_after is not None and count > closed_after else None
        want = Want(
            merchant="M1",
            cap_fen=6500,
            drop_ship=drop_ship,
            purchases=tuple(purchases[:count]),
            keeper=keeper,
            recall=recall,
        )
        fact = purchases[count - 1].fact
        decision = judge_purchase(want, fact)
        body = verdict_body(decision, fact)
        charged_fen += body.charged_fen
        if isinstance(decision, Keeps | OverCap | ClosedUnseen):
            charges += 1
            keeper = fact
            assert decision.owner == "M1"
        else:
            assert body.charged_fen == 0
            # D20: what his own cash paid for is the merchant's, whatever it was bought for.
            assert body.owner == ("platform" if drop_ship or purchases[count - 1].undone else "M1")
    assert charges <= 1
    assert charged_fen <= (6500 if drop_ship else 0)


@given(
    buyers=st.lists(st.tuples(st.sampled_from((ANNA, BO)), st.booleans()), min_size=1, max_size=5),
    to=st.sampled_from((None, ANNA, BO)),
)
def test_d10_a_client_predicts_what_the_authority_decides(buyers: list[tuple[int, bool]], to: int | None) -> None:
    day = Scene()
    day.tell_all(day.say(SERVER, assigned(to=to)))
    purchases = []
    for number, (device, hears) in enumerate(buyers, start=1):
        if hears:
            day.hear(device)
        fact = day.say(device, bought(code(device, number)))
        assigned_here = to in (None, device)
        purchases.append(
            Purchase(fact=fact.id, piece=code(device, number), device=device, price_fen=6000, assigned=assigned_here)
        )
    want = Want(merchant="M1", cap_fen=6500, drop_ship=True, purchases=tuple(purchases), known=known_pairs(day.facts))
    keeper = judge_purchases(want)
    assert keeper is not None
    assert day.task(T)["keeper"] == keeper.piece
