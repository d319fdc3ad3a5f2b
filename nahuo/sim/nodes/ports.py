"""What stands behind a simulated device's ports: a clock that may be wrong, a link to the simulated network, the server's desk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from clients.runtime.ports import LinkState
from nahuo.sim.world import World
from server.receivers import open_receiver
from sync_core.errors import RetryableError
from sync_core.facts import Json
from sync_core.session import Session


class Desk(Protocol):
    """What a device may ask the server outside the sync."""

    def renumber(self, device: int, public_key: str, *, rotated: bool) -> Mapping[str, Json]:
        """Allot another number."""
        ...

    def keys_of(self, parcels: Sequence[str]) -> Mapping[str, str]:
        """Return {parcel: hex key}."""
        ...


class SimClock:
    """A device's clocks: the wall's is off by `skew_ms`, the steady one starts anew with each boot."""

    def __init__(self, world: World, skew_ms: int) -> None:
        self._world = world
        self._skew_ms = skew_ms
        self._frozen_ms: int | None = None
        self._boots = 1
        self._booted_ms = -world.random.randrange(1, 10**9)

    def wall_ms(self) -> int:
        """Now, as the device believes."""
        if self._frozen_ms is not None:
            return self._frozen_ms
        return max(0, self._world.wall_ms + self._skew_ms)

    def jump(self, kind: str) -> None:
        """The wall clock is set: forth or back, to 1970, by an hour at the end of summer time, or it stands still."""
        random = self._world.random
        self._frozen_ms = None
        match kind:
            case "forth" | "back":
                self._skew_ms += random.randrange(1_000, 400 * 86_400_000) * (1 if kind == "forth" else -1)
            case "1970":
                self._skew_ms = -self._world.wall_ms + random.randrange(86_400_000)
            case "summer":
                self._skew_ms += random.choice((-3_600_000, 3_600_000))
            case _:
                self._frozen_ms = self.wall_ms()
        self._world.sometimes(f"clock_{kind}")

    def steady_ms(self) -> int:
        """Milliseconds since the boot."""
        return self._world.now_ms - self._booted_ms

    def boot(self) -> str:
        """Name the run of the steady clock."""
        return f"boot-{self._boots}"

    def reboot(self) -> None:
        """The battery was out: the steady clock begins again."""
        self._boots += 1
        self._booted_ms = self._world.now_ms


class SimLink:
    """The link port: the signal switch, and a bell for the device."""

    def __init__(self, world: World, ring: Callable[[], None]) -> None:
        self._world = world
        self._ring = ring
        self.enabled = True
        self.works: Callable[[], bool] = lambda: False
        """True while what the hub sends arrives."""
        self.talk: Session | None = None
        """While the device believes that it is connected; of a line that fell silent it hears a minute later."""
        self.last: Session | None = None
        """This connection's, or the one before it."""

    def state(self) -> LinkState:
        """Return what the state bar shows."""
        return LinkState(status="live" if self.talk is not None else "offline", since_ms=None, last_ack_ms=None)

    def heard(self, document: str) -> tuple[int, int] | None:
        """Return the span of this connection in which the hub had told all of a document: until now while the line works, as hubs ping."""
        found = None if self.talk is None else self.talk.heard(document)
        return (found[0], self._world.now_ms) if found is not None and self.works() else found

    def hub_has(self, document: str) -> bool:
        """Return True when the hub was seen to have all of a document that is here, or to take no more of it."""
        heard_ms = self._world.now_ms if self.talk is not None and self.works() else None
        return self.last is not None and self.last.hub_has(document, heard_ms=heard_ms)

    def notify(self) -> None:
        """Say that the replica holds something new to send."""
        self._ring()

    async def run(self) -> None:
        """Nothing: the world drives the link."""


class SimUnsealer:
    """Opens a parcel's receiver with the server's own function."""

    def unseal(self, sealed: str, key: bytes) -> Mapping[str, Json] | None:
        """Return {name, phone, address}, or None when the key does not fit."""
        try:
            receiver = open_receiver(key, sealed)
        except Exception:  # noqa: BLE001 - InvalidTag and whatever a damaged seal raises: it does not open
            return None
        return {"name": receiver.name, "phone": receiver.phone, "address": receiver.address}


class SimDoor:
    """The server's few questions, asked only while there is a signal. Coroutines that never wait: `ask` runs them to their end."""

    def __init__(
        self,
        reach: Callable[[], Any],
        desk: Desk,
        number: Callable[[], int | None],
        loses_answer: Callable[[], bool] = lambda: False,
    ) -> None:
        self._reach = reach
        self._desk = desk
        self._number = number
        self._loses_answer = loses_answer

    async def enrol(self, body: Mapping[str, Json]) -> Mapping[str, Json]:  # noqa: ARG002
        """Never asked here: devices are enrolled before the day begins."""
        raise RetryableError("no enrolment during the day")

    async def renumber(self, body: Mapping[str, Json]) -> Mapping[str, Json]:
        """Ask for a number of one's own, as a copy does, or a device that changes its key.

        Raises:
            RetryableError: no signal, or the server is down; or it has given the number, and the answer got lost.
            RefusedError: the server gives none.
        """
        self._reach()
        rotated = body.get("rotated") is True
        answer = self._desk.renumber(self._number() or 0, str(body["public_key"]), rotated=rotated)
        if self._loses_answer():
            raise RetryableError("the answer was lost")
        return answer

    async def parcel_keys(self, parcels: Sequence[str]) -> Mapping[str, str]:
        """Return {parcel: hex key}.

        Raises:
            RetryableError: no signal, or the server is down.
        """
        self._reach()
        return self._desk.keys_of(parcels)


def ask(coroutine: Any) -> Any:
    """Run a coroutine that never waits to its end, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise RuntimeError("a simulated port waited")
