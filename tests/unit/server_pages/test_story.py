"""A story is told causes first, whatever order the log has (E2, E28); pure rows, no database."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as some

from server.pages.reads_story import _unseen, merge_places, order_by_cause


def said(
    kind: str, n: int, *, document: str = "route/1", writer: int = 101, seq: int = 1, place: int = 0, basis: dict[str, int] | None = None,
    subjects: tuple[str, ...] = ("task:T1", "piece:1"), carried: int = 0, id: str | None = None, body: dict[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    return {
        "document": document, "writer": writer, "seq": seq, "place": place, "n": n, "kind": kind, "carried": carried,
        "subjects": json.dumps(subjects), "body": json.dumps(body or {}), "basis": json.dumps(basis or {}),
        "id": id or f"{writer}.{seq}.{place}", "role": "server" if writer < 100 and not carried else "picker",
    }  # fmt: skip


ASSIGNED = said("task.assigned", 1, writer=0, seq=1)
RECALLED = said("task.recalled", 3, writer=0, seq=2, basis={})
BOUGHT = said("piece.bought", 7, writer=101, seq=1, basis={"0": 1})
SCANNED = said("piece.scanned_in", 5, document="warehouse/1", writer=110, seq=1)
CARRIED = said("piece.bought", 8, document="warehouse/1", writer=0, seq=4, basis={"110": 1}, carried=1, id="101.1.0")
VERDICT = said("verdict.purchase", 9, writer=0, seq=5, document="warehouse/1", basis={"110": 1})
PACKED = said("parcel.packed", 6, document="warehouse/1", writer=110, seq=2)
ALL = (ASSIGNED, RECALLED, BOUGHT, SCANNED, CARRIED, VERDICT, PACKED)


def kinds(rows: list[dict[str, Any]]) -> list[str]:
    return [row["kind"] for row in order_by_cause(merge_places(rows))]


def test_e2_a_purchase_that_reached_the_server_last_is_told_before_the_scan_of_its_bag() -> None:
    assert kinds(list(ALL)) == [
        "task.assigned", "task.recalled", "piece.bought", "piece.scanned_in", "verdict.purchase", "parcel.packed"
    ]  # fmt: skip


def test_e2_what_an_author_could_not_know_is_said_and_what_he_knew_is_not() -> None:
    told = order_by_cause(merge_places([ASSIGNED, RECALLED, BOUGHT]))
    assert _unseen(told[2], told[:2]) == ["task.recalled"]
    knowing = said("piece.bought", 7, writer=101, seq=1, basis={"0": 2})
    told = order_by_cause(merge_places([ASSIGNED, RECALLED, knowing]))
    assert _unseen(told[2], told[:2]) == []


def test_a_fact_carried_into_another_document_is_told_once_by_its_author() -> None:
    told = merge_places([CARRIED, BOUGHT])
    assert [(row["writer"], len(row["places"])) for row in told] == [(101, 2)]


def test_ids_count_within_a_document_so_equal_ids_are_two_facts() -> None:
    other = said("piece.bought", 9, document="route/2", writer=101, seq=1, subjects=("task:T2", "piece:2"))
    assert other["id"] == BOUGHT["id"]
    assert len(merge_places([BOUGHT, other])) == 2


@given(some.permutations(range(len(ALL))))
def test_the_story_does_not_depend_on_the_order_rows_come_in(order: list[int]) -> None:
    assert kinds([ALL[i] for i in order]) == kinds(list(ALL))
