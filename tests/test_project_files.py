"""The files around the code: requirements, documents and settings agree with one another and with the programs."""

import os
import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import pytest
from packaging.requirements import Requirement

from server import cli
from tests.project_tree import ROOT, project_files

TEXT_BYTES_MAX = 1_000_000
COMMAND_GROUP = "fieldproof.commands"

# Patterns are written so that they do not match themselves.
REGISTRY_HOSTS = re.compile(
    r"pypi[.]org|pythonhosted[.]org|npmjs[.]|(index|find)-(url|links)\b|mirrors?[.]\w+[.]|deb[.]debian"
)
MACHINE_PATHS = re.compile(r"(?<![\w.-])/(work|farm|home|root)/[\w.]")
UNFINISHED = re.compile(r"\b(TO[D]O|FI[X]ME|X[X]X)\b|NotImplemented[E]rror")
ABOUT_ITS_MAKING = re.compile(r"\bissue #?\d|\bas an A[I]\b|\bcrew/PLA[N]\b|\bclosing not[e]\b", re.IGNORECASE)


def read(name: str) -> str:
    """A text file of the project."""
    return (ROOT / name).read_text(encoding="utf-8")


def text_files() -> dict[str, str]:
    """Every text file of the project by its path; pictures and archives are left out."""
    texts = {}
    for path in project_files():
        raw = path.read_bytes()
        if b"\0" not in raw and not path.name.endswith(".gz") and len(raw) < TEXT_BYTES_MAX:
            texts[path.relative_to(ROOT).as_posix()] = raw.decode("utf-8")
    return texts


TEXTS = text_files()


def lines_matching(pattern: re.Pattern[str]) -> list[str]:
    """Where a pattern occurs, as path:line."""
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in TEXTS.items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def pyproject() -> dict[str, Any]:
    """The project's own settings."""
    return tomllib.loads(read("pyproject.toml"))


def declared_requirements() -> dict[str, Requirement]:
    """Direct dependencies by name, run time and development."""
    settings = pyproject()
    lines = settings["project"]["dependencies"] + settings["dependency-groups"]["dev"]
    return {requirement.name.lower(): requirement for requirement in map(Requirement, lines)}


def locked_requirements() -> dict[str, tuple[Requirement, int]]:
    """Pinned packages by name, each with how many hashes it accepts."""
    blocks = re.split(r"\n(?=[a-zA-Z0-9])", re.sub(r"(?m)^#.*\n", "", read("requirements.txt")))
    locked = {}
    for block in filter(str.strip, blocks):
        requirement = Requirement(block.partition("\\")[0].strip())
        locked[requirement.name.lower()] = (requirement, block.count("--hash=sha256:"))
    return locked


def test_no_file_names_a_registry() -> None:
    """Where packages come from is a setting of the machine, never of the project."""
    assert lines_matching(REGISTRY_HOSTS) == []


def test_every_locked_package_is_pinned_and_hashed() -> None:
    """Another version or other bytes than the reviewed ones are refused."""
    locked = locked_requirements()
    assert len(locked) > len(declared_requirements())
    loose = [
        name for name, (pin, hashes) in locked.items() if not hashes or not re.fullmatch("==[^*]+", str(pin.specifier))
    ]
    assert loose == []


def test_the_lock_satisfies_the_declared_floors() -> None:
    """Every direct dependency is locked, at a version that its declaration accepts."""
    locked = locked_requirements()
    for name, requirement in declared_requirements().items():
        assert name in locked, f"{name}: run make lock"
        pinned = next(iter(locked[name][0].specifier)).version
        assert requirement.specifier.contains(pinned), f"{name} {pinned}: run make lock"


def test_every_dependency_has_its_reason() -> None:
    """The decision page has one row for each direct dependency, and no row for anything else."""
    rows = re.findall(r"(?m)^\| ([a-z][\w.-]*)(?:\[\w+\])? +\|", read("docs/decisions/0001-routine-dependencies.md"))
    assert sorted(rows) == sorted(declared_requirements())


