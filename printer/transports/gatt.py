"""Choose the characteristic of a BLE printer that takes bytes, and the one that answers.

One printer often offers three or four serial services at once. Order: what the profile names, then this table (public
drivers and applications of the printers named), then any characteristic that can be written. A service says nothing about the
command language.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.service import BleakGATTServiceCollection
from bleak.uuids import normalize_uuid_str

# Services every device has, whose writable characteristics are no printer.
_GENERIC: Final = frozenset(normalize_uuid_str(short) for short in ("1800", "1801", "180a", "180f"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialService:
    """A known serial service: UUIDs of the service, where to write, where answers come."""

    service: str
    write: str
    notify: str


KNOWN_SERVICES: Final = tuple(
    SerialService(
        service=normalize_uuid_str(service), write=normalize_uuid_str(write), notify=normalize_uuid_str(notify)
    )
    for service, write, notify in (
        ("18f0", "2af1", "2af0"),  # Xprinter, Zjiang, MPT-II, Eleph
        ("ff00", "ff02", "ff01"),  # Phomemo, P31S, Goojprt, HPRT Qutie
        (  # Microchip transparent UART: RPP02N, POS58, Epson TM-P
            "49535343-fe7d-4ae5-8fa9-9fafd205e455",
            "49535343-8841-43f4-a8d4-ecbe34729bb3",
            "49535343-1e4d-4bd9-ba61-23c647249616",
        ),
        (  # many POS58 boards
            "e7810a71-73ae-499d-8c15-faa9aef0c3f2",
            "bef8d6c9-9c21-4c9e-b632-bd58c1009f9f",
            "bef8d6c9-9c21-4c9e-b632-bd58c1009f9f",
        ),
        ("ae30", "ae01", "ae02"),  # GB, GT and MX pocket printers
        ("ffe0", "ffe1", "ffe1"),  # HM-10 modules
        (  # Zebra Link-OS
            "38eb4a80-c570-11e3-9507-0002a5d5c51b",
            "38eb4a82-c570-11e3-9507-0002a5d5c51b",
            "38eb4a81-c570-11e3-9507-0002a5d5c51b",
        ),
        (  # Nordic UART
            "6e400001-b5a3-f393-e0a9-e50e24dcca9e",
            "6e400002-b5a3-f393-e0a9-e50e24dcca9e",
            "6e400003-b5a3-f393-e0a9-e50e24dcca9e",
        ),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialLink:
    """Where to write and, if the printer answers at all, where to listen."""

    write: BleakGATTCharacteristic
    notify: BleakGATTCharacteristic | None


def choose_link(services: BleakGATTServiceCollection, preferred_service: str | None = None) -> SerialLink | None:
    """Return the best serial link of a printer, None when nothing on it can be written."""
    wanted = normalize_uuid_str(preferred_service) if preferred_service else None
    for known in sorted(KNOWN_SERVICES, key=lambda entry: entry.service != wanted):
        service = services.get_service(known.service)
        if service is None:
            continue
        write, notify = service.get_characteristic(known.write), service.get_characteristic(known.notify)
        if write is not None and _can_write(write):
            return SerialLink(write=write, notify=notify if notify is not None and _can_notify(notify) else None)
    own = [service for service in services if service.uuid not in _GENERIC]
    for service in sorted(own, key=lambda entry: entry.uuid != wanted):
        write = next((found for found in service.characteristics if _can_write(found)), None)
        if write is not None:
            return SerialLink(write=write, notify=next(filter(_can_notify, service.characteristics), None))
    return None


def _can_write(characteristic: BleakGATTCharacteristic) -> bool:
    return "write" in characteristic.properties or "write-without-response" in characteristic.properties


def _can_notify(characteristic: BleakGATTCharacteristic) -> bool:
    return "notify" in characteristic.properties or "indicate" in characteristic.properties
