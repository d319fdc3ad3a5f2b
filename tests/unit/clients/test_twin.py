"""The outbox's twin: what a reader gets of a torn or flipped file, and that it follows the database."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from clients.runtime import repair
from clients.runtime.repair import keep_twin, open_or_repair, restore_key
from sync_core.errors import AlreadyOpenError, CorruptError, DiskError, DiskFullError
from sync_core.replica import Replica
from sync_core.storage import plain_error
from sync_core.twin import TWIN, Twin, read_twin
from tests.toy import DOCUMENT, Jars, enrolled, put

IDENTITY = {"number": 101, "key": "ab"}


def written(path: Path, count: int) -> None:
    twin = Twin(path)
    twin.write_anew(IDENTITY, [])
    for n in range(count):
        twin.append([(DOCUMENT, b"stored %d" % n)])
    twin.close()


def test_all_that_was_appended_is_read(tmp_path: Path) -> None:
    written(tmp_path / TWIN, 3)
    content = read_twin(tmp_path / TWIN)
    assert content.identity == IDENTITY
    assert [stored for _, stored in content.envelopes] == [b"stored 0", b"stored 1", b"stored 2"]


@pytest.mark.parametrize("at_share", [0.0, 0.3, 0.5, 0.7, 0.95])
def test_a_flipped_byte_costs_one_record_at_most(tmp_path: Path, at_share: float) -> None:
    path = tmp_path / TWIN
    written(path, 10)
    data = bytearray(path.read_bytes())
    data[int(at_share * len(data))] ^= 0x41
    path.write_bytes(data)
    content = read_twin(path)
    assert len(content.envelopes) + (content.identity is not None) == 10


def test_a_torn_tail_costs_the_last_record_only(tmp_path: Path) -> None:
    path = tmp_path / TWIN
    written(path, 4)
    path.write_bytes(path.read_bytes()[:-3])
    assert len(read_twin(path).envelopes) == 3


def test_the_twin_holds_the_outbox_and_is_empty_when_the_hub_has_it(tmp_path: Path) -> None:
    replica = enrolled(tmp_path / "replica.db", 101, synchronous="OFF")
    replica.twin, replica.twin_identity = Twin(tmp_path / TWIN), lambda: IDENTITY
    replica.renew_twin()
    replica.act(DOCUMENT, [put(1)], person="ann", at_ms=1)
    with pytest.raises(ValueError, match="no"), replica.transaction():
        replica.act(DOCUMENT, [put(2)], person="ann", at_ms=2)
        raise ValueError("no")
    assert list(read_twin(tmp_path / TWIN).envelopes) == replica.outbox()
    assert len(replica.outbox()) == 1
    replica.acknowledged(DOCUMENT, {101: 1}, whole=True, at_ms=3)
    assert read_twin(tmp_path / TWIN).envelopes == ()
    replica.close()


def kept(replica: Replica, folder: Path) -> Replica:
    """Three actions, all of them acknowledged: the twin is empty."""
    replica.twin, replica.twin_identity = Twin(folder / TWIN), lambda: IDENTITY
    replica.renew_twin()
    for n in (1, 2, 3):
        replica.act(DOCUMENT, [put(n)], person="ann", at_ms=n)
    replica.acknowledged(DOCUMENT, {101: 3}, whole=True, at_ms=4)
    assert read_twin(folder / TWIN).envelopes == ()
    return replica


def test_what_a_restored_hub_has_lost_stands_in_the_twin_again(tmp_path: Path) -> None:
    replica = kept(enrolled(tmp_path / "replica.db", 101, synchronous="OFF"), tmp_path)
    replica.acknowledged(DOCUMENT, {101: 1}, whole=True, at_ms=5)
    assert len(replica.outbox()) == 2
    assert list(read_twin(tmp_path / TWIN).envelopes) == replica.outbox()
    replica.close()


def test_what_a_hub_refuses_after_all_stands_in_the_twin_again(tmp_path: Path) -> None:
    replica = kept(enrolled(tmp_path / "replica.db", 101, synchronous="OFF"), tmp_path)
    replica.note_refusal(DOCUMENT, {"device": 101, "seq": 2, "code": "gate.fork", "detail": "another"})
    assert len(replica.outbox()) == 2
    assert list(read_twin(tmp_path / TWIN).envelopes) == replica.outbox()
    replica.close()


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), OSError(5, "no")])
def test_a_twin_that_cannot_be_renewed_is_no_failure_of_what_was_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    replica = kept(enrolled(tmp_path / "replica.db", 101, synchronous="OFF"), tmp_path)
    told: list[str] = []
    replica.listeners.append(told.append)

    def unreadable() -> list[tuple[str, bytes]]:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(replica, "outbox", unreadable)
        replica.acknowledged(DOCUMENT, {101: 1}, whole=True, at_ms=5)
    assert replica.proven(DOCUMENT)[101] == 1
    assert replica.twin is not None
    assert replica.twin.is_too_long, "it is written anew a moment later"
    replica.renew_twin()
    assert list(read_twin(tmp_path / TWIN).envelopes) == replica.outbox()
    replica.close()


def test_a_document_that_was_forgotten_while_another_owes_work_is_no_damage(tmp_path: Path) -> None:
    """The twin is emptied when nothing is owed at all: until then it holds what the hub has, also of what has left."""
    replica = enrolled(tmp_path / "replica.db", 101, synchronous="OFF")
    keep_twin(replica, tmp_path)
    replica.act(DOCUMENT, [put(1)], person="ann", at_ms=1)
    replica.act("jars/2", [put(2)], person="ann", at_ms=2)
    replica.acknowledged(DOCUMENT, {101: 1}, whole=True, at_ms=3)
    assert replica.forget(DOCUMENT)
    replica.close()
    again = open_or_repair(tmp_path / "replica.db", Jars(), synchronous="OFF", stamp="x", now_ms=4)
    assert not (tmp_path / "set-aside").exists()
    assert (again.owing(), again.is_copy) == (["jars/2"], False)
    again.close()


def test_a_second_start_during_a_repair_waits_for_no_damage_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would set the database aside that the first has just made, with what is done in it from then on."""
    database = tmp_path / "replica.db"
    replica = enrolled(database, 101, synchronous="OFF")
    keep_twin(replica, tmp_path)
    replica.act(DOCUMENT, [put(1)], person="ann", at_ms=1)
    replica.close()
    database.write_bytes(b"no database" * 1000)
    move_aside = repair._move_aside

    def meanwhile(path: Path, stamp: str) -> None:
        monkeypatch.undo()
        with pytest.raises(AlreadyOpenError):
            open_or_repair(database, Jars(), synchronous="OFF", stamp="second", now_ms=2)
        move_aside(path, stamp)

    monkeypatch.setattr(repair, "_move_aside", meanwhile)
    again = open_or_repair(database, Jars(), synchronous="OFF", stamp="first", now_ms=2)
    assert [folder.name for folder in (tmp_path / "set-aside").iterdir()] == ["first"]
    with pytest.raises(AlreadyOpenError):
        open_or_repair(database, Jars(), synchronous="OFF", stamp="third", now_ms=3)
    again.close()


