"""What may go wrong in a run: which faults there are at all, and how strong, is drawn per seed, so that no fault drowns the others.

A fault's name here is its switch: `nahuo sim --seeds 77 --without cut,replay` runs the seed without them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from random import Random
from typing import Any, Final

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Chances are per occasion, 0 where the fault is off; a fault that is simply on or off is a truth value."""

    # --- the network
    cut: float = 0.0
    """A frame breaks its connection; what is in flight is lost."""
    cut_mid_frame: float = 0.0
    """A connection ends within a frame: half a message never counts."""
    half_open: float = 0.0
    """A frame leaves a connection on which nothing arrives any more, and nobody is told."""
    one_way: float = 0.0
    """From this frame on its direction is dead; the other still works."""
    flap: float = 0.0
    """A fresh connection lasts some seconds."""
    delay_ms_max: int = 200
    """The longest a frame takes."""
    bytes_per_ms: int = 0
    """A slow line: 7 is 56 kbit/s. 0 is no limit."""
    stall: float = 0.0
    """A frame finds the receiver's radio asleep and arrives up to `stall_ms_max` later, on a connection the other end gave up."""
    stall_ms_max: int = 0
    offline: float = 0.0
    """After an action the phone is without a signal for up to `offline_ms_max`."""
    offline_ms_max: int = 30 * MINUTE_MS
    outage: float = 0.0
    """No line leads to the server for up to ten hours; then everybody is back at once."""
    replay: float = 0.0
    """Old frames arrive once more: a captured connection is played to the hub anew, an old update to the device."""

    # --- processes
    device_cut_inside: float = 0.0
    """A device dies inside a transaction."""
    device_cut_after: float = 0.0
    """A device dies after a commit, before anything is done about it."""
    server_cut_inside: float = 0.0
    server_cut_after: float = 0.0
    """The server dies after a commit, before it acknowledges or fans out."""
    server_cut_deciding: float = 0.0
    """The server dies inside the authority's transaction."""
    server_down_ms_max: int = SECOND_MS
    doze: float = 0.0
    """The system stops a phone's process for up to eight hours."""
    twice_open: float = 0.0
    """A second instance of the application is started on the same files."""
    fold_at_once: int = 200
    """Subjects a device folds in one step; a person may tap between two."""
    fold_ms_max: int = 1_000
    """How long a slow phone takes to the next step."""

    old_programs: float = 0.0
    """Some programs are a version behind, and are updated one after another."""

    # --- disks and clocks
    disk_full: float = 0.0
    """A device's disk is full at this transaction and for some time after it."""
    disk_error: float = 0.0
    """A device's disk fails to write this transaction."""
    server_disk_full: float = 0.0
    server_disk_error: float = 0.0
    clock_wrong_ms_max: int = 0
    """Devices' wall clocks are off by up to this, either way."""
    clock_jump: float = 0.0
    """A device's wall clock is set, falls back to 1970, changes to summer time, or stands still."""

    # --- printers
    printer_lost: float = 0.0
    """A label comes out and the phone dies before it knows."""
    printer_twice: float = 0.0
    paper_out: float = 0.0
    """No paper for up to an hour."""
    label_torn: float = 0.0
    """Half a label comes out, which no scanner reads."""
    wrong_printer: float = 0.0
    """The label comes out of a colleague's printer and goes into the bin."""

    # --- copies and identities
    restored_phone: float = 0.0
    """A phone's files are put back from an older copy."""
    cloned_phone: float = 0.0
    """A phone's files are copied onto another phone, and both go on."""
    restored_server: float = 0.0
    """The server is put back from an older copy."""
    dismissed: float = 0.0
    """A picker is dismissed while his phone may be in a basement: the device is written off."""
    revoked: float = 0.0
    """A device is stopped while it may be offline."""
    new_key: float = 0.0
    """Somebody, at a device or at the platform, wants a device to take another key."""
    short_leash: float = 0.0
    """Certificates last a day and a handful of actions; what comes beyond that waits for a supervisor."""
    colleague: bool = False
    """Two people share each phone."""

    # --- peers
    forger: bool = False
    """One enrolled device sends what it may not: it forges, skips, replays and mutates."""
    mute_reader: bool = False
    """One enrolled device connects and reads, and never answers."""
    backlog: bool = False
    """One phone comes back with a hundred acts."""

    # --- people
    double_tap: float = 0.0
    fat_finger: float = 0.0
    """A price is typed a hundredfold."""
    two_gates: bool = False
    """There is a second terminal, and bags are scanned at both."""
    foreign_scan: float = 0.0
    """A code that is none of ours is scanned."""
    swapped: float = 0.0
    """Two bags are swapped at the stall."""
    dry_wallet: bool = False
    """Merchants have hardly any money."""
    hasty_office: float = 0.0
    """The office closes what has shipped, cancels returns that are sold, changes its mind."""
    rules_changed: float = 0.0
    """Commission and tolerance change in the middle of the day."""
    day_closed: float = 0.0
    """The business day is closed while phones are out."""
    long_storm: bool = False
    """The storm lasts days."""


