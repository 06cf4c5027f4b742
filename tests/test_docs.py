"""The documentation says what the code does: tables made from the code, and nothing left out."""

import json
import re
from pathlib import Path

import pytest

from server.cli import main
from server.errors import PROBLEMS
from tests.documented import BLOCKS, OPERATIONS, PROTOCOL, bare_app, block_pattern, commands
from tests.project_tree import ROOT, project_files

DOCUMENTS = [path for path in project_files() if path.suffix == ".md" and "data" not in path.parts]
WRITE_AGAIN = "write it again with: .venv/bin/python -m tests.documented"


@pytest.mark.parametrize("name", BLOCKS)
def test_tables_are_what_the_code_makes(name: str) -> None:
    """A kind, field, limit, problem, route or command that changes has to change its table."""
    path, make = BLOCKS[name]
    found = block_pattern(name).findall(path.read_text(encoding="utf-8"))
    assert found == [f"\n{make()}\n\n"], WRITE_AGAIN


def test_every_route_is_documented() -> None:
    """Each address of the application stands in the operations manual."""
    text = OPERATIONS.read_text(encoding="utf-8")
    assert [rule.rule for rule in bare_app().url_map.iter_rules() if f"`{rule.rule}`" not in text] == []


def test_every_route_of_a_handheld_is_in_the_protocol() -> None:
    """What a device may call, it can read about in the protocol (the documentation of the API aside)."""
    text = PROTOCOL.read_text(encoding="utf-8")
    app = bare_app()
    for rule in app.url_map.iter_rules():
        roles = getattr(app.view_functions[rule.endpoint], "fieldproof_roles", ())
        if "device" in roles and not rule.rule.startswith("/api/docs"):
            fixed = rule.rule.removeprefix("/api/v1").split("<")[0].rstrip("/")
            assert fixed in text, rule.rule


def test_every_command_is_documented() -> None:
    """Each command stands in the operations manual, and has a line of help."""
    text = OPERATIONS.read_text(encoding="utf-8")
    found = dict(commands(main))
    assert [name for name in found if f"`{name}`" not in text] == []
    assert [name for name, line in found.items() if not line] == []


def test_every_setting_is_documented() -> None:
    """Each environment variable the configuration reads."""
    names = set(re.findall(r'"(FIELDPROOF_[A-Z0-9_]+)"', Path(ROOT, "server/config.py").read_text(encoding="utf-8")))
    text = OPERATIONS.read_text(encoding="utf-8")
    assert {name for name in names if f"`{name}`" not in text} == set()


def test_every_problem_is_documented() -> None:
    """A client can look up each code."""
    text = PROTOCOL.read_text(encoding="utf-8")
    assert [code for code in PROBLEMS if f"`{code}`" not in text] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_within_a_document_lead_to_a_heading(path: Path) -> None:
    """Contents lists name headings that are there."""
    text = path.read_text(encoding="utf-8")
    headings = {anchor_of(title) for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    assert [target for target in re.findall(r"\]\(#([^)\s]+)\)", text) if target not in headings] == []


def anchor_of(title: str) -> str:
    """The anchor that renderers of Markdown give a heading."""
    kept = re.sub(r"[^\w\- ]", "", title.lower())
    return kept.replace(" ", "-")


def test_examples_in_the_protocol_are_json() -> None:
    """Every JSON example parses, line by line where it is NDJSON."""
    text = PROTOCOL.read_text(encoding="utf-8")
    examples = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert len(examples) >= 8
    for example in examples:
        try:
            json.loads(example)
        except ValueError:
            for line in example.splitlines():
                json.loads(line)
