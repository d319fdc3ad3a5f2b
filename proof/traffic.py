"""Record real traffic: a real device (replica, link) at the real server, through a relay that keeps every frame of both directions.

The corpus is what the fuzzing mutates. It is kept as a file, because keys and times differ from run to run: a frame is replayed by corpus,
seed and index.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import WebSocketException

from proof.stage import PERSON, Member, Stage
from sync_core import limits, wire
from sync_core.link import Link
from sync_core.replica import Replica
from trade.kinds import SCHEMA
from trade.projections import MARKET_DAY

WAIT_SECONDS = 60


@dataclass(slots=True, kw_only=True)
class Corpus:
    """Frames of a real session, in order: what the device sent, what the hub sent."""

    document: str
    to_hub: list[bytes] = field(default_factory=list)
    to_device: list[bytes] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Keep it."""
        body = {
            "document": self.document,
            "to_hub": [frame.hex() for frame in self.to_hub],
            "to_device": [frame.hex() for frame in self.to_device],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(body))

    @classmethod
    def read(cls, path: Path) -> Corpus:
        """Take it again."""
        body = json.loads(path.read_text())
        return cls(
            document=body["document"],
            to_hub=[bytes.fromhex(frame) for frame in body["to_hub"]],
            to_device=[bytes.fromhex(frame) for frame in body["to_device"]],
        )


class RealDevice:
    """A member's own replica and link, as a terminal runs them; `port` is the server's or a relay's."""

    def __init__(self, path: Path, stage: Stage, member: Member, *, documents: Sequence[str]) -> None:
        self.replica = Replica.open(path, MARKET_DAY)
        self.replica.use_key(member.signer)
        self.replica.enrol(number=member.number, server_key=stage.server_key, certificate={})
        self.documents = list(documents)
        self._stage, self._member = stage, member
        self._changed = asyncio.Event()
        self.replica.listeners.append(lambda _: self._changed.set())
        self._running: asyncio.Task[None] | None = None

    def connect(self, port: int) -> None:
        """Start the link."""

        async def token() -> str:
            return self._stage.token(self._member)

        link = Link(
            self.replica, f"ws://127.0.0.1:{port}/sync", token=token, documents=lambda: self.documents,
            renumber=_is_no_copy, schema=SCHEMA,
        )  # fmt: skip
        link.on_change.append(self._changed.set)
        self.link = link
        self._running = asyncio.create_task(link.run())

    def say(self, document: str, *facts: Any) -> int:
        """Say facts; return the seq."""
        self.replica.act(document, facts, person=PERSON, at_ms=1_795_000_000_000)
        return self.replica.state_vector(document)[self._member.number]

    async def until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait for the replica or the link to become so.

        Raises:
            TimeoutError: it did not.
        """
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while not is_so():
                    self._changed.clear()
                    try:
                        async with asyncio.timeout(0.5):
                            await self._changed.wait()
                    except TimeoutError:
                        continue
        except TimeoutError as error:
            raise TimeoutError(f"{what}: {self.link.status}") from error

    def acked(self, document: str) -> int:
        """How far the hub has what this device said."""
        row = self.replica.conn.execute(
            "SELECT acked FROM writer WHERE document = ? AND device = ?", (document, self._member.number)
        ).fetchone()
        return 0 if row is None else int(row[0])

    async def close(self) -> None:
        """Leave."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        self.replica.close()


async def record(stage: Stage, member: Member, folder: Path) -> Corpus:
    """Return the frames of a session: opening, a backlog, live facts, a report, a fact nobody may say, a reconnect."""
    corpus = Corpus(document=member.document)
    own = f"device/{member.number}/1"
    device = RealDevice(folder / f"recorded-{member.number}.db", stage, member, documents=[own, member.document])
    async with serve(
        _relay(stage.port, corpus),
        "127.0.0.1",
        0,
        compression=None,
        ping_interval=None,
        max_size=limits.FRAME_BYTES_MAX,
    ) as relay:
        port = next(iter(relay.sockets)).getsockname()[1]
        for _ in range(12):
            device.say(member.document, member.next_scan())
        device.connect(port)
        await device.until(lambda: device.acked(member.document) == 12, "the backlog")
        for _ in range(6):
            seq = device.say(member.document, member.next_scan(), member.next_scan())
            await device.until(_has_acked(device, member.document, seq), "a live fact")
        device.say(own, member.next_scan())  # nobody may say such a thing there: void, and admitted
        device.link.switch(False)
        device.say(member.document, member.next_scan())
        device.link.switch(True)
        await device.until(lambda: device.acked(member.document) == 19 and device.acked(own) == 1, "the reconnect")
    await device.close()
    corpus.to_hub.append(
        wire.encode_frame(wire.Close(address=member.document, reason=""))
    )  # as `Session.leave` says it
    return corpus


def _relay(port: int, corpus: Corpus) -> Any:
    async def relay(near: ServerConnection) -> None:
        assert near.request is not None
        headers = {"Authorization": near.request.headers["Authorization"]}
        async with connect(
            f"ws://127.0.0.1:{port}/sync", additional_headers=headers, compression=None, ping_interval=None, proxy=None,
            max_size=limits.FRAME_BYTES_MAX,
        ) as far:  # fmt: skip
            both = [_pass_on(near, far, corpus.to_hub), _pass_on(far, near, corpus.to_device)]
            tasks = [asyncio.ensure_future(one) for one in both]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return relay


async def _pass_on(source: Any, sink: Any, kept: list[bytes]) -> None:
    try:
        while True:
            frame = await source.recv(decode=False)
            kept.append(bytes(frame))
            await sink.send(frame)
    except WebSocketException:
        return


def _has_acked(device: RealDevice, document: str, seq: int) -> Callable[[], bool]:
    return lambda: device.acked(document) >= seq


async def _is_no_copy() -> None:
    raise RuntimeError("a recorded device is never a copy")
