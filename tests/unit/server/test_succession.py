"""Documents end: what lives goes on whole, late work is carried on once, nothing left behind comes back as work to do."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from server import commands as c
from server import schema as s
from server import schema_trade as st
from server.authority import Authority
from server.authority.log_reading import Memory
from server.installation import TOKEN, open_server
from server.recount import recount_server
from sync_core import limits
from sync_core.facts import DOCUMENT_CLOSED, DOCUMENT_WRITER
from sync_core.lines import SEQS_PER_DOCUMENT
from tests.unit.server.day import Day, Device, open_day
from tests.unit.server.restoring import deliver_all
from tests.unit.server.test_returns import ship
from trade import kinds
from trade.ids import first_id
from trade.projections import MARKET_DAY

CODE = "国大_3F-315_P65_8821#"
FIRST, SECOND, THIRD, FOURTH = (f"warehouse/main/{number}" for number in (1, 2, 3, 4))


def subjects_of(day: Day, document: str) -> set[str]:
    return {row.subject for row in day.all(s.state, s.state.c.document == document)}


def states_of(day: Day, document: str) -> dict[str, str]:
    return {row.subject: row.state for row in day.all(s.state, s.state.c.document == document)}


def scope_of(day: Day, device: Device) -> list[str]:
    found: list[str] = json.loads(day.one(s.device, s.device.c.number == device.number).documents)
    return found


def close(day: Day) -> None:
    day.now_ms += 24 * 3600 * 1000
    day.do(c.DayClose())


def recount(day: Day) -> None:
    checks, _ = recount_server(day.server, MARKET_DAY)
    assert [fault for check in checks for fault in check.faults] == []


@pytest.fixture
def crew(day: Day) -> tuple[Day, Device, Device]:
    """Two orders: the piece of the first has shipped, the second's is in the house."""
    wall, phone = day.enrol("warehouse", "wu"), day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1", f"A2|{CODE}|1")
    day.do(c.RoutesAssign())
    for order in ("1001", "1002"):
        code = phone.buy(f"T{order}-1", 6000)
        wall.say(FIRST, kinds.ScannedIn().about(f"piece:{code}"))
        if order == "1001":
            ship(day, wall, "O1001", code)
    return day, wall, phone


def code_of(day: Day, order: str) -> str:
    return str(day.one(st.piece, st.piece.c.order_id == order).code)


def test_a_successor_opens_with_the_same_rows_and_devices_are_sent_there(crew: tuple[Day, Device, Device]) -> None:
    day, wall, phone = crew
    before = states_of(day, FIRST)
    assert FIRST in scope_of(day, wall)
    close(day)
    last = max(day.all(s.fact, s.fact.c.document == FIRST), key=lambda row: (row.n, row.place))
    assert (last.kind, json.loads(last.body)) == (DOCUMENT_CLOSED, {"successor": SECOND})
    after = states_of(day, SECOND)
    for subject in (f"piece:{code_of(day, 'O1002')}", "order:O1002", "task:T1002-1", "parcel:P1002", "order:O1001"):
        assert after[subject] == before[subject]
    assert FIRST not in scope_of(day, wall)
    assert SECOND in scope_of(day, wall)
    assert day.state(f"device/{wall.number}/1", f"device:{wall.number}")["documents"] == scope_of(day, wall)
    assert day.one(s.document, s.document.c.name == FIRST).successor == SECOND
    # Routes end without a successor.
    assert [name for name in scope_of(day, phone) if name.startswith("route/")] == []
    recount(day)


def test_what_is_finished_stays_for_one_document_more_and_then_is_left_behind(crew: tuple[Day, Device, Device]) -> None:
    day, wall, _ = crew
    gone, here = code_of(day, "O1001"), code_of(day, "O1002")
    close(day)
    assert f"piece:{gone}" in subjects_of(day, SECOND)
    wall.say(SECOND, kinds.ScannedIn(cell="A01").about(f"piece:{here}"))
    close(day)
    assert not {"order:O1001", f"piece:{gone}", "parcel:P1001", "task:T1001-1"} & subjects_of(day, THIRD)
    assert {"order:O1002", f"piece:{here}"} <= subjects_of(day, THIRD)
    assert day.state(THIRD, f"piece:{here}")["scans"][-1]["fact"] == f"{wall.number}.{SEQS_PER_DOCUMENT + 1}.0"
    recount(day)


