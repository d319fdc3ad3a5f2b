"""Somebody wants another key for this device: work goes on, and the change happens once, whatever gets lost (REL-R10)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from clients.runtime.device_key import DeviceKey
from clients.runtime.enrol import renumber
from clients.runtime.repair import DAMAGE, keep_twin, open_or_repair, restore_key
from sync_core.errors import DiskFullError, RetryableError
from sync_core.facts import DOCUMENT_WRITER, Fact, Json
from sync_core.files import write_durably
from sync_core.replica import NEXT_TOKEN, Replica
from sync_core.twin import TWIN
from tests.unit.clients.market import DEVICE, ROUTE, TERMINAL, TRIP, WALL, Bench, scope
from tests.unit.clients.test_buying import state_of
from tests.unit.clients.test_warehouse import code, double
from trade import kinds
from trade.projections import MARKET_DAY

FRESH = 150


async def test_work_goes_on_under_the_old_key_until_the_server_answers(field: Bench) -> None:
    await field.post("/buy", tasks="T1-1")
    assert (await field.post("/settings/new-key"))["new_key"] == "asked"
    assert field.replica.wants_key
    old_key = field.key.public_key
    field.door.reachable = False
    with pytest.raises(RetryableError):
        await renumber(field.replica, field.key, field.door)
    assert (await field.post("/buy", tasks="T2-1"))["ok"]
    assert (field.replica.number, field.key.public_key) == (DEVICE, old_key)
    field.door.reachable = True
    await renumber(field.replica, field.key, field.door)
    assert (field.replica.number, field.replica.wants_key) == (150, False)
    assert field.key.public_key != old_key
    assert field.replica.waiting().actions == 2


async def test_the_same_key_is_asked_for_until_an_answer_arrives(field: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await field.post("/settings/new-key")
    asked: list[Mapping[str, Json]] = []
    answers = field.door.renumber

    async def lose_the_answer(body: Mapping[str, Json]) -> Mapping[str, Json]:
        asked.append(body)
        await answers(body)
        raise RetryableError("the answer was lost")

    monkeypatch.setattr(field.door, "renumber", lose_the_answer)
    for _ in range(2):
        with pytest.raises(RetryableError):
            await renumber(field.replica, field.key, field.door)
    monkeypatch.setattr(field.door, "renumber", answers)
    await renumber(field.replica, field.key, field.door)
    assert [body["rotated"] for body in asked] == [True, True]
    assert len(set(field.door.keys_shown)) == 1
    assert field.door.keys_shown[0] == field.key.public_key.hex()


async def test_a_copy_that_wants_a_key_asks_as_the_copy_it_is(field: Bench) -> None:
    await field.post("/settings/new-key")
    (field.node.folder / "install.token").unlink()
    await renumber(field.replica, field.key, field.door)
    assert (field.replica.number, field.replica.wants_key) == (150, False)


async def test_a_death_between_the_new_token_and_the_new_number_makes_no_copy_of_a_device_that_is_no_more(
    field: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCutError(BaseException):
        pass

    asked: list[Mapping[str, Json]] = []
    answers, tokens = field.door.renumber, []

    async def note(body: Mapping[str, Json]) -> Mapping[str, Json]:
        asked.append(body)
        return await answers(body)

    def write(path: Path, data: bytes) -> None:
        write_durably(path, data)
        tokens.append(data)
        raise PowerCutError

    field.replica.ask_for_key()
    monkeypatch.setattr(field.door, "renumber", note)
    with monkeypatch.context() as cut, pytest.raises(PowerCutError):
        cut.setattr("sync_core.replica.write_durably", write)
        await renumber(field.replica, field.key, field.door)
    assert (field.replica.number, len(tokens)) == (DEVICE, 1)
    assert not field.replica.is_copy
    await renumber(field.replica, field.key, field.door)
    assert [body.get("rotated") for body in asked] == [True, True]
    assert asked[0]["public_key"] == asked[1]["public_key"]
    assert (field.replica.number, field.replica.is_copy) == (FRESH, False)
    # A backup of it has no token, whatever it holds.
    (field.node.folder / "install.token").unlink()
    assert field.replica.is_copy


@pytest.mark.parametrize("dies", [False, True])
async def test_a_database_copied_while_a_key_was_asked_for_is_a_copy_when_it_is_put_back_after_the_answer(
    field: Bench, monkeypatch: pytest.MonkeyPatch, dies: bool
) -> None:
    answers = field.door.renumber

    async def lose_the_answer(body: Mapping[str, Json]) -> Mapping[str, Json]:
        await answers(body)
        raise RetryableError("the answer was lost")

    field.replica.ask_for_key()
    with monkeypatch.context() as lost, pytest.raises(RetryableError):
        lost.setattr(field.door, "renumber", lose_the_answer)
        await renumber(field.replica, field.key, field.door)
    path = field.replica.path
    field.replica.conn.execute("VACUUM INTO ?", (str(path.with_suffix(".copy")),))
    with monkeypatch.context() as dead:
        if dies:  # Right behind the commit of the new number: the next start does what was left.
            dead.setattr(Replica, "turn_token", lambda _: None)
        await renumber(field.replica, field.key, field.door)
    field.replica.close()
    again = Replica.open(path, MARKET_DAY)
    assert (again.number, again.is_copy) == (FRESH, False)
    again.close()
    for beside in path.parent.glob(f"{path.name}-*"):
        beside.unlink()
    path.with_suffix(".copy").replace(path)
    put_back = Replica.open(path, MARKET_DAY)
    assert (put_back.number, put_back.is_copy) == (DEVICE, True)
    put_back.close()


async def test_a_turn_of_the_token_that_the_disk_took_by_half_makes_no_copy_of_a_device_that_wants_another_key(
    field: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Replica.set_setting

    def full(self: Replica, name: str, value: Any) -> None:
        if name == NEXT_TOKEN and value is None:
            raise DiskFullError("the disk is full")
        real(self, name, value)

    field.replica.ask_for_key()
    with monkeypatch.context() as disk:
        disk.setattr(Replica, "set_setting", full)
        await renumber(field.replica, field.key, field.door)
    assert (field.replica.number, field.replica.is_copy) == (FRESH, False)
    field.replica.ask_for_key()
    assert not field.replica.is_copy
    field.replica.close()
    again = Replica.open(field.replica.path, MARKET_DAY)
    assert (again.is_copy, again.setting(NEXT_TOKEN), again.wants_key) == (False, None, True)
    again.close()


async def test_a_death_between_the_new_number_and_the_twin_of_it_is_no_damage(field: Bench) -> None:
    path = field.replica.path
    keep_twin(field.replica, path.parent)
    await field.post("/buy", tasks="T1-1")
    before = (path.parent / TWIN).read_bytes()
    field.replica.ask_for_key()
    await renumber(field.replica, field.key, field.door)
    field.replica.close()
    (path.parent / TWIN).write_bytes(before)
    again = open_or_repair(path, MARKET_DAY, synchronous="OFF", stamp="t", now_ms=1)
    restore_key(path.parent, again)
    assert (again.number, again.setting(DAMAGE), again.waiting().actions) == (FRESH, None, 1)
    assert DeviceKey(path.parent, again).public_key == field.key.public_key
    again.close()


async def take_new_key(bench: Bench, *documents: str, admitted: bool = True) -> None:
    """All that was said is acknowledged, and the device is somebody else by number; `admitted`: the documents tell of it."""
    old = bench.replica.number
    assert old is not None
    for document in documents:
        bench.replica.acknowledged(document, bench.replica.state_vector(document), whole=True, at_ms=1)
    bench.replica.ask_for_key()
    await renumber(bench.replica, bench.key, bench.door)
    role = "picker" if ROUTE in documents else "warehouse"
    for document in documents if admitted else ():
        body: dict[str, Json] = {"device": FRESH, "role": role, "continues": [old]}
        bench.say(document, Fact(kind=DOCUMENT_WRITER, subjects=("document",), body=body))
    own = f"device/{FRESH}/1"
    opened = Fact(kind="document.opened", subjects=("document",), body={"writers": {}})
    client = "field" if role == "picker" else "warehouse"
    bench.say(own, opened, scope(list(documents), client).about(f"device:{FRESH}"))


async def test_rel_i3_what_is_done_before_the_server_let_the_new_number_speak_counts_here_at_once(field: Bench) -> None:
    """The number is here, and the connection broke before the route told of it: a second tap must not buy again."""
    await take_new_key(field, ROUTE, TRIP, admitted=False)
    bought = await field.post("/buy", tasks="T1-1")
    assert bought["facts"] == [f"{FRESH}.1.0"]
    assert state_of(field, "T1-1")["status"] == "bought"
    again = await field.post("/buy", tasks="T1-1")
    assert (again["status"], again["code"]) == (409, "task.bought")
    before = state_of(field, "T1-1")
    body: dict[str, Json] = {"device": FRESH, "role": "picker", "continues": [DEVICE]}
    field.say(ROUTE, Fact(kind=DOCUMENT_WRITER, subjects=("document",), body=body))
    assert state_of(field, "T1-1") == before
    # In a document where the number before it had no say, it has none.
    market = "market/国大/1"
    field.say(market, Fact(kind="document.opened", subjects=("document",), body={"writers": {"102": "picker"}}))
    fact = kinds.LabelReprinted(copy_no=2).about("piece:000070000015")
    field.node.act(market, [fact])
    assert [placed.role for placed in field.replica.facts_about(market, "piece:000070000015")] == [""]


async def test_d9_a_recall_that_another_number_saw_is_told_by_this_one_as_well(field: Bench) -> None:
    """A copy speaks for its own hands only, and so does the number before."""
    field.say(ROUTE, kinds.TaskRecalled(reason="closed").about("task:T1-1"))
    for look in field.node.after_change * 2:
        look()
    assert field.facts() == 1
    await take_new_key(field, ROUTE, TRIP)
    assert state_of(field, "T1-1")["recall_seen"]
    for look in field.node.after_change * 2:
        look()
    assert (field.node.number, field.facts()) == (FRESH, 1)


async def test_r46_a_purchase_and_an_answer_of_the_old_number_can_be_taken_back(field: Bench) -> None:
    await field.post("/buy", tasks="T1-1")
    await field.post("/answer", tasks="T2-1", answer="style_gone")
    await take_new_key(field, ROUTE, TRIP)
    assert (await field.post("/undo"))["undone"] == "answer"
    assert (await field.post("/undo", task="T1-1"))["undone"] == "buy"
    assert [state_of(field, task)["status"] for task in ("T1-1", "T2-1")] == ["wanted", "wanted"]


async def test_i14_what_the_old_number_did_and_did_not_win_is_told(field: Bench) -> None:
    answer = await field.post("/buy", tasks="T1-1")
    await take_new_key(field, ROUTE, TRIP)
    verdict = kinds.PurchaseVerdict(fact=answer["facts"][0], outcome="second", owner="platform", charged_fen=0)
    field.say(ROUTE, verdict.about("task:T1-1", f"piece:{answer['pieces'][0]}"))
    assert [entry["about"] for entry in (await field.get("/inbox"))["entries"]] == ["T1-1"]
    assert (await field.get("/pulse"))["needs_person"] == 1


async def test_d16_a_terminal_packs_and_ships_what_was_given_to_its_old_number(warehouse: Bench) -> None:
    await double(warehouse)
    assert (await warehouse.post("/scan", code=code(21)))["outcome"] == "in_cell"
    await take_new_key(warehouse, WALL)
    assert warehouse.node.number == FRESH != TERMINAL
    assert (await warehouse.post("/scan", code=code(22)))["outcome"] == "complete_packed"
    assert (await warehouse.get("/ship"))["ready"][0]["stop"] is None
    assert (await warehouse.post("/scan", code="YT880000000002"))["outcome"] == "shipped"
