"""Merchants and the platform in the simulation: they leave commands as their pages do, at moments that suit nobody."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, Final, Literal

from sqlalchemy import select

from nahuo.sim.nodes.device import DeviceNode
from nahuo.sim.nodes.server import ServerNode
from nahuo.sim.people.physical import Physical
from nahuo.sim.people.terminals import Packer
from nahuo.sim.world import World
from server import commands as c
from server import schema as s
from server import schema_trade as st

Choice = Literal["again", "requote", "close_line", "change_stall", "delist"]
CHOICES: Final[tuple[Choice, ...]] = ("again", "requote", "close_line", "change_stall", "delist")
MERCHANTS = ("M1", "M2")
SHOPS = {"shop-1": "M1", "shop-2": "M2"}
STALLS = (("国大", "3F", "315"), ("国大", "3F", "317"), ("国大", "B1", "203"), ("女人街", "B1", "21"))
HEADINGS = "order_no,product_code,colour,size,quantity,title,buyer,receiver_name,receiver_phone,receiver_address,message,memo,status"


def order_file(world: World, first: int, count: int) -> c.OrderFile:
    """Return a plain file of `count` orders, numbered from `first`."""
    random = world.random
    lines = [HEADINGS]
    for number in range(first, first + count):
        for line in range(random.choice((1, 1, 1, 2))):
            market, floor, stall = random.choice(STALLS)
            quote = random.choice((25, 39, 65))
            code = f"{market}_{floor}-{stall}_P{quote}_{8800 + random.randrange(4) + line * 10}#"
            quantity = random.choice((1, 1, 1, 2))
            lines.append(
                f"{order_no(number)},{code},黑,M,{quantity},衫,b{number},王芳,13800000000,广东省 广州市 某路{number}号,,,paid"
            )
    return c.OrderFile(name="orders.csv", content=base64.b64encode("\n".join(lines).encode()).decode())


def order_no(number: int) -> str:
    """Return an order's number at its shop."""
    return f"SO{number:06d}"


