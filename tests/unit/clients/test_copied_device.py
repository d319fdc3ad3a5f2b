"""A restored or copied device mints nothing until the server gave it a number and a key of its own (design section 4)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from clients.runtime.enrol import renumber
from sync_core.errors import DiskError, RetryableError
from sync_core.facts import Json
from sync_core.identity import open_signer
from sync_core.replica import INSTALL_TOKEN
from tests.unit.clients.market import DEVICE, ROUTE, Bench


async def copied(bench: Bench) -> None:
    await bench.post("/buy", tasks="T1-1")
    (bench.node.folder / INSTALL_TOKEN).unlink()


async def test_a_copy_says_nothing_and_tells_the_person_what_to_do(field: Bench) -> None:
    await copied(field)
    answer = await field.post("/buy", tasks="T2-1")
    assert (answer["status"], answer["code"]) == (409, "replica.copy")
    assert "连一次网" in answer["zh"]
    assert field.count("print_job") == 1


async def test_a_copy_gets_a_new_number_and_a_new_key_and_says_its_work_again(field: Bench) -> None:
    await copied(field)
    old_key = field.key.public_key
    await renumber(field.replica, field.key, field.door)
    assert field.replica.number == 150 != DEVICE
    assert field.door.keys_shown == [field.key.public_key.hex()]
    assert field.key.public_key != old_key
    name = field.replica.setting("key_file")
    assert open_signer(field.node.folder / name).public_key == field.key.public_key
    task = field.replica.state("task:T1-1", ROUTE)
    assert task is not None
    waiting = field.replica.waiting()
    assert waiting.actions == 1


async def test_a_code_gives_a_copy_no_number_under_which_its_work_would_be_forgotten(field: Bench) -> None:
    await copied(field)
    answer = await field.post("/enrol", code="ABCDE23456")
    assert (answer["number"], field.replica.number, field.replica.is_copy) == (DEVICE, DEVICE, True)
    await renumber(field.replica, field.key, field.door)
    assert field.replica.waiting().actions == 1


async def test_without_the_server_a_copy_stays_what_it_was(field: Bench) -> None:
    await copied(field)
    old_key = field.key.public_key
    field.door.reachable = False
    with pytest.raises(RetryableError):
        await renumber(field.replica, field.key, field.door)
    assert (field.replica.number, field.key.public_key) == (DEVICE, old_key)


async def test_a_copy_shows_the_same_key_until_an_answer_arrives(field: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server may have allotted a number for it already; and a day in a basement must not leave a key file for each try."""
    await copied(field)
    answers = field.door.renumber

    async def lose_the_answer(body: Mapping[str, Json]) -> Mapping[str, Json]:
        await answers(body)
        raise RetryableError("the answer was lost")

    monkeypatch.setattr(field.door, "renumber", lose_the_answer)
    for _ in range(3):
        with pytest.raises(RetryableError):
            await renumber(field.replica, field.key, field.door)
    monkeypatch.setattr(field.door, "renumber", answers)
    await renumber(field.replica, field.key, field.door)
    assert set(field.door.keys_shown) == {field.key.public_key.hex()}
    assert len(list(field.node.folder.glob("device-*.key"))) == 1
    (field.node.folder / INSTALL_TOKEN).unlink()
    await renumber(field.replica, field.key, field.door)
    assert len(set(field.door.keys_shown)) == 2, "the next number has a key of its own"


async def test_a_kill_while_the_number_changes_leaves_number_and_key_together(
    field: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCutError(BaseException):
        pass

    await copied(field)
    old_key = field.key.public_key

    def cut(*_args: object) -> int:
        raise PowerCutError

    monkeypatch.setattr(field.replica, "renumber", cut)
    with pytest.raises(PowerCutError):
        await renumber(field.replica, field.key, field.door)
    assert (field.replica.number, field.key.public_key) == (DEVICE, old_key)
    assert field.replica.setting("key_file") is None


async def test_a_number_that_the_disk_did_not_take_leaves_the_key_whatever_can_be_read_of_it(
    field: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card gives nothing back either for a moment: what is said next must not bear a key that is not in force."""
    await copied(field)
    old_key = field.key.public_key

    def fails(*_args: object) -> int:
        raise DiskError("disk.error", "the disk failed")

    monkeypatch.setattr(field.replica, "renumber", fails)
    (field.node.folder / "device.key").unlink()
    with pytest.raises(DiskError):
        await renumber(field.replica, field.key, field.door)
    assert (field.replica.number, field.key.public_key) == (DEVICE, old_key)
