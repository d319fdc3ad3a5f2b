"""A small JSON API to read what the pages show, and to sign in as a program: session cookie or `Authorization: Bearer`.

`POST /api/session {name, password}` -> `{token}`. Every form of the pages also takes that bearer (no form token is needed then) and
answers JSON to `Accept: application/json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from server.auth import Throttled, WrongPassword
from server.ledger_reading import statement
from server.pages import frame, reads_platform
from server.pages import reads_orders as reads
from server.pages.asking import Asking, Platform, Serving, SignedInAsking
from server.pages.merchant import PAGE_MAX
from server.pages.problems import NotFoundError

router = APIRouter(prefix="/api")


class SessionAsked(BaseModel):
    """A name and its password."""

    model_config = ConfigDict(strict=True, extra="forbid")
    name: Annotated[str, Field(max_length=60)]
    password: Annotated[str, Field(max_length=200)]


@router.post("/session")
async def open_session(request: Request, asked: SessionAsked) -> Response:
    """Sign in as a program."""
    serving: Serving = request.app.state.serving
    address = request.client.host if request.client is not None else "?"
    outcome = await run_in_threadpool(
        serving.accounts.sign_in, asked.name, asked.password, address=address, now_ms=serving.clock_ms()
    )
    match outcome:
        case WrongPassword():
            return frame.as_json(
                {"code": "sign_in", "zh": "名字或密码不对。", "en": "The name or the password is wrong."}, 401
            )
        case Throttled():
            return frame.as_json({"code": "sign_in.throttled", "zh": "错误太多，请稍后再试。", "en": "Too many wrong attempts.", "wait_ms": outcome.wait_ms}, 429)  # fmt: skip  # noqa: E501
    return frame.as_json(
        {"token": outcome.token, "role": outcome.account.role.value, "organisation": outcome.account.organisation}
    )


@router.get("/orders")
def orders(asking: SignedInAsking, status: str = "", search: str = "", page: int = 1) -> Response:
    """One page of orders: a merchant's own, or all."""
    page = min(max(page, 1), PAGE_MAX)
    with asking.serving.store.reading() as conn:
        found, more = reads.orders(conn, _whose(asking), status=status, search=search[:60], page=page)
        counts = reads.order_counts(conn, _whose(asking))
    return _json({"orders": found, "more": more, "counts": counts})


@router.get("/orders/{order_id}")
def order(asking: SignedInAsking, order_id: str) -> Response:
    """One order with its story."""
    with asking.serving.store.reading() as conn:
        found = reads.order(conn, order_id, _whose(asking))
    if found is None:
        raise NotFoundError
    return _json(found)


@router.get("/wallet")
def wallet(asking: SignedInAsking, merchant: str = "") -> Response:
    """A merchant's balances and statement, oldest first; the platform names the merchant."""
    who = _whose(asking) or merchant
    with asking.serving.store.reading() as conn:
        if not reads.merchant_exists(conn, who):
            raise NotFoundError
        lines = [asdict(line) for line in statement(conn, who)]
        return _json({**reads_platform.wallet(conn, who), "lines": lines})


@router.get("/decisions")
def decisions(asking: SignedInAsking) -> Response:
    """What waits for a merchant's word."""
    with asking.serving.store.reading() as conn:
        return _json({"decisions": reads.decisions(conn, _whose(asking))})


@router.get("/devices")
def devices(asking: Platform) -> Response:
    """All devices with their lag."""
    with asking.serving.store.reading() as conn:
        return _json({"devices": asking.devices(conn)})


@router.get("/overview")
def overview(asking: Platform) -> Response:
    """The numbers of the platform's first page."""
    with asking.serving.store.reading() as conn:
        return _json({**reads_platform.figures(conn, asking.now_ms), "orders": reads.order_counts(conn, None)})


@router.get("/discrepancies")
def discrepancies(asking: Platform, all: str = "") -> Response:
    """Contradictions with owner, age and words."""
    with asking.serving.store.reading() as conn:
        return _json({"discrepancies": reads_platform.discrepancies(conn, open_only=not all)[0]})


@router.get("/commands/{command}")
def command(asking: SignedInAsking, command: int) -> Response:
    """What became of a command of one's own."""
    shown = asking.serving.outcome(command, by=asking.author)
    if shown is None:
        raise NotFoundError
    return (
        asking.tell(shown, "/")
        if frame.wants_json(asking.request)
        else _json({"state": shown.state, "result": shown.result})
    )


def _whose(asking: Asking) -> str | None:
    return None if asking.account.of_platform else asking.organisation


def _json(value: Mapping[str, Any]) -> Response:
    """JSON of rows; bytes never stand in one."""
    return Response(json.dumps(value, ensure_ascii=False, default=str), media_type="application/json")
