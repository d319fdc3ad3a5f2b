"""The replica: done means on the disk, in one transaction, under one process, and the same rows in any order."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_core import gate
from sync_core.errors import AlreadyOpenError, CorruptError, DiskFullError, RefusedError
from sync_core.facts import Fact
from sync_core.gate import Run
from sync_core.replica import Replica
from tests.toy import DOCUMENT, Jars, chain, enrolled, opened, put, signer


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    replica = enrolled(tmp_path / "replica.db", 700)
    replica.admit(DOCUMENT, [chain(0, DOCUMENT, [[opened(700, 701)]])])
    yield replica
    replica.close()


def test_an_act_is_there_after_the_file_is_opened_again(tmp_path: Path) -> None:
    replica = enrolled(tmp_path / "replica.db", 700)
    replica.admit(DOCUMENT, [chain(0, DOCUMENT, [[opened(700)]])])
    assert replica.act(DOCUMENT, [put(3)], person="ann", at_ms=5) == ("700.1.0",)
    replica.close()
    again = enrolled(tmp_path / "replica.db", 700)
    assert again.state("jar:blue") == {"puts": ["700.1.0+3"], "sealed": False, "n": 3}
    assert again.waiting().actions == 1
    again.close()


def test_an_act_that_fails_leaves_nothing(replica: Replica) -> None:
    def fail(conn: sqlite3.Connection, ids: tuple[str, ...]) -> None:
        conn.execute("CREATE TABLE job (id TEXT)")
        raise ValueError(ids)

    before = replica.canonical_hash(DOCUMENT)
    with pytest.raises(ValueError):
        replica.act(DOCUMENT, [put(3)], person="ann", at_ms=5, also=fail)
    assert replica.canonical_hash(DOCUMENT) == before
    assert "job" not in replica.db.table_names()
    assert replica.act(DOCUMENT, [put(4)], person="ann", at_ms=6) == ("700.1.0",)


def test_a_full_disk_says_so_and_changes_nothing(replica: Replica) -> None:
    pages = replica.conn.execute("PRAGMA page_count").fetchone()[0]
    replica.conn.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DiskFullError):
        for _ in range(200):
            replica.act(
                DOCUMENT,
                [Fact(kind="jar.put", subjects=("jar:blue",), body={"n": 1, "x": "y" * 900})],
                person="ann",
                at_ms=5,
            )
    done = replica.waiting().actions
    replica.conn.execute("PRAGMA max_page_count = 100000")
    state = replica.state("jar:blue")
    assert state is not None or done == 0
    assert state is None or len(state["puts"]) == done
    assert replica.act(DOCUMENT, [put(1)], person="ann", at_ms=6) == (f"700.{done + 1}.0",)


def test_a_second_process_is_told(replica: Replica) -> None:
    with pytest.raises(AlreadyOpenError):
        Replica.open(replica.path, Jars())


def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "replica.db"
    enrolled(path, 700).close()
    damaged = b"this is no database" * 400
    path.write_bytes(damaged)
    with pytest.raises(CorruptError, match="enrol"):
        Replica.open(path, Jars())
    assert path.read_bytes() == damaged


def test_rows_do_not_depend_on_the_order_of_arrival(tmp_path: Path) -> None:
    server = chain(0, DOCUMENT, [[opened(700, 701)], [Fact(kind="jar.sealed", subjects=("jar:blue",))]])
    ours = chain(700, DOCUMENT, [[put(1)], [put(2)]])
    theirs = chain(701, DOCUMENT, [[put(4)], [put(8)]], basis={700: 1})
    hashes: set[str] = set()
    for order in ((server, ours, theirs), (theirs, ours, server), (ours, server, theirs)):
        replica = enrolled(tmp_path / f"{len(hashes)}-{order[0].device}.db", 702)
        for run in order:
            replica.admit(DOCUMENT, [run])
        hashes.add(replica.canonical_hash(DOCUMENT))
        replica.close()
    assert len(hashes) == 1


def test_a_writer_nobody_admitted_is_void_and_kept(replica: Replica) -> None:
    replica.admit(DOCUMENT, [chain(705, DOCUMENT, [[put(9)]])])
    state = replica.state("jar:blue")
    assert state is not None
    assert state["n"] == 0
    assert replica.state_vector(DOCUMENT)[705] == 1


def test_an_origin_of_another_device_suppresses_nothing(replica: Replica) -> None:
    forged = Fact(kind="jar.put", subjects=("jar:blue",), body={"n": 99}, origin="700.1.0")
    replica.admit(DOCUMENT, [chain(701, DOCUMENT, [[forged]])])
    replica.act(DOCUMENT, [put(3)], person="ann", at_ms=5)
    state = replica.state("jar:blue")
    assert state is not None
    assert state["n"] == 3


def test_the_servers_signature_is_checked(replica: Replica) -> None:
    head = gate.Head(seq=1, digest=gate.digest_of(chain(0, DOCUMENT, [[opened(700, 701)]]).stored[0]))
    forged = chain(703, DOCUMENT, [[put(1)]], after=head).stored[0]
    forged = forged[: gate.HEADER_BYTES] + forged[gate.HEADER_BYTES :].replace(b'"d":703', b'"d":0')
    admitted = replica.admit(DOCUMENT, [Run(device=0, first_seq=2, stored=(forged,))])
    assert [r.code for r in admitted.refusals] == ["gate.signature"]
    assert replica.state_vector(DOCUMENT)[0] == 1


def test_a_basis_counts_only_what_was_folded_and_only_news(replica: Replica) -> None:
    replica.admit(DOCUMENT, [chain(701, DOCUMENT, [[put(1)]])])
    replica.act(DOCUMENT, [put(2)], person="ann", at_ms=5)
    replica.act(DOCUMENT, [put(3)], person="ann", at_ms=6)
    facts = replica.facts_about(DOCUMENT, "jar:blue")
    assert [dict(f.basis) for f in facts if f.writer == 700] == [{0: 1, 701: 1}, {0: 1, 701: 1}]
    stored = replica.conn.execute("SELECT stored FROM envelope WHERE device = 700 AND seq = 2").fetchone()[0]
    assert b'"b":{}' in stored


def test_many_arrivals_are_committed_first_and_folded_after(tmp_path: Path) -> None:
    replica = enrolled(tmp_path / "replica.db", 702)
    replica.admit(DOCUMENT, [chain(0, DOCUMENT, [[opened(700)]])])
    replica.admit(DOCUMENT, [chain(700, DOCUMENT, [[put(1, f"j{n}")] for n in range(600)])])
    assert replica.state_vector(DOCUMENT) == {0: 1, 700: 600}
    assert replica.conn.execute("SELECT folded FROM writer WHERE device = 700").fetchone()[0] == 0
    while replica.fold_some():
        pass
    assert len(replica.states("jar")) == 600
    assert replica.conn.execute("SELECT folded FROM writer WHERE device = 700").fetchone()[0] == 600
    replica.close()


def test_a_copy_says_nothing_before_it_has_a_number_of_its_own(tmp_path: Path) -> None:
    first = enrolled(tmp_path / "a" / "replica.db", 700)
    first.admit(DOCUMENT, [chain(0, DOCUMENT, [[opened(700)], [_continues(701, 700)]])])
    first.act(DOCUMENT, [put(1)], person="ann", at_ms=5)
    first.acknowledged(DOCUMENT, {700: 1}, whole=True, at_ms=6)
    first.act(DOCUMENT, [put(2)], person="ann", at_ms=7)
    first.close()
    (tmp_path / "b").mkdir()
    shutil.copy(tmp_path / "a" / "replica.db", tmp_path / "b" / "replica.db")
    copy = enrolled(tmp_path / "b" / "replica.db", 700)
    with pytest.raises(RefusedError):
        copy.act(DOCUMENT, [put(3)], person="ann", at_ms=8)
    copy.use_key(signer(701))
    assert copy.renumber(701, {}) == 1
    state = copy.state("jar:blue")
    assert state is not None
    assert sorted(state["puts"]) == ["700.1.0+1", "700.2.0+2"]
    # The original delivers the same work under its old number: it still counts once.
    original = enrolled(tmp_path / "a" / "replica.db", 700)
    copy.admit(DOCUMENT, original.missing(DOCUMENT, copy.state_vector(DOCUMENT)))
    state = copy.state("jar:blue")
    assert state is not None
    assert state["n"] == 3
    original.close()
    copy.close()


def _continues(number: int, old: int) -> Fact:
    return Fact(
        kind="document.writer", subjects=("document",), body={"device": number, "role": "child", "continues": [old]}
    )
