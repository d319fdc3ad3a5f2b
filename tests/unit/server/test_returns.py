"""Returns: from the buyer to the stall, to another buyer, or to nobody; the owner is credited once."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from sqlalchemy import update

from server import commands as c
from server import schema as s
from server import schema_trade as st
from server.ledger_reading import statement
from server.pages import reads_orders
from server.recount import recount_server, recount_store
from server.recount.money import check_money
from tests.unit.server.day import Day, Device
from trade import kinds
from trade.projections import MARKET_DAY

CODE = "国大_3F-315_P65_8821#"
DEARER = "国大_3F-315_P70_8821#"


@dataclass(slots=True)
class Shop:
    """A day on which order O1001 has shipped with one piece bought at 60.00."""

    day: Day
    phone: Device
    wall: Device
    code: str

    def inspect(self, *, passed: bool = True) -> None:
        """The buyer's parcel comes back and is looked at."""
        self.day.do(c.ReturnExpected(order="O1001", courier_no="R1"))
        self.wall.say(self.day.warehouse(), kinds.ReturnReceived(courier_no="R1", matched=True).about("return:R1"))
        body = kinds.PieceInspected(passed=passed)
        self.wall.say(self.day.warehouse(), body.about(f"piece:{self.code}", "return:R1"))

    def bag(self, trip: str = "bag1") -> None:
        """Return-mode scan."""
        self.wall.say(self.day.warehouse(), kinds.PieceBagged().about(f"piece:{self.code}", f"trip:{trip}"))

    def trip(self, trip: str | None = "bag1") -> str:
        """The picker takes the bag."""
        return str(self.day.do(c.TripOpen(device=self.phone.number, trip=trip))["document"])

    def refund(self, document: str, received_fen: int) -> None:
        """The stall gives money back."""
        stall = self.day.piece(self.code).stall_id
        body = kinds.PieceRefunded(received_fen=received_fen, means=kinds.Means.CASH)
        self.phone.say(document, body.about(f"piece:{self.code}", stall))


@pytest.fixture
def shop(day: Day) -> Shop:
    wall = day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    code = phone.buy("T1001-1", 6000)
    wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{code}"))
    ship(day, wall, "O1001", code)
    return Shop(day=day, phone=phone, wall=wall, code=code)


def ship(day: Day, wall: Device, order: str, code: str) -> None:
    parcel = f"P{order[1:]}"
    number = day.parcel(parcel).waybill_no
    about = (f"parcel:{parcel}", f"order:{order}", f"piece:{code}")
    wall.say(day.warehouse(), kinds.ParcelPacked(waybill_no=number, pieces=[code]).about(*about))
    wall.say(day.warehouse(), kinds.ParcelShipped(waybill_no=number, pieces=[code]).about(*about))


def test_r54_a_fit_return_is_stock_of_its_merchant(shop: Shop) -> None:
    shop.inspect()
    piece = shop.day.piece(shop.code)
    assert (piece.place, piece.owner) == ("in_stock", "m1")


def test_r55_an_unfit_return_goes_to_the_pending_area(shop: Shop) -> None:
    shop.inspect(passed=False)
    assert shop.day.piece(shop.code).place == "pending"
    body = kinds.PendingEnded(outcome="returned_to_buyer", fee_fen=800, fee_payer="buyer")
    shop.wall.say(shop.day.warehouse(), body.about(f"piece:{shop.code}"))
    assert shop.day.piece(shop.code).place == "returned_to_buyer"


def test_d12_r60_the_stall_takes_it_back_and_the_owner_is_credited_once(shop: Shop) -> None:
    shop.inspect()
    shop.bag()
    shop.day.do(c.PersonCreate(id="ann", name="阿安", pin_salt="00" * 16, pin_hash="11" * 32))
    document = shop.trip()
    assigned = json.loads(shop.day.said(document, "trip.assigned")[0].body)["garment"]
    assert (assigned["paid_fen"], assigned["picker"], assigned["stall"]) == (6000, "阿安", "315")
    before = shop.day.money()
    for _ in range(2):
        shop.refund(document, 6000)
    assert shop.day.money() == (before[0] + 6000, before[1])
    assert shop.day.piece(shop.code).place == "back_at_stall"
    assert "refunded_twice" in shop.day.discrepancies()
    assert shop.day.state(shop.day.warehouse(), f"piece:{shop.code}")["place"] == "back_at_stall"


def test_e22_a_lower_refund_waits_for_its_owner_and_silence_accepts(shop: Shop) -> None:
    shop.inspect()
    shop.bag()
    document = shop.trip()
    before = shop.day.money()
    shop.refund(document, 5000)
    assert shop.day.money() == before
    assert shop.day.all(st.decision, st.decision.c.kind == "refund")
    shop.day.now_ms += 3 * 24 * 3600 * 1000 + 2000
    shop.day.work()
    assert shop.day.money() == (before[0] + 5000, before[1])


def test_d12_a_claim_credits_what_came_and_opens_the_rest(shop: Shop) -> None:
    shop.inspect()
    shop.bag()
    document = shop.trip()
    before = shop.day.money()
    shop.refund(document, 5000)
    shop.day.do(c.RefundDecide(piece=shop.code, choice="claim"), by="merchant:m1:x")
    assert shop.day.money()[0] == before[0] + 5000
    assert "claim" in shop.day.discrepancies()
    assert shop.day.ask(c.RefundDecide(piece=shop.code, choice="accept"))["code"] == "refund.over"


@pytest.mark.parametrize(
    ("then", "place"),
    [("keep_trying", "with_runner"), ("left_at_stall", "left_at_stall"), ("written_off", "written_off")],
)
def test_e23_a_refusal_credits_nothing_and_says_where_the_piece_is(shop: Shop, then: str, place: str) -> None:
    shop.inspect()
    shop.bag()
    document = shop.trip()
    before = shop.day.money()
    body = kinds.PieceRefused.model_validate({"reason": "smell", "then": then})
    shop.phone.say(document, body.about(f"piece:{shop.code}", shop.day.piece(shop.code).stall_id))
    assert shop.day.piece(shop.code).place == place
    assert shop.day.money() == before
    told = shop.day.all(st.notice, st.notice.c.code == "stall_refused")[0]
    assert "有异味" in told.zh
    assert "smell" in told.en


