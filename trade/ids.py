"""Ids of the trade's subjects: how they are built, and what can be read off them.

`task:T1001-2.3` is the third attempt at piece 2 of `order:O1001`, whose parcel is `parcel:P1001`. Bodies hold the bare id.
The first attempt has no `.1`. All attempts at one piece are one *want*: the order needs one garment of them (D1, D10).
Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from sync_core.facts import subject_type


def bare_id(subject: str) -> str:
    """`task:T1-1` -> `T1-1`; a stall's id keeps its colons."""
    return subject.partition(":")[2]


def ids_of(subjects: Iterable[str], kind: str) -> list[str]:
    """Return the bare ids of all subjects of one type, in their order."""
    return [bare_id(subject) for subject in subjects if subject_type(subject) == kind]


def first_id(subjects: Iterable[str], kind: str) -> str | None:
    """Return the bare id of the first subject of a type, None when there is none."""
    return next(iter(ids_of(subjects, kind)), None)


def task_id(order: str, piece_no: int, attempt: int = 1) -> str:
    """`O1001`, 2, 3 -> `T1001-2.3`; the first attempt is `T1001-2`."""
    want = f"T{order[1:]}-{piece_no}"
    return want if attempt == 1 else f"{want}.{attempt}"


def want_of(task: str) -> str:
    """`T1001-2.3` -> `T1001-2`: what all attempts at one piece share."""
    return task.partition(".")[0]


def attempt_of(task: str) -> int:
    """`T1001-2.3` -> 3; 1 when the id says nothing."""
    _, dot, attempt = task.partition(".")
    return int(attempt) if dot and attempt.isascii() and attempt.isdigit() and len(attempt) < 9 else 1


def order_of_task(task: str) -> str | None:
    """`T1001-2.3` -> `O1001`; None for an id of another shape."""
    head, dash, _ = want_of(task).rpartition("-")
    return f"O{head[1:]}" if dash and head.startswith("T") and len(head) > 1 else None


def parcel_of_order(order: str) -> str:
    """`O1001` -> `P1001`."""
    return f"P{order[1:]}"


def fact_order(fact_id: str) -> tuple[int, ...]:
    """Return a fact id's place in numeric order of device, seq and index: `9.1.0` before `10.1.0`."""
    return tuple(int(part) if part.isascii() and part.isdigit() else 0 for part in fact_id.split("."))
