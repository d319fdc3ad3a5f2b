"""Benches: a field client and a warehouse client on real replicas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.clients.market import DEVICE, ROUTE, TERMINAL, TRIP, WALL, Bench, assigned, open_bench, opened


@pytest.fixture
def field(tmp_path: Path) -> Iterator[Bench]:
    """A picker's phone with three orders, one of two pieces, one of three copies; signed in."""
    bench = open_bench(tmp_path / "field", client="field")
    bench.say(ROUTE, opened(**{f"n{DEVICE}": "picker"}))
    bench.say(TRIP, opened(**{f"n{DEVICE}": "runner"}))
    bench.say(ROUTE, assigned(1))
    two = {"order_pieces": 2, "cell": "A03", "terminal": TERMINAL}
    bench.say(
        ROUTE, assigned(2, 1, **two), assigned(2, 2, **two, line="O2-L2", style="P77", stall="210", colour="红色")
    )
    for copy in (1, 2, 3):
        bench.say(
            ROUTE, assigned(3, copy, copies=3, order_pieces=3, stall="101", style="K9", quote_fen=4800, cap_fen=5000)
        )
    bench.sign_in()
    yield bench
    bench.node.close()


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Bench]:
    """A warehouse terminal that knows the same orders; signed in."""
    bench = open_bench(tmp_path / "warehouse", client="warehouse")
    bench.say(WALL, opened(**{f"n{TERMINAL}": "warehouse"}))
    bench.sign_in()
    yield bench
    bench.node.close()
