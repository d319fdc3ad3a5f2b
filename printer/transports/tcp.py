"""Reach a network printer by TCP, port 9100 by custom ("raw" or JetDirect printing)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from printer.errors import DeviceError, PrinterReason

DEFAULT_PORT: Final = 9100
_READ_BYTES: Final = 256


class TcpTransport:
    """A TCP link; implements `Transport`."""

    def __init__(
        self, host: str, port: int = DEFAULT_PORT, *, connect_timeout_s: float = 5.0, write_timeout_s: float = 20.0
    ) -> None:
        self._host = host
        self._port = port
        self._connect_timeout_s = connect_timeout_s
        self._write_timeout_s = write_timeout_s
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Connect."""
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        except (OSError, TimeoutError) as error:
            raise DeviceError(PrinterReason.UNREACHABLE, f"{self._host}:{self._port}: {error}") from error

    async def write(self, sent: bytes) -> None:
        """Send and wait until the socket has taken it; a printer that stops reading is busy."""
        if self._writer is None:
            raise DeviceError(PrinterReason.LINK_LOST, "not open")
        try:
            self._writer.write(sent)
            async with asyncio.timeout(self._write_timeout_s):
                await self._writer.drain()
        except TimeoutError as error:
            raise DeviceError(PrinterReason.BUSY, "the printer stopped taking bytes") from error
        except OSError as error:
            raise DeviceError(PrinterReason.LINK_LOST, str(error)) from error

    async def end_job(self) -> None:
        """Do nothing: TCP has no end of a job."""

    async def read(self, timeout_s: float) -> bytes:
        """Return the next bytes; an end of the stream is a lost link."""
        if self._reader is None:
            raise DeviceError(PrinterReason.LINK_LOST, "not open")
        try:
            async with asyncio.timeout(timeout_s):
                received = await self._reader.read(_READ_BYTES)
        except TimeoutError:
            return b""
        except OSError as error:
            raise DeviceError(PrinterReason.LINK_LOST, str(error)) from error
        if not received:
            raise DeviceError(PrinterReason.LINK_LOST, "the printer closed the connection")
        return received

    async def close(self) -> None:
        """Close the socket."""
        writer, self._writer, self._reader = self._writer, None, None
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(2):
                    await writer.wait_closed()
