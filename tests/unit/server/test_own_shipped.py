"""Own-shipped orders (D20): a merchant's own people, house and cash beside the platform's, on real replicas joined by real sessions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import func, select

from server import commands as c
from server import schema as s
from server import schema_trade as st
from server.recount import recount_server
from tests.floor import Phone
from tests.unit.server.day import Day, open_day
from trade import kinds
from trade.projections import MARKET_DAY

CODE = "国大_3F-315_P65_8821#"
MINE, OTHER = "m1", "m2"


@dataclass
class Floor:
    """Two organisations side by side: merchant m1 ships himself, m2 has the platform ship. Everybody syncs after each step."""

    day: Day
    picker: Phone
    wall: Phone
    platform_picker: Phone
    platform_wall: Phone

    @property
    def everybody(self) -> tuple[Phone, ...]:
        return (self.picker, self.wall, self.platform_picker, self.platform_wall)

    def sync(self) -> None:
        for phone in self.everybody:
            phone.sync()

    def house(self, wall: Phone) -> str:
        return next(name for name in wall.replica.documents() if name.startswith("warehouse/"))

    def scan(self, wall: Phone, code: str) -> None:
        wall.say(self.house(wall), kinds.ScannedIn().about(f"piece:{code}"))
        self.sync()

    def ship(self, wall: Phone, order: str, code: str) -> None:
        parcel = f"P{order[1:]}"
        number = self.day.parcel(parcel).waybill_no
        about = (f"parcel:{parcel}", f"order:{order}", f"piece:{code}")
        wall.say(
            self.house(wall),
            kinds.ParcelPacked(waybill_no=number, pieces=[code]).about(*about),
            kinds.ParcelShipped(waybill_no=number, pieces=[code]).about(*about),
        )
        self.sync()

    def come_back(self, wall: Phone, order: str, code: str) -> None:
        """A buyer sends the piece back, and it is fit."""
        self.day.do(c.ReturnExpected(order=order, courier_no=f"R{order}"))
        self.sync()
        received = kinds.ReturnReceived(courier_no=f"R{order}", matched=True).about(f"return:R{order}")
        fit = kinds.PieceInspected(passed=True).about(f"piece:{code}", f"return:R{order}")
        wall.say(self.house(wall), received, fit)
        self.sync()

    def bag(self, wall: Phone, code: str, trip: str) -> None:
        wall.say(self.house(wall), kinds.PieceBagged().about(f"piece:{code}", f"trip:{trip}"))
        self.sync()

    def cash(self, person: str) -> int:
        """What stands in somebody's float, in fen."""
        with self.day.store.reading() as conn:
            found = conn.execute(select(s.account.c.balance_fen).where(s.account.c.name == f"float:{person}")).scalar()
        return int(found or 0)

    def subjects(self, phone: Phone) -> set[str]:
        """Every subject of which a device's replica knows anything."""
        return {row[0] for row in phone.replica.conn.execute("SELECT subject FROM state")}

    def faults(self) -> list[str]:
        checks, _ = recount_server(self.day.server, MARKET_DAY)
        return [fault for check in checks for fault in check.faults]


@pytest.fixture
def floor(tmp_path: Path) -> Iterator[Floor]:
    day = open_day(tmp_path / "server", merchants=(MINE, OTHER))
    day.do(c.ShopSet(shop="小满", merchant=MINE, drop_ship=False))

    def device(person: str, role: str, organisation: str, warehouse: str) -> Phone:
        return Phone(day, tmp_path / person, person).enrol(role, organisation=organisation, warehouse=warehouse)

    built = Floor(
        day=day,
        picker=device("own-picker", "picker", MINE, "main"),
        wall=device("own-wall", "warehouse", MINE, "m1-house"),
        platform_picker=device("picker", "picker", "platform", "main"),
        platform_wall=device("wall", "warehouse", "platform", "main"),
    )  # fmt: skip
    built.sync()
    yield built
    for phone in built.everybody:
        phone.close()
    day.store.close()


def bought_and_shipped(floor: Floor, price_fen: int = 7000) -> str:
    """An own-shipped order, from its import to the courier; returns the piece's code."""
    floor.day.orders(f"A1|{CODE}|1")
    floor.day.do(c.RoutesAssign())
    floor.sync()
    code = floor.picker.buy("T1001-1", price_fen)
    floor.sync()
    floor.scan(floor.wall, code)
    floor.ship(floor.wall, "O1001", code)
    return code


