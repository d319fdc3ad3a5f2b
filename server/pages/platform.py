"""The platform's pages about the trade: orders, routes, discrepancies, quarantine, ledger, merchants, stalls, couriers, trips."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Form
from starlette.responses import Response

from server import commands
from server.ledger import AMOUNT_FEN_MAX
from server.ledger_reading import statement
from server.pages import reads_orders as reads
from server.pages import reads_platform
from server.pages.asking import Admin, Asking, Platform
from server.pages.form_reading import make, plain, read_count, read_day, read_yuan
from server.pages.merchant import PAGE_MAX, Ticked, Typed, statement_file
from server.pages.names import read_names
from server.pages.problems import NotFoundError
from server.pages.reads_orders import PAGE_ROWS
from server.pages.telling import tell_fact
from server.settings import Settings, read_settings
from sync_core.errors import RefusedError
from trade.kinds import PRICE_FEN_MAX

router = APIRouter(prefix="/platform")

BASE = "/platform"


@router.get("")
def overview(asking: Platform) -> Response:
    """What needs a person, and where all pieces are."""
    with asking.serving.store.reading() as conn:
        figures = reads_platform.figures(conn, asking.now_ms)
        values: dict[str, Any] = {
            "figures": figures,
            "counts": reads.order_counts(conn, None),
            "discrepancies": reads_platform.discrepancies(conn)[0][:6],
            "devices": [row for row in asking.devices(conn) if row["behind"]],
            "trouble": asking.serving.trouble(),
            "overtaken": asking.serving.store.is_overtaken,
        }
        values["names"] = read_names(conn, asking.lang, (one["subject"] for one in values["discrepancies"]))
    return asking.show("platform/overview.html", **values)


@router.get("/orders")
def orders(asking: Platform, status: str = "", search: str = "", page: int = 1) -> Response:
    """All merchants' orders."""
    page = min(max(page, 1), PAGE_MAX)
    search = plain(search)[:60]
    with asking.serving.store.reading() as conn:
        found, more = reads.orders(conn, None, status=status, search=search, page=page)
        counts = reads.order_counts(conn, None)
        names = read_names(conn, asking.lang)
    return asking.show(
        "orders.html", base=BASE, orders=found, more=more, page=page, status=status, search=search, counts=counts,
        names=names,
    )  # fmt: skip


@router.get("/orders/{order_id}")
def order(asking: Platform, order_id: str) -> Response:
    """One order, read only: decisions about it are its merchant's."""
    with asking.serving.store.reading() as conn:
        found = reads.order(conn, order_id, None)
        if found is None:
            raise NotFoundError
        entries = reads.order_money(conn, order_id, found["merchant"])
        names = read_names(conn, asking.lang, (fact["subjects"][0] for fact in found["story"]))
    return asking.show(
        "order.html",
        tell=partial(tell_fact, names=names),
        names=names,
        base=BASE,
        order=found,
        entries=entries,
        devices_out=[],
        may_act=False,
    )


@router.get("/routes")
def routes(asking: Platform) -> Response:
    """Open routes, and what waits to be assigned, by stall (D4)."""
    with asking.serving.store.reading() as conn:
        found = reads_platform.routes(conn)
        ready = reads_platform.ready_tasks(conn)
        pickers = [row for row in asking.devices(conn) if row["role"] == "picker" and not row["ended"]]
        names = read_names(conn, asking.lang)
    return asking.show("platform/routes.html", routes=found, ready=ready, pickers=pickers, names=names)


@router.post("/routes/assign")
async def assign(asking: Platform, day: Typed = "", device: Annotated[list[str] | None, Form()] = None) -> Response:
    """Give what is ready to the pickers' routes."""
    devices = [read_count(one, at_most=99_999) for one in device] if device else None
    command = make(commands.RoutesAssign, day=read_day(day) if day.strip() else None, devices=devices)
    return await asking.follow(command, "/platform/routes")


@router.get("/routes/{document:path}")
def route(asking: Platform, document: str) -> Response:
    """The tasks of one route, in the order of the walk."""
    with asking.serving.store.reading() as conn:
        found = next((row for row in reads_platform.routes(conn) if row["name"] == document), None)
        if found is None:
            raise NotFoundError
        tasks = reads_platform.route_tasks(conn, document)
        pickers = [row for row in asking.devices(conn) if row["role"] == "picker" and not row["ended"]]
        names = read_names(conn, asking.lang)
    return asking.show("platform/route.html", route=found, tasks=tasks, pickers=pickers, names=names)


