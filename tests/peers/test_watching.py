"""Stock providers stay connected to a hub: they see what is said meanwhile, survive its restart, and are kept to what their token allows.

The rows of docs/protocol.md's conformance table name these tests.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from nahuo.demo.hands import Desk
from nahuo.demo.main import free_ports
from nahuo.demo.processes import Actor
from tests.peers.test_hocuspocus import HERE, PASSWORD, provider, stored

pytestmark = pytest.mark.peer

MARKET = "国大"
SECONDS = 30
__all__ = ["provider"]


class Hub:
    """A server on a port of its own, and somebody who changes the market's directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "server"
        line = [
            sys.executable,
            "-m",
            "nahuo",
            "init",
            "--data",
            str(self.folder),
            "--admin",
            "wang",
            "--password",
            PASSWORD,
        ]
        subprocess.run(line, check=True, capture_output=True, timeout=60)
        port = str(next(iter(free_ports().values())))
        self.actor = Actor(
            name="server", arguments=["server", "--data", str(self.folder), "--port", port], log=folder / "server.log"
        )
        self.actor.start()
        self.actor.wait()
        self.stalls = 0
        self.say(3)

    @property
    def document(self) -> str:
        """The market's document; its name is Chinese."""
        return next(name for name in stored(self.folder) if name.startswith("market/") and MARKET in name)

    def say(self, count: int) -> None:
        """Put so many stalls into the market's directory."""
        desk = Desk(self.actor.url, name="wang", password=PASSWORD)
        desk.sign_in()
        for _ in range(count):
            self.stalls += 1
            desk.need(
                "/platform/stalls",
                market=MARKET,
                floor="3F",
                stall=str(300 + self.stalls),
                name="晨禾",
                aisle="C",
                returns_days="7",
            )
        desk.close()

    def token(self, *documents: str) -> str:
        """What `nahuo token` prints."""
        line = [sys.executable, "-m", "nahuo", "token", "--data", str(self.folder), "--read-only"]
        for document in documents:
            line += ["--document", document]
        return subprocess.run(line, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    def restart(self) -> None:
        """Kill it, and start it on the same port."""
        self.actor.kill()
        self.actor.start()
        self.actor.wait()


class Watch:
    """The providers, in a process of their own."""

    def __init__(self, provider: list[str], hub: Hub, token: str, *names: str) -> None:
        address = hub.actor.url.replace("http", "ws", 1) + "/sync"
        command = [provider[0], str(HERE / "watch_document.mjs"), address, token, *names]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self.seen: list[dict[str, Any]] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(json.loads(line))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._reading.join(10)
        self._process.stdout.close()

    def write(self, name: str) -> None:
        """Let a provider write into its document."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"write {name}\n")
        self._process.stdin.flush()

    def until(self, is_so: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """Wait for a line that is so."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            try:
                line = self._lines.get(timeout=1)
            except queue.Empty:
                continue
            self.seen.append(line)
            if is_so(line):
                return line
        raise AssertionError(f"not in time: {what}; last {self.seen[-3:]}")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    hub = Hub(tmp_path_factory.mktemp("watching"))
    yield hub
    hub.actor.stop()


def is_whole(hub: Hub, document: str) -> Callable[[dict[str, Any]], bool]:
    """True for a line that says: in sync, nothing unacknowledged, and every envelope of the log byte for byte."""
    return lambda line: (
        line["name"] == document
        and line["synced"]
        and line["unsynced"] == 0
        and line["entries"] == stored(hub.folder)[document]
    )


@pytest.mark.parametrize("session", ["", "=session"], ids=["plain address", "session address"])
def test_a_provider_reads_sees_live_changes_and_survives_a_restart(provider: list[str], hub: Hub, session: str) -> None:
    document = hub.document
    assert MARKET in document
    with Watch(provider, hub, hub.token(document), document + session) as watch:
        granted = watch.until(lambda line: line["happened"] == "authenticated", "the grant")
        assert granted["scope"] == "readonly"
        watch.until(is_whole(hub, document), "the document")
        hub.say(2)
        watch.until(is_whole(hub, document), "what is said meanwhile")
        hub.restart()
        watch.until(lambda line: line.get("status") == "connected", "the reconnect")
        hub.say(1)
        last = watch.until(is_whole(hub, document), "what is said after the restart")
        assert last["unsynced"] == 0


def test_two_documents_on_one_socket_and_a_third_that_is_denied(provider: list[str], hub: Hub) -> None:
    document, own = hub.document, "market/none/1"
    with Watch(provider, hub, hub.token(document), document, own) as watch:
        denied = watch.until(lambda line: line["happened"] == "denied", "the denial")
        assert (denied["name"], denied["reason"]) == (own, "permission-denied")
        hub.say(1)
        watch.until(is_whole(hub, document), "the allowed one, on the same socket")
        assert not [line for line in watch.seen if line.get("status") == "disconnected"]
        assert all(line["entries"] == {} for line in watch.seen if line["name"] == own)


def test_a_provider_that_writes_is_never_acknowledged_and_goes_on_reading(provider: list[str], hub: Hub) -> None:
    document = hub.document
    before = stored(hub.folder)
    with Watch(provider, hub, hub.token(document), document) as watch:
        watch.until(is_whole(hub, document), "the document")
        watch.write(document)
        watch.until(
            lambda line: line["happened"] == "update" and line["entries"].get("1.1") is not None, "its own write"
        )
        hub.say(1)
        after = watch.until(
            lambda line: len(line["entries"]) == len(stored(hub.folder)[document]) + 1, "what others say"
        )
        assert after["unsynced"] == 1
    assert {key: value for key, value in stored(hub.folder)[document].items() if key in before[document]} == before[
        document
    ]
    assert "1.1" not in stored(hub.folder)[document]
