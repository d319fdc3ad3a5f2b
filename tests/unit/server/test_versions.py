"""Old and new versions together: N-1 folds in N, facts of N+1 are kept and passed on and count after the upgrade, money once.

The vocabulary has grown once already: version 2 brought `piece.adopted`. Older and newer programs are made of today's by what they know.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from nahuo.sim.versions import Older
from server import commands as c
from server import schema as s
from server.authority import Authority
from server.recount import recount_server
from tests.floor import Phone
from tests.unit.server.day import Day, open_day
from tests.unit.server.test_lost_phone import float_of, posted
from trade import kinds
from trade.projections import MARKET_DAY, MarketDay

CODE = "国大_3F-315_P65_8821#"


class Newer(MarketDay):
    """A program of the next version; it says what today's knows, and says that it is newer."""

    schema = kinds.SCHEMA + 1


def test_facts_of_a_newer_phone_wait_on_an_old_server_and_are_booked_once_after_its_upgrade(tmp_path: Path) -> None:
    day = open_day(tmp_path / "server")
    day.enrol("warehouse", "wu")
    old = Older(1, [kinds.PieceBought.KIND])
    day.authority = Authority(day.server, old)
    phone = Phone(day=day, folder=tmp_path / "ann", person="ann").enrol()
    day.orders(f"A1|{CODE}|1", f"A2|{CODE}|1")
    day.do(c.RoutesAssign())
    phone.sync()
    before = day.money()
    code = phone.buy("T1001-1", 6000)
    answer = kinds.TaskBounced(price_fen=9000).about("task:T1002-1", "stall:国大/3F/315")
    phone.say(phone.route(), answer)
    phone.sync()
    assert phone.replica.waiting().actions == 0, "admitted and kept"
    assert day.task("T1002-1").status == "bounced", "what it can read goes on"
    assert "schema.newer" in day.discrepancies()
    assert posted(day) == []
    assert day.state(phone.route(), "task:T1001-1")["status"] == "wanted", "its folds wait"
    assert day.money()[0] > before[0], "only the bounce moved money"

    day.authority = Authority(day.server, MARKET_DAY)
    day.work()
    assert posted(day) == [6000]
    assert day.piece(code).outcome == "keeps"
    assert "schema.newer" not in day.discrepancies()
    day.authority = Authority(day.server, MARKET_DAY)
    day.work()
    assert (posted(day), float_of(day)) == ([6000], -6000), "once, however often it starts"
    phone.sync()
    state = phone.replica.state("task:T1001-1", phone.route())
    assert state == day.state(phone.route(), "task:T1001-1")
    checks, _ = recount_server(day.server, MARKET_DAY)
    assert {check.name: check.faults[:2] for check in checks if not check.holds} == {}
    phone.close()
    day.store.close()


@pytest.mark.parametrize("correction", ["undone", "corrected"])
def test_what_corrects_a_purchase_counts_although_an_old_server_read_it_before_the_purchase(
    tmp_path: Path, correction: str
) -> None:
    day = open_day(tmp_path / "server")
    day.enrol("warehouse", "wu")
    day.authority = Authority(day.server, Older(1, [kinds.PieceBought.KIND]))
    phone = Phone(day=day, folder=tmp_path / "ann", person="ann").enrol()
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    phone.sync()
    before = day.money()
    code = phone.buy("T1001-1", 6000)
    correct(phone, correction, code)
    phone.sync()
    day.authority = Authority(day.server, MARKET_DAY)
    day.work()
    assert_corrected(day, correction, code, before)
    phone.close()
    day.store.close()


def test_what_another_person_corrects_counts_when_the_purchase_is_released_after_it(tmp_path: Path) -> None:
    day = open_day(tmp_path / "server")
    day.enrol("warehouse", "wu")
    phone = Phone(day=day, folder=tmp_path / "ann", person="ann").enrol()
    day.do(c.PersonCreate(id="bo", name="bo", organisation="platform", pin_salt="00" * 16, pin_hash="11" * 32))
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    phone.sync()
    before = day.money()
    code = phone.buy("T1001-1", 6000)
    phone.person = "bo"
    correct(phone, "undone", code)
    day.do(c.PersonEnd(person="ann"))
    day.now_ms += 1000
    phone.sync()
    assert day.money() == before, "ann has left: her purchase waits, and bo takes back what is not booked"
    day.do(c.ParkedRelease(device=phone.number))
    assert_corrected(day, "undone", code, before)
    phone.close()
    day.store.close()


def correct(phone: Phone, correction: str, code: str) -> None:
    fact = phone.replica.state(f"piece:{code}", phone.route())
    assert fact is not None
    subjects = ("task:T1001-1", f"piece:{code}")
    if correction == "undone":
        phone.say(phone.route(), kinds.PieceUndone(fact=f"{phone.number}.1.0").about(*subjects))
    else:
        phone.say(phone.route(), kinds.PriceCorrected(price_fen=5000).about(*subjects))


