"""The demo's processes: real commands, each with a data folder of its own, started, watched, killed and started again.

Only processes started here are ever ended, by their own handle.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sync_core.errors import RetryableError

READY_SECONDS = 30


@dataclass(slots=True, kw_only=True)
class Actor:
    """One process: `nahuo <arguments>`, ready when it prints a line that contains `ready`."""

    name: str
    arguments: Sequence[str]
    log: Path
    process: subprocess.Popen[str] | None = None
    url: str = ""
    """What the last word of its ready line named: an http address or host:port."""
    starts: int = 0
    kills: int = 0
    _ready: threading.Event = field(default_factory=threading.Event)

    @property
    def is_running(self) -> bool:
        """True while the process lives."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start the process; `wait` returns when it is ready."""
        self._ready.clear()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        with self.log.open("a") as log:  # the process has its own handle then
            self.process = subprocess.Popen(
                [sys.executable, "-m", "nahuo", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
                start_new_session=True,
            )
        self.starts += 1
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()

    def wait(self, seconds: float = READY_SECONDS) -> str:
        """Return the address of the ready line.

        Raises:
            RetryableError: it ended, or was not ready in time; the message holds the end of its log.
        """
        until = time.monotonic() + seconds
        while not self._ready.wait(0.05):
            if not self.is_running or time.monotonic() > until:
                tail = self.log.read_text(errors="replace")[-600:]
                raise RetryableError(f"{self.name} did not start: {tail or 'it said nothing'}")
        return self.url

    def kill(self) -> None:
        """SIGKILL: nothing of it is told, as when the power goes."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.kills += 1

    def ask_to_stop(self) -> None:
        """SIGTERM; `stop` waits for the end."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after five seconds."""
        if self.process is None or self.process.poll() is not None:
            return
        self.ask_to_stop()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines, self.log.open("a") as log:
            for line in lines:
                log.write(line)
                log.flush()
                if " ready " in line and process is self.process:
                    self.url = line.split()[-1]
                    self._ready.set()
