"""The demo's scene: a server, two phones, a terminal, four virtual printers, a merchant with money, a morning's orders.

Each is a process of its own with a data folder of its own below one folder. The first start sets everything up through the ordinary
pages; a later one continues where it stopped. Names, PINs and passwords here are for the demo only, and are shown on its page.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nahuo.demo.hands import Desk, Hand
from nahuo.demo.processes import Actor
from sync_core.errors import RefusedError, RetryableError

ADMIN, ADMIN_PASSWORD = "admin", "demo-admin-password"
MERCHANT, MERCHANT_NAME, MERCHANT_PASSWORD = "xiaoman", "小满女装", "demo-merchant-password"
SHOP = "小满女装"
TOP_UP_YUAN = "200000"
PEOPLE = {"lin": ("阿林", "1111"), "mei": ("阿梅", "2222"), "cang": ("仓叔", "3333")}
DEVICE_NAMES = {"phone1": "阿林的手机", "phone2": "阿梅的手机", "terminal": "仓库终端"}
COURIER = "中通快递"
CELLS = "A01-A99"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A phone or the terminal: its processes and who holds it."""

    key: str
    person: str
    pin: str
    client: Actor
    printers: dict[str, Actor]


@dataclass(slots=True, kw_only=True)
class Scene:
    """All processes of a demo and the hands that use them."""

    folder: Path
    ports: dict[str, int]
    framed_by: str | None = None
    server: Actor = field(init=False)
    devices: dict[str, Device] = field(init=False)
    numbers: dict[str, int] = field(default_factory=dict)
    hands: dict[str, Hand] = field(default_factory=dict)
    admin: Desk = field(init=False)
    merchant: Desk = field(init=False)
    _desks: list[Desk] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        """Lay out the processes; nothing is started."""
        framed = ["--framed-by", self.framed_by] if self.framed_by else []
        self.server = self._actor(
            "server", ["server", "--data", str(self.folder / "server"), "--port", str(self.ports["server"]), *framed]
        )
        self.devices = {
            "phone1": self._device("phone1", "field", "lin", ("label",), framed),
            "phone2": self._device("phone2", "field", "mei", ("label",), framed),
            "terminal": self._device("terminal", "warehouse", "cang", ("label", "waybill"), framed),
        }

    # --- starting and ending ------------------------------------------------------------------------------------------------

    @property
    def server_url(self) -> str:
        """Where the server answers."""
        return f"http://127.0.0.1:{self.ports['server']}"

    def printer_folder(self, key: str, printer: str) -> Path:
        """Where a virtual printer's labels land."""
        return self.folder / "printers" / f"{key}-{printer}"

    @property
    def actors(self) -> list[Actor]:
        """Every process."""
        return [self.server, *(a for d in self.devices.values() for a in (*d.printers.values(), d.client))]

    def raise_curtain(self, tell: Callable[[str], None]) -> bool:
        """Start everything; set it up the first time. True when it was set up now.

        Raises:
            RetryableError: a process did not start; its last words are in the message.
        """
        fresh = not (self.folder / "scene.json").exists()
        for device in self.devices.values():
            for printer in device.printers.values():
                printer.start()
        if fresh:
            self.folder.mkdir(parents=True, exist_ok=True)
            _nahuo("init", "--data", str(self.folder / "server"), "--admin", ADMIN, "--password", ADMIN_PASSWORD)
        self.server.start()
        self.server.wait()
        self._sit_down(fresh)
        if fresh:
            tell("setting up people, stalls, couriers and devices")
            codes = self._register_devices()
            for key, device in self.devices.items():
                device.client.arguments = [*device.client.arguments, "--enroll", codes[key]]
        for device in self.devices.values():
            for printer in device.printers.values():
                printer.wait()
            device.client.start()
        if fresh:
            self._set_up()
        for key in self.devices:
            self._pick_up(key)
        if fresh:
            self._finish_set_up()
        saved = json.loads((self.folder / "scene.json").read_text())
        self.numbers = saved["numbers"]
        return fresh

    def drop_curtain(self) -> None:
        """End every process that was started here."""
        for hand in self.hands.values():
            hand.close()
        for desk in self._desks:
            desk.close()
        for actor in reversed(self.actors):
            actor.ask_to_stop()
        for actor in reversed(self.actors):
            actor.stop()

    def restart_server(self) -> None:
        """Start the server again after a kill, and sit down at its pages."""
        self.server.start()
        self.server.wait()
        self.admin.sign_in()
        self.merchant.sign_in()

    def restart_device(self, key: str) -> None:
        """Start a device's client again after a kill; somebody signs in."""
        self.devices[key].client.start()
        self._pick_up(key)

    # --- inside -------------------------------------------------------------------------------------------------------------

    def _actor(self, name: str, arguments: list[str]) -> Actor:
        return Actor(name=name, arguments=arguments, log=self.folder / "logs" / f"{name}.log")

    def _device(self, key: str, command: str, person: str, printers: tuple[str, ...], framed: list[str]) -> Device:
        actors = {}
        named: list[str] = []
        for printer in printers:
            port = self.ports[f"{key}-{printer}"]
            out = self.printer_folder(key, printer)
            arguments = ["vprinter", "--language", "tspl", "--port", str(port), "--out", str(out)]
            actors[printer] = self._actor(f"{key}-{printer}", arguments)
            named += ["--printer" if printer == "label" else "--waybill-printer", f"tcp://127.0.0.1:{port}"]
        arguments = [
            command,
            "--data",
            str(self.folder / key),
            "--server",
            self.server_url,
            "--port",
            str(self.ports[key]),
            *named,
            *framed,
        ]
        return Device(
            key=key, person=person, pin=PEOPLE[person][1], client=self._actor(key, arguments), printers=actors
        )

    def _sit_down(self, fresh: bool) -> None:
        self.admin = Desk(self.server_url, name=ADMIN, password=ADMIN_PASSWORD)
        self.merchant = Desk(self.server_url, name=MERCHANT, password=MERCHANT_PASSWORD)
        self._desks = [self.admin, self.merchant]
        self.admin.sign_in()
        if not fresh:
            self.merchant.sign_in()

    def _pick_up(self, key: str) -> None:
        device = self.devices[key]
        hand = Hand(device.client.wait())
        if key in self.hands:
            self.hands[key].close()
        self.hands[key] = hand
        until = time.monotonic() + 30
        while True:
            try:
                self.hands[key].sign_in(device.person, device.pin)
                return
            except RefusedError:
                # A device just enrolled learns of its people from its own document, a moment later.
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def _register_devices(self) -> dict[str, str]:
        """Enter the people, and return {device: its one-time code}."""
        admin = self.admin
        for person, (name, pin) in PEOPLE.items():
            admin.need("/platform/people", id=person, name=name, pin=pin)
        codes = {}
        for key, device in self.devices.items():
            role = "warehouse" if key == "terminal" else "picker"
            made = admin.need(
                "/platform/devices/codes", role=role, name=DEVICE_NAMES[key], people=[device.person], warehouse="main"
            )
            codes[key] = str(made["code"])
        return codes

    def _set_up(self) -> None:
        admin = self.admin
        admin.need("/platform/merchants", id=MERCHANT, name=MERCHANT_NAME)
        admin.need("/platform/couriers", courier=COURIER, first="75500000001", last="75500099999", digits="11", prefix="7",
                   three_part_code="571-03 009", bag_place="广州中心")  # fmt: skip
        admin.need("/platform/merchants/" + MERCHANT + "/shops", shop=SHOP, courier=COURIER)
        admin.need(f"/platform/merchants/{MERCHANT}/top-up", amount=TOP_UP_YUAN, key="demo-bank-0001", note="演示首充")
        admin.need("/platform/fees", commission="1.50", courier="3.50", packing="0.50")
        admin.need(
            "/platform/users", name=MERCHANT, password=MERCHANT_PASSWORD, role="merchant_owner", organisation=MERCHANT
        )
        with open(examples() / "stalls.csv", encoding="utf-8-sig", newline="") as file:
            admin.need_all([("/platform/stalls", row) for row in csv.DictReader(file)])
        self.merchant.sign_in()
        self.merchant.need(
            "/merchant/settings", shop=SHOP, drop_ship="1", courier=COURIER, tolerance="0", default_answer="re_enter"
        )

    def _finish_set_up(self) -> None:
        numbers = {row["name"]: int(row["number"]) for row in self.admin.see("/api/devices")["devices"]}
        saved: dict[str, Any] = {"numbers": {key: numbers[DEVICE_NAMES[key]] for key in self.devices}}
        self.admin.need(f"/platform/devices/{saved['numbers']['terminal']}/cells", cells=CELLS)
        partial = self.folder / "scene.json.new"
        partial.write_text(json.dumps(saved))
        partial.replace(self.folder / "scene.json")

    def import_orders(self, files: list[Path]) -> dict[str, Any]:
        """Import a shop's file pair on the merchant's page; return the counts."""
        sent = [("files", (file.name, file.read_bytes())) for file in files]
        return self.merchant.need("/merchant/import", files=sent, shop=SHOP)


def _nahuo(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nahuo", *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        raise RetryableError(done.stderr.strip() or f"nahuo {arguments[0]} ended with {done.returncode}")


def examples() -> Path:
    """The folder of example files, in a checkout.

    Raises:
        RefusedError: this is an installation without it.
    """
    folder = Path(__file__).resolve().parents[2] / "examples"
    if not (folder / "stalls.csv").exists():
        raise RefusedError("demo.examples", "the demo needs the examples folder: run it from a checkout of the project")
    return folder
