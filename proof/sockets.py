"""Proof `sockets`: hostile sockets at a real server at which good devices work (REL-G10, the first table of its threats).

Each attack runs for its time while the good devices go on; for each: their acknowledgements, the server's growth, its health. Attackers are
bounded in number and time, on 127.0.0.1, and share this machine's processors with the server and with those who measure.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.figures import percentile
from proof.raw_socket import BINARY, CONT, PING, TEXT, NotUpgradedError, RawSocket, frame_bytes
from proof.report import Part, Size
from proof.stage import GoodDevices, HealthProbe, Member, Stage
from sync_core import gate, limits, wire

ACK_GOAL_MS: Final = 500.0
HEALTH_GOAL_MS: Final = 500.0
GROWTH_GOAL_MIB: Final = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """How many good devices, how often each speaks, how long an attack lasts."""

    good: int
    gap_s: float
    attack_s: float


AMOUNTS: Final = {
    Size.SHORT: Amount(good=40, gap_s=1.0, attack_s=3.0),
    Size.FULL: Amount(good=200, gap_s=5.0, attack_s=30.0),
}


@dataclass(slots=True)
class Attack:
    """What an attacker has: the stage, one enrolled device's number, and how long."""

    stage: Stage
    member: Member
    seconds: float
    note: str = ""
    """What the defence did, in words."""
    until: float = 0.0

    def __post_init__(self) -> None:
        self.until = time.monotonic() + self.seconds

    @property
    def goes_on(self) -> bool:
        """True until its time is over."""
        return time.monotonic() < self.until

    async def socket(self) -> RawSocket:
        """A connection as the enrolled device."""
        return await RawSocket.connect(self.stage.port, token=self.stage.token(self.member))

    async def again(self, act: Callable[[RawSocket], Awaitable[None]]) -> int:
        """Do it on one connection after the other; return how many ended under it."""
        ended = 0
        while self.goes_on:
            with suppress(OSError, NotUpgradedError, TimeoutError):
                socket = await self.socket()
                try:
                    async with asyncio.timeout(max(0.1, self.until - time.monotonic())):
                        await act(socket)
                finally:
                    socket.drop()
            ended += 1
        return ended


async def _empty_fragments(attack: Attack) -> None:
    """Empty frames of a message that never ends."""

    async def act(socket: RawSocket) -> None:
        socket.put(b"", opcode=BINARY, fin=False)
        block = frame_bytes(b"", opcode=CONT, fin=False) * 10_000
        while True:
            socket.writer.write(block)
            await socket.writer.drain()

    attack.note = f"{await attack.again(act)} connections ended"


async def _pings_unread(attack: Attack) -> None:
    """Pings whose pongs are never read."""

    async def act(socket: RawSocket) -> None:
        block = frame_bytes(b"x" * 125, opcode=PING) * 1_000
        while True:
            socket.writer.write(block)
            await socket.writer.drain()

    attack.note = f"{await attack.again(act)} connections ended"


async def _unfinished(attack: Attack) -> None:
    """Sixty messages that are never finished, each said to be 16 MiB or cut just below the limit."""
    sockets: list[RawSocket] = []
    for place in range(60):
        with suppress(OSError, NotUpgradedError):
            socket = await (attack.socket() if place % 2 else RawSocket.connect(attack.stage.port))
            says = 16 * 2**20 if place % 4 < 2 else limits.FRAME_BYTES_MAX
            socket.put(b"x" * (limits.FRAME_BYTES_MAX - 64), says=says, fin=False)
            sockets.append(socket)
    closed = await _wait_closed(attack, sockets)
    attack.note = f"{closed} of {len(sockets)} ended at once or after their time"