def test_d20_r36_an_own_shipped_order_is_picked_sorted_and_shipped_by_its_merchants_people_for_his_own_cash(
    floor: Floor,
) -> None:
    day = floor.day
    wallets = {merchant: day.money(merchant) for merchant in (MINE, OTHER)}
    code = bought_and_shipped(floor)
    piece = day.piece(code)
    assert (piece.outcome, piece.owner, piece.charged_fen, piece.excess_fen) == ("keeps", MINE, 0, 0)
    assert (day.order("O1001").status, day.order("O1001").warehouse, piece.place) == ("shipped", "m1-house", "shipped")
    assert {merchant: day.money(merchant) for merchant in (MINE, OTHER)} == wallets, "no wallet, no hold, no commission"
    assert floor.cash("own-picker") == -7000, "above the expected price is a warning, not a bounce"
    assert not day.all(st.decision)
    assert floor.picker.replica.waiting().actions == floor.wall.replica.waiting().actions == 0
    assert floor.faults() == []


def test_d20_organisations_see_nothing_of_each_other(floor: Floor) -> None:
    code = bought_and_shipped(floor)
    floor.day.orders(f"B1|{CODE}|1", shop=OTHER)
    floor.day.do(c.RoutesAssign())
    floor.sync()
    theirs = floor.platform_picker.buy("T1002-1", 6100)
    floor.sync()
    floor.scan(floor.platform_wall, theirs)
    own = {f"piece:{code}", "task:T1001-1", "order:O1001"}
    others = {f"piece:{theirs}", "task:T1002-1", "order:O1002"}
    assert own <= floor.subjects(floor.wall)
    assert not own & (floor.subjects(floor.platform_picker) | floor.subjects(floor.platform_wall))
    assert {"task:T1002-1", f"piece:{theirs}"} <= floor.subjects(floor.platform_picker)
    assert others <= floor.subjects(floor.platform_wall)
    assert not others & (floor.subjects(floor.picker) | floor.subjects(floor.wall))


def test_d20_a_task_stays_with_its_organisations_people(floor: Floor) -> None:
    day = floor.day
    day.orders(f"A1|{CODE}|1")
    day.orders(f"B1|{CODE}|1", shop=OTHER)
    told = day.do(c.RoutesAssign())
    assert told["devices"] == {str(floor.picker.number): 1, str(floor.platform_picker.number): 1}
    for task, wrong in (("T1001-1", floor.platform_picker), ("T1002-1", floor.picker)):
        assert day.ask(c.TaskReassign(task=task, device=wrong.number))["code"] == "device.organisation"
    assert day.ask(c.TasksHandOver(device=floor.picker.number, to=floor.platform_picker.number))["code"] == (
        "device.organisation"
    )


def test_d20_a_warehouse_is_one_organisations(floor: Floor) -> None:
    day = floor.day
    day.do(c.PersonCreate(id="x", name="x", organisation=OTHER, pin_salt="00" * 16, pin_hash="11" * 32))
    body = {"role": "warehouse", "name": "x", "people": ["x"], "organisation": OTHER}
    for warehouse, code in (("main", "warehouse.taken"), ("m1-house", "warehouse.taken"), ("m2-house", None)):
        _, digest = c.new_enrol_code()
        asked = c.DeviceCode.model_validate({**body, "code_digest": digest, "warehouse": warehouse})
        assert day.ask(asked).get("code") == code


def test_d20_closed_after_it_was_bought_the_piece_is_his_own_stock_and_no_other_merchants(floor: Floor) -> None:
    day = floor.day
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    floor.sync()
    code = floor.picker.buy("T1001-1", 6000)
    floor.sync()
    day.do(c.OrderClose(order="O1001"))
    floor.scan(floor.wall, code)
    wallets = {merchant: day.money(merchant) for merchant in (MINE, OTHER)}
    assert (day.piece(code).place, day.piece(code).owner) == ("in_stock", MINE)
    day.orders(f"B1|{CODE}|1", shop=OTHER)
    assert day.task("T1002-1").source == "stall", "another organisation's house is out of reach"
    day.do(c.OrderClose(order="O1002"))
    assert {merchant: day.money(merchant) for merchant in (MINE, OTHER)} == wallets
    day.orders(f"A2|{CODE}|1")
    assert (day.task("T1003-1").source, day.task("T1003-1").piece) == ("stock", code)
    floor.sync()
    drawn = kinds.PieceDrawn().about(f"piece:{code}", "task:T1003-1", "order:O1003")
    floor.wall.say(floor.house(floor.wall), drawn)
    floor.sync()
    floor.ship(floor.wall, "O1003", code)
    assert (day.order("O1003").status, day.piece(code).place) == ("shipped", "shipped")
    assert day.money(MINE) == wallets[MINE]
    assert floor.faults() == []


