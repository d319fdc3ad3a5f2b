"""Copies of files: of a phone, put back later on the same phone or onto another one, and of the server.

A copy holds what a backup holds: database and keys, never the install token. SQLite makes it, as `nahuo backup` does.
"""

from __future__ import annotations

import gc
import shutil
import sqlite3
from pathlib import Path
from typing import Final

from sync_core.replica import INSTALL_TOKEN

_ASIDE: Final = ("-wal", "-shm")


def keep_copy(database: Path, into: Path) -> Path:
    """Copy a database that is in use, and the keys beside it, into a fresh folder; return the folder."""
    if into.exists():
        shutil.rmtree(into)
    into.mkdir(parents=True)
    source, target = sqlite3.connect(database), sqlite3.connect(into / database.name)
    try:
        source.backup(target)
    finally:
        source.close()
        target.close()
    for key in sorted(database.parent.glob("*.key")):
        shutil.copy(key, into / key.name)
    return into


def owes(database: Path) -> bool:
    """True when a copied phone's database holds work that no hub had acknowledged."""
    source = sqlite3.connect(database)
    try:
        return (
            source.execute(
                "SELECT 1 FROM writer JOIN setting ON name = 'number' AND value = CAST(device AS TEXT) WHERE seq > acked LIMIT 1"
            ).fetchone()
            is not None
        )
    finally:
        source.close()


def put_back(copy: Path, folder: Path, database: str, *, token_stays: bool) -> None:
    """Overwrite a closed database and its keys with a copy; a phone that was wiped has lost its install token as well."""
    # A full disk's exceptions hold cursors until they are collected, and a cursor keeps its closed file open: its owner is dead.
    gc.collect()
    for suffix in _ASIDE:
        (folder / f"{database}{suffix}").unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(copy.iterdir()):
        shutil.copy(file, folder / file.name)
    if not token_stays:
        (folder / INSTALL_TOKEN).unlink(missing_ok=True)