def test_decisions_are_numbered_without_gaps() -> None:
    """Each decision has its own number, and its page opens with it."""
    pages = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [page.name[:4] for page in pages] == [f"{number:04}" for number in range(1, len(pages) + 1)]
    for number, page in enumerate(pages, 1):
        assert page.read_text(encoding="utf-8").startswith(f"# {number}. "), page.name


def test_project_speaks_of_itself() -> None:
    """No file tells of the machine it was written on or of how it came about."""
    assert lines_matching(MACHINE_PATHS) == []
    assert lines_matching(ABOUT_ITS_MAKING) == []


def test_nothing_is_left_unfinished() -> None:
    """A note to do something later belongs in the tracker, not in a file."""
    assert lines_matching(UNFINISHED) == []


def test_text_files_are_clean() -> None:
    """Text ends with a newline and has no carriage returns."""
    unclean = [name for name, text in TEXTS.items() if text and (not text.endswith("\n") or "\r" in text)]
    assert unclean == []


@pytest.mark.parametrize("name", [".ci/run", ".ci/setup"])
def test_scripts_can_be_run(name: str) -> None:
    """The scripts are executable in a checkout."""
    assert os.access(ROOT / name, os.X_OK)


def documented_commands() -> list[tuple[str, str, str]]:
    """(document, program, first argument) of every make and fieldproof command in a fenced block or in backticks."""
    found = []
    for name, text in TEXTS.items():
        if name.endswith(".md"):
            shown = re.findall(r"```(?:sh|console|bash|text)?\n(.*?)```", text, re.DOTALL) + re.findall(
                r"`([^`\n]+)`", text
            )
            lines = [line for block in shown for line in block.splitlines()]
            calls = (re.match(r"(?:\$ )?(?:\S*/)?(make|fieldproof) +([a-z][a-z-]*)", line.strip()) for line in lines)
            found += [(name, call[1], call[2]) for call in calls if call]
    return sorted(set(found))


def known_commands() -> dict[str, set[str]]:
    """What can follow `make` and `fieldproof`."""
    own = metadata.distribution("fieldproof").entry_points
    (front,) = own.select(group="console_scripts", name="fieldproof")
    assert front.value == "server.front:main"
    group = cli.main
    assert isinstance(group, click.Group)
    return {
        "make": set(re.findall(r"(?m)^([a-z][a-z-]*):", read("Makefile"))),
        "fieldproof": set(group.list_commands(click.Context(group))),
    }


def test_documented_commands_exist() -> None:
    """Whatever a document tells people to run can be run."""
    known = known_commands()
    assert [call for call in documented_commands() if call[2] not in known[call[1]]] == []


def test_commands_of_other_programs_load() -> None:
    """Every command that another program registers can be loaded and explains itself."""
    for entry in metadata.distribution("fieldproof").entry_points.select(group=COMMAND_GROUP):
        command = entry.load()
        assert isinstance(command, click.Command), entry
        assert command.help, f"{entry.name} has no help"


@pytest.mark.parametrize("target", ["demo", "test", "bench"])
def test_make_passes_arguments_on(target: str) -> None:
    """`make demo ARGS=…` and its siblings set up first and hand ARGS to the program."""
    rule = re.search(rf"(?m)^{target}: setup\b.*\n\t(.*)$", read("Makefile"))
    assert rule is not None
    assert rule[1].endswith("$(ARGS)")


def test_the_changelog_has_the_version() -> None:
    """The version in the settings is either released in the changelog or still to come."""
    headings = re.findall(r"(?m)^## \[([^]]+)\]", read("CHANGELOG.md"))
    assert headings[0] == "Unreleased"
    version = pyproject()["project"]["version"]
    assert version in headings or headings == ["Unreleased"]


def test_links_between_documents_lead_somewhere() -> None:
    """A relative link or picture in a document names a file of the project."""
    broken = []
    for name, text in TEXTS.items():
        if name.endswith(".md"):
            targets = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", text) + re.findall(r'src="([^"]+)"', text)
            local = [target for target in targets if not re.match(r"[a-z]+:", target)]
            broken += [f"{name}: {target}" for target in local if not (ROOT / Path(name).parent / target).exists()]
    assert broken == []