def test_damage_without_any_identity_is_told_and_nothing_is_moved(tmp_path: Path) -> None:
    (tmp_path / "replica.db").write_bytes(b"no database" * 1000)
    with pytest.raises(CorruptError, match="enrol this device again"):
        open_or_repair(tmp_path / "replica.db", Jars(), synchronous="OFF", stamp="x", now_ms=1)
    assert (tmp_path / "replica.db").read_bytes().startswith(b"no database")


def test_a_disk_that_fails_at_the_start_is_no_damage(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        # Root may write everything: a folder in the file's place fails for it as well.
        (tmp_path / "replica.db").mkdir()
    else:
        tmp_path.chmod(0o500)
    with pytest.raises(DiskError):
        Replica.open(tmp_path / "replica.db", Jars())


def test_errors_of_the_system_have_plain_words() -> None:
    assert isinstance(plain_error(OSError(28, "No space left on device")), DiskFullError)
    read_only = plain_error(OSError(30, "Read-only file system"))
    assert read_only is not None
    assert read_only.code == "disk.read_only"
    assert plain_error(OSError(2, "No such file")) is None
    for sqlite_code, code in ((sqlite3.SQLITE_IOERR_SHMSIZE, "disk.full"), (sqlite3.SQLITE_IOERR_READ, "disk.error")):
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite_code
        plain = plain_error(error)
        assert plain is not None
        assert plain.code == code


@pytest.mark.parametrize(
    "foreign", [{"number": 102}, {"server_key": "ab" * 32}, {"key": "cd" * 32}], ids=lambda f: next(iter(f))
)
@pytest.mark.parametrize("damaged", [False, True], ids=["sound", "damaged"])
def test_the_twin_of_another_installation_is_never_taken_for_ones_own(
    tmp_path: Path, foreign: dict[str, object], damaged: bool
) -> None:
    replica = enrolled(tmp_path / "replica.db", 101, synchronous="OFF")
    key = "ef" * 32
    (tmp_path / "device.key").write_bytes(bytes.fromhex(key))
    own = {"number": 101, "server_key": replica.setting("server_key"), "key": key}
    replica.close()
    twin = Twin(tmp_path / TWIN)
    twin.write_anew({**own, **foreign, "piece_serial": 77}, [(DOCUMENT, b"foreign")])
    twin.close()
    if damaged:
        # One table's page is garbage; the settings stay readable.
        with closing(sqlite3.connect(tmp_path / "replica.db")) as conn:
            page = conn.execute("SELECT rootpage FROM sqlite_master WHERE name = 'saved'").fetchone()[0]
            size = conn.execute("PRAGMA page_size").fetchone()[0]
        with open(tmp_path / "replica.db", "r+b") as file:
            file.seek((page - 1) * size)
            file.write(b"\xa5" * size)
    opened = open_or_repair(tmp_path / "replica.db", Jars(), synchronous="OFF", stamp="x", now_ms=1)
    assert opened.number == 101
    assert opened.setting("server_key") == own["server_key"]
    assert opened.setting("piece_serial", 0) == 0
    assert (tmp_path / "set-aside").exists() is damaged
    (tmp_path / "device.key").write_bytes(b"")
    if damaged:
        # The repair wrote the twin anew, with this device's own key.
        restore_key(tmp_path, opened)
        assert (tmp_path / "device.key").read_bytes().hex() == key
    elif "key" not in foreign:
        with pytest.raises(CorruptError, match="key is gone"):
            restore_key(tmp_path, opened)
    opened.close()
