"""A folder that is another program's is refused before anything is put into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from clients.field.main import CLIENT as FIELD
from clients.runtime.launch import DATABASE, run_client
from clients.runtime.serve import Launch
from clients.warehouse.main import CLIENT as WAREHOUSE
from sync_core.replica import Replica
from tests.unit.clients.market import DEVICE
from trade.projections import MARKET_DAY


def test_a_client_is_not_started_in_a_servers_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Enrolled there it would write its install token over the server's, which would take itself for a restored copy."""
    (tmp_path / "server.key").write_bytes(bytes(32))
    assert run_client(FIELD, Launch(data=tmp_path, server="http://127.0.0.1:9")) == 1
    assert "[serve.folder]" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["server.key"]


@pytest.mark.parametrize(("role", "wrong"), [("picker", WAREHOUSE), ("runner", WAREHOUSE), ("warehouse", FIELD)])
def test_a_device_is_not_started_as_the_other_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], role: str, wrong: object
) -> None:
    replica = Replica.open(tmp_path / DATABASE, MARKET_DAY, synchronous="OFF")
    (tmp_path / "device.key").write_bytes(bytes(32))
    replica.enrol(number=DEVICE, server_key=bytes(32), certificate={"number": DEVICE, "role": role})
    replica.close()
    assert run_client(wrong, Launch(data=tmp_path, server="http://127.0.0.1:9")) == 1  # type: ignore[arg-type]
    assert "[serve.program]" in capsys.readouterr().err