def assert_corrected(day: Day, correction: str, code: str, before: tuple[int, int]) -> None:
    if correction == "undone":
        assert day.piece(code).place == "undone"
        assert (day.money(), float_of(day)) == (before, 0)
    else:
        assert (posted(day), float_of(day)) == ([6000, -1000], -5000)
        assert day.piece(code).charged_fen == 5000
    checks, _ = recount_server(day.server, MARKET_DAY)
    assert {check.name: check.faults[:2] for check in checks if not check.holds} == {}


def test_a_phone_that_claims_to_be_older_than_its_words_counts_after_the_upgrade_like_on_every_replica(
    tmp_path: Path,
) -> None:
    day = open_day(tmp_path / "server")
    day.enrol("warehouse", "wu")
    day.authority = Authority(day.server, Older(1, [kinds.PieceBought.KIND]))
    liar = Phone(day=day, folder=tmp_path / "ann", person="ann", trade=Older(1, [])).enrol()
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    liar.sync()
    liar.buy("T1001-1", 6000)
    liar.sync()
    assert "void" in day.discrepancies()
    day.authority = Authority(day.server, MARKET_DAY)
    day.work()
    assert posted(day) == [6000]
    assert "void" not in day.discrepancies()
    liar.sync()
    assert liar.replica.state("task:T1001-1", liar.route()) == day.state(liar.route(), "task:T1001-1")
    checks, _ = recount_server(day.server, MARKET_DAY)
    assert {check.name: check.faults[:2] for check in checks if not check.holds} == {}
    liar.close()
    day.store.close()


def test_an_upgrade_that_dies_midway_changes_nothing_and_is_done_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = open_day(tmp_path / "server")
    day.enrol("warehouse", "wu")
    day.authority = Authority(day.server, Older(1, [kinds.PieceBought.KIND]))
    phone = Phone(day=day, folder=tmp_path / "ann", person="ann").enrol()
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    phone.sync()
    phone.buy("T1001-1", 6000)
    phone.sync()

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("server.authority.authority.decide", cut)
        with pytest.raises(KeyboardInterrupt):
            Authority(day.server, MARKET_DAY).run_batch(day.now_ms)
    assert posted(day) == []
    assert [row.void for row in day.all(s.fact, s.fact.c.kind == "piece.bought")] == ["schema.newer"]
    day.authority = Authority(day.server, MARKET_DAY)
    day.work()
    assert posted(day) == [6000]
    phone.close()
    day.store.close()


def test_a_terminal_of_the_version_before_keeps_and_passes_on_what_it_cannot_read_and_folds_it_after_its_upgrade(
    tmp_path: Path,
) -> None:
    day = open_day(tmp_path / "server")
    old = Older(1, [kinds.PieceAdopted.KIND])
    wall = Phone(day=day, folder=tmp_path / "wu", person="wu", trade=old).enrol("warehouse")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    phone.sync(phone.route("T1001-1"))
    phone.offline = True
    code = phone.buy("T1001-1", 6000)
    wall.sync()
    qr = kinds.LabelQr(task="T1001-1", order="O1001", piece_no=1, order_pieces=1, price_fen=6000)
    wall.say(day.warehouse(), kinds.ScannedIn(qr=qr).about(f"piece:{code}"))
    wall.sync()
    assert not wall.replica.needs_update
    day.do(c.OrphanAdopt(piece=code))
    wall.sync()
    assert wall.replica.needs_update, "the bar says: update this program"
    held = wall.replica.state(f"piece:{code}", day.warehouse())
    assert held is not None
    assert held["unexplained"] is True
    vector = wall.replica.state_vector(day.warehouse())
    assert vector == day.store.read_vector(day.warehouse()), "kept"
    assert wall.replica.missing(day.warehouse(), {**vector, 0: vector[0] - 1}), "and given to whoever asks"
    wall.close()
    wall.trade = MARKET_DAY
    wall.open()
    assert not wall.replica.needs_update
    assert wall.replica.state(f"piece:{code}", day.warehouse()) == day.state(day.warehouse(), f"piece:{code}")
    wall.close()
    day.store.close()


@pytest.mark.parametrize("trade", [Older(1, [kinds.PieceAdopted.KIND]), MARKET_DAY, Newer()], ids=["N-1", "N", "N+1"])
def test_phones_of_three_versions_work_with_one_server(tmp_path: Path, trade: MarketDay) -> None:
    """An outbox written by the version before, or after, drains into this server with nothing lost, money included."""
    day = open_day(tmp_path / "server")
    day.enrol("warehouse", "wu")
    phone = Phone(day=day, folder=tmp_path / "ann", person="ann", trade=trade).enrol()
    day.orders(f"A1|{CODE}|1", f"A2|{CODE}|1")
    day.do(c.RoutesAssign())
    phone.sync()
    phone.buy("T1001-1", 6000)
    phone.close()
    phone.trade = MARKET_DAY  # Updated with its outbox full.
    phone.open()
    phone.buy("T1002-1", 6100)
    phone.sync()
    assert phone.replica.waiting().actions == 0
    schemas = {row.schema for row in day.all(s.fact, s.fact.c.kind == "piece.bought", s.fact.c.carried == 0)}
    assert schemas == {trade.schema, kinds.SCHEMA}
    assert sorted(posted(day)) == [6000, 6100]
    phone.close()
    day.store.close()
