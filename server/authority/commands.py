"""Carry out what people left in the command table: each command in a savepoint of its own, so that a refused one changes nothing (I11)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Row, select, update

from server import commands as c
from server import devices
from server import schema as s
from server import schema_trade as st
from server.authority import adoption, answers, closing, daily, damaged, dispatch, intake, returns, trips, waybills
from server.authority.batch import PLATFORM, Batch, market_document
from server.ledger import About
from server.receivers import purge_keys
from server.settings import write_setting
from sync_core.errors import RefusedError
from trade import kinds
from trade.product_code import stall_id

Handler = Callable[[Batch, Any], dict[str, Any]]
DAY_MS: Final = 24 * 60 * 60 * 1000


def carry_out(b: Batch, command: c.Command, by: str) -> dict[str, Any]:
    """Do what a command asks; returns what its outcome says besides `ok`.

    Raises:
        RefusedError: a rule says no; the caller drops everything.
    """
    if by.startswith("merchant:"):
        _check_owner(b, command, by.split(":")[1])
    return HANDLERS[command.KIND](b, command)


def _check_owner(b: Batch, command: c.Command, merchant: str) -> None:
    """A merchant commands his own things only (D20)."""
    if command.PLATFORM_ONLY:
        raise RefusedError("command.role", "这只有平台能做 / only the platform may do this")
    owners: set[str | None] = set()
    named = command.model_dump()
    if "merchant" in named:
        owners.add(named["merchant"])
    if "shop" in named:
        shop = b.row(st.shop, named["shop"])
        owners.add(named.get("merchant") if shop is None else shop.merchant)
    for order_id in [named["order"]] if "order" in named else named.get("orders", []):
        owners.add(_column(b.row(st.shop_order, order_id), "merchant"))
    if "task" in named:
        task = b.row(st.task, named["task"])
        owners.add(None if task is None else _column(b.row(st.shop_order, task.order_id), "merchant"))
    if isinstance(command, c.OverCapDecide):
        owners.add(_column(b.row(st.piece, command.piece), "merchant"))
    if isinstance(command, c.RefundDecide):
        owners.add(_column(b.row(st.piece, command.piece), "owner"))
    if owners != {merchant}:
        raise RefusedError("command.owner", "这不是您的 / this is not yours")


def _column(row: Row[Any] | None, name: str) -> str | None:
    return None if row is None else str(row._mapping[name])


def create_merchant(b: Batch, command: c.MerchantCreate) -> dict[str, Any]:
    """A merchant of the platform."""
    if command.id == PLATFORM or ":" in command.id or "/" in command.id:
        raise RefusedError("merchant.id", "这个编号不能用 / this id cannot be used")
    if b.row(st.merchant, command.id) is not None:
        raise RefusedError("merchant.taken", "这个编号已有商家 / this id is taken")
    b.put(
        st.merchant, ("id",), id=command.id, name=command.name, phone=command.phone,
        service_until_ms=command.service_until_ms, created_ms=b.now_ms,
    )  # fmt: skip
    return {"merchant": command.id}


def set_service(b: Batch, command: c.ServiceSet) -> dict[str, Any]:
    """The end of a service period; renewed, what waited for it goes on (R85)."""
    _need_merchant(b, command.merchant)
    b.set(st.merchant, command.merchant, service_until_ms=command.service_until_ms)
    held = intake.orders_of(b, "held")
    for order_id in held:
        order = intake.need_order(b, order_id)
        if order.merchant == command.merchant and "service_ended" in order.holds:
            intake.screen_order(b, order_id)
    return {}


def set_shop(b: Batch, command: c.ShopSet) -> dict[str, Any]:
    """A shop and its settings. Its orders that have no waybill yet go with its new courier.

    Raises:
        RefusedError: `shop.taken`, or `courier.unknown`: the courier never had a range of numbers, so its parcels would wait for ever.
    """
    _need_merchant(b, command.merchant)
    known = b.row(st.shop, command.shop)
    if known is not None and known.merchant != command.merchant:
        raise RefusedError("shop.taken", "这个店铺名已属于别的商家 / this shop belongs to another merchant")
    changes = known is None or known.courier != command.courier
    if changes and command.courier and not b.rows(st.courier_range, courier=command.courier):
        name = command.courier
        raise RefusedError(
            "courier.unknown",
            f"快递「{name}」还没有号段，请先在“快递与费用”里添加 / courier {name} has no numbers: add a range for it first",
        )
    b.put(
        st.shop, ("name",), name=command.shop, merchant=command.merchant, drop_ship=int(command.drop_ship),
        tolerance_fen=command.tolerance_fen, ship_part=int(command.ship_part), default_answer=command.default_answer,
        hold_messages=int(command.hold_messages), courier=command.courier, requirements=command.requirements,
        created_ms=b.now_ms if known is None else known.created_ms,
    )  # fmt: skip
    served = waybills.courier_changed(b, command.shop, command.courier) if known is not None and changes else 0
    return {"shop": command.shop, "parcels_served": served}


def set_fees(b: Batch, command: c.FeesSet) -> dict[str, Any]:
    """The fee table for orders that go on from now."""
    write_setting(b.conn, "fees", command.model_dump())
    return {}


def set_platform(b: Batch, command: c.PlatformSet) -> dict[str, Any]:
    """The platform's settings."""
    write_setting(b.conn, "platform", command.model_dump())
    return {}


