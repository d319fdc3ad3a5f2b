"""What anybody in the demo sees on the pages and at the printers, and how long he waits for it to become so.

Nobody looks into a database: what is read here is what the pages answer and what came out of the virtual printers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from nahuo.demo.scene import Scene
from printer.virtual.server import LabelFolder
from sync_core.errors import RetryableError

PHONES = ("phone1", "phone2")
LOOK_SECONDS = 0.1
"""How often somebody looks whether the server and the devices have come to rest."""


class Eyes:
    """Looks at the pages of a scene whose curtain is up."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def wait(self, ready: Callable[[], Any], otherwise: str, *, seconds: float = 30, every: float = 0.05) -> Any:
        """Return what `ready` returns as soon as that is something.

        Raises:
            RetryableError: it was nothing for so many seconds; `otherwise` says what never happened.
        """
        until = time.monotonic() + seconds
        while True:
            value = ready()
            if value:
                return value
            if time.monotonic() > until:
                raise RetryableError(f"{otherwise} within {seconds:.0f} s")
            time.sleep(every)

    def drain(self, keys: Iterable[str] = ("phone1", "phone2", "terminal")) -> None:
        """Wait until nothing waits on these devices and the server has decided about all of it."""
        self.wait(lambda: all(self._is_idle(key) for key in keys), "a device does not get rid of its work", seconds=60)
        self.wait(self._server_rests, "the server does not come to rest", seconds=60, every=LOOK_SECONDS)
        # Verdicts travel back: two quiet looks in a row.
        seen = None
        until = time.monotonic() + 30
        while time.monotonic() < until:
            now = tuple(self.pulse(key)["version"] for key in keys)
            if now == seen:
                return
            seen = now
            time.sleep(LOOK_SECONDS)

    def _is_idle(self, key: str) -> bool:
        pulse = self.pulse(key)
        return bool(pulse["link"] == "live" and pulse["waiting"] == 0)

    def _server_rests(self) -> bool:
        overview = self.scene.admin.see("/api/overview")
        return not overview["unread"] and not overview["commands"]

    def pulse(self, key: str) -> dict[str, Any]:
        """What a device's bar shows."""
        return self.scene.hands[key].see("/pulse")

    def spread(self) -> int:
        """How many tasks the phones have, once they have all that are out; 0 before."""
        overview = self.scene.admin.see("/api/overview")
        known = sum(int(self.scene.hands[key].see("/tasks")["counts"]["all"]) for key in PHONES)
        return known if known and not overview["ready"] and known >= int(overview["out"]) else 0

    def terminal_knows(self, tasks: int) -> bool:
        """True when the wall shows so many tasks."""
        return int(self.scene.hands["terminal"].see("/wall")["tasks"]) >= tasks

    def knows_return(self, number: str) -> bool:
        """True when the terminal expects this courier number."""
        return any(row["return"] == number for row in self.scene.hands["terminal"].see("/returns").get("returns", []))

    def open_tasks(self, key: str) -> list[dict[str, Any]]:
        """What the picker of this phone may buy now."""
        return [
            t for t in self.scene.hands[key].see("/tasks")["tasks"] if t["open"] and t["mine"] and not t["recalled"]
        ]

    def orders(self, *, status: str) -> list[dict[str, Any]]:
        """All of the merchant's orders with this status."""
        found: list[dict[str, Any]] = []
        page = 1
        while True:
            answer = self.scene.merchant.see("/api/orders", status=status, page=page)
            found += answer["orders"]
            if not answer["more"]:
                return found
            page += 1

    def printed(self, key: str, printer: str) -> list[dict[str, Any]]:
        """What came out of a device's printer, oldest first."""
        folder = LabelFolder(self.scene.printer_folder(key, printer), lambda: 0)
        return [dict(record) for record in folder.read()]

    def labels(self) -> int:
        """How many labels came out of the phones' printers."""
        lines = [self.scene.printer_folder(key, "label") / "labels.jsonl" for key in PHONES]
        return sum(file.read_bytes().count(b"\n") for file in lines if file.exists())
