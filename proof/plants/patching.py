"""Put wrong code in place of right code, in memory, for as long as a plant stands.

Most wrong versions have one of two shapes: what should be done is left out (`Patch.leave_out`), or what comes back is another thing
(`Patch.alter`). Both count how often they did wrong; the others count by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def _always(*_args: Any, **_named: Any) -> bool:
    return True


class Patch:
    """What a plant replaces; `undo` puts everything back."""

    def __init__(self) -> None:
        self._real: list[tuple[Any, str, Any]] = []
        self.times = 0
        """How often the wrong code ran."""

    def reached(self) -> None:
        """Wrong is done now."""
        self.times += 1

    def set(self, owner: Any, name: str, value: Any) -> Any:
        """Replace an attribute of a module, or of a class where it is defined; return the real one."""
        owner = next(place for place in getattr(owner, "__mro__", (owner,)) if name in place.__dict__)
        real = owner.__dict__[name]
        self._real.append((owner, name, real))
        setattr(owner, name, value)
        return real

    def leave_out(
        self, owner: Any, name: str, *, when: Callable[..., bool] = _always, answer: Callable[..., Any] | None = None
    ) -> None:
        """Do nothing on the calls whose arguments `when` accepts; `answer` makes what they return of the same arguments."""

        def call(*args: Any, **named: Any) -> Any:
            if not when(*args, **named):
                return real(*args, **named)
            self.reached()
            return None if answer is None else answer(*args, **named)

        real = self.set(owner, name, call)

    def alter(self, owner: Any, name: str, change: Callable[..., Any]) -> None:
        """Return `change(what the real one returned, *arguments)` where that is not None."""

        def call(*args: Any, **named: Any) -> Any:
            right = real(*args, **named)
            wrong = change(right, *args, **named)
            if wrong is None:
                return right
            self.reached()
            return wrong

        real = self.set(owner, name, call)

    def undo(self) -> None:
        """Put all back, the last first."""
        while self._real:
            owner, name, real = self._real.pop()
            setattr(owner, name, real)


Apply = Callable[[Patch], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """One wrong version of something small."""

    name: str
    layer: str
    what: str
    """What it does wrong, in a sentence."""
    apply: Apply
    harmless: str = ""
    """Why nobody can be hurt by it, for a plant that is no bug: another guard holds."""


class Layer:
    """Collects the plants of one part of the system: `@layer.plant` over a function whose docstring says what is wrong."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.plants: list[Plant] = []

    def plant(self, apply: Apply) -> Apply:
        """Add a plant."""
        self.plants.append(self._made(apply))
        return apply

    def no_plant(self, why: str) -> Callable[[Apply], Apply]:
        """Keep a wrong version that was planted once and turned out to be harmless, with the guard that makes it so."""

        def add(apply: Apply) -> Apply:
            self.plants.append(self._made(apply, harmless=why))
            return apply

        return add

    def _made(self, apply: Apply, *, harmless: str = "") -> Plant:
        what = " ".join((apply.__doc__ or "").split())
        return Plant(name=apply.__name__, layer=self.name, what=what, apply=apply, harmless=harmless)
