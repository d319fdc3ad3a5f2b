"""A server lost after an older backup, and a phone put back from one: nothing that was shown as done is lost, and all counts once."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from nahuo.backup import make_backup, restore_backup
from nahuo.demo.main import free_ports, make_orders
from nahuo.demo.scene import Scene
from nahuo.status import read_status
from nahuo.verify import verify_folder

PHONES = ("phone1", "phone2")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A morning with tasks on both phones, all of it running."""
    files = make_orders(tmp_path / "orders", orders=60, seed=6)
    scene = Scene(folder=tmp_path / "scene", ports=free_ports())
    try:
        scene.raise_curtain(lambda words: None)
        scene.import_orders(files)
        scene.admin.need("/platform/routes/assign")
        until(lambda: all(len(open_tasks(scene, key)) > 8 for key in PHONES))
        yield scene
    finally:
        scene.drop_curtain()


def test_a_server_restored_from_an_older_backup_gets_back_what_the_phones_know(scene: Scene, tmp_path: Path) -> None:
    data = scene.folder / "server"
    early = buy(scene, "phone1", 3)
    until(lambda: all_delivered(scene))
    make_backup(data, tmp_path / "older.backup")
    acknowledged = buy(scene, "phone1", 3) + buy(scene, "phone2", 2)
    until(lambda: all_delivered(scene))
    scene.hands["phone2"].signal(False)
    unsent = buy(scene, "phone2", 2)

    scene.server.kill()
    shutil.rmtree(data)
    restore_backup(tmp_path / "older.backup", data)
    known = pieces(scene)
    assert set(early) <= known
    assert not set(acknowledged) & known
    assert verify_folder(data).holds
    scene.restart_server()
    assert read_status(data).name == "number 1"

    scene.hands["phone2"].signal(True)
    until(lambda: set(early + acknowledged + unsent) <= pieces(scene))
    until(lambda: all_delivered(scene))
    more = buy(scene, "phone1", 1)
    until(lambda: set(more) <= pieces(scene))
    verdict = verify_folder(data)
    assert {check.name: check.faults[:3] for check in verdict.checks if not check.holds} == {}
    assert charged_twice(scene) == []
    assert query(scene, "SELECT 'posts', count(*) FROM entry WHERE kind = 'post'") == [("posts", 11)]
    assert len(set(early + acknowledged + unsent + more)) == 11


def test_a_server_put_back_from_a_snapshot_of_its_machine_notices_it_and_goes_on_at_its_next_start(
    scene: Scene, tmp_path: Path
) -> None:
    data, snapshot = scene.folder / "server", tmp_path / "snapshot"
    until(lambda: all_delivered(scene))
    scene.server.kill()
    shutil.copytree(data, snapshot)
    scene.restart_server()
    bought = buy(scene, "phone1", 3)
    until(lambda: set(bought) <= pieces(scene))
    until(lambda: all_delivered(scene))

    scene.server.kill()
    shutil.rmtree(data)
    shutil.copytree(snapshot, data)
    scene.restart_server()
    until(lambda: waits_for_a_start(scene))
    assert health(scene) == {"ok": True, "writing": True, "deciding": False}
    more = buy(scene, "phone2", 1)
    until(lambda: scene.hands["phone2"].see("/pulse")["waiting"] == 0)

    scene.server.kill()
    scene.restart_server()
    assert read_status(data).name == "number 1"
    until(lambda: set(bought + more) <= pieces(scene))
    until(lambda: all_delivered(scene))
    assert not waits_for_a_start(scene)
    verdict = verify_folder(data)
    assert {check.name: check.faults[:3] for check in verdict.checks if not check.holds} == {}
    assert charged_twice(scene) == []


