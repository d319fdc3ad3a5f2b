"""What a device asks over HTTP before and beside its link: enrolment, a token for the link, keys of sealed receivers.

Bodies and answers are JSON. A device proves its key by signing a nonce; the token it gets is good for fifteen minutes.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from server import commands
from server import schema as s
from server.api.rate import Rate
from server.pages import frame
from server.receivers import parcel_keys
from server.running import Running
from server.tokens import is_nonce, issue_nonce, issue_token, read_token
from sync_core.identity import Verifier, token_message

router = APIRouter(prefix="/api")

ENROLMENTS = Rate(count=20, window_ms=60_000)
"""Guesses at a code per address: 50 bits at twenty a minute outlast the sun."""
TOKENS = Rate(count=600, window_ms=60_000)
"""Per address: two hundred phones behind one router, each thrice a minute."""
PARCELS_MAX = 500

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]+$", max_length=256)]


class EnrolAsked(BaseModel):
    """A device redeems a one-time code."""

    model_config = ConfigDict(strict=True, extra="ignore")
    code: Annotated[str, Field(min_length=1, max_length=100)]
    public_key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    alg: Annotated[str, Field(max_length=20)] = "ed25519"
    program: Literal["", "field", "warehouse"] = ""


class TokenAsked(BaseModel):
    """A device wants a token; `signature` is over `nahuo token <device> <nonce>`."""

    model_config = ConfigDict(strict=True, extra="ignore")
    device: Annotated[int, Field(ge=0, le=99_999)]
    nonce: Annotated[str, Field(max_length=400)]
    signature: Hex


class KeysAsked(BaseModel):
    """A terminal fetches keys ahead of packing."""

    model_config = ConfigDict(strict=True, extra="ignore")
    parcels: Annotated[list[Annotated[str, Field(max_length=60)]], Field(max_length=PARCELS_MAX)]


class RenumberAsked(BaseModel):
    """A restored or copied device asks for another number; one whose file was damaged tells what it minted and saved; one that changes its
    key says so.
    """

    model_config = ConfigDict(strict=True, extra="ignore")
    public_key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    alg: Annotated[str, Field(max_length=20)] = "ed25519"
    damaged: bool = False
    serial: Annotated[int, Field(ge=0, le=999_999)] = 0
    labels: Annotated[list[Annotated[str, Field(pattern=r"^\d{12}$")]], Field(max_length=200)] = []
    rotated: bool = False


@router.post("/enrol")
async def enrol(request: Request, asked: EnrolAsked) -> Response:
    """Allot number, role, organisation and scope to a device; the same key may ask again when the answer was lost."""
    running = _running(request)
    if not ENROLMENTS.allow(_address(request), running.clock_ms()):
        return _refused(
            429, "enrol.throttled", "登记试得太多，请一分钟后再试。", "Too many attempts; try again in a minute."
        )
    if asked.alg != "ed25519":
        return _refused(422, "enrol.alg", "不认识这种密钥。", "This kind of key is not known.")
    digest = commands.enrol_code_digest(asked.code)
    if not await run_in_threadpool(_code_known, running, digest):
        return _refused(403, "enrol.code", "登记码不对、用过了或过期了。请在平台网页上再做一个。", "The code is wrong, used or expired: make another one on the platform's page.")  # fmt: skip  # noqa: E501
    command = commands.DeviceEnrol(code_digest=digest, public_key=asked.public_key, program=asked.program)
    return _told(await running.carry_out(command, by="device:new"))


@router.get("/device/nonce")
async def nonce(request: Request) -> Response:
    """A nonce for two minutes."""
    running = _running(request)
    return frame.as_json(
        {"nonce": issue_nonce(running.server.secret, random=secrets.token_bytes(16), now_ms=running.clock_ms())}
    )


@router.post("/device/token")
async def token(request: Request, asked: TokenAsked) -> Response:
    """A token for the link and the key fetch, and the certificate until the next contact (REL-R10)."""
    running = _running(request)
    now_ms = running.clock_ms()
    if not TOKENS.allow(_address(request), now_ms):
        return _refused(429, "token.throttled", "问得太勤，请稍后再试。", "Too many requests; try again later.")
    known = await run_in_threadpool(running.store.key_of, asked.device)
    signature = bytes.fromhex(asked.signature) if len(asked.signature) % 2 == 0 else b""
    right = (
        known is not None
        and is_nonce(running.server.secret, asked.nonce, now_ms=now_ms)
        and Verifier(known.public_key, known.alg)(signature, token_message(asked.device, asked.nonce))
    )
    if not right:
        return _refused(401, "token.signature", "设备的签名不对。", "The device's signature does not fit.")
    try:
        certificate = await running.heard(asked.device)
    except OSError:
        return _refused(503, "retry", "服务器正忙，请再试。", "The server is busy: try again.")
    return frame.as_json(
        {"token": issue_token(running.server.secret, asked.device, now_ms=now_ms), "certificate": certificate}
    )


@router.post("/device/renumber")
async def renumber(request: Request, asked: RenumberAsked) -> Response:
    """Allot another number to a restored or copied device, or one that changes its key; its token shows that it holds the old key."""
    running = _running(request)
    bearer = read_token(running.server.secret, frame.bearer(request) or "", now_ms=running.clock_ms())
    if bearer is None or bearer.documents is not None:
        return _refused(401, "token", "设备的凭证不对或过期了。", "The device's token is wrong or too old.")
    if asked.alg != "ed25519":
        return _refused(422, "enrol.alg", "不认识这种密钥。", "This kind of key is not known.")
    command = commands.DeviceRenumber(
        device=bearer.device,
        public_key=asked.public_key,
        damaged=asked.damaged,
        serial=asked.serial,
        labels=asked.labels,
        rotated=asked.rotated,
    )
    return _told(await running.carry_out(command, by=f"device:{bearer.device}"))


@router.post("/keys")
async def keys(request: Request, asked: KeysAsked) -> Response:
    """Keys of parcels' receivers, for warehouse terminals only; a revoked one gets none (D18)."""
    running = _running(request)
    found = await run_in_threadpool(_keys, running, frame.bearer(request) or "", asked.parcels)
    if found is None:
        return _refused(
            403, "keys.role", "只有仓库终端能取面单密钥。", "Only a warehouse terminal may fetch parcel keys."
        )
    return frame.as_json({"keys": found})


def _keys(running: Running, text: str, parcels: list[str]) -> dict[str, str] | None:
    bearer = read_token(running.server.secret, text, now_ms=running.clock_ms())
    known = None if bearer is None or bearer.documents is not None else running.store.key_of(bearer.device)
    if known is None or known.revoked or known.role != "warehouse":
        return None
    with running.store.reading() as conn:
        return parcel_keys(conn, parcels)


def _code_known(running: Running, digest: str) -> bool:
    with running.store.reading() as conn:
        return conn.execute(select(s.enrol_code.c.digest).where(s.enrol_code.c.digest == digest)).first() is not None


def _told(shown: Any) -> Response:
    if shown.state == "waiting":
        return _refused(503, "retry", "服务器正忙，请再试。", "The server is busy: try again.")
    if shown.state == "refused":
        return _refused(403, shown.code, shown.zh, shown.en)
    return frame.as_json({key: value for key, value in shown.result.items() if key != "ok"})


def _refused(status: int, code: str, zh: str, en: str) -> Response:
    return frame.as_json({"code": code, "message": f"{zh} {en}", "zh": zh, "en": en}, status)


def _running(request: Request) -> Running:
    running = request.app.state.serving
    assert isinstance(running, Running)
    return running


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else "?"
