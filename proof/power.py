"""Power cuts: the real system calls of the core path, recorded once, cut anywhere, on a disk that forgets what was not synced.

A phone (proof/core_device.py) and a server (proof/core_server.py) work in processes of their own under strace. Each cut plays the recording
up to a drawn call, lets the disk keep a drawn part of what was not safe, writes the files out and starts the program on them: the file is
whole, everything a person or a device had been told by then is there, no half transaction, the rows are what the log folds to, and work
goes on. Recordings with synchronous=NORMAL, and with the answer given before the commit, show that the proof finds loss.
"""

from __future__ import annotations

import multiprocessing
import pickle
import random
import shutil
import tempfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from proof.after_power import Mark, Recounts, faults_of_device, faults_of_server
from proof.recording import DAMAGES, Disk, Step, cannot_record, record
from proof.report import Part, Size

CUTS: Final = {Size.SHORT: 2_000, Size.FULL: 100_000}
ROUNDS: Final = {"device": {Size.SHORT: 14, Size.FULL: 30}, "server": {Size.SHORT: 9, Size.FULL: 20}}
SHARE_OF_DEVICE: Final = 0.6
"""The server's start costs more than the phone's, and there are more phones."""
PLANTED_CUTS: Final = 80
WORKERS: Final = 2
PORTION: Final = 500
"""Cuts a worker plays in one pass over the recording."""
FIRST_SEED: Final = 9_000

Look = Callable[[Path, Sequence[Mark], Recounts], list[str]]
LOOKS: Final[dict[str, Look]] = {"device": faults_of_device, "server": faults_of_server}


@dataclass(slots=True, kw_only=True)
class Cuts:
    """What a number of cuts came to."""

    cuts: int = 0
    contents: int = 0
    rows: int = 0
    faults: list[str] = field(default_factory=list)
    damaged: dict[str, int] = field(default_factory=dict)

    def add(self, other: Cuts) -> None:
        """Count another pass."""
        self.cuts += other.cuts
        self.contents += other.contents
        self.rows += other.rows
        self.faults += other.faults
        for name, count in other.damaged.items():
            self.damaged[name] = self.damaged.get(name, 0) + count


def prove(size: Size, folder: Path) -> Part:
    """Record, cut, and show that planted faults are found."""
    part = Part(
        name="power",
        title="Power cuts",
        shows="Every byte that the core path of a phone and of the server hands to the system is recorded (strace). A cut falls between "
        "two calls; what was not synced is kept not at all, wholly, up to a point, in part, or torn at 512-byte sectors, names of files "
        "included. The program starts on what is left: the file is whole, nothing that was shown as done, acknowledged or answered is "
        "gone, rows equal the log folded anew, the ledger sums to zero, work goes on.",
        does_not_show="A disk that lies about syncs, or damages what it had kept; files below the data folder (a printer that is a "
        "folder). Calls of several threads are taken in the order in which they ended.",
    )
    why = cannot_record()
    if why:
        part.add("power cuts", "not run", why, goal=f"{CUTS[size]:,}", holds=None if size is Size.SHORT else False)
        return part
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        for word, title in (("device", "a phone"), ("server", "the server")):
            share = SHARE_OF_DEVICE if word == "device" else 1 - SHARE_OF_DEVICE
            steps = record(f"proof.core_{word}", _room(folder, word), str(ROUNDS[word][size]))
            told = _in_portions(pool, word, steps, folder, cuts=round(CUTS[size] * share))
            _say(part, title, told, steps)
        _plants(part, pool, folder)
    return part


def _say(part: Part, title: str, told: Cuts, steps: Sequence[Step]) -> None:
    last = FIRST_SEED + (told.cuts - 1) // PORTION
    drawn = f"{told.cuts:,} cuts of {title}, {len(steps):,} recorded calls, seeds {FIRST_SEED} to {last}"
    lost = sum("lost:" in fault for fault in told.faults)
    corrupt = sum("corrupt:" in fault for fault in told.faults)
    part.faults += told.faults[:20]
    part.add(f"{title}: told as done and lost", f"{lost}", drawn, goal="0", holds=lost == 0)
    part.add(f"{title}: damaged files", f"{corrupt}", drawn, goal="0", holds=corrupt == 0)
    part.add(
        f"{title}: contents whose rows equal their log folded anew", f"{told.contents:,}", f"{told.rows:,} rows, byte for byte (G14)",
        goal="all", holds=len(told.faults) == lost + corrupt,
    )  # fmt: skip