class Office:
    """All who sit at a desk."""

    def __init__(
        self,
        world: World,
        server: ServerNode,
        physical: Physical,
        *,
        pickers: Sequence[DeviceNode],
        runner: DeviceNode,
        packer: Packer,
    ) -> None:
        self.world = world
        self._server = server
        self._physical = physical
        self._phones = tuple(pickers)
        self._runner = runner
        self._packer = packer
        self._orders = 0
        self.entered: set[tuple[str, str]] = set()
        """(shop, number) of every order in a file that reached the server."""
        self.paid_in: dict[tuple[str, str], int] = {}
        """{(merchant, bank reference): fen the bank told of}."""
        self.may_import = True
        """Nothing new is entered between a backup and its use: it would be entered again by hand."""
        self._topups = 0
        self._returned: set[str] = set()
        self.written_off: list[int] = []
        self.closes_days = True
        """Now and then in the middle of a day; a caller that closes each day itself says False."""

    @property
    def _pickers(self) -> list[int]:
        return [phone.node.number for phone in self._phones if not phone.dead]

    def turn(self) -> None:
        """Leave one command."""
        if self._server.down:
            return
        if self.world.chance(self.world.faults.hasty_office):
            self._be_hasty()
        draw = self.world.random.random()
        if draw < 0.10:
            self.import_orders(self.world.random.randrange(1, 3))
        elif draw < 0.16:
            self.top_up()
        elif draw < 0.34:
            self.assign()
        elif draw < 0.50:
            self._close()
        elif draw < 0.56:
            self._refund()
        elif draw < 0.76:
            self._decide()
        elif draw < 0.82:
            self._reassign()
        elif draw < 0.96:
            self._return()
        elif draw < 0.98 and self.closes_days:
            self.give(c.DayClose())
        elif self.world.random.random() < 0.1:
            self.write_off()

    def give(self, command: c.Command) -> bool:
        """Leave a command and count it; False when it did not reach the server."""
        if self._server.command(command, by="platform:office") is None:
            return False
        if isinstance(command, c.TopUp):
            self.paid_in[command.merchant, command.key] = command.amount_fen
        self.world.sometimes(f"command_{command.KIND}")
        return True

    def _be_hasty(self) -> None:
        """Do what makes no sense any more, or not yet: a rule refuses it and nothing changes, or it does what it says."""
        o, p = st.shop_order.c, st.piece.c
        order = self._one(select(o.id).order_by(o.number))
        piece = self._one(select(p.code).order_by(p.code))
        commands: list[c.Command] = [c.ReceiverPurge(days=3650)]
        if order is not None:
            refund = self.world.random.choice((c.RefundAsked, c.RefundWithdrawn))
            commands += [c.OrderClose(order=order.id, reason="改主意了"), refund(order=order.id)]
        if piece is not None:
            commands += [
                c.OverCapDecide(piece=piece.code, accepted=True),
                c.RefundDecide(piece=piece.code, choice="accept"),
            ]
        if self._pickers:
            commands.append(c.ParkedRelease(device=self._pickers[0]))
        self.world.sometimes("hasty_office")
        self.give(self.world.random.choice(commands))

    def assign(self) -> None:
        """Share the open tasks out among the pickers at work; seldom among all phones, also the one nobody carries."""
        everybody = self.world.random.random() < 0.1
        self.give(c.RoutesAssign(devices=None if everybody else self._pickers or None))

    def import_orders(self, count: int) -> None:
        """Bring a file in; now and then the same one twice."""
        if not self.may_import:
            return
        shop = self.world.random.choice(sorted(SHOPS))
        numbers = range(1 + self._orders, 1 + self._orders + count)
        file = order_file(self.world, numbers.start, count)
        self._orders += count
        for _ in range(self.world.random.choice((1, 1, 2))):
            if self.give(c.OrdersImport(shop=shop, files=[file])):
                self.entered |= {(shop, order_no(number)) for number in numbers}

    def top_up(self) -> None:
        """Money comes in, told twice by a nervous bank."""
        if not self.may_import:
            return
        self._topups += 1
        command = c.TopUp(merchant=self.world.random.choice(MERCHANTS), amount_fen=20_000, key=f"bank-{self._topups}")
        for _ in range(self.world.random.choice((1, 2))):
            self.give(command)

    # --- what is there to decide about --------------------------------------------------------------------------------------

    def _rows(self, query: Any) -> list[Any]:
        with self._server.store.reading() as conn:
            return list(conn.execute(query).all())

    def _one(self, query: Any) -> Any:
        rows = self._rows(query)
        return self.world.random.choice(rows) if rows else None

    def _close(self) -> None:
        o = st.shop_order.c
        order = self._one(select(o.id).where(o.status.in_(("ready", "out", "money"))).order_by(o.number))
        if order is not None:
            self.give(c.OrderClose(order=order.id, reason="买家不要了"))

    def _refund(self) -> None:
        o = st.shop_order.c
        order = self._one(select(o.id, o.refund_open).where(o.status.in_(("ready", "out"))).order_by(o.number))
        if order is not None:
            self.give(c.RefundWithdrawn(order=order.id) if order.refund_open else c.RefundAsked(order=order.id))

    def _decide(self) -> None:
        d = st.decision.c
        question = self._one(select(d.kind, d.subject, d.detail).where(d.resolved_ms.is_(None)).order_by(d.id))
        if question is not None:
            self.decide(question.kind, question.subject)

    def decide(self, kind: str, subject: str) -> None:
        """Answer one open question."""
        name = subject.partition(":")[2]
        random = self.world.random
        match kind:
            case "ask":
                self.give(c.AskAnswer(task=name, accepted=random.random() < 0.6))
            case "over_cap":
                self.give(c.OverCapDecide(piece=name, accepted=random.random() < 0.5))
            case "refund":
                self.give(c.RefundDecide(piece=name, choice=random.choice(("accept", "claim"))))
            case "answer" | "bounce":
                choice: Choice = random.choice(CHOICES)
                quote = random.choice((3_000, 4_500, 7_000)) if choice == "requote" else None
                code = "国大_3F-317_P39_8801#" if choice == "change_stall" else None
                self.give(c.TaskDecide(task=name, choice=choice, quote_fen=quote, code=code))
            case _:
                pass

    def _reassign(self) -> None:
        t = st.task.c
        task = self._one(select(t.id, t.device).where(t.status.in_(("out", "answered", "asked"))).order_by(t.id))
        if task is not None:
            others = [number for number in self._pickers if number != task.device]
            if others:
                self.give(c.TaskReassign(task=task.id, device=self.world.random.choice(others)))

    # --- returns ----------------------------------------------------------------------------------------------------------

    def _return(self) -> None:
        """A buyer sends back what he got; later a runner takes it to the stall."""
        back = {garment.parcel for garment in self._physical.at("shipped")} - self._returned
        if back:
            parcel = self.world.random.choice(sorted(back))
            self._returned.add(parcel)
            courier_no = f"YT9{parcel[1:]:>09}".replace(" ", "0")
            self.give(c.ReturnExpected(order=f"O{parcel[1:]}", courier_no=courier_no))
            self._packer.returns_expected.append(courier_no)
            return
        self.send_runner()

    def send_runner(self) -> None:
        """Let the runner take the bag that stands open, when there is something in it."""
        if not self._runner.dead and next(self._physical.at("runner"), None) is not None:
            self.give(c.TripOpen(device=self._runner.node.number, trip=f"bag-{self._physical.bag}"))
            self._physical.bag += 1

    def write_off(self) -> None:
        """A picker is dismissed: his phone is written off, wherever it is."""
        if not self.written_off and len(self._pickers) > 1:
            number = self._pickers[-1]
            self.written_off.append(number)
            self.give(c.DeviceWriteOff(device=number))

    # --- the end of the day -------------------------------------------------------------------------------------------------

    def close_everything_closable(self) -> None:
        """After the storm: what nobody will ever decide is decided, so that the day can come to rest."""
        for question in self._rows(
            select(st.decision.c.kind, st.decision.c.subject)
            .where(st.decision.c.resolved_ms.is_(None))
            .order_by(st.decision.c.id)
        ):
            if question.kind in ("answer", "bounce"):
                self.give(c.TaskDecide(task=question.subject.partition(":")[2], choice="close_line"))
            else:
                self.decide(question.kind, question.subject)

    def tighten_leash(self) -> None:
        """From now on a device may be away for a day, and do a handful of things meanwhile."""
        few = self.world.random.randrange(1, 4)
        self.give(c.PlatformSet(offline_days=1, offline_actions=few))

    def loosen_leash(self) -> None:
        """What the platform says of certificates unless somebody changes it."""
        self.give(c.PlatformSet())

    def look_at_parked(self) -> None:
        """A supervisor lets count what devices brought back too late, or too much of (REL-R10); what was revoked stays where it is."""
        q = st.discrepancy.c
        open_entries = select(q.subject).where(q.code == "parked", q.resolved_ms.is_(None)).order_by(q.subject)
        for entry in self._rows(open_entries):
            number = int(entry.subject.partition(":")[2])
            if self._is_at_work(number):
                self.world.sometimes("leash_released")
                self.give(c.ParkedRelease(device=number))

    def _is_at_work(self, number: int) -> bool:
        """True when whoever bore this number works on, under another one perhaps."""
        devices = {row.number: row for row in self._rows(select(s.device))}
        while (follows := devices[number].replaced_by) is not None:
            number = follows
        return devices[number].revoked_ms is None

    def settle_refunds(self) -> None:
        """What a buyer asked back is settled: he takes it back after all, or his order is closed (R31, E15)."""
        o = st.shop_order.c
        for order in self._rows(
            select(o.id).where(o.refund_open == 1, o.status.not_in(("shipped", "closed"))).order_by(o.number)
        ):
            if self.world.random.random() < 0.6:
                self.give(c.RefundWithdrawn(order=order.id))
            else:
                self.give(c.OrderClose(order=order.id, reason="已退款"))

    def refused_commands(self) -> dict[str, int]:
        """Return {code: count} of the commands that were refused, for the counters."""
        counted: dict[str, int] = {}
        for row in self._rows(select(s.command.c.outcome).where(s.command.c.outcome.is_not(None))):
            outcome = json.loads(row.outcome)
            if not outcome.get("ok"):
                counted[outcome.get("code", "?")] = counted.get(outcome.get("code", "?"), 0) + 1
        return counted
