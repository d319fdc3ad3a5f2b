"""A client works in what is wholly here, forgets what it has delivered, and loses nothing a person must still see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.field import actions
from clients.field.actions import Tap
from clients.runtime.enrol import renumber
from clients.runtime.ports import LinkState
from clients.warehouse import scans
from sync_core.errors import RefusedError
from sync_core.facts import DOCUMENT_CLOSED, DOCUMENT_OPENED, Fact, PlacedFact, carry
from tests.unit.clients.market import DEVICE, ROUTE, TERMINAL, TRIP, WALL, Bench, assigned, open_bench, opened, scope
from trade import kinds
from trade.piece_code import mint_piece_code

NEXT = "warehouse/main/2"
MINUTE_MS = 60_000


@pytest.fixture
def wall(tmp_path: Path) -> Iterator[Bench]:
    bench = open_bench(tmp_path, client="warehouse")
    bench.say(WALL, opened(**{f"n{TERMINAL}": "warehouse"}), assigned(1001))
    bench.sign_in()
    yield bench
    bench.node.close()


@pytest.fixture
def phone(tmp_path: Path) -> Iterator[Bench]:
    bench = open_bench(tmp_path, client="field")
    bench.say(ROUTE, opened(**{f"n{DEVICE}": "picker"}), assigned(1001))
    bench.say(TRIP, opened(**{f"n{DEVICE}": "runner"}))
    bench.sign_in()
    yield bench
    bench.node.close()


def successor(opening: int, **writers: str) -> Fact:
    body = {"writers": {number[1:]: role for number, role in writers.items()}, "opening": opening}
    return Fact(kind=DOCUMENT_OPENED, subjects=("document",), body=body)


def closed(name: str) -> Fact:
    return Fact(kind=DOCUMENT_CLOSED, subjects=("document",), body={"successor": name})


def acknowledge_all(bench: Bench, document: str) -> None:
    bench.replica.acknowledged(document, bench.replica.state_vector(document), whole=True, at_ms=1)


def test_a_terminal_works_on_in_the_old_document_until_the_next_is_wholly_here(wall: Bench) -> None:
    wall.say(f"device/{TERMINAL}/1", scope([NEXT], "warehouse").about(f"device:{TERMINAL}"))
    assert wall.node.documents("warehouse") == [WALL]
    wall.say(NEXT, successor(2, **{f"n{TERMINAL}": "warehouse"}))
    assert wall.node.documents("warehouse") == [WALL]
    assert wall.node.tidy() == []
    code = str(mint_piece_code(DEVICE, 1))
    scans.scan(wall.node, code, mode="door", trip="")
    assert wall.replica.state(f"piece:{code}", WALL) is not None
    wall.say(NEXT, assigned(1001))
    # What was written in the old one is delivered first, and is told in the next before anybody works there.
    wall.say(WALL, closed(NEXT))
    assert wall.node.documents("warehouse") == [NEXT]
    assert WALL in wall.node.wanted_documents()
    assert wall.node.tidy() == []
    acknowledge_all(wall, WALL)
    assert WALL not in wall.node.wanted_documents()
    assert wall.node.tidy() == [WALL]
    assert wall.replica.documents() == [f"device/{TERMINAL}/1", NEXT]
    assert wall.replica.state("task:T1001-1", NEXT) is not None


def end_the_day(wall: Bench) -> None:
    """The warehouse's document ends, and the next is wholly here."""
    wall.say(f"device/{TERMINAL}/1", scope([NEXT], "warehouse").about(f"device:{TERMINAL}"))
    wall.say(WALL, closed(NEXT))
    wall.say(NEXT, successor(2, **{f"n{TERMINAL}": "warehouse"}))
    wall.say(NEXT, assigned(1001))


def scan_late(wall: Bench) -> PlacedFact:
    """Scan a bag in before the end of the day has come here; returns the fact."""
    code = str(mint_piece_code(DEVICE, 1))
    scans.scan(wall.node, code, mode="door", trip="")
    return wall.replica.facts_about(WALL, f"piece:{code}")[-1]


def test_rel_i3_a_terminal_works_on_in_the_old_document_until_the_next_tells_what_it_did_there_after_the_close(
    wall: Bench,
) -> None:
    wall.say(WALL, closed(NEXT))
    late = scan_late(wall)
    end_the_day(wall)
    assert wall.node.documents("warehouse") == [WALL]
    acknowledge_all(wall, WALL)
    assert wall.node.documents("warehouse") == [WALL]
    assert wall.node.tidy() == []
    wall.say(NEXT, carry(late))
    assert wall.node.documents("warehouse") == [NEXT]
    assert wall.node.tidy() == [WALL]


