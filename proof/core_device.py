"""A phone on its core path, in a process of its own that may lose its power at any system call.

`python -m proof.core_device FOLDER MARKS ROUNDS [SYNCHRONOUS [early|deaf]]`.

The real field application over its real replica (FULL sync), spool and key files; only the socket is left out: forms go straight into the
application, and a server of this process says and acknowledges what a hub would. After everything a person was shown as done one line is
written to MARKS, in one system call, so that a recording knows what must be there from that call on. Started again it goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from clients.field.main import CLIENT
from clients.runtime.device_key import DeviceKey
from clients.runtime.launch import DATABASE, build_routes
from clients.runtime.node import Node
from clients.runtime.ports import LinkState
from clients.runtime.printing import SpoolPrinters
from clients.runtime.serve import build_app
from clients.runtime.sign_in import hash_pin
from clients.runtime.system import AesUnsealer, SystemClock
from sync_core import gate
from sync_core.errors import DiskError, NahuoError, RefusedError, RetryableError
from sync_core.facts import Envelope, Fact, Json
from sync_core.gate import Run
from sync_core.identity import Ed25519Signer
from sync_core.payload import encode_payload
from sync_core.replica import Replica
from trade import kinds
from trade.projections import MARKET_DAY

NUMBER: Final = 101
DAY: Final = "2026-11-24"
ROUTE: Final = f"route/{DAY}-{NUMBER}"
OWN: Final = f"device/{NUMBER}/1"
PIN: Final = "2468"
PORT: Final = 8799
TOKEN: Final = "f" * 32
SERVER_SEED: Final = bytes(range(32))
CHECKPOINT_PAGES: Final = 40
"""Small, so that checkpoints fall into every recording."""
PRINTED_SECONDS_MAX: Final = 5


class Marks:
    """What was shown as done, one line a thing."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def __call__(self, **said: Any) -> None:
        """Write one line in one call."""
        os.write(self._descriptor, (json.dumps(said) + "\n").encode())


class NoLink:
    """No socket; implements `Link`."""

    enabled = True

    def state(self) -> LinkState:
        """Offline."""
        return LinkState(status="offline", since_ms=None, last_ack_ms=None)

    def heard(self, document: str) -> tuple[int, int] | None:  # noqa: ARG002
        """Nothing was ever heard."""
        return None

    def hub_has(self, document: str) -> bool:  # noqa: ARG002
        """No server was seen to have anything."""
        return False

    def notify(self) -> None:
        """Nobody is woken."""

    async def run(self) -> None:
        """Stay away."""
        await asyncio.Event().wait()


class NoDoor:
    """A server that cannot be reached; implements `ServerDoor`."""

    async def enrol(self, body: Mapping[str, Json]) -> Mapping[str, Json]:  # noqa: ARG002
        """Never."""
        raise RetryableError("the server cannot be reached")

    async def renumber(self, body: Mapping[str, Json]) -> Mapping[str, Json]:  # noqa: ARG002
        """Never."""
        raise RetryableError("the server cannot be reached")

    async def parcel_keys(self, parcels: Sequence[str]) -> Mapping[str, str]:  # noqa: ARG002
        """None."""
        return {}


