"""Error answers: a page (or JSON) that says what happened and what to do next. Never a stack, never another's data."""

from __future__ import annotations

import logging
from http import HTTPStatus
from urllib.parse import urlsplit, urlunsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from server.pages import frame
from server.pages.asking import Serving
from server.pages.frame import NotAllowedError, SignInNeededError
from sync_core.errors import NahuoError

log = logging.getLogger("nahuo.server")


class NotFoundError(Exception):
    """There is no such thing, or it is another organisation's: the answer is the same."""


def add_problem_pages(app: FastAPI) -> None:
    """Register an answer for every way a request can fail."""

    @app.exception_handler(SignInNeededError)
    async def sign_in_needed(request: Request, _: SignInNeededError) -> Response:
        if _for_program(request):
            return frame.as_json({"code": "sign_in", "zh": "请先登录。", "en": "Sign in first."}, 401)
        back = str(request.url.path) if request.method == "GET" else ""
        return frame.go_to(frame.with_query("/sign-in", next="" if back == "/" else back))

    @app.exception_handler(NotAllowedError)
    async def not_allowed(request: Request, error: NotAllowedError) -> Response:
        if str(error) == "form":
            return _problem(
                request, 403, "form.token",
                ("没有执行", "这张表单过期了，或不是从本页发出的。请回到页面重新填写。"),
                ("Nothing was done", "This form is out of date or was not sent from our page. Go back and fill it in again."),
            )  # fmt: skip
        return _problem(
            request, 403, "role",
            ("不能看这一页", "您的账号没有这项权限。需要时请找管理员。"),
            ("Not for this account", "Your account may not do this. Ask the administrator if you need it."),
        )  # fmt: skip

    @app.exception_handler(NotFoundError)
    async def not_found(request: Request, _: NotFoundError) -> Response:
        return _not_found(request)

    @app.exception_handler(HTTPException)
    async def http_problem(request: Request, error: HTTPException) -> Response:
        if error.status_code == HTTPStatus.NOT_FOUND:
            return _not_found(request)
        return _problem(
            request, error.status_code, f"http.{error.status_code}",
            ("没有执行", "请求的方式不对。请从首页重新进入。"),
            ("Nothing was done", "The request was not understood. Start again from the first page."),
        )  # fmt: skip

    @app.exception_handler(RequestValidationError)
    async def bad_fields(request: Request, error: RequestValidationError) -> Response:
        fields = "、".join(dict.fromkeys(str(problem["loc"][-1]) for problem in error.errors()[:8]))
        return _problem(
            request, 422, "form.fields",
            ("没有执行", f"这几栏缺了或写得不对：{fields}。请返回改正。"),
            ("Nothing was done", f"These fields are missing or wrong: {fields}. Go back and correct them."),
        )  # fmt: skip

    @app.exception_handler(NahuoError)
    async def refused(request: Request, error: NahuoError) -> Response:
        return _problem(request, 409, error.code, ("没有执行", str(error)), ("Nothing was done", str(error)))

    @app.exception_handler(OperationalError)
    async def store_busy(request: Request, error: OperationalError) -> Response:
        log.error("the store did not answer: %s", error.orig)
        full = "full" in str(error.orig)
        zh = "服务器的磁盘满了，没有记下。请告诉管理员腾出空间。" if full else "服务器正忙，没有记下。请过几秒再试。"
        en = (
            "The server's disk is full; nothing was recorded. Tell the administrator."
            if full
            else "The server is busy; nothing was recorded. Try again in a few seconds."
        )
        return _problem(request, 503, "disk.full" if full else "retry", ("没有执行", zh), ("Nothing was done", en))

    @app.exception_handler(Exception)
    async def our_bug(request: Request, error: Exception) -> Response:
        log.error("a page failed: %s %s", request.method, request.url.path, exc_info=error)
        return _problem(
            request, 500, "invariant",
            ("服务器出错了", "这是我们的错，已记入日志。请返回再试；仍不行请告诉管理员，并说明时间。"),
            ("The server made a mistake", "This is our fault and is in the log. Try again; if it stays, tell the administrator the time."),
        )  # fmt: skip


def _not_found(request: Request) -> Response:
    return _problem(
        request, 404, "not_found",
        ("没有这一页", "地址写错了，或者它不属于您。请从列表里重新进入。"),
        ("There is no such page", "The address is wrong, or it is not yours. Start again from the list."),
    )  # fmt: skip


def _for_program(request: Request) -> bool:
    return frame.wants_json(request) or request.url.path.startswith("/api/")


def _problem(request: Request, status: int, code: str, zh: tuple[str, str], en: tuple[str, str]) -> Response:
    if _for_program(request):
        return frame.as_json({"code": code, "zh": zh[1], "en": en[1]}, status)
    serving: Serving = request.app.state.serving
    title, what = zh if frame.language(request) == "zh" else en
    if not hasattr(request.state, "session"):
        request.state.session = None
    came_from = _form_page(request)
    way_zh, way_en = ("返回改正", "Back to the form") if came_from else ("回到首页", "To the first page")
    html = frame.render(
        "problem.html", request, zone=frame.zone_of(serving.zone_name), zone_name=serving.zone_name, now_ms=serving.clock_ms(),
        title=title, what=what, code=code, way=came_from or "/", way_text=way_zh if frame.language(request) == "zh" else way_en,
    )  # fmt: skip
    return frame.answer_page(html, status)


def _form_page(request: Request) -> str:
    """Return the page of ours whose form was sent, where the mistake can be put right; "" when there is none."""
    if request.method != "POST":
        return ""
    page = urlsplit(request.headers.get("referer", ""))
    if page.netloc != request.headers.get("host") or not page.path.startswith("/") or page.path.startswith("//"):
        return ""
    return urlunsplit(("", "", page.path, page.query, ""))