@router.post("/tasks/{task_id}/reassign")
async def reassign(asking: Platform, task_id: str, device: Typed, route: Typed = "") -> Response:
    """Give a task to another device (D4)."""
    command = make(commands.TaskReassign, task=task_id, device=read_count(device, at_most=99_999))
    return await asking.follow(command, f"/platform/routes/{route}" if route else "/platform/routes")


@router.get("/discrepancies")
def discrepancies(asking: Platform, all: str = "", page: int = 1) -> Response:
    """Facts that contradict each other: owner, age, explanation."""
    page = min(max(page, 1), PAGE_MAX)
    with asking.serving.store.reading() as conn:
        found, more = reads_platform.discrepancies(conn, open_only=not all, page=page)
        names = read_names(conn, asking.lang, (one["subject"] for one in found))
    return asking.show("platform/discrepancies.html", discrepancies=found, more=more, page=page, all=all, names=names)


@router.post("/discrepancies/{discrepancy}/resolve")
async def resolve(asking: Platform, discrepancy: int, note: Typed) -> Response:
    """A person has dealt with it, and says how."""
    command = make(commands.DiscrepancyResolve, discrepancy=discrepancy, note=note.strip())
    return await asking.follow(command, "/platform/discrepancies")


@router.get("/orphans")
def orphans(asking: Platform) -> Response:
    """Labels scanned in that no phone explains (E12, E29)."""
    with asking.serving.store.reading() as conn:
        found = reads_platform.orphans(conn)
        people = reads_platform.people(conn)
        names = read_names(conn, asking.lang, (f"task:{one['task']}" for one in found if one["task"]))
    return asking.show("platform/orphans.html", orphans=found, people=people, names=names)


@router.post("/orphans/{piece}/adopt")
async def adopt(
    asking: Platform, piece: str, price: Typed = "", task: Typed = "", means: Typed = "cash", person: Typed = ""
) -> Response:
    """Its phone is lost: take the label's word for the purchase (E29)."""
    command = make(
        commands.OrphanAdopt, piece=plain(piece), task=plain(task) or None, means=plain(means), person=plain(person) or None,
        price_fen=read_yuan(price, fen_max=PRICE_FEN_MAX, fen_min=1) if price.strip() else None,
    )  # fmt: skip
    return await asking.follow(command, "/platform/orphans")


@router.get("/quarantine")
def quarantine(asking: Platform, page: int = 1) -> Response:
    """What devices sent and the hub could not take; kept, with its code."""
    page = min(max(page, 1), PAGE_MAX)
    with asking.serving.store.reading() as conn:
        found, more = reads_platform.quarantine(conn, page=page)
        names = read_names(conn, asking.lang)
    return asking.show("platform/quarantine.html", quarantine=found, more=more, page=page, names=names)


@router.get("/ledger")
def ledger(asking: Platform, account: str = "", page: int = 1) -> Response:
    """The journal: every entry with its lines; all accounts add up to zero (I6)."""
    page = min(max(page, 1), PAGE_MAX)
    with asking.serving.store.reading() as conn:
        entries, more = reads_platform.entries(conn, account=account[:200], page=page)
        accounts = reads_platform.accounts(conn)
        names = read_names(conn, asking.lang, (f"order:{one['order_id']}" for one in entries if one["order_id"]))
    return asking.show(
        "platform/ledger.html",
        entries=entries,
        more=more,
        page=page,
        accounts=accounts,
        chosen=account[:200],
        names=names,
    )


@router.get("/merchants")
def merchants(asking: Platform) -> Response:
    """Merchants with their money and shops."""
    with asking.serving.store.reading() as conn:
        found, couriers = reads_platform.merchants(conn), reads_platform.couriers(conn)
    return asking.show("platform/merchants.html", merchants=found, couriers=couriers)


@router.post("/merchants")
async def add_merchant(asking: Platform, id: Typed, name: Typed, phone: Typed = "") -> Response:
    """A new merchant."""
    command = make(commands.MerchantCreate, id=plain(id), name=name.strip(), phone=plain(phone))
    return await asking.follow(command, "/platform/merchants")


