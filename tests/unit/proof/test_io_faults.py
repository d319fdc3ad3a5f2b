"""The proof of failing calls finds loss where there is some: an error of a commit that nobody hears."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from proof.io_faults import Fault, syncs_beside_answers, try_fault
from proof.recording import cannot_record


@pytest.fixture(autouse=True)
def needs_strace() -> None:
    why = cannot_record()
    if why:
        pytest.skip(why)


def test_a_swallowed_error_of_a_commit_is_found_and_the_phone_as_it_is_loses_nothing(tmp_path: Path) -> None:
    # In a process of its own: each run is a fork, and the test runner has threads.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        k = pool.apply(syncs_beside_answers, ("device", tmp_path / "trace", "deaf", "before"))[0]
        fault = Fault(word="device", call="fdatasync", error="EIO", k=k, k_max=k + 3, for_ever=False)
        deaf = pool.apply(try_fault, (fault, tmp_path / "deaf", "FULL", "deaf"))
        right = pool.apply(try_fault, (fault, tmp_path / "right"))
    assert any("lost:" in found for found in deaf.faults)
    assert right.faults == []
