"""Requests nobody honest makes: forged forms, other origins, junk bodies, too much, wrong methods. None does anything, none fails."""

from __future__ import annotations

import json

import httpx
import pytest
from fastapi.routing import APIRoute

from server.app import PARTS
from tests.unit.server_pages.conftest import PASSWORDS, Browser, served


def form_routes() -> list[str]:
    """Every address a page's form posts to."""
    routes = [route for part in PARTS for route in part.router.routes if isinstance(route, APIRoute)]
    return sorted(
        {route.path for route in routes if "POST" in (route.methods or ()) and not route.path.startswith("/api/")}
    )


def filled(path: str) -> str:
    for name, value in (
        ("{order_id}", "O1"), ("{decision_id}", "1"), ("{merchant}", "M1"), ("{number}", "101"), ("{account}", "1"),
        ("{discrepancy}", "1"), ("{task_id}", "T1-1"), ("{piece}", "001010000017"), ("{person}", "lin"),
    ):  # fmt: skip
        path = path.replace(name, value)
    assert "{" not in path
    return path


def test_there_are_forms_to_guard() -> None:
    assert len(form_routes()) > 30


@pytest.mark.parametrize("path", form_routes())
def test_t12_no_form_without_its_token_not_even_for_the_administrator(people: dict[str, Browser], path: str) -> None:
    admin = people["owner" if path.startswith("/merchant") else "admin"]
    for form in ({}, {"form_token": ""}, {"form_token": "0" * 64}, {"form_token": people["rival"].token("/me")}):
        answer = admin._send("POST", filled(path), data=form)
        assert answer.status_code in (403, 422), (path, form, answer.status_code)
        if answer.status_code == 422:
            assert "没有执行" in answer.text
    assert admin.get("/me").status_code == 200, "and the session lives"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}, {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)  # fmt: skip
def test_t12_another_sites_form_is_refused_before_anything_reads_it(
    people: dict[str, Browser], headers: dict[str, str]
) -> None:
    admin = people["admin"]
    answer = admin._send("POST", "/sign-out", data={"form_token": admin.token("/me")}, headers=headers)
    assert answer.status_code == 403
    assert admin.get("/me").status_code == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_only_get_and_post_are_spoken(client: httpx.Client, method: str) -> None:
    assert client.request(method, "/platform").status_code == 405


def test_too_long_bodies_and_addresses_are_refused(client: httpx.Client) -> None:
    assert client.post("/sign-in", content=b"x" * 300_000).status_code == 413
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    endless = iter([b"x" * 100_000] * 4)
    assert client.post("/sign-in", content=endless, headers=form).status_code == 413, "without a length, too"
    assert client.get("/sign-in?next=" + "a" * 5000).status_code == 414


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/api/enrol", b"{"), ("/api/enrol", b"[]"), ("/api/enrol", b'{"code": 1, "public_key": "x"}'), ("/api/enrol", b"\xff\xfe"),
        ("/api/enrol", json.dumps({"code": "AAAAAAAAAA", "public_key": "00" * 32}).encode()),
        ("/api/device/token", b'{"device": -1, "nonce": "", "signature": ""}'),
        ("/api/device/token", json.dumps({"device": 0, "nonce": "AAAA", "signature": "00" * 64}).encode()),
        ("/api/device/token", json.dumps({"device": 100, "nonce": "é", "signature": "0"}).encode()),
        ("/api/keys", b'{"parcels": ["P1"]}'), ("/api/keys", json.dumps({"parcels": ["P"] * 501}).encode()),
        ("/api/session", b'{"name": "admin", "password": "x"}'), ("/api/session", b'{"name": "admin", "password": "\\ud800"}'),
        ("/api/session", b'{"name": null}'),
    ],
)  # fmt: skip
def test_junk_is_refused_with_a_code_and_never_fails(client: httpx.Client, path: str, content: bytes) -> None:
    client.cookies.clear()
    answer = client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500, (path, answer.status_code, answer.text)
    assert answer.json()["code"]


