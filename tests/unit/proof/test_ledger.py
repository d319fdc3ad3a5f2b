"""The proof of the ledger finds a blind spot of the recount."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from proof import ledger
from proof.report import Size
from server import ledger as journal


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    assert ledger._write_and_recount(tmp_path / "a.db", Random(3), 40) == ()
    assert ledger.flip_bits(tmp_path / "a.db", Random(3), 120) == []


def test_a_column_outside_the_hash_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chained = tuple(name for name in journal._CHAINED if name != "zh")
    monkeypatch.setattr(journal, "_CHAINED", chained)
    ledger._write_and_recount(tmp_path / "a.db", Random(3), 40)
    missed = ledger.flip_bits(tmp_path / "a.db", Random(3), 200)
    assert missed
    assert {what.split(" ")[0] for what in missed} == {"entry.zh"}


def test_a_fault_fails_the_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "ENTRIES", {Size.SHORT: 100})
    monkeypatch.setattr(ledger, "FLIPS", {Size.SHORT: 20})
    assert ledger.prove(Size.SHORT, tmp_path).holds
    monkeypatch.setattr(ledger, "flip_bits", lambda path, random, flips: ["entry.id of row 1"])
    (tmp_path / "again").mkdir()
    part = ledger.prove(Size.SHORT, tmp_path / "again")
    assert not part.holds
    assert part.faults == ["not noticed: entry.id of row 1 (seed 1)"]
