"""A document that ended leaves a replica whole, for ever, and never before the hub has all of ours; its space is used again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_core.errors import RefusedError
from sync_core.lines import SEQS_PER_DOCUMENT, line_of, next_in_line, number_in_line, seq_in_line
from sync_core.replica import Replica
from tests.toy import chain, enrolled, opened, put

OLD, NEW, OTHER = "jar/kitchen/1", "jar/kitchen/2", "jar-day/2026-05-01"
TABLES = ("envelope", "fact", "state", "writer", "unfolded", "refusal", "set_aside")


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    replica = enrolled(tmp_path / "replica.db", 700, synchronous="OFF")
    for document in (OLD, NEW, OTHER):
        replica.admit(document, [chain(0, document, [[opened(700, 701)]])])
    yield replica
    replica.close()


def rows(replica: Replica, document: str) -> int:
    counts = [
        replica.conn.execute(f"SELECT count(*) FROM {t} WHERE document = ?", (document,)).fetchone()[0] for t in TABLES
    ]
    return int(sum(counts))


@pytest.mark.parametrize(
    ("document", "line", "number"),
    [
        ("warehouse/main/1", "warehouse/main", 1),
        ("warehouse/main/12", "warehouse/main", 12),
        ("market/国大/3", "market/国大", 3),
        ("route/2026-05-01-101", None, 1),
        ("route/7", None, 1),
        ("warehouse/main/01", None, 1),
        ("warehouse/main/x", None, 1),
    ],
)  # fmt: skip
def test_a_line_is_read_off_a_name(document: str, line: str | None, number: int) -> None:
    assert (line_of(document), number_in_line(document)) == (line, number)
    assert seq_in_line(document, 4) == 4 + (number - 1) * SEQS_PER_DOCUMENT
    if line is not None:
        assert line_of(next_in_line(document)) == line
        assert number_in_line(next_in_line(document)) == number + 1


def test_fact_ids_count_on_through_a_line(replica: Replica) -> None:
    assert replica.act(OLD, [put(1)], person="ann", at_ms=5) == ("700.1.0",)
    assert replica.act(NEW, [put(1)], person="ann", at_ms=5) == (f"700.{SEQS_PER_DOCUMENT + 1}.0",)
    assert replica.state("jar:blue", NEW) == {"puts": [f"700.{SEQS_PER_DOCUMENT + 1}.0+1"], "sealed": False, "n": 1}


def test_nothing_is_forgotten_while_the_hub_lacks_work_of_ours(replica: Replica) -> None:
    replica.act(OLD, [put(1)], person="ann", at_ms=5)
    before = rows(replica, OLD)
    assert not replica.forget(OLD)
    assert rows(replica, OLD) == before
    replica.acknowledged(OLD, {700: 1}, whole=True, at_ms=6)
    assert replica.forget(OLD)
    assert rows(replica, OLD) == 0
    assert rows(replica, NEW) > 0
    assert OLD not in replica.documents()


def test_what_left_is_never_begun_anew(replica: Replica) -> None:
    replica.act(OLD, [put(1)], person="ann", at_ms=5)
    replica.acknowledged(OLD, {700: 1}, whole=True, at_ms=6)
    for document in (OLD, OTHER):
        assert replica.forget(document)
        assert replica.is_gone(document)
        with pytest.raises(RefusedError, match=document):
            replica.act(document, [put(1)], person="ann", at_ms=7)
        # The hub may still send news of it, and says that it has more under our number than we: that makes us no copy.
        admitted = replica.admit(document, [chain(701, document, [[put(2)]])])
        assert (admitted.fresh, admitted.refusals) == (0, ())
        assert not replica.hub_is_ahead(document, {700: 1})
        assert rows(replica, document) == 0
    assert not replica.is_gone(NEW)
    assert replica.forget(NEW)
    assert replica.is_gone(OLD)
    assert [row[0] for row in replica.conn.execute("SELECT document FROM gone ORDER BY n")] == [OTHER, NEW]


def test_an_older_document_of_a_line_that_is_still_here_is_not_gone(replica: Replica) -> None:
    replica.act(OLD, [put(1)], person="ann", at_ms=5)
    assert replica.forget(NEW)
    assert not replica.is_gone(OLD)
    assert replica.act(OLD, [put(1)], person="ann", at_ms=6) == ("700.2.0",)


def test_space_is_used_again(tmp_path: Path) -> None:
    replica = enrolled(tmp_path / "bounded.db", 700, synchronous="OFF")
    pages = []
    for number in range(1, 16):
        document = f"jar/kitchen/{number}"
        actions = [[opened(700)], *([put(n, jar=f"{n % 40}")] for n in range(150))]
        replica.admit(document, [chain(0, document, actions)])
        while replica.fold_some():
            pass
        if number > 1:
            assert replica.forget(f"jar/kitchen/{number - 1}")
        pages.append(replica.conn.execute("PRAGMA page_count").fetchone()[0])
    assert pages[-1] <= pages[1] * 1.1, pages
    replica.give_back_space()
    assert replica.conn.execute("PRAGMA freelist_count").fetchone()[0] == 0
    assert replica.conn.execute("PRAGMA page_count").fetchone()[0] < pages[-1] * 0.8
    replica.close()