def top_up(b: Batch, command: c.TopUp) -> dict[str, Any]:
    """Money came in; what waited for it goes on in its order (E25)."""
    _need_merchant(b, command.merchant)
    about = About(merchant=command.merchant, causes=(b.cause,))
    fresh = b.ledger.top_up(command.amount_fen, key=f"{command.merchant}:{command.key}", about=about, note=command.note)
    gone_on = intake.retry_money(b, command.merchant) if fresh else 0
    return {"booked": fresh, "available_fen": b.ledger.available_fen(command.merchant), "orders_gone_on": gone_on}


def create_person(b: Batch, command: c.PersonCreate) -> dict[str, Any]:
    """Somebody who signs in on devices.

    Raises:
        RefusedError: `person.ended`: a form that arrives late brings nobody back (E31).
    """
    known = b.row(s.person, command.id)
    if known is not None and known.ended_ms is not None:
        raise RefusedError("person.ended", "这个人已离开；要他回来请点「回来了」 / he has left: let him back first")
    b.put(
        s.person, ("id",), id=command.id, name=command.name, organisation=command.organisation, pin_salt=command.pin_salt,
        pin_hash=command.pin_hash, ended_ms=None,
    )  # fmt: skip
    devices.people_changed(b, command.id)
    return {"person": command.id}


def list_stall(b: Batch, command: c.StallListed) -> dict[str, Any]:
    """A stall of the directory."""
    key = stall_id(command.market, command.floor, command.stall)
    known = b.row(st.stall, key)
    values: dict[str, Any] = {
        "market": command.market, "floor": command.floor, "stall": command.stall, "name": command.name,
        "aisle": command.aisle, "returns_days": command.returns_days,
    }  # fmt: skip
    if known is not None and all(known._mapping[name] == value for name, value in values.items()):
        return {"stall": key}
    b.put(st.stall, ("id",), id=key, **values)
    document = market_document(command.market)
    pickers = (
        b.conn.execute(select(s.device.c.number).where(s.device.c.role == "picker", s.device.c.revoked_ms.is_(None)))
        .scalars()
        .all()
    )
    b.open_document(document, owner=command.market, writers=dict.fromkeys(pickers, "picker"))
    b.say(document, kinds.StallListed(**values).about(key))
    return {"stall": key}


def add_range(b: Batch, command: c.CourierRange) -> dict[str, Any]:
    """Numbers leased from a courier; parcels that waited for one get it."""
    if command.last < command.first or len(str(command.last)) > command.digits:
        raise RefusedError("range.order", "号段不对 / the range is empty or longer than its digits")
    r = st.courier_range.c
    open_ranges = b.conn.execute(select(st.courier_range).where(r.next <= r.last)).all()
    taken = b.conn.execute(
        select(st.waybill.c.number).where(
            st.waybill.c.number.between(
                f"{command.prefix}{command.first:0{command.digits}d}",
                f"{command.prefix}{command.last:0{command.digits}d}",
            )
        )
    ).first()
    if taken is not None or any(_overlaps(row, command) for row in open_ranges):
        raise RefusedError("range.overlap", "号段与已有的重叠 / the range overlaps one that is known")
    b.conn.execute(
        st.courier_range.insert().values(
            courier=command.courier,
            prefix=command.prefix,
            next=command.first,
            last=command.last,
            digits=command.digits,
            three_part_code=command.three_part_code,
            bag_place=command.bag_place,
        )
    )
    return {"numbers": command.last - command.first + 1, "parcels_served": waybills.retry_held(b)}