def test_a_day_without_work_ends_no_document(crew: tuple[Day, Device, Device]) -> None:
    day, _, _ = crew
    close(day)
    close(day)
    assert day.all(s.document, s.document.c.name == THIRD) == []


def test_late_work_is_decided_and_carried_on_once(crew: tuple[Day, Device, Device]) -> None:
    day, wall, _ = crew
    here = code_of(day, "O1002")
    wall.sync(FIRST)
    wall.offline = True
    wall.say(FIRST, kinds.ScannedIn(cell="A07").about(f"piece:{here}"))
    ship(day, wall, "O1002", here)
    close(day)
    assert day.piece(here).place == "inbound"
    wall.offline = False
    wall.deliver()
    day.work()
    assert day.piece(here).place == "shipped"
    assert day.order("O1002").status == "shipped"
    kinds_said = [
        row.kind
        for row in day.all(s.fact, s.fact.c.document == SECOND)
        if row.writer == 0 and row.device == wall.number
    ]
    assert kinds_said.count("parcel.shipped") == 2  # O1001's came with the opening, O1002's late.
    assert day.state(SECOND, f"piece:{here}")["place"] == "shipped"
    assert day.said(SECOND, "parcel.shipped")[-1].id == f"{wall.number}.{wall.heads[FIRST].seq}.0"
    recount(day)


def test_whoever_was_left_behind_comes_back_whole_when_somebody_speaks_of_him(crew: tuple[Day, Device, Device]) -> None:
    day, wall, _ = crew
    gone, here = code_of(day, "O1001"), code_of(day, "O1002")
    whole = day.state(FIRST, f"piece:{gone}")
    close(day)
    wall.say(SECOND, kinds.ScannedIn(cell="A01").about(f"piece:{here}"))
    close(day)
    day.do(c.ReturnExpected(order="O1001", courier_no="R1"))
    assert day.state(THIRD, f"piece:{gone}") == whole
    assert day.state(THIRD, "order:O1001")["shipped"]
    open_tasks = [
        x for x in subjects_of(day, THIRD) if x.startswith("task:") and day.state(THIRD, x)["status"] == "wanted"
    ]
    assert open_tasks == []
    wall.say(THIRD, kinds.ReturnReceived(courier_no="R1", matched=True).about("return:R1", f"piece:{gone}"))
    wall.say(THIRD, kinds.PieceInspected(passed=True).about(f"piece:{gone}", "return:R1"))
    assert day.piece(gone).place == "in_stock"
    assert day.state(THIRD, f"piece:{gone}")["place"] == "in_stock"
    recount(day)


def test_e31_what_a_revoked_terminal_delivers_late_waits_for_a_supervisor(crew: tuple[Day, Device, Device]) -> None:
    day, wall, _ = crew
    here = code_of(day, "O1002")
    wall.sync(FIRST)
    wall.offline = True
    wall.say(FIRST, kinds.ScannedIn(cell="A07").about(f"piece:{here}"))
    day.do(c.DeviceRevoke(device=wall.number))
    day.now_ms += 1000
    wall.offline = False
    wall.deliver()
    close(day)
    assert "parked" in day.discrepancies()
    assert day.state(SECOND, f"piece:{here}")["cell"] is None
    assert day.state(SECOND, "document")["writers"] == {}
    day.do(c.ParkedRelease(device=wall.number))
    assert day.state(SECOND, f"piece:{here}")["cell"] == "A07"
    recount(day)


def test_e31_parked_after_the_close_is_carried_on_once_it_is_admitted(crew: tuple[Day, Device, Device]) -> None:
    day, wall, _ = crew
    here = code_of(day, "O1002")
    wall.sync(FIRST)
    wall.offline = True
    wall.say(FIRST, kinds.ScannedIn(cell="A07").about(f"piece:{here}"))
    close(day)
    day.do(c.DeviceRevoke(device=wall.number))
    day.now_ms += 1000
    wall.offline = False
    wall.deliver()
    assert day.state(SECOND, f"piece:{here}")["cell"] is None
    day.do(c.ParkedRelease(device=wall.number))
    assert day.state(SECOND, f"piece:{here}")["cell"] == "A07"


