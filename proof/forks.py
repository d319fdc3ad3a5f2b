"""Run a program many times over, each time in a fork of one process that has imported it, whose k-th call of a kind strace lets fail.

Loading Python and its modules costs more than what the programs of these proofs do, and so does a stop at every call: so one process is
started under strace with a filter for one call (seccomp), and forks for every run. strace counts the calls of each thread by themselves
and its number is fixed: a run whose k-th call shall fail first makes so many calls to a file in memory, in each of its threads, that the
k-th of its own is the one that strace waits for.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn, Self

ON_A_FILE_IN_MEMORY: Final[dict[str, Callable[[int], object]]] = {
    "pwrite64": lambda file: os.pwrite(file, b".", 0),
    "pread64": lambda file: os.pread(file, 1, 0),
    "fdatasync": os.fdatasync,
}
Main = Callable[[list[str]], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """The `k_max`-th call of a thread fails, and every later one if `for_ever`."""

    call: str
    error: str
    k_max: int
    for_ever: bool


class Forks:
    """A process that has imported the program `module` (its `main(arguments)` returns the exit status) and forks for every run."""

    def __init__(
        self, module: str, *, failing: Failing | None = None, trace: Sequence[str] = (), to: Path | None = None
    ):
        command: list[Any] = [sys.executable, "-m", "proof.forks", module]
        if failing or trace:
            calls = [failing.call] if failing else trace
            how = ["-f", "--seccomp-bpf", "-qq", "-s", "12", "-e", f"trace={','.join(calls)}", "-e", "signal=none"]
            if failing:
                when = f"{failing.k_max}{'+' if failing.for_ever else ''}"
                how += ["-e", f"inject={failing.call}:error={failing.error}:when={when}"]
            command = ["strace", *how, "-o", to or os.devnull, *command]
        self._failing = failing
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process; what strace wrote is whole then."""
        self._process.communicate()

    def run(self, arguments: Sequence[str], *, said: Path, seconds_max: float, k: int = 0) -> tuple[str, str]:
        """Return how the program ended (exit status, minus the signal, or "hung") and what it wrote to stderr, kept at `said`.

        Raises:
            RuntimeError: the process that forks is gone.
        """
        skip = self._failing.k_max - k if self._failing else 0
        call = self._failing.call if self._failing else ""
        job = {"arguments": list(arguments), "said": str(said), "seconds_max": seconds_max, "call": call, "skip": skip}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        status = self._process.stdout.readline().strip()
        if not status:
            raise RuntimeError(f"what forks ended with {self._process.wait()}")
        return status, said.read_text(errors="replace")


# --- in the process that forks ----------------------------------------------------------------------------------------------


def serve(module: str) -> None:
    """Fork for every line of stdin; a line to stdout says how the fork ended."""
    program: Main = import_module(module).main
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            _be(program, job)
        print(_ended(child, job["seconds_max"]), flush=True)


def _ended(child: int, seconds_max: float) -> str:
    handle = os.pidfd_open(child)
    waiting = select.poll()
    waiting.register(handle, select.POLLIN)
    in_time = waiting.poll(seconds_max * 1000)
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)
    _, status = os.waitpid(child, 0)
    return str(os.waitstatus_to_exitcode(status)) if in_time else "hung"


def _be(program: Main, job: Mapping[str, Any]) -> NoReturn:
    """Be the program, and end as it would."""
    status = 1
    try:
        words = os.open(job["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        nothing = os.open(os.devnull, os.O_RDWR)
        for target, source in ((0, nothing), (1, nothing), (2, words)):
            os.dup2(source, target)
        if job["call"]:
            _skip_in_every_thread(ON_A_FILE_IN_MEMORY[job["call"]], job["skip"])
        try:
            status = program(job["arguments"])
        except BaseException:  # noqa: BLE001 - told as Python tells it
            traceback.print_exc()
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
    finally:
        os._exit(status)


def _skip_in_every_thread(call: Callable[[int], object], times: int) -> None:
    file = os.memfd_create("nothing")
    start = threading.Thread.start

    def skip() -> None:
        for _ in range(times):
            call(file)

    def start_later(thread: threading.Thread) -> None:
        run = thread.run

        def skip_and_run() -> None:
            skip()
            run()

        thread.run = skip_and_run  # type: ignore[method-assign]
        start(thread)

    threading.Thread.start = start_later  # type: ignore[method-assign, assignment]
    skip()


if __name__ == "__main__":
    serve(sys.argv[1])
