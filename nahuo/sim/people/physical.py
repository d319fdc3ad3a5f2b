"""The physical world: garments, bags, cash and paper. It is right by definition; what the programs believe is held against it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Place = Literal["bag", "door", "house", "shipped", "buyer", "desk", "runner", "stall", "merchant"]
"""In the picker's bag; carried to the warehouse's door; behind it; on a lorry; with the buyer; back at the returns desk; with the
runner; back at its stall; handed to its merchant, who has it for good."""


@dataclass(eq=False, slots=True, kw_only=True)
class Garment:
    """One thing of cloth that somebody paid for. `code` is what its label says, once it has one."""

    code: str
    task: str
    device: str
    price_fen: int
    """What the program should believe was paid."""
    place: Place = "bag"
    parcel: str = ""
    scanned: int = 0
    packed: bool = False
    """It went into a parcel: nobody takes its label off any more."""
    gone: bool = False
    """There never was one: the tap was a slip and was undone."""


@dataclass(slots=True)
class Physical:
    """Everything that can be touched."""

    garments: list[Garment] = field(default_factory=list)
    shipped: dict[str, str] = field(default_factory=dict)
    """{piece code: waybill} of what left the house."""
    parcels_shipped: list[str] = field(default_factory=list)
    bag: int = 1
    """The runner's bag that stands open at the returns desk."""

    def bought(self, code: str, *, task: str, device: str, price_fen: int) -> Garment:
        """A garment changed hands and got this code."""
        garment = Garment(code=code, task=task, device=device, price_fen=price_fen)
        self.garments.append(garment)
        return garment

    def of_code(self, code: str) -> Garment | None:
        """Return the garment with this label."""
        return next((garment for garment in self.garments if garment.code == code and not garment.gone), None)

    def at(self, *places: Place) -> Iterator[Garment]:
        """Yield the garments in these places."""
        return (garment for garment in self.garments if garment.place in places and not garment.gone)

    def cash_fen(self, device: str) -> int:
        """Return what a picker has paid at stalls."""
        return sum(garment.price_fen for garment in self.garments if garment.device == device and not garment.gone)
