"""A small market for client tests: a real replica, a server whose envelopes are really signed and admitted, and no network."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx

from clients.field.main import CLIENT as FIELD
from clients.runtime.device_key import DeviceKey
from clients.runtime.launch import DATABASE, build_routes
from clients.runtime.node import Node
from clients.runtime.ports import LinkState
from clients.runtime.printing import SpoolPrinters
from clients.runtime.serve import build_app
from clients.runtime.sign_in import hash_pin
from clients.runtime.system import AesUnsealer
from clients.warehouse.main import CLIENT as WAREHOUSE
from sync_core import gate
from sync_core.errors import RetryableError
from sync_core.facts import Envelope, Fact, Json
from sync_core.gate import Run
from sync_core.identity import Ed25519Signer
from sync_core.payload import encode_payload
from sync_core.replica import Replica
from trade import kinds
from trade.projections import MARKET_DAY

DEVICE = 101
TERMINAL = 201
NOW_MS = 1_777_600_000_000
"""2026-05-01 09:46:40 in Shanghai: business day 2026-05-01."""
DAY = "2026-05-01"
PORT = 8799
TOKEN = "f" * 32
PIN = "2468"
ROUTE = f"route/{DAY}-{DEVICE}"
TRIP = f"route/{DAY}-trip-1"
WALL = "warehouse/main/1"


class SetClock:
    """A clock the test sets; implements `Clock`."""

    def __init__(self) -> None:
        self.wall = NOW_MS
        self.steady = 5_000_000
        self.boot_name = "boot-1"

    def wall_ms(self) -> int:
        return self.wall

    def steady_ms(self) -> int:
        return self.steady

    def boot(self) -> str:
        return self.boot_name

    def advance(self, ms: int) -> None:
        """Let time pass on both clocks."""
        self.wall += ms
        self.steady += ms


class NoLink:
    """No server at all; implements `Link`."""

    def __init__(self) -> None:
        self.enabled = True
        self.notified = 0
        self.heard_ms: tuple[int, int] | None = None
        """What a test lets the server be heard."""
        self.lacking: set[str] = set()
        """Documents of which a test lets the server lack something that is here."""

    def state(self) -> LinkState:
        return LinkState(status="offline", since_ms=NOW_MS, last_ack_ms=None)

    def heard(self, document: str) -> tuple[int, int] | None:
        return self.heard_ms

    def hub_has(self, document: str) -> bool:
        return document not in self.lacking

    def notify(self) -> None:
        self.notified += 1

    async def run(self) -> None:
        await asyncio.Event().wait()


@dataclass
class Door:
    """A server that answers what the test put here, or is out of reach; implements `ServerDoor`."""

    keys: dict[str, str] = field(default_factory=dict)
    reachable: bool = True
    asked: list[list[str]] = field(default_factory=list)
    keys_shown: list[str] = field(default_factory=list)

    async def enrol(self, body: Mapping[str, Json]) -> Mapping[str, Json]:
        raise RetryableError("the server cannot be reached")

    async def renumber(self, body: Mapping[str, Json]) -> Mapping[str, Json]:
        if not self.reachable:
            raise RetryableError("the server cannot be reached")
        self.keys_shown.append(str(body["public_key"]))
        return {"number": 150, "server_key": "00" * 32}

    async def parcel_keys(self, parcels: Sequence[str]) -> Mapping[str, str]:
        if not self.reachable:
            raise RetryableError("the server cannot be reached")
        self.asked.append(list(parcels))
        return {parcel: key for parcel, key in self.keys.items() if parcel in parcels}


class Server:
    """Number 0: writes signed, chained envelopes, as they would arrive over the link."""

    def __init__(self) -> None:
        self._signer = Ed25519Signer(bytes(range(32)))
        self._heads: dict[tuple[str, str], tuple[int, bytes]] = {}
        self.public_key = self._signer.public_key

    def say(self, replica: Replica, document: str, *facts: Fact, at_ms: int = NOW_MS - 3_600_000) -> None:
        """Write one envelope into a replica through the way a peer's bytes come in."""
        key = (str(replica.path), document)
        seq, digest = self._heads.get(key, (0, gate.empty_head(document).digest))
        known = {w: s for w, s in replica.state_vector(document).items() if w != 0}
        envelope = Envelope(
            device=0, seq=seq + 1, person="server", at_ms=at_ms, schema=1, basis=known, facts=tuple(facts)
        )
        stored = gate.seal(encode_payload(envelope), digest, self._signer.sign)
        admitted = replica.admit(document, [Run(device=0, first_seq=seq + 1, stored=(stored,))])
        assert not admitted.refusals, admitted.refusals
        self._heads[key] = (seq + 1, gate.digest_of(stored))


