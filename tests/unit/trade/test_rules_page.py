"""docs/rules.md tells the truth: every rule has its place, every test and file it names exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/rules.md").read_text("utf-8")
ROWS = [line for line in PAGE.splitlines() if re.match(r"^\| [RDEI]\d+ \|", line)]
LAST = {"R": 85, "D": 23, "E": 40, "I": 15}


def test_every_rule_has_a_row_or_a_word() -> None:
    known = set(re.findall(r"\b([RDEI]\d{1,2})\b", PAGE))
    assert known >= {f"{letter}{number}" for letter, last in LAST.items() for number in range(1, last + 1)}


def test_no_rule_has_two_rows() -> None:
    ids = [line.split()[1] for line in ROWS]
    assert len(ids) == len(set(ids)) > 100


def test_every_test_the_page_names_exists() -> None:
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert {name for name in named if f"def {name}(" not in tests} == set()


def test_every_file_and_function_the_page_names_exists() -> None:
    for line in ROWS:
        cells = line.split("|")
        code = cells[3]
        paths = re.findall(r"`([\w/]+\.py)`", code)
        texts = [(ROOT / path).read_text("utf-8") for path in paths]
        for name in re.findall(r"`(\w+)`", code):
            assert any(re.search(rf"\b{name}\b", text) for text in texts), f"{cells[1]}: {name}"