@pytest.mark.parametrize("then", ["bring_back", "keep_trying", "left_at_stall"])
def test_d15_e24_a_refusal_that_arrives_after_the_piece_was_brought_back_moves_nothing(shop: Shop, then: str) -> None:
    """The runner had no signal at the stall, and his phone speaks after the terminal has taken the piece in."""
    shop.inspect()
    shop.bag()
    document = shop.trip()
    shop.phone.sync(document)
    shop.phone.offline = True
    body = kinds.PieceRefused.model_validate({"reason": "other", "then": then})
    shop.phone.say(document, body.about(f"piece:{shop.code}", shop.day.piece(shop.code).stall_id))
    shop.wall.say(shop.day.warehouse(), kinds.PieceBroughtBack().about(f"piece:{shop.code}"))
    shop.phone.offline = False
    shop.phone.deliver()
    assert shop.day.piece(shop.code).place == "in_stock"
    assert shop.day.state(shop.day.warehouse(), f"piece:{shop.code}")["place"] == "in_stock"
    shop.day.orders(f"A2|{CODE}|1")
    assert shop.day.task("T1002-1").piece == shop.code, "it can be sold"


@pytest.mark.parametrize("then", [None, "left_at_stall", "written_off"])
@pytest.mark.parametrize("late", [True, False])
def test_d15_brought_back_is_stock_again(shop: Shop, then: str | None, *, late: bool) -> None:
    """Whatever its runner had said of it at the stall, and whenever that is heard."""
    day, piece = shop.day, f"piece:{shop.code}"
    shop.inspect()
    shop.bag()
    document = shop.trip()
    shop.phone.sync(document)
    shop.phone.offline = late
    if then is not None:
        refused = kinds.PieceRefused.model_validate({"reason": "smell", "then": then})
        shop.phone.say(document, refused.about(piece, day.piece(shop.code).stall_id))
    shop.wall.say(day.warehouse(), kinds.PieceBroughtBack().about(piece))
    shop.phone.offline = False
    shop.phone.deliver()
    assert day.piece(shop.code).place == day.state(day.warehouse(), piece)["place"] == "in_stock"
    assert day.discrepancies() == []
    assert faults(day) == []


def second_merchant(day: Day) -> None:
    """Another merchant with a shop and 500 yuan."""
    day.do(c.MerchantCreate(id="m2", name="商家二"))
    day.do(c.ShopSet(shop="另一家", merchant="m2"))
    day.do(c.TopUp(merchant="m2", amount_fen=500_00, key="x"))


def draw_for_another(shop: Shop, code: str = CODE) -> None:
    """The piece comes back, and is drawn for an order of another merchant."""
    day = shop.day
    shop.inspect()
    second_merchant(day)
    day.orders(f"B1|{code}|1", shop="另一家")
    task = day.task("T1002-1")
    assert (task.source, task.piece) == ("stock", shop.code)
    shop.wall.say(day.warehouse(), kinds.PieceDrawn().about(f"piece:{shop.code}", "task:T1002-1", "order:O1002"))


def correct(shop: Shop, price_fen: int) -> None:
    """The picker had keyed a wrong price; his phone says so late."""
    body = kinds.PriceCorrected(price_fen=price_fen)
    shop.phone.say(shop.phone.route("T1001-1"), body.about("task:T1001-1", f"piece:{shop.code}"))


def faults(day: Day) -> list[str]:
    """What a recount of the server finds wrong."""
    return [fault for check in recount_store(day.store, MARKET_DAY)[0] for fault in check.faults]


def test_d12_i7_a_resold_piece_that_comes_back_is_its_second_owners(shop: Shop) -> None:
    day = shop.day
    draw_for_another(shop)
    ship(day, shop.wall, "O1002", shop.code)
    first, second = day.money("m1"), day.money("m2")
    day.do(c.ReturnExpected(order="O1002", courier_no="R2"))
    shop.wall.say(day.warehouse(), kinds.PieceInspected(passed=True).about(f"piece:{shop.code}", "return:R2"))
    assert day.piece(shop.code).owner == "m2"
    shop.bag()
    shop.refund(shop.trip(), 6000)
    assert (day.money("m1"), day.money("m2")) == (first, (second[0] + 6000, second[1]))
    assert faults(day) == []


def test_d12_e8_a_price_corrected_after_the_resale_is_its_buyers(shop: Shop) -> None:
    day = shop.day
    draw_for_another(shop)
    ship(day, shop.wall, "O1002", shop.code)
    first, second = day.money("m1"), day.money("m2")
    correct(shop, 5000)
    assert (day.money("m1"), day.money("m2")) == (first, (second[0] + 1000, second[1]))
    assert faults(day) == []


def test_d12_e8_a_price_corrected_before_the_resale_ships_is_its_first_owners(shop: Shop) -> None:
    day = shop.day
    draw_for_another(shop)
    first = day.money("m1")
    correct(shop, 5000)
    assert day.money("m1") == (first[0] + 1000, 0)
    ship(day, shop.wall, "O1002", shop.code)
    assert day.money("m1") == (first[0] + 6000, 0)
    assert day.money("m2") == (500_00 - 5000 - 100 - 350, 0)
    assert faults(day) == []


def bear(shop: Shop, price_fen: int) -> None:
    """The piece cost more than was held for it: the platform bears the rest (60.00 are its owner's)."""
    correct(shop, price_fen)
    assert (shop.day.piece(shop.code).charged_fen, shop.day.piece(shop.code).excess_fen) == (6000, price_fen - 6000)


