"""An enrolled phone whose owner means no good, or whose program is broken: what it sends is refused, recorded, and touches nobody else.

It has a real number and key and the real wire format; its frames are forged by hand and played to the hub on connections of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from clients.runtime.device_key import DeviceKey
from nahuo.sim.nodes.device import DeviceNode
from nahuo.sim.nodes.server import Served, ServerNode
from nahuo.sim.world import MINUTE_MS, World
from sync_core import gate, wire
from sync_core.facts import Envelope, Fact
from sync_core.gate import Run, empty_head
from sync_core.payload import encode_payload
from trade import kinds
from trade.kinds import SCHEMA

VICTIMS: Final = ("warehouse/main/1", "device/100/1")


class Stranger:
    """Draws a forgery a turn; and one connection that reads and never answers."""

    def __init__(self, world: World, server: ServerNode, phone: DeviceNode) -> None:
        self._world = world
        self._server = server
        self._number = phone.node.number
        self._key: DeviceKey = phone.key
        self._reader: Served | None = None
        self._forgeries: tuple[Callable[[str], bytes | None], ...] = (
            self._in_anothers_name,
            self._with_a_hole,
            self._bent,
            self._as_the_server,
            self._mutated,
            self._said_again_differently,
            self._not_his_to_say,
        )

    def turn(self) -> None:
        """Send something, or read without a word."""
        if self._server.down or self._server.unreachable:
            return
        faults = self._world.faults
        if faults.mute_reader and (self._reader is None or self._reader.number not in self._server.connections):
            self._world.sometimes("mute_reader")
            self._reader = self._knock(self._own_documents())
        if faults.forger:
            self._forge()

    def _own_documents(self) -> list[str]:
        known = self._server.store.key_of(self._number)
        return sorted(known.documents) if known is not None else []

    def _knock(self, documents: list[str]) -> Served:
        served = self._server.connect(self._number, None)
        for document in documents:
            self._server.receive(served, wire.encode_frame(wire.Auth(address=document, token="")))
            empty = gate.encode_state_vector({})
            self._server.receive(served, wire.encode_frame(wire.Step1(address=document, vector=empty)))
        return served

    def _forge(self) -> None:
        own = [name for name in self._own_documents() if name.startswith(("route/", "market/"))]
        document = self._world.random.choice([*own, *VICTIMS])
        update = self._world.random.choice(self._forgeries)(document)
        if update is None:
            return
        self._world.sometimes("forged")
        served = self._knock([document])
        self._server.receive(served, wire.encode_frame(wire.Update(address=document, update=update, answer=False)))
        self._world.later(MINUTE_MS, "stranger leaves", lambda: self._server.lost(served))

    # --- forgeries --------------------------------------------------------------------------------------------------------

    def _seal(self, document: str, device: int, seq: int, facts: list[Fact]) -> bytes:
        head = self._server.store.heads(document).get(device) or empty_head(document)
        envelope = Envelope(
            device=device,
            seq=seq,
            person="p-phone-4",
            at_ms=self._world.wall_ms,
            schema=SCHEMA,
            basis={},
            facts=tuple(facts),
        )
        return gate.seal(encode_payload(envelope), head.digest, self._key.sign)

    def _next(self, document: str, device: int) -> int:
        return self._server.store.read_vector(document).get(device, 0) + 1

    def _update(self, device: int, seq: int, stored: bytes) -> bytes:
        return gate.encode_update([Run(device=device, first_seq=seq, stored=(stored,))])

    def _fact(self) -> Fact:
        return kinds.OrderClosed(reason="forged").about("order:O1001")

    def _in_anothers_name(self, document: str) -> bytes:
        """The next envelope of a colleague, with the right hash before it and the wrong key under it."""
        seq = self._next(document, 100)
        return self._update(100, seq, self._seal(document, 100, seq, [self._fact()]))

    def _as_the_server(self, document: str) -> bytes:
        seq = self._next(document, 0)
        return self._update(0, seq, self._seal(document, 0, seq, [self._fact()]))

    def _with_a_hole(self, document: str) -> bytes:
        seq = self._next(document, self._number) + 3
        return self._update(self._number, seq, self._seal(document, self._number, seq, [self._fact()]))

    def _bent(self, document: str) -> bytes:
        """His own next envelope, a byte changed after it was signed."""
        seq = self._next(document, self._number)
        stored = bytearray(self._seal(document, self._number, seq, [self._fact()]))
        at = self._world.random.randrange(len(stored))
        stored[at] ^= 1 << self._world.random.randrange(8)
        return self._update(self._number, seq, bytes(stored))

    def _mutated(self, document: str) -> bytes:
        """An update whose bytes make no sense."""
        seq = self._next(document, self._number)
        update = bytearray(self._update(self._number, seq, self._seal(document, self._number, seq, [self._fact()])))
        for _ in range(4):
            update[self._world.random.randrange(len(update))] = self._world.random.randrange(256)
        return bytes(update[: self._world.random.randrange(1, len(update) + 1)])

    def _said_again_differently(self, document: str) -> bytes | None:
        """Another envelope under a number he has used."""
        seq = self._next(document, self._number) - 1
        return self._update(self._number, seq, self._seal(document, self._number, seq, [self._fact()])) if seq else None

    def _not_his_to_say(self, document: str) -> bytes:
        """Well signed and in order, but no picker may say it: admitted, void, and told to somebody."""
        self._world.sometimes("forged_void")
        seq = self._next(document, self._number)
        return self._update(self._number, seq, self._seal(document, self._number, seq, [self._fact()]))
