"""People who go on working while their processes die: pickers, the packer, the desk. Each notes what it was shown as done.

They use the very pages people use, over HTTP. An answer that does not come (the process died under the tap) ends the round; what it
would have said is in doubt, and is noted as nothing.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from typing import Any

from nahuo.demo.hands import Answer, Hand
from nahuo.demo.scene import MERCHANT, Scene
from printer.virtual.server import LabelFolder
from proof.shown import Shown
from sync_core.errors import RefusedError, RetryableError

THINKING_SECONDS = 0.03
PHONES = ("phone1", "phone2")
Alive = Callable[[], bool]


def tap(hand: Hand, shown: Shown, rng: random.Random, alive: Alive) -> None:
    """Be a picker until `alive` says no, or the phone does not answer any more."""
    while alive():
        try:
            tasks = hand.see("/tasks")["tasks"]
            _note_page(tasks, shown)
            _tap_once(hand, [t for t in tasks if t["open"] and t["mine"]], shown, rng)
        except RetryableError:
            return
        time.sleep(rng.random() * THINKING_SECONDS)


def _tap_once(hand: Hand, wanted: list[dict[str, Any]], shown: Shown, rng: random.Random) -> None:
    drawn = rng.random()
    if drawn < 0.04:
        hand.signal(rng.random() < 0.6)
    elif drawn < 0.10 and shown.bought:
        _take_back(hand, rng.choice(list(shown.bought)), shown)
    elif drawn < 0.16 or not wanted:
        _look_after_a_piece(hand, shown, rng)
    elif drawn < 0.22:
        task = rng.choice(wanted)
        answer = hand.do("/answer", tasks=task["task"], answer=rng.choice(["out_of_stock", "stall_closed"]))
        _note_answer(answer, task, shown)
    elif drawn < 0.26:
        task = rng.choice(wanted)
        price = f"{(int(task['cap_fen']) + 200) / 100:.2f}"
        _note_answer(hand.do(rng.choice(["/bounce", "/ask"]), tasks=task["task"], price=price), task, shown)
    else:
        _buy(hand, rng.choice(wanted), shown)


def _take_back(hand: Hand, task: str, shown: Shown) -> None:
    shown.may_be_taken_back(task)
    answer = hand.do("/undo", task=task)
    if answer.ok:
        shown.said(answer.body["facts"], {f"task:{task}"})


def _note_answer(answer: Answer, task: dict[str, Any], shown: Shown) -> None:
    if answer.ok:
        shown.said(answer.body["facts"], {f"task:{task['task']}"})


def _buy(hand: Hand, task: dict[str, Any], shown: Shown) -> None:
    answer = hand.do("/buy", tasks=task["task"], confirm="1", late_shown="1")
    if not answer.ok:
        return
    for fact, name, piece in zip(answer.body["facts"], answer.body["tasks"], answer.body["pieces"], strict=True):
        shown.said([fact], {f"task:{name}", f"piece:{piece}"})
        shown.buy(name, piece)


def _look_after_a_piece(hand: Hand, shown: Shown, rng: random.Random) -> None:
    """Print a label again, or correct its price."""
    if not shown.labels:
        return
    piece = rng.choice(sorted(shown.labels))
    answer = (
        hand.do("/reprint", piece=piece)
        if rng.random() < 0.3
        else hand.do("/correct", piece=piece, price=f"{rng.randrange(2000, 9000) / 100:.2f}", confirm="1")
    )
    if answer.ok:
        shown.said(answer.body["facts"], {f"piece:{piece}"})


def _note_page(tasks: list[dict[str, Any]], shown: Shown) -> None:
    """A page that says "bought" has shown it as done, also when the tap itself was never answered."""
    for task in tasks:
        if task["status"] == "bought" and task["mine"] and task["piece"] and task["task"] not in shown.bought:
            shown.buy(task["task"], task["piece"])


def contradicts(hand: Hand, shown: Shown) -> list[str]:
    """Return what a phone's page says otherwise than it did before."""
    found = []
    rows = {task["task"]: task for task in hand.see("/tasks")["tasks"]}
    for task, piece in list(shown.bought.items()):
        row = rows.get(task)
        if row is None or row["status"] in ("ended", "recalled"):
            continue  # the order was closed meanwhile: the purchase itself is looked for in the files
        if row["status"] != "bought":
            found.append(f"lost: the page shows task {task} as {row['status']}, it was bought as {piece}")
    return found


