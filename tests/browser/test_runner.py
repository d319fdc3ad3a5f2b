"""The runner's main path at the stall, with the server down."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser import days
from tests.browser.conftest import Open, sign_in
from tests.unit.clients.market import PIN

pytestmark = pytest.mark.browser


def test_the_bag_is_emptied_one_refunded_one_refused(open_client: Open) -> None:
    page = open_client("field", days.runners_bag)
    sign_in(page, PIN)
    page.goto(page.url.split("?")[0].rsplit("/", 1)[0] + "/trip")
    expect(page.locator(".lead")).to_contain_text("还有 2 件没退")
    page.fill("#scan", days.RETURN_CODE)
    page.keyboard.press("Enter")
    expect(page.locator(".money")).to_have_text("¥65")
    expect(page.locator(".facts")).to_contain_text("小王")
    page.click("button:has-text('全额收到')")
    expect(page.locator(f'[data-piece="{days.RETURN_CODE}"]')).to_contain_text("已退档口")
    page.click(".task:has-text('还剩 1 天') a.what")
    page.click("#refuse .pick:has-text('吊牌缺失')")
    page.click("#refuse .pick:has-text('带回仓库')")
    page.click("#refuse button.warn")
    expect(page.locator("#bag")).to_contain_text("带回仓库")
    expect(page.locator("#bar")).to_contain_text("2 笔未同步")