@router.post("/merchants/{merchant}/top-up")
async def top_up(asking: Platform, merchant: str, amount: Typed, key: Typed, note: Typed = "") -> Response:
    """Money came in; the same bank reference counts once (R20)."""
    amount_fen = read_yuan(amount, fen_max=AMOUNT_FEN_MAX, fen_min=1)
    command = make(commands.TopUp, merchant=merchant, amount_fen=amount_fen, key=plain(key), note=note.strip())
    return await asking.follow(command, "/platform/merchants")


@router.post("/merchants/{merchant}/shops")
async def add_shop(asking: Platform, merchant: str, shop: Typed, courier: Typed = "") -> Response:
    """A new shop of a merchant; he sets the rest himself, and this form sent again changes nothing of it."""
    if await asking.read(_shop_known, asking, shop.strip()):
        raise RefusedError("shop.taken", "这个店铺已经有了 / this shop is there already")
    command = make(commands.ShopSet, shop=shop.strip(), merchant=merchant, courier=courier.strip())
    return await asking.follow(command, "/platform/merchants")


@router.get("/merchants/{merchant}/wallet")
def merchant_wallet(asking: Platform, merchant: str, page: int = 1) -> Response:
    """A merchant's statement, as he sees it."""
    page = min(max(page, 1), PAGE_MAX)
    start, path = (page - 1) * PAGE_ROWS, f"/platform/merchants/{merchant}/wallet"
    with asking.serving.store.reading() as conn:
        lines = statement(conn, merchant)[::-1]
        shown, more = lines[start : start + PAGE_ROWS], len(lines) > start + PAGE_ROWS
        balances = reads_platform.wallet(conn, merchant)
        names = read_names(conn, asking.lang, (f"order:{line.order}" for line in shown if line.order))
    return asking.show(
        "merchant/wallet.html", base=BASE, path=path, csv=f"{path}.csv", wallet=balances, merchant_name=names.owner(merchant),
        lines=shown, page=page, more=more, names=names,
    )  # fmt: skip


@router.get("/merchants/{merchant}/wallet.csv")
def merchant_wallet_csv(asking: Platform, merchant: str) -> Response:
    """A merchant's whole statement as CSV."""
    with asking.serving.store.reading() as conn:
        lines = statement(conn, merchant)
    return statement_file(lines, asking.lang, asking.instant, f"wallet-{merchant}")


@router.get("/stalls")
def stalls(asking: Platform, search: str = "", page: int = 1) -> Response:
    """The stall directory."""
    page = min(max(page, 1), PAGE_MAX)
    with asking.serving.store.reading() as conn:
        found, more = reads_platform.stalls(conn, search=plain(search)[:60], page=page)
    return asking.show("platform/stalls.html", stalls=found, more=more, page=page, search=plain(search)[:60])


@router.post("/stalls")
async def list_stall(
    asking: Platform,
    market: Typed,
    stall: Typed,
    floor: Typed = "",
    name: Typed = "",
    aisle: Typed = "",
    returns_days: Typed = "7",
) -> Response:
    """A stall and its return terms (D21)."""
    command = make(
        commands.StallListed, market=plain(market), floor=plain(floor), stall=plain(stall), name=name.strip(),
        aisle=aisle.strip(), returns_days=read_count(returns_days, at_most=365),
    )  # fmt: skip
    return await asking.follow(command, "/platform/stalls")


@router.get("/couriers")
def couriers(asking: Platform) -> Response:
    """Number ranges, and what fees hold."""
    with asking.serving.store.reading() as conn:
        ranges = reads_platform.courier_ranges(conn)
        settings = read_settings(conn)
    return asking.show("platform/couriers.html", ranges=ranges, fees=settings.fees, settings=settings)


@router.post("/couriers")
async def add_range(
    asking: Platform, courier: Typed, first: Typed, last: Typed, digits: Typed = "12", prefix: Typed = "",
    three_part_code: Typed = "", bag_place: Typed = "",
) -> Response:  # fmt: skip
    """Waybill numbers leased from a courier (D17)."""
    command = make(
        commands.CourierRange, courier=courier.strip(), prefix=plain(prefix), first=read_count(first, at_most=10**15 - 1),
        last=read_count(last, at_most=10**15 - 1), digits=read_count(digits, at_most=15),
        three_part_code=three_part_code.strip(), bag_place=bag_place.strip(),
    )  # fmt: skip
    return await asking.follow(command, "/platform/couriers")


