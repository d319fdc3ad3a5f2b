"""Read a line of documents as one: which is open, all that was said of a subject in any of them, and in which order it goes on.

A successor holds carried copies: the server said them in folded order, so there everybody seems to have known what was said before. What
an author really knew stands where he said it himself. Rules that ask "did he know?" (D14) are given facts as they were said, placed so
that `knew` answers across documents of the line: what an author said in an older document knew nothing of a newer one, and what was said in
a newer one knew of an older fact if it knew its copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Final

from sqlalchemy import ColumnElement, Connection, bindparam, collate, select

from server import schema as s
from server.authority.log_reading import SUBJECTS_AT_ONCE, Memory, placed_fact
from server.rows import Query, read
from sync_core.facts import ENGINE_KINDS, Fact, PlacedFact, carry, subject_type
from sync_core.fold import Trade, fold_subject, order_facts
from sync_core.lines import line_of, number_in_line
from trade.living import bearing, looks_open

PLACES_APART: Final = 100_000
"""Beyond every device number: numbers the writers of each document apart."""

_STAYING: Final = frozenset({"document", "device", "stall"})
"""Subjects without a story of their own: nothing is looked up for them."""

Key = tuple[str, str, tuple[str, ...]]


def key_of(fact: PlacedFact | Fact, fact_id: str = "") -> Key:
    """Return what a fact and its copies have in common."""
    return (fact.id if isinstance(fact, PlacedFact) else fact_id, fact.kind, fact.subjects)


def _open_between(name: ColumnElement[str]) -> Query:
    return select(s.document.c.name).where(
        name >= bindparam("first_"), name < bindparam("after_"), s.document.c.closed_ms.is_(None)
    )


_OPEN_BETWEEN: Final = {
    "sqlite": _open_between(s.document.c.name),
    "postgresql": _open_between(collate(s.document.c.name, "C")),
}
"""Open documents whose names begin with `line/`: "0" is the character behind "/". So it is byte by byte only: in some languages' order
of a PostgreSQL a slash counts for nothing."""


def newest_of_line(conn: Connection, document: str) -> str:
    """Return the open document of a document's line, the highest number; the document itself while its line has none."""
    line = line_of(document)
    if line is None:
        return document
    names = read(conn, _OPEN_BETWEEN[conn.dialect.name], first_=f"{line}/", after_=f"{line}0").scalars()
    open_ones = [str(name) for name in names if line_of(name) == line]
    return max(open_ones or [document], key=number_in_line)


def parked_facts(conn: Connection, document: str, facts: Sequence[PlacedFact]) -> frozenset[str]:
    """Return the ids of those facts of a document that wait for a supervisor (E31): nobody carries them on before."""
    revoked = set(conn.execute(select(s.device.c.number).where(s.device.c.revoked_ms.is_not(None))).scalars())
    ids = [fact.id for fact in facts if fact.writer in revoked]
    if not ids:
        return frozenset()
    v = s.verdict.c
    parked: set[str] = set()
    for start in range(0, len(ids), SUBJECTS_AT_ONCE):
        chunk = ids[start : start + SUBJECTS_AT_ONCE]
        said = conn.execute(select(v.fact, v.rule).where(v.document == document, v.fact.in_(chunk))).all()
        parked |= {row.fact for row in said if row.rule == "parked"}
        parked -= {row.fact for row in said if row.rule.startswith("decide:")}
    return frozenset(parked)


def facts_in_document(conn: Connection, document: str) -> list[PlacedFact]:
    """Return the facts of a document that may go on into another: no void, no parked one, none of the engine's own."""
    f = s.fact.c
    rows = conn.execute(select(s.fact).where(f.document == document, f.void.is_(None)).order_by(f.n, f.place)).all()
    facts = [placed_fact(row) for row in rows if row.kind not in ENGINE_KINDS]
    parked = parked_facts(conn, document, facts)
    return [fact for fact in facts if fact.id not in parked]


def story_of(memory: Memory, subject: str, document: str) -> list[PlacedFact]:
    """Return all that was said of a subject in the documents before this one in its line, each fact once, in folded order."""
    line, number = line_of(document), number_in_line(document)
    by_document = memory.facts_of(subject)
    earlier = sorted(
        (name for name in by_document if line_of(name) == line and number_in_line(name) < number), key=number_in_line
    )
    story: dict[Key, PlacedFact] = {}
    for name in earlier:
        parked = parked_facts(memory.conn, name, by_document[name])
        for fact in order_facts(memory.trade, [fact for fact in by_document[name] if fact.id not in parked]):
            story.setdefault(key_of(fact), fact)
    return list(story.values())


