"""The order of a fold: what was known first, else rank, else id; the same for every order of arrival, and cheap for thousands of facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from sync_core.facts import PlacedFact, fact_id
from sync_core.fold import order_facts
from tests.toy import Jars


def placed(writer: int, seq: int, basis: dict[int, int], *, sealed: bool = False) -> PlacedFact:
    kind = "jar.sealed" if sealed else "jar.put"
    return PlacedFact(
        id=fact_id(writer, seq, 0), kind=kind, subjects=("jar:blue",), body={"n": 1}, device=writer, person="ann", at_ms=0, role="child",
        schema=1, writer=writer, seq=seq, index=0, basis=basis,
    )  # fmt: skip


def history(random: Random, *, writers: int, count: int) -> list[PlacedFact]:
    """What honest writers say who now and then hear of each other: whole bases that only grow."""
    seqs = dict.fromkeys(range(100, 100 + writers), 0)
    knows: dict[int, dict[int, int]] = {writer: {} for writer in seqs}
    facts = []
    for _ in range(count):
        writer = random.choice(list(seqs))
        if random.random() < 0.5:
            other = random.choice(list(seqs))
            heard = random.randrange(seqs[other] + 1)
            if other != writer and heard > knows[writer].get(other, 0):
                knows[writer] = {**knows[writer], other: heard}
        seqs[writer] += 1
        facts.append(placed(writer, seqs[writer], dict(knows[writer]), sealed=random.random() < 0.2))
    return facts


def order_by_definition(facts: Sequence[PlacedFact]) -> list[PlacedFact]:
    """The words of the module, taken literally: of all facts with nothing before them left, the lowest (rank, id) comes next."""
    left, ordered = list(facts), []
    while left:
        free = [fact for fact in left if not any(fact is not other and fact.knew(other) for other in left)]
        first = min(free, key=lambda fact: (Jars().rank(fact), tuple(map(int, fact.id.split(".")))))
        left.remove(first)
        ordered.append(first)
    return ordered


@pytest.mark.parametrize("seed", range(60))
def test_the_order_is_the_one_that_the_words_define(seed: int) -> None:
    random = Random(seed)
    facts = history(random, writers=random.randrange(2, 6), count=random.randrange(2, 40))
    ordered = order_facts(Jars(), random.sample(facts, len(facts)))
    assert [fact.id for fact in ordered] == [fact.id for fact in order_by_definition(facts)]


@pytest.mark.parametrize("seed", range(40))
def test_bases_that_claim_the_future_give_every_node_the_same_order(seed: int) -> None:
    random = Random(seed)
    facts = [
        placed(w, s, {o: random.randrange(1, 9) for o in (100, 101, 102) if o != w and random.random() < 0.7})
        for w in (100, 101, 102)
        for s in range(1, 7)
    ]
    orders = {tuple(fact.id for fact in order_facts(Jars(), random.sample(facts, len(facts)))) for _ in range(10)}
    assert len(orders) == 1
    (order,) = orders
    assert len(order) == len(facts)
    for writer in (100, 101, 102):
        own = [name for name in order if name.startswith(f"{writer}.")]
        assert own == [fact_id(writer, seq, 0) for seq in range(1, 7)]


@pytest.mark.parametrize("first_sealed", [False, True])
@pytest.mark.parametrize("second_sealed", [False, True])
@pytest.mark.parametrize("first_knew", [False, True])
@pytest.mark.parametrize("second_knew", [False, True])
def test_two_facts_stand_as_many_do(
    *, first_sealed: bool, second_sealed: bool, first_knew: bool, second_knew: bool
) -> None:
    """One of them alone has to wait for the other, or rank and id decide: also where each claims to have known the other."""
    first = placed(101, 1, {100: 1} if first_knew else {}, sealed=first_sealed)
    second = placed(100, 1, {101: 1} if second_knew else {}, sealed=second_sealed)
    if first_knew != second_knew:
        expected = [first, second] if second_knew else [second, first]
    else:
        expected = [first, second] if second_sealed and not first_sealed else [second, first]
    assert order_facts(Jars(), [first, second]) == order_facts(Jars(), [second, first]) == expected


class Asked(dict[int, int]):
    """A basis that counts how often anybody looks into it."""

    times = 0

    def get(self, *args: Any) -> Any:
        Asked.times += 1
        return super().get(*args)

    def items(self) -> Any:
        Asked.times += 1
        return super().items()


def test_p29_ordering_looks_at_each_fact_a_few_times_however_many_there_are() -> None:
    looked = {}
    for size in (300, 2_400):
        facts = [replace(fact, basis=Asked(fact.basis)) for fact in history(Random(size), writers=8, count=size)]
        Asked.times = 0
        order_facts(Jars(), facts)
        looked[size] = Asked.times / size
    assert looked[2_400] <= looked[300] * 1.5
