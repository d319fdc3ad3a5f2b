"""Start the processes of a measurement and talk with them: one JSON object a line, in on stdin, out on stdout.

Every participant runs in a process of its own, as in a real day; all of them read the one monotonic clock of the machine, so their
stamps (nanoseconds) can be compared. Only processes started here are ever ended, by their own handle.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Answer = dict[str, Any]


class Player:
    """One process: `python -m bench.<module>`."""

    def __init__(self, module: str, *arguments: str, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"bench.{module}", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=Path(__file__).resolve().parent.parent,
            )

    def tell(self, do: str, **said: Any) -> None:
        """Ask for something; `hear` waits for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **said}).encode() + b"\n")
        self._process.stdin.flush()

    def hear(self) -> Answer:
        """Return the next answer.

        Raises:
            RuntimeError: the process ended or failed; the message holds the end of its log.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"failed": "it ended"}
        if "failed" in answer:
            tail = self._log.read_text(errors="replace")[-1500:]
            raise RuntimeError(f"{self._process.args!r}: {answer['failed']}\n{tail}")
        return dict(answer)

    def ask(self, do: str, **said: Any) -> Answer:
        """Ask, and wait for the answer."""
        self.tell(do, **said)
        return self.hear()

    def end(self) -> None:
        """Close its stdin, which ends it; after five seconds kill it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


async def answer_lines(do: Callable[[str, Answer], Awaitable[Answer]]) -> None:
    """The other end: answer every line of stdin in turn, until it closes. A failure is told, and ends the process."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        said = json.loads(line)
        try:
            answer = await do(str(said.pop("do")), said)
        except Exception as error:
            print(json.dumps({"failed": f"{type(error).__name__}: {error}"}), flush=True)
            raise
        print(json.dumps(answer), flush=True)


def now_ns() -> int:
    """The machine's monotonic clock, the same one in every process."""
    return time.monotonic_ns()
