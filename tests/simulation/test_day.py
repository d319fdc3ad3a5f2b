"""The simulated day: what its people and devices do is what people and devices can do, so that nothing is found that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nahuo.sim.day import Day
from nahuo.sim.scene import Scene
from nahuo.sim.seams import seeded
from nahuo.sim.world import HOUR_MS, MINUTE_MS, NO_FAULTS, PowerCut, World
from server import commands as c


@pytest.fixture
def day(tmp_path: Path) -> Iterator[Day]:
    world = World(7)
    world.faults = world.storm_faults = NO_FAULTS
    with seeded(7):
        day = Day(world, tmp_path)
        yield day
        day.close()


def offline_purchase(scene: Scene) -> str:
    """The first phone bought in the basement; returns the fact that its screen shows as done."""
    world, phone = scene.world, scene.device("phone-1")
    for device in scene.devices:
        device.start()
    scene.office.import_orders(3)
    scene.office.give(c.RoutesAssign())
    world.run(10 * MINUTE_MS)
    phone.lose_signal(12 * HOUR_MS)
    while not phone.replica.waiting().actions:
        scene.pickers[0].turn()
        world.run(world.now_ms + 10 * MINUTE_MS)
    return phone.done[-1][1]


def test_a_phone_that_dies_as_its_new_key_is_in_force_has_lost_nothing(
    day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it owed is said again under its next number, in the transaction that gave it that: nobody looks for it under the old one."""
    scene = day.scene
    world, phone = scene.world, scene.device("phone-1")
    done = offline_purchase(scene)
    phone.replica.note_asked("device-next.key")  # The answer was lost: it asks again before it connects.
    old, end = phone.numbers[-1], phone.disk.end

    def dies_with_its_number(where: str) -> None:
        if where == "after" and phone.replica.number != old and phone.crashes == 0:
            raise PowerCut
        end(where)

    monkeypatch.setattr(phone.disk, "end", dies_with_its_number)
    phone.regain_signal()
    world.run(world.now_ms + HOUR_MS)
    assert phone.crashes == 1
    assert phone.numbers == [old, phone.replica.number]
    assert phone.given_up == {old}
    assert not phone.replica.waiting().actions
    assert done.startswith(f"{old}.")
    with scene.server.store.reading() as conn:
        writers = conn.exec_driver_sql("SELECT writer FROM fact WHERE id = ? AND carried = 0", (done,)).scalars().all()
    assert writers == [phone.replica.number]


def test_nobody_begins_anything_while_the_day_comes_to_rest(day: Day) -> None:
    world = day.world
    begun: list[str] = []
    world.later_turn(MINUTE_MS, "one", lambda: begun.append("one"))
    world.later_turn(3 * MINUTE_MS, "two", lambda: begun.append("two"))
    world.run(2 * MINUTE_MS)
    world.go_home()
    world.run(HOUR_MS)
    assert begun == ["one"]
