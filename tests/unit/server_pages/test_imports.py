"""What became of earlier imports stands on the import page, also of files that were left on the server's own machine."""

from __future__ import annotations

import re
from pathlib import Path

from nahuo.order_import import import_files
from tests.unit.server_pages.conftest import PLAIN_ORDERS, Browser

Traded = dict[str, Browser]


def listed(browser: Browser, path: str) -> str:
    """Return the text of the list of earlier imports."""
    _, _, rest = browser.get(path).text.partition("以前的导入")
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", rest))


def test_what_a_merchant_sent_is_listed_for_his_colleague_and_the_platform_and_for_nobody_else(traded: Traded) -> None:
    assert "店M1 新 3 · 未变 0" in listed(traded["owner"], "/merchant/import")
    assert "店M1 新 3 · 未变 0" in listed(traded["helper"], "/merchant/import")
    assert "店M1 新 3 · 未变 0" in listed(traded["clerk"], "/platform/import")
    assert "店M1" not in listed(traded["rival"], "/merchant/import")
    mine = re.findall(r"/merchant/import\?command=(\d+)", traded["owner"].get("/merchant/import").text)
    assert mine
    assert "新订单 3" in traded["helper"].get(f"/merchant/import?command={mine[0]}").text
    theirs = traded["rival"].get(f"/merchant/import?command={mine[0]}").text
    assert "新订单" not in theirs
    assert "店M1" not in theirs


def test_another_commands_number_shows_no_import(traded: Traded) -> None:
    assert "没有导入任何" not in traded["admin"].get("/platform/import?command=1").text
    assert "新订单" not in traded["admin"].get("/platform/import?command=1").text


def test_what_the_server_says_of_files_left_on_its_machine_is_read_on_the_page(
    traded: Traded, data: Path, tmp_path: Path
) -> None:
    good, wrong = tmp_path / "good.csv", tmp_path / "wrong.csv"
    good.write_text(PLAIN_ORDERS, encoding="utf-8")
    wrong.write_text("a,b\n1,2\n", encoding="utf-8")
    assert import_files(data, shop="店M2", files=[good]) == 0
    assert import_files(data, shop="店M2", files=[wrong]) == 1
    assert import_files(data, shop="没有这家店", files=[good]) == 1
    rival = traded["rival"]
    text = listed(rival, "/merchant/import")
    assert "店M2 从服务器的机器上 没有导入" in text
    assert "店M2 从服务器的机器上 新 3" in text
    assert "没有这家店" not in text
    assert "没有这家店 从服务器的机器上 没有导入" in listed(traded["admin"], "/platform/import")
    numbers = re.findall(r"/merchant/import\?command=(\d+)", rival.get("/merchant/import").text)
    assert "wrong.csv" in rival.get(f"/merchant/import?command={numbers[0]}").text
