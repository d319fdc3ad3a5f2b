"""A phone takes a new key, asked for on its own page and on the platform's, with work queued offline before and after: nothing is lost."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from nahuo.demo.main import free_ports, make_orders
from nahuo.demo.scene import Scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    files = make_orders(folder / "orders", orders=40, seed=6)
    scene = Scene(folder=folder / "scene", ports=free_ports())
    try:
        scene.raise_curtain(lambda _words: None)
        scene.import_orders(files)
        scene.admin.need("/platform/routes/assign")
        _until(lambda: len(_open_tasks(scene)) > 10)
        yield scene
    finally:
        scene.drop_curtain()


@pytest.mark.parametrize("asked_by", ["phone", "platform"])
def test_a_new_key_loses_nothing_that_waits(scene: Scene, asked_by: str) -> None:
    hand = scene.hands["phone1"]
    _until(lambda: _idle(scene))
    old, old_key = _number(scene), _key(scene)
    bought = [_buy(scene)]
    hand.signal(False)
    bought.append(_buy(scene))
    if asked_by == "phone":
        assert hand.do("/settings/new-key").ok
        assert hand.see("/settings")["wants_key"]
    else:
        scene.admin.need(f"/platform/devices/{old}/new-key")
    bought.append(_buy(scene))
    assert _number(scene) == old, "without a signal it works on under the old key"
    hand.signal(True)
    _until(lambda: _number(scene) != old)
    _until(lambda: _idle(scene))
    bought.append(_buy(scene))
    _until(lambda: {code for code, _ in _pieces(scene)} >= set(bought))
    assert [outcome for code, outcome in _pieces(scene) if code in bought] == ["keeps"] * 4
    assert _key(scene) != old_key
    devices = {row["number"]: row for row in scene.admin.see("/api/devices")["devices"]}
    assert devices[old]["replaced_by"] == _number(scene)
    assert devices[old]["ended"]
    assert not hand.see("/settings")["wants_key"]
    assert scene.admin.give(f"/platform/devices/{old}/new-key").body["code"] == "device.revoked"


def test_a_phone_that_is_connected_hears_of_it(scene: Scene) -> None:
    _until(lambda: _idle(scene))
    old = _number(scene)
    scene.admin.need(f"/platform/devices/{old}/new-key")
    code = _buy(scene)
    _until(lambda: _number(scene) != old)
    _until(lambda: _idle(scene))
    _until(lambda: code in {code for code, _ in _pieces(scene)})


def _buy(scene: Scene) -> str:
    answer = scene.hands["phone1"].do("/buy", tasks=_open_tasks(scene)[0], confirm="1", late_shown="1")
    assert answer.ok, answer.body
    return str(answer.body["pieces"][0])


def _number(scene: Scene) -> int:
    return int(scene.hands["phone1"].see("/pulse")["number"])


def _key(scene: Scene) -> bytes:
    (row,) = _rows(scene, "SELECT public_key FROM device WHERE number = ?", _number(scene))
    return bytes(row[0])


def _open_tasks(scene: Scene) -> list[str]:
    tasks = scene.hands["phone1"].see("/tasks")["tasks"]
    return [t["task"] for t in tasks if t["open"] and t["mine"] and not t["recalled"]]


def _idle(scene: Scene) -> bool:
    pulse = scene.hands["phone1"].see("/pulse")
    return bool(pulse["link"] == "live" and pulse["waiting"] == 0)


def _pieces(scene: Scene) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in _rows(scene, "SELECT code, outcome FROM piece")]


def _rows(scene: Scene, query: str, *values: object) -> list[tuple[Any, ...]]:
    path = scene.folder / "server" / "nahuo.db"
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as conn:
        return list(conn.execute(query, values))


def _until(ready: Callable[[], object], seconds: float = 40) -> None:
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)
