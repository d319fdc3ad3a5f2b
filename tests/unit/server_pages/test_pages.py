"""Every page for every role on real data; what one may not see; forms with wrong input; imports with errors."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from server.installation import DATABASE
from tests.unit.server_pages.conftest import PASSWORDS, PLAIN_ORDERS, Browser

MERCHANT_PAGES = (
    "/merchant", "/merchant/orders", "/merchant/orders?status=held&search=88", "/merchant/decisions", "/merchant/import",
    "/merchant/wallet", "/merchant/wallet.csv", "/merchant/returns", "/merchant/notices", "/merchant/settings", "/me",
    "/merchant/orders?page=9999999999999999999", "/merchant/orders?search=%25_%5C'\"",
)  # fmt: skip
PLATFORM_PAGES = (
    "/platform", "/platform/orders", "/platform/routes", "/platform/trips", "/platform/devices", "/platform/discrepancies",
    "/platform/discrepancies?all=yes", "/platform/orphans", "/platform/quarantine", "/platform/ledger", "/platform/ledger?account=outside",
    "/platform/merchants", "/platform/merchants/M1/wallet", "/platform/merchants/M1/wallet.csv", "/platform/stalls",
    "/platform/couriers", "/platform/people", "/platform/notices", "/platform/import", "/me",
)  # fmt: skip
ADMIN_PAGES = ("/platform/users",)

Traded = dict[str, Browser]


def words_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def first_order(browser: Browser) -> str:
    found = browser.get("/api/orders?search=880001").json()["orders"]
    assert len(found) == 1
    return str(found[0]["id"])


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize(
    ("who", "pages"),
    [
        ("owner", MERCHANT_PAGES),
        ("helper", MERCHANT_PAGES),
        ("admin", (*PLATFORM_PAGES, *ADMIN_PAGES)),
        ("clerk", PLATFORM_PAGES),
    ],
)
def test_every_page_renders_for_every_role_in_both_languages(
    traded: Traded, who: str, pages: tuple[str, ...], language: str
) -> None:
    browser = traded[who]
    browser.post("/language", language=language)
    pages = (*pages, f"/{'merchant' if who in ('owner', 'helper') else 'platform'}/orders/{first_order(browser)}")
    for page in pages:
        answer = browser.get(page)
        assert answer.status_code == 200, (page, words_of(answer.text)[:500])
        if page.partition("?")[0].endswith(".csv"):
            continue
        assert f'<html lang="{"zh-CN" if language == "zh" else "en"}">' in answer.text
        assert "style=" not in answer.text.replace("stylesheet", ""), "the content policy would drop it"
        if language == "en":
            left = re.sub(r"<(title|header|svg|option|b class)[^>]*>.*?</\1>", "", answer.text, flags=re.S)
            assert "暂" not in words_of(left)
    browser.post("/language", language="zh")


@pytest.mark.parametrize("who", ["owner", "helper", "rival"])
@pytest.mark.parametrize("page", [*PLATFORM_PAGES[:-1], *ADMIN_PAGES])
def test_a_merchant_sees_no_page_of_the_platform(traded: Traded, who: str, page: str) -> None:
    assert traded[who].get(page).status_code == 403


def test_a_clerk_may_not_manage_accounts(traded: Traded) -> None:
    clerk = traded["clerk"]
    assert clerk.get("/platform/users").status_code == 403
    answer = clerk.post("/platform/users", name="more", password="long-enough", role="admin", organisation="platform")
    assert answer.status_code == 403
    assert clerk.post("/platform/fees", commission="0").status_code == 403


@pytest.mark.parametrize("page", [*MERCHANT_PAGES[:9], *PLATFORM_PAGES, *ADMIN_PAGES])
def test_without_a_session_every_page_asks_to_sign_in(traded: Traded, page: str) -> None:
    answer = Browser(traded["admin"].client).get(page)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in")


def test_another_merchants_order_does_not_exist_for_me(traded: Traded) -> None:
    order = first_order(traded["owner"])
    rival = traded["rival"]
    assert rival.get(f"/merchant/orders/{order}").status_code == 404
    assert rival.get(f"/api/orders/{order}").status_code == 404
    assert rival.get("/api/orders").json()["orders"] == []
    assert rival.get("/api/wallet?merchant=M1").json()["available_fen"] == 100_050, "his own, whatever he asks for"
    for action, form in (
        ("close", {"reason": "x"}), ("refund", {}), ("message-read", {}), ("return", {"courier_no": "SF1"}),
        ("address", {"name": "a", "phone": "13800001111", "address": "b"}), ("code", {"line": "1", "code": "x"}),
    ):  # fmt: skip
        answer = rival.post(f"/merchant/orders/{order}/{action}", **form)
        assert answer.status_code == 404, action
    assert rival.post("/merchant/settings", shop="店M1", tolerance="5").status_code == 404
    files = [("files", ("orders.csv", PLAIN_ORDERS.encode(), "text/csv"))]
    assert rival.post("/merchant/import", shop="店M1", files=files).status_code == 404
    mine = traded["owner"].get(f"/api/orders/{order}").json()
    assert mine["status"] not in ("closed",)
    assert not mine["refund_open"]


def test_a_command_of_another_person_is_not_shown(traded: Traded) -> None:
    answer = traded["owner"].post(
        "/merchant/settings", shop="店M1", tolerance="1.50", drop_ship="yes", hold_messages="yes"
    )
    number = re.search(r"done=(\d+)", answer.headers["location"])
    assert number is not None
    assert 'id="outcome"' in traded["owner"].get(f"/merchant/settings?done={number[1]}").text
    assert 'id="outcome"' not in traded["rival"].get(f"/merchant/settings?done={number[1]}").text
    assert traded["rival"].get(f"/api/commands/{number[1]}").status_code == 404


def test_r20_the_same_bank_reference_counts_once(traded: Traded) -> None:
    admin = traded["admin"]
    before = admin.get("/api/wallet?merchant=M2").json()["available_fen"]
    admin.post("/platform/merchants/M2/top-up", amount="5", key="bank-once")
    admin.post("/platform/merchants/M2/top-up", amount="5", key="bank-once")
    assert admin.get("/api/wallet?merchant=M2").json()["available_fen"] == before + 500


@pytest.mark.parametrize("amount", ["-5", "0", "abc", "1.234", "", "9" * 30])
def test_absurd_amounts_change_nothing(traded: Traded, amount: str) -> None:
    admin = traded["admin"]
    before = admin.get("/api/wallet?merchant=M2").json()
    answer = admin.post("/platform/merchants/M2/top-up", amount=amount, key="absurd")
    assert answer.status_code in (409, 422)
    assert "没有执行" in answer.text
    assert admin.get("/api/wallet?merchant=M2").json() == before


def test_a_mistyped_amount_leads_back_to_its_form(traded: Traded) -> None:
    admin = traded["admin"]
    page = "/platform/merchants/M2"
    at = str(admin.client.base_url).rstrip("/")
    for referer, way in ((f"{at}{page}", page), (f"{at}//elsewhere.example", "/"), ("", "/")):
        answer = admin.post(f"{page}/top-up", referer=referer, amount="abc", key="typo")
        assert f'<a class="button" href="{way}">' in answer.text, referer


def test_the_statement_ends_at_the_balance_and_the_file_says_the_same(traded: Traded) -> None:
    owner = traded["owner"]
    wallet = owner.get("/api/wallet").json()
    last = wallet["lines"][-1]
    assert (last["available_fen"], last["held_fen"]) == (wallet["available_fen"], wallet["held_fen"])
    rows = owner.get("/merchant/wallet.csv").text.strip().splitlines()
    assert len(rows) == len(wallet["lines"]) + 1
    assert rows[-1].split(",")[-2] == f"{wallet['available_fen'] / 100:.2f}"


def test_e25_orders_hold_money_as_they_are_accepted(traded: Traded) -> None:
    wallet = traded["owner"].get("/api/wallet").json()
    assert wallet["held_fen"] > 0
    assert wallet["available_fen"] + wallet["held_fen"] == 100_050


def test_r33_an_order_with_a_message_waits_until_it_was_read(traded: Traded) -> None:
    owner = traded["owner"]
    order = owner.get("/api/orders?search=880002").json()["orders"][0]
    assert "message" in order["holds"]
    page = owner.get(f"/merchant/orders/{order['id']}").text
    assert "请不要吊牌" in page
    owner.done(f"/merchant/orders/{order['id']}/message-read")
    assert owner.get(f"/api/orders/{order['id']}").json()["holds"] == []


def test_d18_a_receiver_is_shown_masked_and_given_in_full_when_it_was_masked(traded: Traded) -> None:
    owner = traded["owner"]
    order = owner.get("/api/orders?search=880003").json()["orders"][0]
    assert not order["address_ok"]
    owner.done(
        f"/merchant/orders/{order['id']}/address", name="赵六", phone="13912341111", address="浙江省 杭州市 三号"
    )
    page = owner.get(f"/merchant/orders/{order['id']}").text
    assert "13912341111" not in page
    assert "139****1111" in page
    whole = owner.get(f"/merchant/orders/{first_order(owner)}").text
    assert "13812344321" not in whole


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.csv", b"", "empty.csv"),
        ("picture.png", b"\x89PNG\r\n\x1a\n" + bytes(300), "picture.png"),
        ("columns.csv", b"a,b\n1,2\n", "columns.csv"),
        ("quantity.csv", "order_no,product_code,quantity\n1,国大_3F-315_P65_8821#,-2\n".encode(), "quantity.csv"),
    ],
)
def test_a_wrong_file_is_told_by_file_and_fix_and_stores_nothing(
    traded: Traded, name: str, content: bytes, said: str
) -> None:
    owner = traded["owner"]
    before = owner.get("/api/orders").json()["counts"]
    answer = owner.post("/merchant/import", shop="店M1", files=[("files", (name, content, "text/csv"))])
    page = owner.get(answer.headers["location"])
    assert said in page.text
    assert 'class="notice bad"' in page.text
    assert "怎么改" in page.text
    assert owner.get("/api/orders").json()["counts"] == before


def test_the_same_file_twice_makes_no_order_twice(traded: Traded) -> None:
    owner = traded["owner"]
    before = owner.get("/api/orders").json()["counts"]
    answer = owner.post(
        "/merchant/import", shop="店M1", files=[("files", ("orders.csv", PLAIN_ORDERS.encode(), "text/csv"))]
    )
    assert "新订单 0" in owner.get(answer.headers["location"]).text
    assert owner.get("/api/orders").json()["counts"] == before


def test_r49_closing_before_dispatch_gives_everything_back(traded: Traded) -> None:
    owner = traded["owner"]
    more = (
        PLAIN_ORDERS.splitlines()[0]
        + "\n880009,国大_3F-315_P65_8821#,奶白,M,1,连衣裙,王芳,13812344321,浙江省 杭州市 一号,\n"
    )
    before = owner.get("/api/wallet").json()
    owner.post("/merchant/import", shop="店M1", files=[("files", ("more.csv", more.encode(), "text/csv"))])
    order = owner.get("/api/orders?search=880009").json()["orders"][0]["id"]
    assert owner.get("/api/wallet").json()["held_fen"] > before["held_fen"]
    owner.done(f"/merchant/orders/{order}/close", reason="买家不要了")
    after = owner.get("/api/wallet").json()
    assert (after["available_fen"], after["held_fen"]) == (before["available_fen"], before["held_fen"])


def test_an_enrolment_code_is_shown_once_with_its_qr(traded: Traded) -> None:
    admin = traded["admin"]
    page = admin.post("/platform/devices/codes", role="picker", name="小王的手机", people="wang")
    assert page.status_code == 200
    assert "<svg" in page.text
    assert re.search(r'class="code mono">[0-9A-Z]{5} [0-9A-Z]{5}<', page.text)
    assert not re.search(r'class="code mono"', admin.get("/platform/devices").text)


def test_a_bearer_of_a_program_needs_no_form_token_and_gets_json(traded: Traded) -> None:
    client = traded["admin"].client
    client.cookies.clear()
    asked = client.post("/api/session", json={"name": "admin", "password": PASSWORDS["admin"]})
    headers = {"Authorization": f"Bearer {asked.json()['token']}", "Accept": "application/json"}
    told: dict[str, Any] = client.post(
        "/platform/stalls", data={"market": "国大", "stall": "999", "floor": "9F"}, headers=headers
    ).json()
    assert told["state"] == "done"
    refused = client.post("/platform/merchants/nobody/top-up", data={"amount": "5", "key": "k"}, headers=headers)
    assert refused.status_code == 409
    assert refused.json()["code"]


def test_nobody_ends_his_own_account(traded: Traded) -> None:
    admin = traded["admin"]
    page = admin.get("/platform/users").text
    own = [int(number) for number in re.findall(r"/platform/users/(\d+)/password", page)]
    answers = {number: admin.post(f"/platform/users/{number}/end") for number in own[:1]}
    assert all(answer.status_code in (303, 409) for answer in answers.values())
    assert admin.get("/platform").status_code == 200


def test_e31_somebody_who_left_is_let_back_on_his_own_row(traded: Traded) -> None:
    admin = traded["admin"]
    admin.done("/platform/people", id="song", name="小宋", pin="2468")
    admin.done("/platform/people/song/end")
    page = admin.get("/platform/people").text
    (left,) = re.findall(r'people/song/back">.*?name="ended_ms" value="(\d+)"', page)
    admin.done("/platform/people/song/back", ended_ms=left)
    assert "people/song/end" in admin.get("/platform/people").text


def test_r9_a_form_that_made_a_shop_sent_again_leaves_its_merchants_settings(traded: Traded) -> None:
    traded["admin"].done("/platform/merchants/M1/shops", shop="分店")
    traded["owner"].done("/merchant/settings", shop="分店", hold_messages="1", tolerance="3.21")
    assert traded["admin"].post("/platform/merchants/M1/shops", shop="分店").status_code == 409
    assert "3.21" in traded["owner"].get("/merchant/settings").text


@pytest.mark.parametrize(
    ("path", "setting", "name", "value"),
    [
        ("/platform/fees", "fees", "courier_fen_by_region", {"新疆": 1500}),
        ("/platform/settings", "platform", "utc_offset_minutes", 360),
    ],
)
def test_r65_d22_a_form_leaves_what_it_does_not_ask(
    traded: Traded, data: Path, path: str, setting: str, name: str, value: object
) -> None:
    admin = traded["admin"]
    with closing(sqlite3.connect(data / DATABASE)) as conn, conn:
        conn.execute("INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)", (setting, json.dumps({name: value})))
    admin.done(path)
    with closing(sqlite3.connect(data / DATABASE)) as conn:
        (after,) = conn.execute("SELECT value FROM setting WHERE name = ?", (setting,)).fetchone()
    assert json.loads(after)[name] == value
    if setting == "fees":
        assert "新疆：15.00" in admin.get("/platform/couriers").text
