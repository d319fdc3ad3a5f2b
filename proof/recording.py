"""Record every system call by which a process changes its folder, with strace; and a disk that may forget what was not synced.

A recording is a list of steps: names made, changed and removed, bytes written, syncs, and marks (what a person was shown as done by then).
`Disk` plays the steps. A file's bytes are safe once that file was synced, a name once its folder was (POSIX promises no more). At a cut,
of all that is not safe the disk keeps nothing, everything, a beginning, any part, or any part with writes torn at 512-byte sectors.

Left out: shared memory (SQLite makes its index anew after a power cut), lock files and the ballast (their bytes mean nothing).
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

SECTOR_BYTES: Final = 512
CALLS: Final = (
    "openat,open,creat,write,writev,pwrite64,pwritev,fsync,fdatasync,ftruncate,truncate,unlink,unlinkat,rename,renameat,renameat2,"
    "close,mkdir,mkdirat,dup,dup2,dup3,link,linkat"
)
DAMAGES: Final = ("nothing", "everything", "beginning", "part", "torn", "one file")
_LEFT_OUT: Final = ("-shm", ".lock", "ballast")
_LINE: Final = re.compile(r"^(\d+)\s+(\w+)\((.*)\)\s+= (-?\d+)", re.DOTALL)
_CUT: Final = re.compile(r"^(\d+)\s+(\w+)\((.*) <unfinished \.\.\.>$", re.DOTALL)
_REST: Final = re.compile(r"^(\d+)\s+<\.\.\. (\w+) resumed>(.*)$", re.DOTALL)
_TEXT: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One change. `what` is make, unlink, rename (of names), write, cut (of bytes), sync, sync_names, mark."""

    what: str
    file: int = 0
    name: str = ""
    to: str = ""
    at: int = 0
    data: bytes = b""
    said: dict[str, Any] = field(default_factory=dict)


