"""What SQLite and the system say about a disk, as errors of our tree: full, not taking or giving bytes, read-only, or a damaged file.

A damaged file is set aside and repaired; an error of the disk is not damage: the same file may be read a moment later, so nothing is moved.
"""

from __future__ import annotations

import errno
import sqlite3

from sync_core.errors import CorruptError, DiskError, DiskFullError, NahuoError

FULL_WORDS = "the disk is full: nothing was recorded. Free some space, then do it again"
ERROR_WORDS = "the disk did not take or give what was asked: nothing was recorded. Try again; if it stays so, change the disk or the device"
READ_ONLY_WORDS = "the disk is read-only: nothing was recorded. Make the data folder writable, then do it again"
CORRUPT_WORDS = (
    "the file is damaged: it is set aside and what was not sent yet is saved; start the program again if it has stopped"
)

_PRIMARY = 0xFF
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def plain_error(error: sqlite3.Error | OSError) -> NahuoError | None:
    """Return the error of our tree that says what the disk did; None when it is no fault of a disk (a busy file, a bug of ours)."""
    if isinstance(error, OSError):
        if error.errno in _FULL:
            return DiskFullError(FULL_WORDS)
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            return DiskError("disk.read_only", READ_ONLY_WORDS)
        return DiskError("disk.error", ERROR_WORDS) if error.errno == errno.EIO else None
    code = getattr(error, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_IOERR_SHMSIZE:
        # The file beside the journal cannot grow: so a full disk looks to whoever opens the database on it.
        return DiskFullError(FULL_WORDS)
    match code & _PRIMARY:
        case sqlite3.SQLITE_FULL:
            return DiskFullError(FULL_WORDS)
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PROTOCOL:
            return DiskError("disk.error", ERROR_WORDS)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return DiskError("disk.read_only", READ_ONLY_WORDS)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return CorruptError(CORRUPT_WORDS)
        case _:
            return None
