"""A real server process with enrolled terminals, good devices at work, and a probe of its health: where hostile peers are let loose.

The terminals are enrolled before the process starts (the API allows twenty a minute), four to a warehouse, so that a good device's work is
fanned out to three others. Good devices and probe are processes of their own, so that what they measure is not the attacker's own load.
Times are milliseconds. Everything listens on 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import queue
import socket
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from bench.sample import scan
from nahuo.demo.processes import Actor
from nahuo.founding import init_folder
from proof.report import Part
from server import commands as c
from server.authority import Authority
from server.installation import KEY, open_server, secret_of
from server.tokens import issue_reading_token, issue_token
from sync_core import gate, limits, session
from sync_core.errors import RetryableError
from sync_core.facts import Envelope, Fact
from sync_core.gate import Head, Run
from sync_core.identity import Ed25519Signer, open_signer
from sync_core.payload import encode_payload
from sync_core.session import Session, Side

PERSON: Final = "cang"
PER_WAREHOUSE: Final = 4
SPAWN: Final = multiprocessing.get_context("spawn")
EXPECTED_IN_LOG: Final = (" ready http://", "Invalid HTTP request received", "socket.send() raised exception")
"""What the server's log may hold while it is attacked; every other line is a fault. The last is asyncio's word for a
peer that left meanwhile."""


@dataclass(slots=True)
class Member:
    """A terminal: its number and key, its document, and where its chain stands."""

    number: int
    seed: bytes
    document: str
    head: Head = field(init=False)
    serial: int = 0

    def __post_init__(self) -> None:
        self.head = gate.empty_head(self.document)

    @property
    def signer(self) -> Ed25519Signer:
        """Its key."""
        return Ed25519Signer(self.seed)

    def seal(self, facts: Sequence[Fact], *, basis: Mapping[int, int] | None = None) -> bytes:
        """Return its next envelope; the chain goes on when it is `taken`."""
        envelope = Envelope(
            device=self.number, seq=self.head.seq + 1, person=PERSON, at_ms=_now_ms(), schema=1, basis=basis or {},
            facts=tuple(facts),
        )  # fmt: skip
        return gate.seal(encode_payload(envelope), self.head.digest, self.signer.sign)

    def taken(self, stored: bytes) -> None:
        """The hub took it."""
        self.head = Head(seq=self.head.seq + 1, digest=gate.digest_of(stored))

    def next_scan(self) -> Fact:
        """A label scanned in, unlike every other one."""
        self.serial += 1
        return scan(self.number, self.serial)


class Stage:
    """A founded folder, its members, and its server while the `with` lasts."""

    def __init__(self, folder: Path, *, members: int, per_warehouse: int = PER_WAREHOUSE) -> None:
        self.data = folder / "server"
        self.log = folder / "server.log"
        self.members = _found(self.data, members, per_warehouse)
        signer = open_signer(self.data / KEY)
        self.secret, self.server_key = secret_of(signer), signer.public_key
        self.server = Actor(name="server", arguments=["server", "--data", str(self.data), "--port", "0"], log=self.log)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self.server.stop()

    def start(self) -> None:
        """Start the server."""
        self.server.start()
        self.server.wait()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server.url.rpartition(":")[2])

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.server.process is not None
        return self.server.process.pid

    def token(self, member: Member) -> str:
        """A device's token, as the server would give it."""
        return issue_token(self.secret, member.number, now_ms=_now_ms())

    def reading_token(self, *documents: str, hours: int = 1) -> str:
        """A third party's token."""
        return issue_reading_token(self.secret, frozenset(documents), until_ms=_now_ms() + hours * 3_600_000)

    def memory_mib(self) -> float:
        """Resident memory of the server's process."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024

    def quarantined(self) -> int:
        """Rows in its quarantine."""
        with closing(sqlite3.connect(f"file:{self.data / 'nahuo.db'}?mode=ro", uri=True)) as conn:
            return int(conn.execute("SELECT count(*) FROM quarantine").fetchone()[0])

    def log_faults(self) -> list[str]:
        """What the server's log holds that no refusal explains."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if line.strip() and not any(words in line for words in EXPECTED_IN_LOG)]