async def _bombs(attack: Attack) -> None:
    """Compressed frames of 16 KiB that inflate to 16 MiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(b"\0" * 16 * 2**20) + packer.flush(zlib.Z_SYNC_FLUSH)
    agreed = ended = 0
    while attack.goes_on and ended < 40:
        with suppress(OSError, NotUpgradedError, TimeoutError):
            socket = await RawSocket.connect(
                attack.stage.port, token=attack.stage.token(attack.member),
                more="Sec-WebSocket-Extensions: permessage-deflate\r\n",
            )  # fmt: skip
            agreed += b"permessage-deflate" in socket.headers.lower()
            socket.put(bomb[:-4], rsv=4)
            async with asyncio.timeout(5):
                await socket.until_closed()
            socket.drop()
        ended += 1
    attack.note = f"compression agreed {agreed} times, {ended} ended"


async def _slow_readers(attack: Attack) -> None:
    """Readers that ask for everything and read nothing."""
    sockets = []
    for place in range(40):
        with suppress(OSError, NotUpgradedError):
            socket = await attack.socket()
            _open(socket, attack.member)
            for _ in range(400 if place % 2 else 1):
                socket.put(wire.PING)
            sockets.append(socket)
    while attack.goes_on:
        await asyncio.sleep(0.1)
        for socket in sockets:
            with suppress(OSError):
                socket.put(wire.PING)
    for socket in sockets:
        socket.drop()
    attack.note = f"{len(sockets)} sockets of one device, {limits.SOCKETS_PER_DEVICE_MAX} kept at most"


async def _half_handshakes(attack: Attack) -> None:
    """Nine hundred requests that never end."""
    opened = []
    for _ in range(900):
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", attack.stage.port)
            writer.write(b"GET /sync HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: web")
            opened.append((reader, writer))
    await asyncio.sleep(max(0.0, attack.until - time.monotonic()))
    if attack.seconds > limits.HALF_OPEN_MS_MAX / 1000 + 1:
        left = sum(1 for reader, _ in opened if not reader.at_eof() and reader.exception() is None)
    else:
        left = limits.HALF_OPEN_PER_ADDRESS_MAX
    for _, writer in opened:
        writer.transport.abort()
    attack.note = f"of {len(opened)} {left} still open at the end"


async def _texts(attack: Attack) -> None:
    """Text frames."""

    async def act(socket: RawSocket) -> None:
        socket.put(b"x" * 60_000, opcode=TEXT)
        await socket.writer.drain()
        await socket.until_closed()

    attack.note = f"{await attack.again(act)} connections ended"


async def _step1(attack: Attack) -> None:
    """Asks for the whole document again and again, and reads it."""

    async def act(socket: RawSocket) -> None:
        ask = wire.encode_frame(wire.Step1(address=attack.member.document, vector=gate.encode_state_vector({})))
        _open(socket, attack.member)
        reading = asyncio.ensure_future(socket.until_closed())
        try:
            while not reading.done():
                for _ in range(50):
                    socket.put(ask)
                await socket.writer.drain()
                await asyncio.sleep(0.01)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    attack.note = f"{await attack.again(act)} connections ended"


async def _auths(attack: Attack) -> None:
    """Tokens guessed in frames, and documents asked for that are nobody's."""

    async def guess() -> int:
        ended = 0
        while attack.goes_on:
            with suppress(OSError, NotUpgradedError, TimeoutError):
                socket = await RawSocket.connect(attack.stage.port)
                async with asyncio.timeout(12):
                    for place in range(3_000):
                        socket.put(wire.encode_frame(wire.Auth(address=f"route/{place}", token="guess" * 20)))
                    await socket.writer.drain()
                    await socket.until_closed()
                socket.drop()
            ended += 1
        return ended

    async def flood() -> int:
        async def act(socket: RawSocket) -> None:
            for place in range(3_000):
                socket.put(wire.encode_frame(wire.Auth(address=f"route/{place}", token="")))
            await socket.writer.drain()
            await socket.until_closed()

        return await attack.again(act)

    found = await asyncio.gather(guess(), flood())
    attack.note = f"{sum(found)} connections ended"


async def _bad_updates(attack: Attack) -> None:
    """Updates the gate refuses, each unlike the other, as fast as they go: the quarantine must not fill the disk nor hold the writer."""

    async def act(socket: RawSocket) -> None:
        _open(socket, attack.member)
        reading = asyncio.ensure_future(socket.until_closed())
        place = 0
        try:
            while not reading.done():
                place += 1
                run = gate.Run(device=attack.member.number, first_seq=1, stored=(b"%0200d" % place,))
                update = gate.encode_update([run])
                update = update if place % 2 else update[:-1] + b"\x01"
                socket.put(wire.encode_frame(wire.Update(address=attack.member.document, update=update, answer=False)))
                if place % 20 == 0:
                    await socket.writer.drain()
                    await asyncio.sleep(0.02)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    attack.note = f"{await attack.again(act)} connections ended"


ATTACKS: Final[dict[str, Callable[[Attack], Awaitable[None]]]] = {
    "empty fragments without end": _empty_fragments,
    "pings, pongs unread": _pings_unread,
    "60 unfinished messages of 16 MiB": _unfinished,
    "compression bombs x 40": _bombs,
    "readers that read nothing": _slow_readers,
    "900 half handshakes": _half_handshakes,
    "text frames": _texts,
    "step 1 flood": _step1,
    "token and document guesses": _auths,
    "refused updates at full speed": _bad_updates,
}


