"""Commands on a server's folder that is damaged, emptied, elsewhere or closed to us: one true line, and never "all holds"."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from nahuo.backup import make_backup
from nahuo.cli import main
from nahuo.founding import init_folder
from nahuo.serving import serve_folder
from nahuo.verify import verify_folder
from server import schema as s
from server.installation import DATABASE, EXTENT, KEY, open_server
from sync_core.errors import CorruptError, IncompatibleError, RefusedError
from sync_core.replica import Replica
from trade.projections import MARKET_DAY

NOW_MS = 1_800_000_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A server's folder as `nahuo init` makes it."""
    data = tmp_path / "server"
    init_folder(data, admin="wang", password="a long password", zone="Asia/Shanghai", database=None)
    return data


def alter(folder: Path, *statements: str) -> None:
    """Change the database by hand."""
    with closing(sqlite3.connect(folder / DATABASE)) as conn:
        for statement in statements:
            conn.execute(statement)
        conn.commit()
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_verify_finds_a_damaged_index_that_no_recount_reads(folder: Path) -> None:
    """An index has lost its entries: the table is whole, and whoever looks for the administrator by name does not find him."""
    alter(folder)
    with closing(sqlite3.connect(folder / DATABASE)) as conn:
        (page,) = conn.execute(
            "SELECT rootpage FROM sqlite_master WHERE type = 'index' AND tbl_name = 'auth_account' LIMIT 1"
        ).fetchone()
    with (folder / DATABASE).open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\x0a" + bytes(4) + b"\x10\x00\x00")
    verdict = verify_folder(folder)
    assert [check.name for check in verdict.checks if not check.holds] == ["database"]


def test_verify_says_what_it_cannot_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alter(folder)
    content = bytearray((folder / DATABASE).read_bytes())
    content[3 * 4096 : 9 * 4096] = bytes(byte ^ 0x5A for byte in content[3 * 4096 : 9 * 4096])
    (folder / DATABASE).write_bytes(content)
    assert main(["verify", str(folder)]) == 1
    told = capsys.readouterr()
    assert "FAULT database" in told.out or told.err.startswith("nahuo: ")


def test_an_emptied_database_is_no_sound_one(folder: Path, tmp_path: Path) -> None:
    """Nothing is made in its place, and no backup of it replaces a good one."""
    (folder / DATABASE).write_bytes(b"")
    for look in (verify_folder, lambda data: make_backup(data, tmp_path / "b")):
        with pytest.raises(CorruptError, match="nahuo restore"):
            look(folder)
    assert (folder / DATABASE).read_bytes() == b""
    assert not (tmp_path / "b").exists()


def test_verify_changes_no_database_of_an_older_program(folder: Path) -> None:
    alter(folder, f"UPDATE meta SET value = '{s.SCHEMA_VERSION - 1}' WHERE name = 'schema_version'")
    before = (folder / DATABASE).read_bytes()
    with pytest.raises(IncompatibleError, match="start"):
        verify_folder(folder)
    assert (folder / DATABASE).read_bytes() == before


def test_a_backup_into_the_folder_that_it_saves_is_refused(folder: Path) -> None:
    """Lost together with it, and every later backup would hold all before it."""
    with pytest.raises(RefusedError, match="beside"):
        make_backup(folder, folder / "b")
    (folder / "kept").mkdir()
    with pytest.raises(RefusedError, match="beside"):
        make_backup(folder, folder / "kept" / "b")


def test_a_server_whose_database_is_gone_or_elsewhere_makes_no_new_one(folder: Path) -> None:
    """Started without its `--database`, or after its file was lost, it would answer as a market that has nothing."""
    (folder / EXTENT).write_text("500 0")
    (folder / DATABASE).unlink()
    with pytest.raises(CorruptError, match="--database"):
        open_server(folder, now_ms=NOW_MS)
    assert not (folder / DATABASE).exists()
    (folder / DATABASE).write_bytes(b"")
    with pytest.raises(CorruptError, match="nahuo restore"):
        open_server(folder, now_ms=NOW_MS)
    with pytest.raises(CorruptError, match="nahuo restore"):
        open_server(folder, database=f"sqlite:///{folder / 'other.db'}", now_ms=NOW_MS)


def test_an_import_is_left_in_the_database_that_it_names(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    shutil.move(folder / DATABASE, elsewhere)
    file = tmp_path / "orders.csv"
    file.write_text("order_no\n")
    words = ["import", "--data", str(folder), "--shop", "x", "--wait", "0", "--database", f"sqlite:///{elsewhere}"]
    assert main([*words, str(file)]) == 0
    with closing(sqlite3.connect(elsewhere)) as conn:
        assert conn.execute("SELECT kind FROM command").fetchall() == [("orders.import",)]


@pytest.mark.parametrize("command", ["status", "verify", "backup", "server", "token", "restore"])
def test_what_the_system_refuses_is_said_in_one_line(
    command: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    words = {
        "verify": [str(folder)],
        "backup": ["--data", str(folder), "--to", str(tmp_path / "b")],
        "token": ["--data", str(folder), "--document", "x"],
        "restore": ["--from", str(tmp_path / "b"), "--data", str(folder)],
    }
    for name in ("is_file", "is_dir", "iterdir"):
        monkeypatch.setattr(Path, name, refuse)
    assert main([command, *words.get(command, ["--data", str(folder)])]) == 1
    error = capsys.readouterr().err
    assert error.startswith("nahuo: ")
    assert "Permission denied" in error
    assert error.count("\n") == 1


def test_no_server_is_founded_in_a_clients_folder(tmp_path: Path) -> None:
    Replica.open(tmp_path / "replica.db", MARKET_DAY, synchronous="OFF").close()
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(RefusedError) as refused:
        init_folder(tmp_path, admin="wang", password="a long password", zone="Asia/Shanghai", database=None)
    assert refused.value.code == "init.folder"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_server_whose_key_is_gone_is_not_told_to_be_founded_anew(folder: Path) -> None:
    (folder / KEY).unlink()
    with pytest.raises(CorruptError, match="backup"):
        serve_folder(folder, host="127.0.0.1", port=0, database=None, embedders=())
    with pytest.raises(CorruptError, match="backup"):
        init_folder(folder, admin="wang", password="a long password", zone="Asia/Shanghai", database=None)
    assert not (folder / KEY).exists()
