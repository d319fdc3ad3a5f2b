"""A server on its core path, in a process of its own that may lose its power at any system call.

`python -m proof.core_server FOLDER MARKS ROUNDS [SYNCHRONOUS [early|deaf]]`.

The real store (FULL sync), writer thread, hub commit, authority and commands; only sockets are left out: devices of this process hand
their signed updates to the writer as a connection does. A line is written to MARKS when a device would be told "committed" and when a page
would say "done", never before. Started again it goes on, as the devices do: they offer again what the server's log lacks.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, select
from sqlalchemy.exc import OperationalError

from proof.core_device import CHECKPOINT_PAGES, Marks
from server import commands as c
from server import schema as s
from server import schema_trade as st
from server.authority import Authority
from server.commands import outcome, submit
from server.installation import open_server
from server.running import wall_clock_ms
from server.store import Store, disk_told_plainly
from server.writer import Writer
from sync_core import gate
from sync_core.errors import NahuoError, RetryableError
from sync_core.facts import Envelope, Fact
from sync_core.gate import Head, Run
from sync_core.hub import Submission
from sync_core.identity import Ed25519Signer
from sync_core.payload import encode_payload
from trade import kinds
from trade.piece_code import mint_piece_code

HEAD: Final = "order_no,product_code,colour,size,quantity,title,buyer,receiver_name,receiver_phone,receiver_address,message,memo,status"
RECEIVER: Final = "王静,13700000001,广东省 广州市 天河区 学府路1号"
ANSWER_SECONDS: Final = 20
TRIES_MAX: Final = 4
BY: Final = "platform:admin"


class Post:
    """One server with its writer thread, and the devices that talk to it."""

    def __init__(self, folder: Path, marks: Marks, *, synchronous: str = "FULL") -> None:
        self.marks = marks
        self.server = open_server(folder, synchronous=synchronous, now_ms=wall_clock_ms())
        self.store = self.server.store
        with self.store.transaction() as conn:
            conn.exec_driver_sql(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        self._writer = Writer(
            self.store, Authority(self.server), now_ms=wall_clock_ms, on_commit=lambda _document, _heads: None
        )
        self.store.wake = self._writer.nudge
        self.refused: list[str] = []
        self.acks_early = False
        """A planted fault: acknowledges before the commit."""

    def start(self) -> None:
        """Start the writer."""
        self._writer.start(asyncio.get_running_loop())

    async def stop(self) -> None:
        """End in order."""
        await asyncio.to_thread(self._writer.stop)
        self.store.close()

    # --- commands -----------------------------------------------------------------------------------------------------------

    async def do(self, command: c.Command) -> Mapping[str, Any]:
        """Leave a command and wait for its outcome; a page that failed is tried again, as a person does.

        Raises:
            RetryableError: it was never carried out.
        """
        for _ in range(TRIES_MAX):
            try:
                number = await asyncio.to_thread(submit, self.store, command, by=BY, now_ms=wall_clock_ms())
            except Exception as error:  # noqa: BLE001 - the page would answer 500: nothing was shown as done
                self.refused.append(f"{type(error).__name__}: {error}")
                continue
            told = await self._outcome(number)
            self.marks(command=number, key=getattr(command, "key", ""), ok=bool(told.get("ok")))
            return told
        raise RetryableError(f"a command was never carried out: {self.refused[-1]}")

    async def _outcome(self, number: int) -> Mapping[str, Any]:
        loop = asyncio.get_running_loop()
        until = loop.time() + ANSWER_SECONDS
        while loop.time() < until:
            try:
                told = await asyncio.to_thread(outcome, self.store, number)
            except Exception as error:  # noqa: BLE001 - asked again
                self.refused.append(f"{type(error).__name__}: {error}")
                told = None
            if told is not None:
                return told
            self._writer.nudge()
            await asyncio.sleep(0.002)
        raise RetryableError(f"command {number} got no answer; {self._writer.failure}")

    # --- devices ------------------------------------------------------------------------------------------------------------

    async def say(self, device: int, document: str, *facts: Fact) -> None:
        """Offer one envelope until it is committed, as a device does after each reconnect.

        Raises:
            RetryableError: the server never took it.
        """
        for _ in range(TRIES_MAX):
            try:
                head = (await asyncio.to_thread(self.store.heads, document)).get(device) or gate.empty_head(document)
            except Exception as error:  # noqa: BLE001 - the connection ends; the device comes back
                self.refused.append(f"{type(error).__name__}: {error}")
                continue
            submission = self._submission(device, document, head, facts)
            digest = gate.digest_of(submission.runs[0].stored[0]).hex()
            if self.acks_early:
                self.marks(acked=[document, device, head.seq + 1], digest=digest)
            try:
                told = await self._writer.submit(submission)
            except OSError as error:
                self.refused.append(f"1013: {error}")
                continue
            if told.applied:
                self.marks(acked=[document, device, head.seq + 1], digest=digest)
                return
            self.refused.append(str(told.refusal))
        raise RetryableError(f"an update was never committed: {self.refused[-1]}")

    def _submission(self, device: int, document: str, head: Head, facts: tuple[Fact, ...]) -> Submission:
        envelope = Envelope(
            device=device, seq=head.seq + 1, person="lin", at_ms=wall_clock_ms(), schema=1, basis={}, facts=facts
        )
        stored = gate.seal(encode_payload(envelope), head.digest, _key(device).sign)
        run = Run(device=device, first_seq=head.seq + 1, stored=(stored,))
        return Submission(document=document, runs=(run,), sent_by=device, received_ms=wall_clock_ms())

    async def enrol(self) -> int:
        """Return the number of the picker's phone, enrolled once."""
        known = [device.number for device in self.store.devices()]
        if known:
            return known[0]
        await self.do(c.PersonCreate(id="lin", name="阿林", pin_salt="00" * 16, pin_hash="11" * 32))
        code, digest = c.new_enrol_code()
        await self.do(
            c.DeviceCode.model_validate({"code_digest": digest, "role": "picker", "name": "phone", "people": ["lin"]})
        )
        # Its number is the first there is: the key may be made from it.
        told = await self.do(
            c.DeviceEnrol(code_digest=c.enrol_code_digest(code.lower()), public_key=_key(100).public_key.hex())
        )
        return int(told["number"])

    def open_tasks(self, device: int) -> list[Any]:
        """The tasks on the phone that nobody bought."""
        with self.store.reading() as conn:
            t = st.task.c
            held = conn.execute(select(t.id, t.document, t.stall_id).where(t.device == device)).all()
            bought = {row[0] for row in conn.execute(select(s.fact.c.subjects).where(s.fact.c.kind == "piece.bought"))}
        return [row for row in held if not any(f'"task:{row.id}"' in subjects for subjects in bought)]