@dataclass(slots=True, kw_only=True)
class Work:
    """What the good devices did: milliseconds to each acknowledgement, and {device: acknowledged stored bytes' SHA-256, in order}."""

    waits_ms: list[float] = field(default_factory=list)
    acked: dict[int, list[str]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    """Connections that ended under a good device, and envelopes that were refused it."""

    def tell_cut_off(self, part: Part) -> None:
        """Add whether all of them were let work."""
        part.add(
            "good devices cut off or refused",
            str(len(self.broken)),
            f"{len(self.acked)} devices",
            goal="0",
            holds=not self.broken,
        )


class GoodDevices:
    """Some members at work in a process of their own, each one scan every `gap_s`, until `stop`."""

    def __init__(self, stage: Stage, members: Sequence[Member], *, gap_s: float) -> None:
        self._stop = SPAWN.Event()
        self._told: Any = SPAWN.Queue()
        who = [(member.number, member.seed, member.document, stage.token(member)) for member in members]
        self._process = SPAWN.Process(
            daemon=True, target=_work_apart, args=(stage.port, who, gap_s, self._stop, self._told)
        )
        self._process.start()
        assert self._told.get(timeout=120) == "all are connected"

    def waits(self) -> list[float]:
        """The waits since this was last asked."""
        found: list[float] = []
        with suppress(queue.Empty):
            while True:
                found += self._told.get_nowait()
        return found

    def stop(self) -> Work:
        """Let them finish what they said, and tell."""
        waits: list[float] = []
        self._stop.set()
        while True:
            told = self._told.get(timeout=120)
            if isinstance(told, Work):
                break
            waits += told
        self._process.join()
        told.waits_ms = waits
        return told


class HealthProbe:
    """Asks `GET /api/health` again and again from a process of its own."""

    def __init__(self, port: int) -> None:
        self._stop = SPAWN.Event()
        self._told: Any = SPAWN.Queue()
        self._process = SPAWN.Process(daemon=True, target=_probe_apart, args=(port, self._stop, self._told))
        self._process.start()

    def waits(self) -> list[float]:
        """The waits since this was last asked; a missing answer counts as its whole time."""
        found: list[float] = []
        with suppress(queue.Empty):
            while True:
                found.append(self._told.get_nowait())
        return found

    def stop(self) -> list[float]:
        """End it; what it has not told yet."""
        self._stop.set()
        found = []
        while (told := self._told.get(timeout=60)) is not None:
            found.append(told)
        self._process.join()
        return found


def _found(data: Path, members: int, per_warehouse: int) -> list[Member]:
    """Make the folder and enrol so many terminals, without a process."""
    init_folder(data, admin="admin", password="proof-admin-password", zone="Asia/Shanghai", database=None)
    server = open_server(data, now_ms=_now_ms(), synchronous="OFF")
    try:
        store = server.store
        c.submit(
            store,
            c.PersonCreate(id=PERSON, name=PERSON, pin_salt="00" * 16, pin_hash="11" * 32),
            by="platform:admin",
            now_ms=_now_ms(),
        )
        asked = []
        for place in range(members):
            seed = hashlib.sha256(b"proof member %d" % place).digest()
            _, digest = c.new_enrol_code()
            warehouse = f"w{place // per_warehouse}"
            code = c.DeviceCode(
                code_digest=digest, role="warehouse", name=f"t{place}", people=[PERSON], warehouse=warehouse
            )
            c.submit(store, code, by="platform:admin", now_ms=_now_ms())
            enrol = c.DeviceEnrol(code_digest=digest, public_key=Ed25519Signer(seed).public_key.hex())
            asked.append((seed, f"warehouse/{warehouse}/1", c.submit(store, enrol, by="device:new", now_ms=_now_ms())))
        Authority(server).run_all(_now_ms())
        made = []
        for seed, document, command in asked:
            told = c.outcome(store, command)
            assert told is not None
            assert told["ok"], told
            assert document in told["documents"], told
            made.append(Member(number=told["number"], seed=seed, document=document))
        return made
    finally:
        server.store.close()


# --- the good devices ---------------------------------------------------------------------------------------------------


def _work_apart(port: int, who: Sequence[tuple[int, bytes, str, str]], gap_s: float, stop: Event, told: Any) -> None:
    asyncio.run(_work_all(port, who, gap_s, stop, told))


async def _work_all(
    port: int, who: Sequence[tuple[int, bytes, str, str]], gap_s: float, stop: Event, told: Any
) -> None:
    work = Work()
    workers = [_Worker(port, Member(number, seed, document), token, work) for number, seed, document, token in who]
    for worker in workers:
        await worker.open()
    told.put("all are connected")
    ended = asyncio.Event()
    running = [
        asyncio.create_task(worker.run(gap_s, offset_s=gap_s * place / len(workers), ended=ended))
        for place, worker in enumerate(workers)
    ]
    while not stop.is_set():
        await asyncio.sleep(0.25)
        waits, work.waits_ms = work.waits_ms, []
        told.put(waits)
    ended.set()
    await asyncio.gather(*running)
    waits, work.waits_ms = work.waits_ms, []
    told.put(waits)
    told.put(work)


class _Worker:
    """One good device: a real session on a real socket, one envelope after the other; it connects again when it is cut off, and says so."""

    def __init__(self, port: int, member: Member, token: str, work: Work) -> None:
        self._url, self._token = f"ws://127.0.0.1:{port}/sync", token
        self._member, self._work = member, work
        self._said: list[bytes] = []
        self._acked = 0
        self._moved = asyncio.Event()
        self._talk = Session(Side.DEVICE, now_ms=0)
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._have: dict[int, int] = {}

    async def open(self) -> None:
        self._socket = await connect(
            self._url, additional_headers={"Authorization": f"Bearer {self._token}"}, compression=None, proxy=None,
            max_size=limits.FRAME_BYTES_MAX, ping_interval=None, open_timeout=60,
        )  # fmt: skip
        self._talk = Session(Side.DEVICE, now_ms=0)
        self._talk.open(self._member.document, self._have)
        await self._flush()
        self._reader = asyncio.create_task(self._read())

    async def run(self, gap_s: float, *, offset_s: float, ended: asyncio.Event) -> None:
        member = self._member
        next_at = time.monotonic() + offset_s
        while not ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, next_at - time.monotonic())):
                    await ended.wait()
            next_at += gap_s
            stored = member.seal([member.next_scan()])
            member.taken(stored)
            self._said.append(stored)
            self._have[member.number] = len(self._said)
            began = time.monotonic()
            self._talk.committed(member.document, {member.number: len(self._said)})
            with suppress(WebSocketException, OSError):
                await self._flush()
            await self._until_acked(began)
            self._work.waits_ms.append((time.monotonic() - began) * 1000)
        self._work.acked[member.number] = [hashlib.sha256(stored).hexdigest() for stored in self._said[: self._acked]]
        assert self._socket is not None
        assert self._reader is not None
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._socket.close()

    async def _until_acked(self, began: float) -> None:
        while self._acked < len(self._said):
            assert self._reader is not None
            if self._reader.done():
                self._work.broken.append(f"device {self._member.number}: {self._reader.exception()!r}")
                if len(self._work.broken) > 1_000 or time.monotonic() - began > 60:
                    raise RetryableError("a good device cannot work")
                with suppress(WebSocketException, OSError, TimeoutError):
                    await self.open()
                continue
            self._moved.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._moved.wait()
            if time.monotonic() - began > 60:
                raise RetryableError(f"device {self._member.number} was not answered for a minute")

    async def _read(self) -> None:
        assert self._socket is not None
        while True:
            message = await self._socket.recv(decode=False)
            for event in self._talk.receive(message, now_ms=0):
                self._take(event)
            await self._flush()

    def _take(self, event: session.Event) -> None:
        match event:
            case session.Received(document=document, runs=runs):
                heads = {run.device: run.last_seq for run in runs}
                for device, seq in heads.items():
                    if device != self._member.number:
                        self._have[device] = max(seq, self._have.get(device, 0))
                self._talk.settle(document, heads=heads, applied=True)
            case session.Acknowledged(vector=vector):
                self._acked = max(self._acked, vector.get(self._member.number, 0))
                self._moved.set()
            case session.AccessDenied() | session.Refused() | session.Violation():
                self._work.broken.append(f"device {self._member.number}: {event}"[:300])
            case _:
                pass

    async def _flush(self) -> None:
        assert self._socket is not None
        for frame in self._talk.take_frames():
            await self._socket.send(frame)
        while ready := self._talk.wanted():
            for document, have in ready:
                self._talk.offer(document, self._missing(have))
            for frame in self._talk.take_frames():
                await self._socket.send(frame)

    def _missing(self, have: Mapping[int, int]) -> Sequence[Run]:
        after = have.get(self._member.number, 0)
        if after >= len(self._said):
            return ()
        run = Run(device=self._member.number, first_seq=after + 1, stored=tuple(self._said[after:]))
        return gate.split_runs([run])[0]


# --- the probe ----------------------------------------------------------------------------------------------------------

PROBE_GAP_S: Final = 0.02
PROBE_WAIT_S: Final = 10.0


def _probe_apart(port: int, stop: Event, told: Any) -> None:
    while not stop.is_set():
        began = time.monotonic()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=PROBE_WAIT_S) as asked:
                asked.sendall(b"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                answer = asked.recv(4096)
            took = time.monotonic() - began if answer.startswith(b"HTTP/1.1 200") else PROBE_WAIT_S
        except OSError:
            took = PROBE_WAIT_S
        told.put(took * 1000)
        time.sleep(PROBE_GAP_S)
    told.put(None)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
