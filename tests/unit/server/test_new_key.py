"""A device changes its key: another number, its open work continued, its old number silent (REL-R10, design section 4)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from server import commands as c
from server import schema as s
from server import schema_trade as st
from server.recount import recount_server
from sync_core.facts import Fact
from sync_core.identity import Ed25519Signer
from tests.unit.server.day import Day, Device
from trade import kinds
from trade.projections import MARKET_DAY

CODE = "国大_3F-315_P65_8821#"


@pytest.fixture
def wall(day: Day) -> Device:
    return day.enrol("warehouse", "wu")


@pytest.fixture
def phone(day: Day, wall: Device) -> Device:
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|3")
    day.do(c.RoutesAssign())
    return phone


def rotate(day: Day, phone: Device, seed: bytes = b"fresh key") -> Device:
    fresh = Ed25519Signer(seed.ljust(32, b"\0"))
    command = c.DeviceRenumber(device=phone.number, public_key=fresh.public_key.hex(), rotated=True)
    number = day.do(command)["number"]
    assert day.do(command)["number"] == number, "the answer got lost; it asks again"
    return Device(day=day, number=number, signer=fresh, person=phone.person)


def test_what_was_delivered_counts_and_what_waited_counts_once_under_the_new_number(day: Day, phone: Device) -> None:
    route = phone.route("T1001-1")
    first = phone.buy("T1001-1", 6000)
    phone.sync(route)
    phone.offline = True
    second = phone.buy("T1001-2", 6100)
    (origin,) = (f"{phone.number}.2.0",)
    fresh = rotate(day, phone)
    assert day.task("T1001-3").device == fresh.number
    body = kinds.PieceBought(price_fen=6100, means=kinds.Means.CASH).model_dump(mode="json", exclude_none=True)
    stall = day.task("T1001-2").stall_id
    again = Fact(
        kind=kinds.PieceBought.KIND, subjects=("task:T1001-2", f"piece:{second}", stall), body=body, origin=origin
    )
    fresh.say(route, again)
    third = fresh.buy("T1001-3", 6200)
    assert {row.code: row.outcome for row in day.all(st.piece)} == {first: "keeps", second: "keeps", third: "keeps"}
    assert day.discrepancies() == []


def test_what_comes_under_the_old_key_waits_for_a_supervisor(day: Day, phone: Device) -> None:
    route = phone.route("T1001-1")
    phone.sync(route)
    phone.offline = True
    code = phone.buy("T1001-1", 6000)
    rotate(day, phone)
    day.now_ms += 1
    thief = dataclasses.replace(phone, offline=False)
    thief.deliver()
    assert day.discrepancies() == ["parked"]
    assert day.all(st.piece, st.piece.c.code == code) == []
    told = day.ask(c.DeviceRenumber(device=phone.number, public_key="ab" * 32, rotated=True))
    assert told["code"] == "device.revoked"


def test_the_platforms_wish_ends_with_the_change_and_a_revoked_device_gets_none(day: Day, phone: Device) -> None:
    day.do(c.DeviceNewKey(device=phone.number))
    day.do(c.DeviceNewKey(device=phone.number))
    assert day.store.new_keys == {phone.number}
    assert [row.device for row in day.all(s.key_asked)] == [phone.number]
    rotate(day, phone)
    assert (day.store.new_keys, day.all(s.key_asked)) == (set(), [])
    assert day.ask(c.DeviceNewKey(device=phone.number))["code"] == "device.revoked"
    assert day.ask(c.DeviceNewKey(device=9_999))["code"] == "device.unknown"


@pytest.mark.parametrize("order", ["old key first", "new number first"])
def test_what_arrives_under_the_old_key_after_all_counts_once_under_the_new_number(
    day: Day, phone: Device, order: str
) -> None:
    """The frame was under way when the key changed; the device had no answer and says it again."""
    route = phone.route("T1001-1")
    phone.sync(route)
    phone.offline = True
    code = phone.buy("T1001-1", 6000)
    fresh = rotate(day, phone)
    day.now_ms += 1
    body = kinds.PieceBought(price_fen=6000, means=kinds.Means.CASH)
    again = dataclasses.replace(
        body.about("task:T1001-1", f"piece:{code}", day.task("T1001-1").stall_id), origin=f"{phone.number}.1.0"
    )
    steps: list[Callable[[], object]] = [phone.deliver, lambda: fresh.say(route, again)]
    for step in steps if order == "old key first" else reversed(steps):
        step()
    assert [(row.code, row.outcome) for row in day.all(st.piece)] == [(code, "keeps")]
    money = day.money()
    if order == "new number first":
        assert day.discrepancies() == [], "it counts already: nobody needs to look at it"
    else:
        day.do(c.ParkedRelease(device=phone.number))
        assert day.discrepancies() == []
    assert day.money() == money
    faults = [fault for check in recount_server(day.server, MARKET_DAY)[0] for fault in check.faults]
    assert faults == []


def test_d16_a_terminal_packs_its_orders_under_its_new_number(day: Day, wall: Device, phone: Device) -> None:
    day.orders(f"A2|{CODE}|2")
    day.do(c.RoutesAssign())
    assert day.order("O1002").terminal == wall.number
    codes = [phone.buy(task, 6500) for task in ("T1002-1", "T1002-2")]
    fresh = rotate(day, wall)
    assert day.order("O1002").terminal == fresh.number
    assert {row.terminal for row in day.all(st.cell)} == {fresh.number}
    for code in codes:
        fresh.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{code}"))
    number = day.parcel("P1002").waybill_no
    about = ("parcel:P1002", "order:O1002", *(f"piece:{code}" for code in codes))
    packed = kinds.ParcelPacked(waybill_no=number, pieces=codes).about(*about)
    fresh.say(day.warehouse(), packed, kinds.WaybillPrinted(waybill_no=number, copy_no=1).about("parcel:P1002"))
    faults = [fault for check in recount_server(day.server, MARKET_DAY)[0] for fault in check.faults]
    assert faults == []


def test_who_revokes_a_device_in_the_moment_in_which_it_changes_its_key_stops_it(day: Day, phone: Device) -> None:
    fresh = rotate(day, rotate(day, phone, b"1"), b"2")
    day.now_ms += 1
    assert day.do(c.DeviceRevoke(device=phone.number))["stopped"] == [phone.number, fresh.number - 1, fresh.number]
    assert day.store.key_of(fresh.number).revoked
    assert fresh.number in day.store.ended


def test_d9_who_writes_a_device_off_in_that_moment_writes_off_what_it_has_under_its_new_number(
    day: Day, phone: Device
) -> None:
    phone.sync(phone.route("T1001-1"))
    fresh = rotate(day, phone)
    day.do(c.OrderClose(order="O1001", reason="买家不要了"))
    assert day.task("T1001-1").status == "recalled"
    day.now_ms += 1
    assert day.do(c.DeviceWriteOff(device=phone.number))["recalls_settled"] == 3
    assert day.store.key_of(fresh.number).revoked
    assert day.money() == (100_000, 0)


def test_a_copy_that_gets_a_number_leaves_the_original_the_wish_and_is_not_stopped_with_it(
    day: Day, phone: Device
) -> None:
    day.do(c.DeviceNewKey(device=phone.number))
    copy = day.do(c.DeviceRenumber(device=phone.number, public_key="cd" * 32))["number"]
    assert day.store.new_keys == {phone.number}
    day.now_ms += 1
    assert day.do(c.DeviceRevoke(device=phone.number))["stopped"] == [phone.number]
    assert day.do(c.DeviceRevoke(device=phone.number))["stopped"] == [phone.number]
    assert not day.store.key_of(copy).revoked
