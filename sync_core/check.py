"""A check of a recount: one promise, how many things it was held against, and each that breaks it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

FAULTS_SHOWN_MAX: Final = 20


@dataclass(slots=True, kw_only=True)
class Check:
    """One promise. An empty log cannot pass for a sound one: `checked` says how much was looked at."""

    name: str
    what: str
    checked: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """True when nothing breaks it."""
        return not self.faults

    def expect(self, holds: bool, fault: str) -> None:
        """Count one thing; note the fault when it does not hold."""
        self.checked += 1
        if not holds:
            self.faults.append(fault)

    def as_json(self) -> dict[str, Any]:
        """The check as `--json` prints it."""
        return {
            "name": self.name,
            "what": self.what,
            "holds": self.holds,
            "checked": self.checked,
            "faults": self.faults[:FAULTS_SHOWN_MAX],
            "faults_count": len(self.faults),
        }
