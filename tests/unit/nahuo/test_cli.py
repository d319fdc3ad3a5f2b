"""The command line: one clear line for what cannot be understood or done, and the right exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nahuo.cli import main
from tests.unit.nahuo.toy import open_client, say


def run(*words: str) -> int:
    """Return the exit code of a command line, also where argparse leaves by itself."""
    try:
        return main(words)
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "COMMAND"),
        (("bogus",), "bogus"),
        (("server",), "--data"),
        (("import", "--data", "x"), "--shop"),
        (("vprinter", "--language", "zpl", "--out", "x"), "zpl"),
        (("server", "--data", "x", "--port", "many"), "many"),
        (("backup", "--data", "x"), "--to"),
        (("sim", "--seeds", "1:"), "seeds"),
        (("status", "--data", "x", "--nonsense"), "--nonsense"),
    ],
)
def test_what_cannot_be_understood_is_said_in_one_line(
    words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith("nahuo: ")
    assert error.count("\n") == 1
    assert told in error


@pytest.mark.parametrize(
    "words",
    [
        ("status", "--data", "nowhere"),
        ("verify", "nowhere"),
        ("backup", "--data", "nowhere", "--to", "x"),
        ("restore", "--from", "nowhere", "--data", "x"),
        ("import", "--data", "nowhere", "--shop", "s", "file.csv"),
    ],
)
def test_an_expected_failure_is_one_line_and_exit_1(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 1
    error = capsys.readouterr().err
    assert error.startswith("nahuo: ")
    assert "Traceback" not in error
    assert error.count("\n") == 1


def test_status_and_backup_of_a_client(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "phone"
    replica = open_client(folder)
    say(replica, "one")
    assert run("status", "--data", str(folder), "--json") == 0
    status = json.loads(capsys.readouterr().out)
    assert status["kind"] == "client"
    assert {"what": "actions to send", "count": 1, "since_ms": 2_000, "note": ""} in status["waiting"]
    assert run("backup", "--data", str(folder), "--to", str(tmp_path / "b.tar"), "--json") == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "client"
    replica.close()
    assert run("restore", "--from", str(tmp_path / "b.tar"), "--data", str(tmp_path / "again")) == 0
    assert run("restore", "--from", str(tmp_path / "b.tar"), "--data", str(tmp_path / "again")) == 1
    assert "not empty" in capsys.readouterr().err


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    from tests.unit.test_docs import commands

    for name in commands():
        assert run(name, "--help") == 0
        assert "usage: nahuo " + name in capsys.readouterr().out


def test_help_loads_no_heavy_package() -> None:
    heavy = ("fastapi", "pycrdt", "PIL", "sqlalchemy", "bleak")
    code = f"import sys, nahuo.cli; nahuo.cli.build_parser(); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