@pytest.mark.parametrize(("received_fen", "credited_fen"), [(6200, 6000), (6100, 6000), (6000, 6000)])
def test_d12_an_owner_gets_back_what_he_paid_and_the_platform_what_it_bore(
    shop: Shop, received_fen: int, credited_fen: int
) -> None:
    day = shop.day
    bear(shop, 6200)
    shop.inspect()
    shop.bag()
    before = day.money()
    shop.refund(shop.trip(), received_fen)
    assert day.money() == (before[0] + credited_fen, before[1])
    assert not day.all(st.decision, st.decision.c.kind == "refund"), "it is no lower refund for him"
    assert faults(day) == []


def test_d12_a_refund_below_what_he_paid_is_his_to_claim_by_that(shop: Shop) -> None:
    day = shop.day
    bear(shop, 6200)
    shop.inspect()
    shop.bag()
    before = day.money()
    shop.refund(shop.trip(), 5900)
    day.do(c.RefundDecide(piece=shop.code, choice="claim"), by="merchant:m1:x")
    assert day.money() == (before[0] + 5900, before[1])
    claim = day.one(st.discrepancy, st.discrepancy.c.code == "claim")
    assert "100" in claim.en, "he paid 60.00"


def test_d12_r83_resold_the_owner_gets_what_he_paid_and_the_platform_what_it_bore(shop: Shop) -> None:
    day = shop.day
    bear(shop, 6200)
    draw_for_another(shop)
    before = day.money("m1")
    ship(day, shop.wall, "O1002", shop.code)
    assert day.money("m1") == (before[0] + 6000, before[1])
    assert day.money("m2") == (500_00 - 6200 - 100 - 350, 0), "the buyer pays the piece's own price"
    assert (day.piece(shop.code).charged_fen, day.piece(shop.code).excess_fen) == (6200, 0)
    assert faults(day) == []


@pytest.fixture
def dear(day: Day) -> Shop:
    """As `shop`, with a piece bought at 70.00, 5.00 above its cap; whether its merchant pays them is not decided."""
    wall = day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    code = phone.buy("T1001-1", 7000)
    wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{code}"))
    ship(day, wall, "O1001", code)
    return Shop(day=day, phone=phone, wall=wall, code=code)


def open_questions(day: Day) -> list[str]:
    """The kinds of what merchants are asked."""
    return [row.kind for row in day.all(st.decision, st.decision.c.resolved_ms.is_(None))]


def test_e7_an_excess_is_no_question_any_more_when_the_stall_took_the_piece_back(dear: Shop) -> None:
    day = dear.day
    dear.inspect()
    dear.bag()
    before = day.money()
    dear.refund(dear.trip(), 7000)
    assert day.money() == (before[0] + 6500, before[1])
    assert day.ask(c.OverCapDecide(piece=dear.code, accepted=True))["code"] == "over_cap.over"
    assert open_questions(day) == []
    assert faults(day) == []


@pytest.mark.parametrize("accepted", [True, False])
def test_e7_d12_an_excess_accepted_while_another_has_drawn_the_piece_is_paid_by_whom_it_was_bought_for(
    dear: Shop, *, accepted: bool
) -> None:
    day = dear.day
    draw_for_another(dear, DEARER)
    first, second = day.money("m1"), day.money("m2")
    paid_fen = 500 if accepted else 0
    day.do(c.OverCapDecide(piece=dear.code, accepted=accepted), by="merchant:m1:x")
    assert (day.money("m1"), day.money("m2")) == ((first[0] - paid_fen, first[1]), second)
    ship(day, dear.wall, "O1002", dear.code)
    assert day.money("m1") == (first[0] + 6500, first[1]), "he gets back what he paid"
    assert day.money("m2") == (500_00 - 7000 - 100 - 350, 0)
    assert faults(day) == []


def test_e7_d12_an_excess_is_no_question_any_more_when_a_buyer_paid_the_whole_price(dear: Shop) -> None:
    day = dear.day
    draw_for_another(dear, DEARER)
    assert open_questions(day) == ["over_cap"]
    ship(day, dear.wall, "O1002", dear.code)
    assert open_questions(day) == []
    assert "over_cap" not in day.discrepancies()


def test_e7_e11_an_excess_is_paid_by_whom_its_piece_was_bought_for_though_its_bag_was_swapped(day: Day) -> None:
    wall = day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    second_merchant(day)
    day.orders(f"A1|{CODE}|1")
    day.orders(f"B1|{CODE}|1", shop="另一家")
    day.do(c.RoutesAssign())
    one, two = phone.buy("T1001-1", 7000), phone.buy("T1002-1", 6000)
    swap(day, wall, one, two)
    first, second = day.money("m1"), day.money("m2")
    day.do(c.OverCapDecide(piece=one, accepted=True), by="merchant:m1:x")
    assert (day.money("m1"), day.money("m2")) == ((first[0] - 500, first[1]), second)
    assert faults(day) == []


def test_e10_e11_a_purchase_whose_bag_was_swapped_at_the_warehouse_is_no_slip_of_the_finger(day: Day) -> None:
    """Its phone had not heard that the garment is there: no money moves, least of all another merchant's."""
    wall = day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    second_merchant(day)
    day.orders(f"A1|{CODE}|1")
    day.orders(f"B1|{CODE}|1", shop="另一家")
    day.do(c.RoutesAssign())
    one, two = phone.buy("T1001-1", 6500), phone.buy("T1002-1", 6000)
    swap(day, wall, one, two)
    before = day.money("m1"), day.money("m2")
    undone = kinds.PieceUndone(fact=day.piece(one).bought_fact)
    phone.say(phone.route("T1001-1"), undone.about("task:T1001-1", f"piece:{one}"))
    assert (day.money("m1"), day.money("m2")) == before
    assert day.discrepancies() == ["undone_but_scanned"]
    for code in (one, two):
        wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{code}"))
    ship(day, wall, "O1001", two)
    ship(day, wall, "O1002", one)
    assert faults(day) == []


