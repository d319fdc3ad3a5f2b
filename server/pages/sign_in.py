"""Signing in and out, the language switch, and the way to each one's first page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from server.auth import SignedIn, Throttled, WrongPassword
from server.pages import frame
from server.pages.asking import Anybody, Asking, SignedInAsking, set_cookie
from sync_core.errors import RefusedError

router = APIRouter()

Field = Annotated[str, Form(max_length=500)]


@router.get("/")
async def home(asking: Anybody) -> Response:
    """Go to the first page of whoever is signed in."""
    if asking.session is None:
        return frame.go_to("/sign-in")
    return frame.go_to("/platform" if asking.account.of_platform else "/merchant")


@router.get("/sign-in")
async def sign_in_page(asking: Anybody, next: str = "", name: str = "") -> Response:
    """The form; a name may come with the address."""
    if asking.session is not None:
        return frame.go_to("/")
    return asking.show("sign_in.html", next=frame.local_path(next, ""), name=name[:60], problem=None)


@router.post("/sign-in")
async def sign_in(asking: Anybody, name: Field, password: Field, next: Field = "") -> Response:
    """Open a session, or say in plain words why not."""
    outcome = await try_password(asking, name, password)
    match outcome:
        case SignedIn():
            answer = frame.go_to(frame.local_path(next, "/"))
            set_cookie(answer, asking.request, frame.SESSION_COOKIE, outcome.token)
            return answer
        case Throttled():
            minutes = outcome.wait_ms // 60_000 + 1
            problem = asking.t(
                f"错误次数太多，请 {minutes} 分钟后再试。", f"Too many wrong attempts. Try again in {minutes} minutes."
            )
            status = 429
        case WrongPassword():
            problem = asking.t("名字或密码不对。", "The name or the password is wrong.")
            status = 401
    return asking.show(
        "sign_in.html", http_status=status, next=frame.local_path(next, ""), name=name[:60], problem=problem
    )


async def try_password(asking: Asking, name: str, password: str) -> SignedIn | WrongPassword | Throttled:
    """Check a password from the asker's address, off the event loop (an argon2 hash takes some 50 ms)."""
    client = asking.request.client
    address = client.host if client is not None else "?"
    return await run_in_threadpool(
        asking.serving.accounts.sign_in, name, password, address=address, now_ms=asking.now_ms
    )


@router.post("/sign-out")
async def sign_out(asking: SignedInAsking) -> Response:
    """End the session on the server, not only in the browser."""
    assert asking.session is not None
    await run_in_threadpool(asking.serving.accounts.sign_out, asking.session.token)
    answer = frame.go_to("/sign-in")
    answer.delete_cookie(frame.SESSION_COOKIE, path="/")
    return answer


@router.post("/language")
async def switch_language(asking: Anybody, language: Field, back: Field = "/") -> Response:
    """Chinese or English from now on, on this browser."""
    answer = frame.go_to(frame.local_path(back))
    set_cookie(answer, asking.request, frame.LANGUAGE_COOKIE, "en" if language == "en" else "zh")
    return answer


@router.get("/me")
async def me(asking: SignedInAsking) -> Response:
    """One's own account: change the password."""
    return asking.show("me.html", problem=None)


@router.post("/me/password")
async def change_password(asking: SignedInAsking, old: Field, new: Field) -> Response:
    """Change one's own password; every session of the account ends, this one too."""
    outcome = await try_password(asking, asking.account.name, old)
    problem = None
    if not isinstance(outcome, SignedIn):
        problem = asking.t("旧密码不对。", "The old password is wrong.")
    else:
        try:
            await run_in_threadpool(asking.serving.accounts.set_password, asking.account.id, new)
        except RefusedError as error:
            problem = str(error)
    if problem is not None:
        return asking.show("me.html", http_status=409, problem=problem)
    return frame.go_to(frame.with_query("/sign-in", name=asking.account.name))
