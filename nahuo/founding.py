"""`nahuo init`: make a server's folder with its key, time zone and first administrator; nothing of the web is loaded for it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from server.auth import PLATFORM, Accounts, WebRole, check_name, check_password
from server.installation import init_server
from sync_core.errors import RefusedError

CLIENTS_DATABASE: Final = "replica.db"


def init_folder(data: Path, *, admin: str, password: str, zone: str, database: str | None) -> None:
    """Make a server's folder with its key, time zone and first administrator; go on where an earlier try was broken off.

    Raises:
        RefusedError: the zone is unknown, the folder was made before or is a client's, or name or password cannot be so; nothing was made.
    """
    _check_zone(zone)
    check_name(admin.strip())
    check_password(password)
    if (data / CLIENTS_DATABASE).exists():
        raise RefusedError("init.folder", f"{data} is a client's folder: name another with --data")
    now_ms = time.time_ns() // 1_000_000
    server = init_server(data, database=database, now_ms=now_ms)
    try:
        accounts = Accounts(server.store.engine)
        accounts.create_tables()
        if accounts.are_there():
            raise RefusedError("init.exists", f"{data} was made before: nahuo server --data {data}")
        server.store.set_meta("zone", zone)
        accounts.add(
            name=admin, shown_name=admin, password=password, role=WebRole.ADMIN, organisation=PLATFORM, now_ms=now_ms
        )
    finally:
        server.store.close()


def _check_zone(zone: str) -> None:
    try:
        ZoneInfo(zone)
    except (ValueError, OSError) as error:
        raise RefusedError("init.zone", f"there is no time zone {zone}: write it like Asia/Shanghai") from error
