"""Pickers and runners in the simulation: people with a phone in one hand and a bag in the other. What they do are the real actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clients.field import actions, returns
from clients.field.actions import Tap
from clients.field.tasks import Task, read_tasks
from clients.runtime.node import Node
from clients.runtime.web import Question
from nahuo.sim.nodes.device import DeviceNode
from nahuo.sim.people.physical import Garment, Physical
from nahuo.sim.world import MINUTE_MS, Broken, World
from sync_core.errors import NahuoError
from trade.ids import bare_id
from trade.kinds import Answer

ANSWERS = (
    Answer.OUT_OF_STOCK,
    Answer.TOMORROW,
    Answer.UNSURE,
    Answer.STALL_CLOSED,
    Answer.DEFECTIVE,
    Answer.PRICE_WRONG,
)


BACKLOG = 100


def _one_row(task: Task) -> tuple[object, ...]:
    """What the tasks of one row of the list have in common: they are bought together."""
    body = task.assigned
    return task.document, body["order_no"], body["line"], task.state["cap_fen"], task.place


class Picker:
    """One picker. `turn` is what he does next."""

    def __init__(self, world: World, phone: DeviceNode, physical: Physical) -> None:
        self.world = world
        self.phone = phone
        self._physical = physical
        self._had_backlog = False
        self.refused: list[str] = []
        """Codes of actions that a rule refused: seen, never an error."""

    # --- turns ------------------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Do one thing."""
        if self.phone.dead or self.phone.may_be_behind:
            # Who put an old copy back waits until it has spoken with the server.
            return
        self.find_own_garments()
        if self.world.faults.backlog and not self._had_backlog:
            self._pile_up()
            if self.phone.dead:
                return
        draw = self.world.random.random()
        if draw < 0.62:
            self._look_and_buy()
        elif draw < 0.72:
            self._answer()
        elif draw < 0.77:
            self._slip_and_undo()
        elif draw < 0.82:
            self._correct()
        elif draw < 0.85:
            self._reprint()
        elif draw < 0.88:
            self._buy_under_the_red_band()
        else:
            self.carry_bag()
        if self.world.chance(self.world.faults.offline) and self.phone.online and not self.phone.dead:
            self.world.sometimes("basement")
            self.phone.lose_signal(self.world.random.randrange(MINUTE_MS, self.world.faults.offline_ms_max))

    def finish(self) -> None:
        """After the storm: bring home what is in the bag."""
        if self.phone.dead:
            return
        self.find_own_garments()
        for garment in list(self._physical.at("bag")):
            # The label came out elsewhere, or not at all: he has it printed again.
            waits = self.phone.dead or garment.device != self.phone.name or garment.code in self.labels()
            if not waits and not self.phone.printers.waiting():
                self._say(lambda node, code=garment.code: actions.reprint(node, piece=code))
        self.carry_bag()

    def carry_bag(self) -> None:
        """Walk to the warehouse: what has its label lies at the door now, whatever any phone has told anybody."""
        printed = self.labels()
        for garment in list(self._physical.at("bag")):
            if garment.device == self.phone.name and garment.code in printed:
                garment.place = "door"

    def labels(self) -> set[str]:
        """Return the codes of which he holds a label that a scanner reads."""
        return {paper.subject for paper in self.phone.papers if paper.whole}

    def find_own_garments(self) -> None:
        """After a crash the picker looks what the phone remembers of the purchase in his hand: it is there or it is not."""
        if self.phone.replica.number is None:
            return
        known = {garment.code for garment in self._physical.garments}
        # Put back to before a purchase that it died over and delivered, the phone hears of it again under its next number; and it may
        # have changed its key before he looked. What stands under the number of a phone that it is a copy of is that phone's.
        numbers = self.phone.numbers if self.phone.rewound else [self.phone.replica.number, *self.phone.given_up]
        for document, subject, state in self.phone.replica.states("task"):
            if not document.startswith("route/"):
                continue
            for purchase in state["purchases"]:
                mine = purchase["device"] in numbers
                if mine and purchase["piece"] not in known and not purchase["undone"]:
                    self._physical.bought(
                        purchase["piece"],
                        task=bare_id(subject),
                        device=self.phone.name,
                        price_fen=purchase["price_fen"],
                    )
                    self.world.sometimes("purchase_found_after_crash")

    # --- at the stall -----------------------------------------------------------------------------------------------------

    def _open(self) -> list[Task]:
        return sorted(
            (task for task in read_tasks(self.phone.node) if task.is_open and task.mine), key=lambda task: task.id
        )

    def _look_and_buy(self) -> None:
        tasks = self._open()
        if not tasks:
            return
        first = self.world.random.choice(tasks)
        group = [task for task in tasks if _one_row(task) == _one_row(first)]
        count = self.world.random.randrange(1, len(group) + 1)
        wanted = [first, *[task for task in group if task.id != first.id]][:count]
        if self.phone.watch is not None:
            self.phone.watch.shown(wanted)
        # The page is open while he haggles: a recall may come in the meantime (D11).
        wait_ms = self.world.random.choice((1_000, 5_000, MINUTE_MS, 8 * MINUTE_MS))
        ids = [task.id for task in wanted]
        quote_fen, cap_fen = int(first.assigned["quote_fen"]), int(first.state["cap_fen"])
        self.world.later(wait_ms, f"{self.phone.name} buys", lambda: self._buy(ids, quote_fen, cap_fen))

    def _buy(self, ids: Sequence[str], quote_fen: int, cap_fen: int) -> None:
        draw = self.world.random.random()
        price_fen: int | None = None
        if draw < 0.15:
            price_fen = max(100, quote_fen - self.world.random.randrange(100, 800))
        elif draw < 0.25:
            price_fen = cap_fen + self.world.random.choice((1, 100, 500))
        if self.world.chance(self.world.faults.fat_finger):
            self.world.sometimes("fat_finger")
            price_fen = (price_fen or quote_fen) * 100
        if self._tap_buy(ids, price_fen, recall_shown=False) is not None and self.world.chance(
            self.world.faults.double_tap
        ):
            self.world.sometimes("double_tap")
            before = len(self._physical.garments)
            self._tap_buy(ids, price_fen, recall_shown=False)
            if len(self._physical.garments) != before:
                raise Broken(f"REL-I3: a second tap of {self.phone.name} bought {ids} again")

    def _tap_buy(self, ids: Sequence[str], price_fen: int | None, *, recall_shown: bool) -> dict[str, Any] | None:
        tap = Tap(recall_shown=recall_shown, late_confirmed=True, price_confirmed=False)
        try:
            answer = self.phone.act(lambda node: actions.buy(node, tasks=ids, price_fen=price_fen, means=None, tap=tap))
        except Question as question:
            self._decide(question, ids, price_fen or 0)
            return None
        except NahuoError as error:
            self.refused.append(error.code)
            return None
        if answer is not None:
            for task, code in zip(answer["tasks"], answer["pieces"], strict=True):
                self._physical.bought(code, task=task, device=self.phone.name, price_fen=answer["price_fen"])
            if any((self._state(task) or {}).get("recall") for task in ids):
                self.world.sometimes("bought_after_recall_came")
        found: dict[str, Any] | None = answer
        return found

    def _decide(self, question: Question, ids: Sequence[str], price_fen: int) -> None:
        self.world.sometimes(f"question_{question.code}")
        if question.code != "price.above_cap":
            return
        if self.world.random.random() < 0.5:
            self._say(lambda node: actions.ask(node, tasks=ids, price_fen=price_fen))
        else:
            self._say(lambda node: actions.bounce(node, tasks=ids, price_fen=price_fen))

    def _say(self, action: Any) -> Any:
        try:
            return self.phone.act(action)
        except Question as question:
            self.world.sometimes(f"question_{question.code}")
        except NahuoError as error:
            self.refused.append(error.code)
        return None

    def _state(self, task: str) -> dict[str, Any] | None:
        return None if self.phone.dead else self.phone.replica.state(f"task:{task}")

    def _answer(self) -> None:
        tasks = self._open()
        if tasks:
            task = self.world.random.choice(tasks)
            word = self.world.random.choice(ANSWERS)
            self._say(lambda node: actions.answer(node, tasks=[task.id], answer=word.value))

    def _slip_and_undo(self) -> None:
        """A tap on the wrong row, seen at once: there is no garment."""
        tasks = self._open()
        if not tasks:
            return
        before = len(self._physical.garments)
        task = self.world.random.choice(tasks)
        if self._tap_buy([task.id], None, recall_shown=False) is None:
            return
        slips = self._physical.garments[before:]
        # Undone is undone even when the phone dies before the paper: he looks and does it again.
        if self._say(lambda node: actions.undo(node)) is not None or self._is_undone(slips):
            for garment in slips:
                garment.gone = True
            self.world.sometimes("undone")

    def _is_undone(self, slips: Sequence[Garment]) -> bool:
        if self.phone.dead:
            return False
        states = [self.phone.piece_state(garment.code) for garment in slips]
        return bool(states) and all(state is not None and state["place"] == "undone" for state in states)

    def settle_slips(self) -> None:
        """A slip whose undo was cut short: the phone says whether it counted, and he goes by that."""
        if self.phone.dead:
            return
        for garment in self._physical.garments:
            if garment.device == self.phone.name and not garment.gone:
                state = self.phone.piece_state(garment.code)
                if state is not None and state["place"] == "undone":
                    garment.gone = True

    def _own_bag(self) -> list[Garment]:
        return [garment for garment in self._physical.at("bag", "door", "house") if garment.device == self.phone.name]

    def _correct(self) -> None:
        own = self._own_bag()
        if not own:
            return
        garment = self.world.random.choice(own)
        price_fen = max(100, garment.price_fen + self.world.random.choice((-300, -100, 100, 300, 2_000)))
        answer = self._say(
            lambda node: actions.correct_price(node, piece=garment.code, price_fen=price_fen, confirmed=True)
        )
        if answer is not None:
            self.world.sometimes("price_corrected")

    def _reprint(self) -> None:
        own = self._own_bag()
        if own:
            garment = self.world.random.choice(own)
            if self._say(lambda node: actions.reprint(node, piece=garment.code)) is not None:
                self.world.sometimes("reprinted")

    def _pile_up(self) -> None:
        """Hours in the basement, and a printer that needs many tries."""
        own = self._own_bag()
        if not own:
            return
        self._had_backlog = True
        self.world.sometimes("backlog")
        self.phone.lose_signal(self.world.random.randrange(30 * MINUTE_MS, 120 * MINUTE_MS))
        for _ in range(BACKLOG):
            if self._say(lambda node: actions.reprint(node, piece=own[0].code)) is None and self.phone.dead:
                return

    def _buy_under_the_red_band(self) -> None:
        """He saw that the order is closed and buys all the same (D11)."""
        recalled = [
            task for task in read_tasks(self.phone.node)
            if task.mine and task.state["recall"] is not None and task.purchase() is None and task.status != "ended"
        ]  # fmt: skip
        if recalled:
            task = self.world.random.choice(sorted(recalled, key=lambda task: task.id))
            if self._tap_buy([task.id], None, recall_shown=True) is not None:
                self.world.sometimes("bought_under_the_red_band")


