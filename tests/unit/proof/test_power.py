"""The power-cut proof finds loss where there is some: syncs left out, answers before the commit, names that were not synced."""

from __future__ import annotations

from pathlib import Path

import pytest

from proof.power import cut_many
from proof.recording import Step, cannot_record, record


@pytest.fixture(autouse=True)
def needs_strace() -> None:
    why = cannot_record()
    if why:
        pytest.skip(why)


def test_the_device_as_it_is_loses_nothing(tmp_path: Path) -> None:
    told = cut_many("device", record("proof.core_device", tmp_path, "3"), seed=1, cuts=40)
    assert told.faults == []
    assert told.cuts == 40
    assert told.rows > 0


def test_synchronous_normal_is_found_on_a_device(tmp_path: Path) -> None:
    told = cut_many("device", record("proof.core_device", tmp_path, "3", "NORMAL"), seed=1, cuts=40)
    assert any("lost: fact" in fault for fault in told.faults)


def test_an_acknowledgement_before_the_commit_is_found_on_a_server(tmp_path: Path) -> None:
    steps = record("proof.core_server", tmp_path, "3", "FULL", "early")
    told = cut_many("server", steps, seed=1, cuts=160)
    assert any("was acknowledged" in fault for fault in told.faults)


def test_a_key_whose_folder_was_not_synced_is_found(tmp_path: Path) -> None:
    steps = record("proof.core_device", tmp_path, "1")
    told = cut_many("device", [s for s in steps if s.what != "sync_names"], seed=1, cuts=20)
    assert any("lost: the device was enrolled" in fault for fault in told.faults)


def test_a_write_that_lands_in_the_wrong_place_is_found(tmp_path: Path) -> None:
    steps = record("proof.core_device", tmp_path, "2")
    broken = [
        Step(what=s.what, file=s.file, at=s.at + 4096, data=s.data) if n % 40 == 39 and s.what == "write" else s
        for n, s in enumerate(steps)
    ]
    told = cut_many("device", broken, seed=1, cuts=30)
    assert told.faults
