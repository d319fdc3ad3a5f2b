"""The soak sees a leak: a slope, and files that stay open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proof import soak


def test_a_steady_leak_is_a_slope_and_noise_is_none() -> None:
    assert soak.slope_of([(float(t), 100 + t * 0.5) for t in range(100)]) == pytest.approx(0.5)
    assert abs(soak.slope_of([(float(t), 100 + t % 2) for t in range(1_000)])) < 0.001


def test_an_open_file_counts(tmp_path: Path) -> None:
    before = soak.open_files(os.getpid())
    with (tmp_path / "x").open("w"):
        assert soak.open_files(os.getpid()) == before + 1
