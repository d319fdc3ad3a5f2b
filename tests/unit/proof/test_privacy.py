"""The search for buyers' data finds them in any encoding, and a server that keeps order files is found out."""

from __future__ import annotations

import base64
from pathlib import Path
from random import Random

import pytest

from proof import privacy
from proof.report import Size
from server import commands
from server.authority import authority


@pytest.mark.parametrize("canary", privacy.CANARIES)
@pytest.mark.parametrize("seed", range(12))
def test_a_canary_is_found_in_any_encoding(canary: str, seed: int) -> None:
    random = Random(seed)
    data = privacy.plant(bytearray(random.randbytes(500)), random, canary)
    assert privacy.find(bytes(data)) == [canary]


@pytest.mark.parametrize("before", range(3))
def test_a_canary_is_found_inside_base64_wherever_it_stands(before: int) -> None:
    data = base64.b64encode(b"x" * before + ",王芳,13800000000,广东省某路3号,".encode())
    assert set(privacy.find(data)) == set(privacy.CANARIES)


def test_random_bytes_hold_none() -> None:
    assert privacy.find(Random(1).randbytes(1_000_000)) == []


def test_a_server_that_keeps_the_order_file_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy, "SEEDS", {Size.SHORT: range(1, 2)})
    assert privacy.prove(Size.SHORT, tmp_path).faults == []
    monkeypatch.setattr(authority, "body_to_keep", lambda kind, body: body)
    part = privacy.prove(Size.SHORT, tmp_path)
    assert any("server/nahuo.db holds" in fault for fault in part.faults)


def test_d18_a_command_that_is_done_keeps_no_buyer() -> None:
    given = commands.AddressGiven(order="O1", name="王芳", phone="13800000000", address="某路1号")
    kept = commands.body_to_keep(given.KIND, given.model_dump_json())
    assert privacy.find(kept.encode()) == []
    assert '"order": "O1"' in kept
    assert kept.count("sha256:") == 3
    assert commands.body_to_keep("topup", '{"amount_fen":1}') == '{"amount_fen":1}'
