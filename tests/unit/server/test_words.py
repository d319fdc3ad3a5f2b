"""Every discrepancy and notice has words in both languages, and every name in them is filled in where it is opened."""

from __future__ import annotations

import ast
import string
from pathlib import Path

import pytest

from server.authority.words import AFTER_REFUSAL, CLOSED_BECAUSE, DISCREPANCIES, NOTICES, Words

SOURCES = sorted((Path(__file__).parents[3] / "server" / "authority").glob("*.py"))
CALLS = {"discrepancy": (0, DISCREPANCIES), "notice": (1, NOTICES)}


def opened() -> list[tuple[str, str, str, frozenset[str]]]:
    """(where, table, code, names filled in) of every place that opens one; both codes of a conditional."""
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CALLS:
                code = node.args[CALLS[node.func.attr][0]]
                names = frozenset(keyword.arg for keyword in node.keywords if keyword.arg)
                codes = [
                    one.value for one in ast.walk(code) if isinstance(one, ast.Constant) and isinstance(one.value, str)
                ]
                found += [
                    (f"{path.name}:{node.lineno}", node.func.attr, one, names) for one in codes if one != "parcel"
                ]
    return found


@pytest.mark.parametrize(("where", "table", "code", "names"), opened())
def test_words_are_there_and_filled_in(where: str, table: str, code: str, names: frozenset[str]) -> None:
    for text in CALLS[table][1][code]:
        needed = {name for _, name, _, _ in string.Formatter().parse(text) if name}
        assert needed <= names, f"{where}: {code} lacks {needed - names}"


@pytest.mark.parametrize("table", [DISCREPANCIES, NOTICES, CLOSED_BECAUSE, AFTER_REFUSAL])
def test_words_stand_in_both_languages(table: dict[str, Words]) -> None:
    for zh, en in table.values():
        assert zh.strip()
        assert en.strip()