NO_FAULTS: Final = Faults()

_MAGNITUDES: Final = {
    "stall_ms_max": "stall",
    "offline_ms_max": "offline",
    "server_down_ms_max": "",
}
"""Fields that say how strong another fault is; they are no switch of their own."""

SWITCHES: Final = tuple(field.name for field in fields(Faults) if field.name not in _MAGNITUDES)


def draw_faults(seed: int, *, without: Iterable[str] = ()) -> Faults:
    """Return what may go wrong in this seed's run: each fault is on in half of the runs, rare ones more seldom.

    Raises:
        ValueError: a name in `without` is no fault.
    """
    random = Random(f"faults {seed}")

    def chance(most: float, on: float = 0.5) -> float:
        drawn = random.uniform(most / 10, most)
        return drawn if random.random() < on else 0.0

    def up_to(least: int, most: int) -> int:
        drawn = random.randrange(least, most)
        return drawn if random.random() < 0.5 else least

    def is_on(likely: float) -> bool:
        return random.random() < likely

    drawn: dict[str, Any] = {
        "cut": chance(0.05),
        "cut_mid_frame": chance(0.03),
        "half_open": chance(0.03),
        "one_way": chance(0.02),
        "flap": chance(0.5, 0.25),
        "delay_ms_max": up_to(200, 20 * SECOND_MS),
        "bytes_per_ms": 7 if is_on(0.25) else 0,
        "stall": chance(0.02),
        "stall_ms_max": up_to(5 * MINUTE_MS, 3 * HOUR_MS),
        "offline": chance(0.4),
        "offline_ms_max": up_to(30 * MINUTE_MS, 5 * HOUR_MS),
        "outage": chance(0.6, 0.2),
        "replay": chance(0.05),
        "device_cut_inside": chance(0.05),
        "device_cut_after": chance(0.04),
        "server_cut_inside": chance(0.02),
        "server_cut_after": chance(0.02),
        "server_cut_deciding": chance(0.02),
        "server_down_ms_max": up_to(10 * SECOND_MS, 40 * MINUTE_MS),
        "doze": chance(0.15),
        "twice_open": chance(0.1, 0.2),
        "fold_at_once": random.choice((200, 200, 1, 3)),
        "fold_ms_max": up_to(2_000, 5 * MINUTE_MS),
        "disk_full": chance(0.02, 0.3),
        "disk_error": chance(0.02, 0.3),
        "server_disk_full": chance(0.02, 0.2),
        "server_disk_error": chance(0.02, 0.2),
        "clock_wrong_ms_max": random.choice((0, 0, 90 * SECOND_MS, 26 * HOUR_MS, 3_000 * DAY_MS)),
        "clock_jump": chance(0.2, 0.3),
        "printer_lost": chance(0.05),
        "printer_twice": chance(0.1),
        "paper_out": chance(0.1, 0.3),
        "label_torn": chance(0.1),
        "wrong_printer": chance(0.05, 0.3),
        "restored_phone": chance(0.6, 0.15),
        "cloned_phone": chance(0.6, 0.15),
        "restored_server": chance(0.6, 0.15),
        "dismissed": chance(0.5, 0.15),
        "revoked": chance(0.5, 0.15),
        "colleague": is_on(0.3),
        "forger": is_on(0.2),
        "mute_reader": is_on(0.2),
        "backlog": is_on(0.03),
        "double_tap": chance(0.2),
        "fat_finger": chance(0.1),
        "two_gates": is_on(0.3),
        "foreign_scan": chance(0.1),
        "swapped": chance(0.1, 0.3),
        "dry_wallet": is_on(0.3),
        "hasty_office": chance(0.3),
        "rules_changed": chance(0.5, 0.3),
        "day_closed": chance(0.9, 0.4),
        "long_storm": is_on(0.1),
        "old_programs": chance(0.6, 0.15),
        # Drawn last: so a day of before it is the same where it is off.
        "new_key": chance(0.6, 0.3),
        "short_leash": chance(0.4, 0.12),
    }
    unknown = sorted(set(without) - set(SWITCHES))
    if unknown:
        raise ValueError(f"no such fault: {', '.join(unknown)}; there are {', '.join(SWITCHES)}")
    for name in without:
        drawn[name] = getattr(NO_FAULTS, name)
    return replace(NO_FAULTS, **drawn)


def switched_on(faults: Faults) -> list[str]:
    """Return the names of the faults that are on, in the order of this page."""
    return [name for name in SWITCHES if getattr(faults, name) != getattr(NO_FAULTS, name)]
