"""What is refused is kept within bounds: the first of each code, then a count, in few commits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from server import schema as s
from server.quarantine import DAY_MS, MORE
from server.store import Store, open_store
from server.writer import Writer
from sync_core import limits
from sync_core.hub import Refused


class Idle:
    """An authority with nothing to do."""

    def run_batch(self, now_ms: int, *, go_on: Callable[[], bool]) -> bool:
        return False


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "nahuo.db", synchronous="OFF")
    yield store
    store.close()


def refused(n: int, *, code: str = "gate.shape", sender: int = 101, at_ms: int = DAY_MS, size: int = 20) -> Refused:
    return Refused(
        document="route/x", device=sender, seq=0, code=code, detail="not ours", stored=b"%d " % n + b"x" * size, sent_by=sender,
        received_ms=at_ms,
    )  # fmt: skip


def rows(store: Store) -> list[Any]:
    with store.reading() as conn:
        return list(conn.execute(select(s.quarantine).order_by(s.quarantine.c.id)))


def keep(store: Store, *many: Refused) -> None:
    with store.transaction() as conn:
        for one in many:
            store.quarantine(one)
        store.quarantined.tell(conn)


def test_the_first_of_each_sender_and_code_are_kept_and_the_rest_is_counted(store: Store) -> None:
    keep(store, *(refused(n) for n in range(1_000)), refused(1, code="wire.type"), refused(1, sender=102))
    found = rows(store)
    assert len(found) == limits.QUARANTINE_ROWS_MAX + 2
    assert found[limits.QUARANTINE_ROWS_MAX - 1].detail == f"not ours{MORE}{1_000 - limits.QUARANTINE_ROWS_MAX:,}"
    assert [row.detail for row in found[:3]] == ["not ours"] * 3


def test_a_new_day_has_room_again(store: Store) -> None:
    keep(store, *(refused(n) for n in range(50)))
    keep(store, *(refused(n, at_ms=2 * DAY_MS) for n in range(100, 150)))
    assert len(rows(store)) == 2 * limits.QUARANTINE_ROWS_MAX


def test_after_a_restart_the_count_goes_on(store: Store, tmp_path: Path) -> None:
    keep(store, *(refused(n) for n in range(30)))
    again = open_store(tmp_path / "nahuo.db", synchronous="OFF")
    keep(again, *(refused(n) for n in range(30, 40)))
    assert len(rows(again)) == limits.QUARANTINE_ROWS_MAX
    assert rows(again)[-1].detail == f"not ours{MORE}{40 - limits.QUARANTINE_ROWS_MAX}"
    again.close()


def test_the_same_bytes_are_kept_once_and_large_ones_in_part(store: Store) -> None:
    keep(store, refused(1), refused(1), refused(2, size=200_000))
    found = rows(store)
    assert [len(row.stored) for row in found] == [22, limits.QUARANTINE_BYTES_MAX]


def test_rel_i9_tries_that_were_rolled_back_take_no_room(store: Store) -> None:
    """On a full disk a forked device comes again every few seconds: once there is room, what it says is kept, and what it says besides is
    counted at its own row."""
    for _ in range(2 * limits.QUARANTINE_ROWS_MAX):
        with pytest.raises(OSError, match="full"), store.transaction():
            store.quarantine(refused(1, code="gate.fork"))
            raise OSError("the disk is full")
    keep(store, refused(7, code="wire.flood", sender=102))
    keep(store, *(refused(n, code="gate.fork") for n in range(1, 2 + limits.QUARANTINE_ROWS_MAX)))
    assert [(row.sent_by, row.detail) for row in rows(store)] == [
        (102, "not ours"),
        *[(101, "not ours")] * (limits.QUARANTINE_ROWS_MAX - 1),
        (101, f"not ours{MORE}1"),
    ]


async def test_a_flood_of_refusals_costs_few_commits_and_bounded_memory(store: Store) -> None:
    writer = Writer(store, Idle(), now_ms=lambda: DAY_MS, on_commit=lambda document, heads: None)
    flood = 5_000
    for n in range(flood):
        writer.refuse(refused(n, size=60_000))
    assert len(writer._refused) == limits.QUARANTINE_WAITING_MAX
    assert all(len(one.stored) <= limits.QUARANTINE_BYTES_MAX for one in writer._refused)
    commits = 0
    transaction = store.transaction

    def counting() -> Any:
        nonlocal commits
        commits += 1
        return transaction()

    store.transaction = counting  # type: ignore[method-assign]
    writer.start(asyncio.get_running_loop())
    await asyncio.to_thread(writer.stop)
    assert commits <= 2
    found = rows(store)
    assert len(found) == limits.QUARANTINE_ROWS_MAX
    assert found[-1].detail.endswith(f"{MORE}{flood - limits.QUARANTINE_ROWS_MAX:,}")