def _key(device: int) -> Ed25519Signer:
    return Ed25519Signer(hashlib.sha256(b"proof device %d" % device).digest())


async def live(folder: Path, marks: Marks, *, rounds: int, synchronous: str = "FULL", early: bool = False) -> list[str]:
    """Found the market, then so many rounds: money, an order, its task, its purchase; the files are closed and opened every few."""
    refused: list[str] = []
    done = 0
    while done < rounds:
        post = Post(folder, marks, synchronous=synchronous)
        post.acks_early = early
        post.start()
        try:
            device = await _found(post)
            for n in range(done, min(done + 4, rounds)):
                await _round(post, n, device)
        finally:
            await post.stop()
        refused += post.refused
        done += 4
    return refused


async def _found(post: Post) -> int:
    with post.store.reading() as conn:
        if conn.execute(select(st.shop)).first() is None:
            founding = True
        else:
            founding = False
    if founding:
        await post.do(c.FeesSet(commission_fen_per_piece=100, courier_fen=300, packing_fen=50))
        await post.do(c.MerchantCreate(id="m1", name="商家"))
        await post.do(c.CourierRange(courier="中通", prefix="ZT", first=1, last=500, digits=10))
        await post.do(c.ShopSet(shop="小满", merchant="m1"))
    return await post.enrol()


async def _round(post: Post, n: int, device: int) -> None:
    await post.do(c.TopUp(merchant="m1", amount_fen=300_00, key=f"bank-{n}"))
    row = f"{8_000_000 + n},国大_3F-{310 + n % 5}_P65_{1000 + n}#,黑色,M,2,针织开衫,tb1,{RECEIVER},,,paid"
    content = base64.b64encode("\n".join([HEAD, row]).encode()).decode()
    await post.do(c.OrdersImport(shop="小满", files=[c.OrderFile(name="plain.csv", content=content)]))
    await post.do(c.RoutesAssign())
    for number, task in enumerate(post.open_tasks(device)):
        serial = int(str(task.id).split("-")[0][1:]) % 10_000 * 10 + int(str(task.id)[-1])
        code = mint_piece_code(device, serial)
        if number == 1 and n % 3 == 2:
            fact = kinds.TaskAnswered(answer=kinds.Answer.OUT_OF_STOCK).about(f"task:{task.id}", task.stall_id)
        else:
            bought = kinds.PieceBought(price_fen=6400, means=kinds.Means.CASH)
            fact = bought.about(f"task:{task.id}", f"piece:{code}", task.stall_id)
        await post.say(device, task.document, fact)


def swallow_errors_of_commits() -> None:
    """A planted fault: what the disk says of a commit is heard by nobody, and the update is acknowledged."""
    real = Store.transaction

    @contextlib.contextmanager
    def deaf(self: Store) -> Iterator[Connection]:
        with contextlib.suppress(OperationalError), real(self) as conn:
            yield conn

    Store.transaction = deaf  # type: ignore[method-assign]


def main(argv: list[str]) -> int:
    """Run; a fault that stops the server is told in a plain sentence."""
    folder, marks = Path(argv[0]), Marks(Path(argv[1]))
    folder.mkdir(parents=True, exist_ok=True)
    if "deaf" in argv[4:]:
        swallow_errors_of_commits()
    marks(started=True)
    try:
        synchronous = argv[3] if len(argv) > 3 else "FULL"
        with disk_told_plainly():
            refused = asyncio.run(
                live(folder, marks, rounds=int(argv[2]), synchronous=synchronous, early="early" in argv[4:])
            )
    except NahuoError as error:
        marks(stopped=error.code, words=str(error))
        print(f"{error} [{error.code}]", file=sys.stderr)
        return 1
    marks(ended=True, refused=refused)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
