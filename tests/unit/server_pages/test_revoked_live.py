"""A device that is revoked while its link is up falls silent at once: others hear what comes next, it does not."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from clients.runtime.device_key import DeviceKey
from clients.runtime.enrol import enrol
from clients.runtime.system import HttpDoor
from sync_core.link import Link
from sync_core.replica import Replica
from tests.unit.server_pages.conftest import PASSWORDS, Browser, make_folder, served
from trade.projections import MARKET_DAY

MARKET = "market/国大/1"


def test_a_revoked_device_that_is_connected_is_sent_nothing_more(tmp_path: Path) -> None:
    make_folder(tmp_path / "server")
    with served(tmp_path / "server") as client:
        admin = Browser(client)
        admin.sign_in("admin", PASSWORDS["admin"])
        admin.done("/platform/people", id="wang", name="小王", pin="2468")
        admin.done("/platform/stalls", market="国大", floor="3F", stall="315")
        asyncio.run(_play(tmp_path, client, admin))


async def _play(tmp_path: Path, client: httpx.Client, admin: Browser) -> None:
    url = str(client.base_url)
    revoked, other = await _phone(tmp_path / "a", url, admin), await _phone(tmp_path / "b", url, admin)
    links = [asyncio.create_task(link.run()) for _, link, _ in (revoked, other)]
    try:
        for replica, _, _ in (revoked, other):
            await _until(lambda r=replica: bool(r.state_vector(MARKET)))  # type: ignore[misc]
        before = revoked[0].state_vector(MARKET)
        assert before == other[0].state_vector(MARKET)
        await asyncio.to_thread(admin.done, f"/platform/devices/{revoked[0].number}/revoke", "/me")
        for stall in ("316", "317"):
            await asyncio.to_thread(admin.done, "/platform/stalls", None, market="国大", floor="3F", stall=stall)
        await _until(lambda: other[0].state_vector(MARKET)[0] >= before[0] + 2)
        assert revoked[0].state_vector(MARKET) == before
    finally:
        for task in links:
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)
        for replica, _, door in (revoked, other):
            await door.close()
            replica.close()


async def _phone(folder: Path, url: str, admin: Browser) -> tuple[Replica, Link, HttpDoor]:
    page = await asyncio.to_thread(
        admin.post, "/platform/devices/codes", "/me", role="picker", name=folder.name, people="wang"
    )
    code = re.search(r'class="code mono">([A-Z0-9 ]+)<', page.text)
    assert code is not None, page.text[:500]
    await asyncio.to_thread(folder.mkdir)
    replica = Replica.open(folder / "replica.db", MARKET_DAY, synchronous="OFF")
    key = DeviceKey(folder, replica)
    door = HttpDoor(url, key, replica)
    number = await enrol(replica, key, door, code[1])

    async def renumber() -> None:
        raise AssertionError("it is no copy")

    documents = [f"device/{number}/1", MARKET]
    link = Link(replica, door.websocket_url, token=door.token, documents=lambda: documents, renumber=renumber, schema=2)
    return replica, link, door


async def _until(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not ready():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.02)
