"""A server as its operator meets it: real processes, real files, kill -9, backup while it works, restore, recount."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from nahuo.demo.hands import Desk
from nahuo.demo.processes import Actor
from nahuo.founding import init_folder
from server.auth import Accounts
from server.installation import open_server
from sync_core.errors import RefusedError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
WRONG = EXAMPLES / "wrong"
PASSWORD = "correct-horse-battery"
SHOP = "小满女装"


def nahuo(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    line = [sys.executable, "-m", "nahuo", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, check=False)


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def found(parent: Path) -> Path:
    """Return a server's folder as `nahuo init` makes it."""
    done = nahuo("init", "--data", parent / "server", "--admin", "wang", "--password", PASSWORD)
    assert done.returncode == 0, done.stderr
    return parent / "server"


def start(folder: Path, port: int) -> Actor:
    """Return the server of that folder, running, with a merchant and his shop made the first time."""
    actor = Actor(
        name="server",
        arguments=["server", "--data", str(folder), "--port", str(port)],
        log=folder.parent / "server.log",
    )
    actor.start()
    actor.wait()
    return actor


def open_shop(server: Actor) -> None:
    """Make a merchant with money and a shop."""
    admin = Desk(server.url, name="wang", password=PASSWORD)
    admin.sign_in()
    admin.need("/platform/merchants", id="xiaoman", name="小满")
    admin.need("/platform/merchants/xiaoman/shops", shop=SHOP)
    admin.need("/platform/merchants/xiaoman/top-up", amount="5000", key="bank-1", note="")
    admin.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose server is only looked at."""
    return found(tmp_path_factory.mktemp("looked-at"))


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Actor]:
    """Its server, running, with a shop."""
    actor = start(folder, 0)
    open_shop(actor)
    yield actor
    actor.stop()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Actor]:
    """A server of the test's own, running, with a shop: `own.log.parent / "server"` is its folder."""
    actor = start(found(tmp_path), free_port())
    open_shop(actor)
    yield actor
    actor.stop()


def test_the_server_answers_and_ends_when_told(own: Actor) -> None:
    assert httpx.get(f"{own.url}/api/health", trust_env=False).json() == {"ok": True, "writing": True, "deciding": True}
    assert own.process is not None
    own.process.send_signal(signal.SIGTERM)
    assert own.process.wait(15) == 0


def test_a_taken_port_is_said_in_one_line(server: Actor, folder: Path) -> None:
    port = server.url.rpartition(":")[2]
    done = nahuo("server", "--data", folder, "--port", port)
    assert done.returncode == 1
    assert "choose another with --port" in done.stderr
    assert done.stderr.count("\n") == 1


def test_init_never_overwrites(folder: Path) -> None:
    key = (folder / "server.key").read_bytes()
    done = nahuo("init", "--data", folder, "--admin", "li", "--password", PASSWORD)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert (folder / "server.key").read_bytes() == key


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--password", "short"), "8"),
        (("--password", PASSWORD, "--zone", "Moon/Base"), "time zone"),
        ((), "NAHUO_PASSWORD"),
    ],
)
def test_init_refuses_and_can_be_tried_again(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    refused = nahuo("init", "--data", tmp_path / "s", "--admin", "wang", *words)
    assert refused.returncode == 1
    assert told in refused.stderr
    assert not (tmp_path / "s").exists()
    assert nahuo("init", "--data", tmp_path / "s", "--admin", "wang", "--password", PASSWORD).returncode == 0


def test_an_init_that_was_broken_off_goes_on_with_the_key_that_its_database_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "s"
    words: dict[str, Any] = {"admin": "wang", "password": PASSWORD, "zone": "Asia/Shanghai", "database": None}
    with monkeypatch.context() as broken:
        broken.setattr(Accounts, "add", lambda *_, **__: (_ for _ in ()).throw(OSError("no space left")))
        with pytest.raises(OSError, match="no space"):
            init_folder(data, **words)
    init_folder(data, **words)
    server = open_server(data, now_ms=1_800_000_000_000)
    try:
        known = server.store.key_of(0)
        assert known is not None
        assert known.public_key == server.signer.public_key
        assert (server.number, server.restored) == (0, False)
    finally:
        server.store.close()
    with pytest.raises(RefusedError, match="was made before"):
        init_folder(data, **words)


def test_a_database_with_a_foreign_key_does_not_start(tmp_path: Path) -> None:
    data = tmp_path / "s"
    for folder in (data, tmp_path / "other"):
        assert nahuo("init", "--data", folder, "--admin", "wang", "--password", PASSWORD).returncode == 0
    shutil.copy(tmp_path / "other" / "server.key", data / "server.key")
    done = nahuo("server", "--data", data, "--port", "0")
    assert done.returncode == 1
    assert "not the key of this database" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_database_that_cannot_be_read_is_said_in_one_line(tmp_path: Path) -> None:
    data = tmp_path / "s"
    assert nahuo("init", "--data", data, "--admin", "wang", "--password", PASSWORD).returncode == 0
    with (data / "nahuo.db").open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 8_000)
    done = nahuo("server", "--data", data, "--port", "0")
    assert done.returncode == 1
    assert "nahuo restore" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("server")
