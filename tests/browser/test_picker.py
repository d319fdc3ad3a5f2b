"""The picker's main path on a phone-sized screen, with the server down."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import days
from tests.browser.conftest import OWN_FONT, Open, sign_in
from tests.unit.clients.market import PIN

pytestmark = pytest.mark.browser


@pytest.fixture
def phone(open_client: Open) -> Page:
    page = open_client("field", days.pickers_morning)
    sign_in(page, PIN)
    return page


def test_one_tap_buys_and_what_waits_is_said_at_once(phone: Page) -> None:
    expect(phone.locator("#bar")).to_contain_text("全部已同步")
    phone.click('[data-task="T1-1"] button.buy')
    expect(phone.locator('[data-task="T1-1"]')).to_have_attribute("data-status", "bought")
    expect(phone.locator("#bar")).to_contain_text("1 笔未同步")
    expect(phone.locator("#bar")).to_contain_text("离线")
    phone.click(".undo button.warn")
    expect(phone.locator('[data-task="T1-1"]')).to_have_attribute("data-status", "wanted")


def test_a_machine_without_a_chinese_font_gets_ours(phone: Page) -> None:
    assert phone.evaluate(OWN_FONT) == ["loaded"]


def test_a_group_is_bought_in_part_and_the_rest_is_answered(phone: Page) -> None:
    expect(phone.locator('[data-task="T3-1"] button.buy')).to_have_text("3 件 × ¥48")
    phone.click('[data-task="T3-1"] a:has-text("改价")')
    for seen in (".big", "#pad input[name=price]", "#pad .pad-go"):
        expect(phone.locator(seen)).to_be_in_viewport()
    phone.click("#pad .choices .pick:has-text('2')")
    phone.click("#pad .pad-go")
    expect(phone.locator('[data-task="T3-1"]')).to_have_attribute("data-status", "bought")
    expect(phone.locator('[data-task="T3-3"]')).to_have_attribute("data-status", "wanted")
    phone.click('[data-task="T3-3"] a:has-text("无货")')
    expect(phone.locator("button[value=out_of_stock]")).to_be_in_viewport()
    expect(phone.locator(".big")).to_be_in_viewport()
    phone.click("button[value=out_of_stock]")
    expect(phone.locator('[data-task="T3-3"]')).to_contain_text("无货")


def test_e8_a_slipped_digit_is_asked_about_and_e6_a_dear_price_is_bounced(phone: Page) -> None:
    phone.click('[data-task="T4-1"] a.what')
    for key in ("1", "2", "8", "5"):
        phone.click(f"#pad [data-key='{key}']")
    phone.click("#pad .pad-go")
    expect(phone.locator(".verdict")).to_contain_text("像多按了一位")
    phone.click("a:has-text('返回')")
    expect(phone.locator("#pad input[name=price]")).to_have_value("1285")
    phone.fill("#pad input[name=price]", "135")
    phone.click("#pad .pad-go")
    expect(phone.locator(".verdict")).to_contain_text("超过上限")
    expect(phone.locator("button:has-text('问商家')")).to_contain_text("有信号时送出")
    phone.click("button:has-text('退回商家改价')")
    expect(phone.locator('[data-task="T4-1"]')).to_contain_text("已退回商家")


def test_r41_search_by_initials_leaves_what_fits(phone: Page) -> None:
    phone.fill("[data-search]", "hs")
    expect(phone.locator('[data-task="T2-2"]')).to_be_visible()
    expect(phone.locator('[data-task="T4-1"]')).to_have_count(0)
    phone.fill("[data-search]", "")
    expect(phone.locator('[data-task="T4-1"]')).to_be_visible()


def test_the_label_is_on_paper_and_a_reprint_is_the_same_code(phone: Page) -> None:
    phone.click('[data-task="T1-1"] button.buy')
    phone.click(".undo button:has-text('重打')")
    phone.goto(phone.url.rsplit("/", 1)[0] + "/printer")
    expect(phone.locator(".job")).to_have_count(2)
    expect(phone.locator(".job").first).to_contain_text("第 2 张")
    expect(phone.locator(".job.sent, .job.printed")).to_have_count(2)


def test_labels_wait_for_a_printer_and_come_out_once_one_is_set(open_client: Open, tmp_path: Path) -> None:
    page = open_client("field", days.pickers_morning, printer=False)
    sign_in(page, PIN)
    page.click('[data-task="T3-1"] button.buy')
    page.click("#bar .chip.warn:has-text('没有打印机')")
    expect(page.locator("#jobs")).to_contain_text("3 张标签在等")
    page.click("form[action='/printer/choose'] .pick:has-text('文件夹')")
    page.fill("input[name=address]", str(tmp_path / "paper"))
    page.click("form[action='/printer/choose'] button.wide")
    expect(page.locator(".job.sent, .job.printed")).to_have_count(3)
    expect(page.locator("#bar")).not_to_contain_text("打印机")


def test_english_by_the_switch(phone: Page) -> None:
    phone.click("#tabs a:has-text('更多')")
    phone.click("button:has-text('English')")
    phone.click("#tabs a:has-text('Tasks')")
    expect(phone.locator('[data-task="T1-1"] button.buy')).to_contain_text("Buy")


def test_targets_are_large_enough_for_a_thumb_and_nothing_is_cut_off(phone: Page) -> None:
    for path in ("/tasks", "/task/T3-1", "/task/T1-1", "/settings", "/printer", "/inbox", "/waiting"):
        phone.goto(phone.url.split("/", 3)[0] + "//" + phone.url.split("/", 3)[2] + path)
        small = phone.evaluate(
            "() => [...document.querySelectorAll("
            "'button, a.button, a.what, .pick span, input:not([type=hidden]):not([type=radio]), #tabs a')]"
            ".map(e => [e.innerText || e.name, e.getBoundingClientRect()]).filter(([, r]) => r.width && r.height < 55.5).map(([t]) => t)"
        )
        assert small == [], path
        assert phone.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), path


HIDDEN = """() => [...document.querySelectorAll('main button, main a.button, main input')]
  .filter(one => one.getClientRects().length)
  .filter(one => {
    one.scrollIntoView({ block: 'nearest' });
    const { left, top, width, height } = one.getBoundingClientRect();
    return [[4, 4], [width / 2, height / 2], [width - 4, height - 4]].some(([x, y]) => {
      const met = document.elementFromPoint(left + x, top + y);
      return !met || !(one.contains(met) || met.contains(one));
    });
  })
  .map(one => one.innerText || one.name)"""
"""What cannot be pressed at its middle or its corners after the page scrolled no further than it must to show it."""


def test_the_undo_strip_covers_nothing_that_can_be_pressed(phone: Page) -> None:
    phone.set_viewport_size({"width": 360, "height": 740})
    for task in ("T3-1", "T1-1"):
        phone.click(f'[data-task="{task}"] button.buy')
        expect(phone.locator(f'[data-task="{task}"]')).to_have_attribute("data-status", "bought")
        expect(phone.locator(".undo")).to_be_in_viewport(ratio=1)
        assert phone.evaluate(HIDDEN) == []
    last_row, undo, tabs = phone.evaluate(
        """() => {
          scrollTo(0, document.documentElement.scrollHeight);
          const rows = [...document.querySelectorAll('article.task')];
          const shown = [rows.at(-1), document.querySelector('.undo'), document.querySelector('#tabs')];
          return shown.map(one => one.getBoundingClientRect().toJSON());
        }"""
    )
    assert abs(undo["bottom"] - tabs["top"]) < 1, "a strip on the tabs, at the page's end, too"
    assert (undo["left"], undo["right"]) == (tabs["left"], tabs["right"])
    assert last_row["bottom"] <= undo["top"]


def test_printing_moves_no_button(phone: Page) -> None:
    phone.set_viewport_size({"width": 360, "height": 740})
    quiet = phone.evaluate("() => document.querySelector('#bar').offsetHeight")
    phone.click('[data-task="T3-1"] button.buy')
    told = "<small>上次同步 09:38</small><small>在打 3 张</small>"
    phone.evaluate("told => document.querySelector('#bar .words').insertAdjacentHTML('beforeend', told)", told)
    assert phone.evaluate("() => document.querySelector('#bar').offsetHeight") == quiet


def test_the_waiting_list_tells_garments(phone: Page) -> None:
    phone.click('[data-task="T1-1"] button.buy')
    phone.click("#bar .chip.warn")
    expect(phone.locator("#waiting")).to_contain_text("拿到 · 3F 315 · 8821# 黑色 M · 标签")
    expect(phone.locator("#waiting")).not_to_contain_text("T1-1")