class Runner:
    """One runner: money back at the stalls, or not."""

    def __init__(self, world: World, phone: DeviceNode, physical: Physical) -> None:
        self.world = world
        self.phone = phone
        self._physical = physical
        self.received_fen: dict[str, int] = {}
        """{piece code: what the stall gave back in cash}."""

    def turn(self) -> None:
        """Bring one piece to its stall; after a crash look what the phone remembers of the money in his pocket."""
        if self.phone.dead:
            return
        self._find_own_money()
        bag = [piece for piece in returns.read_bag(self.phone.node) if piece.is_open]
        held = {garment.code: garment for garment in self._physical.at("runner")}
        ready = [piece for piece in bag if piece.code in held]
        if not ready:
            return
        piece = self.world.random.choice(ready)
        try:
            answer = self.phone.act(self._choose(piece))
        except NahuoError:
            return
        if answer is not None and "received_fen" in answer:
            self._at_the_stall(held[piece.code], int(answer["received_fen"]))

    def _at_the_stall(self, garment: Garment, received_fen: int) -> None:
        garment.place = "stall"
        self.received_fen[garment.code] = received_fen
        self.world.sometimes("refunded_by_stall")

    def _find_own_money(self) -> None:
        for piece in returns.read_bag(self.phone.node):
            garment = self._physical.of_code(piece.code)
            refund = piece.state["refund"]
            if refund is not None and garment is not None and piece.code not in self.received_fen:
                self._at_the_stall(garment, int(refund["received_fen"]))
                self.world.sometimes("refund_found_after_crash")

    def _choose(self, piece: Any) -> Any:
        draw = self.world.random.random()
        if draw < 0.7:
            paid_fen = int(piece.state["price_fen"] or piece.garment["paid_fen"])
            received_fen = paid_fen if draw < 0.5 else max(1, paid_fen - 500)

            def refund(node: Node) -> Any:
                return returns.refund(node, piece=piece.code, received_fen=received_fen, means=None, confirmed=True)

            return refund

        def refuse(node: Node) -> Any:
            return returns.refuse(node, piece=piece.code, reason="tag_missing", then="bring_back")

        return refuse
