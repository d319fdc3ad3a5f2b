"""The unmodified @hocuspocus/provider reads a Nahuo hub with a reading token, byte for byte, and can write nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nahuo.demo.hands import Desk
from nahuo.demo.processes import Actor

HERE = Path(__file__).resolve().parent
PASSWORD = "correct-horse-battery"

pytestmark = pytest.mark.peer


@pytest.fixture(scope="session")
def provider() -> list[str]:
    """The command that runs the provider, installed from its lock."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are missing: apt-get install nodejs npm")
    if not (HERE / "node_modules" / "@hocuspocus").exists():
        line = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(line, cwd=HERE, capture_output=True, text=True, timeout=180, check=False)
        if done.returncode:
            pytest.skip(f"npm ci did not work here: {done.stderr.strip()[-200:]}")
    return [node, str(HERE / "read_document.mjs")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server's folder."""
    path = tmp_path_factory.mktemp("peer") / "server"
    line = [sys.executable, "-m", "nahuo", "init", "--data", str(path), "--admin", "wang", "--password", PASSWORD]
    subprocess.run(line, check=True, capture_output=True, timeout=60)
    return path


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Actor]:
    """Its server, running, with stalls in the market's document."""
    actor = Actor(
        name="server", arguments=["server", "--data", str(folder), "--port", "0"], log=folder.parent / "server.log"
    )
    actor.start()
    actor.wait()
    desk = Desk(actor.url, name="wang", password=PASSWORD)
    desk.sign_in()
    for number in range(300, 340):
        desk.need(
            "/platform/stalls", market="国大", floor="3F", stall=str(number), name="晨禾", aisle="C", returns_days="7"
        )
    desk.close()
    yield actor
    actor.stop()


def stored(folder: Path) -> dict[str, dict[str, str]]:
    """Return {document: {device.seq: SHA-256 of the stored bytes}} of the server's log."""
    found: dict[str, dict[str, str]] = {}
    with closing(sqlite3.connect(folder / "nahuo.db")) as conn:
        for document, device, seq, content in conn.execute("SELECT document, device, seq, stored FROM envelope"):
            found.setdefault(document, {})[f"{device}.{seq}"] = hashlib.sha256(content).hexdigest()
    return found


def read(
    provider: list[str], server: Actor, folder: Path, document: str, *more: str, of: str | None = None
) -> dict[str, Any]:
    """Return what the provider saw of `document` with a token for it (or for `of`)."""
    line = [sys.executable, "-m", "nahuo", "token", "--data", str(folder), "--hours", "1", of or document]
    token = subprocess.run(line, check=True, capture_output=True, text=True, timeout=60).stdout.strip()
    address = server.url.replace("http", "ws", 1) + "/sync"
    done = subprocess.run(
        [*provider, address, token, document, *more], capture_output=True, text=True, timeout=60, check=True
    )
    return dict(json.loads(done.stdout))


def test_the_provider_sees_every_envelope_byte_for_byte(provider: list[str], server: Actor, folder: Path) -> None:
    logs = stored(folder)
    document = max(logs, key=lambda name: len(logs[name]))
    told = read(provider, server, folder, document)
    assert told["scope"] == "readonly"
    assert told["entries"] == logs[document]
    assert len(told["entries"]) >= 40
    assert told["hello"]["protocol"] == 1


def test_the_provider_can_write_nothing(provider: list[str], server: Actor, folder: Path) -> None:
    before = stored(folder)
    document = max(before, key=lambda name: len(before[name]))
    told = read(provider, server, folder, document, "write")
    assert told["unsynced"] > 0
    assert stored(folder) == before


def test_a_token_for_another_document_opens_nothing(provider: list[str], server: Actor, folder: Path) -> None:
    document = next(iter(stored(folder)))
    told = read(provider, server, folder, document, of="route/none")
    assert told["denied"] == "permission-denied"
    assert told["entries"] == {}
