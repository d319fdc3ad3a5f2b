"""Bugs planted in memory: each is a way in which such a system is built wrong. The simulator must find every one.

A plant that is never reached proves nothing, so each counts how often the wrong code ran. `nahuo.sim` prepares its installation with the
right code first: a plant is a bug of the day, not of the set-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from proof.plants import authority, devices, hub, money, replica, trade
from proof.plants.patching import Patch, Plant

LAYERS: Final = (
    hub.SESSION, hub.GATE, hub.HUB, replica.REPLICA, replica.FOLD,
    trade.TRADE, authority.AUTHORITY, money.LEDGER, authority.CARRY,
    devices.TERMINAL, devices.PRINT, devices.COPIES, authority.RESTORE,
)  # fmt: skip
PLANTS: Final[tuple[Plant, ...]] = tuple(plant for layer in LAYERS for plant in layer.plants if not plant.harmless)
HARMLESS: Final[tuple[Plant, ...]] = tuple(plant for layer in LAYERS for plant in layer.plants if plant.harmless)
"""What was planted once and is no bug: the page names each with its reason, and a proof sees that it hurts nobody."""


@contextmanager
def planted(plant: Plant) -> Iterator[Callable[[], int]]:
    """Run with one bug planted; what it yields says how often the wrong code ran."""
    patch = Patch()
    try:
        plant.apply(patch)
        yield lambda: patch.times
    finally:
        patch.undo()


__all__ = ["HARMLESS", "LAYERS", "PLANTS", "Plant", "planted"]