def _plants(part: Part, pool: Any, folder: Path) -> None:
    """Show once that loss is found."""
    plants = (
        ("device", "synchronous=NORMAL", "NORMAL", ""),
        ("server", "synchronous=NORMAL", "NORMAL", ""),
        ("device", "shown before the commit", "FULL", "early"),
        ("server", "acknowledged before the commit", "FULL", "early"),
    )
    rows = ["| Planted | Found by |", "|---|---|"]
    for word, name, synchronous, plant in plants:
        steps = record(f"proof.core_{word}", _room(folder, f"{word}-{synchronous}-{plant}"), "6", synchronous, plant)
        told = _in_portions(pool, word, steps, folder, cuts=PLANTED_CUTS)
        lost = [fault for fault in told.faults if "lost:" in fault]
        rows.append(f"| {word}: {name} | {len(lost)} losses in {told.cuts} cuts |")
        part.add(
            f"planted, {word}: {name}", f"{len(lost)} losses found", f"{told.cuts} cuts", goal="some", holds=bool(lost)
        )
    part.table = "\n".join(rows)


def _room(folder: Path, name: str) -> Path:
    room = folder / name
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True)
    return room


def _in_portions(pool: Any, word: str, steps: list[Step], folder: Path, *, cuts: int) -> Cuts:
    path = folder / f"{word}-{uuid.uuid4().hex[:8]}.steps"
    path.write_bytes(pickle.dumps(steps))
    portions = [(word, path, FIRST_SEED + n, min(PORTION, cuts - n * PORTION)) for n in range(-(-cuts // PORTION))]
    if len(portions) == 1:
        half = cuts // WORKERS
        portions = [(word, path, FIRST_SEED + n, half) for n in range(WORKERS)]
    total = Cuts()
    for told in pool.imap_unordered(_portion, portions):
        total.add(told)
    return total


def _portion(asked: tuple[str, Path, int, int]) -> Cuts:
    word, path, seed, cuts = asked
    if path not in _recordings:
        # One recording at a time is at work; an older one would only take up room.
        _recordings.clear()
        _recordings[path] = (pickle.loads(path.read_bytes()), Recounts())
    steps, recounts = _recordings[path]
    return cut_many(word, steps, seed=seed, cuts=cuts, recounts=recounts)


_recordings: dict[Path, tuple[list[Step], Recounts]] = {}
"""What this worker has read."""


def cut_many(
    word: str, steps: Sequence[Step], *, seed: int, cuts: int, recounts: Recounts | None = None, faults_max: int = 20
) -> Cuts:
    """Cut a recording at `cuts` drawn calls, each with a drawn damage, and look at what is left.

    `recounts` remembers what was recounted by an earlier pass over the same recording.
    """
    rng = random.Random(seed)
    where = sorted(rng.randint(1, len(steps)) for _ in range(cuts))
    told, disk = Cuts(), Disk()
    recounts = recounts or Recounts()
    contents, rows = len(recounts.seen), recounts.rows
    marks: list[Mark] = []
    played = 0
    with tempfile.TemporaryDirectory(prefix="nahuo-cut-", dir=_fast_folder()) as name:
        room = Path(name) / "data"
        for n, at in enumerate(where):
            for step in steps[played:at]:
                disk.play(step)
                if step.what == "mark":
                    marks.append(step.said)
            played = at
            damage = rng.choice(DAMAGES)
            left = disk.cut(random.Random(f"{seed} {n}"), damage)
            _write_out(room, left)
            told.cuts += 1
            told.damaged[damage] = told.damaged.get(damage, 0) + 1
            found = LOOKS[word](room, marks, recounts)
            told.faults += [
                f"seed {seed}, {word}, cut {n} before call {at}, kept {damage}: {fault}" for fault in found[:3]
            ]
            if len(told.faults) > faults_max:
                break
    told.contents, told.rows = len(recounts.seen) - contents, recounts.rows - rows
    return told


def _write_out(room: Path, files: dict[str, bytes]) -> None:
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir()
    for name, data in files.items():
        (room / name).write_bytes(data)


def _fast_folder() -> str | None:
    """Memory, where there is some: the cut was played already, so syncs of the look itself need not cost anything."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
