"""The document: the CRDT library and the log are the same set, in any order of delivery (E40)."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from sync_core import gate
from sync_core.document import Document
from tests.toy import DOCUMENT, chain, put

RUNS = tuple(chain(700 + i, DOCUMENT, [[put(n)] for n in range(12)]) for i in range(3))


@given(st.integers(0, 2**32), st.integers(1, 5))
def test_e40_any_order_and_repetition_of_updates_is_the_same_set(seed: int, cuts: int) -> None:
    rng = random.Random(seed)
    updates = [group for run in RUNS for group in gate.split_runs([run], bytes_max=600 * cuts)]
    updates += rng.choices(updates, k=4)
    rng.shuffle(updates)
    document = Document()
    for update in updates:
        document.apply(update)
    assert document.envelopes() == dict(sorted((f"{r.device}.{i}", s) for r in RUNS for i, s in enumerate(r.stored, 1)))
    assert document.vector() == {run.device: run.last_seq for run in RUNS}


def test_what_the_library_finds_missing_is_what_the_log_would_send() -> None:
    document = Document(RUNS)
    rest = [gate.Run(device=r.device, first_seq=6, stored=r.stored[5:]) for r in RUNS]
    assert document.missing({r.device: 5 for r in RUNS}) == gate.encode_update(rest)
    assert document.missing({r.device: 12 for r in RUNS}) == gate.EMPTY_UPDATE