@pytest.mark.parametrize(
    ("path", "kind", "content"),
    [
        ("/api/session", "application/json", b'{"name": "ad\\u0000min", "password": "x"}'),
        ("/api/enrol", "application/json; charset=utf-8", b'{"code": "A\\u0000", "public_key": "x"}'),
        ("/sign-in", "application/x-www-form-urlencoded", b"name=ad%00min&password=x"),
        ("/sign-in", "application/x-www-form-urlencoded", b"name=ad\0min&password=x"),
    ],
)
def test_u0000_is_refused_before_anybody_looks_it_up(
    client: httpx.Client, path: str, kind: str, content: bytes
) -> None:
    """PostgreSQL cannot even be asked for it; SQLite could, and must answer the same."""
    cut = content.find(b"0000") + 1 or content.find(b"%0") + 1 or 5
    for body in (content, iter([content[:cut], content[cut:]])):
        answer = client.post(path, content=body, headers={"Content-Type": kind})
        assert answer.status_code == 400, (path, answer.status_code, answer.text)


@pytest.mark.parametrize("path", ["/platform/orders?search=a%00b", "/merchant/orders/O1%00", "/api/orders/%00"])
def test_u0000_in_an_address_is_refused(people: dict[str, Browser], path: str) -> None:
    assert people["admin"].get(path).status_code == 400


@pytest.mark.parametrize("token", ["x", "AAAA", "é", "." * 300, "eyJhbGciOiJub25lIn0.e30."])
def test_junk_bearers_open_nothing(client: httpx.Client, token: str) -> None:
    client.cookies.clear()
    for path in ("/api/orders", "/api/devices"):
        answer = client.get(path, headers=[(b"authorization", f"Bearer {token}".encode())])
        assert answer.status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/merchant/orders/..%2f..%2fetc",
        "/static/../server.key",
        "/static/%2e%2e/app.py",
        "/platform/routes/route/none",
    ],
)
def test_addresses_that_are_none_say_what_to_do(people: dict[str, Browser], path: str) -> None:
    answer = people["admin"].get(path)
    assert answer.status_code in (403, 404)
    assert "Traceback" not in answer.text


def test_headers_close_what_a_page_does_not_need(client: httpx.Client) -> None:
    answer = client.get("/sign-in")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers or "uvicorn" in answer.headers["server"]


def test_cookies_are_unreadable_for_scripts_and_other_sites(people: dict[str, Browser]) -> None:
    fresh = Browser(people["admin"].client)
    answer = fresh.sign_in("clerk", PASSWORDS["clerk"])
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


def test_health_answers_without_the_store(client: httpx.Client) -> None:
    assert client.get("/api/health").json() == {"ok": True, "writing": True, "deciding": True}


def test_a_wrong_password_is_told_and_the_fifth_closes_the_door(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from tests.unit.server_pages.conftest import make_folder

    make_folder(tmp_path / "server")
    with served(tmp_path / "server") as client:
        browser = Browser(client)
        for _ in range(5):
            answer = browser.sign_in("owner", "wrong-pass")
            assert answer.status_code == 401
            assert "名字或密码不对" in answer.text
        answer = browser.sign_in("owner", PASSWORDS["owner"])
        assert answer.status_code == 429
        assert "分钟后再试" in answer.text
        assert client.post("/api/session", json={"name": "owner", "password": PASSWORDS["owner"]}).status_code == 429


def test_signing_out_ends_the_session_for_a_stolen_cookie_too(people: dict[str, Browser]) -> None:
    fresh = Browser(people["admin"].client)
    fresh.sign_in("clerk", PASSWORDS["clerk"])
    stolen = Browser(fresh.client, dict(fresh.cookies))
    assert stolen.get("/platform").status_code == 200
    assert fresh.post("/sign-out").status_code == 303
    assert stolen.get("/platform").status_code == 303
