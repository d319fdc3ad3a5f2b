"""The documentation tells the truth: rule ids, error codes, commands and links stand where they should."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from nahuo.cli import build_parser
from printer.errors import PrinterReason

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("sync_core", "trade", "printer", "clients", "server", "nahuo", "bench", "proof")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])

CODE = re.compile(r"^[a-z][a-z_]*(\.[a-z][a-z0-9_]*)+$")
RULE = re.compile(r"(?<![A-Za-z0-9_-])([REDI])(\d{1,2})(?:-\1?(\d{1,2}))?(?![A-Za-z0-9])")
RULES_MAX = {"R": 85, "E": 40, "D": 23, "I": 15}
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
# Whose words these are, and machines they stood on, is nobody's business who reads the project.
FORBIDDEN = re.compile(r"/work/|/root/|/home/[a-z]+/|/opt/(?:wheels|pypi)|\bissue #?\d|(?i:\bas an ai\b|\bllm\b)")


@cache
def sources() -> tuple[tuple[Path, str], ...]:
    """Every Python file of the packages, with its text."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return tuple((path, path.read_text("utf-8")) for path in paths)


def error_codes() -> dict[str, str]:
    """Return {code: where} of every stable code: of error classes, raised refusals, and closed sets of reasons."""
    found = {reason.code: "printer/errors.py" for reason in PrinterReason}
    for path, text in sources():
        where = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(text)):
            for code in codes_of(node):
                found.setdefault(code, where)
    return found


def codes_of(node: ast.AST) -> Iterator[str]:
    """Yield the codes one node of a syntax tree names."""
    match node:
        case ast.ClassDef(name=name, body=body) if name.endswith("Error"):
            for line in body:
                match line:
                    case ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str(code))):
                        yield code
                    case _:
                        pass
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=args, keywords=keywords):
            if re.search(r"(?i)error$|violation$|refusal$|refuse[ds]?$|problem$|^_?no$", name):
                for value in [*args, *(word.value for word in keywords if word.arg == "code")]:
                    match value:
                        case ast.Constant(value=str(code)) if CODE.match(code):
                            yield code
                        case _:
                            pass
        case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Tuple(elts=choices)):
            values = [str(choice.value) for choice in choices if isinstance(choice, ast.Constant)]
            if all("." in value and CODE.match(value) for value in values):
                yield from values
        case _:
            pass


def commands() -> list[str]:
    """Return the names of all commands."""
    for action in build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return sorted(action.choices)
    raise AssertionError("the parser has no commands")


def rule_ids(text: str) -> set[str]:
    """Return the rule ids a text cites; `R34-R37` cites all four."""
    found = set()
    for match in RULE.finditer(text):
        letter, first = match[1], int(match[2])
        last = int(match[3] or first)
        found |= {f"{letter}{number}" for number in range(first, last + 1)} if first <= last else {f"{letter}{first}"}
    return found


def documented_rules() -> set[str]:
    """Return the ids that have a row or heading of their own in docs/rules.md."""
    return rule_ids((ROOT / "docs/rules.md").read_text("utf-8"))


def test_the_patterns_find_what_they_look_for() -> None:
    assert rule_ids("Rules R34-R37, D9; test_r80 and REL-R6 and GR12 are not") == {"R34", "R35", "R36", "R37", "D9"}
    tree = ast.parse(
        'raise RefusedError("a.b", "x")\nreturn_ = Refusal(code="gate.x", seq=1)\nL = Literal["c.d", "c.e"]'
    )
    assert {code for node in ast.walk(tree) for code in codes_of(node)} == {"a.b", "gate.x", "c.d", "c.e"}
    assert FORBIDDEN.search("see /work/x")
    assert not FORBIDDEN.search("a session of work")


def test_every_rule_that_code_and_tests_cite_stands_in_the_rules() -> None:
    known = documented_rules()
    texts = [*sources(), *((path, path.read_text("utf-8")) for path in sorted((ROOT / "tests").rglob("*.py")))]
    unknown = {
        rule: str(path.relative_to(ROOT))
        for path, text in texts
        if path != Path(__file__)
        for rule in rule_ids(text) | {name.upper() for name in re.findall(r"def test_([redi]\d{1,2})_", text)}
        if rule not in known and int(rule[1:]) <= RULES_MAX[rule[0]]
    }
    assert unknown == {}


def test_every_test_and_file_a_page_names_exists() -> None:
    tests = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "tests").rglob("*.py")))
    defined = set(re.findall(r"def (test_\w+)", tests))
    pages = [page for page in PAGES if page.parent.name == "docs"]
    text = "\n".join(page.read_text("utf-8") for page in pages)
    assert sorted(set(re.findall(r"`(test_\w+)`", text)) - defined) == []
    named = set(re.findall(r"`((?:sync_core|trade|printer|clients|server|nahuo|bench|tests|examples)/[\w./*]+)`", text))
    assert len(named) > 5
    assert sorted(name for name in named if not any(ROOT.glob(name.rstrip("/")))) == []


