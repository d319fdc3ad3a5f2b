"""The whole day, small, with real processes: signal off, server killed, everything meets again, the wallet is right to the fen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FIGURES = (
    "orders", "pieces", "labels", "labels_printed_offline", "parcels", "parcels_shipped_server_down", "returns_refunded",
    "bounces", "stock_outs", "closes_unseen", "double_purchases", "kills", "processes", "codes_read_back",
)  # fmt: skip


def test_a_market_day_offline_ends_with_every_invariant_true(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    day = subprocess.run(
        [sys.executable, "-m", "nahuo", "demo", "--headless", "--orders", "80", "--seed", "3", "--json", str(out)],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, check=False,
    )  # fmt: skip
    assert day.returncode == 0, day.stdout[-3000:] + day.stderr[-3000:]
    outcome = json.loads(out.read_text())
    assert outcome["ok"] is True
    assert outcome["ledger_fen_sum"] == 0
    assert outcome["codes_read_back"] == outcome["labels"]
    assert {name: outcome[name] for name in FIGURES if not outcome[name] > 0} == {}
    assert sorted(outcome["invariants"], key=lambda name: int(name[1:])) == [f"I{n}" for n in range(1, 16)]
    for name, invariant in outcome["invariants"].items():
        assert invariant["holds"] is True or name == "I7", name
    for document, hashes in outcome["convergence_hashes"].items():
        assert len(set(hashes)) == 1, document
