"""Programs of two versions in one market: some have not been updated yet, and are, one after another, in the middle of the storm.

A newer version is made of today's by what an older one does not know: a few kinds that one sort of author says. Whoever says them is
up to date; anybody else may be a version behind. Facts that an older program cannot read are kept, passed on, and count after its update.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nahuo.sim.scene import Scene
from sync_core.facts import PlacedFact
from trade import kinds
from trade.kinds import Role
from trade.projections import MARKET_DAY, NEWER, MarketDay

BEHIND: Final = 0.7
"""How often a program that may be a version behind is."""
NEW_KINDS_MAX: Final = 4
EVER_SINCE: Final = (kinds.TaskAssigned, kinds.DeviceScope)
"""Without these an older program has nothing to do."""
STOPS: Final = (kinds.OrderClosed, kinds.RefundAsked)
"""What holds a parcel back is no new word: a terminal's basis counts what it kept unread, so the recount would say that it knew (I3)."""


class Older(MarketDay):
    """A program of an older version: kinds it has never heard of wait, when their author is newer."""

    def __init__(self, schema: int, unknown: Iterable[str]) -> None:
        self.schema = schema
        self.unknown = frozenset(unknown)

    def judge_void(self, fact: PlacedFact) -> str | None:
        """Judge as today's program does, but for what it does not know."""
        if fact.kind in self.unknown:
            return NEWER if fact.schema > self.schema else "void.kind"
        return super().judge_void(fact)


def leave_behind(scene: Scene) -> None:
    """Draw which words are new and who does not know them yet; call it before the storm."""
    world, random = scene.world, scene.world.random
    speaker = random.choice((Role.SERVER, Role.PICKER, Role.WAREHOUSE))
    known = [kind for kind in kinds.ALL_KINDS if {speaker} == kind.SAID_BY and kind not in EVER_SINCE]
    drawn = random.sample(known, random.randint(1, NEW_KINDS_MAX))
    older = Older(kinds.SCHEMA - 1, [kind.KIND for kind in drawn if kind not in STOPS])
    world.note(f"new in this version: {sorted(older.unknown)}")
    # A server behind its terminals is a known gap: what it reads late is decided and carried behind what came after it.
    if speaker is not Role.SERVER and random.random() < BEHIND and speaker is not Role.WAREHOUSE:
        scene.server.trade = older
        scene.server.reboot()
    for device in scene.devices:
        if device.role != speaker and random.random() < BEHIND:
            device.trade = older
            device.reboot()


def update_one(scene: Scene) -> None:
    """Update one program that is behind: it ends in the middle of whatever it does, and starts as the newer one."""
    behind = [device for device in scene.devices if device.trade is not MARKET_DAY]
    if scene.server.trade is not MARKET_DAY and scene.world.random.random() < 0.5:
        scene.world.sometimes("updated_server")
        scene.server.update()
    elif behind:
        scene.world.sometimes("updated_device")
        scene.world.random.choice(behind).update()


def update_all(scene: Scene) -> None:
    """The storm is over: nobody stays behind."""
    if scene.server.trade is not MARKET_DAY:
        scene.server.update()
    for device in scene.devices:
        if device.trade is not MARKET_DAY:
            device.update()
