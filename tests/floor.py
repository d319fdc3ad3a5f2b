"""A market floor in one process: a real server with its authority, and real replicas joined to it by two real sessions each.

No sockets and no clock: `Phone.sync` runs one connection to its rest, as the link and the endpoint would, renumbering included.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from server import commands as c
from server import schema as s
from sync_core import limits, session, wire
from sync_core.facts import Fact
from sync_core.fold import Trade
from sync_core.hub import Submission, commit_batch, refusal_message
from sync_core.identity import Ed25519Signer, Signer
from sync_core.replica import INSTALL_TOKEN, Replica
from sync_core.session import READ_WRITE, Session, Side
from tests.unit.server.day import Day
from trade import kinds
from trade.piece_code import mint_piece_code
from trade.projections import MARKET_DAY

ROUNDS_MAX = 400


@dataclass
class Phone:
    """A device with a real replica. `keys` are made of its name and count, so that runs are alike."""

    day: Day
    folder: Path
    person: str
    trade: Trade = MARKET_DAY
    made: int = 0
    refused: list[Mapping[str, Any]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    hello: dict[str, Any] = field(default_factory=dict)
    replica: Replica = field(init=False)
    signer: Signer = field(init=False)

    def __post_init__(self) -> None:
        self.open()

    # --- its life -----------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        self.replica = Replica.open(self.folder / "replica.db", self.trade, synchronous="OFF")
        self.signer = Ed25519Signer(bytes.fromhex(str(self.replica.setting("test_key", self._seed().hex()))))
        self.replica.use_key(self.signer)

    def close(self) -> None:
        self.replica.close()

    def _seed(self) -> bytes:
        return f"{self.folder.name} {self.made}".encode().ljust(32, b"\0")[:32]

    def enrol(self, role: str = "picker", *, organisation: str = "platform", warehouse: str = "main") -> Phone:
        """Enrol it with a person of its own."""
        salt, digest = "00" * 16, "11" * 32
        person = c.PersonCreate(
            id=self.person, name=self.person, organisation=organisation, pin_salt=salt, pin_hash=digest
        )
        self.day.do(person)
        code, code_digest = c.new_enrol_code()
        body = {
            "code_digest": code_digest, "role": role, "name": self.person, "people": [self.person],
            "organisation": organisation, "warehouse": warehouse,
        }  # fmt: skip
        self.day.do(c.DeviceCode.model_validate(body))
        ask = c.DeviceEnrol(code_digest=c.enrol_code_digest(code), public_key=self.signer.public_key.hex())
        told = self.day.do(ask)
        with self.replica.transaction():
            self.replica.set_setting("test_key", self._seed().hex())
        self.replica.enrol(number=told["number"], server_key=bytes.fromhex(told["server_key"]), certificate=told)
        self.numbers.append(told["number"])
        return self

    def copy_to(self, folder: Path, *, token: bool) -> Phone:
        """Copy its files, as a backup, an SD card or another phone would have them."""
        self.close()
        shutil.copytree(self.folder, folder)
        if not token:
            (folder / INSTALL_TOKEN).unlink(missing_ok=True)
        self.open()
        return Phone(day=self.day, folder=folder, person=self.person, trade=self.trade)

    @property
    def number(self) -> int:
        number = self.replica.number
        assert number is not None
        return number

    # --- its hands ----------------------------------------------------------------------------------------------------------

    def route(self) -> str:
        return next(name for name in self.replica.documents() if name.startswith("route/"))

    def say(self, document: str, *facts: Fact, at_ms: int | None = None) -> tuple[str, ...]:
        return self.replica.act(document, facts, person=self.person, at_ms=self.day.now_ms if at_ms is None else at_ms)

    def buy(self, task: str, price_fen: int, *, at_ms: int | None = None) -> str:
        """Buy a task's piece; returns the code its label bears."""
        with self.replica.transaction():
            code = mint_piece_code(self.number, self.replica.next_serial())
            body = kinds.PieceBought(price_fen=price_fen, means=kinds.Means.CASH)
            fact = body.about(f"task:{task}", f"piece:{code}", "stall:国大/3F/315")
            self.say(self.route(), fact, at_ms=at_ms)
        return code

    # --- its link -----------------------------------------------------------------------------------------------------------

    def wanted(self) -> list[str]:
        state = self.replica.state(f"device:{self.number}") or {}
        named = state.get("documents") or []
        return list(dict.fromkeys([f"device/{self.number}/1", *named, *self.replica.owing()]))

    def sync(self) -> None:
        """Connect until nothing moves any more, as often as documents and numbers change; the server works meanwhile."""
        for _ in range(8):
            if self.replica.is_copy or self.replica.is_forked:
                self.renumber()
            before = (self.number, self.wanted(), self.replica.waiting().actions)
            if not _Connection(self).run():
                self.renumber()
                continue
            self.day.work()
            if _Connection(self).run() and (self.number, self.wanted(), self.replica.waiting().actions) == before:
                return

    def renumber(self) -> None:
        """What the link does with a copy: ask for a number under a fresh key, say again what was not acknowledged."""
        self.made += 1
        seed = f"{self.folder.name} again {self.made}".encode().ljust(32, b"\0")[:32]
        fresh = Ed25519Signer(seed)
        told = self.day.do(c.DeviceRenumber(device=self.number, public_key=fresh.public_key.hex()))
        with self.replica.transaction():
            self.replica.set_setting("test_key", seed.hex())
            self.replica.use_key(fresh)
            self.replica.renumber(told["number"], told)
        self.signer = fresh
        self.numbers.append(told["number"])


