"""The backup: one file, proven, made while the folder is in use; the restore never overwrites."""

from __future__ import annotations

import json
import sqlite3
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from clients.runtime.repair import keep_twin, open_or_repair
from nahuo.backup import MANIFEST, check_backup, make_backup, restore_backup
from server.installation import init_server, open_server
from sync_core.errors import CorruptError, IncompatibleError, RefusedError
from sync_core.replica import INSTALL_TOKEN, Replica
from sync_core.twin import TWIN, Twin, read_twin
from tests.unit.nahuo.toy import DOCUMENT, ToyTrade, open_client, say


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Path]:
    """A client's folder, still open in this process, with two notes."""
    folder = tmp_path / "phone"
    replica = open_client(folder)
    (folder / "device.key").write_bytes(b"d" * 32)
    (folder / "ballast").write_bytes(bytes(100))
    say(replica, "one")
    say(replica, "two")
    yield folder
    replica.close()


def test_backup_of_a_busy_folder_holds_what_was_committed(client: Path, tmp_path: Path) -> None:
    backup = make_backup(client, tmp_path / "phone.backup")
    assert set(backup.files) == {"replica.db", "device.key"}
    restored = tmp_path / "restored"
    restore_backup(backup.path, restored)
    with closing(sqlite3.connect(restored / "replica.db")) as conn:
        assert conn.execute("SELECT count(*) FROM envelope").fetchone() == (3,)
    assert (restored / "device.key").read_bytes() == b"d" * 32


def test_backup_of_a_folder_that_is_written_all_the_time_ends(client: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(client / "replica.db", isolation_level=None)) as conn:
        conn.execute("CREATE TABLE ballast (content BLOB)")
        conn.execute("INSERT INTO ballast VALUES (zeroblob(60000000))")
    finished = threading.Event()
    given_up = time.monotonic() + 20

    def write() -> None:
        with closing(sqlite3.connect(client / "replica.db", isolation_level=None)) as conn:
            conn.execute("PRAGMA synchronous = OFF")
            while not finished.is_set() and time.monotonic() < given_up:
                conn.execute("INSERT INTO ballast VALUES (x'00')")

    writer = threading.Thread(target=write)
    writer.start()
    make_backup(client, tmp_path / "phone.backup")
    ended_in_time = time.monotonic() < given_up
    finished.set()
    writer.join()
    assert ended_in_time


def test_restored_client_knows_that_it_is_a_copy(client: Path, tmp_path: Path) -> None:
    restore_backup(make_backup(client, tmp_path / "b").path, tmp_path / "restored")
    assert not (tmp_path / "restored" / INSTALL_TOKEN).exists()
    copy = Replica.open(tmp_path / "restored" / "replica.db", ToyTrade())
    assert copy.is_copy
    with pytest.raises(RefusedError, match="copied device"):
        say(copy, "three")
    assert copy.state_vector(DOCUMENT) == {0: 1, 101: 2}
    copy.close()


def test_a_backup_of_a_server_that_is_restored_again_says_so_to_its_start(tmp_path: Path) -> None:
    init_server(tmp_path / "server", now_ms=1_800_000_000_000).store.close()
    backup = make_backup(tmp_path / "server", tmp_path / "b").path
    for again, number in ((0, 1), (1, 2), (-1, 1)):
        restore_backup(backup, tmp_path / f"again {again}", again=again)
        server = open_server(tmp_path / f"again {again}", now_ms=1_800_000_000_000)
        assert server.number == number
        server.store.close()


def test_the_twin_with_its_second_copy_of_the_key_stays_out_and_the_restored_device_is_a_copy(
    client: Path, tmp_path: Path
) -> None:
    twin = Twin(client / TWIN)
    twin.write_anew({"number": 101, "key": (b"d" * 32).hex()}, [])
    twin.close()
    assert (client / TWIN).stat().st_mode & 0o077 == 0
    assert TWIN not in make_backup(client, tmp_path / "b").files
    restored = tmp_path / "restored"
    restore_backup(tmp_path / "b", restored)
    again = open_or_repair(restored / "replica.db", ToyTrade(), synchronous="OFF", stamp="x", now_ms=1)
    keep_twin(again, restored)
    assert again.is_copy
    assert (read_twin(restored / TWIN).identity or {})["key"] == (b"d" * 32).hex()
    assert (restored / TWIN).stat().st_mode & 0o077 == 0
    again.close()


