"""Sixty market days on real files: what a phone, a runner's phone and a terminal hold does not grow with the days.

The simulator's people work a whole day each day (orders in, bought, sorted, shipped, some sent back and taken to their stalls), the
platform closes the day, and the replicas' files are measured after a checkpoint. Faults are off: that documents end under faults is the
simulator's to show. Days are virtual; files, store, authority, replicas, sessions and actions are the real ones, without sockets and fsync.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from sqlalchemy import ColumnElement, Table, func, select

from clients.field.tasks import read_tasks
from nahuo.sim.checks.at_rest import check_at_rest
from nahuo.sim.day import Day, describe
from nahuo.sim.people.office import MERCHANTS
from nahuo.sim.scene import Scene
from nahuo.sim.seams import seeded
from nahuo.sim.world import HOUR_MS, MINUTE_MS, NO_FAULTS, Broken, World
from proof.report import Part, Size
from server import commands as c
from server import schema as s
from server import schema_trade as st

SEED: Final = 60
ORDERS_A_DAY: Final = 24
DAYS: Final = {Size.SHORT: 6, Size.FULL: 60}
DAY_MS: Final = 24 * HOUR_MS
RATIO_MAX: Final = 1.5
"""A replica after the last day is at most so many times as large as after the second."""
ROUNDS_A_DAY: Final = 6
OVERTIME_ROUNDS: Final = 12
Sizes = dict[str, list[int]]


def prove(size: Size, folder: Path) -> Part:
    """Live through the days and say how large every replica was on each: before the daily close, when it holds most, or after."""
    days = DAYS[size]
    part = Part(
        name="sixty_days",
        title=f"{days} days: replicas stay bounded",
        shows="Every document ends and its successor opens with what still lives; phones and terminals forget what they have delivered,"
        " so that a replica's file does not grow with the days it has been at work.",
        does_not_show="Files under faults (the simulator ends documents in its storms), the server's log (it keeps everything, by design),"
        " the printers' real spool (a table like it stands for it), or a market of thousands of stalls.",
    )
    with seeded(SEED):
        sizes, counts = live(folder, days, broken=part.faults.append)
    judge(part, sizes)
    for name, count in counts.items():
        part.add(name, f"{count:,}", f"{days} days of about {ORDERS_A_DAY} orders")
    return part


def judge(part: Part, sizes: Sizes) -> None:
    """Hold the last day of every file against its second."""
    for name, row in sizes.items():
        if len(row) < 2:
            continue
        ratio = row[-1] / row[1]
        last, most = row[-1] // 1024, max(row) // 1024
        shown = f"{row[1] // 1024} KiB on day 2, {last} KiB on day {len(row)}: {ratio:.2f} times (largest {most})"
        part.add(name, shown, f"1 file, {len(row)} days", goal=f"at most {RATIO_MAX}", holds=ratio <= RATIO_MAX)


def live(folder: Path, days: int, *, broken: Callable[[str], None]) -> tuple[Sizes, dict[str, int]]:
    """Live through `days`; return ({device: bytes of its file on each day, before or after its close}, {what happened: how often})."""
    world = World(SEED)
    # Both terminals are at work: the cells of half of the orders are the second one's.
    world.faults = world.storm_faults = replace(NO_FAULTS, two_gates=True)
    whole = Day(world, folder)
    day = whole.scene
    day.office.closes_days = False
    day.office.written_off.append(0)  # Nobody's phone is written off here.
    sizes: Sizes = {device.name: [] for device in day.devices}
    try:
        _stock_up(day)
        day.server.tick()
        for device in day.devices:
            device.start()
        for number in range(days):
            evening = live_one_day(day, number)
            for name, size in measure(day).items():
                sizes[name].append(max(size, evening[name]))
        check_at_rest(day)
    except Broken as error:
        broken(f"seed {SEED}, day {len(sizes[day.devices[0].name]) + 1}: {error}")
    except Exception as error:  # noqa: BLE001 - whatever the code under test raises is a finding
        broken(f"seed {SEED}, day {len(sizes[day.devices[0].name]) + 1}: {describe(error)}")
    finally:
        counts = _counts(day)
        whole.close()
    return sizes, counts


def live_one_day(day: Scene, number: int) -> dict[str, int]:
    """From the morning's orders to the daily close, and the night in which everybody hears of it; returns the sizes before the close."""
    world, office = day.world, day.office
    world.events = 0
    began_ms = number * DAY_MS
    world.run(max(began_ms, world.now_ms))
    for merchant in MERCHANTS:
        office.give(c.TopUp(merchant=merchant, amount_fen=300_000, key=f"day-{number}-{merchant}"))
    for _ in range(ORDERS_A_DAY // 6):
        office.import_orders(6)
    office.assign()
    world.run(began_ms + MINUTE_MS)
    for turn in range(ROUNDS_A_DAY):
        for picker in day.pickers:
            for _ in range(6):
                world.later(world.random.randrange(20 * MINUTE_MS), "picker turn", picker.turn)
        for act in (*(packer.turn for packer in day.packers), day.runners[0].turn, office.turn):
            world.later(world.random.randrange(20 * MINUTE_MS), "turn", act)
        world.run(began_ms + (turn + 1) * 30 * MINUTE_MS)
        for picker in day.pickers:
            picker.settle_slips()
            picker.finish()
        for packer in day.packers:
            packer.finish(look_again=turn % 3 == 2)
    _finish_the_work(day)
    day.packers[0].finish_returns()
    day.packers[0].returns_expected.clear()
    office.send_runner()
    world.run(max(world.now_ms, began_ms + 8 * HOUR_MS) + 10 * MINUTE_MS)
    for _ in range(20):
        day.runners[0].turn()
    world.run(world.now_ms + 30 * MINUTE_MS)
    evening = measure(day)
    office.give(c.DayClose())
    world.run(world.now_ms + 3 * HOUR_MS)
    return evening


def _finish_the_work(day: Scene) -> None:
    """Overtime: what lies before people gets done, so that what a day leaves open is what nobody can settle that day.

    Without it the world's own backlog would grow, and every replica with it: what is open is never forgotten.
    """
    world, office = day.world, day.office
    for _ in range(OVERTIME_ROUNDS):
        for picker in day.pickers:
            for _ in range(8):
                picker.turn()
                world.run(world.now_ms + 2 * MINUTE_MS)
            picker.settle_slips()
            picker.finish()
        office.close_everything_closable()
        office.settle_refunds()
        for packer in [*day.packers, *day.packers]:
            packer.finish(look_again=True)
        for packer in day.packers:
            packer.close_up()
        world.run(world.now_ms + 12 * MINUTE_MS)
        # What a recalled task's phone knows is said once its page has been away for ten minutes (D9).
        for device in day.devices:
            device.in_background(device.look)
        world.run(world.now_ms + MINUTE_MS)
        if not any(task.is_open and task.mine for picker in day.pickers for task in read_tasks(picker.phone.node)):
            break


def measure(day: Scene) -> dict[str, int]:
    """Return {device: bytes of its file}."""
    return {device.name: file_bytes(device.replica.conn, device.replica.path) for device in day.devices}


def file_bytes(conn: sqlite3.Connection, path: Path) -> int:
    """Return the size of a replica's file after a checkpoint, what its log holds beside it included."""
    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    beside = path.with_name(path.name + "-wal")
    return path.stat().st_size + (beside.stat().st_size if beside.exists() else 0)


def _stock_up(day: Scene) -> None:
    """Waybill numbers for as many orders as sixty days bring, and tasks for those only who are at work."""
    more = c.CourierRange(courier="圆通", prefix="YS", first=1, last=20_000, digits=10)
    day.server.carry_out(more, by="platform:office")
    # The phone that nobody carries would keep its tasks, and their orders, open for ever.
    for number in sorted(day.server.hostile):
        day.server.carry_out(c.DeviceRevoke(device=number), by="platform:office")


def _counts(day: Scene) -> dict[str, int]:
    if day.server.down:
        return {}
    with day.server.store.reading() as conn:

        def count(table: Table, *where: ColumnElement[bool]) -> int:
            return int(conn.execute(select(func.count()).select_from(table).where(*where)).scalar_one())

        d, p = s.document.c, st.piece.c
        return {
            "orders shipped": count(st.shop_order, st.shop_order.c.status == "shipped"),
            "pieces bought": count(st.piece, p.bought_fact.is_not(None)),
            "pieces back at their stall": count(st.piece, p.place == "back_at_stall"),
            "envelopes in the server's log": count(s.envelope),
            "documents of lines that ended": count(s.document, d.closed_ms.is_not(None), d.successor.is_not(None)),
            "routes and trips that ended": count(s.document, d.closed_ms.is_not(None), d.successor.is_(None)),
        }