class _Connection:
    """One WebSocket without a socket."""

    def __init__(self, phone: Phone) -> None:
        self.phone, self.day = phone, phone.day
        self.device = Session(Side.DEVICE, now_ms=0)
        self.hub = Session(Side.HUB, now_ms=0)
        self.claimed: dict[str, Mapping[int, int]] = {}
        self.doubled = False
        known = self.day.store.key_of(phone.number)
        assert known is not None
        self.known = known

    def run(self) -> bool:
        """Talk until both ends rest; False when this device turned out to be a copy."""
        replica = self.phone.replica
        for document in self.phone.wanted():
            self.device.open(document, replica.state_vector(document), proven=replica.proven(document))
        for _ in range(ROUNDS_MAX):
            up, down = self._device_frames(), self._hub_frames()
            if not up and not down:
                while replica.fold_some():
                    pass
                return True
            for frame in up:
                for event in self.hub.receive(frame, now_ms=1):
                    self._at_hub(event)
            for frame in down:
                for event in self.device.receive(frame, now_ms=1):
                    self._at_device(event)
            if self.doubled:
                return False
        raise AssertionError("the two ends do not come to rest")

    def _device_frames(self) -> list[bytes]:
        frames = self.device.take_frames()
        for document, have in self.device.wanted():
            self.device.offer(document, self.phone.replica.missing(document, have))
        return frames + self.device.take_frames()

    def _hub_frames(self) -> list[bytes]:
        frames = self.hub.take_frames()
        for document, have in self.hub.wanted():
            lacks = self.day.store.read_missing(document, have, bytes_max=limits.UPDATE_BYTES_MAX)
            self.hub.offer(document, () if self.known.revoked else lacks)
        return frames + self.hub.take_frames()

    def _scope(self, document: str) -> str | None:
        if document in self.known.documents or document.startswith(f"device/{self.phone.number}/"):
            return READ_WRITE
        w = s.writer.c
        where = (w.document == document, w.device == self.phone.number)
        with self.day.store.reading() as conn:
            return READ_WRITE if conn.execute(select(w.device).where(*where)).first() else None

    def _at_hub(self, event: session.Event) -> None:
        match event:
            case session.AuthAsked(document=document):
                scope = self._scope(document)
                if scope is None:
                    self.hub.deny(document, reason="permission-denied")
                    return
                local = self.day.store.read_vector(document)
                later = self.hub.grant(document, scope=scope, local=local, now_ms=1)
                hello = {"protocol": wire.PROTOCOL, "clock_ms": self.day.now_ms, "revoked": self.known.revoked}
                self.hub.say(document, {"hello": hello})
                for one in later:
                    self._at_hub(one)
            case session.Received(document=document, runs=runs):
                sent = Submission(document=document, runs=runs, sent_by=self.phone.number, received_ms=self.day.now_ms)
                with self.day.store.transaction():
                    (told,) = commit_batch(self.day.store, [sent])
                refusal = None if told.refusal is None else refusal_message(document, told.refusal)
                self.hub.settle(document, heads=told.heads, applied=told.applied, refusal=refusal)
            case session.Violation(code=code, detail=detail):
                raise AssertionError(f"{code}: {detail}")
            case _:
                pass

    def _at_device(self, event: session.Event) -> None:
        replica = self.phone.replica
        match event:
            case session.Received(document=document, runs=runs):
                admitted = replica.admit(document, runs)
                assert not admitted.refusals, admitted.refusals
                self.device.settle(document, heads=admitted.heads, applied=True)
            case session.Acknowledged(document=document, vector=vector, whole=whole, claimed=claimed):
                if whole:
                    self.claimed[document] = claimed
                replica.acknowledged(document, vector, whole=whole, at_ms=1)
                self.doubled = self.doubled or replica.is_doubled(document, self.claimed.get(document, {}))
            case session.Refused(document=document, detail=detail):
                self.phone.refused.append(detail)
                replica.note_refusal(document, detail)
                self.doubled = self.doubled or replica.is_doubled(document, self.claimed.get(document, {}))
            case session.Message(message={"hello": dict(hello)}):
                self.phone.hello = hello
            case session.Violation(code=code, detail=detail):
                raise AssertionError(f"{code}: {detail}")
            case _:
                pass
