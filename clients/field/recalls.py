"""What the phone notes by itself: that it knows of a recall and had not bought (D9, D11), and which deadlines are past (D13).

A recall that arrives while a page offering the task is open is not seen: the page changes under a red band first, and only then,
or when the page has been away for ten minutes, the phone says `task.recall_seen`, after which the merchant's money goes back.

A deadline (the end of the task's business day) is an interval from receipt: server's clock at the assignment to server's clock at
the end, counted on the phone's steady clock, by the wall clock only across a reboot. A phone whose date is wrong is not late.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

from clients.field.tasks import Task, read_tasks
from clients.runtime.contact import passed_ms
from clients.runtime.node import Node
from clients.runtime.sign_in import IDLE_MS_MAX
from sync_core.errors import RefusedError
from trade import kinds
from trade.calendar import MarketCalendar, add_days, day_starts_ms

PRICES_KEPT: Final = 300
"""Usual prices a phone remembers, by stall and style: some days' work. 300 rows of 60 bytes."""

_SYSTEM: Final = "device"
"""Who says what the phone says by itself."""


def prepare(conn: sqlite3.Connection) -> None:
    """Make the table of receipts."""
    conn.execute(
        "CREATE TABLE IF NOT EXISTS task_receipt (task TEXT PRIMARY KEY, boot TEXT NOT NULL, steady_ms INTEGER NOT NULL,"
        " wall_ms INTEGER NOT NULL, remaining_ms INTEGER NOT NULL) STRICT"
    )


class Watch:
    """Looks at the tasks after each change; remembers which page shows what, in memory only."""

    def __init__(self, node: Node, calendar: MarketCalendar) -> None:
        self._node = node
        self._calendar = calendar
        self._offered_ms: dict[str, int] = {}
        self._has_said: set[tuple[int, str]] = set()
        """(number, task) of recalls seen that this device has told of: read once each."""
        node.before_forgetting.append(_forget_receipts)

    def shown(self, tasks: Iterable[Task]) -> None:
        """Note what a page shows now: a task offered for buying, or a task under the red band."""
        now_ms = self._node.clock.steady_ms()
        for task in tasks:
            if task.is_open:
                self._offered_ms[task.id] = now_ms
            else:
                self._offered_ms.pop(task.id, None)

    def look(self) -> None:
        """Say what is due, and mark what is late."""
        if self._node.replica.number is None:
            return
        tasks = read_tasks(self._node)
        self._note_receipts(tasks)
        self._mark_late(tasks)
        self._say_recalls_seen(tasks)

    def _say_recalls_seen(self, tasks: Iterable[Task]) -> None:
        now_ms = self._node.clock.steady_ms()
        by_document: dict[str, list[Task]] = {}
        for task in tasks:
            if task.state["recall"] is None or not task.mine or task.purchase() is not None or self._said_seen(task):
                continue
            offered_ms = self._offered_ms.get(task.id)
            if offered_ms is not None and now_ms - offered_ms < IDLE_MS_MAX:
                continue
            by_document.setdefault(task.document, []).append(task)
        person = self._node.sign_in.person()
        for document, seen in by_document.items():
            for start in range(0, len(seen), 50):
                facts = [kinds.RecallSeen().about(f"task:{task.id}") for task in seen[start : start + 50]]
                try:
                    self._node.act(document, facts, person=person.id if person is not None else _SYSTEM)
                except RefusedError:
                    return

    def _said_seen(self, task: Task) -> bool:
        """True when this device said so itself, under the number it has: a copy of it, or it under its old number, speaks for no other."""
        if not task.state["recall_seen"]:
            return False
        number = self._node.number
        if (number, task.id) not in self._has_said:
            said = self._node.replica.facts_about(task.document, f"task:{task.id}")
            if not any(fact.kind == kinds.RecallSeen.KIND and fact.writer == number for fact in said):
                return False
            self._has_said.add((number, task.id))
        return True

    def _note_receipts(self, tasks: Iterable[Task]) -> None:
        conn = self._node.replica.conn
        known = {row[0] for row in conn.execute("SELECT task FROM task_receipt")}
        fresh = [task for task in tasks if task.id not in known]
        if not fresh:
            return
        clock = self._node.clock
        with self._node.replica.transaction() as conn:
            for task in fresh:
                facts = self._node.replica.facts_about(task.document, f"task:{task.id}")
                given_ms = next((f.at_ms for f in facts if f.kind == kinds.TaskAssigned.KIND), clock.wall_ms())
                ends_ms = day_starts_ms(add_days(task.assigned["day"], 1), self._calendar)
                conn.execute(
                    "INSERT OR IGNORE INTO task_receipt VALUES (?, ?, ?, ?, ?)",
                    (task.id, clock.boot(), clock.steady_ms(), clock.wall_ms(), ends_ms - given_ms),
                )

    def _mark_late(self, tasks: Iterable[Task]) -> None:
        clock = self._node.clock
        waiting = {task.id for task in tasks if task.is_open}
        late = sorted(
            task
            for task, at_boot, at_steady, at_wall, remaining in self._node.replica.conn.execute(
                "SELECT task, boot, steady_ms, wall_ms, remaining_ms FROM task_receipt"
            )
            if task in waiting and passed_ms(clock, boot=at_boot, steady_ms=at_steady, wall_ms=at_wall) >= remaining
        )
        if late != self._node.replica.setting("late_tasks", []):
            with self._node.replica.transaction():
                self._node.replica.set_setting("late_tasks", late)
            self._node.version += 1


def _forget_receipts(conn: sqlite3.Connection, document: str) -> None:
    """A route leaves: so do the receipts of the tasks that no other document here speaks of, and usual prices of long ago."""
    conn.execute(
        "DELETE FROM task_receipt WHERE 'task:' || task NOT IN (SELECT subject FROM state WHERE kind = 'task' AND document <> ?)",
        (document,),
    )
    conn.execute(
        "DELETE FROM setting WHERE name LIKE 'price:%' AND rowid NOT IN"
        " (SELECT rowid FROM setting WHERE name LIKE 'price:%' ORDER BY rowid DESC LIMIT ?)",
        (PRICES_KEPT,),
    )
