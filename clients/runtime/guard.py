"""Let only the person in front of this device use its pages: the door of the local web application.

The problem: a page on 127.0.0.1 is reachable by every other program on the phone and, through the person's own browser,
by every web site (REL-T12, REL-T13): forged forms, a DNS name that is pointed at 127.0.0.1 after it was loaded, a frame that
hides our button under another. A login form does not help against any of them. So each request passes, in this order:

1. only HTTP: there is no WebSocket here, and so none that lacks a same-origin rule;
2. exactly one Host header, and it names this application (a rebound name does not);
3. only GET, HEAD and POST; nothing changes by GET or HEAD;
4. a POST of a browser carries our exact Origin and, where the browser says it, Sec-Fetch-Site same-origin; a program that has
   no Origin must bring the token in a header, which no form of another site can do;
5. the token of this launch, 128 bits: once in the address of the ready line, then in an HttpOnly SameSite=Strict cookie whose
   name holds the port (cookies know no ports), or in the header X-Nahuo-Token;
6. every answer carries a content policy that runs our own script only and says who may frame the page: nobody, unless
   the launch named an origin.

The comparison of tokens takes the same time whatever is wrong with one.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_HEADER: Final = "x-nahuo-token"
TOKEN_BITS: Final = 128
_READING: Final = frozenset({"GET", "HEAD"})
_METHODS: Final = _READING | {"POST"}

_REFUSALS: Final[dict[str, tuple[int, str, str]]] = {
    "guard.token": (
        401,
        "这个页面只给本机使用。请用程序启动时显示的那个链接重新打开。",
        "This page is for this device only. Open it again by the link the program showed when it started.",
    ),
    "guard.host": (
        403,
        "网址不对：请用 http://127.0.0.1 开头的链接打开。",
        "Wrong address: open the page by its link that begins with http://127.0.0.1.",
    ),
    "guard.origin": (
        403,
        "这个请求来自别的网页，没有执行。请回到拿货页面自己点一次。",
        "This request came from another page and was not carried out. Go back to the Nahuo page and tap there.",
    ),
    "invariant": (
        500,
        "程序出错了，这一笔没有记下。回去再试一次，不行请告诉平台。",
        "Our fault: this was not recorded. Go back and try again, then tell the platform.",
    ),
    "disk.error": (
        507,
        "存储出错，这一笔没有记下。再点一次；一直这样就换一台设备。",
        "The disk failed: this was not recorded. Tap again; if it stays so, change the device.",
    ),
    "disk.read_only": (
        507,
        "存储只能读不能写，这一笔没有记下。",
        "The disk is read-only: this was not recorded.",
    ),
    "disk.full": (
        507,
        "磁盘满了，这一笔没有记下。清理空间后再点一次。",
        "Disk full: nothing was recorded. Free some space, tap again.",
    ),
    "corrupt": (
        507,
        "本机的文件损坏了，正在自动修复，请稍后再打开。",
        "This device's file is damaged: it repairs itself, open the page again in a moment.",
    ),
    "guard.method": (
        405,
        "不支持这种请求。请回到拿货页面操作。",
        "This kind of request is not supported. Use the buttons of the Nahuo page.",
    ),
}


class Guard:
    """ASGI middleware: everything it does not let pass never reaches a screen.

    `port` is where the application listens, `token` that of this launch (hex), `framed_by` the one origin that may show
    the pages in a frame (a demonstration page), or None.
    """

    def __init__(self, app: ASGIApp, *, port: int, token: str, framed_by: str | None = None) -> None:
        self._app = app
        self._token = token
        self._cookie = f"nahuo_{port}"
        self._hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
        self._headers = _policy(framed_by)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or hand it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope)
        answer = self._refuse(request)
        if answer is not None:
            await answer(scope, receive, self._with_policy(send))
            return
        await self._app(scope, receive, self._with_policy(send))

    def _refuse(self, request: Request) -> Response | None:
        """Return what to answer instead of the page, or None when the request may pass."""
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return refusal(request, "guard.host")
        if request.method not in _METHODS:
            return refusal(request, "guard.method")
        by_header = self._is_token(request.headers.get(TOKEN_HEADER, ""))
        if request.method == "POST" and not self._is_own_page(request, hosts[0].lower(), by_header=by_header):
            return refusal(request, "guard.origin")
        if by_header or self._is_token(self._cookie_of(request)):
            if "token" in request.query_params and request.method in _READING:
                return self._enter(request, cookie=None)
            return None
        shown = request.query_params.get("token", "")
        if request.method in _READING and self._is_token(shown):
            return self._enter(request, cookie=shown)
        return refusal(request, "guard.token")

    def _is_own_page(self, request: Request, host: str, *, by_header: bool) -> bool:
        origins = request.headers.getlist("origin")
        sites = request.headers.getlist("sec-fetch-site")
        if any(site != "same-origin" for site in sites):
            return False
        if not origins:
            return by_header
        return origins == [f"http://{host}"]

    def _is_token(self, shown: str) -> bool:
        return hmac.compare_digest(shown.encode("utf-8", "surrogateescape"), self._token.encode())

    def _cookie_of(self, request: Request) -> str:
        try:
            morsel = SimpleCookie(request.headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return ""
        return morsel.value if morsel is not None else ""

    def _enter(self, request: Request, *, cookie: str | None) -> Response:
        """Take the token out of the address bar, so that it stands in no history and no referrer."""
        query = urlencode([pair for pair in parse_qsl(request.url.query) if pair[0] != "token"])
        path = request.url.path if request.url.path.startswith("/") and not request.url.path.startswith("//") else "/"
        answer = RedirectResponse(f"{path}?{query}" if query else path, status_code=303)
        if cookie is not None:
            answer.set_cookie(self._cookie, cookie, httponly=True, samesite="strict", path="/")
        return answer

    def _with_policy(self, send: Send) -> Send:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                message = {
                    **message,
                    "headers": [*message["headers"], *((n, v) for n, v in self._headers if n not in own)],
                }
            await send(message)

        return send_with_policy


def refusal(request: Request, code: str) -> Response:
    """Return the page or JSON that says why the request did not pass and what to do."""
    status, zh, en = _REFUSALS[code]
    if wants_json(request.headers):
        return JSONResponse({"ok": False, "code": code, "zh": zh, "en": en}, status_code=status)
    return HTMLResponse(
        f'<!doctype html><html lang="zh"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{status}</title><h1>{zh}</h1><p>{en}</p><p><a href="/">↩</a></p><p><small>{code}</small></p></html>',
        status_code=status,
    )


def wants_json(headers: Mapping[str, str]) -> bool:
    """True when the caller asked for JSON rather than a page."""
    return "application/json" in headers.get("accept", "")


def _policy(framed_by: str | None) -> tuple[tuple[bytes, bytes], ...]:
    frames = framed_by if framed_by is not None else "'none'"
    policy = (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; font-src 'self'; "
        f"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors {frames}"
    )
    return (
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"same-origin"),
        (b"cache-control", b"no-store"),
        (b"cross-origin-resource-policy", b"same-origin"),
    )