def swap(day: Day, wall: Device, one: str, two: str) -> None:
    """The bags of T1001-1 and T1002-1 carry each other's label (E11)."""
    swapped = kinds.PiecesSwapped(tasks=["T1002-1", "T1001-1"])
    wall.say(day.warehouse(), swapped.about(f"piece:{one}", f"piece:{two}", "task:T1001-1", "task:T1002-1"))


def test_d20_a_resold_pieces_story_tells_each_merchant_of_his_own_order(shop: Shop) -> None:
    day = shop.day
    draw_for_another(shop)
    ship(day, shop.wall, "O1002", shop.code)
    day.do(c.ReturnExpected(order="O1002", courier_no="R2"))
    shop.wall.say(
        day.warehouse(), kinds.ReturnReceived(courier_no="R2", matched=True).about("return:R2", f"piece:{shop.code}")
    )
    shop.wall.say(day.warehouse(), kinds.PieceInspected(passed=True).about(f"piece:{shop.code}", "return:R2"))
    shop.bag()
    shop.refund(shop.trip(), 6000)
    with day.store.reading() as conn:
        first, second, whole = (
            reads_orders.order(conn, order, merchant)
            for order, merchant in (("O1001", "m1"), ("O1002", "m2"), ("O1001", None))
        )
    assert first is not None
    assert second is not None
    assert whole is not None
    told = [[fact["kind"] for fact in order["story"]] for order in (first, second)]
    assert [kinds_.count("parcel.shipped") for kinds_ in told] == [1, 1]
    assert [kinds_.count("piece.refunded") for kinds_ in told] == [0, 1], "the second merchant's piece was refunded"
    for order, other in ((first, ("O1002", "T1002-1", "R2")), (second, ("O1001", "T1001-1", "R1"))):
        said = json.dumps([(fact["subjects"], fact["body"]) for fact in order["story"]])
        assert not [word for word in other if f'{word}"' in said]
    assert len(whole["story"]) > len(first["story"])


@pytest.mark.parametrize("end", ["resold", "closed"])
def test_d20_what_an_owner_is_credited_names_no_order_of_another_merchant(shop: Shop, end: str) -> None:
    day = shop.day
    draw_for_another(shop)
    if end == "resold":
        ship(day, shop.wall, "O1002", shop.code)
    else:
        day.do(c.OrderClose(order="O1002"))
        shop.bag()
        shop.refund(shop.trip(), 5000)
        assert [row.order_id for row in day.all(st.decision)] == ["O1001"]
        day.do(c.RefundDecide(piece=shop.code, choice="accept"))
    with day.store.reading() as conn:
        lines = statement(conn, "m1")
    assert lines[-1].kind == "credit"
    assert {line.order for line in lines} == {"", "O1001"}


@pytest.mark.parametrize("shipped", [False, True], ids=["in_the_house", "shipped"])
@pytest.mark.parametrize("late", ["none", "second", "both"])
def test_e11_purchases_that_arrive_after_their_bags_were_swapped_leave_each_order_one_piece(
    day: Day, late: str, *, shipped: bool
) -> None:
    wall = day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1", f"A2|{CODE}|1")
    day.do(c.RoutesAssign())
    phone.sync(phone.route("T1001-1"))
    phone.offline = late == "both"
    one = phone.buy("T1001-1", 6000)
    phone.offline = late != "none"
    two = phone.buy("T1002-1", 6200)
    for code in (one, two):
        wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{code}"))
    swap(day, wall, one, two)
    if shipped:
        ship(day, wall, "O1001", two)
        ship(day, wall, "O1002", one)
    phone.offline = False
    phone.deliver()
    assert [day.wanted(want).keeper for want in ("T1001-1", "T1002-1")] == [two, one]
    assert [day.piece(code).task for code in (one, two)] == ["T1002-1", "T1001-1"]
    if not shipped:
        ship(day, wall, "O1001", two)
        ship(day, wall, "O1002", one)
    assert [order.status for order in day.all(st.shop_order)] == ["shipped", "shipped"]
    assert day.money() == (100_000 - 6000 - 6200 - 2 * 100 - 2 * 350, 0)
    assert faults(day) == []


def test_d20_what_a_merchants_own_runner_got_back_touches_no_wallet(shop: Shop) -> None:
    day = shop.day
    shop.inspect()
    shop.bag()
    document = shop.trip()
    with day.store.transaction() as conn:
        conn.execute(update(s.device).where(s.device.c.number == shop.phone.number).values(organisation="m1"))
    before = day.money()
    shop.refund(document, 5000)
    assert day.money() == before
    assert not day.all(st.decision, st.decision.c.kind == "refund")
    verdict = json.loads(day.said(document, "verdict.refund")[0].body)
    assert (verdict["outcome"], verdict["credited_fen"]) == ("settled", 0)


def test_r57_r83_sold_before_it_went_back_the_owner_gets_his_principal_and_the_return_ends(shop: Shop) -> None:
    day = shop.day
    owner_before = day.money("m1")
    draw_for_another(shop)
    ship(day, shop.wall, "O1002", shop.code)
    assert day.money("m1") == (owner_before[0] + 6000, owner_before[1])
    assert day.money("m2") == (500_00 - 6000 - 100 - 350, 0)
    assert day.piece(shop.code).owner == "m2"


def test_i4_what_the_platform_bore_of_a_price_is_over_when_a_buyer_pays_it_whole(shop: Shop) -> None:
    day = shop.day
    route = day.task("T1001-1").document
    shop.phone.say(route, kinds.PriceCorrected(price_fen=6200).about("task:T1001-1", f"piece:{shop.code}"))
    assert (day.piece(shop.code).charged_fen, day.piece(shop.code).excess_fen) == (6000, 200)
    shop.inspect()
    day.orders(f"A2|{CODE}|1")
    shop.wall.say(day.warehouse(), kinds.PieceDrawn().about(f"piece:{shop.code}", "task:T1002-1", "order:O1002"))
    ship(day, shop.wall, "O1002", shop.code)
    assert (day.piece(shop.code).charged_fen, day.piece(shop.code).excess_fen) == (6200, 0)
    with day.store.reading() as conn:
        assert [fault for check in check_money(conn) for fault in check.faults] == []


