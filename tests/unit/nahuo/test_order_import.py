"""`nahuo import` leaves one durable command and tells what the server answered."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from nahuo.order_import import import_files, show_outcome
from server import schema as s
from server import schema_trade as st
from server.installation import DATABASE, init_server
from server.store import Store, open_store
from sync_core.errors import RefusedError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A server's folder with nobody running."""
    server = init_server(tmp_path / "server", now_ms=1_000)
    server.store.close()
    return tmp_path / "server"


def commands_of(folder: Path) -> list[dict[str, object]]:
    """Return the bodies of the commands that wait."""
    store = open_store(folder / DATABASE)
    with store.reading() as conn:
        found = [json.loads(row.body) for row in conn.execute(select(s.command).order_by(s.command.c.id))]
    store.close()
    return found


def test_the_files_are_left_byte_for_byte(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = "订单编号".encode("gbk") + b"\xff\x00"
    (tmp_path / "a.csv").write_bytes(content)
    assert import_files(folder, shop="店", files=[tmp_path / "a.csv"], wait_seconds=0) == 0
    assert "left for the server as command 1" in capsys.readouterr().out
    [body] = commands_of(folder)
    assert body["shop"] == "店"
    assert body["files"] == [{"name": "a.csv", "content": base64.b64encode(content).decode()}]


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        ({"ok": True, "new": 3, "changed": 1, "unchanged": 2, "skipped": 4, "problems": []}, 0, "3 orders new, 1 changed, 2 as before"),
        ({"ok": False, "code": "shop.unknown", "message": "there is no shop"}, 1, "there is no shop\nthere is no shop yet: make one"),
    ],
)  # fmt: skip
def test_the_answer_is_shown_and_decides_the_exit_code(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    answer: dict[str, object],
    code: int,
    told: str,
) -> None:
    (tmp_path / "a.csv").write_bytes(b"x")

    def answered(store: Store, number: int, seconds: float) -> dict[str, object] | None:
        # The authority's part: the outcome stands in the command's own row.
        with store.transaction() as conn:
            conn.execute(update(s.command).where(s.command.c.id == number).values(outcome=json.dumps(answer)))
        return real(store, number, seconds)

    from nahuo import order_import

    real = order_import._wait
    monkeypatch.setattr(order_import, "_wait", answered)
    assert import_files(folder, shop="店", files=[tmp_path / "a.csv"]) == code
    assert told in capsys.readouterr().out


def test_whoever_names_no_shop_of_the_server_is_told_which_there_are(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_bytes(b"x")
    store = open_store(folder / DATABASE)
    with store.transaction() as conn:
        for name in ("小满", "春风"):
            conn.execute(insert(st.shop).values(name=name, merchant="m1", created_ms=1))
    store.close()
    monkeypatch.setattr("nahuo.order_import._wait", lambda *_: {"ok": False, "code": "shop.unknown", "message": "no"})
    assert import_files(folder, shop="小蛮", files=[tmp_path / "a.csv"]) == 1
    assert "the shops are: 小满, 春风" in capsys.readouterr().out


def test_each_problem_names_file_row_column_and_fix() -> None:
    problem = {"file": "a.csv", "row": 3, "column": "商家编码", "en": "names no quote", "fix_en": "write P65"}
    assert (
        show_outcome({"ok": True, "problems": [problem]})[1]
        == "  a.csv: row 3, column 商家编码: names no quote -> write P65"
    )
    many = show_outcome({"ok": False, "problems": [problem] * 60})
    assert many[-1] == "  … and 10 more"


def test_what_cannot_be_read_stores_nothing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="cannot be read"):
        import_files(folder, shop="店", files=[tmp_path / "missing.csv"], wait_seconds=0)
    with pytest.raises(RefusedError, match="at most"):
        import_files(folder, shop="店", files=[tmp_path / "missing.csv"] * 11, wait_seconds=0)
    assert commands_of(folder) == []
