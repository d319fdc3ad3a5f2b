"""Write each job as a file: for printing by another program, and for looking at the bytes.

A job is there whole or not at all: temporary name, fsync, rename, fsync of the folder. Names are 000001.prn and on;
numbering goes on after a restart. There is no way back, so profiles used with it have no status.
"""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

from printer.errors import DeviceError, PrinterReason


class FileTransport:
    """A folder of job files; implements `Transport`."""

    def __init__(self, folder: Path, *, suffix: str = ".prn") -> None:
        self._folder = folder
        self._suffix = suffix
        self._job = bytearray()

    async def open(self) -> None:
        """Make the folder."""
        self._job.clear()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DeviceError(PrinterReason.UNREACHABLE, str(error)) from error

    async def write(self, sent: bytes) -> None:
        """Collect the bytes of the job."""
        self._job += sent

    async def end_job(self) -> None:
        """Put the job on disk. Raises DeviceError: `no_space`, `unreachable`."""
        job = bytes(self._job)
        self._job.clear()
        if not job:
            return
        try:
            await asyncio.to_thread(self._store, job)
        except OSError as error:
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise DeviceError(PrinterReason.NO_SPACE if is_full else PrinterReason.UNREACHABLE, str(error)) from error

    async def read(self, timeout_s: float) -> bytes:  # noqa: ARG002 - a file never answers
        """Return nothing."""
        return b""

    async def close(self) -> None:
        """Drop a job that was not ended."""
        self._job.clear()

    def _store(self, job: bytes) -> None:
        stems = [path.stem for path in self._folder.glob(f"*{self._suffix}")]
        number = max((int(stem) for stem in stems if stem.isdecimal()), default=0) + 1
        part = self._folder / f".{number:06d}.part"
        with part.open("wb") as file:
            file.write(job)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._folder / f"{number:06d}{self._suffix}")
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
