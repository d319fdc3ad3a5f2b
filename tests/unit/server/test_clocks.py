"""Wrong clocks of all kinds over a real replica, hub and authority: they change no row but the times shown (E28, REL-R9)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count, cycle
from pathlib import Path
from random import Random
from typing import Any

import pytest

from server import commands as c
from server import schema as s
from server import schema_trade as st
from tests.floor import Phone
from tests.unit.server.day import START_MS, open_day
from trade import kinds

CODE = "国大_3F-315_P65_8821#"
HOUR_MS, DAY_MS = 3_600_000, 24 * 3_600_000

Clock = Callable[[], Iterator[int]]
CLOCKS: dict[str, Clock] = {
    "right": lambda: count(START_MS, 60_000),
    "a second fast": lambda: count(START_MS + 1_000, 60_000),
    "eight hours slow, the time zone": lambda: count(START_MS - 8 * HOUR_MS, 60_000),
    "an hour back, summer time ends": lambda: iter(
        [START_MS, START_MS + 1, *range(START_MS - HOUR_MS, START_MS, 60_000)]
    ),
    "ten years fast": lambda: count(START_MS + 3652 * DAY_MS, 60_000),
    "ten years slow": lambda: count(START_MS - 3652 * DAY_MS, 60_000),
    "1970 after the battery was pulled": lambda: count(0, 60_000),
    "before 1970": lambda: count(-(10**12), 60_000),
    "frozen": lambda: cycle([START_MS]),
    "strobing": lambda: cycle([START_MS, START_MS + 3652 * DAY_MS, 0]),
    "running backwards": lambda: count(START_MS, -60_000),
    "random everywhere": lambda: iter(Random(7).choices(range(2**44), k=10_000)),
}
TIMES = frozenset({"at_ms", "bought_ms", "sealed"})
"""What may differ: the times shown, and a receiver's sealing, which is random."""


def play(folder: Path, clock: Iterator[int]) -> tuple[dict[str, Any], tuple[int, int]]:
    """A short day on a phone and a terminal that both have this clock; the rows that came of it, without the times shown."""
    day = open_day(folder / "server")
    wall = Phone(day=day, folder=folder / "wu", person="wu").enrol("warehouse")
    phone = Phone(day=day, folder=folder / "ann", person="ann").enrol()
    day.orders(*(f"A{n}|{CODE}|1" for n in range(1, 6)))
    day.do(c.RoutesAssign())
    phone.sync()
    wall.sync()
    code = phone.buy("T1001-1", 6000, at_ms=next(clock))
    phone.say(
        phone.route(), kinds.PriceCorrected(price_fen=5900).about("task:T1001-1", f"piece:{code}"), at_ms=next(clock)
    )
    slip = phone.buy("T1002-1", 6000, at_ms=next(clock))
    fact = f"{phone.number}.3.0"
    phone.say(phone.route(), kinds.PieceUndone(fact=fact).about("task:T1002-1", f"piece:{slip}"), at_ms=next(clock))
    answer = kinds.TaskAnswered(answer=kinds.Answer.TOMORROW)
    phone.say(phone.route(), answer.about("task:T1003-1", "stall:国大/3F/315"), at_ms=next(clock))
    bounced = kinds.TaskBounced(price_fen=9000).about("task:T1004-1", "stall:国大/3F/315")
    phone.say(phone.route(), bounced, at_ms=next(clock))
    phone.sync()
    wall.sync()
    wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{code}"), at_ms=next(clock))
    wall.sync()
    day.do(c.OrderClose(order="O1005"))
    phone.sync()
    phone.say(phone.route(), kinds.RecallSeen().about("task:T1005-1"), at_ms=next(clock))
    phone.sync()
    day.do(c.DayClose())
    rows: dict[str, Any] = {}
    for table in (st.task, st.wanted, st.piece, st.parcel, s.hold, s.posting, st.discrepancy, st.decision, s.verdict):
        rows[table.name] = [timeless(dict(row._mapping)) for row in sorted(day.all(table), key=str)]
    rows["states"] = {(row.document, row.subject): timeless(json.loads(row.state)) for row in day.all(s.state)}
    mine = [phone.replica.states(kind, phone.route()) for kind in ("task", "piece")]
    rows["phone"] = [(d, subject, timeless(state)) for found in mine for d, subject, state in found]
    money = day.money()
    for one in (phone, wall):
        one.close()
    day.store.close()
    return rows, money


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if key not in TIMES}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], tuple[int, int]]:
    return play(tmp_path_factory.mktemp("right"), CLOCKS["right"]())


@pytest.mark.parametrize("name", [name for name in CLOCKS if name != "right"])
def test_e28_a_wrong_clock_changes_no_row_but_the_times_shown(
    tmp_path: Path, right: tuple[dict[str, Any], tuple[int, int]], name: str
) -> None:
    rows, money = play(tmp_path, CLOCKS[name]())
    assert money == right[1]
    for table, expected in right[0].items():
        assert rows[table] == expected, table