def scan(hand: Hand, scene: Scene, shown: Shown, rng: random.Random, alive: Alive) -> None:
    """Be the packer: scan what came out of the phones' printers, then the waybills."""
    while alive():
        try:
            for key in PHONES:
                records = LabelFolder(scene.printer_folder(key, "label"), lambda: 0).read()
                fresh = [r for r in records if r["codes"][0] not in shown.scanned]
                for record in fresh[:5] or rng.sample(list(records), min(1, len(records))):
                    _scan_label(hand, dict(record), shown)
            for record in LabelFolder(scene.printer_folder("terminal", "waybill"), lambda: 0).read():
                _ship(hand, str(record["codes"][0]), shown)
        except RetryableError:
            return
        time.sleep(rng.random() * 4 * THINKING_SECONDS)


def _scan_label(hand: Hand, record: dict[str, Any], shown: Shown) -> None:
    code = record["codes"][0]
    answer = hand.do("/scan", code=record["qr"][0] if record.get("qr") else code, mode="door")
    if not answer.ok:
        return
    with shown.lock:
        shown.scanned.add(code)
        if answer.body.get("outcome") == "packed" and answer.body.get("waybill_no"):
            shown.labels.add(answer.body["waybill_no"])


def _ship(hand: Hand, number: str, shown: Shown) -> None:
    answer = hand.do("/scan", code=number, mode="door")
    if answer.ok and answer.body.get("outcome") == "shipped":
        shown.said(answer.body["facts"], {f"parcel:{answer.body['parcel']}"})
        with shown.lock:
            shown.shipped.add(f"parcel:{answer.body['parcel']}")


def sit(scene: Scene, shown: Shown, rng: random.Random, alive: Alive) -> None:
    """Be merchant and platform: money comes in, orders are closed, questions decided; whether the server is there or not."""
    counter = itertools.count(1)
    while alive():
        try:
            _sit_once(scene, shown, rng, next(counter))
        except (RetryableError, RefusedError):
            time.sleep(0.1)
        time.sleep(rng.random() * 8 * THINKING_SECONDS)


def _sit_once(scene: Scene, shown: Shown, rng: random.Random, n: int) -> None:
    drawn = rng.random()
    if drawn < 0.5:
        key = f"bank-{n:06d}"
        answer = scene.admin.give(f"/platform/merchants/{MERCHANT}/top-up", amount="12.34", key=key, note="storm")
        if _note(answer, shown):
            with shown.lock:
                shown.top_ups.add(key)
        return
    if drawn < 0.6:
        _note(scene.admin.give("/platform/routes/assign"), shown)
        return
    if drawn < 0.8:
        orders = scene.merchant.see("/api/orders", status="out")["orders"]
        if orders and n % 5 == 0:
            order = rng.choice(orders)
            _note(scene.merchant.give(f"/merchant/orders/{order['id']}/close", reason="不要了"), shown)
        return
    for decision in scene.merchant.see("/api/decisions")["decisions"][:3]:
        fields: dict[str, Any] = {"choice": "re_enter"}
        if decision["kind"] == "bounce":
            asked = int(decision.get("price_fen") or decision.get("detail", {}).get("price_fen") or 9900)
            fields = {"choice": "requote", "quote": f"{asked / 100 + 20:.2f}"}
        _note(scene.merchant.give(f"/merchant/decisions/{decision['id']}", fields=fields), shown)


def _note(answer: Answer, shown: Shown) -> bool:
    """Note a command's outcome; True when it was carried out."""
    state = answer.body.get("state")
    if "command" in answer.body and state in ("done", "refused"):
        with shown.lock:
            shown.commands[int(answer.body["command"])] = str(state)
    return bool(answer.ok and state == "done")