@router.post("/fees")
async def set_fees(
    asking: Admin,
    commission: Typed = "0",
    commission_percent: Typed = "0",
    courier: Typed = "0",
    packing: Typed = "0",
    check: Typed = "0",
) -> Response:
    """The fee table for orders accepted from now on (R65); what provinces cost otherwise stays as it was set on the server."""
    known = await asking.read(_settings, asking)
    command = make(
        commands.FeesSet,
        commission_fen_per_piece=read_yuan(commission, fen_max=PRICE_FEN_MAX),
        commission_basis_points=read_yuan(commission_percent, fen_max=100_00),
        courier_fen=read_yuan(courier, fen_max=PRICE_FEN_MAX),
        courier_fen_by_region=dict(known.fees.courier_fen_by_region),
        packing_fen=read_yuan(packing, fen_max=PRICE_FEN_MAX),
        check_fen_per_piece=read_yuan(check, fen_max=PRICE_FEN_MAX),
    )
    return await asking.follow(command, "/platform/couriers")


@router.post("/settings")
async def set_platform(
    asking: Admin,
    commission_stays: Ticked = "",
    remote_regions: Typed = "",
    day_starts: Typed = "18:00",
    offline_days: Typed = "7",
    offline_actions: Typed = "2000",
    offline_yuan: Typed = "100000",
) -> Response:
    """What a close costs, which regions wait for a person, when the business day starts (D9, D22), what may be done offline (REL-R10)."""
    hours, _, minutes = plain(day_starts).partition(":")
    known = await asking.read(_settings, asking)
    command = make(
        commands.PlatformSet, commission_stays=bool(commission_stays),
        remote_regions=plain(remote_regions).replace("、", " ").replace(",", " ").split(),
        day_starts_minutes=read_count(hours, at_most=23) * 60 + read_count(minutes or "0", at_most=59),
        utc_offset_minutes=known.calendar.utc_offset_minutes,
        offline_days=read_count(offline_days, at_most=90), offline_actions=read_count(offline_actions, at_most=1_000_000),
        offline_fen=read_yuan(offline_yuan, fen_max=10**11),
    )  # fmt: skip
    return await asking.follow(command, "/platform/couriers")


@router.get("/trips")
def trips(asking: Platform) -> Response:
    """The runners' trips, buyers' parcels, stock (D15)."""
    with asking.serving.store.reading() as conn:
        found = reads_platform.trips(conn)
        returned, more = reads.returns(conn, None)
        stock = reads.stock(conn, None)
        runners = [row for row in asking.devices(conn) if row["role"] == "runner" and not row["ended"]]
        names = read_names(conn, asking.lang)
    return asking.show(
        "platform/trips.html", base=BASE, trips=found, returns=returned, more=more, page=1, stock=stock, runners=runners,
        names=names,
    )  # fmt: skip


@router.post("/trips")
async def open_trip(asking: Platform, device: Typed, trip: Typed = "") -> Response:
    """A runner takes a bag to the stalls."""
    command = make(commands.TripOpen, device=read_count(device, at_most=99_999), trip=trip.strip() or None)
    return await asking.follow(command, "/platform/trips")


@router.post("/day-close")
async def close_day(asking: Platform, sure: Ticked = "") -> Response:
    """The daily close (D6, D8)."""
    _ = sure
    return await asking.follow(make(commands.DayClose), "/platform")


@router.get("/notices")
def notices(asking: Platform, page: int = 1) -> Response:
    """What the platform was told."""
    page = min(max(page, 1), PAGE_MAX)
    with asking.serving.store.reading() as conn:
        found, more = reads.notices(conn, "platform", page=page)
        names = read_names(conn, asking.lang, (one["subject"] for one in found))
    return asking.show("notices.html", base=BASE, notices=found, page=page, more=more, names=names)


def _settings(asking: Asking) -> Settings:
    with asking.serving.store.reading() as conn:
        return read_settings(conn)


def _shop_known(asking: Asking, name: str) -> bool:
    with asking.serving.store.reading() as conn:
        return any(row["name"] == name for row in reads.shops(conn, None))