def prove(size: Size, folder: Path) -> Part:
    """Run every attack, one after the other, on one server."""
    amount = AMOUNTS[size]
    part = Part(
        name="sockets",
        title="Hostile sockets",
        shows=f"{len(ATTACKS)} attacks on the socket of a real server while {amount.good} good devices work at it, one envelope"
        f" every {amount.gap_s:g} s each, fanned out to three others. Attackers, server, good devices and probe share one machine.",
        does_not_show="More attackers than one machine can be; the network below TCP; a front proxy.",
    )
    with Stage(folder, members=amount.good + 4) as stage:
        good, attacker = stage.members[: amount.good], stage.members[-1]
        probe = HealthProbe(stage.port)
        devices = GoodDevices(stage, good, gap_s=amount.gap_s)
        time.sleep(amount.attack_s)
        rows = [
            "| Attack | good p50 | good p99 | health p99 | server grew | what became of it |",
            "|---|---|---|---|---|---|",
        ]
        rows.append(_row("none", devices.waits(), probe.waits(), 0.0, ""))
        first = stage.memory_mib()
        all_waits: list[float] = []
        all_health: list[float] = []
        growth = 0.0
        for name, attack in ATTACKS.items():
            before = stage.memory_mib()
            least = 12.0 if attack is _half_handshakes else 0.0
            at = Attack(stage, attacker, max(least, amount.attack_s))
            grown = asyncio.run(_attack(attack, at))
            waits, health = devices.waits(), probe.waits()
            all_waits += waits
            all_health += health
            growth = max(growth, grown - first)
            rows.append(_row(name, waits, health, grown - before, at.note))
            if not stage.server.is_running:
                part.faults.append(f"the server died under: {name}")
                break
        work = devices.stop()
        all_health += probe.stop()
        quarantined = stage.quarantined()
        if stage.server.is_running:
            part.faults += [line[:300] for line in stage.log_faults()[-5:]]
    drawn = f"{len(ATTACKS)} attacks of {amount.attack_s:g} s"
    p99 = percentile(all_waits, 0.99)
    part.add(
        "good devices: acknowledgement p99 under attack", f"{p99:.0f} ms", f"{len(all_waits):,} envelopes, {drawn}",
        goal=f"< {ACK_GOAL_MS:.0f} ms", holds=p99 < ACK_GOAL_MS, timed=True,
    )  # fmt: skip
    work.tell_cut_off(part)
    part.add(
        "server growth", f"{growth:.0f} MiB", drawn, goal=f"< {GROWTH_GOAL_MIB:.0f} MiB", holds=growth < GROWTH_GOAL_MIB
    )
    health_p99 = percentile(all_health, 0.99)
    part.add(
        "health answer p99 under attack", f"{health_p99:.0f} ms", f"{len(all_health):,} requests",
        goal=f"< {HEALTH_GOAL_MS:.0f} ms", holds=health_p99 < HEALTH_GOAL_MS, timed=True,
    )  # fmt: skip
    part.add("rows in quarantine after all of it", str(quarantined), drawn)
    part.faults += work.broken[:5]
    part.table = "\n".join(rows)
    return part


async def _attack(act: Callable[[Attack], Awaitable[None]], attack: Attack) -> float:
    """Run it; return the server's largest memory meanwhile."""
    peak = attack.stage.memory_mib()
    running = asyncio.ensure_future(act(attack))
    while not running.done():
        await asyncio.wait([running], timeout=0.25)
        if attack.stage.server.is_running:
            peak = max(peak, attack.stage.memory_mib())
    await running
    return peak


async def _wait_closed(attack: Attack, sockets: list[RawSocket]) -> int:
    async def one(socket: RawSocket) -> bool:
        try:
            async with asyncio.timeout(max(0.1, attack.until - time.monotonic())):
                await socket.until_closed()
        except TimeoutError:
            return False
        finally:
            socket.drop()
        return True

    return sum(await asyncio.gather(*(one(socket) for socket in sockets)))


def _open(socket: RawSocket, member: Member) -> None:
    socket.put(wire.encode_frame(wire.Auth(address=member.document, token="")))
    socket.put(wire.encode_frame(wire.Step1(address=member.document, vector=gate.encode_state_vector({}))))


def _row(name: str, waits: list[float], health: list[float], grown: float, note: str) -> str:
    p50, p99 = (percentile(waits, 0.5), percentile(waits, 0.99)) if waits else (0.0, 0.0)
    shown = f"| {name} | {p50:.0f} ms | {p99:.0f} ms | {percentile(health, 0.99) if health else 0:.0f} ms | {grown:.0f} MiB | {note} |"
    print(shown, flush=True)
    return shown