class Said:
    """The server's voice in this replica: signs envelopes that continue what is there, as they would come over the link."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._signer = Ed25519Signer(SERVER_SEED)
        self.public_key = self._signer.public_key

    def __call__(self, document: str, *facts: Fact) -> None:
        """Say one envelope."""
        row = self._replica.conn.execute(
            "SELECT seq, digest FROM writer WHERE document = ? AND device = 0", (document,)
        ).fetchone()
        seq, digest = row or (0, gate.empty_head(document).digest)
        known = {w: s for w, s in self._replica.state_vector(document).items() if w != 0}
        envelope = Envelope(
            device=0, seq=seq + 1, person="server", at_ms=1_795_000_000_000 + seq, schema=1, basis=known, facts=facts
        )
        stored = gate.seal(encode_payload(envelope), digest, self._signer.sign)
        admitted = self._replica.admit(document, [Run(device=0, first_seq=seq + 1, stored=(stored,))])
        if admitted.refusals:
            raise RefusedError(admitted.refusals[0].code, admitted.refusals[0].detail)


class Phone:
    """One phone, from its first start."""

    def __init__(self, folder: Path, marks: Marks, *, synchronous: str = "FULL") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.marks = marks
        self.replica = Replica.open(folder / DATABASE, MARKET_DAY, synchronous=synchronous)
        self.replica.conn.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        self.replica.fold_at_once_max = 6
        self.key = DeviceKey(folder, self.replica)
        self.said = Said(self.replica)
        if self.replica.number is None:
            self.replica.enrol(number=NUMBER, server_key=self.said.public_key, certificate={"number": NUMBER})
            marks(number=NUMBER, key=self.key.public_key.hex())
        printers = SpoolPrinters(self.replica, SystemClock(), CLIENT.printers)
        self.node = Node(
            folder=folder,
            replica=self.replica,
            clock=SystemClock(),
            printers=printers,
            link=NoLink(),
            door=NoDoor(),
            unsealer=AesUnsealer(),
        )
        routes = build_routes(CLIENT, self.node, signer=self.key, server="http://127.0.0.1:1")
        printers.choose("label", f"file:{folder / 'paper'}", "tspl")
        self._browser = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=build_app(routes, port=PORT, token=TOKEN)),
            base_url=f"http://127.0.0.1:{PORT}",
            headers={"x-nahuo-token": TOKEN, "accept": "application/json"},
        )
        self.refused: list[dict[str, Any]] = []
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Learn who may sign in, sign in, and let the printers run."""
        if not self.replica.state_vector(OWN):
            salt = "5a" * 16
            person = kinds.Person(id="p1", name="小王", pin_salt=salt, pin_hash=hash_pin(PIN, salt))
            scope = kinds.DeviceScope(
                role=kinds.Role.PICKER, organisation="platform", documents=[ROUTE], people=[person]
            )
            opened = Fact(kind="document.opened", subjects=("document",), body={"writers": {}})
            self.said(OWN, opened, scope.about(f"device:{NUMBER}"))
        if not self.replica.state_vector(ROUTE):
            self.said(
                ROUTE, Fact(kind="document.opened", subjects=("document",), body={"writers": {str(NUMBER): "picker"}})
            )
        people = self.node.people()
        self.node.sign_in.sign_in(people, people[0]["id"], PIN)
        self._running = asyncio.create_task(self.node.run())

    async def do(self, path: str, **fields: str) -> dict[str, Any]:
        """Send a form; a refusal is noted and returned."""
        answer = await self._browser.post(path, data=fields)
        body = dict(answer.json())
        if answer.status_code >= 300:
            self.refused.append({"path": path, "status": answer.status_code, **body})
        return body

    async def round(self, n: int) -> None:
        """Four tasks come: one is bought, one answered, one bought and taken back, one bounced. Labels come out, the hub acknowledges."""
        first = 4 * n + 1
        if self.replica.state(f"task:T{first + 3}-1") is None:
            self.said(ROUTE, *(assigned(first + i) for i in range(4)))
        self._fold()
        if isinstance(self.marks, EarlyMarks):
            self.marks.promise(self.replica.state_vector(ROUTE).get(NUMBER, 0) + 1, f"task:T{first}-1")
        bought = await self.do("/buy", tasks=f"T{first}-1", confirm="1", late_shown="1")
        if bought.get("ok"):
            self.marks(
                facts=bought["facts"],
                subjects=[f"task:T{first}-1", f"piece:{bought['pieces'][0]}"],
                label=bought["pieces"][0],
            )
        await self._say("/answer", f"T{first + 1}-1", answer="out_of_stock")
        taken = await self.do("/buy", tasks=f"T{first + 2}-1", confirm="1", late_shown="1")
        if taken.get("ok"):
            self.marks(facts=taken["facts"], subjects=[f"task:T{first + 2}-1", f"piece:{taken['pieces'][0]}"])
            await self._say("/undo", f"T{first + 2}-1")
        await self._say("/bounce", f"T{first + 3}-1", price="99.00")
        await self._printed()
        vector = self.replica.state_vector(ROUTE)
        self.replica.acknowledged(ROUTE, {NUMBER: vector.get(NUMBER, 0) - n % 3}, whole=False, at_ms=1)
        self._fold()
        if n % 5 == 4:
            self.replica.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _fold(self) -> None:
        while self.replica.fold_some():
            pass

    async def _say(self, path: str, task: str, **fields: str) -> None:
        name = "task" if path == "/undo" else "tasks"
        answer = await self.do(path, **{name: task}, **fields)
        if answer.get("ok"):
            self.marks(facts=answer["facts"], subjects=[f"task:{task}"])

    async def _printed(self) -> None:
        """Wait until the labels are out, as long as a person would."""
        until = time.monotonic() + PRINTED_SECONDS_MAX
        while time.monotonic() < until:
            if not self.node.printers.states()[0].waiting:
                return
            await asyncio.sleep(0.002)

    async def stop(self) -> None:
        """Close in order.

        Raises:
            Exception: what ended the node's work before its time.
        """
        await self._browser.aclose()
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
        self.node.close()


