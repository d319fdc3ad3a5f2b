"""A really full disk, under a phone and under the server: a small file system of its own, mounted for the test."""

from __future__ import annotations

import errno
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from clients.runtime.node import BALLAST
from nahuo.demo.main import free_ports, make_orders
from nahuo.demo.scene import Scene
from nahuo.recount import recount_client
from sync_core.errors import RetryableError
from trade.projections import MARKET_DAY

MIB = 1024 * 1024
ROOMS = {"phone1": 24 * MIB, "server": 48 * MIB}
"""A phone lays its ballast only where 18 MiB are free; a server's database begins with 1 MiB."""
PHOTOS = "photos"
"""The file of somebody else that fills the disk."""


def mount(folder: Path, size: int) -> None:
    folder.mkdir(parents=True)
    if shutil.which("mount") is None:
        pytest.skip("there is no `mount` here: run this test as root on Linux")
    told = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )  # fmt: skip
    if told.returncode != 0:
        pytest.skip(f"no file system can be mounted here ({told.stderr.strip()}): run this test as root on Linux")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    mounted: list[Path] = []
    scene = Scene(folder=folder / "scene", ports=free_ports())
    try:
        for name, size in ROOMS.items():
            mount(scene.folder / name, size)
            mounted.append(scene.folder / name)
        files = make_orders(folder / "orders", orders=70, seed=6)
        scene.raise_curtain(lambda _words: None)
        scene.import_orders(files)
        scene.admin.need("/platform/routes/assign")
        _until(lambda: len(_open_tasks(scene)) > 20)
        yield scene
    finally:
        scene.drop_curtain()
        for place in mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(folder: Path, *, leave: int = 0) -> None:
    """Let somebody else's file take all the room there is but `leave` bytes."""
    empty_log(folder)
    with open(folder / PHOTOS, "ab", buffering=0) as file:
        for step in (MIB, 4096):
            while True:
                try:
                    if file.write(b"\xff" * step) < step:
                        break
                except OSError as error:
                    assert error.errno == errno.ENOSPC
                    break
        file.truncate(max(0, file.tell() // 4096 * 4096 - leave))


def empty_log(folder: Path) -> None:
    """What a database's log still holds of room for commits is given back, so that the next one needs a new page."""
    for name in ("replica.db", "nahuo.db"):
        if (folder / name).exists():
            with closing(sqlite3.connect(folder / name)) as conn:
                conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_a_phone_on_a_full_disk_finishes_the_bag_and_goes_on_when_there_is_room(scene: Scene) -> None:
    hand, folder = scene.hands["phone1"], scene.folder / "phone1"
    _until(lambda: _idle(scene))
    _until(lambda: (folder / BALLAST).exists())
    hand.signal(False)
    tasks = _open_tasks(scene)
    done: dict[str, str] = {}

    fill(folder)
    assert buy(scene, tasks[0], done), "the ballast is given up for the bag in hand"
    assert not (folder / BALLAST).exists()
    assert "空间只剩" in hand.see("/pulse")["bar"], "it says so before nothing goes any more"

    fill(folder, leave=256 * 1024)
    for task in tasks[1:9]:
        assert buy(scene, task, done), f"the journal is used again, and {len(done)} taps are not all that 256 KiB hold"
    fill(folder)
    refused = tasks[9]
    assert not buy(scene, refused, done)
    told = hand.do("/buy", tasks=refused)
    assert (told.status, told.code) == (507, "disk.full")
    assert "磁盘满了" in hand.see("/pulse")["bar"]
    assert "清理" in told.body["zh"] or "腾" in told.body["zh"]
    assert done.items() <= bought(scene).items()
    assert refused in _open_tasks(scene), "nothing of it was recorded"

    (folder / PHOTOS).unlink()
    assert buy(scene, refused, done)
    assert "磁盘满了" not in hand.see("/pulse")["bar"]
    hand.signal(True)
    _until(lambda: _idle(scene))
    _until(lambda: set(done.values()) <= _pieces(scene))
    _until(lambda: set(done.values()) <= printed(scene))
    assert done.items() <= bought(scene).items()


def test_a_server_on_a_full_disk_acknowledges_nothing_and_goes_on_when_there_is_room(scene: Scene) -> None:
    hand, folder = scene.hands["phone2"], scene.folder / "server"
    _until(lambda: _idle(scene, "phone2"))
    assert health(scene) == {"ok": True, "writing": True, "deciding": True}
    before = _log_count(scene)
    done: dict[str, str] = {}

    fill(folder)
    for task in _open_tasks(scene, "phone2")[:3]:
        assert buy(scene, task, done, "phone2"), "a phone needs no server"
    _until(lambda: not health(scene)["writing"])
    assert "disk is full" in scene.admin.page("/platform")
    told = scene.admin.give("/platform/people", id="neu", name="新人", pin="1234")
    assert (told.status, told.code) == (503, "disk.full")
    assert hand.see("/pulse")["waiting"] >= 3, "nothing is acknowledged that is not committed"
    assert _log_count(scene) == before
    assert buy(scene, _open_tasks(scene, "phone2")[0], done, "phone2")

    for phone in scene.hands.values():
        phone.signal(False)
    (folder / PHOTOS).unlink()
    _until(lambda: health(scene)["writing"])  # By itself: no device helps.
    for phone in scene.hands.values():
        phone.signal(True)
    _until(lambda: _idle(scene, "phone2"))
    _until(lambda: set(done.values()) <= _pieces(scene))
    assert "disk is full" not in scene.admin.page("/platform")
    scene.admin.need("/platform/people", id="neu", name="新人", pin="1234")


def test_after_a_kill_on_a_full_disk_both_say_so_and_start_again_when_there_is_room(scene: Scene) -> None:
    done: dict[str, str] = {}
    scene.hands["phone1"].signal(False)
    assert buy(scene, _open_tasks(scene)[0], done)
    for name, actor in (("phone1", scene.devices["phone1"].client), ("server", scene.server)):
        folder = scene.folder / name
        actor.kill()
        (folder / BALLAST).unlink(missing_ok=True)
        fill(folder)
        said = actor.log.stat().st_size
        actor.start()
        try:
            actor.wait()
            actor.kill()  # It needs no room to start: as good.
        except RetryableError:
            words = actor.log.read_text()[said:]
            assert "disk is full" in words
            assert "Traceback" not in words
        (folder / PHOTOS).unlink()
    scene.restart_server()
    scene.restart_device("phone1")
    assert done.items() <= bought(scene).items()
    scene.hands["phone1"].signal(True)
    _until(lambda: _idle(scene))
    _until(lambda: set(done.values()) <= _pieces(scene))


def test_the_phones_folder_recounts(scene: Scene) -> None:
    scene.devices["phone1"].client.stop()
    recount = recount_client(scene.folder / "phone1" / "replica.db", MARKET_DAY)
    assert [(check.name, check.faults) for check in recount.checks if not check.holds] == []


def buy(scene: Scene, task: str, done: dict[str, str], key: str = "phone1") -> bool:
    """Tap; note what was shown as done."""
    answer = scene.hands[key].do("/buy", tasks=task, confirm="1", late_shown="1")
    if answer.ok:
        done[task] = answer.body["pieces"][0]
    else:
        assert answer.code == "disk.full", answer.body
    return answer.ok


def bought(scene: Scene) -> dict[str, str]:
    """{task: piece} that the phone shows as bought."""
    return {t["task"]: t["piece"] for t in scene.hands["phone1"].see("/tasks")["tasks"] if t["status"] == "bought"}


def printed(scene: Scene) -> set[str]:
    """The pieces whose label came out."""
    lines = (scene.printer_folder("phone1", "label") / "labels.jsonl").read_text()
    return {code for code in _pieces(scene) if code in lines}


def health(scene: Scene) -> dict[str, bool]:
    answer = httpx.get(f"{scene.server_url}/api/health", trust_env=False)
    return dict(answer.json())


def _open_tasks(scene: Scene, key: str = "phone1") -> list[str]:
    tasks = scene.hands[key].see("/tasks")["tasks"]
    return [t["task"] for t in tasks if t["open"] and t["mine"] and not t["recalled"]]


def _idle(scene: Scene, key: str = "phone1") -> bool:
    pulse = scene.hands[key].see("/pulse")
    return bool(pulse["link"] == "live" and pulse["waiting"] == 0)


def _pieces(scene: Scene) -> set[str]:
    with _server(scene) as conn:
        return {row[0] for row in conn.execute("SELECT code FROM piece")}


def _log_count(scene: Scene) -> int:
    with _server(scene) as conn:
        return int(conn.execute("SELECT count(*) FROM envelope").fetchone()[0])


def _server(scene: Scene) -> closing[sqlite3.Connection]:
    path = scene.folder / "server" / "nahuo.db"
    return closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True))


def _until(ready: Callable[[], object], seconds: float = 40) -> None:
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)
