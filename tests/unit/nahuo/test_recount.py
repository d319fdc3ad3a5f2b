"""The recount finds what does not follow from a client's log; each kind of damage is seen by its own check."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from nahuo.recount import recount_client
from nahuo.status import read_status, show_status
from sync_core.check import Check
from tests.unit.nahuo.toy import DOCUMENT, ToyTrade, open_client, say


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A closed client database with three notes about two subjects."""
    replica = open_client(tmp_path)
    say(replica, "one")
    say(replica, "two", subject="task:T1-2")
    say(replica, "three")
    replica.close()
    return tmp_path / "replica.db"


def broken(database: Path) -> dict[str, Check]:
    """Return the checks that do not hold, by name."""
    return {check.name: check for check in recount_client(database, ToyTrade()).checks if not check.holds}


def change(database: Path, sql: str, *args: object) -> None:
    """Change a row behind the program's back."""
    with closing(sqlite3.connect(database, isolation_level=None)) as conn:
        assert conn.execute(sql, args).rowcount > 0


def test_a_sound_folder_holds_and_says_how_much_was_looked_at(database: Path) -> None:
    recount = recount_client(database, ToyTrade())
    assert [check.name for check in recount.checks if not check.holds] == []
    counted = {check.name: check.checked for check in recount.checks}
    assert counted["chains"] == 4
    assert counted["projections"] == 3
    assert counted["server signatures"] == 1
    assert set(recount.hashes) == {DOCUMENT}


def test_the_hash_is_that_of_the_replica(tmp_path: Path) -> None:
    replica = open_client(tmp_path)
    say(replica, "one")
    assert recount_client(tmp_path / "replica.db", ToyTrade()).hashes[DOCUMENT] == replica.canonical_hash(DOCUMENT)
    replica.close()


@pytest.mark.parametrize(
    ("sql", "check"),
    [
        ("UPDATE state SET state = replace(state, 'three', 'thr33') WHERE subject = 'task:T1-1'", "projections"),
        ("DELETE FROM state WHERE subject = 'task:T1-2'", "projections"),
        ("INSERT INTO state (document, subject, kind, state) SELECT document, 'task:T9', kind, state FROM state LIMIT 1", "projections"),
        ("DELETE FROM fact WHERE subject = 'task:T1-2'", "fact index"),
        ("INSERT INTO fact SELECT document, 'task:T9', n, idx FROM fact", "fact index"),
        ("DELETE FROM envelope WHERE device = 101 AND seq = 2", "chains"),
        ("UPDATE writer SET seq = 2 WHERE device = 101", "chains"),
        ("UPDATE writer SET digest = zeroblob(32) WHERE device = 0", "chains"),
        ("UPDATE envelope SET basis = '{\"0\":9}' WHERE device = 101 AND seq = 2", "chains"),
        ("UPDATE envelope SET at_ms = at_ms + 1 WHERE device = 101 AND seq = 1", "chains"),
        ("UPDATE writer SET acked = 99 WHERE device = 101", "outbox"),
        ("UPDATE writer SET folded = 99 WHERE device = 0", "outbox"),
        ("UPDATE setting SET value = '\"' || printf('%064d', 0) || '\"' WHERE name = 'server_key'", "server signatures"),
    ],
)  # fmt: skip
def test_damage_is_found_by_its_check(database: Path, sql: str, check: str) -> None:
    change(database, sql)
    assert check in broken(database)


def test_one_flipped_byte_of_a_payload_breaks_chain_and_rows(database: Path) -> None:
    with closing(sqlite3.connect(database)) as conn:
        (stored,) = conn.execute("SELECT stored FROM envelope WHERE device = 101 AND seq = 1").fetchone()
    change(database, "UPDATE envelope SET stored = ? WHERE device = 101 AND seq = 1", stored.replace(b"one", b"0ne"))
    assert "chains" in broken(database)


def test_a_forged_server_envelope_is_found(database: Path) -> None:
    with closing(sqlite3.connect(database)) as conn:
        (stored,) = conn.execute("SELECT stored FROM envelope WHERE device = 0").fetchone()
    forged = bytes([stored[0] ^ 1]) + stored[1:]
    change(database, "UPDATE envelope SET stored = ? WHERE device = 0", forged)
    assert "server signatures" in broken(database)


def test_a_piece_under_anothers_number_is_found_i12(tmp_path: Path) -> None:
    from sync_core.facts import Fact

    replica = open_client(tmp_path)
    subjects = ("task:T1-1", "piece:001020000019", "stall:a/b/c")
    replica.act(DOCUMENT, [Fact(kind="piece.bought", subjects=subjects, body={})], person="li", at_ms=1)
    replica.close()
    assert "piece codes (I12)" in broken(tmp_path / "replica.db")


def test_status_of_a_client_says_what_waits_and_since_when(tmp_path: Path) -> None:
    replica = open_client(tmp_path)
    say(replica, "one", at_ms=10_000)
    say(replica, "two", at_ms=20_000)
    replica.acknowledged(DOCUMENT, {101: 1}, whole=True, at_ms=30_000)
    status = read_status(tmp_path)
    replica.close()
    assert status.kind == "client"
    assert status.last_acknowledged_ms == 30_000
    assert [(line.count, line.since_ms) for line in status.waiting if line.what == "actions to send"] == [(1, 20_000)]
    text = show_status(status, now_ms=3_620_000)
    assert "actions to send            1, oldest 1 h ago" in text
    assert "discrepancies open         0" in text


def test_status_shows_what_the_hub_refused(database: Path) -> None:
    change(
        database,
        "INSERT INTO refusal (document, device, seq, code, detail, stored) VALUES (?, 101, 3, 'gate.fork', 'two', x'00')",
        DOCUMENT,
    )
    assert [line.what for line in read_status(database.parent).discrepancies] == [f"gate.fork in {DOCUMENT}"]