def test_rel_i3_what_a_restored_server_lacks_of_an_ended_document_stays_until_it_has_it(wall: Bench) -> None:
    """The lost server had said there that a parcel left: whoever forgot that would let the restored one close its order."""
    end_the_day(wall)
    acknowledge_all(wall, WALL)
    wall.link.lacking.add(WALL)
    assert WALL in wall.node.wanted_documents()
    assert wall.node.tidy() == []
    wall.link.lacking.clear()
    assert WALL not in wall.node.wanted_documents()
    assert wall.node.tidy() == [WALL]


def test_whoever_has_worked_in_the_next_document_stays_there(wall: Bench) -> None:
    end_the_day(wall)
    scans.scan(wall.node, str(mint_piece_code(DEVICE, 2)), mode="door", trip="")
    assert wall.replica.state_vector(NEXT)[TERMINAL] == 1
    wall.node.act(WALL, [kinds.LabelReprinted(copy_no=2).about(f"piece:{mint_piece_code(DEVICE, 3)}")])
    assert wall.node.documents("warehouse") == [NEXT]


def hear_late_work(wall: Bench) -> PlacedFact:
    """The day ended here, and the hub has what was scanned after it, but does not tell it yet."""
    wall.say(WALL, closed(NEXT))
    late = scan_late(wall)
    end_the_day(wall)
    acknowledge_all(wall, WALL)
    return late


def test_work_that_waits_for_a_supervisor_keeps_nobody_from_todays_orders(wall: Bench) -> None:
    hear_late_work(wall)
    wall.clock.advance(11 * MINUTE_MS)
    # Without a link nothing can have come.
    assert wall.node.documents("warehouse") == [WALL]
    for since_ms, until_ms in ((0, 2), (3, 8), (20, 26)):
        assert wall.node.documents("warehouse") == [WALL]
        wall.link.heard_ms = (since_ms * MINUTE_MS, since_ms * MINUTE_MS)
        assert wall.node.documents("warehouse") == [WALL]
        wall.link.heard_ms = (since_ms * MINUTE_MS, until_ms * MINUTE_MS)
    assert wall.node.documents("warehouse") == [NEXT]


def test_a_terminal_that_never_rests_goes_on_when_what_waits_had_its_time_and_all_else_is_told(wall: Bench) -> None:
    hear_late_work(wall)
    for minute in (0, 4, 8):
        wall.link.heard_ms = (0, minute * MINUTE_MS)
        assert wall.node.documents("warehouse") == [WALL]
        code = str(mint_piece_code(DEVICE, 2 + minute))
        scans.scan(wall.node, code, mode="door", trip="")
        acknowledge_all(wall, WALL)
        # What is acknowledged is told in the next document a moment later.
        wall.link.heard_ms = (0, (minute + 4) * MINUTE_MS)
        assert wall.node.documents("warehouse") == [WALL]
        wall.say(NEXT, carry(wall.replica.facts_about(WALL, f"piece:{code}")[-1]))
    assert wall.node.documents("warehouse") == [NEXT]


