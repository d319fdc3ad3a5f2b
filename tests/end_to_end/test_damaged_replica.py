"""A phone's file is damaged in every way we could think of: set aside, what no server had is saved and counts once, people are told."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from nahuo.demo.main import free_ports, make_orders
from nahuo.demo.scene import Scene
from nahuo.recount import recount_client
from sync_core.errors import RetryableError
from sync_core.twin import TWIN
from trade.projections import MARKET_DAY

BUYS = 3


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    files = make_orders(folder / "orders", orders=70, seed=6)
    scene = Scene(folder=folder / "scene", ports=free_ports())
    try:
        scene.raise_curtain(lambda _words: None)
        scene.import_orders(files)
        scene.admin.need("/platform/routes/assign")
        _until(lambda: len(_open_tasks(scene)) > 20)
        yield scene
    finally:
        scene.drop_curtain()


def flip_bits(folder: Path) -> None:
    for name in ("replica.db", "replica.db-wal"):
        data = bytearray((folder / name).read_bytes())
        for at in range(4096, len(data), 4096):
            data[at : at + 64] = bytes(byte ^ 0xFF for byte in data[at : at + 64])
        (folder / name).write_bytes(data)


def cut_short(folder: Path) -> None:
    for name in ("replica.db", "replica.db-wal"):
        with open(folder / name, "r+b") as file:
            file.truncate(8192 + 100)


def garble_header(folder: Path) -> None:
    for name in ("replica.db", "replica.db-wal"):
        with open(folder / name, "r+b") as file:
            file.write(b"this is no database at all")


def delete_database(folder: Path) -> None:
    (folder / "replica.db").unlink()


def delete_journal(folder: Path) -> None:
    (folder / "replica.db-wal").unlink()


def empty_database(folder: Path) -> None:
    (folder / "replica.db").write_bytes(b"")
    (folder / "replica.db-wal").unlink(missing_ok=True)


@pytest.mark.parametrize(
    "damage",
    [flip_bits, cut_short, garble_header, delete_database, delete_journal, empty_database],
    ids=lambda d: d.__name__,
)
def test_a_damaged_file_is_set_aside_and_nothing_bought_is_lost(scene: Scene, damage: Callable[[Path], None]) -> None:
    folder = scene.folder / "phone1"
    before = set(_set_aside(folder))
    number = scene.hands["phone1"].see("/pulse")["number"]
    bought = _buy_offline(scene)
    scene.devices["phone1"].client.kill()
    damage(folder)
    scene.restart_device("phone1")
    told = scene.hands["phone1"].see("/damage")
    assert set(bought) <= set(told["labels"])
    assert len(set(_set_aside(folder)) - before) == 1
    _until(lambda: _idle(scene))
    assert scene.hands["phone1"].see("/pulse")["number"] > number
    _until(lambda: set(bought) <= set(_pieces(scene)))
    assert all(_pieces(scene).count(code) == 1 for code in bought)
    assert f"device:{number}" in {row["subject"] for row in _damages(scene)}
    assert not {code for row in _damages(scene) for code in bought if code in row["en"]}


def test_an_old_copy_put_in_place_is_known_before_it_mints_a_label_twice(scene: Scene, tmp_path: Path) -> None:
    folder = scene.folder / "phone1"
    _until(lambda: _idle(scene))
    scene.devices["phone1"].client.kill()
    for end in ("", "-wal"):
        if (folder / f"replica.db{end}").exists():
            shutil.copyfile(folder / f"replica.db{end}", tmp_path / f"replica.db{end}")
    scene.restart_device("phone1")
    bought = _buy_offline(scene)
    scene.devices["phone1"].client.kill()
    (folder / "replica.db-wal").unlink(missing_ok=True)
    for file in tmp_path.iterdir():
        shutil.copyfile(file, folder / file.name)
    scene.restart_device("phone1")
    assert set(bought) <= set(scene.hands["phone1"].see("/damage")["labels"])
    _until(lambda: _idle(scene))
    _until(lambda: set(bought) <= set(_pieces(scene)))
    assert all(_pieces(scene).count(code) == 1 for code in bought)


def test_damage_met_while_in_use_is_repaired_at_the_same_address(scene: Scene) -> None:
    folder = scene.folder / "phone1"
    _until(lambda: _idle(scene))
    before = set(_set_aside(folder))
    bought = _buy_offline(scene)
    url = scene.devices["phone1"].client.url
    # Another hand writes into the open file, so that its pages are read anew; then every page but the first is garbage.
    with closing(sqlite3.connect(folder / "replica.db")) as conn, conn:
        conn.execute("INSERT INTO setting VALUES ('touched', '1')")
    for name in ("replica.db", "replica.db-wal"):
        with open(folder / name, "r+b") as file:
            size = file.seek(0, 2)
            for at in range(4096, size, 512):
                file.seek(at)
                file.write(b"\xa5" * min(512, size - at))

    def repaired() -> bool:
        with suppress(RetryableError):
            scene.hands["phone1"].do("/buy", tasks="T0-0")
            scene.hands["phone1"].see("/waiting")
        return bool(set(_set_aside(folder)) - before)

    def answers() -> bool:
        try:
            return bool(scene.hands["phone1"].see("/pulse")["ok"])
        except RetryableError:
            return False

    _until(repaired)
    _until(answers)
    assert scene.devices["phone1"].client.is_running
    assert scene.devices["phone1"].client.url == url
    scene._pick_up("phone1")
    assert set(bought) <= set(scene.hands["phone1"].see("/damage")["labels"])
    _until(lambda: _idle(scene))
    _until(lambda: set(bought) <= set(_pieces(scene)))


def test_a_missing_key_comes_back_from_the_twin(scene: Scene) -> None:
    folder = scene.folder / "phone1"
    bought = _buy_offline(scene)
    scene.devices["phone1"].client.kill()
    keys = list(folder.glob("device*.key"))
    assert keys
    for key in keys:
        key.unlink()
    scene.restart_device("phone1")
    _until(lambda: _idle(scene))
    _until(lambda: set(bought) <= set(_pieces(scene)))


def test_without_key_and_twin_it_says_so_and_moves_nothing(scene: Scene) -> None:
    folder = scene.folder / "phone2"
    scene.devices["phone2"].client.kill()
    kept = {path.name: path.read_bytes() for path in [*folder.glob("device*.key"), folder / TWIN]}
    for name in kept:
        (folder / name).unlink()
    scene.devices["phone2"].client.start()
    with pytest.raises(RetryableError, match="key is gone"):
        scene.devices["phone2"].client.wait()
    assert (folder / "replica.db").is_file()
    assert not list(folder.glob("device*.key"))
    for name, data in kept.items():
        (folder / name).write_bytes(data)
    scene.restart_device("phone2")


def test_the_repaired_folder_recounts(scene: Scene) -> None:
    _until(lambda: _idle(scene))
    scene.devices["phone1"].client.stop()
    recount = recount_client(scene.folder / "phone1" / "replica.db", MARKET_DAY)
    assert [(check.name, check.faults) for check in recount.checks if not check.holds] == []
    scene.restart_device("phone1")


def _buy_offline(scene: Scene) -> list[str]:
    hand = scene.hands["phone1"]
    _until(lambda: len(_open_tasks(scene)) >= BUYS)
    hand.signal(False)
    codes = []
    for task in _open_tasks(scene)[:BUYS]:
        answer = hand.do("/buy", tasks=task, confirm="1", late_shown="1")
        assert answer.ok, answer.body
        codes += answer.body["pieces"]
    return codes


def _open_tasks(scene: Scene) -> list[str]:
    tasks = scene.hands["phone1"].see("/tasks")["tasks"]
    return [t["task"] for t in tasks if t["open"] and t["mine"] and not t["recalled"]]


def _idle(scene: Scene) -> bool:
    pulse = scene.hands["phone1"].see("/pulse")
    return bool(pulse["link"] == "live" and pulse["waiting"] == 0)


def _set_aside(folder: Path) -> list[str]:
    return [path.name for path in (folder / "set-aside").glob("*")]


def _pieces(scene: Scene) -> list[str]:
    with _server(scene) as conn:
        rows = conn.execute("SELECT subjects FROM fact WHERE kind = 'verdict.purchase' GROUP BY subjects").fetchall()
    return [s.partition(":")[2] for row in rows for s in json.loads(row[0]) if s.startswith("piece:")]


def _damages(scene: Scene) -> list[dict[str, str]]:
    with _server(scene) as conn:
        rows = conn.execute("SELECT subject, en FROM discrepancy WHERE code = 'device_damaged'").fetchall()
    return [{"subject": row[0], "en": row[1]} for row in rows]


def _server(scene: Scene) -> closing[sqlite3.Connection]:
    path = scene.folder / "server" / "nahuo.db"
    return closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True))


def _until(ready: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)
