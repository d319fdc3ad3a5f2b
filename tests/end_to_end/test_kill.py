"""Kill -9 of real processes at random moments: what was shown as done is there afterwards, on the phone and on the server."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import pytest

from nahuo.demo.main import free_ports, make_orders
from nahuo.demo.scene import Scene
from nahuo.recount import recount_client
from sync_core.errors import RetryableError
from trade.projections import MARKET_DAY

PHONE_KILLS = 6
SERVER_KILLS = 6


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    files = make_orders(folder / "orders", orders=120, seed=5)
    scene = Scene(folder=folder / "scene", ports=free_ports())
    try:
        scene.raise_curtain(lambda words: None)
        scene.import_orders(files)
        scene.admin.need("/platform/routes/assign")
        _until(lambda: all(_open_tasks(scene, key) for key in ("phone1", "phone2")))
        yield scene
    finally:
        scene.drop_curtain()


def test_a_phone_killed_while_buying_loses_nothing_it_showed_as_done(scene: Scene) -> None:
    rng = random.Random(7)
    done: list[tuple[str, str]] = []
    for _ in range(PHONE_KILLS):
        scene.hands["phone1"].signal(False)
        stop = threading.Event()
        buyer = threading.Thread(target=_buy_until_it_dies, args=(scene, "phone1", done, stop))
        buyer.start()
        before = len(done)
        _until(lambda at=before, thread=buyer: len(done) > at or not thread.is_alive())
        time.sleep(rng.random() * 0.05)
        scene.devices["phone1"].client.kill()
        stop.set()
        buyer.join()
        scene.restart_device("phone1")
        bought = {
            t["task"]: t["piece"] for t in scene.hands["phone1"].see("/tasks")["tasks"] if t["status"] == "bought"
        }
        for task, piece in done:
            assert bought.get(task) == piece
    assert len(done) >= PHONE_KILLS
    assert len({piece for _, piece in done}) == len(done)


def test_a_server_killed_in_the_rush_gets_all_in_the_end(scene: Scene) -> None:
    rng = random.Random(8)
    done: list[tuple[str, str]] = []
    for _ in range(SERVER_KILLS):
        scene.hands["phone2"].signal(False)
        for task in _open_tasks(scene, "phone2")[:5]:
            _buy(scene, "phone2", task, done)
        scene.hands["phone2"].signal(True)
        time.sleep(rng.random() * 0.4)
        scene.server.kill()
        scene.restart_server()
    for key in ("phone1", "phone2"):
        scene.hands[key].signal(True)
        _until(lambda k=key: scene.hands[k].see("/pulse")["waiting"] == 0)
    # Acknowledged is in the log; the authority decides a moment later.
    _until(lambda: {piece for _, piece in done} <= {row["code"] for row in _pieces_on_the_server(scene)})


def test_a_killed_phones_folder_recounts(scene: Scene) -> None:
    scene.devices["phone1"].client.kill()
    recount = recount_client(scene.folder / "phone1" / "replica.db", MARKET_DAY)
    assert [check.name for check in recount.checks if not check.holds] == []
    scene.restart_device("phone1")


def _buy_until_it_dies(scene: Scene, key: str, done: list[tuple[str, str]], stop: threading.Event) -> None:
    for task in _open_tasks(scene, key):
        if stop.is_set():
            return
        try:
            _buy(scene, key, task, done)
        except RetryableError:
            return


def _buy(scene: Scene, key: str, task: str, done: list[tuple[str, str]]) -> None:
    answer = scene.hands[key].do("/buy", tasks=task)
    if answer.ok:
        done.append((task, answer.body["pieces"][0]))


def _open_tasks(scene: Scene, key: str) -> list[str]:
    return [t["task"] for t in scene.hands[key].see("/tasks")["tasks"] if t["open"] and t["mine"]]


def _pieces_on_the_server(scene: Scene) -> list[dict[str, str]]:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(f"file:{scene.folder / 'server' / 'nahuo.db'}?mode=ro", uri=True)) as conn:
        return [{"code": row[0]} for row in conn.execute("SELECT code FROM piece")]


def _until(ready: object, seconds: float = 60) -> None:
    assert callable(ready)
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)