def test_d10_a_purchase_in_a_route_that_ended_is_judged_and_reaches_the_warehouse(day: Day) -> None:
    ann, bo, wall = day.enrol("picker", "ann"), day.enrol("picker", "bo"), day.enrol("warehouse", "wu")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign(devices=[ann.number]))
    route = ann.route("T1001-1")
    ann.sync(route)
    day.do(c.TaskReassign(task="T1001-1", device=bo.number))
    ann.say(route, kinds.RecallSeen().about("task:T1001-1"))
    code = bo.buy("T1001-1.2", 6000)
    wall.say(FIRST, kinds.ScannedIn().about(f"piece:{code}"))
    ship(day, wall, "O1001", code)
    close(day)
    wall.say(SECOND, kinds.LabelReprinted(copy_no=2).about(f"piece:{code}"))
    close(day)
    assert day.one(s.document, s.document.c.name == route).closed_ms is not None
    late = ann.buy("T1001-1", 6000)
    assert day.piece(late).outcome == "second"
    state = day.state(THIRD, f"piece:{late}")
    assert (state["place"], state["verdict"]["outcome"]) == ("with_picker", "second")
    assert day.state(THIRD, "task:T1001-1")["recall"] is not None
    recount(day)


def test_d14_a_late_sale_and_a_bag_in_the_successor_did_not_know_of_each_other(
    crew: tuple[Day, Device, Device],
) -> None:
    day, wall, _ = crew
    other = day.enrol("warehouse", "xu")
    code = code_of(day, "O1001")
    day.do(c.ReturnExpected(order="O1001", courier_no="R1"))
    wall.say(FIRST, kinds.ReturnReceived(courier_no="R1", matched=True).about("return:R1"))
    wall.say(FIRST, kinds.PieceInspected(passed=True).about(f"piece:{code}", "return:R1"))
    day.orders(f"A9|{CODE}|1")
    day.do(c.RoutesAssign())
    assert day.task("T1003-1").source == "stock"
    wall.sync(FIRST)
    wall.offline = True
    sale = wall.say(FIRST, kinds.PieceDrawn().about(f"piece:{code}", "task:T1003-1", "order:O1003"))[0]
    close(day)
    other.say(SECOND, kinds.PieceBagged().about(f"piece:{code}", "trip:b1"))
    wall.offline = False
    wall.deliver()
    verdict = day.said(SECOND, "verdict.stock")
    assert [json.loads(row.body)["fact"] for row in verdict] == [sale]
    assert day.piece(code).place == "with_runner"
    assert day.state(SECOND, f"piece:{code}")["place"] == "with_runner"
    recount(day)


def test_d14_who_knew_of_the_bag_by_its_copy_is_in_no_conflict(crew: tuple[Day, Device, Device]) -> None:
    day, wall, _ = crew
    code = code_of(day, "O1001")
    day.do(c.ReturnExpected(order="O1001", courier_no="R1"))
    wall.say(FIRST, kinds.ReturnReceived(courier_no="R1", matched=True).about("return:R1"))
    wall.say(FIRST, kinds.PieceInspected(passed=True).about(f"piece:{code}", "return:R1"))
    wall.say(FIRST, kinds.PieceBagged().about(f"piece:{code}", "trip:b1"))
    close(day)
    wall.say(SECOND, kinds.PieceBroughtBack().about(f"piece:{code}"))
    wall.say(SECOND, kinds.PieceBagged().about(f"piece:{code}", "trip:b2"))
    wall.say(SECOND, kinds.PieceDrawn().about(f"piece:{code}", "task:T1002-1", "order:O1002"))
    assert day.said(SECOND, "verdict.stock") == []