def test_a_resold_piece_may_come_back_and_be_credited_to_its_new_owner(shop: Shop) -> None:
    day = shop.day
    shop.inspect()
    before = day.money("m1")
    day.orders(f"A2|{CODE}|1")
    shop.wall.say(day.warehouse(), kinds.PieceDrawn().about(f"piece:{shop.code}", "task:T1002-1", "order:O1002"))
    ship(day, shop.wall, "O1002", shop.code)
    assert day.money("m1") == (before[0] - 100 - 350, 0), "he pays and is credited the same principal"


def test_d14_e21_sold_and_bagged_at_once_the_bag_wins_without_a_packed_parcel(shop: Shop) -> None:
    day = shop.day
    shop.inspect()
    day.orders(f"A2|{CODE}|1")
    other = day.enrol("warehouse", "li")
    for device in (shop.wall, other):
        device.sync(day.warehouse())
        device.offline = True
    shop.wall.say(day.warehouse(), kinds.PieceDrawn().about(f"piece:{shop.code}", "task:T1002-1", "order:O1002"))
    other.say(day.warehouse(), kinds.PieceBagged().about(f"piece:{shop.code}", "trip:bag1"))
    for device in (shop.wall, other):
        device.offline = False
        device.deliver()
    assert day.piece(shop.code).place == "with_runner"
    assert day.wanted("T1002-1").keeper is None
    assert day.wanted("T1002-1").task == "T1002-1.2", "the buyer's piece is picked again"
    verdict = json.loads(day.said(day.warehouse(), "verdict.stock")[0].body)
    assert (verdict["winner"], verdict["todo"]) == ("bag", "pick_again")


def test_d14_e21_the_parcel_wins_when_it_was_packed(shop: Shop) -> None:
    day = shop.day
    shop.inspect()
    day.orders(f"A2|{CODE}|1")
    day.work()
    number = day.parcel("P1002").waybill_no
    other = day.enrol("warehouse", "li")
    for device in (shop.wall, other):
        device.sync(day.warehouse())
        device.offline = True
    shop.wall.say(day.warehouse(), kinds.PieceDrawn().about(f"piece:{shop.code}", "task:T1002-1", "order:O1002"))
    about = ("parcel:P1002", "order:O1002", f"piece:{shop.code}")
    shop.wall.say(day.warehouse(), kinds.ParcelPacked(waybill_no=number or "ZT1", pieces=[shop.code]).about(*about))
    other.say(day.warehouse(), kinds.PieceBagged().about(f"piece:{shop.code}", "trip:bag1"))
    for device in (shop.wall, other):
        device.offline = False
        device.deliver()
    assert day.piece(shop.code).place == "packed"
    verdict = json.loads(day.said(day.warehouse(), "verdict.stock")[0].body)
    assert (verdict["winner"], verdict["todo"]) == ("parcel", "pull_from_bag")


def sold_and_bagged(shop: Shop, *, packed: bool, sent: bool) -> str:
    """The bag is heard of first; a supervisor may have sent a picker before the sale is heard of. Returns the waybill's number."""
    day = shop.day
    shop.inspect()
    day.orders(f"A2|{CODE}|1")
    other = day.enrol("warehouse", "li")
    for device in (shop.wall, other):
        device.sync(day.warehouse())
        device.offline = True
    shop.wall.say(day.warehouse(), kinds.PieceDrawn().about(f"piece:{shop.code}", "task:T1002-1", "order:O1002"))
    number = str(day.parcel("P1002").waybill_no)
    if packed:
        about = ("parcel:P1002", "order:O1002", f"piece:{shop.code}")
        shop.wall.say(day.warehouse(), kinds.ParcelPacked(waybill_no=number, pieces=[shop.code]).about(*about))
    other.say(day.warehouse(), kinds.PieceBagged().about(f"piece:{shop.code}", "trip:bag1"))
    if sent:
        day.do(c.TaskReassign(task="T1002-1", device=shop.phone.number))
    for device in (other, shop.wall):
        device.offline = False
        device.deliver()
    return number


@pytest.mark.parametrize("sent", [True, False])
def test_d14_d4_a_packed_parcel_ends_what_was_to_be_picked_in_its_stead(shop: Shop, sent: bool) -> None:
    """Nobody walks for what lies packed, and it is paid for like every piece of the stock."""
    day = shop.day
    number = sold_and_bagged(shop, packed=True, sent=sent)
    assert (day.piece(shop.code).place, day.wanted("T1002-1").keeper) == ("packed", shop.code)
    second = day.task("T1002-1.2")
    assert (second.status, second.recalled) == ("recalled" if sent else "ended", "reassigned")
    before = day.money()
    about = ("parcel:P1002", "order:O1002", f"piece:{shop.code}")
    shop.wall.say(day.warehouse(), kinds.ParcelShipped(waybill_no=number, pieces=[shop.code]).about(*about))
    assert day.money() == (before[0] + 6500, 0), "he pays and is credited the same principal"
    assert day.piece(shop.code).outcome == "keeps"


@pytest.mark.parametrize("sent", [True, False])
def test_d14_d4_a_bag_that_wins_sends_one_picker_and_no_second(shop: Shop, sent: bool) -> None:
    day = shop.day
    sold_and_bagged(shop, packed=False, sent=sent)
    assert (day.piece(shop.code).place, day.wanted("T1002-1").task) == ("with_runner", "T1002-1.2")
    assert day.task("T1002-1.2").status == ("out" if sent else "ready")


