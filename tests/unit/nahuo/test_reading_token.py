"""A reading token names its documents and its time, and is nobody's but this server's."""

from __future__ import annotations

from pathlib import Path

import pytest

from nahuo.cli import main
from nahuo.reading_token import make_reading_token
from server.installation import KEY, secret_of
from server.tokens import read_token
from sync_core.errors import RefusedError
from sync_core.identity import open_signer


def test_a_reading_token_reads_its_documents_until_its_time(tmp_path: Path) -> None:
    signer = open_signer(tmp_path / KEY)
    token = make_reading_token(tmp_path, ["route/a", "market/b/1"], hours=2, now_ms=1_000)
    bearer = read_token(secret_of(signer), token, now_ms=1_000 + 2 * 3_600_000)
    assert bearer is not None
    assert bearer.documents == frozenset({"route/a", "market/b/1"})
    assert bearer.device == -1
    assert read_token(secret_of(signer), token, now_ms=1_001 + 2 * 3_600_000) is None


def test_another_servers_token_is_nothing(tmp_path: Path) -> None:
    open_signer(tmp_path / KEY)
    other = tmp_path / "other"
    other.mkdir()
    token = make_reading_token(tmp_path, ["route/a"], hours=2, now_ms=1_000)
    assert read_token(secret_of(open_signer(other / KEY)), token, now_ms=1_000) is None


@pytest.mark.parametrize("hours", [0, -1, 24 * 366 + 1])
def test_the_time_has_a_limit(tmp_path: Path, hours: int) -> None:
    open_signer(tmp_path / KEY)
    with pytest.raises(RefusedError, match="hours"):
        make_reading_token(tmp_path, ["route/a"], hours=hours, now_ms=0)


def test_a_folder_without_a_key_gets_none(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="no server's key"):
        make_reading_token(tmp_path, ["route/a"], hours=1, now_ms=0)
    assert not (tmp_path / KEY).exists()


@pytest.mark.parametrize(
    "documents", [[], [""], [f"route/{n:0190d}" for n in range(40)]], ids=["none", "no name", "too many"]
)
def test_it_names_some_documents_and_fits_its_frame(tmp_path: Path, documents: list[str]) -> None:
    open_signer(tmp_path / KEY)
    with pytest.raises(RefusedError, match="document"):
        make_reading_token(tmp_path, documents, hours=1, now_ms=0)


def test_the_command_takes_documents_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signer = open_signer(tmp_path / KEY)
    line = ["token", "--data", str(tmp_path), "--document", "route/a", "--document", "market/国大/1", "--read-only"]
    assert main(line) == 0
    bearer = read_token(secret_of(signer), capsys.readouterr().out.strip(), now_ms=0)
    assert bearer is not None
    assert bearer.documents == frozenset({"route/a", "market/国大/1"})
    assert main(["token", "--data", str(tmp_path), "--read-only"]) == 1
