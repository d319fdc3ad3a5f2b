"""The node around the replica: ballast, the listener, and starting with words a person can act on."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from clients.field.main import run
from clients.runtime import node
from clients.runtime.node import BALLAST, BALLAST_BYTES
from clients.runtime.serve import Launch, open_listener
from clients.runtime.web import Done, Form, Frame
from sync_core.errors import DiskFullError, RefusedError
from tests.unit.clients.market import Bench, open_bench


async def test_a_full_disk_gives_up_the_ballast_and_the_tap_goes_through(
    field: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    field.node.lay_ballast()
    ballast = field.node.folder / BALLAST
    assert ballast.stat().st_size == BALLAST_BYTES
    once = Frame.once

    def full_while_ballast_lies(frame: Frame, form: Form, run: object) -> tuple[Done, bool]:
        if ballast.exists():
            raise DiskFullError("full")
        return once(frame, form, run)  # type: ignore[arg-type]

    monkeypatch.setattr(Frame, "once", full_while_ballast_lies)
    assert (await field.post("/buy", tasks="T1-1"))["ok"] is True
    assert not ballast.exists()


async def test_a_full_disk_writes_over_the_journal_before_it_gives_up_the_ballast(
    field: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    field.node.lay_ballast()
    await field.post("/buy", tasks="T1-1")
    journal = field.replica.path.with_name(f"{field.replica.path.name}-wal")
    bytes_before = journal.stat().st_size
    once, fails = Frame.once, [DiskFullError("full")]

    def full_at_first(frame: Frame, form: Form, run: object) -> tuple[Done, bool]:
        if fails:
            raise fails.pop()
        return once(frame, form, run)  # type: ignore[arg-type]

    monkeypatch.setattr(Frame, "once", full_at_first)
    assert (await field.post("/buy", tasks="T2-1"))["ok"] is True
    assert (field.node.folder / BALLAST).exists()
    assert journal.stat().st_size == bytes_before > 0


async def test_little_room_is_shown_while_there_is_still_some(field: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    left = {"bytes": 50 * 1024 * 1024}
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: SimpleNamespace(free=left["bytes"]))
    assert field.node.bar().room_mib is None
    left["bytes"] -= 1
    assert field.node.bar().room_mib == 49
    assert "空间只剩 49 MiB" in (await field.get("/pulse"))["bar"]


def test_a_client_listens_on_the_loopback_only_and_says_when_a_port_is_taken() -> None:
    with pytest.raises(RefusedError) as refused:
        open_listener("0.0.0.0", 0)
    assert refused.value.code == "serve.host"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(RefusedError) as refused:
            open_listener("127.0.0.1", taken.getsockname()[1])
    assert refused.value.code == "serve.port"


def test_starting_without_a_server_says_what_to_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Launch(data=tmp_path, server=None)) == 1
    assert "--server" in capsys.readouterr().err
    assert run(Launch(data=tmp_path, server="ftp://x")) == 1


def test_a_second_program_on_the_same_data_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = open_bench(tmp_path, client="field")
    assert run(Launch(data=tmp_path, server="http://127.0.0.1:9")) == 1
    assert "another process" in capsys.readouterr().err
    bench.node.close()


def test_a_code_that_cannot_be_redeemed_ends_with_plain_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(Launch(data=tmp_path, server="http://127.0.0.1:9", enroll="ABCD")) == 1
    assert "cannot be reached" in capsys.readouterr().err


async def test_p2_a_worker_that_breaks_starts_again_and_stops_no_other(
    field: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "FAULT_PAUSE_S", 0.0)
    runs = 0
    again, other = asyncio.Event(), asyncio.Event()

    async def broken() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise KeyError("a bug of ours")
        again.set()
        await asyncio.Event().wait()

    async def steady() -> None:
        await again.wait()
        other.set()
        await asyncio.Event().wait()

    field.node.background += [broken, steady]
    running = asyncio.create_task(field.node.run())
    async with asyncio.timeout(10):
        await other.wait()
    assert not running.done()
    running.cancel()
    await asyncio.wait([running], timeout=10)
    assert running.done()
