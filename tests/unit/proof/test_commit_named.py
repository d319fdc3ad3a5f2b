"""A proof names the commit it ran on, and says when that was not all that ran."""

from __future__ import annotations

import subprocess
from pathlib import Path

from proof.report import commit


def test_what_proofs_write_makes_no_commit_dirty_and_anything_else_does(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=n", "-c", "user.email=n@example.org")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    for name in ("docs/proof.md", "proof/results/kills.json", "server/app.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("once")
    assert commit(tmp_path) == "unknown"
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "once")
    clean = commit(tmp_path)
    assert len(clean) == 12
    (tmp_path / "docs/proof.md").write_text("twice")
    (tmp_path / "proof/results/kills.json").write_text("twice")
    assert commit(tmp_path) == clean
    (tmp_path / "server/app.py").write_text("twice")
    assert commit(tmp_path) == f"{clean}-dirty"