def test_a_damaged_database_that_a_repair_set_aside_is_copied_as_it_is(client: Path, tmp_path: Path) -> None:
    aside = client / "set-aside" / "2026-11-25-1"
    aside.mkdir(parents=True)
    kept = {"replica.db": b"SQLite format 3\0" + bytes(4096), "replica.db-wal": b"journal"}
    for name, data in kept.items():
        (aside / name).write_bytes(data)
    restore_backup(make_backup(client, tmp_path / "b").path, tmp_path / "restored")
    assert {
        path.name: path.read_bytes() for path in (tmp_path / "restored" / "set-aside" / aside.name).iterdir()
    } == kept


def test_backup_is_readable_by_its_owner_only(client: Path, tmp_path: Path) -> None:
    assert make_backup(client, tmp_path / "b").path.stat().st_mode & 0o077 == 0


def test_backup_never_overwrites(client: Path, tmp_path: Path) -> None:
    (tmp_path / "b").write_text("mine")
    with pytest.raises(RefusedError, match="exists already"):
        make_backup(client, tmp_path / "b")
    assert (tmp_path / "b").read_text() == "mine"


def test_backup_makes_no_folder_by_a_mistyped_path(client: Path, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="make it first"):
        make_backup(client, tmp_path / "disk" / "b")
    assert not (tmp_path / "disk").exists()


def test_backup_of_no_folder_says_which_one_to_name(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="nahuo init"):
        make_backup(tmp_path / "nothere", tmp_path / "b")


def test_backup_of_a_damaged_database_is_refused_and_leaves_nothing(client: Path, tmp_path: Path) -> None:
    (client / "other.db").write_bytes(b"SQLite format 3\0" + bytes(4096))
    with pytest.raises(CorruptError):
        make_backup(client, tmp_path / "b")
    assert not list(tmp_path.glob("b*"))
    assert not list(tmp_path.glob(".nahuo*"))


def test_backup_of_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(RefusedError, match="neither"):
        make_backup(tmp_path / "x", tmp_path / "b")


def test_a_server_on_postgresql_is_told_where_its_tools_are(tmp_path: Path) -> None:
    (tmp_path / "server.key").write_bytes(bytes(32))
    with pytest.raises(RefusedError, match="PostgreSQL"):
        make_backup(tmp_path, tmp_path / "b")


def test_restore_refuses_a_folder_that_holds_something(client: Path, tmp_path: Path) -> None:
    backup = make_backup(client, tmp_path / "b")
    before = sorted(path.name for path in client.iterdir())
    with pytest.raises(RefusedError, match="not empty"):
        restore_backup(backup.path, client)
    assert sorted(path.name for path in client.iterdir()) == before


@pytest.mark.parametrize("where", [0.3, 0.6, 0.9])
def test_one_flipped_byte_is_found(client: Path, tmp_path: Path, where: float) -> None:
    path = make_backup(client, tmp_path / "b").path
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        member = tar.getmember("replica.db")
    data[member.offset_data + int(member.size * where)] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptError, match=r"replica\.db"):
        restore_backup(path, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


@pytest.mark.parametrize("keep", [0, 100, 700, 3000])
def test_a_cut_backup_is_refused(client: Path, tmp_path: Path, keep: int) -> None:
    path = make_backup(client, tmp_path / "b").path
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CorruptError):
        restore_backup(path, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_a_file_that_leads_outside_is_refused(client: Path, tmp_path: Path) -> None:
    path = make_backup(client, tmp_path / "b").path
    evil = tmp_path / "evil"
    with tarfile.open(path) as good, tarfile.open(evil, "w") as bad:
        for member in good.getmembers():
            file = good.extractfile(member)
            assert file is not None
            if member.name == "device.key":
                member.name = "../device.key"
            bad.addfile(member, file)
    with pytest.raises(CorruptError):
        restore_backup(evil, tmp_path / "deep" / "restored")
    assert not (tmp_path / "deep" / "device.key").exists()


def test_a_newer_backup_asks_for_an_update(client: Path, tmp_path: Path) -> None:
    path = make_backup(client, tmp_path / "b").path
    newer = tmp_path / "newer"
    with tarfile.open(path) as old, tarfile.open(newer, "w") as new:
        for member in old.getmembers():
            file = old.extractfile(member)
            assert file is not None
            if member.name == MANIFEST:
                text = json.dumps({**json.loads(file.read()), "format": 2}).encode()
                (tmp_path / "m").write_bytes(text)
                member.size = len(text)
                with (tmp_path / "m").open("rb") as changed:
                    new.addfile(member, changed)
            else:
                new.addfile(member, file)
    with pytest.raises(IncompatibleError, match="newer"):
        check_backup(newer)


def test_restore_of_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="there is no file"):
        restore_backup(tmp_path / "nothing", tmp_path / "x")
