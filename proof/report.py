"""What a proof says: figures with their N, what broke, and what it does not show. Shown as lines, kept as JSON, told in docs/proof.md.

A claim without its N is none: "0 lost" in N tries bounds the rate at 3/N with 95 % confidence, so every figure says what it was drawn from.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

FAULTS_SHOWN_MAX: Final = 20
ROOT: Final = Path(__file__).resolve().parents[1]
WRITTEN: Final = ("docs/proof.md", "docs/planted-bugs.md", "proof/planted.json", "proof/results")
"""What proofs themselves write into the project."""


class Size(StrEnum):
    """How much of each: SHORT is every push (minutes), FULL is `make proof` (hours)."""

    SHORT = "short"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure: `value` as it is to be read ("0 lost"), `drawn_from` its N or range ("100,000 cuts, seeds 1 to 40"), `goal` what was
    promised ("0"), `holds` whether it was kept (None where nothing was promised). `timed`: a matter of speed, which a busy machine misses.
    """

    name: str
    value: str
    drawn_from: str
    goal: str = ""
    holds: bool | None = None
    timed: bool = False


@dataclass(slots=True, kw_only=True)
class Part:
    """One proof. `faults` are the promises that broke, each in a line with what replays it; any fault fails the run.

    `table` is more Markdown for the page (the planted bugs, say).
    """

    name: str
    title: str
    shows: str
    does_not_show: str
    figures: list[Figure] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    table: str = ""
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """True when nothing broke and every goal was kept."""
        return not self.faults and all(figure.holds is not False for figure in self.figures)

    @property
    def broken(self) -> bool:
        """True when something other than speed did not hold: what fails a push, on whatever machine it runs."""
        return bool(self.faults) or any(figure.holds is False and not figure.timed for figure in self.figures)

    def add(
        self, name: str, value: str, drawn_from: str, *, goal: str = "", holds: bool | None = None, timed: bool = False
    ) -> None:
        """Add a figure."""
        self.figures.append(Figure(name=name, value=value, drawn_from=drawn_from, goal=goal, holds=holds, timed=timed))

    def as_json(self) -> dict[str, Any]:
        """The part as its file holds it."""
        return asdict(self)


def part_of_json(body: dict[str, Any]) -> Part:
    """Return the part of a file."""
    return Part(**{**body, "figures": [Figure(**figure) for figure in body["figures"]]})


def lines(part: Part) -> list[str]:
    """Return what the terminal shows of a part."""
    shown = [f"{'holds' if part.holds else 'BROKEN':<7}{part.title} ({part.seconds:.0f} s)"]
    for figure in part.figures:
        goal = f"  [{'MISSED, ' if figure.holds is False else ''}goal {figure.goal}]" if figure.goal else ""
        shown.append(f"       {figure.name}: {figure.value} ({figure.drawn_from}){goal}")
    shown += [f"       fault: {fault}" for fault in part.faults[:FAULTS_SHOWN_MAX]]
    return shown


def machine(size: Size) -> dict[str, str]:
    """What it ran on, which commit, and in which form."""
    return {
        "form": size,
        "commit": commit(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }


def commit(root: Path = ROOT) -> str:
    """Name the commit that is run; `-dirty` when anything differs from it but what proofs themselves write."""
    others = [f":!{path}" for path in WRITTEN]
    try:
        name = _git(root, "describe", "--always", "--abbrev=12")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", *others)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name}-dirty" if changed else name


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, cwd=root).stdout.strip()


def write_part(folder: Path, part: Part, where: dict[str, str]) -> Path:
    """Keep a part as `folder/NAME.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{part.name}.json"
    path.write_text(json.dumps({"machine": where, "part": part.as_json()}, ensure_ascii=False, indent=1) + "\n")
    return path


def read_part(folder: Path, name: str) -> tuple[Part, dict[str, str]] | None:
    """Return (part, machine) of a file; None when there is none."""
    path = folder / f"{name}.json"
    if not path.is_file():
        return None
    body = json.loads(path.read_text("utf-8"))
    return part_of_json(body["part"]), body["machine"]


def page(parts: Sequence[tuple[Part, dict[str, str]]]) -> str:
    """Return docs/proof.md."""
    out = [
        "# What is proved, and what is not",
        "",
        "Written by `make proof`; not by hand. Each figure carries its N: none in N tries bounds the rate at 3/N (95 % confidence).",
        "The short form is what every push runs, the full form takes hours.",
        "",
        "| Proof | Form | Holds | Took | Commit |",
        "|---|---|---|---|---|",
    ]
    out += [
        f"| [{part.title}](#{_anchor(part.title)}) | {where['form']} | {'yes' if part.holds else '**no**'} | {part.seconds:,.0f} s"
        f" | {where['commit']} |"
        for part, where in parts
    ]
    for part, where in parts:
        out += ["", f"## {part.title}", part.shows, ""]
        out += ["| Figure | Value | Drawn from | Goal | Kept |", "|---|---|---|---|---|"]
        out += [
            f"| {f.name} | {f.value} | {f.drawn_from} | {f.goal} | {'' if f.holds is None else 'yes' if f.holds else '**no**'} |"
            for f in part.figures
        ]
        if part.faults:
            out += ["", "Broken:", *[f"- {fault}" for fault in part.faults[:FAULTS_SHOWN_MAX]]]
        if part.table:
            out += ["", part.table.strip()]
        out += ["", f"Does not show: {part.does_not_show}"]
        out += [f"\nMeasured on {where['system']}, Python {where['python']}, SQLite {where['sqlite']}."]
    return "\n".join(out) + "\n"


def _anchor(title: str) -> str:
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c == "-")
