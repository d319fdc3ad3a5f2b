"""Failure of the k-th write, sync and read, for every k on the core path, once and for ever after.

strace lets the system call itself fail (EIO, ENOSPC) in the very processes of the power-cut proof: a phone (proof/core_device.py) and
a server (proof/core_server.py). While the fault is on, whatever is refused must be refused in plain words and the process may stop only
with a plain sentence; nothing a person or a device was told may be gone. Then the fault is over: the same folder is opened, searched and
recounted as after a power cut, and the process works on it to its end with no hand that mends. Processes with a bug planted (an answer
before the commit; an error of the disk that nobody hears) show that the proof finds loss.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from proof.after_power import Mark, Recounts, faults_of_device, faults_of_server
from proof.forks import Failing, Forks
from proof.recording import cannot_record
from proof.report import Part, Size

CALLS: Final = ("pwrite64", "fdatasync", "pread64")
ERRORS: Final = {"pwrite64": ("EIO", "ENOSPC"), "fdatasync": ("EIO",), "pread64": ("EIO",)}
ROUNDS: Final = "2"
SAMPLES: Final = {Size.SHORT: {"device": 2, "server": 1}, Size.FULL: {"device": 10_000, "server": 10_000}}
"""How many k of each call and error, spread over the path; all there are where there are no more."""
FOR_EVER_EVERY: Final = {"device": 1, "server": 10}
"""FULL: every so many-th of those also fails for ever after. SHORT: they fail once and for ever by turns."""
SECONDS_MAX: Final = 90
WORKERS: Final = {Size.SHORT: 2, Size.FULL: 4}
"""For ever failing, most of the time is waiting."""
PLANTS: Final = (
    ("device", "early", "shown before the commit", "after", False),
    ("device", "deaf", "an error of the commit is swallowed", "before", False),
    ("server", "early", "acknowledged before the commit", "after", True),
    ("server", "deaf", "an error of the commit is swallowed", "before", False),
)
"""(program, its option, what is wrong, whether the sync behind or ahead of an answer fails, for ever: the server tries again)."""
PLANTED_TRIES: Final = 10
"""Which sync stands behind an answer is a guess where several threads sync: so many are tried, until one shows the loss."""
LOOKS: Final[dict[str, Callable[..., list[str]]]] = {"device": faults_of_device, "server": faults_of_server}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One planted failure: the k-th call of a thread, or every one from it on. `k_max` is the largest k that is tried of this kind."""

    word: str
    call: str
    error: str
    k: int
    k_max: int
    for_ever: bool

    @property
    def failing(self) -> Failing:
        """The kind of failure, whatever the k."""
        return Failing(call=self.call, error=self.error, k_max=self.k_max, for_ever=self.for_ever)

    def __str__(self) -> str:
        return f"{self.word}: {self.call} {self.k} fails with {self.error}{' for ever' if self.for_ever else ''}"


@dataclass(slots=True, kw_only=True)
class Told:
    """What became of one: how the process took it, and what is wrong."""

    fault: Fault
    took: str = ""
    """`went on`, `refused` (and went on) or `stopped` (with a plain sentence)."""
    faults: list[str] = field(default_factory=list)


