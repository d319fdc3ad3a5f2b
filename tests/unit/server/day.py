"""A market day without a network: a server in a folder, and devices that write signed envelopes straight into its log."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from server import commands as c
from server import schema as s
from server import schema_trade as st
from server.authority import Authority
from server.commands import outcome, submit
from server.installation import Server, open_server
from server.ledger import available_of, held_of
from server.ledger_reading import recount, statement
from sync_core.facts import Envelope, Fact
from sync_core.gate import HEADER_BYTES, Head, Run, digest_of, empty_head, seal
from sync_core.hub import Submission, commit_batch
from sync_core.identity import Ed25519Signer
from sync_core.payload import decode_payload, encode_payload
from trade import kinds
from trade.piece_code import mint_piece_code

START_MS = 1_800_000_000_000
HEAD = "order_no,product_code,colour,size,quantity,title,buyer,receiver_name,receiver_phone,receiver_address,message,memo,status"
RECEIVER = "王静,13700000001,广东省 广州市 天河区 学府路1号"


@dataclass(slots=True)
class Device:
    """A phone or terminal: its key, what it has seen of each document, and its own chains."""

    day: Day
    number: int
    signer: Ed25519Signer
    person: str
    heads: dict[str, Head] = field(default_factory=dict)
    seen: dict[str, dict[int, int]] = field(default_factory=dict)
    told: dict[str, dict[int, int]] = field(default_factory=dict)
    waiting: list[tuple[str, int, bytes]] = field(default_factory=list)
    serial: int = 0
    offline: bool = False

    def sync(self, document: str) -> None:
        """Read the whole document."""
        self.seen[document] = {
            device: seq for device, seq in self.day.store.read_vector(document).items() if device != self.number
        }

    def say(self, document: str, *facts: Fact, at_ms: int | None = None) -> tuple[str, ...]:
        """Say facts in one envelope; reaches the server at once unless offline."""
        if not self.offline:
            self.sync(document)
        head = self.heads.get(document) or empty_head(document)
        told = self.told.setdefault(document, {})
        basis = {device: seq for device, seq in self.seen.get(document, {}).items() if told.get(device, 0) < seq}
        told.update(basis)
        envelope = Envelope(
            device=self.number, seq=head.seq + 1, person=self.person, at_ms=at_ms or self.day.now_ms, schema=1, basis=basis,
            facts=facts,
        )  # fmt: skip
        stored = seal(encode_payload(envelope), head.digest, self.signer.sign)
        self.heads[document] = Head(seq=envelope.seq, digest=digest_of(stored))
        self.waiting.append((document, envelope.seq, stored))
        if not self.offline:
            self.deliver()
        return tuple(f"{self.number}.{envelope.seq}.{index}" for index in range(len(facts)))

    def deliver(self) -> None:
        """Send everything that waits, and let the authority work."""
        waiting, self.waiting = self.waiting, []
        batch = [
            Submission(
                document=document, runs=(Run(device=self.number, first_seq=seq, stored=(stored,)),), sent_by=self.number,
                received_ms=self.day.now_ms,
            )
            for document, seq, stored in waiting
        ]  # fmt: skip
        with self.day.store.transaction():
            outcomes = commit_batch(self.day.store, batch)
        assert all(one.applied for one in outcomes), outcomes
        self.day.work()

    def mint(self) -> str:
        """Return a fresh piece code."""
        self.serial += 1
        return mint_piece_code(self.number, self.serial)

    def buy(self, task: str, price_fen: int, *, seen_recall: bool = False, code: str = "") -> str:
        """Buy a task's piece at its stall; returns the piece code."""
        row = self.day.task(task)
        code = code or self.mint()
        body = kinds.PieceBought(price_fen=price_fen, means=kinds.Means.CASH, seen_recall=seen_recall)
        self.say(self.route(task), body.about(f"task:{task}", f"piece:{code}", row.stall_id))
        return code

    def route(self, task: str) -> str:
        """The document in which this device has the task."""
        return str(self.day.task(task).document)