def test_d20_a_waiting_line_of_another_merchant_takes_no_own_shipped_piece_from_the_platforms_house(
    tmp_path: Path,
) -> None:
    """A merchant without a terminal has his own pieces sorted by the platform: they stay his alone."""
    day = open_day(tmp_path / "server", merchants=(MINE, OTHER))
    day.do(c.ShopSet(shop="小满", merchant=MINE, drop_ship=False))
    picker = Phone(day, tmp_path / "own", "own").enrol("picker", organisation=MINE)
    wall = Phone(day, tmp_path / "wall", "wall").enrol("warehouse")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    picker.sync()
    code = picker.buy("T1001-1", 6000)
    picker.sync()
    day.do(c.OrderClose(order="O1001"))
    day.orders(f"B1|{CODE}|1", shop=OTHER)
    wall.sync()
    wall.say("warehouse/main/1", kinds.ScannedIn().about(f"piece:{code}"))
    wall.sync()
    assert day.piece(code).place == "in_stock"
    assert day.task("T1002-1").source == "stall"
    day.orders(f"B2|{CODE}|1", shop=OTHER)
    assert day.task("T1003-1").source == "stall"
    day.orders(f"A2|{CODE}|1")
    assert day.task("T1004-1").source == "stock"
    for phone in (picker, wall):
        phone.close()
    day.store.close()


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[tuple[Day, Phone, Phone, str]]:
    """The day, the merchant's picker, the platform's wall, and a piece of 60.00 bought for an order that he would have shipped himself and
    closed: it lies in the platform's house, and his next order, which the platform ships, is served with it.
    """
    day = open_day(tmp_path / "server", merchants=(MINE, OTHER))
    day.do(c.ShopSet(shop="own", merchant=MINE, drop_ship=False))
    picker = Phone(day, tmp_path / "own", "own").enrol("picker", organisation=MINE)
    wall = Phone(day, tmp_path / "wall", "wall").enrol("warehouse")
    day.orders(f"A1|{CODE}|1", shop="own")
    day.do(c.RoutesAssign())
    picker.sync()
    code = picker.buy("T1001-1", 6000)
    picker.sync()
    wall.sync()
    wall.say("warehouse/main/1", kinds.ScannedIn().about(f"piece:{code}"))
    wall.sync()
    day.do(c.OrderClose(order="O1001"))
    day.orders(f"A2|{CODE}|1")
    wall.sync()
    wall.say("warehouse/main/1", kinds.PieceDrawn().about(f"piece:{code}", "task:T1002-1", "order:O1002"))
    wall.sync()
    yield day, picker, wall, code
    for phone in (picker, wall):
        phone.close()
    day.store.close()


def test_d20_d8_a_price_corrected_while_his_own_piece_is_drawn_for_a_drop_ship_order_touches_no_wallet(
    shelf: tuple[Day, Phone, Phone, str],
) -> None:
    day, picker, wall, code = shelf
    held = day.money(MINE)
    corrected = kinds.PriceCorrected(price_fen=6100).about("task:T1001-1", f"piece:{code}")
    picker.sync()
    picker.say(str(day.task("T1001-1").document), corrected)
    picker.sync()
    assert (day.piece(code).price_fen, day.money(MINE)) == (6100, held), "his own cash paid for it"
    number = day.parcel("P1002").waybill_no
    about = ("parcel:P1002", "order:O1002", f"piece:{code}")
    wall.say("warehouse/main/1", kinds.ParcelPacked(waybill_no=number, pieces=[code]).about(*about))
    wall.say("warehouse/main/1", kinds.ParcelShipped(waybill_no=number, pieces=[code]).about(*about))
    wall.sync()
    fees_fen = 100 + 300 + 50
    assert day.money(MINE) == (1_000_00 - fees_fen, 0), "what he pays for it comes back to him, who owned it"
    checks, _ = recount_server(day.server, MARKET_DAY)
    assert [fault for check in checks for fault in check.faults] == []


