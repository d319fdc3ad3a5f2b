"""Reach a pocket printer by Bluetooth LE through bleak. The only module that imports bleak's client and scanner.

What goes wrong in the field, and what is done about it here:
- The chunk size bleak offers can exceed what an attribute may hold, and full chunks then vanish without an error: a chunk
  is never above the profile's cap nor 244 bytes.
- Unacknowledged writes overrun small buffers: chunks are acknowledged where the printer offers it, else paced; the
  last chunk of every write is acknowledged whenever possible, so a PRINT line is known to have arrived.
- bleak puts no limit on a write in progress, and calls a lost link "services not discovered": every call has our own
  timeout, and the disconnect event is looked at before any error text.
- A printer that advertises once is missed by a filter that registers after the scan began: the callback goes into the
  scanner's constructor.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Final

from bleak import BleakClient, BleakScanner
from bleak.args.bluez import BlueZClientArgs, BlueZScannerArgs
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.exc import BleakBluetoothNotAvailableError, BleakError

from printer.errors import DeviceError, PrinterReason
from printer.profiles import PrinterProfile, WriteMode
from printer.transports.gatt import SerialLink, choose_link

CHUNK_BYTES_MAX: Final = 244  # fits one link-layer packet, and stays clear of the 512-byte limit of an attribute


class BleTransport:
    """A BLE link to the printer with `address`, or the first whose name starts with `name_prefix`.

    Implements `Transport`. `client_backend` and `scanner_backend` replace bleak's own for tests and other platforms.
    """

    def __init__(
        self,
        profile: PrinterProfile,
        *,
        address: str | None = None,
        name_prefix: str | None = None,
        adapter: str | None = None,
        scan_timeout_s: float = 10.0,
        connect_timeout_s: float = 15.0,
        write_timeout_s: float = 10.0,
        client_backend: type[BaseBleakClient] | None = None,
        scanner_backend: type[BaseBleakScanner] | None = None,
    ) -> None:
        if (address is None) == (name_prefix is None):
            raise ValueError("a BLE printer is named by its address or by the beginning of its name")
        self._profile = profile
        self._address = address
        self._name_prefix = name_prefix
        self._adapter = adapter
        self._scan_timeout_s = scan_timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._write_timeout_s = write_timeout_s
        self._client_backend = client_backend
        self._scanner_backend = scanner_backend
        self._client: BleakClient | None = None
        self._link: SerialLink | None = None
        self._lost = asyncio.Event()
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()

    async def open(self) -> None:
        """Scan, connect, choose the serial service, listen."""
        await self.close()
        device = await self._find()
        lost = self._lost = asyncio.Event()
        self._answers = asyncio.Queue()
        client = BleakClient(
            device,
            lambda _: lost.set(),
            timeout=self._connect_timeout_s,
            bluez=BlueZClientArgs(adapter=self._adapter) if self._adapter else {},
            backend=self._client_backend,
        )
        self._client = client
        try:
            await self._guard(
                self._connect(client),
                timeout_s=self._connect_timeout_s,
                late=PrinterReason.UNREACHABLE,
                broken=PrinterReason.UNREACHABLE,
            )
        except DeviceError:
            await self.close()
            raise
        link = choose_link(client.services, self._profile.ble_service)
        if link is None:
            await self.close()
            raise DeviceError(PrinterReason.WRONG_LANGUAGE, f"{device.address} has nothing to write to")
        self._link = link

    async def write(self, sent: bytes) -> None:
        """Send in chunks; the last one acknowledged where the printer offers it."""
        client, link = self._client, self._link
        if client is None or link is None:
            raise DeviceError(PrinterReason.LINK_LOST, "not open")
        size = min(self._profile.chunk_bytes_max, link.write.max_write_without_response_size, CHUNK_BYTES_MAX)
        can_answer = "write" in link.write.properties
        must_answer = "write-without-response" not in link.write.properties
        is_careful = self._profile.write_mode is WriteMode.ACKNOWLEDGED
        for start in range(0, len(sent), size):
            is_last = start + size >= len(sent)
            with_answer = must_answer or (can_answer and (is_careful or is_last))
            await self._guard(
                client.write_gatt_char(link.write, sent[start : start + size], response=with_answer),
                timeout_s=self._write_timeout_s,
                late=PrinterReason.BUSY,
                broken=PrinterReason.LINK_LOST,
            )
            if not with_answer:
                await asyncio.sleep(self._profile.pace_ms / 1000)

    async def end_job(self) -> None:
        """Do nothing: the last chunk has been acknowledged, or nothing ever is."""

    async def read(self, timeout_s: float) -> bytes:
        """Return the next notification."""
        if self._client is None:
            raise DeviceError(PrinterReason.LINK_LOST, "not open")
        if not self._answers.empty():
            return self._answers.get_nowait()
        heard = asyncio.ensure_future(self._answers.get())
        lost = asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait((heard, lost), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if heard.done():
                return heard.result()
            self._raise_if_lost()
            return b""
        finally:
            for waiting in (heard, lost):
                waiting.cancel()

    async def close(self) -> None:
        """Disconnect."""
        client, self._client, self._link = self._client, None, None
        if client is not None:
            with contextlib.suppress(BleakError, OSError, EOFError):
                async with asyncio.timeout(5):
                    await client.disconnect()

    async def _connect(self, client: BleakClient) -> None:
        await client.connect()
        link = choose_link(client.services, self._profile.ble_service)
        if link is not None and link.notify is not None:
            await client.start_notify(link.notify, self._hear)

    async def _find(self) -> BLEDevice:
        """Return the printer once it is heard; its address may be in any case."""
        found: asyncio.Future[BLEDevice] = asyncio.get_running_loop().create_future()

        def see(device: BLEDevice, seen: AdvertisementData) -> None:
            if not found.done() and self._is_ours(device, seen):
                found.set_result(device)

        try:
            scanner = BleakScanner(
                see,
                bluez=BlueZScannerArgs(adapter=self._adapter) if self._adapter else {},
                backend=self._scanner_backend,
            )
            async with asyncio.timeout(self._scan_timeout_s), scanner:
                return await found
        except TimeoutError as error:
            name = self._address or f"{self._name_prefix}…"
            raise DeviceError(PrinterReason.UNREACHABLE, f"{name} was not heard") from error
        except (BleakBluetoothNotAvailableError, BleakError, OSError, EOFError) as error:
            raise DeviceError(PrinterReason.NO_BLUETOOTH, str(error)) from error

    def _is_ours(self, device: BLEDevice, seen: AdvertisementData) -> bool:
        if self._address is not None:
            return device.address.casefold() == self._address.casefold()
        name = seen.local_name or device.name or ""
        return self._name_prefix is not None and name.startswith(self._name_prefix)

    def _hear(self, _: BleakGATTCharacteristic, answer: bytearray) -> None:
        self._answers.put_nowait(bytes(answer))

    def _raise_if_lost(self) -> None:
        if self._lost.is_set():
            raise DeviceError(PrinterReason.LINK_LOST, "the printer disconnected")

    async def _guard(
        self, working: Awaitable[None], *, timeout_s: float, late: PrinterReason, broken: PrinterReason
    ) -> None:
        """Await one bleak call with our own limit. Raises DeviceError: `late`, `broken`, or `link_lost` at once.

        A backend may also cancel its own pending call when the link breaks; in a task of its own that is told apart
        from a cancellation of us.
        """
        called = asyncio.ensure_future(working)
        lost = asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait((called, lost), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            self._raise_if_lost()
            if not called.done():
                raise DeviceError(late, f"no answer in {timeout_s:g} s")
            if called.cancelled():
                raise DeviceError(broken, "given up by the Bluetooth stack")
            called.result()
        except (BleakError, OSError, EOFError) as error:
            raise DeviceError(broken, str(error)) from error
        finally:
            for waiting in (called, lost):
                waiting.cancel()
            # Collect what they still raise: nobody else will, and a stack that ignores cancelling must not hold us.
            called.add_done_callback(_forget)


def _forget(done: asyncio.Future[None]) -> None:
    if not done.cancelled():
        done.exception()