def test_e18_a_link_that_comes_back_after_an_hour_and_a_clock_that_jumps_move_a_terminal_no_further_than_what_it_heard(
    wall: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = hear_late_work(wall)
    assert wall.node.documents("warehouse") == [WALL]
    wall.clock.advance(60 * MINUTE_MS)
    monkeypatch.setattr(wall.link, "state", lambda: LinkState(status="live", since_ms=None, last_ack_ms=None))
    assert wall.node.documents("warehouse") == [WALL]
    wall.link.heard_ms = (60 * MINUTE_MS, 61 * MINUTE_MS)
    assert wall.node.documents("warehouse") == [WALL]
    wall.say(NEXT, carry(late))
    assert wall.node.documents("warehouse") == [NEXT]


def test_rel_i3_what_the_next_document_tells_counts_when_it_is_folded(wall: Bench) -> None:
    late = hear_late_work(wall)
    wall.replica.fold_at_once_max = 0
    wall.say(NEXT, carry(late))
    assert wall.node.documents("warehouse") == [WALL]
    wall.replica.fold_at_once_max = 200
    assert not wall.replica.fold_some()
    assert wall.node.documents("warehouse") == [NEXT]


async def test_rel_i3_a_terminal_that_changes_its_key_waits_for_what_its_old_number_did(wall: Bench) -> None:
    late = hear_late_work(wall)
    wall.replica.ask_for_key()
    await renumber(wall.replica, wall.key, wall.door)
    fresh = wall.node.number
    assert fresh != TERMINAL
    wall.say(f"device/{fresh}/1", successor(0), scope([NEXT], "warehouse").about(f"device:{fresh}"))
    assert wall.node.documents("warehouse") == [WALL]
    wall.say(NEXT, carry(late))
    assert wall.node.documents("warehouse") == [NEXT]


def test_a_document_is_synced_until_its_close_has_come(wall: Bench) -> None:
    scan_late(wall)
    acknowledge_all(wall, WALL)
    wall.say(f"device/{TERMINAL}/1", scope([NEXT], "warehouse").about(f"device:{TERMINAL}"))
    wall.say(NEXT, successor(1, **{f"n{TERMINAL}": "warehouse"}))
    assert WALL in wall.node.wanted_documents()
    assert wall.node.documents("warehouse") == [WALL]
    # It had read the scan: the opening has what lives of it.
    wall.say(WALL, closed(NEXT))
    assert WALL not in wall.node.wanted_documents()
    assert wall.node.documents("warehouse") == [NEXT]


def test_an_opening_counts_when_it_is_folded(wall: Bench) -> None:
    wall.say(f"device/{TERMINAL}/1", scope([NEXT], "warehouse").about(f"device:{TERMINAL}"))
    wall.replica.fold_at_once_max = 0
    wall.say(NEXT, successor(1, **{f"n{TERMINAL}": "warehouse"}), *(assigned(order) for order in range(2001, 2020)))
    assert wall.node.documents("warehouse") == [WALL]
    wall.replica.fold_at_once_max = 200
    while wall.replica.fold_some():
        pass
    assert wall.node.documents("warehouse") == [NEXT]


def test_the_devices_own_document_names_its_successor_and_leaves(wall: Bench) -> None:
    old, new = f"device/{TERMINAL}/1", f"device/{TERMINAL}/2"
    wall.say(old, closed(new))
    assert {old, new} <= set(wall.node.wanted_documents())
    assert wall.node.tidy() == []
    wall.say(new, successor(2))
    assert wall.node.scope()["documents"] == [WALL]
    assert wall.node.tidy() == []
    wall.say(new, scope([WALL, "market/国大/1"], "warehouse").about(f"device:{TERMINAL}"))
    assert wall.node.scope()["documents"] == [WALL, "market/国大/1"]
    assert wall.node.tidy() == [old]
    assert old not in wall.node.wanted_documents()
    assert wall.node.scope()["documents"] == [WALL, "market/国大/1"]


def test_nothing_leaves_before_the_server_said_what_to_sync(tmp_path: Path) -> None:
    bench = open_bench(tmp_path, client="warehouse")
    bench.say(WALL, opened(**{f"n{TERMINAL}": "warehouse"}))
    bench.replica.conn.execute("DELETE FROM state WHERE kind = 'device'")
    assert bench.node.tidy() == []
    bench.node.close()


def test_a_route_leaves_with_what_was_noted_of_its_tasks_and_is_not_changed_any_more(phone: Bench) -> None:
    for look in phone.node.after_change:
        look()
    assert phone.count("task_receipt") == 1
    bought = actions.buy(phone.node, tasks=["T1001-1"], price_fen=None, means=None, tap=Tap())
    phone.say(f"device/{DEVICE}/1", scope([TRIP], "field").about(f"device:{DEVICE}"))
    assert phone.node.tidy() == []
    acknowledge_all(phone, ROUTE)
    assert phone.node.tidy() == [ROUTE]
    assert phone.count("task_receipt") == 0
    assert phone.count("print_job") == 1
    with pytest.raises(RefusedError) as refused:
        actions.undo(phone.node)
    assert refused.value.code == "document.gone"
    assert bought["pieces"]


async def test_i14_what_nobody_has_read_of_a_route_stays_until_somebody_has(phone: Bench) -> None:
    bought = actions.buy(phone.node, tasks=["T1001-1"], price_fen=None, means=None, tap=Tap())
    piece, fact = str(bought["pieces"][0]), str(bought["facts"][0])  # type: ignore[index]
    verdict = kinds.PurchaseVerdict(fact=fact, outcome="second", owner="platform", charged_fen=0)
    phone.say(ROUTE, verdict.about("task:T1001-1", f"piece:{piece}"))
    assert phone.node.needs_person() == 1
    phone.say(f"device/{DEVICE}/1", scope([TRIP], "field").about(f"device:{DEVICE}"))
    acknowledge_all(phone, ROUTE)
    assert phone.node.tidy() == [ROUTE]
    phone.clock.advance(5_000)
    assert phone.node.needs_person() == 1
    (kept,) = (await phone.get("/inbox"))["entries"]
    assert kept["calm"]
    assert "3F 315" in kept["words"]
    assert f"标签 {piece[-4:]}" in kept["words"]
    entry = f"{fact}/purchase.second"
    assert (await phone.post("/inbox/seen", entry=entry))["status"] == 200
    phone.clock.advance(5_000)
    assert phone.node.needs_person() == 0
    assert phone.count("inbox_kept") == 0
