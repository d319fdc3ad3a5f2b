"""The fold: facts of one subject in, one state out, whatever the order of arrival. Pure.

The problem: replicas receive the same facts in different orders and with wrong clocks, and must show the same rows.
The method: forget arrival and clocks. Facts are ordered by what their authors knew (basis): A stands before B when B's author had
folded A. Where neither knew of the other, meaning decides: the trade's rank (the further step of the custody path is folded later),
then the fact's id. An order by "knew, else rank, else id" taken pairwise would not be transitive, so the facts are sorted
topologically: of all facts with nothing before them left, the one of the lowest (rank, id) comes next. Hostile bases that claim to
know the future can form circles; then the lowest (rank, id) of those left goes first, which is again the same on every node.

Facts that count for nothing are dropped by pure rules first: copies (one per id and words, the id being that of the first time it was said)
and voids (the trade says so from kind, role and body). Kinds a newer schema brings are kept in the log and wait for the upgrade.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from heapq import heappop, heappush
from operator import attrgetter
from typing import Any, Final, Protocol

from sync_core.facts import ENGINE_KINDS, PlacedFact, is_server

State = dict[str, Any]
_Weight = tuple[int, tuple[int, ...], int, int, int]
_SPOKEN: Final = attrgetter("seq", "index")
"""The order in which one author said his facts."""


class Trade(Protocol):
    """What the engine asks of the trade whose facts it carries; every function pure and total."""

    schema: int

    def judge_void(self, fact: PlacedFact) -> str | None:
        """Return why the author may not say this (a stable code), or None."""
        ...

    def rank(self, fact: PlacedFact) -> int:
        """Return how far along a fact lies; among concurrent facts the higher is folded later."""
        ...

    def fold(self, subject: str, facts: Sequence[PlacedFact]) -> State:
        """Return the state of a subject from its facts in folded order."""
        ...


def judge(trade: Trade, fact: PlacedFact) -> str | None:
    """Return why this fact is void, None when it counts, or "schema.newer" when its kind must wait for an upgrade."""
    if fact.kind in ENGINE_KINDS:
        return None if is_server(fact.writer) else "void.role"
    return trade.judge_void(fact)


def order_facts(trade: Trade, facts: Iterable[PlacedFact]) -> list[PlacedFact]:
    """Return the facts in folded order, of copies the one placed first by writer, seq and index.

    Copies have the same id, kind and subjects. The id alone would not do: a device counts per document, so facts that were
    carried here from two of its documents may bear one number.
    """
    unique: dict[tuple[str, str, tuple[str, ...]], PlacedFact] = {}
    for fact in facts:
        key = (fact.id, fact.kind, fact.subjects)
        kept = unique.get(key)
        if kept is None or (fact.writer, fact.seq, fact.index) < (kept.writer, kept.seq, kept.index):
            unique[key] = fact
    left = list(unique.values())
    if len(left) < 2:
        return left
    if len({fact.writer for fact in left}) == 1:
        return sorted(left, key=_SPOKEN)
    if len(left) == 2:
        first, second = left
        if first.knew(second) == second.knew(first):
            return sorted(left, key=partial(_weight, trade))
        return [second, first] if first.knew(second) else [first, second]
    return _sort_topologically(trade, left)


def fold_subject(trade: Trade, subject: str, facts: Iterable[PlacedFact]) -> State:
    """Return the state of `subject` from all facts about it that a document holds, in any order."""
    counting = [fact for fact in facts if judge(trade, fact) is None]
    return trade.fold(subject, order_facts(trade, counting))


def _sort_topologically(trade: Trade, facts: list[PlacedFact]) -> list[PlacedFact]:
    """Merge the writers' facts, each in his own order: next is the lowest (rank, id) of those whose authors knew of none that is left.

    A writer knew his own facts before, so only the first left of each can be next. One that waits is looked at again when the writer
    it waits for has moved: the work grows with the facts and the writers, not with the square of the facts (P29).
    """
    queues: dict[int, list[PlacedFact]] = {}
    for fact in facts:
        queues.setdefault(fact.writer, []).append(fact)
    for queue in queues.values():
        queue.sort(key=_SPOKEN)
    place = dict.fromkeys(queues, 0)

    def waits_for(fact: PlacedFact) -> int | None:
        for writer, known in fact.basis.items():
            queue = queues.get(writer)
            if (
                queue is not None
                and writer != fact.writer
                and place[writer] < len(queue)
                and queue[place[writer]].seq <= known
            ):
                return writer
        return None

    key_of = partial(_weight, trade)
    ready: list[tuple[_Weight, PlacedFact]] = []
    blocked: dict[int, list[PlacedFact]] = {}
    look = [queue[0] for queue in queues.values()]
    ordered: list[PlacedFact] = []
    while len(ordered) < len(facts):
        free: list[PlacedFact] = []
        for fact in look:
            writer = waits_for(fact)
            if writer is None:
                free.append(fact)
            else:
                blocked.setdefault(writer, []).append(fact)
        if not (ready or free):
            # A circle of hostile bases: cut it at its lowest fact, the same one everywhere.
            lowest = min((fact for waiting in blocked.values() for fact in waiting), key=key_of)
            for waiting in blocked.values():
                if lowest in waiting:
                    waiting.remove(lowest)
            free.append(lowest)
        if len(free) == 1 and not ready:
            fact = free[0]  # nothing to weigh, as nearly always: each author knew what was there
        else:
            for fact in free:
                heappush(ready, (key_of(fact), fact))
            _, fact = heappop(ready)
        ordered.append(fact)
        place[fact.writer] += 1
        look = blocked.pop(fact.writer, [])
        queue = queues[fact.writer]
        if place[fact.writer] < len(queue):
            look.append(queue[place[fact.writer]])
    return ordered


def _weight(trade: Trade, fact: PlacedFact) -> _Weight:
    """Rank and id decide; the place only parts facts of one author's two documents that bear the same number."""
    return trade.rank(fact), _id_key(fact.id), fact.writer, fact.seq, fact.index


def _id_key(fact_id: str) -> tuple[int, ...]:
    return tuple(int(part) for part in fact_id.split("."))
