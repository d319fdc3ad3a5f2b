"""Pages show names where a person expects one; an id stays where it is typed or scanned, or where nothing better is known."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

from server import schema as s
from server import schema_trade as st
from server.installation import open_server
from server.pages.names import Names, read_names
from tests.unit.server_pages.conftest import PASSWORDS, Browser, make_folder, served

NAMES = Names(
    lang="zh",
    devices={100: "阿林的手机"},
    people={"lin": "阿林"},
    merchants={"M1": "小鹿女装"},
    told={
        "order:O1": {"order_no": "880001"},
        "task:T1-2": {
            "order_no": "880001", "piece_no": 2, "market": "国大", "floor": "3F", "stall": "315", "style": "8821#", "colour": "奶白",
            "size": "M",
        },
        "piece:001000000017": {"stall_id": "stall:国大/3F/315", "style": "8821#", "colour": "奶白", "size": "M"},
        "parcel:P1": {"order_no": "880001", "waybill_no": "YT7700000001"},
    },
)  # fmt: skip


@pytest.mark.parametrize(
    ("subject", "shown", "within"),
    [
        ("order:O1", "订单 880001", "本单"),
        ("task:T1-2", "订单 880001 第 2 件 · 国大 3F 315 · 8821# 奶白 M", "第 2 件 · 8821# 奶白 M"),
        ("piece:001000000017", "001000000017 · 国大 3F 315 · 8821# 奶白 M", "001000000017 · 8821# 奶白 M"),
        ("parcel:P1", "订单 880001 · 面单 YT7700000001", "面单 YT7700000001"),
        ("return:SF1", "退件 SF1", "退件 SF1"),
        ("device:100", "阿林的手机", "阿林的手机"),
        ("device:101", "设备 101", "设备 101"),
        ("device:0", "服务器", "服务器"),
        ("stall:国大/3F/315/1", "国大 3F 315/1", "国大 3F 315/1"),
        ("task:T9-1", "T9-1", "T9-1"),
        ("piece:1", "1", "1"),
        ("odd", "odd", "odd"),
        ("", "", ""),
    ],
)  # fmt: skip
def test_what_a_row_is_about_is_told_as_a_person_would(subject: str, shown: str, within: str) -> None:
    assert NAMES.subject(subject) == shown
    assert NAMES.subject(subject, within_order=True) == within


@pytest.mark.parametrize(
    ("account", "shown"),
    [
        ("merchant:M1:available", "小鹿女装 · 可用"),
        ("merchant:M1:held", "小鹿女装 · 冻结"),
        ("float:lin", "阿林 · 备用金"),
        ("stall:国大/3F/315", "档口 国大 3F 315"),
        ("platform:goods", "平台 · 货款"),
        ("company", "公司钱包"),
        ("platform:new", "platform:new"),
    ],
)
def test_accounts_are_told_by_whose_they_are(account: str, shown: str) -> None:
    assert NAMES.account(account) == shown


def test_a_route_is_told_by_its_day_and_phone() -> None:
    assert NAMES.document("route/2026-11-29-100") == "11-29 · 阿林的手机"
    assert NAMES.document("route/2026-11-29-100-2") == "2026-11-29-100-2", "nothing is guessed"
    assert NAMES.document("stalls") == "stalls"


def _day(conn: Connection, now_ms: int) -> None:
    """One order at one stall: bought by Lin on his phone, told to its merchant and to the platform."""
    add = conn.execute
    add(insert(st.merchant).values(id="M1", name="小鹿女装", phone="", created_ms=now_ms))
    phone = {
        "number": 100,
        "alg": "ed25519",
        "role": "picker",
        "name": "阿林的手机",
        "public_key": b"",
        "certificate": "",
    }
    add(insert(s.device).values(**phone, organisation="platform", documents="[]", people='["lin"]', enrolled_ms=now_ms))
    add(insert(s.person).values(id="lin", name="阿林", organisation="platform", pin_salt="", pin_hash=""))
    order = {
        "id": "O77",
        "number": 77,
        "order_no": "880077",
        "merchant": "M1",
        "shop": "小鹿家",
        "status": "out",
        "digest": "",
    }
    add(insert(st.shop_order).values(**order, drop_ship=1, created_ms=now_ms, terminal=100, cell="A03"))
    line = {"order_id": "O77", "line": "1", "style": "8821#", "colour": "奶白", "size": "M", "copies": 1}
    add(insert(st.order_line).values(**line, market="国大", floor="3F", stall="315", quote_fen=6500))
    want = {
        "id": "T77-1",
        "order_id": "O77",
        "line": "1",
        "merchant": "M1",
        "piece_no": 1,
        "copy_no": 1,
        "status": "bought",
    }
    add(insert(st.wanted).values(**want, task="T77-1"))
    place = {"market": "国大", "floor": "3F", "stall": "315", "stall_id": "stall:国大/3F/315"}
    garment = {"style": "8821#", "colour": "奶白", "size": "M"}
    task = {
        "id": "T77-1",
        "wanted": "T77-1",
        "order_id": "O77",
        "attempt": 1,
        "source": "stall",
        "status": "bought",
        "device": 100,
    }
    add(insert(st.task).values(**task, **place, **garment, quote_fen=6500, cap_fen=6500))
    piece = {
        "code": "001000000017",
        "order_id": "O77",
        "wanted": "T77-1",
        "task": "T77-1",
        "owner": "M1",
        "place": "in_stock",
    }
    add(insert(st.piece).values(**piece, **garment, stall_id=place["stall_id"], person="lin", stock_since_ms=now_ms))
    for owner in ("M1", "platform"):
        told = {"code": "x", "zh": "要看一下", "en": "look", "fact": "100.1.0", "at_ms": now_ms}
        add(insert(st.notice).values(owner=owner, subject="task:T77-1", **told))
    told = {"code": "x", "zh": "说法不一", "en": "differs", "facts": '["100.1.0"]', "opened_ms": now_ms}
    add(insert(st.discrepancy).values(key="x", subject="task:T77-1", owner="M1", **told))
    add(insert(s.document).values(name="route/2026-11-29-100", kind="route", owner="platform", opened_ms=now_ms))
    add(insert(s.writer).values(document="route/2026-11-29-100", device=100, role="picker"))
    origin = {"document": "route/2026-11-29-100", "writer": 100, "seq": 1, "place": 0}
    body = '{"means":"cash","price_fen":6500}'
    said = {
        "id": "100.1.0",
        "n": 1,
        "kind": "piece.bought",
        "body": body,
        "subjects": '["task:T77-1","piece:001000000017"]',
    }
    add(
        insert(s.fact).values(
            **origin, **said, device=100, person="lin", role="picker", at_ms=now_ms, basis="{}", schema=1
        )
    )
    add(insert(s.fact_subject).values(**origin, subject="task:T77-1", id="100.1.0"))


BARE = re.compile(
    r"\b(?:(?:device|task|piece|order|parcel|stall|fact|merchant|float|route|platform):?\b[:/]|O77\b|lin\b|M1\b)"
)
"""What no page shows in its text: subjects, accounts and documents with their type, and ids of orders, people, merchants."""
WHERE_IDS_ARE_TYPED = frozenset({"/platform/people", "/platform/merchants", "/platform/users"})


def test_no_page_shows_a_bare_id_where_there_is_a_name(tmp_path: Path) -> None:
    now_ms = time.time_ns() // 1_000_000
    make_folder(tmp_path)
    server = open_server(tmp_path, now_ms=now_ms)
    with server.store.transaction() as conn:
        _day(conn, now_ms)
        assert (
            read_names(conn, "en", ["task:T77-1"]).subject("task:T77-1")
            == "order 880077 piece 1 · 国大 3F 315 · 8821# 奶白 M"
        )
    server.store.close()
    seen: dict[str, str] = {}
    with served(tmp_path) as client:
        for who, root in (("owner", "/merchant"), ("admin", "/platform")):
            person = Browser(client)
            person.sign_in(who, PASSWORDS[who])
            nav = re.search(r'<nav class="main".*?</nav>', person.get(root).text, re.S)
            assert nav is not None
            menu = re.findall(r'href="([^"]+)"', nav[0])
            for path in (*menu, f"{root}/orders/O77", "/platform/routes/route/2026-11-29-100"):
                if path.startswith(root) and path not in WHERE_IDS_ARE_TYPED:
                    answer = person.get(path)
                    assert answer.status_code == 200, path
                    seen[path] = _text(answer.text)
    for path, text in seen.items():
        assert (found := BARE.search(text)) is None, f"{path}: …{text[max(0, found.start() - 40) : found.end() + 20]}…"
        assert "T77-1" not in text or path.startswith("/platform"), (
            "who adopts a label types its task; a merchant never does"
        )
    assert "阿林的手机 · 阿林" in seen["/platform/orders/O77"]
    assert "阿林的手机" in seen["/merchant/orders/O77"]
    assert "阿林 " not in seen["/merchant/orders/O77"], "who carries a drop-ship order is the platform's affair"
    for path in ("/merchant/notices", "/platform/notices", "/platform/discrepancies", "/platform"):
        assert "订单 880077 第 1 件 · 国大 3F 315 · 8821# 奶白 M" in seen[path], path
    for path in ("/merchant/returns", "/platform/trips"):
        assert "国大 3F 315" in seen[path], path
        assert "小鹿女装" in seen[path], path
    assert "11-29 · 阿林的手机" in seen["/platform/routes"]
    assert "小鹿女装" in seen["/platform/orders"]
    assert "阿林" in seen["/platform/devices"]


def _text(page: str) -> str:
    main = re.search(r"<main.*?</main>", page, re.S)
    assert main is not None
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", main[0]))
