"""The platform's pages about devices and people: enrolment codes, revoking, PINs, accounts of the pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlencode

import segno
from fastapi import APIRouter, Form
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from server import commands
from server.auth import PLATFORM, WebRole
from server.pages import frame, reads_platform
from server.pages import reads_orders as reads
from server.pages.asking import Admin, Asking, Platform
from server.pages.form_reading import make, plain, read_count, read_yuan
from server.pages.merchant import Typed
from server.pages.names import read_names
from server.pages.problems import NotFoundError
from sync_core.errors import RefusedError
from trade.kinds import PRICE_FEN_MAX

router = APIRouter(prefix="/platform")


@router.get("/devices")
def devices(asking: Platform) -> Response:
    """All devices with lag and queue, and the codes that still enrol one."""
    return _devices_page(asking)


@router.post("/devices/codes")
async def make_code(
    asking: Platform, role: Typed, name: Typed, people: Annotated[list[str] | None, Form()] = None, warehouse: Typed = "main",
    organisation: Typed = "platform", valid_minutes: Typed = "60",
) -> Response:  # fmt: skip
    """Make a one-time code. It is shown now and never again: the database holds only its digest."""
    code, digest = commands.new_enrol_code()
    command = make(
        commands.DeviceCode, code_digest=digest, role=role, name=name.strip(), people=people or [], warehouse=warehouse.strip() or "main",
        organisation=organisation, valid_minutes=read_count(valid_minutes, at_most=7 * 24 * 60),
    )  # fmt: skip
    shown = await asking.serving.carry_out(command, by=asking.author)
    if shown.state == "refused":
        return asking.tell(shown, "/platform/devices")
    server_url = str(asking.request.base_url).rstrip("/")
    if frame.wants_json(asking.request):
        return frame.as_json({"command": shown.command, "state": shown.state, "code": code, "server": server_url})
    link = "nahuo://enrol?" + urlencode({"server": server_url, "code": code})
    qr = Markup(segno.make(link, error="m").svg_inline(scale=5, border=2, dark="#0a4f3c"))
    made = {
        "code": f"{code[:5]} {code[5:]}",
        "qr": qr,
        "name": name,
        "role": role,
        "minutes": valid_minutes,
        "server": server_url,
    }
    return await run_in_threadpool(_devices_page, asking, made)


@router.post("/devices/{number}/revoke")
async def revoke(asking: Platform, number: int) -> Response:
    """A lost phone or a dismissed picker: it may do nothing any more."""
    return await asking.follow(make(commands.DeviceRevoke, device=number), "/platform/devices")


@router.post("/devices/{number}/new-key")
async def new_key(asking: Platform, number: int) -> Response:
    """It takes another key when it is connected; what comes under the old one from then on waits."""
    return await asking.follow(make(commands.DeviceNewKey, device=number), "/platform/devices")


@router.post("/devices/{number}/write-off")
async def write_off(asking: Platform, number: int) -> Response:
    """It will never answer: its recalls count as answered (D9)."""
    return await asking.follow(make(commands.DeviceWriteOff, device=number), "/platform/devices")


@router.post("/devices/{number}/hand-over")
async def hand_over(asking: Platform, number: int, to: Typed) -> Response:
    """Another phone takes over all that is out on this one (D4, E29)."""
    command = make(commands.TasksHandOver, device=number, to=read_count(to, at_most=99_999))
    return await asking.follow(command, "/platform/devices")


@router.post("/devices/{number}/allowance")
async def allowance(asking: Platform, number: int, per_piece: Typed, per_day: Typed) -> Response:
    """How far it may go above a cap (D7)."""
    command = make(
        commands.DeviceAllowance, device=number, per_piece_fen=read_yuan(per_piece, fen_max=PRICE_FEN_MAX),
        per_day_fen=read_yuan(per_day, fen_max=100 * PRICE_FEN_MAX),
    )  # fmt: skip
    return await asking.follow(command, "/platform/devices")


@router.post("/devices/{number}/cells")
async def cells(asking: Platform, number: int, cells: Annotated[str, Form(max_length=20_000)]) -> Response:
    """The cells of a terminal's wall: names divided by spaces, or a range like `A01-A40` (D16)."""
    return await asking.follow(make(commands.DeviceCells, device=number, cells=read_cells(cells)), "/platform/devices")


@router.post("/devices/{number}/release-parked")
async def release_parked(asking: Platform, number: int) -> Response:
    """What a revoked device delivered counts after all."""
    return await asking.follow(make(commands.ParkedRelease, device=number), "/platform/devices")


@router.get("/people")
def people(asking: Platform) -> Response:
    """Those who sign in on devices by PIN."""
    with asking.serving.store.reading() as conn:
        found = reads_platform.people(conn)
        names = read_names(conn, asking.lang)
    return asking.show("platform/people.html", people=found, names=names)


