"""The terminal's main path at a desk, driven like a keyboard-wedge scanner, with the server down."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser import days
from tests.browser.conftest import Open, sign_in
from tests.unit.clients.market import PIN, TERMINAL
from tests.unit.clients.test_warehouse import code, qr_of

pytestmark = pytest.mark.browser


@pytest.fixture
def desk(open_client: Open) -> Page:
    page = open_client("warehouse", days.wall_of_the_day)
    sign_in(page, PIN)
    return page


def scan(page: Page, text: str) -> None:
    """Type like a scanner: fast keys, then Enter; nobody clicks."""
    page.wait_for_function("() => document.activeElement && document.activeElement.id === 'scan'")
    page.keyboard.type(text)
    page.keyboard.press("Enter")


def test_a_single_piece_is_packed_printed_and_shipped_by_two_scans(desk: Page) -> None:
    scan(desk, code(1))
    expect(desk.locator(".verdict.ok")).to_contain_text("单件 · 打包")
    scan(desk, "YT880000000001")
    expect(desk.locator('[data-outcome="shipped"]')).to_contain_text("已发货")
    scan(desk, "YT880000000001")
    expect(desk.locator('[data-outcome="already_shipped"]')).to_contain_text("已发过货")


def test_e12_the_cell_the_count_and_the_completing_scan_by_a_qr_nobody_heard_of(desk: Page) -> None:
    scan(desk, code(21))
    expect(desk.locator('[data-outcome="in_cell"] h1')).to_have_text("A03")
    expect(desk.locator(".verdict")).to_contain_text("1/2")
    scan(desk, qr_of(2, 2, 22, pieces=2, cell="A03", terminal=TERMINAL))
    expect(desk.locator('[data-outcome="complete_packed"]')).to_contain_text("2/2")


def test_e15_a_refund_stops_by_colour_and_sound(desk: Page) -> None:
    desk.evaluate(
        "() => { window.tones = []; const start = OscillatorNode.prototype.start;"
        " OscillatorNode.prototype.start = function (at) { tones.push(this.type); return start.call(this, at); }; }"
    )
    scan(desk, code(31))
    expect(desk.locator('[data-outcome="stop_refund"]')).to_contain_text("停")
    colour = desk.locator(".verdict.stop").evaluate("e => getComputedStyle(e).backgroundColor")
    assert colour == "rgb(200, 30, 36)"
    assert desk.evaluate("() => tones") == ["square"]


def test_the_scan_box_keeps_the_focus_and_full_width_digits_are_read(desk: Page) -> None:
    desk.click("h1")
    wide = code(1).translate({ord(str(digit)): chr(0xFF10 + digit) for digit in range(10)})
    desk.wait_for_function("() => document.activeElement && document.activeElement.id === 'scan'")
    desk.keyboard.insert_text(wide)
    desk.keyboard.press("Enter")
    expect(desk.locator('[data-outcome="single_packed"]')).to_be_visible()


def test_an_input_method_cannot_swallow_a_scanners_letters(desk: Page) -> None:
    scan(desk, code(1))
    expect(desk.locator('[data-outcome="single_packed"]')).to_be_visible()
    # With a Chinese input method on, each key arrives as "Process" and the box holds half a syllable.
    desk.evaluate(
        """text => {
          const box = document.getElementById('scan');
          const press = key => box.dispatchEvent(new KeyboardEvent('keydown', {...key, bubbles: true, cancelable: true}));
          for (const c of text) {
            const code = /[0-9]/.test(c) ? 'Digit' + c : 'Key' + c.toUpperCase();
            press({key: 'Process', code, shiftKey: /[A-Z]/.test(c)});
          }
          box.value = 'yt';
          press({key: 'Process', code: 'Enter'});
        }""",
        "YT880000000001",
    )
    expect(desk.locator('[data-outcome="shipped"]')).to_be_visible()


def test_an_unknown_code_is_red_and_the_next_scan_goes_on(desk: Page) -> None:
    scan(desk, "garbage")
    expect(desk.locator(".verdict.stop")).to_contain_text("不是拿货条码")
    scan(desk, code(41))
    expect(desk.locator('[data-outcome="complete_waits"]')).to_contain_text("缺收件地址")
    desk.click("#tabs a:has-text('发货')")
    expect(desk.locator("main")).to_contain_text("缺收件地址")


def test_e19_the_returns_desk_takes_in_what_nobody_announced(desk: Page) -> None:
    desk.click(".modes .pick:has-text('收退件')")
    desk.wait_for_url("**/scan?mode=returns")
    scan(desk, "ZT1112223334")
    expect(desk.locator('[data-outcome="return_unknown"]')).to_be_visible()
    desk.fill("input[name=shelf]", "R4")
    desk.click("button:has-text('收下')")
    expect(desk.locator('[data-outcome="unmatched_taken"]')).to_contain_text("R4")