def test_every_promise_and_pitfall_names_what_shows_it() -> None:
    from proof.main import PARTS

    rows = {}
    for line in (ROOT / "docs/reliability.md").read_text("utf-8").splitlines():
        if found := re.match(r"\| ((?:REL-[RIG]|P)\d+) \|.*\| ([^|]+) \|$", line):
            rows[found[1]] = found[2]
    wanted = [f"REL-R{n}" for n in range(1, 16)] + [f"REL-I{n}" for n in range(1, 14)] + [f"P{n}" for n in range(1, 33)]
    assert [name for name in wanted if name not in rows] == []
    gaps = (ROOT / "docs/known-gaps.md").read_text("utf-8")
    for name, shown in rows.items():
        parts = re.findall(r"proofs? ((?:`[a-z_]+`(?:, )?)+)", shown)
        named = {part for group in parts for part in re.findall(r"`([a-z_]+)`", group)}
        assert named <= set(PARTS), (name, named - set(PARTS))
        assert "`test_" in shown or named or ("known gap" in shown and f"{name}:" in gaps), name


def test_every_error_code_stands_in_the_errors() -> None:
    page = (ROOT / "docs/errors.md").read_text("utf-8")
    assert {code: where for code, where in error_codes().items() if f"`{code}`" not in page} == {}


def test_every_discrepancy_and_void_is_explained() -> None:
    page = (ROOT / "docs/errors.md").read_text("utf-8")
    found: dict[str, str] = {}
    for path, text in sources():
        where = str(path.relative_to(ROOT))
        found |= dict.fromkeys(re.findall(r'"(void\.[a-z_]+)"', text), where)
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Call(func=ast.Attribute(attr="discrepancy"), args=[ast.Constant(value=str(code)), *_]):
                    found[code] = where
                case _:
                    pass
    assert {code: where for code, where in found.items() if f"`{code}`" not in page} == {}


def test_every_documented_error_code_exists() -> None:
    page = (ROOT / "docs/errors.md").read_text("utf-8")
    told = {
        code
        for line in page.splitlines()
        if line.startswith("| `")
        for code in re.findall(r"`([^`]+)`", line.split("|")[1])
    }
    everything = "\n".join(text for _, text in sources())
    built = ("printer.", "product_code.")  # made of a prefix and a closed set of words
    missing = {
        code for code in told if (code.rpartition(".")[2] if code.startswith(built) else f'"{code}"') not in everything
    }
    assert missing == set()


def test_every_command_is_explained() -> None:
    text = "\n".join((ROOT / name).read_text("utf-8") for name in ("README.md", "docs/operations.md"))
    assert [name for name in commands() if f"nahuo {name}" not in text] == []


def test_every_address_of_the_api_is_in_the_protocol() -> None:
    page = (ROOT / "docs/protocol.md").read_text("utf-8")
    found: dict[str, str] = {}
    for path in sorted((ROOT / "server/api").glob("*.py")):
        text = path.read_text("utf-8")
        prefix = "".join(re.findall(r'APIRouter\(prefix="([^"]*)"', text))
        found |= {prefix + route: path.name for route in re.findall(r'@router\.\w+\("([^"]*)"', text)}
    assert found
    assert {
        route: where for route, where in found.items() if f"{route}`" not in page and f" {route}`" not in page
    } == {}


def test_every_setting_is_explained() -> None:
    from server.commands import DeviceAllowance, DeviceCells, FeesSet, PlatformSet, ShopSet

    page = (ROOT / "docs/operations.md").read_text("utf-8")
    names = {
        name
        for command in (FeesSet, PlatformSet, ShopSet, DeviceAllowance, DeviceCells)
        for name in command.model_fields
    }
    assert sorted(name for name in names - {"shop", "merchant", "device"} if f"`{name}`" not in page) == []


def test_every_word_of_the_state_bar_is_explained() -> None:
    from clients.runtime.texts import TEXTS

    page = (ROOT / "docs/operations.md").read_text("utf-8")
    words = [zh for name, (zh, _) in TEXTS.items() if name.startswith("link.")]
    assert len(words) >= 6
    assert [word for word in words if word not in page] == []


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    told = {
        name
        for page in PAGES
        for name in re.findall(r"`make ([a-z]+)|^make ([a-z]+)", page.read_text("utf-8"), re.MULTILINE)
    }
    assert {a or b for a, b in told} <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    broken = []
    for target in LINK.findall(page.read_text("utf-8")):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name) if name else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            broken.append(target)
    assert broken == []


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ +(.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_no_machine(page: Path) -> None:
    assert FORBIDDEN.findall(page.read_text("utf-8")) == []


def test_sources_name_no_machine() -> None:
    named = {str(path.relative_to(ROOT)): FORBIDDEN.findall(text) for path, text in sources()}
    assert {path: hits for path, hits in named.items() if hits} == {}


def test_every_direct_dependency_has_its_line() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    page = (ROOT / "docs/dependencies.md").read_text("utf-8")
    names = {re.split(r"[\[=<>~ ]", name)[0] for name in wanted}
    assert sorted(name for name in names if name not in page) == []
