"""A command that arrives twice (a double click, a browser that sends a form again, an answer that was lost) does nothing the second time.

One row a command: the day on which it is given, and the command. The first time it is carried out; the second time it is refused, or leaves
every row of money and trade as it stands (I11).
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from server import commands as c
from server import schema as s
from server import schema_trade as st
from tests.unit.server.day import HEAD, RECEIVER, Day, Device
from trade import kinds

CODE = "国大_3F-315_P65_8821#"
KEY = "ab" * 32
ROWS = (
    s.entry, s.posting, s.hold, s.account, s.person, s.device, s.enrol_code, s.key_asked, s.verdict, s.document, st.merchant, st.shop,
    st.shop_order, st.order_line, st.wanted, st.task, st.piece, st.parcel, st.waybill, st.courier_range, st.stall, st.cell, st.trip,
    st.expected_return, st.decision, st.discrepancy, st.notice,
)  # fmt: skip
"""Everything a command may change but the log itself."""
TIMES = frozenset({"expires_ms", "created_ms", "asked_ms", "seen_ms", "written_off_ms", "receiver_sealed"})
"""What may differ: when it was asked last, and the seal of the same receiver."""


def rows_of(day: Day) -> dict[str, list[Any]]:
    """All rows by table."""
    return {
        table.name: sorted(
            repr({name: value for name, value in row._mapping.items() if name not in TIMES}) for row in day.all(table)
        )
        for table in ROWS
    }


def people(day: Day) -> tuple[Device, Device]:
    return day.enrol("warehouse", "wu"), day.enrol("picker", "ann")


def task_out(day: Day) -> Device:
    """T1001-1 is out on the phone, which has number 101."""
    _, phone = people(day)
    day.orders(f"A1|{CODE}|1", f"A2|{CODE}|1")
    day.do(c.RoutesAssign())
    return phone


def bounced(day: Day) -> None:
    phone = task_out(day)
    phone.say(
        phone.route("T1001-1"), kinds.TaskBounced(price_fen=7000).about("task:T1001-1", day.task("T1001-1").stall_id)
    )


def asked(day: Day) -> None:
    phone = task_out(day)
    phone.say(
        phone.route("T1001-1"), kinds.PriceAsked(price_fen=7000).about("task:T1001-1", day.task("T1001-1").stall_id)
    )


def over_cap(day: Day) -> str:
    return task_out(day).buy("T1001-1", 7000)


def shipped(day: Day) -> tuple[Device, Device, str]:
    wall, phone = people(day)
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    code = phone.buy("T1001-1", 6000)
    number = day.parcel("P1001").waybill_no
    about = ("parcel:P1001", "order:O1001", f"piece:{code}")
    wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{code}"))
    wall.say(day.warehouse(), kinds.ParcelPacked(waybill_no=number, pieces=[code]).about(*about))
    wall.say(day.warehouse(), kinds.ParcelShipped(waybill_no=number, pieces=[code]).about(*about))
    return wall, phone, code


def bagged(day: Day) -> tuple[Device, str]:
    wall, phone, code = shipped(day)
    day.do(c.ReturnExpected(order="O1001", courier_no="R1"))
    wall.say(day.warehouse(), kinds.ReturnReceived(courier_no="R1", matched=True).about("return:R1"))
    wall.say(day.warehouse(), kinds.PieceInspected(passed=True).about(f"piece:{code}", "return:R1"))
    wall.say(day.warehouse(), kinds.PieceBagged().about(f"piece:{code}", "trip:bag1"))
    return phone, code


def refund_waits(day: Day) -> str:
    phone, code = bagged(day)
    document = day.do(c.TripOpen(device=phone.number, trip="bag1"))["document"]
    body = kinds.PieceRefunded(received_fen=5000, means=kinds.Means.CASH)
    phone.say(document, body.about(f"piece:{code}", day.piece(code).stall_id))
    return code


def parked(day: Day) -> int:
    """A revoked phone delivers an answer, takes it back and answers anew."""
    phone = task_out(day)
    phone.offline = True
    route, stall = phone.route("T1001-1"), day.task("T1001-1").stall_id
    phone.sync(route)
    (answer,) = phone.say(route, kinds.TaskAnswered(answer=kinds.Answer.STYLE_GONE).about("task:T1001-1", stall))
    phone.say(route, kinds.AnswerWithdrawn(fact=answer).about("task:T1001-1"))
    phone.say(route, kinds.TaskAnswered(answer=kinds.Answer.UNSURE).about("task:T1001-1", stall))
    day.do(c.DeviceRevoke(device=phone.number))
    day.now_ms += 1
    phone.deliver()
    return phone.number


def orphan(day: Day) -> str:
    wall, phone = people(day)
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    code = phone.mint()
    qr = kinds.LabelQr(task="T1001-1", order="O1001", price_fen=6000, piece_no=1, order_pieces=1)
    wall.say(day.warehouse(), kinds.ScannedIn(qr=qr).about(f"piece:{code}"))
    return code


def order_file() -> c.OrderFile:
    rows = "\n".join([HEAD, f"A1,{CODE},黑色,M,2,针织开衫,tb1,{RECEIVER},,,paid"])
    return c.OrderFile(name="plain.csv", content=base64.b64encode(rows.encode()).decode())


def person(pin: str = "11") -> c.PersonCreate:
    return c.PersonCreate(id="cai", name="cai", pin_salt="00" * 16, pin_hash=pin * 32)


Given = Callable[[Day], c.Command]


def after(prepare: Callable[[Day], object], command: c.Command) -> Given:
    """The command on the day that `prepare` made."""

    def given(day: Day) -> c.Command:
        prepare(day)
        return command

    return given


def held(day: Day) -> None:
    day.orders("A1|8821#|1")


def message(day: Day) -> None:
    people(day)
    day.orders(f"A1|{CODE}|1|请换成红色")


def masked(day: Day) -> None:
    people(day)
    day.orders(f"A1|{CODE}|1||王**,137****0001,广东省 ****")
    day.do(c.RoutesAssign())


def ready(day: Day) -> None:
    people(day)
    day.orders(f"A1|{CODE}|1", f"A2|{CODE}|1")


def refunding(day: Day) -> None:
    task_out(day)
    day.do(c.RefundAsked(order="O1001"))


def enrolled(day: Day) -> c.Command:
    day.do(person())
    day.do(code_for("cai"))
    return c.DeviceEnrol(code_digest="cd" * 32, public_key=KEY)


def code_for(name: str) -> c.DeviceCode:
    return c.DeviceCode(code_digest="cd" * 32, role="picker", name=name, people=[name])


def left(day: Day) -> int:
    day.do(person())
    day.do(c.PersonEnd(person="cai"))
    return day.now_ms


def two_phones(day: Day) -> None:
    task_out(day)
    day.enrol("picker", "bob")


def bought(day: Day) -> None:
    task_out(day).buy("T1001-1", 6000)


def discrepancy(day: Day) -> c.Command:
    over_cap(day)
    return c.DiscrepancyResolve(discrepancy=day.one(st.discrepancy).id)


GIVEN: dict[str, Given] = {  # {kind, or kind and case: the command}
    "merchant.create": lambda _: c.MerchantCreate(id="m9", name="九"),
    "merchant.service": lambda day: c.ServiceSet(merchant="m1", service_until_ms=day.now_ms),
    "shop.set": lambda _: c.ShopSet(shop="新店", merchant="m1"),
    "fees.set": lambda _: c.FeesSet(commission_fen_per_piece=200),
    "platform.set": lambda _: c.PlatformSet(commission_stays=False),
    "topup": lambda _: c.TopUp(merchant="m1", amount_fen=100, key="ref"),
    "orders.import": after(people, c.OrdersImport(shop="小满", files=[order_file()])),
    "orders.release": after(message, c.OrdersRelease(orders=["O1001"])),
    "line.code": after(held, c.LineCode(order="O1001", line="1", code=CODE)),
    "order.address_given": after(
        masked, c.AddressGiven(order="O1001", name="王静", phone="13700000001", address="广东省 1号")
    ),
    "order.address_given another": after(
        task_out, c.AddressGiven(order="O1001", name="李四", phone="13900000001", address="北京市 2号")
    ),
    "order.close": after(task_out, c.OrderClose(order="O1001")),
    "order.close bought": after(bought, c.OrderClose(order="O1001")),
    "refund.asked": after(task_out, c.RefundAsked(order="O1001")),
    "refund.withdrawn": after(refunding, c.RefundWithdrawn(order="O1001")),
    "task.decide requote": after(bounced, c.TaskDecide(task="T1001-1", choice="requote", quote_fen=7000)),
    "task.decide close_line": after(bounced, c.TaskDecide(task="T1001-1", choice="close_line")),
    "task.decide change_stall": after(ready, c.TaskDecide(task="T1001-1", choice="change_stall", code=CODE)),
    "ask.answer accepted": after(asked, c.AskAnswer(task="T1001-1", accepted=True)),
    "ask.answer refused": after(asked, c.AskAnswer(task="T1001-1", accepted=False)),
    "over_cap.decide accepted": lambda day: c.OverCapDecide(piece=over_cap(day), accepted=True),
    "over_cap.decide refused": lambda day: c.OverCapDecide(piece=over_cap(day), accepted=False),
    "routes.assign": after(ready, c.RoutesAssign()),
    "task.reassign": after(two_phones, c.TaskReassign(task="T1001-1", device=102)),
    "task.reassign ready": after(ready, c.TaskReassign(task="T1001-1", device=101)),
    "person.create": lambda _: person(),
    "person.end": after(lambda day: day.do(person()), c.PersonEnd(person="cai")),
    "person.back": lambda day: c.PersonBack(person="cai", ended_ms=left(day)),
    "device.code": after(lambda day: day.do(person()), code_for("cai")),
    "device.enrol": enrolled,
    "device.renumber": after(task_out, c.DeviceRenumber(device=101, public_key=KEY)),
    "device.renumber rotated": after(task_out, c.DeviceRenumber(device=101, public_key=KEY, rotated=True)),
    "device.new_key": after(task_out, c.DeviceNewKey(device=101)),
    "device.revoke": after(task_out, c.DeviceRevoke(device=101)),
    "device.write_off": after(
        lambda day: (task_out(day), day.do(c.OrderClose(order="O1001"))), c.DeviceWriteOff(device=101)
    ),
    "device.allowance": after(people, c.DeviceAllowance(device=101, per_piece_fen=100, per_day_fen=1000)),
    "device.cells": after(people, c.DeviceCells(device=100, cells=["A1", "A2"])),
    "return.expected": after(shipped, c.ReturnExpected(order="O1001", courier_no="R1")),
    "trip.open": after(bagged, c.TripOpen(device=101)),
    "trip.open bag": after(bagged, c.TripOpen(device=101, trip="bag1")),
    "refund.decide": lambda day: c.RefundDecide(piece=refund_waits(day), choice="claim"),
    "discrepancy.resolve": discrepancy,
    "parked.release": lambda day: c.ParkedRelease(device=parked(day)),
    "orphan.adopt": lambda day: c.OrphanAdopt(piece=orphan(day)),
    "tasks.hand_over": after(two_phones, c.TasksHandOver(device=101, to=102)),
    "day.close": after(bought, c.DayClose()),
    "courier.range_added": lambda _: c.CourierRange(courier="中通", prefix="X", first=1, last=9, digits=3),
    "stall.listed": lambda _: c.StallListed(market="国大", floor="3F", stall="9"),
    "receivers.purge": after(shipped, c.ReceiverPurge(days=0)),
}


def test_every_command_is_here() -> None:
    assert {name.partition(" ")[0] for name in GIVEN} == set(c.BY_KIND)


@pytest.mark.parametrize("name", GIVEN)
def test_i11_what_arrives_twice_is_done_once(day: Day, name: str) -> None:
    command = GIVEN[name](day)
    told = day.do(command)
    before = rows_of(day)
    again = day.ask(command)
    changed = {table: [row for row in rows if row not in before[table]] for table, rows in rows_of(day).items()}
    assert {table: rows for table, rows in changed.items() if rows} == {}, (told, again)
    day.money()


def test_a_code_that_enrolled_a_device_enrols_no_other_when_it_is_sent_again(day: Day) -> None:
    day.do(enrolled(day))
    day.do(code_for("cai"))
    assert day.ask(c.DeviceEnrol(code_digest="cd" * 32, public_key="ef" * 32))["code"] == "enrol.used"


def test_d16_a_terminal_whose_number_another_took_the_place_of_gets_no_new_orders(day: Day) -> None:
    wall, _ = people(day)
    told = day.do(c.DeviceRenumber(device=wall.number, public_key=KEY))
    day.orders(f"A1|{CODE}|2")
    day.do(c.RoutesAssign())
    assert (day.order("O1001").terminal, day.order("O1001").cell) == (told["number"], "A01")


def test_d4_a_number_that_another_took_the_place_of_gets_nothing_new_unless_it_is_named(day: Day) -> None:
    _, phone = people(day)
    told = day.do(c.DeviceRenumber(device=phone.number, public_key=KEY))
    day.orders(f"A1|{CODE}|1", "A2|国大_3F-9_P65_8821#|1")
    assert day.do(c.RoutesAssign())["devices"] == {str(told["number"]): 2}
    day.orders(f"A3|{CODE}|1")
    assert day.do(c.RoutesAssign(devices=[phone.number]))["devices"] == {str(phone.number): 1}