def prove(size: Size, folder: Path) -> Part:
    """Count the calls of an undisturbed run, then let each fail."""
    part = Part(
        name="io_faults",
        title="Failing writes, syncs and reads",
        shows="The k-th pwrite, fdatasync or pread of the process fails, once or for ever (strace injects it into the real process). It "
        "refuses in plain words, goes on or stops with a plain sentence; nothing told as done is gone, nothing is acknowledged that is not "
        "committed; when the fault is over it works again by itself.",
        does_not_show="Failures inside the kernel that no call reports. Reads by mmap: SQLite uses it for the journal's index only.",
    )
    why = cannot_record()
    if why:
        part.add("failing calls", "not run", why, holds=None if size is Size.SHORT else False)
        return part
    with multiprocessing.get_context("spawn").Pool(WORKERS[size]) as pool:
        counts = {word: pool.apply(count_calls, (word, folder / f"count-{word}")) for word in LOOKS}
        chosen = [fault for word in LOOKS for fault in choose(word, counts[word], size)]
        told = pool.starmap(try_fault, [(fault, folder / f"fault-{n}") for n, fault in enumerate(chosen)], chunksize=1)
        planted = [_try_plant(pool, folder, *plant) for plant in PLANTS]
    part.faults = [f"{one.fault}: {fault}" for one in told for fault in one.faults]
    for word in LOOKS:
        mine = [one for one in told if one.fault.word == word]
        tried = len({(one.fault.call, one.fault.k) for one in mine})
        for_ever = sum(one.fault.for_ever for one in mine)
        drawn = f"{tried:,} of {sum(counts[word].values()):,} writes, syncs and reads failed in {len(mine):,} runs, {for_ever:,} for ever"
        lost = sum("lost:" in fault or "corrupt:" in fault for one in mine for fault in one.faults)
        part.add(f"{word}: told as done and lost, or damaged", f"{lost}", drawn, goal="0", holds=lost == 0)
        took = {way: sum(one.took == way for one in mine) for way in ("went on", "refused", "stopped")}
        part.add(f"{word}: how it took it", ", ".join(f"{way} {count}" for way, count in took.items()), drawn)
    rows = ["| Planted | Found by |", "|---|---|"]
    for name, runs, lost in planted:
        rows.append(f"| {name} | {lost} losses in {runs} runs |")
        part.add(f"planted, {name}", f"{lost} losses found", f"{runs} failing syncs", goal="some", holds=lost > 0)
    part.table = "\n".join(rows)
    return part


def _try_plant(
    pool: Any, folder: Path, word: str, plant: str, name: str, side: str, for_ever: bool
) -> tuple[str, int, int]:
    """Return (what is wrong, runs, losses found) of a process with a bug planted whose disk fails beside an answer."""
    room = folder / f"planted-{word}-{plant}"
    syncs = pool.apply(syncs_beside_answers, (word, room / "trace", plant, side))[:PLANTED_TRIES]
    faults = [Fault(word=word, call="fdatasync", error="EIO", k=k, k_max=max(syncs), for_ever=for_ever) for k in syncs]
    runs = lost = 0
    while runs < len(faults) and lost == 0:
        pair = faults[runs : runs + 2]
        jobs = [(fault, room / str(runs + n), "FULL", plant) for n, fault in enumerate(pair)]
        told = pool.starmap(try_fault, jobs, chunksize=1)
        runs += len(pair)
        lost += sum("lost:" in fault for one in told for fault in one.faults)
    return f"{word}: {name}", runs, lost


def choose(word: str, counts: Mapping[str, int], size: Size) -> list[Fault]:
    """Return the failures to try, spread evenly over each kind of call."""
    chosen: list[Fault] = []
    for call, count in counts.items():
        samples = min(count, SAMPLES[size][word])
        for error in ERRORS[call]:
            for n in range(samples):
                k = 1 + (2 * n + 1) * count // (2 * samples) if samples < count else n + 1
                fault = Fault(word=word, call=call, error=error, k=k, k_max=count, for_ever=False)
                if size is Size.SHORT:
                    chosen.append(replace(fault, for_ever=len(chosen) % 2 == 1))
                    continue
                chosen.append(fault)
                if n % FOR_EVER_EVERY[word] == 0:
                    chosen.append(replace(fault, for_ever=True))
    return sorted(chosen, key=lambda fault: (fault.word, fault.call, fault.error, fault.for_ever, fault.k))


def count_calls(word: str, folder: Path) -> dict[str, int]:
    """Return how many calls of each kind that thread of an undisturbed run makes which makes most: strace lets the k-th of each fail."""
    _run(word, folder, trace=folder / "trace")
    lines = (folder / "trace").read_text()
    return {call: max(Counter(re.findall(rf"^(\d+) +{call}\(", lines, re.MULTILINE)).values()) for call in CALLS}


