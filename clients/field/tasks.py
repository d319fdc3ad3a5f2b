"""What the picker's list shows: today's tasks of this device, in the order of the walk, grouped by stall and line.

Reads only. A task is open while the picker can still do something about it; pieces of one line are shown and bought as one group (D1).
Search looks in memory; the phone's dictionary gives the pinyin initials. Rules R41, D1, D5, D13, E33.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from clients.runtime.node import Node
from sync_core.errors import RefusedError
from trade.ids import bare_id
from trade.search import SearchKey, find, search_key
from trade.walk import StallPlace, read_stall_id, walk_key

State = dict[str, Any]
OPEN: Final = frozenset({"wanted", "asked"})
"""Statuses of a task that still waits for a garment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One wanted piece as this device knows it."""

    id: str
    document: str
    state: State
    mine: bool
    late: bool = False

    @property
    def assigned(self) -> Mapping[str, Any]:
        """The body of its assignment."""
        assigned: Mapping[str, Any] = self.state["assigned"]
        return assigned

    @property
    def status(self) -> str:
        """wanted, asked, bought, answered, bounced, recalled or ended."""
        return str(self.state["status"])

    @property
    def place(self) -> StallPlace:
        """Where its stall stands."""
        body = self.assigned
        return StallPlace(market=body["market"], floor=body["floor"], stall=body["stall"])

    @property
    def is_open(self) -> bool:
        """True while a garment may be bought for it."""
        return self.status in OPEN and self.state["recall"] is None

    def purchase(self) -> State | None:
        """Return the living purchase that serves it, or the last living one."""
        living: list[State] = [p for p in self.state["purchases"] if not p["undone"]]
        kept = [p for p in living if p["piece"] == self.state["keeper"]]
        found = kept or living
        return found[-1] if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The tasks of one line in one status: one row of the list."""

    tasks: tuple[Task, ...]

    @property
    def first(self) -> Task:
        """The task that stands for all."""
        return self.tasks[0]

    @property
    def ids(self) -> str:
        """All ids, as a form carries them."""
        return ",".join(task.id for task in self.tasks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """One stop of the walk."""

    place: StallPlace
    name: str
    groups: tuple[Group, ...] = field(default_factory=tuple)

    @property
    def open_count(self) -> int:
        """How many pieces are still to be bought here by this device."""
        return sum(len(group.tasks) for group in self.groups if group.first.is_open and group.first.mine)


def read_tasks(node: Node, late: frozenset[str] = frozenset()) -> list[Task]:
    """Return the tasks of this device's routes that were assigned, in no order."""
    own = node.own_numbers()
    routes = set(node.documents("route"))
    return [
        Task(
            id=bare_id(subject),
            document=document,
            state=state,
            mine=state["assigned"].get("assigned_to") in own,
            late=bare_id(subject) in late,
        )
        for document, subject, state in node.replica.states("task")
        if document in routes and state["assigned"]
    ]


def find_task(node: Node, task: str, late: frozenset[str] = frozenset()) -> Task:
    """Return one task of this device's routes.

    Raises:
        RefusedError: `task.unknown`.
    """
    for document in reversed(node.documents("route")):
        state = node.replica.state(f"task:{task}", document)
        if state is not None and state["assigned"]:
            mine = state["assigned"].get("assigned_to") in node.own_numbers()
            return Task(id=task, document=document, state=state, mine=mine, late=task in late)
    raise RefusedError("task.unknown", task)


def walk(tasks: Iterable[Task], *, here: StallPlace | None, names: Mapping[str, str]) -> list[Stall]:
    """Return the stops of the walk from `here`, each with its rows; open rows first."""
    by_stall: dict[str, list[Task]] = {}
    for task in tasks:
        by_stall.setdefault(task.place.stall_id, []).append(task)
    stalls = []
    for stall_id, members in by_stall.items():
        place = members[0].place
        stalls.append(Stall(place=place, name=names.get(stall_id, ""), groups=_group(members)))
    return sorted(stalls, key=lambda stall: (stall.open_count == 0, walk_key(stall.place, here)))


def _group(tasks: Sequence[Task]) -> tuple[Group, ...]:
    rows: dict[tuple[Any, ...], list[Task]] = {}
    for task in sorted(tasks, key=lambda task: (task.assigned["copy_no"], task.id)):
        body = task.assigned
        key = (body["order_no"], body["line"], task.status, task.state["cap_fen"], task.mine, task.is_open)
        rows.setdefault(key, []).append(task)
    groups = [Group(tasks=tuple(members)) for members in rows.values()]
    return tuple(sorted(groups, key=lambda g: (not g.first.is_open, *_garment(g.first), g.first.id)))


def _garment(task: Task) -> tuple[str, str, str]:
    """Style, colour and size: what the stall is asked for in one breath stands together, whosever order it is for."""
    return task.assigned["style"], task.assigned["colour"], task.assigned["size"]


def find_tasks(query: str, tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks a query finds by characters, digits or pinyin initials, the best first."""
    return find(query, [(_key(_texts(task)), task) for task in tasks])


def _texts(task: Task) -> tuple[str, ...]:
    body = task.assigned
    names = ("market", "floor", "stall", "style", "colour", "size", "title", "order_no", "merchant_name")
    return (f"{body['floor']}{body['stall']}", *(str(body[name]) for name in names))


@lru_cache(maxsize=20_000)
def _key(texts: tuple[str, ...]) -> SearchKey:
    # The dictionary takes a third of a second to load: the first search waits for it, not every start.
    from pypinyin import Style, lazy_pinyin

    initials = ("".join(lazy_pinyin(text, style=Style.FIRST_LETTER, errors=lambda part: part)) for text in texts)
    return search_key(texts, initials)


def stall_names(node: Node) -> dict[str, str]:
    """Return {stall id: the name in the directory}."""
    return {
        subject: str(state["name"] or "")
        for document in node.documents("market")
        for _, subject, state in node.replica.states("stall", document)
        if state["listed"]
    }


def here_now(node: Node) -> StallPlace | None:
    """Return where the picker last acted (D5)."""
    stall = node.replica.setting("last_stall")
    return read_stall_id(stall) if isinstance(stall, str) else None
