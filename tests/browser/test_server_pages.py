"""The merchant's and the platform's pages in real Chromium, phone and desktop, against the real server with its authority."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Page, ViewportSize

from tests.browser.conftest import OWN_FONT
from tests.unit.server_pages.conftest import PASSWORDS, PLAIN_ORDERS, make_folder, served

pytestmark = pytest.mark.browser

PHONE: ViewportSize = {"width": 390, "height": 844}
DESK: ViewportSize = {"width": 1280, "height": 800}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("served")
    make_folder(data)
    with served(data) as client:
        yield str(client.base_url)


def sign_in(chromium: Browser, address: str, name: str, size: ViewportSize) -> tuple[Page, list[str]]:
    """A page signed in, and the list that every complaint of the browser's console will join."""
    page = chromium.new_context(viewport=size, base_url=address).new_page()
    complaints: list[str] = []
    page.on("console", lambda told: complaints.append(told.text) if told.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto("/")
    page.get_by_label("名字").fill(name)
    page.get_by_label("密码").fill(PASSWORDS[name])
    page.get_by_role("button", name="登录").click()
    page.locator("nav.main a[aria-current]").wait_for()
    return page, complaints


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def test_a_day_of_the_pages_from_first_merchant_to_closed_order(
    chromium: Browser, address: str, tmp_path: Path
) -> None:
    admin, complaints = sign_in(chromium, address, "admin", DESK)
    admin.goto("/platform/merchants")
    new = admin.locator("form[action='/platform/merchants']")
    new.get_by_label("编号").fill("M1")
    new.get_by_label("名称").fill("小鹿女装")
    new.get_by_role("button", name="添加").click()
    admin.get_by_text("商家已添加").wait_for()
    admin.get_by_text("开店铺").first.click()
    shop = admin.locator("form[action='/platform/merchants/M1/shops']")
    shop.get_by_label("店铺名").fill("小鹿家")
    shop.get_by_role("button", name="开店铺").click()
    admin.get_by_text("店铺已保存").wait_for()
    admin.get_by_text("充值", exact=True).first.click()
    top_up = admin.locator("form[action='/platform/merchants/M1/top-up']")
    top_up.get_by_label("金额").fill("500")
    top_up.get_by_label("银行流水号").fill("bank-1")
    top_up.get_by_role("button", name="登记充值").click()
    admin.get_by_text("充值已登记").wait_for()

    owner, more = sign_in(chromium, address, "owner", PHONE)
    orders = tmp_path / "orders.csv"
    orders.write_text(PLAIN_ORDERS, encoding="utf-8")
    owner.goto("/merchant/import")
    owner.locator("input[type=file]").set_input_files(orders)
    owner.get_by_role("button", name="导入").click()
    owner.get_by_text("新订单 3").wait_for()
    owner.goto("/merchant/orders")
    owner.get_by_role("link", name="880001").click()
    assert fits(owner)
    owner.get_by_text("关闭订单").first.click()
    owner.get_by_text("没派出去的，冻结的钱立即全部退回").wait_for()
    asked: list[str] = []

    def accept(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.accept()

    owner.on("dialog", accept)
    owner.get_by_role("button", name="关闭订单").click()
    owner.get_by_text("订单已关闭").wait_for()
    assert asked == ["真的关闭这一单？"]
    owner.get_by_role("button", name="English").click()
    owner.get_by_text("What happened").wait_for()
    assert complaints == []
    assert more == []


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desktop"])
@pytest.mark.parametrize("who", ["owner", "admin"])
def test_every_page_of_the_menu_fits_the_screen_and_breaks_no_content_policy(
    chromium: Browser, address: str, who: str, size: ViewportSize
) -> None:
    page, complaints = sign_in(chromium, address, who, size)
    paths = [link.get_attribute("href") or "" for link in page.locator("nav.main a").all()]
    assert len(paths) >= 8
    for path in paths:
        page.goto(path)
        assert page.locator("h1").count() == 1, path
        assert fits(page), path
        assert page.locator("nav.main [aria-current]").get_attribute("href") == path
    assert complaints == []
    page.context.close()


def test_a_machine_without_a_chinese_font_gets_ours(chromium: Browser, address: str) -> None:
    page = chromium.new_page(base_url=address)
    page.goto("/sign-in")
    assert page.evaluate(OWN_FONT) == ["loaded"]


def test_the_keyboard_reaches_the_content_first(chromium: Browser, address: str) -> None:
    page, _ = sign_in(chromium, address, "admin", DESK)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "跳到正文"
    page.context.close()
