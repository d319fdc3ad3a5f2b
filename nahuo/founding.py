"""`nahuo init`: make a server's folder with its key, time zone and first administrator; nothing of the web is loaded for it."""

from __future__ import annotations

import time
from pathlib import Path
from zoneinfo import ZoneInfo

from server.auth import PLATFORM, Accounts, WebRole
from server.installation import KEY, init_server
from sync_core.errors import RefusedError


def init_folder(data: Path, *, admin: str, password: str, zone: str, database: str | None) -> None:
    """Make a server's folder with its key, time zone and first administrator.

    Raises:
        RefusedError: the zone is unknown, the folder was made before, or name or password cannot be so.
    """
    _check_zone(zone)
    if (data / KEY).exists():
        raise RefusedError("init.exists", f"{data} was made before: nahuo server --data {data}")
    now_ms = time.time_ns() // 1_000_000
    server = init_server(data, database=database, zone=zone, now_ms=now_ms)
    try:
        accounts = Accounts(server.store.engine)
        accounts.create_tables()
        accounts.add(
            name=admin, shown_name=admin, password=password, role=WebRole.ADMIN, organisation=PLATFORM, now_ms=now_ms
        )
    except BaseException:
        # Half an installation would refuse the next try; nothing was said under this key yet.
        (data / KEY).unlink(missing_ok=True)
        raise
    finally:
        server.store.close()


def _check_zone(zone: str) -> None:
    try:
        ZoneInfo(zone)
    except (ValueError, OSError) as error:
        raise RefusedError("init.zone", f"there is no time zone {zone}: write it like Asia/Shanghai") from error
