"""A prepared installation: merchants, shops, people and enrolled devices, made once per process and copied for each seed.

Setting up takes as long as an hour of the day and is the same in every seed: keys, numbers and papers do not depend on it. Two phones of
pickers, a runner's, two terminals, and one enrolled device whose owner means no good; a day uses those its faults ask for.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

from nahuo.sim.nodes.device import DeviceNode
from nahuo.sim.nodes.server import ServerNode
from nahuo.sim.people.office import MERCHANTS, SHOPS, STALLS
from nahuo.sim.seams import key_seed, known_pin, seeded
from nahuo.sim.world import NO_FAULTS, World
from server import commands as c

DEVICES: Final = {
    "phone-1": "picker",
    "phone-2": "picker",
    "phone-3": "runner",
    "terminal-1": "warehouse",
    "terminal-2": "warehouse",
    "phone-4": "picker",
}
STRANGER: Final = "phone-4"
"""Enrolled like the others; what it sends is another matter."""
SERVER: Final = "server"
_BY: Final = "platform:office"


def lay_out(folder: Path) -> None:
    """Fill an empty folder with a server and its devices, as they stand before the day."""
    shutil.copytree(_prepared(), folder, dirs_exist_ok=True)


def prepare_now() -> None:
    """Prepare in this process before the code is changed, so that a planted bug is none of the set-up."""
    _prepared()


@cache
def _prepared() -> Path:
    keeper = tempfile.TemporaryDirectory(prefix="nahuo-sim-prepared-", dir=_fast())
    _KEPT.append(keeper)
    folder = Path(keeper.name)
    with seeded(0):
        _prepare(folder)
    return folder


_KEPT: Final[list[tempfile.TemporaryDirectory[str]]] = []
"""Deleted when the process ends."""


def _fast() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _prepare(folder: Path) -> None:
    world = World(0)
    world.faults = world.storm_faults = NO_FAULTS
    server = ServerNode(world, folder / SERVER, key=server_key())
    devices: list[DeviceNode] = []
    try:
        do = server.carry_out
        for merchant in MERCHANTS:
            do(c.MerchantCreate(id=merchant, name=f"商家{merchant}"), by=_BY)
        for number, (shop, merchant) in enumerate(SHOPS.items()):
            do(c.ShopSet(shop=shop, merchant=merchant, tolerance_fen=number * 200), by=_BY)
        market, floor, stall = STALLS[0]
        do(c.StallListed(market=market, floor=floor, stall=stall, name="白木禾"), by=_BY)
        do(c.CourierRange(courier="圆通", prefix="YT", first=1, last=800, digits=10), by=_BY)
        salt, pin = known_pin()
        for name, role in DEVICES.items():
            for person in (f"p-{name}", f"q-{name}"):
                do(c.PersonCreate(id=person, name=person, pin_salt=salt, pin_hash=pin), by=_BY)
            devices.append(_enrol(world, server, folder / name, name, role, do))
    finally:
        for device in devices:
            device.close()
        server.close()


def server_key() -> bytes:
    """Return the seed of the server's key: one for all runs."""
    return key_seed(0, SERVER)


def _enrol(
    world: World, server: ServerNode, folder: Path, name: str, role: Any, do: Callable[..., dict[str, Any]]
) -> DeviceNode:
    digest = c.enrol_code_digest(f"ABCDEF{name[0]}{name[-1]}".upper())
    code = c.DeviceCode(code_digest=digest, role=role, name=name, people=[f"p-{name}", f"q-{name}"], warehouse="main")
    do(code, by=_BY)
    folder.mkdir(parents=True)
    device = DeviceNode(world, server, name=name, role=role, folder=folder)
    enrol = c.DeviceEnrol(code_digest=digest, public_key=device.key.public_key.hex())
    outcome = do(enrol, by="device:new")
    certificate = {key: value for key, value in outcome.items() if key != "ok"}
    key = bytes.fromhex(outcome["server_key"])
    device.replica.enrol(number=int(outcome["number"]), server_key=key, certificate=certificate)
    return device
