"""Bytes that were signed once fold for ever: a day written in version 1, kept as it was, with what came of it.

Never make the file anew for a new version: add another one. If this test fails, today's program has lost the meaning of yesterday's facts.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from sync_core import gate
from sync_core.facts import admission_of, place, read_admissions, whole_basis
from sync_core.fold import fold_subject, judge
from sync_core.gate import Run
from sync_core.identity import Verifier
from trade.projections import MARKET_DAY

GOLDEN = Path(__file__).parents[2] / "golden" / "schema-1.json"


def test_a_day_of_version_1_is_read_verified_and_folded_to_what_it_was() -> None:
    kept = json.loads(GOLDEN.read_text("utf-8"))
    checks = {int(number): Verifier(bytes.fromhex(key)) for number, key in kept["keys"].items()}
    by_document: dict[str, dict[int, list[bytes]]] = defaultdict(lambda: defaultdict(list))
    for document, device, _, stored in kept["envelopes"]:
        by_document[document][device].append(bytes.fromhex(stored))
    words: dict[str, Any] = {}
    kinds = set()
    for document, writers in by_document.items():
        envelopes = []
        for device, stored in writers.items():
            run = Run(device=device, first_seq=1, stored=tuple(stored))
            good, refusal = gate.read_run(run, gate.empty_head(document), check=checks[device])
            assert refusal is None
            envelopes += [one.envelope for one in good]
        assert {envelope.schema for envelope in envelopes} == {1}
        told = [
            f
            for e in envelopes
            for f in place(e, document=document, basis={}, admission=admission_of(e.device, {}))
            if e.device == 0
        ]
        admissions = read_admissions(told)
        subjects: dict[str, list[Any]] = defaultdict(list)
        basis: dict[int, Any] = {}
        for envelope in envelopes:
            basis[envelope.device] = whole_basis(basis.get(envelope.device, {}), envelope)
            admission = admission_of(envelope.device, admissions)
            for fact in place(envelope, document=document, basis=basis[envelope.device], admission=admission):
                assert judge(MARKET_DAY, fact) is None, (document, fact)
                kinds.add(fact.kind)
                for subject in fact.subjects:
                    subjects[subject].append(fact)
        for subject, facts in subjects.items():
            words[f"{document} {subject}"] = fold_subject(MARKET_DAY, subject, facts)
    assert len(kinds) >= 25
    for name, expected in kept["words"].items():
        assert {word: words[name][word] for word in expected} == expected, name