def test_d15_a_trip_lasts_until_its_pieces_went_somewhere(crew: tuple[Day, Device, Device]) -> None:
    day, wall, phone = crew
    code = code_of(day, "O1001")
    day.do(c.ReturnExpected(order="O1001", courier_no="R1"))
    wall.say(FIRST, kinds.ReturnReceived(courier_no="R1", matched=True).about("return:R1"))
    wall.say(FIRST, kinds.PieceInspected(passed=True).about(f"piece:{code}", "return:R1"))
    wall.say(FIRST, kinds.PieceBagged().about(f"piece:{code}", "trip:b1"))
    trip = str(day.do(c.TripOpen(device=phone.number, trip="b1"))["document"])
    close(day)
    assert trip in scope_of(day, phone)
    stall = day.piece(code).stall_id
    phone.say(trip, kinds.PieceRefunded(received_fen=6000, means=kinds.Means.CASH).about(f"piece:{code}", stall))
    close(day)
    assert trip not in scope_of(day, phone)
    recount(day)


def test_a_route_that_ended_is_not_opened_again_on_its_day(day: Day) -> None:
    phone = day.enrol("picker", "ann")
    day.enrol("warehouse", "wu")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    route = phone.route("T1001-1")
    answer = kinds.TaskBounced(price_fen=9000)
    phone.say(route, answer.about("task:T1001-1", day.task("T1001-1").stall_id))
    day.do(c.TaskDecide(task="T1001-1", choice="close_line"))
    day.do(c.DayClose())
    assert day.one(s.document, s.document.c.name == route).closed_ms is not None
    day.orders(f"A2|{CODE}|1")
    day.do(c.RoutesAssign())
    assert phone.route("T1002-1") == f"{route}-2"
    assert f"{route}-2" in scope_of(day, phone)


def test_a_devices_own_document_ends_and_names_its_successor(day: Day) -> None:
    phone = day.enrol("picker", "ann")
    own = f"device/{phone.number}/"
    for fen in range(limits.DOCUMENT_ENDS_AFTER["device"]):
        day.do(c.DeviceAllowance(device=phone.number, per_piece_fen=fen, per_day_fen=fen))
    close(day)
    assert day.state(f"{own}1", "document")["successor"] == f"{own}2"
    assert len(day.said(f"{own}2", "device.scope")) == 1
    assert day.state(f"{own}2", f"device:{phone.number}") == day.state(f"{own}1", f"device:{phone.number}")
    day.do(c.DeviceAllowance(device=phone.number, per_piece_fen=77, per_day_fen=77))
    assert day.state(f"{own}2", f"device:{phone.number}")["override_fen_per_piece"] == 77


