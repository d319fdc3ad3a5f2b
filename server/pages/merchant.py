"""A merchant's pages: orders, wallet, decisions, returns, notices, settings. All reads and commands are limited to his own."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Form
from starlette.responses import Response

from server import commands
from server.ledger_reading import statement
from server.pages import reads_orders as reads
from server.pages import reads_platform
from server.pages.asking import Merchant
from server.pages.form_reading import make, plain, read_day, read_yuan
from server.pages.frame import csv_cell, yuan
from server.pages.names import read_names
from server.pages.problems import NotFoundError
from server.pages.reads_orders import PAGE_ROWS
from server.pages.telling import tell_fact
from trade.kinds import PRICE_FEN_MAX

router = APIRouter(prefix="/merchant")

Typed = Annotated[str, Form(max_length=500)]
Ticked = Annotated[str, Form(max_length=10)]
PAGE_MAX = 100_000


@router.get("")
def overview(asking: Merchant) -> Response:
    """Money, what waits for him, how far the orders are."""
    mine = asking.organisation
    with asking.serving.store.reading() as conn:
        values: dict[str, Any] = {
            "wallet": reads_platform.wallet(conn, mine),
            "counts": reads.order_counts(conn, mine),
            "decisions": reads.decisions(conn, mine),
            "held_parcels": reads.parcels_held_count(conn, mine),
            "notices": reads.notices(conn, mine)[0],
            "behind": reads_platform.devices_behind(conn, asking.now_ms),
        }
    return asking.show("merchant/overview.html", **values)


@router.get("/orders")
def orders(asking: Merchant, status: str = "", search: str = "", page: int = 1) -> Response:
    """His orders, newest first."""
    page = min(max(page, 1), PAGE_MAX)
    search = plain(search)[:60]
    with asking.serving.store.reading() as conn:
        found, more = reads.orders(conn, asking.organisation, status=status, search=search, page=page)
        counts = reads.order_counts(conn, asking.organisation)
        names = read_names(conn, asking.lang)
    return asking.show(
        "orders.html", base="/merchant", orders=found, more=more, page=page, status=status, search=search, counts=counts,
        names=names,
    )  # fmt: skip


@router.get("/orders/{order_id}")
def order(asking: Merchant, order_id: str) -> Response:
    """One order with its pieces' story and its money."""
    with asking.serving.store.reading() as conn:
        found = reads.order(conn, order_id, asking.organisation)
        if found is None:
            raise NotFoundError
        entries = reads.order_money(conn, order_id, found["merchant"])
        names = read_names(conn, asking.lang, (fact["subjects"][0] for fact in found["story"]))
        devices_out = reads.order_out(conn, order_id)
    return asking.show(
        "order.html",
        tell=partial(tell_fact, names=names),
        names=names,
        base="/merchant",
        order=found,
        entries=entries,
        devices_out=devices_out,
        may_act=True,
    )


@router.post("/orders/{order_id}/close")
async def close_order(asking: Merchant, order_id: str, reason: Typed = "") -> Response:
    """Close an order (D9)."""
    await _own(asking, order_id)
    return await asking.follow(
        make(commands.OrderClose, order=order_id, reason=reason.strip()), f"/merchant/orders/{order_id}"
    )


@router.post("/orders/{order_id}/refund")
async def refund_asked(asking: Merchant, order_id: str, withdrawn: Ticked = "") -> Response:
    """Record that the buyer asked for his money back, or took that back (E15)."""
    await _own(asking, order_id)
    model = commands.RefundWithdrawn if withdrawn else commands.RefundAsked
    return await asking.follow(make(model, order=order_id), f"/merchant/orders/{order_id}")


@router.post("/orders/{order_id}/address")
async def give_address(asking: Merchant, order_id: str, name: Typed, phone: Typed, address: Typed) -> Response:
    """Give the receiver in full; it is stored sealed and never shown whole again (D18)."""
    await _own(asking, order_id)
    command = make(
        commands.AddressGiven, order=order_id, name=name.strip(), phone=plain(phone), address=" ".join(address.split())
    )
    return await asking.follow(command, f"/merchant/orders/{order_id}")


