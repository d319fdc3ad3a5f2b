"""The headless day: one market day played by a seed, with the signal off, processes killed, and everything switched on again.

Nobody here looks into a database: pickers, packers, the runner, the merchant and the platform use their pages; what a scanner reads is
what a virtual printer printed. What the day shall have met (a close nobody saw, a double purchase, a bounce…) is chosen by the seed.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nahuo.demo.eyes import LOOK_SECONDS, PHONES, Eyes
from nahuo.demo.scene import MERCHANT, Scene
from sync_core.errors import RetryableError

UNSETTLED = frozenset({"complete_waits", "waiting_for_phone", "carry"})
"""Answers after which a bag is scanned again later: what it waited for may have come."""
TWICE = 0.03
"""How often somebody scans a bag that is in already (E9)."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What people did; the outcome is held against it."""

    orders: int = 0
    bought: int = 0
    labels_printed_offline: int = 0
    parcels_shipped_server_down: int = 0
    closes: int = 0
    kills: int = 0
    twice_scanned: int = 0
    shipped: list[str] = field(default_factory=list)
    shipped_down: set[str] = field(default_factory=set)
    by_qr: int = 0


class Day:
    """Plays the day on a scene whose curtain is up."""

    def __init__(self, scene: Scene, *, seed: int, tell: Callable[[str], None]) -> None:
        self.scene = scene
        self.eyes = Eyes(scene)
        self.tell = tell
        self.tally = Tally()
        self._rng = random.Random(seed)
        self._scanned: dict[str, str] = {}
        """{piece code: what its last scan answered}."""
        self._errors: list[str] = []

    # --- the acts ----------------------------------------------------------------------------------------------------------

    def play(self, files: list[Path]) -> None:
        """Play from the import to the last refund."""
        self.morning(files)
        self.walk_without_signal()
        self.pack_without_server()
        self.everything_on()
        self.second_round()
        self.returns()
        self.settle()

    def morning(self, files: list[Path]) -> None:
        """Orders come in, messages are read, tasks go to the phones."""
        counts = self.scene.import_orders(files)
        self.tally.orders = int(counts["new"])
        self.tell(f"imported {counts['new']} orders")
        merchant = self.scene.merchant
        held = [order for order in self.eyes.orders(status="held") if "message" in str(order.get("holds", ""))]
        merchant.give_all((f"/merchant/orders/{order['id']}/message-read", {}) for order in held)
        self.scene.admin.need("/platform/routes/assign")
        tasks = self.eyes.wait(self.eyes.spread, "the phones never got their tasks", seconds=60)
        self.tell(f"{tasks} tasks are on the phones, walking order")
        self.eyes.wait(lambda: self.eyes.terminal_knows(tasks), "the terminal never got its tasks", seconds=60)

    def walk_without_signal(self) -> None:
        """Phones go into the basement; merchant and platform go on; pickers buy, answer, bounce, undo."""
        one, two = self.scene.hands["phone1"], self.scene.hands["phone2"]
        one.signal(False)
        self._reassign_behind_his_back()
        two.signal(False)
        self._close_behind_their_backs()
        before = self.eyes.labels()
        pickers = [self._meanwhile(self._walk, key, self._rng.randrange(2**32)) for key in PHONES]
        door = self._meanwhile(self._first_bags, pickers)
        self._join(*pickers, door)
        self.eyes.wait(
            lambda: self.eyes.labels() - before >= self.tally.bought, "labels are missing at the printers", seconds=60
        )
        self.tally.labels_printed_offline = self.eyes.labels() - before
        self.tell(f"{self.tally.bought} pieces bought and labelled without signal")

    def pack_without_server(self) -> None:
        """The server dies in the middle of a phone's backlog; the terminal scans, packs, prints and ships without it."""
        self.scene.hands["phone2"].signal(True)
        self.eyes.wait(
            lambda: self.eyes.pulse("phone2")["link"] in ("live", "connecting"), "phone 2 does not reconnect"
        )
        self.scene.server.kill()
        self.tally.kills += 1
        self.tell("server killed during traffic")
        codes = [(key, record) for key in PHONES for record in self.eyes.printed(key, "label")]
        self._rng.shuffle(codes)
        keep = codes[: len(codes) * 2 // 3]
        for number, (_, record) in enumerate(keep):
            if record["codes"][0] not in self._scanned:
                self._scan_label(record)
            if number == len(keep) // 2:
                self.scene.devices["terminal"].client.kill()
                self.tally.kills += 1
                self.scene.restart_device("terminal")
        self._ship_printed(server_down=True)
        self.tally.parcels_shipped_server_down = len(self.tally.shipped_down)
        self.tell(f"{len(self.tally.shipped_down)} parcels shipped while the server was down")

    def everything_on(self) -> None:
        """Server up, killed once more in the rush, up again; the door goes on while everybody delivers; all outboxes empty in the end."""
        self.scene.hands["phone1"].signal(True)
        door = self._meanwhile(self._scan_labels)
        self.scene.server.start()
        self.scene.server.wait()
        self._try_again()
        self.eyes.wait(lambda: any(self.eyes.pulse(key)["link"] == "live" for key in PHONES), "no phone reconnects")
        self.scene.server.kill()
        self.tally.kills += 1
        self.scene.restart_server()
        self._try_again()
        self._join(door)
        self.eyes.drain()
        self._ask_the_impossible()
        self._decide()
        self._scan_labels()
        self._ship_printed(server_down=False)
        self.eyes.drain()

    def _try_again(self) -> None:
        """Nobody waits half a minute for the next attempt of his device."""
        for hand in self.scene.hands.values():
            hand.signal(True)

    def second_round(self) -> None:
        """Re-quoted and changed tasks come back and are bought with the signal on; the rest is packed."""
        self.scene.admin.give("/platform/routes/assign")
        self._join(*[self._meanwhile(self._buy_the_rest, key, self._rng.randrange(2**32)) for key in PHONES])
        self.eyes.drain()
        for _ in range(2):
            self._scan_labels()
            self._ship_printed(server_down=False)
            self.eyes.drain()

    def returns(self) -> None:
        """Buyers send parcels back: received, inspected, bagged, taken to the stall for the money."""
        terminal, admin = self.scene.hands["terminal"], self.scene.admin
        coming = self._expect_returns()
        self.eyes.wait(
            lambda: all(self.eyes.knows_return(number) for number in coming), "the returns never reached the terminal"
        )
        bagged: list[str] = []
        trip = str(admin.need("/platform/trips", device=str(self.scene.numbers["phone2"])).get("trip", ""))
        for number in coming:
            received = terminal.do("/scan", code=number, mode="returns")
            for index, piece in enumerate(received.body.get("pieces", [])):
                passed = index or self._rng.random() < 0.85 or not bagged
                terminal.do(
                    "/return/inspect",
                    **{"return": number},
                    piece=piece,
                    passed="1" if passed else "0",
                    reason="" if passed else "有污渍",
                )
                if passed:
                    answer = terminal.do("/scan", code=piece, mode="bag", trip=trip)
                    if answer.body.get("outcome") == "bagged":
                        bagged.append(piece)
        self.eyes.drain()
        phone = self.scene.hands["phone2"]
        self.eyes.wait(
            lambda: len([p for p in phone.see("/trip")["pieces"] if p["open"]]) >= len(bagged),
            "the bag never reached the runner",
        )
        phone.signal(False)
        for piece in phone.see("/trip")["pieces"]:
            paid = int(piece["paid_fen"])
            if self._rng.random() < 0.15:
                phone.do("/trip/refuse", piece=piece["piece"], reason="tag_missing", then="bring_back")
            else:
                phone.do("/trip/refund", piece=piece["piece"], received=f"{paid / 100:.2f}", means="cash", confirm="1")
        phone.signal(True)
        self.tell(f"{len(coming)} returns received, {len(bagged)} pieces taken back to their stalls")

    def settle(self) -> None:
        """Everything is on; wait until nothing waits anywhere and the server has read all."""
        self.eyes.drain()

    # --- the picker ----------------------------------------------------------------------------------------------------------

    def _walk(self, key: str, seed: int) -> None:
        rng = random.Random(seed)
        tasks = self.eyes.open_tasks(key)
        scene = self.scene
        for number, task in enumerate(tasks):
            if key == "phone1" and number == len(tasks) // 2:
                scene.devices[key].client.kill()
                self.tally.kills += 1
                scene.restart_device(key)
                scene.hands[key].signal(False)
            hand = scene.hands[key]
            drawn = rng.random()
            if number < 2 or drawn < 0.03:
                hand.do("/answer", tasks=task["task"], answer="out_of_stock")
            elif number < 4 or drawn < 0.06:
                price = int(task["cap_fen"]) + rng.choice((50, 300, 1000))
                hand.do("/bounce", tasks=task["task"], price=f"{price / 100:.2f}")
            elif drawn < 0.16:
                price = max(100, int(task["quote_fen"]) - rng.choice((50, 100, 350)))
                self._buy(key, task, price=price, rng=rng)
            else:
                self._buy(key, task, price=None, rng=rng)
            if rng.random() < 0.01:
                hand.do("/reprint", piece=str(self._piece_of(key, task)))

    def _buy(self, key: str, task: dict[str, Any], *, price: int | None, rng: random.Random) -> None:
        hand = self.scene.hands[key]
        shown = "1" if task.get("recalled") else "0"
        answer = hand.do(
            "/buy",
            tasks=task["task"],
            price=None if price is None else f"{price / 100:.2f}",
            confirm="1",
            recall_shown=shown,
        )
        if not answer.ok:
            return
        if rng.random() < 0.01:
            hand.do("/undo")
            return
        self.tally.bought += len(answer.body.get("pieces", []))

    def _buy_the_rest(self, key: str, seed: int) -> None:
        rng = random.Random(seed)
        for task in self.eyes.open_tasks(key):
            self._buy(key, task, price=None, rng=rng)

    def _piece_of(self, key: str, task: dict[str, Any]) -> str | None:
        found = self.scene.hands[key].see(f"/task/{task['task']}")
        piece = found.get("piece")
        return None if piece is None else str(piece)

    # --- merchant and platform behind the phones' backs ------------------------------------------------------------------------

    def _reassign_behind_his_back(self) -> None:
        """Some tasks of the phone that is gone are given to the other: both will buy."""
        given: set[str] = set()
        to = {"device": str(self.scene.numbers["phone2"])}
        last = self.eyes.open_tasks("phone1")[-6:]
        for answer in self.scene.admin.give_all((f"/platform/tasks/{task['task']}/reassign", to) for task in last):
            given |= {str(answer.body["result"]["task"])} if answer.ok else set()
        self.eyes.wait(
            lambda: given <= {task["task"] for task in self.eyes.open_tasks("phone2")},
            "phone 2 never got the reassigned tasks",
        )

    def _close_behind_their_backs(self) -> None:
        candidates = [order for order in self.eyes.orders(status="out") if order["id"] not in self.tally.shipped]
        closed = self._rng.sample(candidates, min(5, len(candidates)))
        forms = [(f"/merchant/orders/{order['id']}/close", {"reason": "买家不要了"}) for order in closed]
        self.tally.closes += sum(answer.ok for answer in self.scene.merchant.give_all(forms))
        asked = self._rng.sample(candidates, min(3, len(candidates)))
        self.scene.merchant.give_all((f"/merchant/orders/{order['id']}/refund", {}) for order in asked)

    def _ask_the_impossible(self) -> None:
        """Commands that must be refused, and change nothing: a merchant twice, an order nobody has."""
        self.scene.admin.give("/platform/merchants", id=MERCHANT, name="another")
        self.scene.admin.give("/platform/tasks/T1-1/reassign", device=str(self.scene.numbers["phone1"]))

    def _decide(self) -> None:
        """The merchant answers what waits for him: a new quote for what bounced, again tomorrow or close for the rest."""
        forms: list[tuple[str, dict[str, str]]] = []
        for decision in self.scene.merchant.see("/api/decisions")["decisions"]:
            path = f"/merchant/decisions/{decision['id']}"
            if decision["kind"] == "bounce":
                asked = int(decision.get("price_fen") or decision.get("detail", {}).get("price_fen") or 0)
                forms.append((path, {"choice": "requote", "quote": f"{(asked or 9900) / 100 + 20:.2f}"}))
            elif decision["kind"] == "answer":
                forms.append((path, {"choice": self._rng.choice(("close_line", "close_line", "delist"))}))
            elif decision["kind"] == "refund":
                forms.append((path, {"choice": "accept"}))
        self.scene.merchant.give_all(forms)

    def _expect_returns(self) -> list[str]:
        numbers = []
        shipped = self.eyes.orders(status="shipped")
        for index, order in enumerate(self._rng.sample(shipped, min(6, len(shipped)))):
            number = f"YT88{index:010d}"
            answer = self.scene.merchant.give(f"/merchant/orders/{order['id']}/return", courier_no=number)
            if answer.ok and answer.body.get("state") != "refused":
                numbers.append(number)
        return numbers

    # --- the warehouse -----------------------------------------------------------------------------------------------------------

    def _scan_labels(self) -> None:
        """Scan what came out of the phones' printers and is not settled yet; now and then a bag that is in already."""
        for record in [r for key in PHONES for r in self.eyes.printed(key, "label")]:
            outcome = self._scanned.get(record["codes"][0])
            if outcome is None or outcome in UNSETTLED or self._rng.random() < TWICE:
                self._scan_label(record)

    def _first_bags(self, pickers: Sequence[threading.Thread]) -> None:
        """While the pickers walk, every other bag is carried in: the server hears of it before it hears of its purchase."""
        self.eyes.wait(
            lambda: not self.scene.hands["terminal"].see("/ship")["keys_missing"],
            "the terminal never got its keys",
            seconds=60,
        )
        while any(picker.is_alive() for picker in pickers):
            for record in [r for key in PHONES for r in self.eyes.printed(key, "label")[::2]]:
                if record["codes"][0] not in self._scanned:
                    self._scan_label(record)
            time.sleep(LOOK_SECONDS)

    def _scan_label(self, record: dict[str, Any]) -> None:
        """Scan what a printer printed: the QR where there is one, as a scanner does."""
        code = record["codes"][0]
        self.tally.twice_scanned += code in self._scanned
        answer = self.scene.hands["terminal"].do(
            "/scan", code=record["qr"][0] if record.get("qr") else code, mode="door"
        )
        if answer.ok:
            self._scanned[code] = str(answer.body.get("outcome"))

    def _ship_printed(self, *, server_down: bool) -> None:
        """Scan every waybill that came out of the printer a second time: it ships."""
        terminal = self.scene.hands["terminal"]
        self.eyes.wait(
            lambda: self.eyes.pulse("terminal")["printers"]["waybill"]["waiting"] == 0,
            "waybills wait at the printer",
            seconds=60,
        )
        for record in self.eyes.printed("terminal", "waybill"):
            number = record["codes"][0]
            if number in self.tally.shipped:
                continue
            answer = terminal.do("/scan", code=number, mode="door")
            if answer.body.get("outcome") == "shipped":
                self.tally.shipped.append(number)
                if server_down:
                    self.tally.shipped_down.add(number)

    # --- two at once ----------------------------------------------------------------------------------------------------------------

    def _meanwhile(self, run: Callable[..., None], *args: Any) -> threading.Thread:
        """Somebody does this while the day goes on; `_join` waits for it."""
        somebody = threading.Thread(target=self._guarded, args=(run, *args))
        somebody.start()
        return somebody

    def _guarded(self, run: Callable[..., None], *args: Any) -> None:
        try:
            run(*args)
        except Exception as error:  # noqa: BLE001 - told by the thread that joins
            self._errors.append(f"{type(error).__name__}: {error}")

    def _join(self, *people: threading.Thread) -> None:
        for somebody in people:
            somebody.join()
        if self._errors:
            raise RetryableError("; ".join(self._errors))
