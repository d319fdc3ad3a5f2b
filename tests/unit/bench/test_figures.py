"""Figures: beside a budget they say met or missed, whichever way round the budget is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.figures import Figure, line, percentile
from bench.main import write_figures
from bench.sample import scan
from sync_core.facts import Envelope, PlacedFact
from sync_core.payload import encode_payload
from trade.projections import MARKET_DAY


@pytest.mark.parametrize(
    ("value", "budget", "more_is_better", "met"),
    [
        (10, 10, False, True),
        (10.1, 10, False, False),
        (10, 10, True, True),
        (9.9, 10, True, False),
        (3, None, True, None),
    ],
)
def test_a_budget_is_met_at_its_edge(
    value: float, budget: float | None, more_is_better: bool, met: bool | None
) -> None:
    assert Figure(name="x", value=value, unit="s", budget=budget, more_is_better=more_is_better).met is met


def test_a_percentile_is_one_of_the_times() -> None:
    times = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert percentile(times, 0.5) == 3.0
    assert percentile(times, 0.99) == 5.0
    assert percentile([7.0], 0.5) == 7.0


def test_table_and_file_tell_what_was_missed(tmp_path: Path) -> None:
    figures = [
        Figure(name="slow", value=2, unit="s", budget=1, note="twice raw"),
        Figure(name="fast", value=9, unit="/s", budget=5, more_is_better=True),
        Figure(name="plain", value=3, unit="B"),
    ]
    slow, fast, plain = map(line, figures)
    assert "MISSED" in slow
    assert "twice raw" in slow
    assert "met" in fast
    assert "MISSED" not in plain
    write_figures(tmp_path / "deep" / "out.json", figures, load=0.5)
    written = json.loads((tmp_path / "deep" / "out.json").read_text())
    assert [figure["met"] for figure in written["figures"]] == [False, True, None]
    assert written["machine"]["cores"] >= 1


def test_what_is_measured_is_an_honest_scan_of_the_size_the_peers_were_measured_with() -> None:
    facts = [scan(device, serial) for device in (101, 102) for serial in (1, 2, 999_999)]
    assert len({fact.subjects for fact in facts}) == len(facts)
    envelope = Envelope(
        device=101, seq=1, person="cang", at_ms=1_795_000_000_000, schema=1, basis={0: 1}, facts=(facts[0],)
    )
    assert 245 <= len(encode_payload(envelope)) <= 400
    placed = PlacedFact(
        id="101.1.0", kind=facts[0].kind, subjects=facts[0].subjects, body=facts[0].body, device=101, person="cang", at_ms=1,
        role="warehouse", schema=1, writer=101, seq=1, index=0, basis={},
    )  # fmt: skip
    assert MARKET_DAY.judge_void(placed) is None