def missing_stories(
    memory: Memory, document: str, said: Sequence[Fact], *, brought: set[tuple[str, str]]
) -> list[Fact]:
    """Return what has to be said first in a document, so that what is said of a subject left behind does not stand alone.

    `brought` remembers (document, subject) that had their story already in this step.
    """
    if number_in_line(document) == 1:
        return []
    named = {subject for fact in said for subject in fact.subjects} | {x for d, x in memory.touched if d == document}
    named = {x for x in named if subject_type(x) not in _STAYING and (document, x) not in brought}
    if not named:
        return []
    absent = named - memory.known_subjects(document, named)
    stories: dict[str, list[PlacedFact]] = {}
    news: dict[str, list[PlacedFact]] = {}
    waiting = sorted(absent)
    while waiting:
        subject = waiting.pop()
        brought.add((document, subject))
        story = story_of(memory, subject, document)
        if not story:
            continue
        stories[subject] = story
        # What the story says of others must not make one of them look like work that is open.
        for fact in story:
            for other in fact.subjects:
                if subject_type(other) not in _STAYING and (document, other) not in brought:
                    news.setdefault(other, []).append(fact)
        fresh = sorted(x for x in news if (document, x) not in brought)
        known = memory.known_subjects(document, set(fresh))
        for other in fresh:
            if (
                other not in known
                and other not in waiting
                and looks_open(other, fold_subject(memory.trade, other, news[other]))
            ):
                waiting.append(other)
    present = memory.keys_in(document, [fact.id for story in stories.values() for fact in story])
    return [carry(fact) for fact in one_order(stories) if key_of(fact) not in present]


def carried_in(trade: Trade, facts: Sequence[PlacedFact], living: Iterable[str]) -> list[PlacedFact]:
    """Return the facts a successor opens with, in an order that is every living subject's folded order.

    Facts of a living subject go on whole, whomever else they name. Another subject that would look open by them is taken along.
    """
    by_subject: dict[str, list[PlacedFact]] = {}
    for fact in facts:
        for subject in dict.fromkeys(fact.subjects):
            by_subject.setdefault(subject, []).append(fact)
    chosen: dict[str, list[PlacedFact]] = {}
    partial: dict[str, set[tuple[int, int, int]]] = {}
    waiting = sorted(x for x in living if x in by_subject)
    while waiting:
        subject = waiting.pop()
        if subject in chosen:
            continue
        chosen[subject] = bearing(subject, order_facts(trade, by_subject[subject]))
        for fact in chosen[subject]:
            for other in fact.subjects:
                if other not in chosen and subject_type(other) not in _STAYING:
                    partial.setdefault(other, set()).add((fact.writer, fact.seq, fact.index))
        if not waiting:
            for other in sorted(partial):
                if other not in chosen and looks_open(other, _seen_by(trade, other, by_subject[other], partial[other])):
                    waiting.append(other)
    return one_order(chosen)


def _seen_by(
    trade: Trade, subject: str, facts: Iterable[PlacedFact], places: set[tuple[int, int, int]]
) -> dict[str, object]:
    return fold_subject(trade, subject, [f for f in facts if (f.writer, f.seq, f.index) in places])


def one_order(sequences: Mapping[str, Sequence[PlacedFact]]) -> list[PlacedFact]:
    """Return the facts of all sequences, each once, keeping the order within every sequence.

    Two subjects may order two concurrent facts against each other; then the fact that was named first goes first, everywhere the same.
    """
    facts: dict[Key, PlacedFact] = {}
    for subject in sorted(sequences):
        for fact in sequences[subject]:
            facts.setdefault(key_of(fact), fact)
    at = {key: number for number, key in enumerate(facts)}
    after: dict[Key, set[Key]] = {key: set() for key in facts}
    before = dict.fromkeys(facts, 0)
    for sequence in sequences.values():
        for early, late in pairwise(dict.fromkeys(key_of(fact) for fact in sequence)):
            if late not in after[early]:
                after[early].add(late)
                before[late] += 1
    ready = [at[key] for key, count in before.items() if count == 0]
    heapify(ready)
    keys = list(facts)
    left = dict.fromkeys(key for key, count in before.items() if count)
    ordered: list[PlacedFact] = []
    while ready or left:
        if not ready:
            cut = next(iter(left))
            del left[cut]
            heappush(ready, at[cut])
        key = keys[heappop(ready)]
        ordered.append(facts[key])
        for late in sorted(after[key], key=lambda one: at[one]):
            before[late] -= 1
            if before[late] == 0 and late in left:
                del left[late]
                heappush(ready, at[late])
    return ordered


def own_facts_of_line(memory: Memory, subject: str, document: str) -> list[PlacedFact]:
    """Return what authors said themselves of a subject in any document of a line, placed so that `knew` answers across documents."""
    line = line_of(document)
    by_document = memory.facts_of(subject, own_only=True)
    if line is None:
        return by_document.get(document, [])
    names = sorted((name for name in by_document if line_of(name) == line), key=number_in_line)
    if len(names) == 1:
        return by_document[names[0]]
    copies = memory.facts_of(subject)
    found: list[PlacedFact] = []
    for name in names:
        here = number_in_line(name) * PLACES_APART
        standing = {fact.id: (fact.writer, fact.seq) for fact in copies[name]}
        for fact in by_document[name]:
            basis = {writer + here: seq for writer, seq in fact.basis.items()}
            for older in names[: names.index(name)]:
                there = number_in_line(older) * PLACES_APART
                for said in by_document[older]:
                    writer, seq = standing.get(said.id, (-1, 0))
                    if 0 < seq <= fact.basis.get(writer, 0):
                        basis[said.writer + there] = max(said.seq, basis.get(said.writer + there, 0))
            found.append(replace(fact, writer=fact.writer + here, basis=basis))
    return found
