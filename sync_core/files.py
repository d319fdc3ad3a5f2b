"""Small files that must outlive a power cut: keys and tokens.

A file's bytes are safe once the file was synced, its name once its folder was: a renamed file whose folder was not may be gone after the
cut, and with it a device's key. So a file is written under another name, synced, renamed, and then the folder is synced.
"""

from __future__ import annotations

import os
from pathlib import Path


def write_durably(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Put `data` in place of what `path` holds: after a power cut one of both is there, whole; after the return it is `data`."""
    partial = path.with_suffix(".new")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder safe: what was made, renamed or removed there stays so after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