@pytest.mark.parametrize("end", ["refunded", "left_at_stall", "written_off"])
def test_d14_e24_a_sale_that_is_heard_after_the_stall_took_the_piece_serves_nobody_with_it(
    shop: Shop, end: str
) -> None:
    """The terminal that drew it was offline longer than the runner was away: its buyer is served from a stall."""
    day, piece = shop.day, f"piece:{shop.code}"
    shop.inspect()
    day.orders(f"A2|{CODE}|1")
    other = day.enrol("warehouse", "li")
    other.sync(day.warehouse())
    other.offline = True
    other.say(day.warehouse(), kinds.PieceDrawn().about(piece, "task:T1002-1", "order:O1002"))
    shop.bag()
    document = shop.trip()
    if end == "refunded":
        shop.refund(document, 6000)
    else:
        refused = kinds.PieceRefused.model_validate({"reason": "smell", "then": end})
        shop.phone.say(document, refused.about(piece, day.piece(shop.code).stall_id))
    before = day.piece(shop.code)
    other.offline = False
    other.deliver()
    assert (day.piece(shop.code).place, day.piece(shop.code).order_id) == (before.place, "O1001")
    assert day.state(day.warehouse(), piece)["place"] == before.place
    assert (day.wanted("T1002-1").keeper, day.task("T1002-1.2").status) == (None, "ready")
    verdict = json.loads(day.said(day.warehouse(), "verdict.stock")[0].body)
    assert (verdict["winner"], verdict["todo"]) == ("bag", "pick_again")
    assert faults(day) == []


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("late", ["wu", "li"])
@pytest.mark.parametrize("then", ["lies", "drawn", "packed", "shipped"])
def test_r34_d14_a_sale_that_is_heard_after_the_bag_came_back_takes_the_piece_from_nobody(
    shop: Shop, then: str, late: str, *, sent: bool
) -> None:
    """Another order may have it by then: one garment never serves two, and the server says what terminals say."""
    day, piece = shop.day, f"piece:{shop.code}"
    shop.inspect()
    day.orders(f"A2|{CODE}|1")
    other = day.enrol("warehouse", "li")
    heard, silent = (shop.wall, other) if late == "li" else (other, shop.wall)
    silent.sync(day.warehouse())
    silent.offline = True
    silent.say(day.warehouse(), kinds.PieceDrawn().about(piece, "task:T1002-1", "order:O1002"))
    heard.say(day.warehouse(), kinds.PieceBagged().about(piece, "trip:bag1"))
    if sent or then != "lies":
        day.do(c.RoutesAssign())
    heard.say(day.warehouse(), kinds.PieceBroughtBack().about(piece))
    if then != "lies":
        day.orders(f"A3|{CODE}|1")
        heard.say(day.warehouse(), kinds.PieceDrawn().about(piece, "task:T1003-1", "order:O1003"))
        about = ("parcel:P1003", "order:O1003", piece)
        number = day.parcel("P1003").waybill_no
        if then != "drawn":
            heard.say(day.warehouse(), kinds.ParcelPacked(waybill_no=number, pieces=[shop.code]).about(*about))
        if then == "shipped":
            heard.say(day.warehouse(), kinds.ParcelShipped(waybill_no=number, pieces=[shop.code]).about(*about))
    silent.offline = False
    silent.deliver()
    assert day.piece(shop.code).place == day.state(day.warehouse(), piece)["place"]
    assert (day.wanted("T1002-1").keeper, day.task("T1002-1.2").recalled) == (None, None), "somebody walks for it"
    kept = then in ("packed", "shipped") or (then == "drawn" and late == "li")
    if then != "lies":
        assert day.wanted("T1003-1").keeper == (shop.code if kept else None)
        assert day.task(day.wanted("T1003-1").task).source == "stock", (
            "a sale that lost to one that lost, too, is made again"
        )
    assert faults(day) == []


@pytest.mark.parametrize("sold", [True, False])
def test_d14_e21_a_parcel_that_is_heard_after_the_stall_took_its_piece_back_asks_a_person(
    shop: Shop, *, sold: bool
) -> None:
    """Shipped by a terminal that had heard of nothing, with a piece that was bagged at another and is refunded: both cannot be."""
    day, far = shop.day, shop.day.enrol("warehouse", "far")
    if sold:
        shop.inspect()
        day.orders(f"A2|{CODE}|1")
        order, code, near = "O1002", shop.code, shop.wall
    else:  # Packed for an order that closed: it is stock, and goes to the stall.
        day.orders(f"A2|{CODE}|1")
        day.do(c.RoutesAssign())
        order, code, near = "O1002", shop.phone.buy("T1002-1", 6000), shop.wall
        near.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{code}"))
    far.sync(day.warehouse())
    far.offline = True
    if sold:
        far.say(day.warehouse(), kinds.PieceDrawn().about(f"piece:{code}", "task:T1002-1", f"order:{order}"))
    else:
        day.do(c.OrderClose(order=order))
    number = day.parcel("P1002").waybill_no or "ZT0000000002"
    about = ("parcel:P1002", f"order:{order}", f"piece:{code}")
    far.say(day.warehouse(), kinds.ParcelPacked(waybill_no=number, pieces=[code]).about(*about))
    far.say(day.warehouse(), kinds.ParcelShipped(waybill_no=number, pieces=[code]).about(*about))
    near.say(day.warehouse(), kinds.PieceBagged().about(f"piece:{code}", "trip:bag1"))
    shop.code = code
    shop.refund(shop.trip(), 6000)
    paid = day.money()[0]
    far.offline = False
    far.deliver()
    state = day.state(day.warehouse(), f"piece:{code}")
    assert (day.piece(code).place, state["place"]) == ("back_at_stall", "back_at_stall")
    assert "shipped_after_refund" in day.discrepancies()
    assert day.money()[0] >= paid - 350, "no more than courier and packing is taken for the parcel"


def test_e19_an_unknown_return_is_taken_in_and_matched_later(shop: Shop) -> None:
    day = shop.day
    body = kinds.ReturnReceived(courier_no="R9", matched=False, shelf="S3")
    shop.wall.say(day.warehouse(), body.about("return:R9"))
    assert "return_unmatched" in day.discrepancies()
    day.do(c.ReturnExpected(order="O1001", courier_no="R9"))
    assert "return_unmatched" not in day.discrepancies()
    assert day.piece(shop.code).place == "return_in"


