"""Buyers' data: planted names, phones and addresses occur on no phone, and nowhere in the server's files in clear (D18, REL-I11, REL-G17).

Simulated days with their faults are played on real files; afterwards every byte of every file is searched for the canaries, in the
encodings in which a text could lie there, base64 included. A search that finds nothing proves nothing unless it can find: the same
search has to find the canaries in the order file they came with.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

from nahuo.sim.day import run_seed
from nahuo.sim.people.office import order_file
from nahuo.sim.world import World
from proof.report import Part, Size

SEEDS: Final = {Size.SHORT: range(1, 4), Size.FULL: range(1, 101)}
CANARIES: Final = ("王芳", "13800000000", "某路")
"""Name, phone and address of every buyer of the simulation."""


def prove(size: Size, folder: Path) -> Part:
    """Play days, search every file."""
    seeds = SEEDS[size]
    part = Part(
        name="privacy",
        title="Buyers' data",
        shows="Every buyer of a simulated day has a planted name, phone and address; after the day every byte of the phones' and the"
        " server's files is searched for them, in every encoding a text could have there.",
        does_not_show="A terminal prints waybills, so it holds what is printed until it is purged. Earlier backups keep what they hold."
        " Memory, swap and what the file system leaves behind.",
    )
    searched = {"phone": 0, "server": 0}
    for seed in seeds:
        place = folder / f"seed-{seed}"
        place.mkdir()
        result = run_seed(seed, place)
        if result.failure:
            part.faults.append(f"seed {seed} did not live through its day: {result.failure}")
        for owner, path in files_of(place):
            data = path.read_bytes()
            searched[owner] += len(data)
            part.faults += [f"seed {seed}: {path.relative_to(place)} holds {what}" for what in find(data)]
        shutil.rmtree(place)
    able = set(find(base64.b64decode(order_file(World(1), 1, 3).content))) == set(CANARIES)
    if not able:
        part.faults.append("the search does not find the canaries where they are")
    drawn_from = f"seeds {seeds[0]} to {seeds[-1]}"
    for owner, count in searched.items():
        hits = sum(1 for fault in part.faults if f": {owner}" in fault)
        part.add(
            f"canaries in files of {owner}s",
            str(hits),
            f"{drawn_from}, {count / 2**20:.0f} MiB",
            goal="0",
            holds=hits == 0 and count > 0,
        )
    return part


def files_of(place: Path) -> Iterator[tuple[str, Path]]:
    """Yield (owner, file) of the phones and the server of a simulated day."""
    for path in sorted(place.rglob("*")):
        top = path.relative_to(place).parts[0]
        owner = "server" if top == "server" else "phone" if top.startswith("phone") else ""
        if owner and path.is_file():
            yield owner, path


def find(data: bytes) -> list[str]:
    """Return the canaries that stand in some bytes."""
    return [canary for canary in CANARIES if any(needle in data for needle in needles(canary))]


def needles(text: str) -> set[bytes]:
    """Return the ways in which a text may lie in a file: encodings, JSON escapes, and base64 at each of its three places."""
    plain = {text.encode("utf-8"), text.encode("gb18030"), text.encode("utf-16-le"), text.encode("utf-16-be")}
    escaped = text.encode("ascii", "backslashreplace")
    found = plain | {escaped, escaped.upper().replace(b"\\U", b"\\u")}
    utf8 = text.encode()
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + utf8)
        # The first and last characters depend on the neighbours: only the ones between are sure.
        found.add(coded[(4 if before else 0) : len(coded) // 4 * 4 - 4])
    return {needle for needle in found if len(needle) >= 4}


def plant(data: bytearray, random: Random, canary: str) -> bytearray:
    """Put a canary somewhere into some bytes, in some encoding: what a test has the search find."""
    needle = random.choice(sorted(needles(canary)))
    at = random.randrange(len(data))
    data[at:at] = needle
    return data


__all__ = ["find", "needles", "plant", "prove"]