@router.post("/people")
async def add_person(asking: Platform, id: Typed, name: Typed, pin: Annotated[str, Form(max_length=40)]) -> Response:
    """Somebody who may sign in on devices; the same id again changes name and PIN of somebody who has not left."""
    salt, hashed = await run_in_threadpool(commands.pin_hash, plain(pin))
    command = make(commands.PersonCreate, id=plain(id), name=name.strip(), pin_salt=salt, pin_hash=hashed)
    return await asking.follow(command, "/platform/people")


@router.post("/people/{person}/end")
async def end_person(asking: Platform, person: str) -> Response:
    """Somebody left (E31)."""
    return await asking.follow(make(commands.PersonEnd, person=person), "/platform/people")


@router.post("/people/{person}/back")
async def let_back(asking: Platform, person: str, ended_ms: Typed) -> Response:
    """Whoever left then is back; his PIN is the one he had."""
    command = make(commands.PersonBack, person=person, ended_ms=read_count(ended_ms, at_most=10**15))
    return await asking.follow(command, "/platform/people")


@router.get("/users")
def users(asking: Admin) -> Response:
    """Who may sign in on the pages."""
    return _users_page(asking)


@router.post("/users")
async def add_user(
    asking: Admin, name: Typed, password: Typed, role: Typed, shown_name: Typed = "", organisation: Typed = PLATFORM
) -> Response:
    """A new account of the pages."""
    if role not in tuple(WebRole):
        raise RefusedError("account.role", "没有这个角色 / there is no such role")
    if organisation != PLATFORM and not await asking.read(_merchant_known, asking, organisation):
        raise NotFoundError
    await run_in_threadpool(
        asking.serving.accounts.add, name=name, shown_name=shown_name, password=password, role=WebRole(role),
        organisation=PLATFORM if role in ("admin", "clerk") else organisation, now_ms=asking.now_ms,
    )  # fmt: skip
    return frame.as_json({"state": "done"}) if frame.wants_json(asking.request) else frame.go_to("/platform/users")


@router.post("/users/{account}/password")
async def set_password(asking: Admin, account: int, password: Typed) -> Response:
    """Set a new password for somebody who forgot his; his sessions end."""
    await run_in_threadpool(asking.serving.accounts.set_password, account, password)
    return frame.go_to("/platform/users")


@router.post("/users/{account}/end")
async def end_user(asking: Admin, account: int) -> Response:
    """End an account; nobody ends his own, so that an administrator always remains."""
    if account == asking.account.id:
        raise RefusedError("account.own", "不能停用自己 / you cannot end your own account")
    await run_in_threadpool(asking.serving.accounts.end, account, now_ms=asking.now_ms)
    return frame.go_to("/platform/users")


def read_cells(text: str) -> list[str]:
    """`A01-A03 B1` -> `[A01, A02, A03, B1]`.

    Raises:
        RefusedError: `form.cells`: a range that is none, or too many.
    """
    names: list[str] = []
    for word in plain(text).replace(",", " ").replace("，", " ").replace("、", " ").split():
        first, dash, last = word.partition("-")
        prefix = first.rstrip("0123456789")
        start, end = first[len(prefix) :], last[len(prefix) :] if last.startswith(prefix) else ""
        if dash and start and end.isdigit() and len(end) <= 4 and len(start) <= 4 and int(start) <= int(end):
            names += [f"{prefix}{number:0{len(start)}d}" for number in range(int(start), int(end) + 1)]
        elif dash:
            raise RefusedError("form.cells", f"格口范围写成 A01-A40：{word[:30]} / write a range like A01-A40")
        else:
            names.append(word)
    if not 1 <= len(names) <= 2000:
        raise RefusedError("form.cells", "格口要 1 到 2000 个 / 1 to 2000 cells")
    return list(dict.fromkeys(names))


def _devices_page(asking: Asking, made: Mapping[str, object] | None = None) -> Response:
    with asking.serving.store.reading() as conn:
        found = asking.devices(conn)
        codes = reads_platform.enrol_codes(conn, asking.now_ms)
        known = [row for row in reads_platform.people(conn) if row["ended_ms"] is None]
        names = read_names(conn, asking.lang)
    return asking.show("platform/devices.html", devices=found, codes=codes, people=known, made=made, names=names)


def _users_page(asking: Asking) -> Response:
    with asking.serving.store.reading() as conn:
        merchants = reads_platform.merchants(conn)
        names = read_names(conn, asking.lang)
    return asking.show(
        "platform/users.html", users=asking.serving.accounts.of_organisation(), merchants=merchants, roles=list(WebRole),
        names=names,
    )  # fmt: skip


def _merchant_known(asking: Asking, merchant: str) -> bool:
    with asking.serving.store.reading() as conn:
        return reads.merchant_exists(conn, merchant)
