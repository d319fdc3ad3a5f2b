"""The proof of sixty days finds files that grow, and a client that forgets nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from clients.runtime.node import Node
from nahuo.sim.seams import seeded
from proof import sixty_days
from proof.report import Part


def part() -> Part:
    return Part(name="x", title="x", shows="", does_not_show="")


def test_a_file_that_grew_by_more_than_half_is_missed() -> None:
    grown, steady = part(), part()
    sixty_days.judge(grown, {"phone": [1000, 1000, 1501]})
    sixty_days.judge(steady, {"phone": [1000, 1000, 4000, 1500]})
    assert (grown.holds, steady.holds) == (False, True)
    assert "1.50 times" in grown.figures[0].value


def test_a_terminal_that_forgets_nothing_grows_from_day_to_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sixty_days, "ORDERS_A_DAY", 12)
    monkeypatch.setattr(sixty_days, "ROUNDS_A_DAY", 3)
    last = {}
    for planted in (False, True):
        if planted:
            monkeypatch.setattr(Node, "tidy", lambda _self: [])
        broken: list[str] = []
        with seeded(sixty_days.SEED):
            sizes, counts = sixty_days.live(tmp_path / str(planted), 3, broken=broken.append)
        assert broken == []
        assert counts["documents of lines that ended"] >= 3
        last[planted] = sizes["terminal-1"][-1]
    assert last[True] > last[False] * 1.3, last