def test_d20_a_piece_drawn_for_a_drop_ship_order_that_closes_is_still_its_merchants_alone(
    shelf: tuple[Day, Phone, Phone, str],
) -> None:
    day, _, _, code = shelf
    day.do(c.OrderClose(order="O1002"))
    assert (day.piece(code).place, day.piece(code).owner) == ("in_stock", MINE)
    day.orders(f"B1|{CODE}|1", shop=OTHER)
    assert day.task("T1003-1").source == "stall"
    day.orders(f"A3|{CODE}|1", shop="own")
    assert day.task("T1004-1").piece == code


def test_d20_d10_a_second_piece_that_his_own_cash_paid_for_is_his_and_serves_his_next_order(floor: Floor) -> None:
    day = floor.day
    colleague = Phone(day, floor.picker.folder.parent / "own-2", "own-2").enrol("picker", organisation=MINE)
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign(devices=[floor.picker.number]))
    floor.sync()
    second = floor.picker.buy("T1001-1", 6000)
    again = day.do(c.TaskReassign(task="T1001-1", device=colleague.number))["task"]
    colleague.sync()
    colleague.buy(again, 6100)
    colleague.sync()
    floor.sync()
    assert (day.piece(second).outcome, day.piece(second).owner) == ("second", MINE)
    floor.scan(floor.wall, second)
    day.orders(f"A2|{CODE}|1")
    assert (day.task("T1002-1").source, day.task("T1002-1").piece) == ("stock", second)
    assert floor.faults() == []
    colleague.close()


def test_d20_a_runners_trip_holds_what_his_own_organisation_bagged(floor: Floor) -> None:
    day = floor.day
    own = bought_and_shipped(floor, 6000)
    day.orders(f"B1|{CODE}|1", shop=OTHER)
    day.do(c.RoutesAssign())
    floor.sync()
    others = floor.platform_picker.buy("T1002-1", 6100)
    floor.sync()
    floor.scan(floor.platform_wall, others)
    floor.ship(floor.platform_wall, "O1002", others)
    floor.come_back(floor.wall, "O1001", own)
    floor.come_back(floor.platform_wall, "O1002", others)
    floor.bag(floor.wall, own, "bag1")
    floor.bag(floor.platform_wall, others, "bag1")
    wallet, cash = day.money(MINE), floor.cash("own-picker")
    told = day.do(c.TripOpen(device=floor.platform_picker.number, trip="bag1"))
    assert told["pieces"] == 1
    assert (day.piece(others).trip, day.piece(own).trip) == ("bag1", None), "his waits for a trip of his own people"
    theirs = day.do(c.TripOpen(device=floor.picker.number))
    assert (theirs["pieces"], day.piece(own).trip) == (1, theirs["trip"])
    floor.sync()
    assert f"piece:{own}" not in floor.subjects(floor.platform_picker)
    assert f"piece:{others}" not in floor.subjects(floor.picker)
    refunded = kinds.PieceRefunded(received_fen=6000, means=kinds.Means.CASH)
    floor.picker.say(theirs["document"], refunded.about(f"piece:{own}", day.piece(own).stall_id))
    floor.sync()
    assert day.piece(own).place == "back_at_stall"
    assert (day.money(MINE), floor.cash("own-picker")) == (wallet, cash + 6000), "his runner has it in his own float"
    assert floor.faults() == []


def test_d20_a_bag_of_another_organisations_trip_waits_for_a_trip_of_its_own(floor: Floor) -> None:
    day = floor.day
    own = bought_and_shipped(floor, 6000)
    day.orders(f"B1|{CODE}|1", shop=OTHER)
    day.do(c.RoutesAssign())
    floor.sync()
    others = floor.platform_picker.buy("T1002-1", 6100)
    floor.sync()
    floor.scan(floor.platform_wall, others)
    floor.ship(floor.platform_wall, "O1002", others)
    floor.come_back(floor.platform_wall, "O1002", others)
    floor.bag(floor.platform_wall, others, "bag1")
    floor.come_back(floor.wall, "O1001", own)
    day.do(c.TripOpen(device=floor.platform_picker.number, trip="bag1"))
    floor.bag(floor.wall, own, "bag1")
    assert (day.piece(own).place, day.piece(own).trip) == ("with_runner", None)
    assert f"piece:{own}" not in floor.subjects(floor.platform_picker)
    assert day.do(c.TripOpen(device=floor.picker.number))["pieces"] == 1
    with day.store.reading() as conn:
        assert conn.execute(select(func.count()).select_from(st.trip)).scalar_one() == 2