def test_r73_a_couriers_number_is_known_as_its_bar_code_says_it(shop: Shop) -> None:
    day = shop.day
    assert day.do(c.ReturnExpected(order="O1001", courier_no="sf7001"))["courier_no"] == "SF7001"
    assert day.ask(c.ReturnExpected(order="O1001", courier_no="SF7001"))["code"] == "return.known"
    shop.wall.say(day.warehouse(), kinds.ReturnReceived(courier_no="SF7001", matched=True).about("return:SF7001"))
    assert day.piece(shop.code).place == "return_in"


def test_d18_purging_deletes_the_keys_of_shipped_parcels(shop: Shop) -> None:
    from server.receivers import parcel_keys

    with shop.day.store.reading() as conn:
        assert parcel_keys(conn, ["P1001"])
    assert shop.day.do(c.ReceiverPurge(days=0))["purged"] == 0, "strictly before"
    shop.day.now_ms += 1
    assert shop.day.do(c.ReceiverPurge(days=0))["purged"] == 1
    with shop.day.store.reading() as conn:
        assert not parcel_keys(conn, ["P1001"])
    assert shop.day.one(st.shop_order, st.shop_order.c.id == "O1001").receiver_sealed is None


def test_no_receiver_stands_in_clear_in_any_envelope_or_row_of_the_log(shop: Shop) -> None:
    for row in shop.day.all(s.envelope):
        assert b"13700000001" not in bytes(row.stored)
        assert "王静".encode() not in bytes(row.stored)


def test_r34_a_piece_that_left_in_its_old_parcel_while_it_was_promised_leaves_nobody_waiting(day: Day) -> None:
    wall, phone = day.enrol("warehouse", "wu"), day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    code = phone.buy("T1001-1", 6000)
    wall.sync(day.warehouse())
    number = day.parcel("P1001").waybill_no
    day.do(c.OrderClose(order="O1001", reason="x"))
    day.orders(f"B1|{CODE}|1")
    wall.offline = True
    wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{code}"))
    about = ("parcel:P1001", "order:O1001", f"piece:{code}")
    wall.say(day.warehouse(), kinds.ParcelPacked(waybill_no=number, pieces=[code]).about(*about))
    wall.say(day.warehouse(), kinds.ParcelShipped(waybill_no=number, pieces=[code]).about(*about))
    wall.offline = False
    wall.deliver()
    assert (day.piece(code).place, day.piece(code).reserved) == ("shipped", None)
    assert day.wanted("T1002-1").status == "ready"
    day.do(c.RoutesAssign())
    again = phone.buy("T1002-1.2", 6000)
    wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{again}"))
    ship(day, wall, "O1002", again)
    assert day.wanted("T1002-1").status == "shipped"
    checks, _ = recount_server(day.server, MARKET_DAY)
    assert [fault for check in checks for fault in check.faults] == []


def test_r34_r58_a_promised_piece_that_went_into_the_bag_leaves_nobody_waiting(shop: Shop) -> None:
    """The terminal that bagged it had not heard of the order, and no terminal had drawn it yet."""
    day = shop.day
    shop.inspect()
    shop.wall.sync(day.warehouse())
    shop.wall.offline = True
    day.orders(f"A2|{CODE}|1")
    assert day.piece(shop.code).reserved == "T1002-1"
    shop.bag()
    shop.wall.offline = False
    shop.wall.deliver()
    assert (day.piece(shop.code).place, day.piece(shop.code).reserved) == ("with_runner", None)
    assert (day.wanted("T1002-1").task, day.task("T1002-1.2").source) == ("T1002-1.2", "stall")
    assert faults(day) == []


def test_r58_a_bag_whose_trip_ended_goes_with_the_next(shop: Shop) -> None:
    day = shop.day
    shop.inspect()
    first = shop.trip()
    day.do(c.DayClose())
    assert day.one(s.document, s.document.c.name == first).closed_ms is not None
    shop.bag()
    second = shop.trip(None)
    assert second != first
    assert day.said(second, "trip.assigned")
    shop.refund(second, 6000)
    assert faults(day) == []


@pytest.mark.parametrize("named", [True, False])
def test_r58_d15_a_named_bag_takes_nothing_out_of_another_runners_bag(shop: Shop, *, named: bool) -> None:
    day, other = shop.day, shop.day.enrol("runner", "bo")
    day.orders(f"A2|{CODE}|1")
    day.do(c.RoutesAssign())
    second = shop.phone.buy("T1002-1", 6000)
    shop.wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{second}"))
    ship(day, shop.wall, "O1002", second)
    shop.inspect()
    shop.bag("bag1")
    day.do(c.ReturnExpected(order="O1002", courier_no="R2"))
    shop.wall.say(day.warehouse(), kinds.PieceInspected(passed=True).about(f"piece:{second}", "return:R2"))
    shop.wall.say(day.warehouse(), kinds.PieceBagged().about(f"piece:{second}", "trip:bag2"))
    first = day.do(c.TripOpen(device=shop.phone.number, trip="bag1" if named else None))
    assert first["pieces"] == (1 if named else 2)
    if named:
        theirs = day.do(c.TripOpen(device=other.number, trip="bag2"))
        assert theirs["pieces"] == 1
        stall = day.piece(second).stall_id
        refunded = kinds.PieceRefunded(received_fen=6000, means=kinds.Means.CASH)
        other.say(theirs["document"], refunded.about(f"piece:{second}", stall))
        assert day.piece(second).place == "back_at_stall"
    assert faults(day) == []


def test_d15_what_was_brought_back_and_goes_with_another_runner_is_in_his_bag_only(shop: Shop) -> None:
    day, other = shop.day, shop.day.enrol("runner", "bo")
    piece = f"piece:{shop.code}"
    shop.inspect()
    shop.bag("bag1")
    first = shop.trip("bag1")
    shop.wall.say(day.warehouse(), kinds.PieceBroughtBack().about(piece))
    shop.bag("bag2")
    second = day.do(c.TripOpen(device=other.number, trip="bag2"))["document"]
    assert day.state(first, piece)["place"] == "in_stock"
    assert day.state(second, piece)["place"] == "with_runner"
    shop.wall.say(day.warehouse(), kinds.PieceBroughtBack().about(piece))
    shop.bag("bag1")
    assert day.state(first, piece)["place"] == "with_runner", "it goes with the first runner again"
    assert day.state(second, piece)["place"] == "in_stock"