def cannot_record() -> str:
    """Return why no recording is possible here, "" when it is."""
    strace = shutil.which("strace")
    if strace is None:
        return "strace is not installed (Debian: apt-get install strace)"
    done = subprocess.run([strace, "-f", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"strace may not trace here: {done.stderr.strip()[:120]}"


def record(module: str, folder: Path, *arguments: str) -> list[Step]:
    """Run `python -m module folder/data folder/marks …` to its end under strace; return what it did to its data folder.

    Raises:
        RuntimeError: the process did not end well.
    """
    trace, data, marks = folder / "trace", folder / "data", folder / "marks"
    command = [
        "strace",
        "-f",
        "--seccomp-bpf",
        "-xx",
        "-s",
        "100000000",
        "-e",
        f"trace={CALLS}",
        "-e",
        "signal=none",
        "-o",
        str(trace),
    ]
    command += [sys.executable, "-m", module, str(data), str(marks), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"{module} ended with {done.returncode} under strace: {done.stderr[-2000:]}")
    with trace.open() as lines:
        steps = list(read_steps(lines, data=data, marks=marks))
    trace.unlink()
    return steps


def read_steps(lines: Iterable[str], *, data: Path, marks: Path) -> Iterator[Step]:
    """Yield the steps of a trace, in the order in which the calls were done."""
    reader = _Reader(str(data.resolve()), str(marks.resolve()))
    begun: dict[str, str] = {}
    for line in lines:
        text = line.rstrip("\n")
        cut = _CUT.match(text)
        if cut is not None:
            begun[cut[1]] = f"{cut[1]} {cut[2]}({cut[3]}"
            continue
        rest = _REST.match(text)
        if rest is not None:
            text = begun.pop(rest[1], "") + rest[3]
        whole = _LINE.match(text)
        if whole is not None and int(whole[4]) >= 0:
            yield from reader.read(whole[2], whole[3], int(whole[4]))


class _Reader:
    """Follows descriptors and names through a trace. One process with threads: they share their descriptors."""

    def __init__(self, data: str, marks: str) -> None:
        self._data, self._marks = data, marks
        self._open: dict[int, tuple[str, int]] = {}
        """{descriptor: (file `#n`, `names` or `marks`, position)}."""
        self._names: dict[str, int] = {}
        self._sizes: dict[int, int] = {}
        self._next = 1

    def read(self, call: str, arguments: str, result: int) -> Iterator[Step]:
        texts = [bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(arguments)]
        match call:
            case "openat" | "open" | "creat":
                yield from self._opened(texts[0].decode(), arguments, result)
            case "close":
                self._open.pop(int(arguments), None)
            case "dup" | "dup2" | "dup3":
                known = self._open.get(int(arguments.partition(",")[0]))
                if known is not None:
                    self._open[result] = known
            case "write" | "writev" | "pwrite64" | "pwritev":
                yield from self._written(call, arguments, b"".join(texts)[:result], result)
            case "fsync" | "fdatasync":
                where, _ = self._open.get(int(arguments), ("", 0))
                if where == "names":
                    yield Step(what="sync_names")
                elif where.startswith("#"):
                    yield Step(what="sync", file=int(where[1:]))
            case "ftruncate":
                number, _, size = arguments.partition(",")
                where, _ = self._open.get(int(number), ("", 0))
                if where.startswith("#"):
                    self._sizes[int(where[1:])] = int(size)
                    yield Step(what="cut", file=int(where[1:]), at=int(size))
            case "unlink" | "unlinkat":
                name = self._name(texts[0].decode())
                if name is not None and self._names.pop(name, None) is not None:
                    yield Step(what="unlink", name=name)
            case "rename" | "renameat" | "renameat2":
                old, new = self._name(texts[0].decode()), self._name(texts[1].decode())
                if old is not None and new is not None:
                    self._names[new] = self._names.pop(old)
                    yield Step(what="rename", name=old, to=new)
            case "link" | "linkat" | "truncate":
                if any(self._name(text.decode()) for text in texts):
                    raise RuntimeError(f"the recording does not know {call}")
            case _:
                pass

    def _opened(self, path: str, arguments: str, descriptor: int) -> Iterator[Step]:
        self._open.pop(descriptor, None)
        if path == self._marks:
            self._open[descriptor] = ("marks", 0)
            return
        if path == self._data:
            self._open[descriptor] = ("names", 0)
            return
        name = self._name(path)
        if name is None or "O_DIRECTORY" in arguments or (name not in self._names and "O_CREAT" not in arguments):
            return
        if name not in self._names:
            self._names[name] = self._next
            self._sizes[self._next] = 0
            yield Step(what="make", name=name, file=self._next)
            self._next += 1
        file = self._names[name]
        if "O_TRUNC" in arguments and self._sizes[file]:
            self._sizes[file] = 0
            yield Step(what="cut", file=file, at=0)
        self._open[descriptor] = (f"#{file}", self._sizes[file] if "O_APPEND" in arguments else 0)

    def _written(self, call: str, arguments: str, data: bytes, result: int) -> Iterator[Step]:
        descriptor = int(arguments.partition(",")[0])
        where, position = self._open.get(descriptor, ("", 0))
        if where == "marks":
            for line in data.splitlines():
                yield Step(what="mark", said=json.loads(line))
        elif where.startswith("#"):
            file = int(where[1:])
            at = int(arguments.rpartition(",")[2]) if call.startswith("p") else position
            if not call.startswith("p"):
                self._open[descriptor] = (where, at + result)
            self._sizes[file] = max(self._sizes[file], at + result)
            yield Step(what="write", file=file, at=at, data=data)

    def _name(self, path: str) -> str | None:
        """The name in the data folder; None for what lies elsewhere, deeper, or is left out."""
        if not path.startswith(self._data + "/"):
            return None
        name = path[len(self._data) + 1 :]
        return None if "/" in name or name.endswith(_LEFT_OUT) else name


class Disk:
    """What is safe, and what is not yet, in order."""

    def __init__(self) -> None:
        self._safe: dict[int, bytearray] = {}
        self._names: dict[str, int] = {}
        self._pending: list[Step] = []

    def play(self, step: Step) -> None:
        """Let one step happen."""
        if step.what == "sync":
            self._settle(lambda held: held.file == step.file and held.what in ("write", "cut"))
        elif step.what == "sync_names":
            self._settle(lambda held: held.what in ("make", "unlink", "rename"))
        elif step.what != "mark":
            self._pending.append(step)

    def _settle(self, is_safe: Any) -> None:
        left = []
        for held in self._pending:
            if is_safe(held):
                _apply(held, self._safe, self._names)
            else:
                left.append(held)
        self._pending = left

    def cut(self, rng: random.Random, damage: str) -> dict[str, bytes]:
        """Return {name: bytes} as a reader finds them after the power went now."""
        files = {
            number: bytearray(data)
            for number, data in self._safe.items()
            if number in self._names.values() or self._pending
        }
        names = dict(self._names)
        for step in _kept(self._pending, rng, damage):
            _apply(step, files, names)
        return {name: bytes(files.get(number, b"")) for name, number in names.items()}


def _kept(pending: Sequence[Step], rng: random.Random, damage: str) -> Iterator[Step]:
    if damage == "everything":
        yield from pending
    elif damage == "beginning":
        yield from pending[: rng.randint(0, len(pending))]
    elif damage == "one file":
        lucky = rng.choice([step.file for step in pending] or [0])
        yield from (step for step in pending if step.file == lucky)
    elif damage in ("part", "torn"):
        luck = rng.random()
        for step in pending:
            if rng.random() >= luck:
                continue
            if damage == "torn" and step.what == "write" and rng.random() < 0.7:
                yield from _torn(step, rng)
            else:
                yield step


def _torn(step: Step, rng: random.Random) -> Iterator[Step]:
    """Some sectors of a write."""
    at, end = step.at, step.at + len(step.data)
    while at < end:
        until = min(end, (at // SECTOR_BYTES + 1) * SECTOR_BYTES)
        if rng.random() < 0.5:
            yield Step(what="write", file=step.file, at=at, data=step.data[at - step.at : until - step.at])
        at = until


def _apply(step: Step, files: dict[int, bytearray], names: dict[str, int]) -> None:
    match step.what:
        case "make":
            names[step.name] = step.file
        case "unlink":
            names.pop(step.name, None)
        case "rename":
            if step.name in names:
                names[step.to] = names.pop(step.name)
        case "cut":
            held = files.setdefault(step.file, bytearray())
            del held[step.at :]
            held.extend(bytes(step.at - len(held)))
        case "write":
            held = files.setdefault(step.file, bytearray())
            if len(held) < step.at:
                held.extend(bytes(step.at - len(held)))
            held[step.at : step.at + len(step.data)] = step.data
        case _:
            pass
