"""Put wrong code in place of right code, in memory, for as long as a plant stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Reached = Callable[[], None]


class Patch:
    """What a plant replaces; `undo` puts everything back."""

    def __init__(self) -> None:
        self._real: list[tuple[Any, str, Any]] = []

    def set(self, owner: Any, name: str, value: Any) -> Any:
        """Replace an attribute of a class or module; return the real one."""
        real = owner.__dict__[name]
        self._real.append((owner, name, real))
        setattr(owner, name, value)
        return real

    def undo(self) -> None:
        """Put all back, the last first."""
        while self._real:
            owner, name, real = self._real.pop()
            setattr(owner, name, real)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """One wrong version of something small. `last_seed` found it last and is tried first."""

    name: str
    layer: str
    what: str
    """What it does wrong, in a sentence."""
    apply: Callable[[Patch, Reached], None]
    last_seed: int = 1


class Layer:
    """Collects the plants of one part of the system: `@layer.plant(seed)` over a function whose docstring says what is wrong."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.plants: list[Plant] = []

    def plant(self, last_seed: int) -> Callable[[Callable[[Patch, Reached], None]], Callable[[Patch, Reached], None]]:
        """Add a plant."""

        def add(apply: Callable[[Patch, Reached], None]) -> Callable[[Patch, Reached], None]:
            what = " ".join((apply.__doc__ or "").split())
            plant = Plant(name=apply.__name__, layer=self.name, what=what, apply=apply, last_seed=last_seed)
            self.plants.append(plant)
            return apply

        return add
