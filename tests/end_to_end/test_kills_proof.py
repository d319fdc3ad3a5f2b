"""The kill proof: a small storm holds, and a fact that vanished from a file behind the programs' back is found."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from nahuo.demo.scene import Scene
from proof.kills import weather


def test_a_small_storm_loses_nothing(tmp_path: Path) -> None:
    storm = weather(tmp_path, seed=1, kills=8, orders=60)
    assert storm.faults == []
    assert storm.total == 8
    assert storm.shown > 8


def test_a_label_that_vanishes_is_found(tmp_path: Path) -> None:
    def lose_labels(scene: Scene) -> None:
        for key in ("phone1", "phone2"):
            scene.devices[key].client.kill()
            with closing(sqlite3.connect(scene.folder / key / "replica.db")) as conn, conn:
                conn.execute("DELETE FROM print_job")

    storm = weather(tmp_path, seed=2, kills=4, orders=60, plant=lose_labels)
    assert any("lost: the label" in fault for fault in storm.faults)
