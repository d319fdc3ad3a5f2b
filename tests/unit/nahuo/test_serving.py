"""One folder, one server: the second process says so and stops, and nothing of the first is touched."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from nahuo.serving import LOCK, serve_folder
from server.installation import init_server
from sync_core.errors import AlreadyOpenError


def test_a_second_server_on_one_folder_is_told_and_stops(tmp_path: Path) -> None:
    init_server(tmp_path, now_ms=1_800_000_000_000).store.close()
    with open(tmp_path / LOCK, "wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(AlreadyOpenError, match="another process"):
            serve_folder(tmp_path, host="127.0.0.1", port=0, database=None)
