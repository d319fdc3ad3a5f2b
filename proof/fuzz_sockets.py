"""Mutated frames through a real server process: each lane is a squad of hostile devices, enrolled, one of them on a real socket at a time.

A frame mostly costs the connection it came over, and a device may connect so often only: the next connection is the next device's.
After every frame the lane sends a ping and waits for its pong, or for the end of the connection: so a frame counts only when the server has
dealt with it. Now and then a lane says something signed and in its chain, but turned around inside: what only an enrolled device can do.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from random import Random
from typing import Final

from proof import mutation
from proof.raw_socket import NotUpgradedError, RawSocket
from proof.stage import Member, Stage
from proof.traffic import Corpus
from sync_core import gate, limits, wire
from sync_core.errors import MalformedError
from sync_core.gate import Run
from sync_core.payload import decode_payload
from trade import kinds

ANSWER_SECONDS: Final = 20
INSIDER_EVERY: Final = 8
"""One frame in so many is the lane's own, signed."""


@dataclass(slots=True)
class LaneTally:
    """What a lane saw."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    frames: int = 0


class Lane:
    """A squad of hostile devices. Frames `first`, `first + step`, … of the seed are its."""

    def __init__(
        self, stage: Stage, squad: Sequence[Member], corpus: Corpus, *, seed: int, first: int, step: int
    ) -> None:
        self._stage, self._corpus = stage, corpus
        self._squad = cycle(squad)
        self._member = next(self._squad)
        self._seed, self._index, self._step = seed, first, step
        self._socket: RawSocket | None = None
        self.tally = LaneTally()

    async def run(self, frames: int) -> None:
        """Send so many frames the server has dealt with."""
        while self.tally.frames < frames and len(self.tally.faults) < 20:
            index, self._index = self._index, self._index + self._step
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    if index // self._step % INSIDER_EVERY == 0:
                        await self._say_inside_out(index)
                    else:
                        await self._send_mutated(index)
            except TimeoutError:
                self.tally.faults.append(f"seed {self._seed} frame {index}: no answer for {ANSWER_SECONDS} s")
                self._drop()
            except NotUpgradedError as error:
                self.tally.faults.append(
                    f"seed {self._seed} frame {index}: before it the server did not upgrade: {error}"
                )
                return
            except OSError as error:
                if not self._stage.server.is_running:
                    self.tally.faults.append(f"seed {self._seed} frame {index}: the server has died")
                    return
                self.tally.outcomes[f"cut off: {error}"[:60]] += 1
                self._drop()
        self._drop()

    async def _send_mutated(self, index: int) -> None:
        socket = await self._open()
        data = mutation.frame(self._corpus, self._seed, index)
        # Mostly as frames of the lane's own document, which it may open; the rest stay where they came from.
        if index % 10:
            data = data.replace(self._corpus.document.encode(), self._member.document.encode())
        if len(data) > limits.FRAME_BYTES_MAX:
            data = data[: limits.FRAME_BYTES_MAX]
        socket.put(data)
        socket.put(wire.PING)
        await socket.writer.drain()
        self.tally.frames += 1
        try:
            while True:
                _, answer = await socket.receive()
                if answer == wire.PONG:
                    self.tally.outcomes["goes on"] += 1
                    return
        except OSError:
            self.tally.outcomes[f"ended with {socket.close_code}"] += 1
            self._drop()

    async def _say_inside_out(self, index: int) -> None:
        rng = Random(self._seed * 1_000_003 + index)
        self._drop()  # a new connection owes no status of another frame
        socket = await self._open()
        member = self._member
        payload = _inside_out(rng, member.seal([member.next_scan()])[gate.HEADER_BYTES :])
        if len(payload) > limits.ENVELOPE_BYTES_MAX:
            return
        stored = gate.seal(payload, member.head.digest, member.signer.sign)
        run = Run(device=member.number, first_seq=member.head.seq + 1, stored=(stored,))
        socket.put(
            wire.encode_frame(wire.Update(address=member.document, update=gate.encode_update([run]), answer=False))
        )
        await socket.writer.drain()
        self.tally.frames += 1
        applied = await self._status(socket)
        self.tally.outcomes["signed and taken" if applied else "signed and refused"] += 1
        try:
            decode_payload(payload)
        except MalformedError:
            if applied:
                self.tally.faults.append(f"seed {self._seed} frame {index}: a malformed payload was taken")
        else:
            if not applied:
                self.tally.faults.append(f"seed {self._seed} frame {index}: what is well-formed and signed was refused")
        if applied:
            member.taken(stored)

    async def _status(self, socket: RawSocket) -> bool:
        while True:
            _, answer = await socket.receive()
            try:
                said = wire.decode_frame(answer)
            except MalformedError:
                continue
            if isinstance(said, wire.Status):
                return said.applied

    async def _open(self) -> RawSocket:
        """The lane's connection, with its document open and every answer owed to it taken."""
        if self._socket is None:
            self._member = next(self._squad)
            self._socket = socket = await RawSocket.connect(self._stage.port, token=self._stage.token(self._member))
            vector = gate.encode_state_vector({self._member.number: self._member.head.seq, 0: 2**40})
            socket.put(wire.encode_frame(wire.Auth(address=self._member.document, token="")))
            socket.put(wire.encode_frame(wire.Step1(address=self._member.document, vector=vector)))
            socket.put(wire.PING)
            await socket.writer.drain()
            while (await socket.receive())[1] != wire.PONG:
                pass
            self.tally.outcomes["connections"] += 1
        return self._socket

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.drop()
            self._socket = None


def _inside_out(rng: Random, payload: bytes) -> bytes:
    """Turn something of an envelope around: mostly in a fact's body, which the hub takes and every fold must bear."""
    value = json.loads(payload)
    fact = value["f"][0]
    match rng.randrange(4):
        case 0:
            changed = mutation.mutate_json(rng, {key: value[key] for key in ("b", "f", "p", "t", "v")})
            value = {**value, **changed} if isinstance(changed, dict) else changed
        case 1:
            value["f"] = [mutation.mutate_json(rng, fact)]
        case 2:
            value["f"] = [{**fact, "k": rng.choice(sorted(kinds.BY_KIND)), "b": mutation.mutate_json(rng, fact["b"])}]
        case _:
            value["f"] = [{**fact, "b": mutation.mutate_json(rng, fact["b"])}]
    return mutation.dump(rng, value)
