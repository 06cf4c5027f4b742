"""The shape of the code: layers, the purity of the core, names, lengths and docstrings.

What a linter checks line by line is left to the linters; here stands what holds for the project as a whole.
"""

import ast
import sys
from importlib import metadata
from pathlib import Path

import pytest
from importlinter.cli import lint_imports
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.project_tree import PROGRAM_FOLDERS, ROOT, project_files, python_files

SOURCE_LINES_MAX = 350
TEST_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
VAGUE_NAMES = {"util", "utils", "helper", "helpers", "common", "misc", "shared", "stuff", "tools", "lib"}

# Libraries that come with a declared one and are part of how it is used.
COMES_WITH = {
    "apispec": "flask-smorest",
    "babel": "flask-babel",
    "jinja2": "flask",
    "markupsafe": "flask",
    "webargs": "flask-smorest",
    "werkzeug": "flask",
}

SOURCES = python_files(*PROGRAM_FOLDERS)
TESTS = python_files("tests")


def name_of(path: Path) -> str:
    """A test id: the path below the project."""
    return path.relative_to(ROOT).as_posix()


def imported_packages(path: Path) -> set[str]:
    """The top-level names of everything a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_import_contract_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer imports downwards only, and every module of the platform has its layer."""
    monkeypatch.chdir(ROOT)
    assert lint_imports(no_cache=True, no_logo=True) == 0


def test_top_level_is_fixed() -> None:
    """Python lives in the five program folders and in the tests, nowhere else."""
    top = {path.relative_to(ROOT).parts[0] for path in project_files() if path.suffix == ".py"}
    assert top <= {*PROGRAM_FOLDERS, "tests", "docs"}


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [("sync", {"sync"}), ("schemas", {"schemas", "marshmallow", "msgspec"})],
    ids=["sync", "schemas"],
)
def test_core_imports_nothing_else(folder: str, allowed: set[str]) -> None:
    """The algorithm uses the standard library alone, the wire contract adds marshmallow and msgspec alone."""
    foreign = {
        f"{name_of(path)}: {name}"
        for path in python_files(folder)
        for name in imported_packages(path)
        if name not in allowed and name not in sys.stdlib_module_names
    }
    assert not foreign


def test_imports_are_declared() -> None:
    """What the programs import is a declared dependency, not one that happens to be installed."""
    requires = metadata.requires("fieldproof") or []
    declared = {canonicalize_name(Requirement(line).name) for line in requires}
    declared |= {canonicalize_name(library) for library, owner in COMES_WITH.items() if owner in declared}
    distributions = metadata.packages_distributions()
    undeclared = {
        f"{name_of(path)}: {name}"
        for path in SOURCES
        for name in imported_packages(path) - set(PROGRAM_FOLDERS) - sys.stdlib_module_names
        if not declared & {canonicalize_name(owner) for owner in distributions.get(name, [])}
    }
    assert not undeclared


def test_no_module_has_a_vague_name() -> None:
    """A module is named after what it holds."""
    vague = [name_of(path) for path in SOURCES + TESTS if VAGUE_NAMES & {path.stem, path.parent.name}]
    assert not vague


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=name_of)
def test_module_says_what_it_is_for(path: Path) -> None:
    """Every module opens with a docstring; an empty one would be a module nobody needs."""
    if path.parts[-1] == "__init__.py" and path.is_relative_to(ROOT / "tests"):
        return
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, "say in one line what this module is for"
    assert len(docstring) >= len("What it is."), docstring


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=name_of)
def test_file_and_functions_are_short(path: Path) -> None:
    """A long file hides a concept that wants its own name, and so does a long function."""
    text = path.read_text(encoding="utf-8")
    if path.parent.name == "versions":
        return  # a revision of the schema is one generated list of tables
    limit = TEST_LINES_MAX if path.is_relative_to(ROOT / "tests") else SOURCE_LINES_MAX
    assert text.count("\n") <= limit
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions}
    assert {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES_MAX} == {}


@pytest.mark.parametrize("path", [path for path in TESTS if path.name.startswith("test_")], ids=name_of)
def test_every_test_says_what_must_hold(path: Path) -> None:
    """A test opens with one line on what must hold, so that its failure can be read."""
    functions = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.FunctionDef)]
    assert [f.name for f in functions if f.name.startswith("test_") and not ast.get_docstring(f)] == []