def syncs_beside_answers(word: str, folder: Path, plant: str, side: str) -> list[int]:
    """Return which syncs of their threads come just before, or just after, the answers that a planted run gives, the nearest first.

    strace counts by thread. On a server another thread may sync between the commit and its answer, so of those before three are told.
    """
    _run(word, folder, "FULL", plant, trace=folder / "trace", calls=("fdatasync", "write"))
    by_thread: dict[str, int] = {}
    syncs: list[int] = []
    found: list[int] = []
    answered = False
    for line in (folder / "trace").read_text().splitlines():
        thread, _, call = line.partition(" ")
        if re.match(r" *fdatasync\(", call):
            by_thread[thread] = by_thread.get(thread, 0) + 1
            syncs.append(by_thread[thread])
            if answered and side == "after":
                found.append(syncs[-1])
            answered = False
        elif re.search(r'write\(\d+, "\{\\"(facts|acked)', call):
            answered = True
            if side == "before":
                found += reversed(syncs[-3:])
    return list(dict.fromkeys(found))


def try_fault(fault: Fault, folder: Path, *options: str) -> Told:
    """Run once with the fault and once more without; look at the folder between and after. `options` plant a fault of ours beside."""
    told = Told(fault=fault)
    status, words = _run(fault.word, folder, *options, fault=fault)
    marks = _marks(folder)
    ended = next((mark for mark in marks if "ended" in mark), None)
    told.took = "stopped" if ended is None else "refused" if ended["refused"] else "went on"
    if status == "hung":
        told.faults.append("it hung")
    elif ended is None and not _is_plain(words):
        told.faults.append(f"it ended without a plain sentence: {_last_line(words)}")
    for refused in (ended or {}).get("refused", []) if fault.word == "device" else []:
        if not str(refused.get("code", "")).startswith(("disk.", "task.", "corrupt")):
            told.faults.append(f"refused in other words: {refused}")
    told.faults += _look(fault.word, folder, marks)
    status, words = _run(fault.word, folder)
    if status != "0":
        told.faults.append(f"it does not work when the fault is over: {_last_line(words)}")
    told.faults += _look(fault.word, folder, _marks(folder))
    shutil.rmtree(folder, ignore_errors=True)
    return told


def _look(word: str, folder: Path, marks: list[Mark]) -> list[str]:
    """Look at a copy, so that the look mends nothing."""
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    if not (folder / "data").is_dir():
        return []
    shutil.copytree(folder / "data", copy)
    for index in copy.glob("*-shm"):
        index.unlink()
    return LOOKS[word](copy, marks, Recounts())


def _is_plain(words: str) -> bool:
    """True when the last words are a sentence with a code, as the programs say it; a server's log before it may hold a stack."""
    return bool(re.search(r"\[[a-z._]+\]\s*$", words.strip()))


def _last_line(words: str) -> str:
    """The error itself, without the stack above it and SQLAlchemy's address below it."""
    lines = [line for line in words.splitlines() if line.strip() and not line.startswith("(Background")]
    return lines[-1][-200:] if lines else "nothing was said"


def _marks(folder: Path) -> list[Mark]:
    path = folder / "marks"
    lines = path.read_text().splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _run(
    word: str,
    folder: Path,
    *options: str,
    fault: Fault | None = None,
    trace: Path | None = None,
    calls: Sequence[str] = CALLS,
) -> tuple[str, str]:
    """Return the exit status (or "hung") and what was said."""
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [str(folder / "data"), str(folder / "marks"), ROUNDS, *options]
    if trace is not None:
        with Forks(f"proof.core_{word}", trace=calls, to=trace) as forks:
            return forks.run(arguments, said=folder / "said", seconds_max=SECONDS_MAX)
    k = fault.k if fault else 0
    return _forks(word, fault.failing if fault else None).run(
        arguments, said=folder / "said", seconds_max=SECONDS_MAX, k=k
    )


_held: dict[str, tuple[Failing | None, Forks]] = {}
"""What forks for this worker: for each program what runs undisturbed, and what fails in the way that was asked for last."""


def _forks(word: str, failing: Failing | None) -> Forks:
    place = f"{word} {'undisturbed' if failing is None else 'failing'}"
    if place in _held and _held[place][0] == failing:
        return _held[place][1]
    if place in _held:
        _held.pop(place)[1].close()
    _held[place] = (failing, Forks(f"proof.core_{word}", failing=failing))
    return _held[place][1]
