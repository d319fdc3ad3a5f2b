"""A phone asks for its token over a real socket: it keeps the certificate, and its return is noted before it may deliver (REL-R10)."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from pathlib import Path

from clients.runtime.contact import Contact
from clients.runtime.device_key import DeviceKey
from clients.runtime.enrol import enrol
from clients.runtime.system import HttpDoor, SystemClock
from sync_core.replica import Replica
from tests.unit.server_pages.conftest import PASSWORDS, Browser, make_folder, served
from trade.projections import MARKET_DAY

DAY_MS = 86_400_000


def test_rel_r10_the_token_brings_a_certificate_and_a_late_return_is_noted_first(tmp_path: Path) -> None:
    make_folder(tmp_path / "server")
    with served(tmp_path / "server") as client:
        admin = Browser(client)
        admin.sign_in("admin", PASSWORDS["admin"])
        admin.done("/platform/people", id="wang", name="小王", pin="2468")
        admin.done("/platform/settings", offline_days="3", offline_actions="50", offline_yuan="800.50")
        shown = admin.get("/platform/couriers").text
        assert 'name="offline_days" inputmode="numeric" value="3"' in shown
        assert 'name="offline_yuan" inputmode="decimal" value="800.50"' in shown
        page = admin.post("/platform/devices/codes", "/me", role="picker", name="phone", people="wang")
        code = re.search(r'class="code mono">([A-Z0-9 ]+)<', page.text)
        assert code is not None
        asyncio.run(_play(tmp_path, str(client.base_url), code[1]))


async def _play(tmp_path: Path, url: str, code: str) -> None:
    folder = tmp_path / "phone"
    await asyncio.to_thread(folder.mkdir)
    replica = Replica.open(folder / "replica.db", MARKET_DAY, synchronous="OFF")
    key = DeviceKey(folder, replica)
    door = HttpDoor(url, key, replica)
    contact = Contact(replica, SystemClock())
    door.on_certificate = contact.take
    try:
        number = await enrol(replica, key, door, code)
        await door.token()
        kept = replica.setting("certificate_now")
        assert (kept["lasts_ms"], kept["actions"], kept["fen"]) == (3 * DAY_MS, 50, 80_050)
        with sqlite3.connect(tmp_path / "server" / "nahuo.db", timeout=30) as conn:
            assert conn.execute("SELECT * FROM absence").fetchall() == [], "it never was away"
            conn.execute("UPDATE device SET seen_ms = seen_ms - ?", (3 * DAY_MS + 1,))
        await door.token()
        seen = "SELECT device, beyond, back_ms - from_ms >= ? FROM absence"
        assert conn.execute(seen, (3 * DAY_MS,)).fetchall() == [(number, 1, 1)]
        conn.close()
    finally:
        await door.close()
        replica.close()
