"""What a proof says: a broken promise fails the run, a page quotes every figure with its N, and a part that died is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from proof import main, report
from proof.report import Part


def part(*, holds: bool = True, faults: tuple[str, ...] = ()) -> Part:
    made = Part(name="p", title="A proof", shows="It shows.", does_not_show="The rest.", faults=list(faults))
    made.add("lost", "0" if holds else "1", "100 cuts, seeds 1 to 4", goal="0", holds=holds)
    return made


def test_a_missed_goal_or_a_fault_breaks_a_part() -> None:
    assert part().holds
    assert not part(holds=False).holds
    assert not part(faults=("seed 7",)).holds


def test_a_goal_of_speed_is_missed_and_breaks_nothing() -> None:
    slow = part()
    slow.add("p99", "900 ms", "10 answers", goal="< 500 ms", holds=False, timed=True)
    assert not slow.holds
    assert not slow.broken
    assert part(holds=False).broken


def test_a_part_reads_back(tmp_path: Path) -> None:
    where = report.machine(report.Size.SHORT)
    report.write_part(tmp_path, part(faults=("seed 7",)), where)
    assert report.read_part(tmp_path, "p") == (part(faults=("seed 7",)), where)
    assert report.read_part(tmp_path, "q") is None


def test_the_page_tells_figures_faults_and_what_is_not_shown() -> None:
    page = report.page([(part(holds=False, faults=("seed 7",)), report.machine(report.Size.SHORT))])
    assert "| lost | 1 | 100 cuts, seeds 1 to 4 | 0 | **no** |" in page
    assert "- seed 7" in page
    assert "Does not show: The rest." in page
    assert "| [A proof](#a-proof) | short | **no** |" in page


def test_the_page_is_written_of_what_is_kept_and_a_short_form_takes_no_full_ones_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "PARTS", {"p": "proof.p"})
    monkeypatch.setattr(main, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(main, "PAGE", tmp_path / "proof.md")
    full, short = report.machine(report.Size.FULL), report.machine(report.Size.SHORT)
    said = []
    for holds, where in ((False, short), (True, short), (True, full), (False, short)):
        main.write_page([(part(holds=holds), where)])
        said.append(next(line for line in (tmp_path / "proof.md").read_text().splitlines() if "[A proof]" in line))
    assert ["**no**" in line for line in said] == [True, False, False, False]
    assert ["| full |" in line for line in said] == [False, False, True, True]
    main.write_page([])
    assert said[-1] in (tmp_path / "proof.md").read_text()


def test_a_proof_that_dies_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "PARTS", {"nothing": "proof.there_is_none"})
    assert main.main(["--short", "--out", str(tmp_path), "nothing"]) == 1
    assert "the proof itself ended" in capsys.readouterr().out


def test_an_unknown_proof_is_named() -> None:
    with pytest.raises(SystemExit):
        main.main(["--short", "nothing"])
