"""What a session tells its shell: the events of `session.Session.receive`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sync_core.gate import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthAsked:
    """Hub: decide, then call `grant` or `deny`."""

    document: str
    address: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Commit these runs, then call `settle(document, …)`: once for each `Received`, in their order."""

    document: str
    runs: tuple[Run, ...]
    update: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """Device: the hub has committed what this vector names. `whole`: it is the hub's state vector, and what it leaves out is not there
    (a hub restored from an older backup); else it speaks of one update only.

    A state vector counts envelopes and does not show them: of writers that were `proven` when the document was opened, `vector` names
    only what is proven, and the rest is offered again. `claimed` is what the hub counts, which a copy of this device may have written.
    """

    document: str
    vector: Mapping[int, int]
    whole: bool
    claimed: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Device: the hub did not take an envelope; it said why."""

    document: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessDenied:
    """Device: the hub does not let us have this document."""

    document: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Device: the hub lets us have this document, in this scope."""

    document: str
    scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A stateless message of the peer: hello, report."""

    document: str
    message: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """The peer broke the protocol. `fatal`: close the socket with this reason; else note it (quarantine)."""

    document: str
    code: str
    detail: str
    frame: bytes
    fatal: bool


Event = AuthAsked | Received | Acknowledged | Refused | AccessDenied | Opened | Message | Violation
