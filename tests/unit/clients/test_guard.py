"""The door of the local web application against other pages and other programs on the device (REL-T12, REL-T13)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clients.runtime.guard import Guard
from clients.runtime.shared_pages import _is_local
from tests.unit.clients.market import PORT, TOKEN, Bench

HOST = f"127.0.0.1:{PORT}"
ORIGIN = f"http://{HOST}"
COOKIE = f"nahuo_{PORT}={TOKEN}"
FORM = {"content-type": "application/x-www-form-urlencoded"}

HOSTILE: list[tuple[str, str, str, dict[str, str], int]] = [
    ("no token", "GET", "/tasks", {}, 401),
    ("wrong token header", "GET", "/tasks", {"x-nahuo-token": "0" * 32}, 401),
    ("empty token header", "GET", "/tasks", {"x-nahuo-token": ""}, 401),
    ("half the token", "GET", "/tasks", {"x-nahuo-token": TOKEN[:16]}, 401),
    ("the token in upper case", "GET", "/tasks", {"x-nahuo-token": TOKEN.upper()}, 401),
    ("a token that is no ASCII", "GET", "/tasks?token=%F0%9F%98%80", {}, 401),
    ("wrong token in the address", "GET", "/tasks?token=abc", {}, 401),
    ("wrong cookie", "GET", "/tasks", {"cookie": f"nahuo_{PORT}=abc"}, 401),
    ("another port's cookie", "GET", "/tasks", {"cookie": f"nahuo_1={TOKEN}"}, 401),
    ("a broken cookie", "GET", "/tasks", {"cookie": "nahuo_8799=;;;=\x7f"}, 401),
    ("the style sheet without a token", "GET", "/static/frame.css", {}, 401),
    ("rebound name", "GET", "/tasks", {"host": f"evil.example:{PORT}", "cookie": COOKIE}, 403),
    ("rebound name with our address in front", "GET", "/", {"host": f"127.0.0.1.evil.example:{PORT}", "cookie": COOKIE}, 403),
    ("another port", "GET", "/tasks", {"host": "127.0.0.1:1", "cookie": COOKIE}, 403),
    ("all addresses", "GET", "/tasks", {"host": f"0.0.0.0:{PORT}", "cookie": COOKIE}, 403),
    ("no host", "GET", "/tasks", {"host": "", "cookie": COOKIE}, 403),
    ("cross-site form with the cookie", "POST", "/buy", {"cookie": COOKIE, "origin": "https://evil.example", **FORM}, 403),
    ("form of another port", "POST", "/buy", {"cookie": COOKIE, "origin": "http://127.0.0.1:8000", **FORM}, 403),
    ("form of localhost on our address", "POST", "/buy", {"cookie": COOKIE, "origin": f"http://localhost:{PORT}", **FORM}, 403),
    ("form over https", "POST", "/buy", {"cookie": COOKIE, "origin": f"https://{HOST}", **FORM}, 403),
    ("form of a sandboxed frame", "POST", "/buy", {"cookie": COOKIE, "origin": "null", **FORM}, 403),
    ("form without an origin", "POST", "/buy", {"cookie": COOKIE, **FORM}, 403),
    ("form of a same-site page", "POST", "/buy", {"cookie": COOKIE, "origin": ORIGIN, "sec-fetch-site": "same-site", **FORM}, 403),
    ("form of a cross-site page", "POST", "/buy", {"cookie": COOKIE, "origin": ORIGIN, "sec-fetch-site": "cross-site", **FORM}, 403),
    ("a program from another page", "POST", "/buy", {"x-nahuo-token": TOKEN, "origin": "https://evil.example", **FORM}, 403),
    ("the signal switch of another page", "POST", "/control/link", {"cookie": COOKIE, "origin": "https://evil.example"}, 403),
    ("a token in a form's address", "POST", f"/buy?token={TOKEN}", {"origin": ORIGIN, **FORM}, 401),
    ("buying by GET", "GET", "/buy?tasks=T1-1", {"x-nahuo-token": TOKEN}, 405),
    ("the signal switch by GET", "GET", "/control/link?enabled=0", {"x-nahuo-token": TOKEN}, 405),
    ("PUT", "PUT", "/buy", {"x-nahuo-token": TOKEN}, 405),
    ("DELETE", "DELETE", "/tasks", {"x-nahuo-token": TOKEN}, 405),
    ("OPTIONS before a cross-site request", "OPTIONS", "/buy", {"origin": "https://evil.example"}, 405),
    ("a plain-text form", "POST", "/buy", {"x-nahuo-token": TOKEN, "content-type": "text/plain"}, 422),
    ("JSON", "POST", "/buy", {"x-nahuo-token": TOKEN, "content-type": "application/json"}, 422),
    ("a multipart form", "POST", "/buy", {"x-nahuo-token": TOKEN, "content-type": "multipart/form-data; boundary=x"}, 422),
    ("out of the folder", "GET", "/static/..%2f..%2fnode.py", {"x-nahuo-token": TOKEN}, 404),
]  # fmt: skip


@pytest.mark.parametrize(("what", "method", "path", "headers", "status"), HOSTILE, ids=[row[0] for row in HOSTILE])
async def test_hostile_requests_change_nothing_and_are_told_why(
    field: Bench, what: str, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    before = (field.facts(), field.link.enabled)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=field.app), base_url=ORIGIN) as browser:
        body = "tasks=T1-1&enabled=0" if method == "POST" else None
        answer = await browser.request(method, path, headers=headers, content=body)
    assert answer.status_code == status, what
    assert (field.facts(), field.link.enabled) == before, what
    assert TOKEN not in answer.text
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_two_host_headers_are_refused(field: Bench) -> None:
    headers = [("host", HOST), ("host", "evil.example"), ("x-nahuo-token", TOKEN)]
    assert await _status_of(field.app, headers) == 403


async def test_a_websocket_is_closed_at_once(field: Bench) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/pulse", "headers": [(b"host", HOST.encode())], "query_string": b""}
    await field.app(scope, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_the_ready_lines_address_becomes_a_cookie_and_leaves_the_address_bar(field: Bench) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=field.app), base_url=ORIGIN) as browser:
        entered = await browser.get(f"/tasks?q=8821&token={TOKEN}")
        assert (entered.status_code, entered.headers["location"]) == (303, "/tasks?q=8821")
        cookie = entered.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        page = await browser.get("/tasks")
        assert page.status_code == 200
        bought = await browser.post(
            "/buy", data={"tasks": "T1-1"}, headers={"origin": ORIGIN, "sec-fetch-site": "same-origin"}
        )
        assert bought.status_code == 303
    assert field.facts() == 1


async def test_the_entrance_never_leads_to_another_site(field: Bench) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=field.app), base_url=ORIGIN) as browser:
        entered = await browser.get(f"{ORIGIN}//evil.example/x?token={TOKEN}")
    assert entered.headers["location"].startswith("/")
    assert not entered.headers["location"].startswith("//")


async def test_a_frame_is_allowed_to_the_named_origin_only() -> None:
    headers: dict[str, str] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    guard = Guard(app, port=PORT, token=TOKEN, framed_by="http://127.0.0.1:8710")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=guard), base_url=ORIGIN) as browser:
        headers = dict((await browser.get("/", headers={"x-nahuo-token": TOKEN})).headers)
    assert "frame-ancestors http://127.0.0.1:8710" in headers["content-security-policy"]


async def test_a_form_that_is_too_large_is_refused(field: Bench) -> None:
    answer = await field.post("/buy", tasks="T" * 70_000)
    assert answer["code"] == "form.too_long"


async def test_a_field_that_stands_twice_is_refused(field: Bench) -> None:
    async with field.browser(**FORM) as browser:
        answer = await browser.post("/buy", content="tasks=T1-1&tasks=T2-1")
    assert answer.json()["code"] == "form.twice"


async def test_the_signal_switch_closes_and_opens_the_link(field: Bench) -> None:
    assert (await field.post("/control/link", enabled="0"))["enabled"] is False
    assert field.link.enabled is False
    assert (await field.get("/pulse"))["link"] == "off"
    assert (await field.post("/control/link", enabled="1"))["enabled"] is True


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "/\\evil.example", "", "/a\nb"])
def test_the_way_back_after_the_language_switch_stays_here(path: str) -> None:
    assert not _is_local(path)
    assert _is_local("/tasks?q=1")


async def _status_of(app: ASGIApp, headers: list[tuple[str, str]]) -> int:
    sent: list[Any] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": "/tasks", "raw_path": b"/tasks", "query_string": b"", "http_version": "1.1",
        "scheme": "http", "server": ("127.0.0.1", PORT), "client": ("127.0.0.1", 5), "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }  # fmt: skip
    await app(scope, receive, send)
    return int(sent[0]["status"])
