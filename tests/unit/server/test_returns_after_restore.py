"""A server is put back from a backup in the middle of a return: the trip lasts, and the stall's money counts once (D15, I7)."""

from __future__ import annotations

from pathlib import Path

import pytest

from server import commands as c
from server import schema as s
from server import schema_trade as st
from tests.unit.server.day import Day, open_day
from tests.unit.server.restoring import back_up, deliver_all, faults, lose
from tests.unit.server.test_returns import CODE, Shop, ship
from trade import kinds


def _shipped(day: Day) -> Shop:
    """Order O1001 has shipped with one piece bought at 60.00."""
    wall, phone = day.enrol("warehouse", "wu"), day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    code = phone.buy("T1001-1", 6000)
    wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{code}"))
    ship(day, wall, "O1001", code)
    return Shop(day=day, phone=phone, wall=wall, code=code)


@pytest.mark.parametrize("backup", ["before_the_return", "before_the_bag"])
@pytest.mark.parametrize("runner_first", [True, False])
@pytest.mark.parametrize("told", ["nothing", "refunded", "left"])
def test_d15_a_trip_that_the_lost_server_gave_out_lasts_until_its_pieces_went_somewhere(
    tmp_path: Path, told: str, runner_first: bool, backup: str
) -> None:
    day = open_day(tmp_path / "a")
    shop = _shipped(day)
    money = day.money()
    if backup == "before_the_return":
        back_up(day, tmp_path)
    shop.inspect()
    if backup == "before_the_bag":
        back_up(day, tmp_path)
    shop.bag()
    document = shop.trip()
    if told == "refunded":
        shop.refund(document, 6000)
    elif told == "left":
        body = kinds.PieceRefused(reason="denies", then="left_at_stall")
        shop.phone.say(document, body.about(f"piece:{shop.code}", day.piece(shop.code).stall_id))
    rows, restored = lose(day, tmp_path)
    shop.day = shop.phone.day = shop.wall.day = restored
    deliver_all(restored, sorted(rows, key=lambda row: ((row.document == document) != runner_first, row.device, row.n)))
    place = {"nothing": "with_runner", "refunded": "back_at_stall", "left": "left_at_stall"}[told]
    assert (restored.piece(shop.code).place, restored.piece(shop.code).trip) == (place, "bag1")
    assert not {"bagged_not_in_stock", "return_unmatched"} & set(restored.discrepancies())
    assert restored.one(st.expected_return).order_id == "O1001"
    if told == "nothing":
        restored.do(c.DayClose())
        runner = restored.one(s.device, s.device.c.number == shop.phone.number)
        assert document in runner.documents, "he can still say where it went"
        shop.refund(document, 6000)
        told_at = {fact.document.partition("/")[0] for fact in restored.all(s.fact, s.fact.c.kind == "verdict.refund")}
        assert told_at == {"route", "warehouse"}
    refunded_fen = 0 if told == "left" else 6000
    assert restored.money() == (money[0] + refunded_fen, money[1])
    assert faults(restored) == []
