"""The bench runs: little of each measurement, with a real server and real devices. Its figures are not judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_figure_of_the_wire_can_be_measured(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    done = subprocess.run(
        [sys.executable, "-m", "nahuo", "bench", "--quick", "--json", str(out)],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    figures = {figure["name"]: figure for figure in json.loads(out.read_text())["figures"]}
    for name in (
        "200 envelopes, durable and acknowledged",
        "200 envelopes, in a late third device's log",
        "bytes up per envelope",
    ):
        assert figures[name]["value"] > 0
        assert name in done.stdout
    assert figures["bytes up per envelope"]["value"] > 300
    assert all(figure["budget"] is None for figure in figures.values()), "budgets hold for the full size only"