@router.post("/orders/{order_id}/message-read")
async def message_read(asking: Merchant, order_id: str) -> Response:
    """The message was read: the order goes on (R33)."""
    await _own(asking, order_id)
    return await asking.follow(make(commands.OrdersRelease, orders=[order_id]), f"/merchant/orders/{order_id}")


@router.post("/orders/{order_id}/code")
async def better_code(asking: Merchant, order_id: str, line: Typed, code: Typed) -> Response:
    """A better product code for a line (R7)."""
    await _own(asking, order_id)
    command = make(commands.LineCode, order=order_id, line=line, code=code.strip())
    return await asking.follow(command, f"/merchant/orders/{order_id}")


@router.post("/orders/{order_id}/return")
async def expect_return(
    asking: Merchant, order_id: str, courier_no: Typed, piece: Annotated[list[str] | None, Form()] = None
) -> Response:
    """A buyer's parcel is on its way back under this courier number (R73)."""
    await _own(asking, order_id)
    command = make(
        commands.ReturnExpected, order=order_id, courier_no=plain(courier_no).replace(" ", ""), pieces=piece or None
    )
    return await asking.follow(command, f"/merchant/orders/{order_id}")


@router.get("/decisions")
def decisions(asking: Merchant) -> Response:
    """What waits for his word, oldest first."""
    with asking.serving.store.reading() as conn:
        found = reads.decisions(conn, asking.organisation)
        held = reads.parcels_held(conn, asking.organisation)
    return asking.show("merchant/decisions.html", base="/merchant", decisions=found, held_parcels=held, may_act=True)


@router.post("/decisions/{decision_id}")
async def decide(
    asking: Merchant, decision_id: int, choice: Typed, code: Typed = "", quote: Typed = "", day: Typed = ""
) -> Response:
    """His answer to a stock answer, a bounce, a price question, an excess or a lower refund."""
    one = await asking.read(_decision, asking, decision_id)
    command = _decided(one, choice, code=code, quote=quote, day=day)
    return await asking.follow(command, "/merchant/decisions")


@router.get("/wallet")
def wallet(asking: Merchant, page: int = 1) -> Response:
    """The wallet line by line, newest first, with running balances."""
    page = min(max(page, 1), PAGE_MAX)
    start = (page - 1) * PAGE_ROWS
    with asking.serving.store.reading() as conn:
        lines = statement(conn, asking.organisation)[::-1]
        shown, more = lines[start : start + PAGE_ROWS], len(lines) > start + PAGE_ROWS
        balances = reads_platform.wallet(conn, asking.organisation)
        names = read_names(conn, asking.lang, (f"order:{line.order}" for line in shown if line.order))
    return asking.show(
        "merchant/wallet.html", base="/merchant", path="/merchant/wallet", csv="/merchant/wallet.csv", wallet=balances,
        lines=shown, page=page, more=more, names=names,
    )  # fmt: skip


@router.get("/wallet.csv")
def wallet_csv(asking: Merchant) -> Response:
    """The whole statement as CSV, oldest first; it ends with today's balance to the fen."""
    with asking.serving.store.reading() as conn:
        lines = statement(conn, asking.organisation)
    return statement_file(lines, asking.lang, asking.instant, f"wallet-{asking.organisation}")


@router.get("/notices")
def notices(asking: Merchant, page: int = 1) -> Response:
    """What he was told (I14)."""
    page = min(max(page, 1), PAGE_MAX)
    with asking.serving.store.reading() as conn:
        found, more = reads.notices(conn, asking.organisation, page=page)
        names = read_names(conn, asking.lang, (one["subject"] for one in found))
    return asking.show("notices.html", base="/merchant", notices=found, page=page, more=more, names=names)


@router.get("/returns")
def returns(asking: Merchant, page: int = 1) -> Response:
    """Buyers' parcels on their way back, and his pieces in stock."""
    page = min(max(page, 1), PAGE_MAX)
    with asking.serving.store.reading() as conn:
        found, more = reads.returns(conn, asking.organisation, page=page)
        stock = reads.stock(conn, asking.organisation)
        names = read_names(conn, asking.lang)
    return asking.show(
        "merchant/returns.html", base="/merchant", returns=found, stock=stock, page=page, more=more, names=names
    )


