"""A device changes its key: another number, its open work continued, its old number silent (REL-R10, design section 4)."""

from __future__ import annotations

import dataclasses

import pytest

from server import commands as c
from server import schema as s
from server import schema_trade as st
from sync_core.facts import Fact
from sync_core.identity import Ed25519Signer
from tests.unit.server.day import Day, Device
from trade import kinds

CODE = "国大_3F-315_P65_8821#"
FRESH = Ed25519Signer(b"fresh key".ljust(32, b"\0"))


@pytest.fixture
def phone(day: Day) -> Device:
    day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|3")
    day.do(c.RoutesAssign())
    return phone


def rotate(day: Day, phone: Device) -> Device:
    command = c.DeviceRenumber(device=phone.number, public_key=FRESH.public_key.hex(), rotated=True)
    number = day.do(command)["number"]
    assert day.do(command)["number"] == number, "the answer got lost; it asks again"
    return Device(day=day, number=number, signer=FRESH, person=phone.person)


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
