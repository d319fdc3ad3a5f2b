"""A terminal that was away for ninety days: what it owed arrives, what ended in the meantime does not come back."""

from __future__ import annotations

from pathlib import Path

from nahuo.sim.checks.at_rest import check_at_rest
from nahuo.sim.day import Day
from nahuo.sim.scene import Scene
from nahuo.sim.seams import seeded
from nahuo.sim.world import HOUR_MS, MINUTE_MS, NO_FAULTS, World
from server import commands as c
from server.recount import recount_server
from trade.living import OPEN_PLACES
from trade.projections import MARKET_DAY

DAY_MS = 24 * HOUR_MS
DAYS = 90


def test_a_device_absent_for_90_days_delivers_and_nothing_is_resurrected(tmp_path: Path) -> None:
    world = World(90)
    world.faults = world.storm_faults = NO_FAULTS
    with seeded(90):
        whole = Day(world, tmp_path)
        day = whole.scene
        try:
            owed = _leave(day)
            for number in range(1, DAYS + 1):
                _one_day_without_it(day, number)
            _come_back(day, owed)
        finally:
            whole.close()


def _leave(day: Scene) -> int:
    """A morning with the terminal, then its cable is out: it scans on, and its work waits. Returns how many actions."""
    world, terminal = day.world, day.packers[0].terminal
    for device in day.devices:
        device.start()
    for _ in range(3):
        day.office.give(c.TopUp(merchant="M1", amount_fen=500_000, key=f"t{_}"))
        day.office.give(c.TopUp(merchant="M2", amount_fen=500_000, key=f"t{_}"))
        day.office.import_orders(3)
    day.office.give(c.RoutesAssign())
    world.run(10 * MINUTE_MS)
    terminal.lose_signal(DAYS * DAY_MS + 12 * HOUR_MS)
    for _ in range(20):
        for picker in day.pickers:
            picker.turn()
        world.run(world.now_ms + 10 * MINUTE_MS)
    for picker in day.pickers:
        picker.settle_slips()
        picker.finish()
    day.packers[0].finish(look_again=False)
    owed = terminal.replica.waiting().actions
    assert owed > 3
    return owed


def _one_day_without_it(day: Scene, number: int) -> None:
    world = day.world
    world.events = 0
    world.run(number * DAY_MS)
    day.office.close_everything_closable()
    if number % 10 == 1:
        day.office.import_orders(2)
        day.office.give(c.RoutesAssign())
        world.run(number * DAY_MS + HOUR_MS)
        for _ in range(8):
            for picker in day.pickers:
                picker.turn()
            world.run(world.now_ms + 10 * MINUTE_MS)
    day.office.give(c.DayClose())
    world.run(number * DAY_MS + 6 * HOUR_MS)


def _come_back(day: Scene, owed: int) -> None:
    world, terminal = day.world, day.packers[0].terminal
    assert terminal.replica.waiting().actions == owed
    assert "warehouse/main/1" in terminal.replica.documents()
    terminal.regain_signal()
    world.run(world.now_ms + 2 * HOUR_MS)
    for device in day.devices:
        device.guard(device.look)
    held, wanted = terminal.replica.documents(), terminal.node.wanted_documents()
    assert terminal.replica.waiting().actions == 0
    assert sorted(held) == sorted(wanted)
    newest = terminal.node.documents("warehouse")[-1]
    assert int(newest.rpartition("/")[2]) > 5
    assert terminal.replica.is_gone("warehouse/main/1")
    checks, hashes = recount_server(day.server.server, MARKET_DAY)
    assert [fault for check in checks for fault in check.faults] == []
    assert terminal.replica.canonical_hash(newest) == hashes[newest]
    # What it scanned three months ago is known as scanned, and open is here only what is open in the world.
    scanned = {garment.code for garment in day.physical.garments if garment.scanned}
    assert len(scanned) > 3
    places = {g.code: g.place for g in day.physical.garments if not g.gone}
    for document, subject, state in terminal.replica.states("piece"):
        code = subject.partition(":")[2]
        if state["place"] in OPEN_PLACES:
            assert places.get(code) in ("bag", "door", "house", "desk", "runner"), (document, subject, state["place"])
        if code in scanned:
            assert state["scans"], subject
    assert scanned <= {subject.partition(":")[2] for _, subject, _ in terminal.replica.states("piece")}
    check_at_rest(day)