@dataclass(slots=True)
class Day:
    """One server and its people."""

    server: Server
    authority: Authority
    now_ms: int = START_MS
    day: str = ""

    @property
    def store(self) -> Any:
        return self.server.store

    def work(self) -> None:
        """Let the authority do all there is."""
        self.authority.run_all(self.now_ms)
        self.store.appended = {}

    def do(self, command: c.Command, by: str = "platform:admin") -> dict[str, Any]:
        """Give a command and return its outcome, which must be good."""
        told = self.ask(command, by)
        assert told["ok"], told
        return told

    def ask(self, command: c.Command, by: str = "platform:admin") -> dict[str, Any]:
        """Give a command and return its outcome."""
        number = submit(self.store, command, by=by, now_ms=self.now_ms)
        self.work()
        told = outcome(self.store, number)
        assert told is not None
        return told

    def enrol(self, role: str, name: str) -> Device:
        """Enrol a device with a person of the same name."""
        salt, digest = "00" * 16, "11" * 32
        self.do(c.PersonCreate(id=name, name=name, pin_salt=salt, pin_hash=digest))
        code, code_digest = c.new_enrol_code()
        self.do(c.DeviceCode.model_validate({"code_digest": code_digest, "role": role, "name": name, "people": [name]}))
        signer = Ed25519Signer(name.encode().ljust(32, b"\0"))
        told = self.do(c.DeviceEnrol(code_digest=c.enrol_code_digest(code.lower()), public_key=signer.public_key.hex()))
        return Device(day=self, number=told["number"], signer=signer, person=name)

    def orders(self, *rows: str, shop: str = "小满") -> dict[str, Any]:
        """Import rows `order_no,code,quantity[,message[,receiver]]` of the plain format."""
        lines = [HEAD]
        for row in rows:
            order_no, code, quantity, *rest = row.split("|")
            message = rest[0] if rest else ""
            receiver = rest[1] if len(rest) > 1 else RECEIVER
            status = rest[2] if len(rest) > 2 else "paid"
            lines.append(f"{order_no},{code},黑色,M,{quantity},针织开衫,tb1,{receiver},{message},,{status}")
        content = base64.b64encode("\n".join(lines).encode()).decode()
        return self.do(c.OrdersImport(shop=shop, files=[c.OrderFile(name="plain.csv", content=content)]))

    def task(self, task: str) -> Any:
        return self.one(st.task, st.task.c.id == task)

    def piece(self, code: str) -> Any:
        return self.one(st.piece, st.piece.c.code == code)

    def order(self, order: str) -> Any:
        return self.one(st.shop_order, st.shop_order.c.id == order)

    def wanted(self, want: str) -> Any:
        return self.one(st.wanted, st.wanted.c.id == want)

    def parcel(self, parcel: str) -> Any:
        return self.one(st.parcel, st.parcel.c.id == parcel)

    def one(self, table: Any, *where: Any) -> Any:
        with self.store.reading() as conn:
            return conn.execute(select(table).where(*where)).one()

    def all(self, table: Any, *where: Any) -> list[Any]:
        with self.store.reading() as conn:
            return list(conn.execute(select(table).where(*where)).all())

    def said(self, document: str, kind: str) -> list[Any]:
        """Return the facts of a kind in a document, in log order."""
        rows = self.all(s.fact, s.fact.c.document == document, s.fact.c.kind == kind)
        return sorted(rows, key=lambda row: (row.n, row.place))

    def state(self, document: str, subject: str) -> dict[str, Any]:
        """Return a folded state."""
        import json

        row = self.one(s.state, s.state.c.document == document, s.state.c.subject == subject)
        return dict(json.loads(row.state))

    def money(self, merchant: str = "m1") -> tuple[int, int]:
        """Return (available, held) in fen, after a recount."""
        with self.store.reading() as conn:
            found = recount(conn)
            assert found.holds, found.faults
            assert found.sum_fen == 0
            lines = statement(conn, merchant)
            both = found.accounts.get(available_of(merchant), 0), found.accounts.get(held_of(merchant), 0)
        if lines:
            assert (lines[-1].available_fen, lines[-1].held_fen) == both
        return both

    def warehouse(self) -> str:
        return "warehouse/main/1"

    def discrepancies(self) -> list[str]:
        """The codes of open discrepancies."""
        return sorted(row.code for row in self.all(st.discrepancy, st.discrepancy.c.resolved_ms.is_(None)))


def open_day(
    path: Path, *, merchants: Sequence[str] = ("m1",), money_fen: int = 1_000_00, database: str | None = None
) -> Day:
    """Return a server with merchants, a shop each, money, courier numbers and simple fees."""
    path.mkdir(parents=True, exist_ok=True)
    server = open_server(path, database=database, synchronous="OFF", now_ms=START_MS, seed=b"s" * 32)
    day = Day(server=server, authority=Authority(server))
    day.do(c.FeesSet(commission_fen_per_piece=100, courier_fen=300, packing_fen=50))
    for merchant in merchants:
        day.do(c.MerchantCreate(id=merchant, name=f"商家{merchant}"))
        day.do(c.ShopSet(shop="小满" if merchant == "m1" else merchant, merchant=merchant))
        if money_fen:
            day.do(c.TopUp(merchant=merchant, amount_fen=money_fen, key="first"))
    day.do(c.CourierRange(courier="中通", prefix="ZT", first=1, last=500, digits=10))
    return day


def envelope_of(row: Any) -> Envelope:
    """Decode a stored log row."""
    return decode_payload(bytes(row.stored)[HEADER_BYTES:])