def test_import_from_the_command_line(folder: Path) -> None:
    pair = (WRONG / "good-ExportOrderList.csv", WRONG / "good-ExportOrderDetailList.csv")
    first = nahuo("import", "--data", folder, "--shop", SHOP, *pair)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("2 orders new")
    again = nahuo("import", "--data", folder, "--shop", SHOP, *pair)
    assert again.stdout.startswith("0 orders new, 0 changed, 2 as before")
    wrong = nahuo("import", "--data", folder, "--shop", SHOP, WRONG / "spreadsheet-number-ExportOrderList.csv", pair[1])
    assert wrong.returncode == 1
    assert "row 2" in wrong.stdout
    assert "export it again" in wrong.stdout


def test_an_import_left_while_the_server_is_down_is_read_once_when_it_runs(own: Actor, tmp_path: Path) -> None:
    pair = (EXAMPLES / "ExportOrderList-2026-11-20.csv", EXAMPLES / "ExportOrderDetailList-2026-11-20.csv")
    own.kill()
    left = nahuo("import", "--data", tmp_path / "server", "--shop", SHOP, "--wait", "0", *pair)
    assert "left for the server" in left.stdout
    own.start()
    own.wait()
    again = nahuo("import", "--data", tmp_path / "server", "--shop", SHOP, *pair)
    assert again.stdout.startswith("0 orders new, 0 changed, "), again.stdout
    for _ in range(2):
        own.kill()
        own.start()
        own.wait()
    verdict = nahuo("verify", tmp_path / "server", "--json")
    assert verdict.returncode == 0, verdict.stdout
    assert json.loads(verdict.stdout)["ok"] is True


def test_backup_of_a_running_server_restores_under_a_new_number(own: Actor, tmp_path: Path) -> None:
    backup = nahuo("backup", "--data", tmp_path / "server", "--to", tmp_path / "b.tar")
    assert backup.returncode == 0, backup.stderr
    restored = tmp_path / "restored"
    assert nahuo("restore", "--from", tmp_path / "b.tar", "--data", restored).returncode == 0
    assert not (restored / "install.token").exists()
    own.stop()
    again = Actor(
        name="restored", arguments=["server", "--data", str(restored), "--port", "0"], log=tmp_path / "restored.log"
    )
    again.start()
    try:
        again.wait()
        admin = Desk(again.url, name="wang", password=PASSWORD)
        admin.sign_in()
        assert admin.see("/api/wallet", merchant="xiaoman")["lines"]
        admin.close()
        status = json.loads(nahuo("status", "--data", restored, "--json").stdout)
    finally:
        again.stop()
    assert (status["kind"], status["name"]) == ("server", "number 1")


@pytest.mark.usefixtures("server")
def test_status_and_verify_of_a_running_server(folder: Path) -> None:
    status = nahuo("status", "--data", folder)
    assert status.returncode == 0, status.stderr
    assert "envelopes to decide        0" in status.stdout
    verdict = nahuo("verify", folder)
    assert verdict.returncode == 0, verdict.stdout
    assert "all hold" in verdict.stdout


def test_a_wrong_password_is_refused_and_slowed(server: Actor) -> None:
    answers = [
        httpx.post(f"{server.url}/api/session", json={"name": "wang", "password": "wrong"}, trust_env=False).status_code
        for _ in range(7)
    ]
    assert answers[0] == 401
    assert answers[-1] == 429