def test_a_phone_put_back_from_a_backup_gets_a_number_of_its_own_and_its_work_counts_once(
    scene: Scene, tmp_path: Path
) -> None:
    phone = scene.folder / "phone1"
    scene.hands["phone1"].signal(False)
    unsent = buy(scene, "phone1", 3)
    make_backup(phone, tmp_path / "phone.backup")
    scene.hands["phone1"].signal(True)
    until(lambda: set(unsent) <= pieces(scene))
    old = scene.numbers["phone1"]

    scene.devices["phone1"].client.kill()
    shutil.rmtree(phone)
    restore_backup(tmp_path / "phone.backup", phone)
    scene.restart_device("phone1")
    until(lambda: number_of(phone) not in (None, old))
    until(lambda: scene.hands["phone1"].see("/pulse")["waiting"] == 0)
    assert number_of(phone) != old
    assert set(unsent) <= pieces(scene)
    assert charged_twice(scene) == []
    verdict = verify_folder(scene.folder / "server")
    assert {check.name: check.faults[:3] for check in verdict.checks if not check.holds} == {}


def test_a_second_process_on_one_folder_is_told_so(scene: Scene) -> None:
    line = [
        sys.executable,
        "-m",
        "nahuo",
        "field",
        "--data",
        str(scene.folder / "phone1"),
        "--server",
        scene.server_url,
    ]
    second = subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False)
    assert second.returncode == 1
    assert "open in another process" in second.stderr


def buy(scene: Scene, key: str, count: int) -> list[str]:
    """Buy the first open tasks of a phone at the quote; return the piece codes."""
    codes = []
    for task in open_tasks(scene, key)[:count]:
        answer = scene.hands[key].do("/buy", tasks=task)
        assert answer.ok, answer.body
        codes.append(str(answer.body["pieces"][0]))
    assert len(codes) == count
    return codes


def open_tasks(scene: Scene, key: str) -> list[str]:
    """Return the tasks a phone may still buy."""
    return [t["task"] for t in scene.hands[key].see("/tasks")["tasks"] if t["open"] and t["mine"]]


def all_delivered(scene: Scene) -> bool:
    """True when nothing waits on a phone and the server has decided all it has."""
    return all(scene.hands[key].see("/pulse")["waiting"] == 0 for key in PHONES) and not any(
        line.count for line in read_status(scene.folder / "server").waiting if line.what == "envelopes to decide"
    )


def waits_for_a_start(scene: Scene) -> bool:
    """True when the server says that it must be started again."""
    return any(line.what == "a new start" for line in read_status(scene.folder / "server").waiting)


def health(scene: Scene) -> object:
    """Return what the server says of itself."""
    return httpx.get(f"{scene.server_url}/api/health", trust_env=False).json()


def pieces(scene: Scene) -> set[str]:
    """Return the pieces the server knows."""
    return {row[0] for row in query(scene, "SELECT code FROM piece")}


def charged_twice(scene: Scene) -> list[tuple[str, int]]:
    """Return wanted pieces whose principal was captured more than once, or beyond what was held."""
    return query(
        scene,
        "SELECT subject, captured_fen FROM hold WHERE part = 'principal' AND captured_fen > held_fen"
        " UNION SELECT piece, count(*) FROM entry WHERE kind = 'post' GROUP BY piece HAVING count(*) > 1",
    )


def query(scene: Scene, sql: str) -> list[tuple[str, int]]:
    """Read the server's database beside it."""
    with closing(sqlite3.connect(f"file:{scene.folder / 'server' / 'nahuo.db'}?mode=ro", uri=True)) as conn:
        return list(conn.execute(sql))


def number_of(folder: Path) -> int | None:
    """Return the number a client's folder has now."""
    with closing(sqlite3.connect(f"file:{folder / 'replica.db'}?mode=ro", uri=True)) as conn:
        row = conn.execute("SELECT value FROM setting WHERE name = 'number'").fetchone()
    return None if row is None else int(row[0])


def until(ready: Callable[[], bool], seconds: float = 90) -> None:
    """Wait for something that a real process brings about."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
