"""Somebody wants another key for this device: work goes on, and the change happens once, whatever gets lost (REL-R10)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from clients.runtime.enrol import renumber
from sync_core.errors import RetryableError
from sync_core.facts import Json
from tests.unit.clients.market import DEVICE, Bench


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