def decide_excess(b: Batch, command: c.OverCapDecide) -> dict[str, Any]:
    """The merchant accepts or refuses to pay what a piece cost above its cap (E7); never more than he was asked for (D8)."""
    piece = b.row(st.piece, command.piece)
    questions = b.rows(st.decision, kind="over_cap", subject=f"piece:{command.piece}")
    asked = [question for question in questions if question.resolved_ms is None]
    if (
        piece is None
        or piece.outcome != "over_cap"
        or not asked
        or piece.excess_fen == 0
        or piece.place == "back_at_stall"
    ):
        raise RefusedError("over_cap.over", "没有等您决定的差额 / no excess of this piece waits for you")
    excess_fen = min(piece.excess_fen, int(json.loads(asked[0].detail)["excess_fen"]))
    if command.accepted:
        # Of the order it was bought for, whose merchant was asked: swapped (E11) or drawn (D12), it may serve another merchant's by now.
        about = b.about(order=b.row(st.shop_order, asked[0].order_id), piece=piece.code)
        b.ledger.charge(
            excess_fen,
            key=f"excess:{piece.code}",
            about=about,
            zh=f"同意补差 {piece.code}",
            en=f"Excess accepted for piece {piece.code}",
        )
        b.set(
            st.piece,
            piece.code,
            charged_fen=piece.charged_fen + excess_fen,
            excess_fen=piece.excess_fen - excess_fen,
        )
    b.decided(("over_cap",), f"piece:{piece.code}", "accepted" if command.accepted else "refused")
    b.settle_discrepancy(f"over_cap|piece:{piece.code}", "商家已决定 / the merchant has decided")
    return {"piece": piece.code, "charged_fen": excess_fen if command.accepted else 0}


def resolve_discrepancy(b: Batch, command: c.DiscrepancyResolve) -> dict[str, Any]:
    """A person has dealt with it."""
    done = b.conn.execute(
        update(st.discrepancy)
        .where(st.discrepancy.c.id == command.discrepancy, st.discrepancy.c.resolved_ms.is_(None))
        .values(resolved_ms=b.now_ms, note=command.note)
    )
    if done.rowcount != 1:
        raise RefusedError("discrepancy.over", "没有这条，或已处理 / it is unknown or settled already")
    return {}


def purge_receivers(b: Batch, command: c.ReceiverPurge) -> dict[str, Any]:
    """Forget receivers by deleting their keys (D18)."""
    return {"purged": purge_keys(b.conn, shipped_before_ms=b.now_ms - command.days * DAY_MS, now_ms=b.now_ms)}


def _overlaps(row: Row[Any], command: c.CourierRange) -> bool:
    """True when both would write one number, wherever each parts it into prefix and digits."""
    if len(row.prefix) + row.digits != len(command.prefix) + command.digits:
        return False
    first, last = (f"{row.prefix}{number:0{row.digits}d}" for number in (row.next, row.last))
    wanted_first, wanted_last = (
        f"{command.prefix}{number:0{command.digits}d}" for number in (command.first, command.last)
    )
    return wanted_first <= last and first <= wanted_last


def _need_merchant(b: Batch, merchant: str) -> None:
    if b.row(st.merchant, merchant) is None:
        raise RefusedError("merchant.unknown", f"没有商家 {merchant} / there is no merchant {merchant}")


HANDLERS: Final[dict[str, Handler]] = {
    c.MerchantCreate.KIND: create_merchant,
    c.ServiceSet.KIND: set_service,
    c.ShopSet.KIND: set_shop,
    c.FeesSet.KIND: set_fees,
    c.PlatformSet.KIND: set_platform,
    c.TopUp.KIND: top_up,
    c.OrdersImport.KIND: intake.import_orders,
    c.OrdersRelease.KIND: intake.release_orders,
    c.LineCode.KIND: intake.set_line_code,
    c.AddressGiven.KIND: intake.give_address,
    c.OrderClose.KIND: closing.close_order,
    c.RefundAsked.KIND: closing.ask_refund,
    c.RefundWithdrawn.KIND: closing.withdraw_refund,
    c.TaskDecide.KIND: answers.decide_task,
    c.AskAnswer.KIND: answers.answer_ask,
    c.OverCapDecide.KIND: decide_excess,
    c.RoutesAssign.KIND: dispatch.assign_routes,
    c.TaskReassign.KIND: dispatch.reassign,
    c.PersonCreate.KIND: create_person,
    c.PersonEnd.KIND: devices.end_person,
    c.PersonBack.KIND: devices.let_back,
    c.DeviceCode.KIND: devices.keep_code,
    c.DeviceEnrol.KIND: devices.enrol,
    c.DeviceRenumber.KIND: damaged.renumber,
    c.DeviceNewKey.KIND: devices.ask_new_key,
    c.DeviceRevoke.KIND: devices.revoke,
    c.DeviceWriteOff.KIND: closing.write_off_device,
    c.DeviceAllowance.KIND: devices.set_allowance,
    c.DeviceCells.KIND: devices.set_cells,
    c.ReturnExpected.KIND: returns.expect_return,
    c.TripOpen.KIND: trips.open_trip,
    c.RefundDecide.KIND: returns.decide_refund,
    c.DiscrepancyResolve.KIND: resolve_discrepancy,
    c.ParkedRelease.KIND: daily.release_parked,
    c.OrphanAdopt.KIND: adoption.adopt_orphan,
    c.TasksHandOver.KIND: dispatch.hand_over,
    c.DayClose.KIND: daily.close_day,
    c.CourierRange.KIND: add_range,
    c.StallListed.KIND: list_stall,
    c.ReceiverPurge.KIND: purge_receivers,
}
