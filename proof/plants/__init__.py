"""Bugs planted in memory: each is a way in which such a system is built wrong. The simulator must find every one.

A plant that is never reached proves nothing, so each counts how often the wrong code ran. `nahuo.sim` prepares its installation with the
right code first: a plant is a bug of the day, not of the set-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from proof.plants import edges, engine, server_side
from proof.plants.patching import Patch, Plant

LAYERS: Final = (
    engine.SESSION, engine.GATE, engine.HUB, engine.REPLICA, engine.FOLD,
    edges.TRADE, server_side.AUTHORITY, server_side.LEDGER, server_side.CARRY,
    edges.TERMINAL, edges.PRINT, edges.COPIES, server_side.RESTORE,
)  # fmt: skip
PLANTS: Final[tuple[Plant, ...]] = tuple(plant for layer in LAYERS for plant in layer.plants)


@contextmanager
def planted(plant: Plant) -> Iterator[Callable[[], int]]:
    """Run with one bug planted; what it yields says how often the wrong code ran."""
    reached = 0

    def count() -> None:
        nonlocal reached
        reached += 1

    patch = Patch()
    try:
        plant.apply(patch, count)
        yield lambda: reached
    finally:
        patch.undo()


__all__ = ["LAYERS", "PLANTS", "Plant", "planted"]
