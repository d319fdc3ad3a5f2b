"""The proof of failing calls finds loss where there is some: an error of a commit that nobody hears."""

from __future__ import annotations

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
    k = syncs_beside_answers("device", tmp_path / "trace", "deaf", side="before")[0]
    fault = Fault(word="device", call="fdatasync", error="EIO", k=k, for_ever=False)
    deaf = try_fault(fault, tmp_path / "deaf", "FULL", "deaf")
    assert any("lost:" in found for found in deaf.faults)
    assert try_fault(fault, tmp_path / "right").faults == []
