"""The way bytes reach a printer: one small port, so that the spool does not know radio from wire.

All times are seconds here because asyncio's are. Every failure is a `DeviceError` with a reason; no transport lets an
OSError or a library's own exception out.
"""

from __future__ import annotations

from typing import Protocol


class Transport(Protocol):
    """One link to one printer."""

    async def open(self) -> None:
        """Connect. Raises DeviceError: `unreachable`, `no_bluetooth`, `busy`."""
        ...

    async def write(self, sent: bytes) -> None:
        """Send all bytes; when it returns the link has taken them, not yet the paper. Raises DeviceError: `link_lost`,
        `busy` (the printer does not take more)."""
        ...

    async def end_job(self) -> None:
        """Make what was written since the last call one whole job, as durable as this way can. Raises DeviceError."""
        ...

    async def read(self, timeout_s: float) -> bytes:
        """Return what the printer said, b"" when it said nothing in time. Raises DeviceError: `link_lost`."""
        ...

    async def close(self) -> None:
        """Let the printer go; never raises, may be called twice."""
        ...
