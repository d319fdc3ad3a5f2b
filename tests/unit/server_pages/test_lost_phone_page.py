"""The page of labels that no phone explains: what each says, and what the supervisor must add before he may adopt it (E29)."""

from __future__ import annotations

import time
from pathlib import Path

from sqlalchemy import insert

from server import schema_trade as st
from server.installation import open_server
from tests.unit.server_pages.conftest import PASSWORDS, Browser, make_folder, served
from trade.piece_code import mint_piece_code


def test_e29_a_label_whose_qr_was_not_read_is_adopted_only_with_task_and_price(tmp_path: Path) -> None:
    now_ms = time.time_ns() // 1_000_000
    make_folder(tmp_path)
    code = mint_piece_code(155, 7)
    server = open_server(tmp_path, now_ms=now_ms)
    with server.store.transaction() as conn:
        row = {"code": code, "owner": "platform", "place": "inbound", "outcome": "unexplained", "scanned_ms": now_ms}
        conn.execute(insert(st.piece).values(**row))
    server.store.close()
    with served(tmp_path) as client:
        admin = Browser(client)
        admin.sign_in("admin", PASSWORDS["admin"])
        page = admin.get("/platform/orphans").text
        assert code in page
        assert 'name="task"' in page
        assert 'name="price"' in page
        assert 'name="person"' in page
        assert "没读到二维码" in page
        answer = admin.post(f"/platform/orphans/{code}/adopt", "/platform/orphans", price="60")
        told = admin.get(answer.headers["location"]).text
        assert "没读到任务" in told
        assert "155" in page, "which phone printed it"
