"""What every HTTP answer and request passes, before any page: bounds, same-site writes, headers.

A pure ASGI layer (WebSockets pass untouched: their upgrade is checked by the sync endpoint). It refuses bodies beyond a limit
while they arrive, methods we do not speak, and writes that a foreign page sent; forms carry a token besides (frame.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES_MAX = 256 * 1024
"""A form, or a device's enrolment; the longest is a receiver pasted whole."""
IMPORT_BYTES_MAX = 24 * 1024 * 1024
"""Two order files of 50,000 rows."""
METHODS = frozenset({"GET", "HEAD", "POST"})
TARGET_BYTES_MAX = 4 * 1024
NUL_WORDS = "文字里有 U+0000，没有执行。 A text holds U+0000; nothing was done.\n"
_NUL = {"application/x-www-form-urlencoded": b"%00", "application/json": rb"\u0000"}
"""How U+0000, which PostgreSQL cannot keep, stands in a body: refused on every database alike, before anybody looks it up."""


class Guard:
    """Wraps the application; `embedders` are origins that may show our pages in a frame (the demo's page)."""

    def __init__(self, app: ASGIApp, embedders: Sequence[str] = (), import_paths: Sequence[str] = ()) -> None:
        self._app = app
        self._import_paths = frozenset(import_paths)
        self._csp = "; ".join(
            (
                "default-src 'none'", "style-src 'self'", "script-src 'self'", "img-src 'self' data:", "font-src 'self'",
                "connect-src 'self'", "form-action 'self'", "base-uri 'none'", " ".join(("frame-ancestors", "'self'", *embedders)),
            )
        )  # fmt: skip
        self._framed = bool(embedders)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        at_most = IMPORT_BYTES_MAX if scope["path"] in self._import_paths else BODY_BYTES_MAX
        refused = self._refuse(scope, headers, at_most)
        if refused is not None:
            await refused(scope, receive, self._with_headers(scope, send))
            return
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        await self._app(scope, _Bounded(receive, at_most, _NUL.get(kind)).receive, self._with_headers(scope, send))

    def _refuse(self, scope: Scope, headers: Headers, at_most: int) -> PlainTextResponse | None:
        if scope["method"] not in METHODS:
            return PlainTextResponse("只用 GET 和 POST。 Use GET or POST.\n", 405, headers={"Allow": "GET, HEAD, POST"})
        if "\0" in scope["path"] or b"%00" in (scope.get("query_string") or b""):
            return PlainTextResponse(NUL_WORDS, 400)
        if len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"") > TARGET_BYTES_MAX:
            return PlainTextResponse("地址太长。 The address is too long.\n", 414)
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            return PlainTextResponse("Content-Length?\n", 400)
        if int(length) > at_most:
            return PlainTextResponse(f"内容太大，最多 {at_most // 1024} KiB。 At most {at_most // 1024} KiB.\n", 413)
        if scope["method"] == "POST" and not _same_site(headers):
            return PlainTextResponse(
                "请求来自别的网站，没有执行。请在拿货的页面里操作。 This came from another site; nothing was done.\n",
                403,
            )
        return None

    def _with_headers(self, scope: Scope, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", self._csp)
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("Referrer-Policy", "same-origin")
                headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
                headers.setdefault("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
                if not self._framed:
                    headers.setdefault("X-Frame-Options", "SAMEORIGIN")
                if not scope["path"].startswith(("/static/", "/font/")):
                    headers.setdefault("Cache-Control", "no-store")
                if scope.get("scheme") == "https":
                    headers.setdefault("Strict-Transport-Security", "max-age=31536000")
            await send(message)

        return sending


class BodyTooLongError(HTTPException):
    """A body without a length grew beyond its limit."""

    def __init__(self) -> None:
        super().__init__(413)


class NulError(HTTPException):
    """A form or a JSON body holds U+0000."""

    def __init__(self) -> None:
        super().__init__(400, NUL_WORDS.strip())


class _Bounded:
    def __init__(self, receive: Receive, at_most: int, nul: bytes | None) -> None:
        self._receive, self._left, self._nul = receive, at_most, nul
        self._tail = b""

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise BodyTooLongError
            if self._nul is not None:
                seen = self._tail + message.get("body", b"")
                if self._nul in seen or b"\0" in seen:
                    raise NulError
                self._tail = seen[1 - len(self._nul) :]
        return message


def _same_site(headers: Headers) -> bool:
    """True for a write from our own pages or from a program; browsers say where a form came from."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    return origin != "null" and urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
