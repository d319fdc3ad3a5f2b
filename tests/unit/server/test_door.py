"""The door of the sync endpoint: how often one device may come."""

from __future__ import annotations

import asyncio

import pytest

from server.sync_endpoint import Door
from sync_core import limits


async def test_a_device_that_connects_too_often_waits_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONNECTS_BURST", 2)
    monkeypatch.setattr(limits, "CONNECTS_PER_SECOND", 100)
    door = Door()
    async with asyncio.timeout(20):
        assert [await door.wait_turn(101) for _ in range(5)] == [True] * 5
    assert not door._waiting


async def test_only_so_many_wait_and_nobody_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONNECTS_BURST", 2)
    monkeypatch.setattr(limits, "CONNECTS_WAITING_MAX", 1)
    door = Door()
    assert await door.wait_turn(101)
    assert await door.wait_turn(101)
    third = asyncio.create_task(door.wait_turn(101))
    await asyncio.sleep(0)
    assert not await door.wait_turn(101)
    assert await door.wait_turn(102)
    assert not third.done()
    third.cancel()
    await asyncio.gather(third, return_exceptions=True)
    assert not door._waiting