def test_a_directory_ends_when_it_has_grown_and_keeps_every_stall(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(limits.DOCUMENT_ENDS_AFTER, "market", 4)
    for name in ("白", "木", "禾", "白木禾"):
        day.do(c.StallListed(market="国大", floor="3F", stall="315", name=name))
    day.do(c.StallListed(market="国大", floor="3F", stall="316", name="别家"))
    phone = day.enrol("picker", "ann")
    assert "market/国大/1" in scope_of(day, phone)
    close(day)
    assert "market/国大/2" in scope_of(day, phone)
    assert len(day.said("market/国大/2", "stall.listed")) == 2
    assert day.state("market/国大/2", "stall:国大/3F/315") == day.state("market/国大/1", "stall:国大/3F/315")
    assert phone.number in {int(number) for number in day.state("market/国大/2", "document")["writers"]}


def test_a_document_that_grew_too_large_ends_before_its_day(
    crew: tuple[Day, Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    day, _, _ = crew
    monkeypatch.setattr(limits, "DOCUMENT_ENVELOPES_MAX", 3)
    day.now_ms += 2000
    day.work()
    assert day.one(s.document, s.document.c.name == FIRST).successor == SECOND
    recount(day)


def test_a_renumbered_device_may_say_its_late_work_again_where_it_said_it(crew: tuple[Day, Device, Device]) -> None:
    day, wall, _ = crew
    close(day)
    told = day.do(c.DeviceRenumber(device=wall.number, public_key="ab" * 32, alg="ed25519"))
    for document in (FIRST, SECOND):
        admitted = [json.loads(row.body) for row in day.said(document, DOCUMENT_WRITER)]
        assert [row["continues"] for row in admitted if row["device"] == told["number"]] == [[wall.number]]


def test_verdicts_go_where_the_document_goes_on(crew: tuple[Day, Device, Device]) -> None:
    day, _, _ = crew
    close(day)
    day.do(c.OrderClose(order="O1002", reason="买家不要了"))
    assert day.said(FIRST, "order.closed") == []
    assert [first_id(json.loads(row.subjects), "order") for row in day.said(SECOND, "order.closed")] == ["O1002"]
    assert day.state(SECOND, f"piece:{code_of(day, 'O1002')}")["place"] == "in_stock"


def test_enrolling_after_a_close_gives_the_open_documents(crew: tuple[Day, Device, Device]) -> None:
    day, _, _ = crew
    close(day)
    fresh = day.enrol("warehouse", "yi")
    assert [name for name in scope_of(day, fresh) if name.startswith("warehouse/")] == [SECOND]
    assert day.state(SECOND, "document")["writers"][str(fresh.number)] == "warehouse"


def test_a_second_start_of_the_server_goes_on_in_the_successor(tmp_path: Path) -> None:
    day = open_day(tmp_path / "server")
    day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    close(day)
    day.store.close()
    server = open_server(tmp_path / "server", synchronous="OFF", now_ms=day.now_ms, seed=b"s" * 32)
    again = Day(server=server, authority=Authority(server), now_ms=day.now_ms)
    phone.day = again
    phone.buy("T1001-1", 6000)
    assert len(again.said(SECOND, "piece.bought")) == 1
    assert again.said(FIRST, "piece.bought") == []
    again.store.close()


def test_a_server_restored_from_before_a_close_learns_of_the_successor_and_goes_on_there(tmp_path: Path) -> None:
    day = open_day(tmp_path / "a")
    wall, phone = day.enrol("warehouse", "wu"), day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1", f"A2|{CODE}|1")
    day.do(c.RoutesAssign())
    first, second = phone.buy("T1001-1", 6000), phone.buy("T1002-1", 6000)
    day.store.close()
    shutil.copytree(tmp_path / "a", tmp_path / "b", ignore=shutil.ignore_patterns(TOKEN))
    server = open_server(tmp_path / "a", synchronous="OFF", now_ms=day.now_ms, seed=b"s" * 32)
    lost = wall.day = phone.day = Day(server=server, authority=Authority(server), now_ms=day.now_ms)
    wall.say(FIRST, kinds.ScannedIn(cell="A01").about(f"piece:{first}"))
    close(lost)
    wall.say(SECOND, kinds.ScannedIn(cell="A02").about(f"piece:{second}"))
    rows = lost.all(s.envelope)
    lost.store.close()
    copy = open_server(tmp_path / "b", synchronous="OFF", now_ms=lost.now_ms, seed=b"s" * 32)
    again = wall.day = phone.day = Day(server=copy, authority=Authority(copy), now_ms=lost.now_ms)
    # Before anybody told it, it speaks in the old document; that goes on as well.
    again.do(c.OrderClose(order="O1002", reason="x"))
    assert len(again.said(FIRST, "order.closed")) == 1
    deliver_all(again, sorted(rows, key=lambda row: row.n))
    assert again.one(s.document, s.document.c.name == FIRST).successor == SECOND
    assert SECOND in scope_of(again, wall)
    assert FIRST not in scope_of(again, wall)
    assert again.state(SECOND, "order:O1002")["closed"]
    assert (again.state(SECOND, f"piece:{first}")["cell"], again.piece(first).place) == ("A01", "in_cell")
    assert again.piece(second).scanned_ms is not None
    again.do(c.OrderClose(order="O1001", reason="x"))
    # A copy may be said twice after a restore; it counts once.
    assert len({row.id for row in again.said(SECOND, "order.closed")}) == 2
    recount(again)
    copy.store.close()


def test_rel_r15_more_subjects_than_a_database_takes_values_stop_nobody(day: Day) -> None:
    """A batch of a hostile terminal names them; an error of the database would have the authority read it again for ever."""
    with day.store.transaction() as conn:
        raw = conn.connection.driver_connection
        before = raw.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)
        try:
            known = Memory(conn, MARKET_DAY).known_subjects(FIRST, [f"task:{number}" for number in range(5000)])
        finally:
            raw.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, before)
    assert known == set()