@router.get("/settings")
def settings(asking: Merchant) -> Response:
    """His shops and what holds for them."""
    with asking.serving.store.reading() as conn:
        shops = reads.shops(conn, asking.organisation)
        couriers = reads_platform.couriers(conn)
    return asking.show("merchant/settings.html", shops=shops, couriers=couriers)


@router.post("/settings")
async def set_shop(
    asking: Merchant, shop: Typed, drop_ship: Ticked = "", hold_messages: Ticked = "",
    tolerance: Typed = "0", default_answer: Typed = "re_enter", courier: Typed = "", requirements: Typed = "",
) -> Response:  # fmt: skip
    """Change what holds for a shop of his."""
    await _own_shop(asking, shop)
    command = make(
        commands.ShopSet, shop=shop, merchant=asking.organisation, drop_ship=bool(drop_ship),
        hold_messages=bool(hold_messages), tolerance_fen=read_yuan(tolerance or "0", fen_max=PRICE_FEN_MAX),
        default_answer=default_answer, courier=courier.strip(), requirements=requirements.strip(),
    )  # fmt: skip
    return await asking.follow(command, "/merchant/settings")


def statement_file(lines: Any, lang: str, shown: Callable[[int], str], name: str) -> Response:
    """Return a statement as a CSV file that a spreadsheet opens in Chinese, too."""
    out = io.StringIO()
    writer = csv.writer(out)
    zh = lang == "zh"
    writer.writerow(
        ("序号", "时间", "原因", "订单", "件码", "可用变动", "冻结变动", "可用余额", "冻结余额")
        if zh
        else ("entry", "time", "why", "order", "piece", "available_change", "held_change", "available", "held")
    )
    for line in lines:
        amounts = (line.available_change_fen, line.held_change_fen, line.available_fen, line.held_fen)
        why = csv_cell(line.zh if zh else line.en)
        writer.writerow(
            (
                line.entry,
                shown(line.at_ms),
                why,
                csv_cell(line.order),
                line.piece,
                *(yuan(fen).replace(",", "") for fen in amounts),
            )
        )
    return Response(
        "\ufeff" + out.getvalue(),
        media_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{name.encode("ascii", "ignore").decode() or "wallet"}.csv"'
        },
    )


def _decision(asking: Merchant, decision_id: int) -> dict[str, Any]:
    with asking.serving.store.reading() as conn:
        found = reads.decisions(conn, asking.organisation, only=decision_id)
    if not found:
        raise NotFoundError
    return found[0]


def _decided(one: dict[str, Any], choice: str, *, code: str, quote: str, day: str) -> commands.Command:
    subject = one["subject"].partition(":")[2] or one["subject"]
    match one["kind"]:
        case "ask":
            return make(commands.AskAnswer, task=subject, accepted=choice == "accept")
        case "over_cap":
            return make(commands.OverCapDecide, piece=subject, accepted=choice == "accept")
        case "refund":
            return make(commands.RefundDecide, piece=subject, choice=choice)
        case _:
            return make(
                commands.TaskDecide,
                task=subject,
                choice=choice,
                code=code.strip() if choice == "change_stall" else None,
                quote_fen=read_yuan(quote, fen_max=PRICE_FEN_MAX, fen_min=1) if quote.strip() else None,
                on_day=read_day(day) if choice == "on_day" else None,
            )


async def _own(asking: Merchant, order_id: str) -> None:
    """Refuse what is another merchant's exactly as what does not exist."""

    def look() -> bool:
        with asking.serving.store.reading() as conn:
            return reads.owner_of_order(conn, order_id) == asking.organisation

    if not await asking.read(look):
        raise NotFoundError


async def _own_shop(asking: Merchant, shop: str) -> None:
    def look() -> bool:
        with asking.serving.store.reading() as conn:
            return any(row["name"] == shop for row in reads.shops(conn, asking.organisation))

    if not await asking.read(look):
        raise NotFoundError