@dataclass
class Bench:
    """One client on a real replica, driven over its real application without a socket."""

    node: Node
    replica: Replica
    clock: SetClock
    link: NoLink
    door: Door
    server: Server
    printers: SpoolPrinters
    app: Any
    key: DeviceKey

    def say(self, document: str, *facts: Fact, at_ms: int = NOW_MS - 3_600_000) -> None:
        """Let the server say something."""
        self.server.say(self.replica, document, *facts, at_ms=at_ms)

    def browser(self, **headers: str) -> httpx.AsyncClient:
        """Return a client that carries the token and asks for JSON."""
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.app),
            base_url=f"http://127.0.0.1:{PORT}",
            headers={"x-nahuo-token": TOKEN, "accept": "application/json", **headers},
        )

    async def post(self, path: str, **fields: str) -> dict[str, Any]:
        """Post a form as a program does; the answer holds `status` as well."""
        async with self.browser() as browser:
            answer = await browser.post(path, data=fields)
        return {"status": answer.status_code, **answer.json()}

    async def get(self, path: str) -> dict[str, Any]:
        """Get a page as JSON."""
        async with self.browser() as browser:
            answer = await browser.get(path)
        return {"status": answer.status_code, **answer.json()}

    def sign_in(self) -> None:
        """Let the first person in."""
        people = self.node.people()
        self.node.sign_in.sign_in(people, people[0]["id"], PIN)

    def facts(self) -> int:
        """How many envelopes this device has said."""
        row = self.replica.conn.execute("SELECT count(*) FROM envelope WHERE device = ?", (self.node.number,))
        return int(row.fetchone()[0])

    def count(self, table: str) -> int:
        """How many rows a table has."""
        return int(self.replica.conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """A transaction of the replica."""
        return self.replica.transaction()


def open_bench(folder: Path, *, client: Literal["field", "warehouse"], server: Server | None = None) -> Bench:
    """Return an enrolled client whose scope and people are known; nobody is signed in."""
    chosen = FIELD if client == "field" else WAREHOUSE
    number = DEVICE if client == "field" else TERMINAL
    server = server or Server()
    clock, link, door = SetClock(), NoLink(), Door()
    replica = Replica.open(folder / DATABASE, MARKET_DAY, synchronous="OFF")
    signer = DeviceKey(folder, replica)
    if replica.number is None:
        replica.enrol(number=number, server_key=server.public_key, certificate={"number": number})
    printers = SpoolPrinters(replica, clock, chosen.printers)
    node = Node(
        folder=folder, replica=replica, clock=clock, printers=printers, link=link, door=door, unsealer=AesUnsealer()
    )
    routes = build_routes(chosen, node, signer=signer, server="http://127.0.0.1:1")
    bench = Bench(
        node=node,
        replica=replica,
        clock=clock,
        link=link,
        door=door,
        server=server,
        printers=printers,
        app=build_app(routes, port=PORT, token=TOKEN),
        key=signer,
    )
    documents = [ROUTE, TRIP] if client == "field" else [WALL]
    own = f"device/{number}/1"
    opened = Fact(kind="document.opened", subjects=("document",), body={"writers": {}})
    bench.say(own, opened, scope(documents, client).about(f"device:{number}"))
    return bench


def scope(documents: list[str], client: str) -> kinds.DeviceScope:
    """Return what the server lets the device do, with one person whose PIN is `PIN`."""
    person = kinds.Person(id="p1", name="小王", pin_salt="5a" * 16, pin_hash=hash_pin(PIN, "5a" * 16))
    role = kinds.Role.PICKER if client == "field" else kinds.Role.WAREHOUSE
    return kinds.DeviceScope(
        role=role, organisation="platform", documents=documents, people=[person], terminal_name="一号台"
    )


def opened(**writers: str) -> Fact:
    """`document.opened` with writers like n101="picker"."""
    return Fact(
        kind="document.opened",
        subjects=("document",),
        body={"writers": {number[1:]: role for number, role in writers.items()}},
    )


def assigned(order: int, piece: int = 1, /, **changes: Any) -> Fact:
    """Return the assignment of one wanted piece of order `order`."""
    fields: dict[str, Any] = {
        "source": "stall", "order_no": f"26050112345{order}", "merchant": "M1", "merchant_name": "小店", "shop": "S1",
        "line": f"O{order}-L1", "copy_no": piece, "copies": 1, "piece_no": piece, "order_pieces": 1, "title": "夏季连衣裙",
        "style": "8821#", "colour": "黑色", "size": "M", "market": "国大", "floor": "3F", "stall": "315", "drop_ship": True,
        "quote_fen": 6500, "cap_fen": 6500, "day": DAY, "attempt": 1, "assigned_to": DEVICE,
    }  # fmt: skip
    return kinds.TaskAssigned(**{**fields, **changes}).about(f"task:T{order}-{piece}", f"order:O{order}")