def assigned(n: int) -> Fact:
    """A task as the server assigns it."""
    body = kinds.TaskAssigned(
        source="stall", order_no=f"29{n:014d}", merchant="m1", merchant_name="小店", shop="S1", line=f"O{n}-1", copy_no=1, copies=1,
        piece_no=1, order_pieces=1, title="夏季连衣裙", style="8821#", colour="黑色", size="M", market="国大", floor="3F",
        stall=str(300 + n % 7), drop_ship=True, quote_fen=6500, cap_fen=6500, day=DAY, attempt=1, assigned_to=NUMBER,
    )  # fmt: skip
    return body.about(f"task:T{n}-1", f"order:O{n}")


async def live(folder: Path, marks: Marks, *, rounds: int, synchronous: str = "FULL") -> list[dict[str, Any]]:
    """Work so many rounds, closing and opening the files every few; return the refusals that were shown."""
    refused: list[dict[str, Any]] = []
    done = 0
    while done < rounds:
        phone = Phone(folder, marks, synchronous=synchronous)
        try:
            await phone.start()
            for n in range(done, min(done + 6, rounds)):
                await phone.round(n)
        finally:
            await phone.stop()
        refused += phone.refused
        done += 6
    return refused


class EarlyMarks(Marks):
    """A planted fault: says "done" for the next number before anything of it is on the disk."""

    def promise(self, seq: int, subject: str) -> None:
        """Say it."""
        super().__call__(facts=[f"{NUMBER}.{seq}.0"], subjects=[subject])


def swallow_errors_of_commits() -> None:
    """A planted fault: what the disk says of a commit is heard by nobody, and the action counts as done."""
    real = Replica.transaction

    @contextlib.contextmanager
    def deaf(self: Replica) -> Iterator[sqlite3.Connection]:
        with contextlib.suppress(DiskError), real(self) as conn:
            yield conn

    Replica.transaction = deaf  # type: ignore[method-assign, assignment]


def main(argv: list[str]) -> int:
    """Run; a fault that stops the phone is told in a plain sentence, as the program itself does."""
    folder = Path(argv[0])
    marks = EarlyMarks(Path(argv[1])) if "early" in argv[3:] else Marks(Path(argv[1]))
    if "deaf" in argv[4:]:
        swallow_errors_of_commits()
    marks(started=True)
    try:
        refused = asyncio.run(
            live(folder, marks, rounds=int(argv[2]), synchronous=argv[3] if len(argv) > 3 else "FULL")
        )
    except NahuoError as error:
        marks(stopped=error.code, words=str(error))
        print(f"{error} [{error.code}]", file=sys.stderr)
        return 1
    marks(ended=True, refused=[{"code": r.get("code"), "words": r.get("zh"), "status": r["status"]} for r in refused])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
