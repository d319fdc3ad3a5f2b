"""`python -m proof`: run the proofs one after the other, each in a process of its own, and write docs/proof.md from what they found.

`--short` is what every push runs. The full form takes hours; a part that is done is kept in `out/proof`, so `--resume` goes on where a run
was stopped. Exit status 1 when a promise broke; in the short form a goal of speed is told, and fails nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from proof.report import ROOT, Part, Size, lines, machine, page, read_part, write_part

PAGE: Final = ROOT / "docs" / "proof.md"
RESULTS: Final = ROOT / "proof" / "results"
"""What the page says, a file a part: kept with the source, so that a part that runs again elsewhere takes its place among the rest."""

PARTS: Final[dict[str, str]] = {
    "ledger": "proof.ledger",
    "kills": "proof.kills",
    "power": "proof.power",
    "privacy": "proof.privacy",
    "fuzz": "proof.fuzz",
    "fuzz_server": "proof.fuzz_server",
    "sockets": "proof.sockets",
    "soak": "proof.soak",
    "simulation": "proof.simulation",
    "planted": "proof.planted",
    "io_faults": "proof.io_faults",
    "sixty_days": "proof.sixty_days",
}
"""{name: module}, in the order they run. Each module has `prove(size, folder) -> Part`; `folder` is empty and its own."""

Prove = Callable[[Size, Path], Part]


def main(argv: list[str] | None = None) -> int:
    """Run what the command line names; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m proof", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"which: {', '.join(PARTS)} (default: all)")
    parser.add_argument(
        "--short", action="store_true", help="the form that every push runs; docs/proof.md is left alone"
    )
    parser.add_argument(
        "--page", action="store_true", help="write docs/proof.md also from the short form, where there is no full one"
    )
    parser.add_argument("--resume", action="store_true", help="keep parts already done at this commit")
    parser.add_argument("--out", type=Path, default=Path("out/proof"), metavar="DIR", help="default %(default)s")
    parser.add_argument("--one", metavar="PART", help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    size = Size.SHORT if chosen.short else Size.FULL
    out: Path = chosen.out / size
    if chosen.one:
        return _run_one(chosen.one, size, out)
    unknown = [name for name in chosen.parts if name not in PARTS]
    if unknown:
        parser.error(f"there is no proof {', '.join(unknown)}; there are {', '.join(PARTS)}")
    names = chosen.parts or list(PARTS)
    status = 0
    for name in names:
        done = read_part(out, name) if chosen.resume else None
        if done is not None and done[1] == machine(size):
            print("\n".join(lines(done[0])), flush=True)
            status = status or int(done[0].broken if size is Size.SHORT else not done[0].holds)
            continue
        status = _in_its_own_process(name, chosen, out) or status
    if size is Size.FULL or chosen.page:
        write_page([done for name in names if (done := read_part(out, name)) is not None])
        print(f"{PAGE} says it")
    return status


def write_page(done: Sequence[tuple[Part, dict[str, str]]]) -> None:
    """Keep what was found, and write the page of all that is kept. A short form takes no full one's place."""
    for part, where in done:
        kept = read_part(RESULTS, part.name)
        if kept is None or where["form"] == Size.FULL or kept[1]["form"] == Size.SHORT:
            write_part(RESULTS, part, where)
    found = [read_part(RESULTS, name) for name in PARTS]
    PAGE.write_text(page([part for part in found if part is not None]), "utf-8")


def _in_its_own_process(name: str, chosen: argparse.Namespace, out: Path) -> int:
    (out / f"{name}.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "proof", "--one", name, "--out", str(chosen.out)]
    done = subprocess.run([*command, "--short"] if chosen.short else command, check=False, stdin=subprocess.DEVNULL)
    if read_part(out, name) is None:
        print(f"BROKEN {name}: the proof itself ended with status {done.returncode}", flush=True)
        return 1
    return done.returncode


def _run_one(name: str, size: Size, out: Path) -> int:
    prove: Prove = import_module(PARTS[name]).prove
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"nahuo-proof-{name}-") as folder:
        part = prove(size, Path(folder))
    part.seconds = round(time.monotonic() - began, 1)
    write_part(out, part, machine(size))
    print("\n".join(lines(part)), flush=True)
    return int(part.broken if size is Size.SHORT else not part.holds)