def inspected_apart(shop: Shop, fit_by: str) -> tuple[Device, Device]:
    """Two terminals out of reach look at one returned garment; returns the one that found it fit, and the other."""
    day = shop.day
    other = day.enrol("warehouse", "li")
    fit, unfit = (shop.wall, other) if fit_by == "wu" else (other, shop.wall)
    day.do(c.ReturnExpected(order="O1001", courier_no="R1"))
    shop.wall.say(day.warehouse(), kinds.ReturnReceived(courier_no="R1", matched=True).about("return:R1"))
    for device, passed in ((fit, True), (unfit, False)):
        device.sync(day.warehouse())
        device.offline = True
        device.say(day.warehouse(), kinds.PieceInspected(passed=passed).about(f"piece:{shop.code}", "return:R1"))
    return fit, unfit


@pytest.mark.parametrize("fit_first", [True, False])
@pytest.mark.parametrize("fit_by", ["wu", "li"])
def test_r56_inspected_at_two_terminals_the_server_says_what_the_terminals_say(
    shop: Shop, fit_by: str, *, fit_first: bool
) -> None:
    """Neither knew of the other: what folds last stands, whoever is heard first, and an order it was promised to waits for nothing."""
    day = shop.day
    fit, unfit = inspected_apart(shop, fit_by)
    day.orders(f"A2|{CODE}|1")
    for device in (fit, unfit) if fit_first else (unfit, fit):
        device.offline = False
        device.deliver()
    place = day.piece(shop.code).place
    assert place == day.state(day.warehouse(), f"piece:{shop.code}")["place"]
    assert place == ("pending" if fit_by == "wu" else "in_stock")
    assert (day.piece(shop.code).reserved is None) == (place == "pending")
    newest = day.task(day.wanted("T1002-1").task)
    assert newest.source == ("stall" if place == "pending" else "stock")
    assert faults(day) == []


@pytest.mark.parametrize("passed", [True, False])
@pytest.mark.parametrize(
    ("went", "place"),
    [
        ("drawn", "inbound"),
        ("packed", "packed"),
        ("shipped", "shipped"),
        ("bagged", "with_runner"),
        ("back", "in_stock"),
    ],
)
def test_r56_e24_an_inspection_that_arrives_after_the_piece_went_on_moves_nothing(
    shop: Shop, went: str, place: str, *, passed: bool
) -> None:
    """A terminal was offline when it looked at the garment; another looked again, and the piece went on."""
    day, other = shop.day, shop.day.enrol("warehouse", "li")
    other.sync(day.warehouse())
    other.offline = True
    if went in ("drawn", "packed", "shipped"):
        draw_for_another(shop)
        parcel, order = "P1002", "O1002"
        about = (f"parcel:{parcel}", f"order:{order}", f"piece:{shop.code}")
        number = day.parcel(parcel).waybill_no
        if went != "drawn":
            shop.wall.say(day.warehouse(), kinds.ParcelPacked(waybill_no=number, pieces=[shop.code]).about(*about))
        if went == "shipped":
            shop.wall.say(day.warehouse(), kinds.ParcelShipped(waybill_no=number, pieces=[shop.code]).about(*about))
    else:
        shop.inspect()
        shop.bag()
        if went == "back":
            shop.wall.say(day.warehouse(), kinds.PieceBroughtBack().about(f"piece:{shop.code}"))
    before = day.piece(shop.code)
    other.say(day.warehouse(), kinds.PieceInspected(passed=passed).about(f"piece:{shop.code}", "return:R1"))
    other.offline = False
    other.deliver()
    assert day.piece(shop.code) == before
    assert before.place == day.state(day.warehouse(), f"piece:{shop.code}")["place"] == place
    assert faults(day) == []


@pytest.mark.parametrize("fit_by", ["wu", "li"])
def test_r56_d15_fit_and_bagged_at_one_terminal_while_another_found_it_unfit_the_runner_has_it(
    shop: Shop, fit_by: str
) -> None:
    day = shop.day
    fit, unfit = inspected_apart(shop, fit_by)
    fit.say(day.warehouse(), kinds.PieceBagged().about(f"piece:{shop.code}", "trip:bag1"))
    for device in (unfit, fit):
        device.offline = False
        device.deliver()
    assert day.piece(shop.code).place == day.state(day.warehouse(), f"piece:{shop.code}")["place"] == "with_runner"
    assert day.said(shop.trip(), "trip.assigned")
    assert faults(day) == []


@pytest.mark.parametrize("passed", [True, False])
@pytest.mark.parametrize("late", ["wu", "li"])
def test_r56_an_inspection_that_arrives_after_the_daily_close_stands_as_terminals_show_it(
    shop: Shop, late: str, *, passed: bool
) -> None:
    day = shop.day
    other = day.enrol("warehouse", "li")
    first, second = (shop.wall, other) if late == "li" else (other, shop.wall)
    day.do(c.ReturnExpected(order="O1001", courier_no="R1"))
    shop.wall.say(day.warehouse(), kinds.ReturnReceived(courier_no="R1", matched=True).about("return:R1"))
    second.sync(day.warehouse())
    second.offline = True
    for device, fit in ((first, not passed), (second, passed)):
        device.say(day.warehouse(), kinds.PieceInspected(passed=fit).about(f"piece:{shop.code}", "return:R1"))
    day.do(c.DayClose())
    second.offline = False
    second.deliver()
    shown = day.state("warehouse/main/2", f"piece:{shop.code}")["place"]
    assert day.piece(shop.code).place == shown == ("in_stock" if passed else "pending")
    assert faults(day) == []
