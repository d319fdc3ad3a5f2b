"""Warehouse people in the simulation: they scan the labels that physically lie before them, pack, ship, and take returns in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from clients.runtime.web import Question
from clients.warehouse import returns_desk, scans
from clients.warehouse.receivers import fetch_keys
from clients.warehouse.wall import current_document, read_order, stock_task_for
from nahuo.sim.nodes.device import DeviceNode
from nahuo.sim.nodes.ports import ask
from nahuo.sim.people.physical import Garment, Physical
from nahuo.sim.world import MINUTE_MS, Broken, World
from server import schema_trade as st
from sync_core.errors import NahuoError


class Packer:
    """The people at one terminal."""

    def __init__(self, world: World, terminal: DeviceNode, physical: Physical, phones: list[DeviceNode]) -> None:
        self.world = world
        self.terminal = terminal
        self._physical = physical
        self._phones = phones
        self.refused: list[str] = []
        self.colleagues: list[Packer] = []
        """Who else stands at a terminal: bags of their orders are carried over."""
        self.returns_expected: list[str] = []
        """Courier numbers of parcels that buyers sent back and that lie at the door."""

    def turn(self) -> None:
        """Do one thing."""
        if self.terminal.dead:
            return
        if self.world.chance(self.world.faults.foreign_scan):
            self._scan_foreign()
        if self.world.chance(self.world.faults.swapped):
            self._swap()
        draw = self.world.random.random()
        if draw < 0.5:
            self.scan_in()
        elif draw < 0.6:
            self._scan_again()
        elif draw < 0.8:
            self.ship()
        else:
            self._at_returns_desk()
        self.fetch_keys()

    def finish(self, *, look_again: bool) -> None:
        """After the storm: everything at the door comes in, what waited is looked at again, everything packed leaves."""
        if self.terminal.dead:
            return
        self.fetch_keys()
        for _ in range(40):
            if next(self._physical.at("door"), None) is None or self.terminal.dead:
                break
            self.scan_in()
        for garment in list(self._physical.at("house")) if look_again else ():
            self._scan(garment.code, garment)
        for _ in range(20):
            if self.terminal.dead or not self.ship():
                break

    def close_up(self) -> None:
        """Before going home: every packed parcel leaves, and every unfit piece goes where it belongs (R55)."""
        for number in sorted({paper.subject for paper in self.terminal.papers if paper.printer == "waybill"}):
            if number not in self._physical.parcels_shipped and not self.terminal.dead:
                self._ship(number)
        for garment in list(self._physical.at("desk")):
            if not self.terminal.dead and self._is_pending(garment.code):
                self._end_pending(garment)
            elif not self.terminal.dead and stock_task_for(self.terminal.node, garment.code) is not None:
                self._draw(garment)

    def fetch_keys(self) -> None:
        """Fetch receivers' keys ahead while there is a network."""
        if not self.terminal.dead and self.terminal.online and not self.terminal.server.down:
            self.terminal.in_background(lambda: ask(fetch_keys(self.terminal.node)))

    # --- the door ---------------------------------------------------------------------------------------------------------

    def scan_in(self) -> None:
        """Scan a bag that lies at the door: its bar code, or its QR, as it comes to hand."""
        waiting = list(self._physical.at("door"))
        if waiting:
            garment = self.world.random.choice(waiting)
            self._scan(self._label_text(garment), garment)

    def _label_text(self, garment: Garment) -> str:
        if self.world.random.random() < 0.5:
            return garment.code
        papers = [
            paper for phone in self._phones for paper in phone.papers
            if paper.subject == garment.code and paper.fields.get("qr") and paper.whole
        ]  # fmt: skip
        return papers[-1].fields["qr"] if papers else garment.code

    def _scan(self, text: str, garment: Garment | None) -> None:
        outcome = self._do(lambda node: scans.scan(node, text, mode="door", trip=""))
        if outcome is None:
            self._look_again(garment)
            return
        self.world.sometimes(f"scan_{outcome.word}")
        if outcome.word in ("single_packed", "complete_packed"):
            self._check_packed(outcome.answer)
            for packed in map(self._physical.of_code, outcome.answer["pieces"]):
                if packed is not None:
                    packed.packed = True
        if garment is not None:
            garment.scanned += 1
            if garment.place == "door":
                garment.place = "house"
                self._note_first_scan(garment)
            if outcome.word == "carry":
                self._carry_over(garment, outcome.answer["terminal"])

    def _carry_over(self, garment: Garment, terminal: int) -> None:
        """It lies at the wrong terminal: somebody carries it over, often sooner than the word of its scan gets there (D16)."""
        there = [packer for packer in self.colleagues if packer is not self and not packer.terminal.dead]
        owner = next((packer for packer in there if packer.terminal.node.number == terminal), None)
        if owner is not None:
            wait_ms = self.world.random.randrange(5_000, 5 * MINUTE_MS)
            self.world.later(wait_ms, f"{owner.terminal.name} gets a bag", lambda: owner.take_over(garment))

    def take_over(self, garment: Garment) -> None:
        """Scan a bag that a colleague brought."""
        if garment.place == "house" and not garment.gone and not self.terminal.dead:
            self._scan(self._label_text(garment), garment)

    def _check_packed(self, answer: Any) -> None:
        """Raise when a waybill was printed for a parcel that lacks a living piece, as far as this terminal knows (I3)."""
        if self.terminal.dead:
            return
        order = read_order(self.terminal.node, str(answer["order"]))
        lacking = sorted(want for want, code in order.view.pieces.items() if code not in answer["pieces"])
        if lacking:
            raise Broken(f"I3: {self.terminal.name} packed {answer['order']} without {lacking[0]}")

    def _note_first_scan(self, garment: Garment) -> None:
        number = int(garment.code[:5])
        if not any(phone.replica.number == number and phone.online for phone in self._phones if not phone.dead):
            self.world.sometimes("scanned_before_its_phone_synced")

    def _look_again(self, garment: Garment | None) -> None:
        """The terminal died in the middle of a scan, or refused: the bag lies where it lay, and is scanned again later."""
        if garment is not None:
            self.world.note(f"bag {garment.code} not scanned")

    def _swap(self) -> None:
        """Two bags carry each other's label, as the photo shows: each piece serves the other's task from now on (E11)."""
        inside = [garment.code for garment in self._physical.at("house") if not garment.packed]
        if len(inside) > 1:
            first, second = self.world.random.sample(inside, 2)
            if self._do(lambda node: scans.swap(node, first, second)) is not None:
                self.world.sometimes("swapped")

    def _scan_foreign(self) -> None:
        """What lies about has codes too: another shop's label, a book, half a number. Nothing may come of it (I11)."""
        self.world.sometimes("foreign_scan")
        text = self.world.random.choice(
            ("6901234567892", "YT0000000", "https://example.org/x", "999990000015", "B1-203")
        )
        before = self.terminal.heads()
        outcome = self._do(lambda node: scans.scan(node, text, mode="door", trip=""))
        if outcome is None and not self.terminal.dead and self.terminal.heads() != before:
            raise Broken(f"I11: {text} was refused and left facts behind")

    def _scan_again(self) -> None:
        inside = list(self._physical.at("house"))
        if inside:
            garment = self.world.random.choice(inside)
            self._scan(garment.code, garment)

    # --- shipping ---------------------------------------------------------------------------------------------------------

    def ship(self) -> bool:
        """Scan the waybill of a packed parcel; now and then one that left already. True when something shipped."""
        papers = [paper for paper in self.terminal.papers if paper.printer == "waybill"]
        fresh = [paper for paper in papers if paper.subject not in self._physical.parcels_shipped]
        chosen = fresh if fresh and self.world.random.random() < 0.9 else papers
        if not chosen:
            return False
        return self._ship(self.world.random.choice(chosen).subject)

    def _ship(self, number: str) -> bool:
        outcome = self._do(lambda node: scans.scan(node, number, mode="door", trip=""))
        if outcome is None:
            return self._ask_the_office(number)
        self.world.sometimes(f"scan_{outcome.word}")
        # A terminal that died behind its commit says so at the next scan of the waybill: it has left.
        if outcome.word in ("shipped", "already_shipped") and number not in self._physical.parcels_shipped:
            parcel = str(outcome.answer["parcel"])
            self._left(number, parcel, self._state(f"parcel:{parcel}").get("pieces", []))
            return True
        return False

    def _ask_the_office(self, number: str) -> bool:
        """A terminal that has forgotten the document in which a parcel left takes its waybill for nobody's; the books say that it left."""
        server, p = self.terminal.server, st.parcel.c
        forgotten = self.refused[-1:] == ["code.not_ours"] and number not in self._physical.parcels_shipped
        if self.terminal.dead or server.down or not forgotten:
            return False
        with server.store.reading() as conn:
            parcel = conn.execute(select(p.id, p.pieces).where(p.waybill_no == number, p.status == "shipped")).first()
        if parcel is None:
            return False
        self._left(number, parcel.id, json.loads(parcel.pieces))
        return True

    def _left(self, number: str, parcel: str, codes: Sequence[str]) -> None:
        self._physical.parcels_shipped.append(number)
        for code in codes:
            garment = self._physical.of_code(code)
            self._physical.shipped[code] = number
            if garment is not None:
                garment.place = "shipped"
                garment.parcel = parcel

    def _state(self, subject: str) -> dict[str, Any]:
        """What the terminal shows of a subject: the document it works in, which is not always the newest that is here."""
        return self.terminal.replica.state(subject, current_document(self.terminal.node)) or {}

    # --- returns ----------------------------------------------------------------------------------------------------------

    def _at_returns_desk(self) -> None:
        if self.returns_expected and self.world.random.random() < 0.6:
            self._receive_return(self.world.random.choice(self.returns_expected))
            return
        shelf = list(self._physical.at("desk"))
        if shelf:
            self._bag(self.world.random.choice(shelf))

    def finish_returns(self) -> None:
        """After the storm: what buyers sent back is received, looked at, and bagged for the runner."""
        for courier_no in self.returns_expected:
            self._receive_return(courier_no)
        for garment in list(self._physical.at("desk")):
            self._bag(garment)

    def _bag(self, garment: Garment) -> None:
        trip = f"bag-{self._physical.bag}"
        outcome = self._do(lambda node: scans.scan(node, garment.code, mode="bag", trip=trip))
        if outcome is not None:
            self.world.sometimes(f"scan_{outcome.word}")
            if outcome.word in ("bagged", "bagged_again"):
                garment.place = "runner"

    def _receive_return(self, courier_no: str) -> None:
        outcome = self._do(lambda node: scans.scan(node, courier_no, mode="returns", trip=""))
        if outcome is not None:
            self.world.sometimes(f"scan_{outcome.word}")
            self._inspect(courier_no, [str(code) for code in outcome.answer.get("pieces", ())])

    def _inspect(self, courier_no: str, codes: list[str]) -> None:
        for code in codes:
            garment = self._physical.of_code(code)
            if garment is None or garment.place not in ("shipped", "desk"):
                continue
            garment.place = "desk"
            passed = self.world.random.random() < 0.8
            outcome = self._do(
                lambda node, code=code, passed=passed: returns_desk.inspect(
                    node, courier_no, code, passed=passed, reason="" if passed else "worn"
                )
            )
            if outcome is not None:
                self.world.sometimes(f"inspected_{outcome.word}")

    def _draw(self, garment: Garment) -> None:
        """What came back and was fit serves whoever waits for one like it (R34)."""
        outcome = self._do(lambda node: scans.scan(node, garment.code, mode="door", trip=""))
        if outcome is not None:
            self.world.sometimes(f"scan_{outcome.word}")
            garment.place = "house"

    def _is_pending(self, code: str) -> bool:
        return self._state(f"piece:{code}").get("place") == "pending"

    def _end_pending(self, garment: Garment) -> None:
        outcome = self._do(
            lambda node: returns_desk.end_pending(
                node, garment.code, outcome="handed_to_merchant", fee_fen=0, payer="merchant"
            )
        )
        if outcome is not None:
            self.world.sometimes("pending_ended")
            garment.place = "merchant"

    def _do(self, action: Any) -> Any:
        try:
            return self.terminal.act(action)
        except Question as question:
            self.world.sometimes(f"question_{question.code}")
        except NahuoError as error:
            self.refused.append(error.code)
            self.world.note(f"terminal refused {error.code}")
        return None
