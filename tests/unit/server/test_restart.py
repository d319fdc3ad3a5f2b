"""Whatever restarts: nothing is decided twice, nothing is lost, and a restored copy is a new server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update

from server import commands as c
from server import schema as s
from server import schema_trade as st
from server.authority import Authority
from server.authority.authority import POSITION
from server.authority.batch import Batch
from server.installation import AGAIN, DATABASE, TOKEN, open_server
from server.overtaken import commit_received
from server.recount import recount_server
from server.rows import get_meta, set_meta
from sync_core.check import Check
from sync_core.errors import CorruptError
from sync_core.gate import Run
from sync_core.hub import Submission
from tests.unit.server.day import START_MS, Day, Device, open_day
from tests.unit.server.restoring import back_up, deliver_all, faults, lose, open_again, two_phones_for_one_piece
from tests.unit.server.test_returns import ship
from trade import kinds
from trade.projections import MARKET_DAY

CODE = "国大_3F-315_P65_8821#"


def played(day: Day) -> tuple[Device, Device]:
    """A short day: bought, scanned, packed, one bounce."""
    wall = day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1", f"A2|{CODE}|2")
    day.do(c.RoutesAssign())
    code = phone.buy("T1001-1", 6000)
    phone.say(
        phone.route("T1002-1"), kinds.TaskBounced(price_fen=9000).about("task:T1002-1", day.task("T1002-1").stall_id)
    )
    wall.say(day.warehouse(), kinds.ScannedIn().about(f"piece:{code}"))
    number = day.parcel("P1001").waybill_no
    about = ("parcel:P1001", "order:O1001", f"piece:{code}")
    wall.say(day.warehouse(), kinds.ParcelPacked(waybill_no=number, pieces=[code]).about(*about))
    wall.say(day.warehouse(), kinds.ParcelShipped(waybill_no=number, pieces=[code]).about(*about))
    return phone, wall


def everything(day: Day) -> dict[str, list[Any]]:
    """All rows that decisions made."""
    tables = (s.envelope, s.entry, s.posting, s.hold, s.verdict, s.state, st.task, st.wanted, st.piece, st.parcel)
    with day.store.reading() as conn:
        return {
            table.name: [tuple(row) for row in conn.execute(select(table).order_by(*table.primary_key.columns))]
            for table in (*tables, st.discrepancy, st.decision, st.notice)
        }


def test_a_lost_reading_position_repeats_nothing(day: Day) -> None:
    played(day)
    before = everything(day)
    with day.store.transaction() as conn:
        set_meta(conn, POSITION, 0)
    Authority(day.server).run_all(day.now_ms)
    assert everything(day) == before


def test_what_the_server_said_itself_does_not_wait_to_be_read(day: Day) -> None:
    phone, _ = played(day)
    phone.offline = True
    phone.buy("T1002-2", 6000)
    phone.offline = False
    sent = len(everything(day)["envelope"])
    phone.deliver()
    said = everything(day)["envelope"]
    assert len(said) > sent + 1
    with day.store.reading() as conn:
        assert get_meta(conn, POSITION) == conn.scalar(select(func.max(s.envelope.c.n)))


def test_verdicts_and_postings_are_unique_even_when_the_facts_are_forgotten(day: Day) -> None:
    played(day)
    before = everything(day)
    with day.store.transaction() as conn:
        set_meta(conn, POSITION, 0)
        for table in (s.fact_subject, s.fact, s.writer):
            conn.execute(delete(table))
    Authority(day.server).run_all(day.now_ms)
    assert everything(day) == before


def test_a_batch_that_is_told_to_end_decides_the_same_one_envelope_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0

    def one_by_one(authority: Authority, now_ms: int) -> None:
        nonlocal steps
        while authority.run_batch(now_ms, go_on=lambda: False):
            steps += 1

    def backlog(day: Day) -> None:
        day.enrol("warehouse", "wu")
        phone = day.enrol("picker", "ann")
        day.orders(f"A1|{CODE}|3", f"A2|{CODE}|2")
        day.do(c.RoutesAssign())
        phone.sync(phone.route("T1001-1"))
        phone.offline = True
        for task in ("T1001-1", "T1001-2", "T1001-3", "T1002-1", "T1002-2"):
            phone.buy(task, 6000)
        phone.offline = False
        phone.deliver()

    reference, day = open_day(tmp_path / "a"), open_day(tmp_path / "b")
    backlog(reference)
    monkeypatch.setattr(Authority, "run_all", one_by_one)
    backlog(day)
    assert steps >= 5
    after, before = everything(day), everything(reference)
    # What was said is cut into envelopes otherwise, and the states hold the seals of receivers, which are random.
    for told in (after, before):
        del told["envelope"], told["state"]
    assert after == before
    with day.store.reading() as conn:
        assert list(conn.execute(select(st.piece.c.outcome)).scalars()) == ["keeps"] * 5
    day.store.close()
    reference.store.close()


@pytest.mark.parametrize("at", range(1, 12))
def test_a_crash_while_a_batch_is_written_leaves_it_whole_or_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    reference = open_day(tmp_path / "a")
    played(reference)
    day = open_day(tmp_path / "b")
    calls = 0
    honest = Batch._write

    def cut(self: Batch, document: str, facts: Any) -> None:
        nonlocal calls
        calls += 1
        honest(self, document, facts)
        if calls == at:
            raise SystemExit

    def work_again(authority: Authority, now_ms: int) -> None:
        try:
            while authority.run_batch(now_ms):
                pass
        except SystemExit:
            work_again(authority, now_ms)

    monkeypatch.setattr(Batch, "_write", cut)
    monkeypatch.setattr(Authority, "run_all", work_again)
    played(day)
    assert calls > at
    after, before = everything(day), everything(reference)
    assert len(after.pop("envelope")) == len(before.pop("envelope"))
    del after["state"], before["state"]  # they hold the seals of receivers, which are random
    assert after == before
    day.store.close()
    reference.store.close()


def test_an_envelope_that_makes_a_rule_fail_is_set_aside_and_the_rest_goes_on(
    day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    from server.authority import deciding

    day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|2")
    day.do(c.RoutesAssign())

    def broken(*_: Any) -> None:
        raise ValueError("a planted bug")

    monkeypatch.setitem(deciding.RULES, kinds.TaskAnswered.KIND, broken)
    phone.sync(phone.route("T1001-1"))
    phone.offline = True
    answer = kinds.TaskAnswered(answer=kinds.Answer.UNSURE)
    phone.say(phone.route("T1001-1"), answer.about("task:T1001-1", day.task("T1001-1").stall_id))
    code = phone.buy("T1001-2", 6000)
    phone.offline = False
    phone.deliver()
    assert day.piece(code).outcome == "keeps"
    assert "authority_failed" in day.discrepancies()


def test_an_envelope_that_cannot_even_be_kept_stops_nothing(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    from server.authority.log_reading import Memory

    day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|2")
    day.do(c.RoutesAssign())
    honest = Memory.record

    def broken(self: Memory, document: str, envelope: Any, n: int) -> Any:
        if (envelope.device, envelope.seq) == (phone.number, 1):
            raise ValueError("a planted bug")
        return honest(self, document, envelope, n)

    monkeypatch.setattr(Memory, "record", broken)
    phone.buy("T1001-1", 6000)
    code = phone.buy("T1001-2", 6000)
    assert day.piece(code).outcome == "keeps"
    assert "authority_failed" in day.discrepancies()


def test_a_void_fact_is_kept_told_and_counts_for_nothing(day: Day) -> None:
    wall = day.enrol("warehouse", "wu")
    day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    before = day.money()
    wall.say(day.warehouse(), kinds.OrderClosed(reason="x").about("order:O1001"))
    assert day.order("O1001").status == "out"
    assert day.state(day.warehouse(), "order:O1001")["closed"] is False
    assert "void" in day.discrepancies()
    assert day.money() == before


def test_e31_a_revoked_devices_late_work_waits_for_a_supervisor(day: Day) -> None:
    day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign())
    phone.sync(phone.route("T1001-1"))
    phone.offline = True
    code = phone.buy("T1001-1", 6000)
    day.do(c.DeviceRevoke(device=phone.number))
    day.now_ms += 1
    phone.deliver()
    assert not day.all(st.piece)
    day.do(c.ParkedRelease(device=phone.number))
    assert day.piece(code).outcome == "keeps"


def test_a_restored_backup_takes_the_next_server_number_and_jumps_the_device_counter(tmp_path: Path) -> None:
    day = open_day(tmp_path / "a")
    day.enrol("warehouse", "wu")
    day.store.close()
    again = open_server(tmp_path / "a", synchronous="OFF", now_ms=START_MS, seed=b"s" * 32)
    assert (again.number, again.restored) == (0, False)
    again.store.close()
    shutil.copytree(tmp_path / "a", tmp_path / "b", ignore=shutil.ignore_patterns(TOKEN))
    copy = open_server(tmp_path / "b", synchronous="OFF", now_ms=START_MS, seed=b"s" * 32)
    assert (copy.number, copy.restored) == (1, True)
    restored = Day(server=copy, authority=Authority(copy))
    phone = restored.enrol("picker", "ann")
    assert phone.number == 1101
    assert {row.device for row in restored.all(s.envelope, s.envelope.c.document == f"device/{phone.number}/1")} == {1}
    copy.store.close()
    third = open_server(tmp_path / "b", synchronous="OFF", now_ms=START_MS, seed=b"s" * 32)
    assert (third.number, third.restored) == (1, False)
    third.store.close()


def test_a_backup_that_is_restored_again_passes_over_the_numbers_of_the_server_between(tmp_path: Path) -> None:
    """Both would sign under one number, and give one number to two devices and one name to two orders; what the first said still holds."""
    day = open_day(tmp_path / "a")
    wall = day.enrol("warehouse", "wu")
    day.store.close()
    for name in "bc":
        shutil.copytree(tmp_path / "a", tmp_path / name, ignore=shutil.ignore_patterns(TOKEN))
    (tmp_path / "c" / AGAIN).write_text("1")
    between = open_again(tmp_path / "b")
    phone = between.enrol("picker", "ann")
    between.orders(f"A1|{CODE}|1")
    between.do(c.RoutesAssign())
    rows = sorted(between.all(s.envelope), key=lambda row: (row.device, row.n))
    again = open_again(tmp_path / "c")
    assert (between.server.number, again.server.number) == (1, 2)
    assert again.enrol("picker", "bob").number == phone.number + 1000
    deliver_all(again, [row for row in rows if row.document in (f"device/{wall.number}/1", again.warehouse())])
    again.orders(f"B1|{CODE}|1")
    assert again.all(st.shop_order)[0].number > between.all(st.shop_order)[0].number
    again.store.close()
    assert open_again(tmp_path / "c").server.number == 2
    between.store.close()


def test_an_older_database_under_the_same_install_token_is_a_restored_one(tmp_path: Path) -> None:
    """A dump is loaded again, or a file put back by hand: the token is in its place, but what was signed since must not be signed again."""
    day = open_day(tmp_path / "a")
    day.store.close()
    shutil.copy(tmp_path / "a" / DATABASE, tmp_path / "dump")
    lost = open_server(tmp_path / "a", synchronous="OFF", now_ms=START_MS, seed=b"s" * 32)
    phone = Day(server=lost, authority=Authority(lost)).enrol("picker", "ann")
    lost.note_extent()
    lost.store.close()
    shutil.copy(tmp_path / "dump", tmp_path / "a" / DATABASE)
    copy = open_server(tmp_path / "a", synchronous="OFF", now_ms=START_MS, seed=b"s" * 32)
    assert (copy.number, copy.restored) == (1, True)
    restored = Day(server=copy, authority=Authority(copy))
    assert restored.enrol("picker", "ann").number > phone.number
    copy.store.close()
    again = open_server(tmp_path / "a", synchronous="OFF", now_ms=START_MS, seed=b"s" * 32)
    assert (again.number, again.restored) == (1, False)
    again.store.close()
    shutil.copy(tmp_path / "dump", tmp_path / "a" / DATABASE)
    once_more = open_server(tmp_path / "a", synchronous="OFF", now_ms=START_MS, seed=b"s" * 32)
    assert (once_more.number, once_more.restored) == (2, True)
    once_more.store.close()


@pytest.mark.parametrize("order", ["server_first", "devices_first"])
def test_a_restored_server_takes_its_own_verdicts_back_and_books_them_once(tmp_path: Path, order: str) -> None:
    day = open_day(tmp_path / "a")
    day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1", f"A2|{CODE}|1")
    back_up(day, tmp_path)
    day.do(c.RoutesAssign())
    code = phone.buy("T1001-1", 6000)
    over = phone.buy("T1002-1", 6900)
    money = day.money()
    rows, restored = lose(day, tmp_path)
    if order == "devices_first":
        rows.sort(key=lambda row: (-row.device, row.n))
    deliver_all(restored, rows)
    known = restored.store.key_of(phone.number)
    route = restored.task("T1001-1").document
    assert known is not None
    assert route in known.documents, "a route opened after the backup may be delivered"
    assert restored.money() == money
    assert (restored.piece(code).outcome, restored.piece(over).outcome) == ("keeps", "over_cap")
    assert restored.task("T1001-1").status == "bought"
    assert [restored.order(order).status for order in ("O1001", "O1002")] == ["out", "out"]
    assert faults(restored) == []
    assert restored.parcel("P1001").waybill_no == "ZT0000000001"
    assert "void" not in restored.discrepancies()
    restored.orders(f"A3|{CODE}|1")
    assert restored.order("O101003").order_no == "A3", "no order number is given twice"
    restored.do(c.RoutesAssign())
    assert restored.parcel("P101003").waybill_no == "ZT0000000201", "nor a waybill"
    restored.store.close()


@pytest.mark.parametrize("gone", [False, True])
def test_d10_a_piece_kept_since_the_restore_gives_way_to_the_lost_servers_and_the_want_is_paid_once(
    tmp_path: Path, gone: bool
) -> None:
    """The phone whose piece had lost comes first; `gone`: its piece has left before the other phone comes."""
    day = open_day(tmp_path / "a")
    terminal, first, second, other = two_phones_for_one_piece(day, CODE)
    back_up(day, tmp_path)
    kept, late = second.buy(other, 6000), first.buy("T1001-1", 6100)
    first.offline = False
    first.deliver()
    assert (day.piece(kept).outcome, day.piece(late).outcome) == ("keeps", "second")
    money, fact, warehouse = day.money(), day.piece(late).bought_fact, day.warehouse()
    rows, restored = lose(day, tmp_path)
    rows.sort(key=lambda row: row.device != first.number)
    deliver_all(restored, [row for row in rows if row.device == first.number])
    assert restored.piece(late).outcome == "keeps"
    if gone:
        terminal.day = restored
        terminal.say(warehouse, kinds.ScannedIn().about(f"piece:{late}"))
        body = kinds.ParcelPacked(waybill_no="ZT0000000001", pieces=[late])
        terminal.say(warehouse, body.about("parcel:P1001", "order:O1001", f"piece:{late}"))
    deliver_all(restored, [row for row in rows if row.device != first.number])
    outcomes = (restored.piece(kept).outcome, restored.piece(late).outcome)
    assert outcomes == (("second", "keeps") if gone else ("keeps", "second"))
    assert restored.wanted("T1001-1").keeper == (late if gone else kept)
    assert sum(restored.money()) == sum(money) - (100 if gone else 0), "one of them was paid for"
    assert gone or restored.money() == money
    told = [row for row in restored.all(st.discrepancy) if row.code in ("verdict_recovered", "second_piece")]
    assert fact in [name for row in told for name in json.loads(row.facts)], "which purchase it is about"
    assert faults(restored) == []
    restored.store.close()


def test_the_recount_and_the_next_version_find_an_order_that_waits_for_dispatch_while_its_task_is_out(
    tmp_path: Path,
) -> None:
    day = open_day(tmp_path)
    day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1", f"A2|{CODE}|1", f"A3|{CODE}|1")
    day.do(c.RoutesAssign())
    phone.buy("T1001-1", 6000)
    day.orders(f"A4|{CODE}|1")
    day.do(c.OrderClose(order="O1003"))
    with day.store.transaction() as conn:
        conn.execute(update(st.shop_order).where(st.shop_order.c.status == "out").values(status="ready"))
        set_meta(conn, "schema_version", 4)
    checks, _ = recount_server(day.server, MARKET_DAY)
    assert {check.name: check.faults for check in checks if not check.holds} == {
        "orders": [f"order {order} is ready, and a piece of it is {want}" for order, want in (("O1001", "bought"), ("O1002", "out"))]
    }  # fmt: skip
    day.store.close()
    server = open_server(tmp_path, synchronous="OFF", now_ms=START_MS, seed=b"s" * 32)
    healed = Day(server=server, authority=Authority(server))
    assert [healed.order(f"O{number}").status for number in range(1001, 1005)] == ["out", "out", "closed", "ready"]
    assert faults(healed) == []
    server.store.close()


def test_a_restored_server_gives_no_attempt_the_name_of_one_that_the_lost_server_sent_out(tmp_path: Path) -> None:
    day = open_day(tmp_path / "a")
    day.enrol("warehouse", "wu")
    day.enrol("picker", "ann")
    other = day.enrol("picker", "bo")
    day.orders(f"A1|{CODE}|1")
    day.do(c.RoutesAssign(devices=[other.number - 1]))
    day.store.close()
    shutil.copytree(tmp_path / "a", tmp_path / "b", ignore=shutil.ignore_patterns(TOKEN))
    names = []
    for folder in ("a", "b"):
        server = open_server(tmp_path / folder, synchronous="OFF", now_ms=START_MS, seed=b"s" * 32)
        either = Day(server=server, authority=Authority(server))
        names.append(either.do(c.TaskReassign(task="T1001-1", device=other.number))["task"])
        server.store.close()
    assert names == ["T1001-1.2", "T1001-1.101"]


@pytest.mark.parametrize(("slip", "paid_fen"), [(False, 6000), (False, 6900), (True, 6000)])
@pytest.mark.parametrize("order", ["server_first", "devices_first", "warehouse_first", "phone_knew_no_close"])
def test_d9_a_purchase_that_the_lost_server_closed_after_it_is_booked_as_it_was(
    tmp_path: Path, order: str, slip: bool, paid_fen: int
) -> None:
    day = open_day(tmp_path / "a")
    day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1", f"A2|{CODE}|1")
    back_up(day, tmp_path)
    day.do(c.RoutesAssign())
    route = phone.route("T1001-1")
    code = phone.buy("T1001-1", paid_fen)
    known = day.store.read_vector(route)[0]
    day.do(c.OrderClose(order="O1001"))
    if slip:
        body = kinds.PieceUndone(fact=day.piece(code).bought_fact)
        phone.say(route, body.about("task:T1001-1", f"piece:{code}"))
        phone.say(route, kinds.RecallSeen().about("task:T1001-1"))
    money, booked = day.money(), day.piece(code)
    rows, restored = lose(day, tmp_path)
    if order == "devices_first":
        rows.sort(key=lambda row: (-row.device, row.n))
    elif order == "warehouse_first":
        rows.sort(key=lambda row: (not row.document.startswith("warehouse"), row.device, row.n))
    elif order == "phone_knew_no_close":
        rows = [row for row in rows if not (row.document == route and row.device == 0 and row.seq > known)]
        rows.sort(key=lambda row: (row.document.startswith("warehouse"), row.device, row.n))
    deliver_all(restored, rows)
    assert "authority_failed" not in restored.discrepancies()
    piece, wanted = restored.piece(code), restored.wanted("T1001-1")
    assert (restored.order("O1001").status, wanted.status, wanted.keeper) == ("closed", "closed", None)
    assert restored.money() == money
    if slip:
        assert (piece.place, piece.charged_fen) == ("undone", 0)
    else:
        assert (piece.outcome, piece.owner, piece.charged_fen) == ("closed_unseen", "m1", booked.charged_fen)
        # What the platform bore stays its own, also when the piece is sold to another (D12).
        assert piece.charged_fen + piece.excess_fen == paid_fen
    assert faults(restored) == []
    restored.store.close()


def test_a_key_file_that_is_no_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "server.key").write_bytes(b"short")
    with pytest.raises(CorruptError):
        open_server(tmp_path, now_ms=START_MS)


def test_the_recount_of_a_played_day_finds_no_fault(day: Day) -> None:
    played(day)
    checks, hashes = recount_server(day.server, MARKET_DAY)
    broken: list[Check] = [check for check in checks if not check.holds]
    assert not broken, [(check.name, check.faults[:3]) for check in broken]
    assert day.warehouse() in hashes


@pytest.mark.parametrize(
    ("table", "told"), [(s.head, "is not where its envelopes end"), (st.task, "of which there is no row")]
)
def test_the_recount_finds_a_row_that_is_gone(day: Day, table: Any, told: str) -> None:
    wall, _ = played(day)
    (piece, *_) = day.all(st.piece)
    ship(day, wall, "O1001", piece.code)
    assert faults(day) == []
    row = day.all(table)[0]
    where = (
        table.c.id == row.id
        if table is st.task
        else (table.c.document == row.document) & (table.c.device == row.device)
    )
    with day.store.transaction() as conn:
        conn.execute(delete(table).where(where))
    assert any(told in fault for fault in faults(day))


def put_back(tmp_path: Path) -> tuple[list[Any], Day]:
    """A snapshot of the whole machine, install token included, in place of a server that went on; and what devices hold of that one."""
    day = open_day(tmp_path / "a")
    day.enrol("warehouse", "wu")
    phone = day.enrol("picker", "ann")
    day.orders(f"A1|{CODE}|1")
    day.store.close()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    day = open_again(tmp_path / "a")
    phone.day = day
    day.do(c.RoutesAssign())
    phone.buy("T1001-1", 6000)
    rows = sorted(day.all(s.envelope), key=lambda row: (row.device, row.n))
    day.store.close()
    return rows, open_again(tmp_path / "b")


def bring(day: Day, rows: list[Any], *, sent_by: int = 101) -> None:
    """What a device says that this hub lacks, as the writer takes it."""
    for row in rows:
        if day.store.read_vector(row.document).get(row.device, 0) < row.seq:
            run = Run(device=row.device, first_seq=row.seq, stored=(bytes(row.stored),))
            commit_received(
                day.store, [Submission(document=row.document, runs=(run,), sent_by=sent_by, received_ms=day.now_ms)]
            )
            day.work()


def test_a_server_whose_own_words_come_back_to_it_says_nothing_more_under_its_number(tmp_path: Path) -> None:
    rows, back = put_back(tmp_path)
    assert (back.server.number, back.server.restored) == (0, False), "nothing in its folder tells"
    before = back.all(st.task)
    bring(back, rows)
    number = c.submit(back.store, c.RoutesAssign(), by="platform:admin", now_ms=back.now_ms)
    back.work()
    assert c.outcome(back.store, number) is None, "a command waits for the next start"
    assert back.all(st.task) == before
    signed = {bytes(row.stored) for row in back.all(s.envelope, s.envelope.c.device == 0)}
    assert signed <= {bytes(row.stored) for row in rows}
    back.store.close()
    after = open_again(tmp_path / "b")
    assert (after.server.number, after.server.restored) == (1, True)
    after.work()
    (piece,) = after.all(st.piece)
    assert (piece.outcome, after.task("T1001-1").status) == ("keeps", "bought")
    assert faults(after) == []
    after.store.close()
    assert open_again(tmp_path / "b").server.number == 1


def test_a_server_that_went_on_before_its_own_words_came_back_notices_it_too(tmp_path: Path) -> None:
    """It signed another word under a number that devices hold: what they bring does not fit its chain, and its signature tells."""
    rows, back = put_back(tmp_path)
    back.do(c.RoutesAssign())
    route = back.task("T1001-1").document
    ahead = [row for row in rows if row.device == 0 and row.document == route]
    bring(back, [ahead[-1]])
    back.store.close()
    assert open_again(tmp_path / "b").server.number == 1


def test_nobody_but_the_server_itself_stops_it(tmp_path: Path) -> None:
    """Old words of its own under another document or number, and forged ones, are refused and change nothing."""
    rows, _ = put_back(tmp_path)
    day = open_again(tmp_path / "a")
    own = [row for row in rows if row.device == 0]
    last = max(own, key=lambda row: row.seq)
    forged = bytes(64) + bytes(last.stored)[64:]
    for document, seq, stored in (
        ("route/elsewhere", 1, bytes(last.stored)),
        (last.document, last.seq + 1, bytes(last.stored)),
        (last.document, last.seq + 1, forged),
    ):
        run = Run(device=0, first_seq=seq, stored=(stored,))
        (told,) = commit_received(day.store, [Submission(document=document, runs=(run,), sent_by=101, received_ms=1)])
        assert told.refusal is not None
    assert not day.store.is_overtaken
    day.do(c.PersonCreate(id="bob", name="bob", pin_salt="00" * 16, pin_hash="11" * 32))
