"""A Bluetooth printer and a phone's radio in memory: two emulated controllers on one link, real HCI, L2CAP and ATT.

`RadioClient` and `RadioScanner` are bleak backends over the phone's controller, so `BleTransport` runs unchanged through
bleak. The printer is a GATT server of service 18F0 whose received bytes go into the virtual TSPL printer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from bleak.args import SizedBuffer
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient, NotifyCallback
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakError
from bleak.uuids import normalize_uuid_str
from bumble.controller import Controller
from bumble.core import AdvertisingData
from bumble.device import Advertisement, Connection, Device, Peer
from bumble.gatt import Characteristic, CharacteristicValue, Service
from bumble.hci import Address
from bumble.host import Host
from bumble.link import LocalLink
from bumble.transport.common import AsyncPipeSink

from printer.virtual.page import Printed
from printer.virtual.tspl import VirtualTspl

PRINTER_ADDRESS = "DD:0D:30:01:02:03"
PHONE_ADDRESS = "C4:F2:17:1A:1D:BB"


class Radio:
    """The air between a phone and a printer, and the printer itself."""

    def __init__(self, *, mtu: int, offers_answer: bool) -> None:
        self.link = LocalLink()  # type: ignore[no-untyped-call]
        self.papers: list[Printed] = []
        self.parser = VirtualTspl(self.papers.append)
        self.chunks: list[bytes] = []
        self.cut_after_bytes: int | None = None
        self._phone_connection: Connection | None = None
        properties = Characteristic.Properties.WRITE_WITHOUT_RESPONSE
        if offers_answer:
            properties |= Characteristic.Properties.WRITE
        self._notify: Characteristic[bytes] = Characteristic(
            "2AF0", Characteristic.Properties.NOTIFY, Characteristic.Permissions(0), b""
        )
        write: Characteristic[bytes] = Characteristic(
            "2AF1", properties, Characteristic.WRITEABLE, CharacteristicValue(write=self._receive)
        )
        self.printer = self._device("Printer", PRINTER_ADDRESS)
        self.printer.add_service(Service("18F0", [write, self._notify]))
        self.printer.gatt_server.max_mtu = mtu
        self.phone = self._device("Phone", PHONE_ADDRESS)

    async def start(self) -> None:
        """Power both on; the printer advertises, also again after a lost link."""
        await self.printer.power_on()
        await self.phone.power_on()
        advertised = AdvertisingData([(AdvertisingData.Type.COMPLETE_LOCAL_NAME, b"Nahuo-Test-58")])
        self.printer.on("connection", self._connected)
        await self.printer.start_advertising(
            advertising_data=bytes(advertised),
            auto_restart=True,
            advertising_interval_min=20,
            advertising_interval_max=20,
        )

    def _device(self, name: str, address: str) -> Device:
        controller = Controller(name, link=self.link, public_address=address)
        host = Host(controller, AsyncPipeSink(controller))
        controller.set_packet_sink(host)
        return Device(name=name, address=Address(address), host=host)

    def _connected(self, connection: Connection) -> None:
        self._phone_connection = connection

    async def _receive(self, connection: Connection, value: bytes) -> None:
        self.chunks.append(bytes(value))
        if self.cut_after_bytes is not None:
            self.cut_after_bytes -= len(value)
            if self.cut_after_bytes <= 0:
                self.cut_after_bytes = None
                self.parser.drop_link()
                await connection.disconnect()
                return
        answer = self.parser.feed(bytes(value))
        if answer:
            await self.printer.notify_subscribers(self._notify, answer)


def radio_backends(radio: Radio) -> tuple[type[BaseBleakScanner], type[BaseBleakClient]]:
    """Return the bleak backends of one phone's radio."""

    class RadioScanner(BaseBleakScanner):
        def __init__(self, detection_callback: Any, service_uuids: Any, _mode: str, **_: Any) -> None:
            super().__init__(detection_callback, service_uuids)

        async def start(self) -> None:
            self.seen_devices = {}
            radio.phone.on("advertisement", self._see)
            await radio.phone.start_scanning()

        async def stop(self) -> None:
            radio.phone.remove_listener("advertisement", self._see)
            await radio.phone.stop_scanning()

        def _see(self, heard: Advertisement) -> None:
            name = heard.data.get(AdvertisingData.Type.COMPLETE_LOCAL_NAME)
            seen = AdvertisementData(
                local_name=name if isinstance(name, str) else None,
                manufacturer_data={},
                service_data={},
                service_uuids=[],
                tx_power=None,
                rssi=heard.rssi,
                platform_data=(),
            )
            address = heard.address.to_string(with_type_qualifier=False)
            device = self.create_or_update_device(address, address, seen.local_name, heard.address, seen)
            self.call_detection_callbacks(device, seen)

    class RadioClient(BaseBleakClient):
        def __init__(self, device: Any, *, disconnected_callback: Any, timeout: float, **_: Any) -> None:
            super().__init__(device, disconnected_callback=disconnected_callback, timeout=timeout)
            self._details: Address = device.details
            self._connection: Connection | None = None
            self._peer: Peer | None = None

        @property
        def mtu_size(self) -> int:
            return self._peer.gatt_client.mtu if self._peer else 23

        @property
        def is_connected(self) -> bool:
            return self._connection is not None

        async def connect(self, pair: bool, **_: Any) -> None:
            del pair
            self._connection = await radio.phone.connect(self._details)
            self._connection.on("disconnection", self._disconnected)
            self._peer = Peer(self._connection)
            await self._peer.request_mtu(517)
            await self._peer.discover_all()  # type: ignore[no-untyped-call]
            self.services = BleakGATTServiceCollection()
            for service in self._peer.services:
                ours = BleakGATTService(
                    service, service.handle, normalize_uuid_str(service.uuid.to_hex_str("-").lower())
                )
                self.services.add_service(ours)
                for found in service.characteristics:
                    self.services.add_characteristic(
                        BleakGATTCharacteristic(
                            found,
                            found.handle,
                            normalize_uuid_str(found.uuid.to_hex_str("-").lower()),
                            [str(flag.name).lower().replace("_", "-") for flag in found.properties],  # type: ignore[misc]
                            lambda: self.mtu_size - 3,
                            ours,
                        )
                    )

        def _disconnected(self, _reason: int) -> None:
            self._connection, self._peer, self.services = None, None, None
            if self._disconnected_callback is not None:
                self._disconnected_callback()

        async def disconnect(self) -> None:
            if self._connection is not None:
                await self._connection.disconnect()

        async def write_gatt_char(
            self, characteristic: BleakGATTCharacteristic, data: SizedBuffer, response: bool
        ) -> None:
            if self._peer is None:
                raise BleakError("Service Discovery has not been performed yet")
            await self._peer.gatt_client.write_value(characteristic.handle, bytes(data), with_response=response)

        async def start_notify(
            self, characteristic: BleakGATTCharacteristic, callback: NotifyCallback, **_: Any
        ) -> None:
            assert self._peer is not None
            hear: Callable[[bytes], None] = lambda value: callback(bytearray(value))  # noqa: E731
            await self._peer.gatt_client.subscribe(characteristic.obj, hear)

        async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
            assert self._peer is not None
            await self._peer.gatt_client.unsubscribe(characteristic.obj)

        async def pair(self, *args: Any, **kwargs: Any) -> None:
            raise NotImplementedError

        async def unpair(self) -> None:
            raise NotImplementedError

        async def read_gatt_char(self, characteristic: BleakGATTCharacteristic, **_: Any) -> bytearray:
            raise NotImplementedError

        async def read_gatt_descriptor(self, descriptor: BleakGATTDescriptor, **_: Any) -> bytearray:
            raise NotImplementedError

        async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: SizedBuffer) -> None:
            raise NotImplementedError

    return RadioScanner, RadioClient


async def settle() -> None:
    """Let what is under way in the emulated controllers arrive."""
    for _ in range(50):
        await asyncio.sleep(0)
