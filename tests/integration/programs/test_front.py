"""The entry point: other programs start without the rest of the platform; everything else is there as before."""

import subprocess
import sys
from ast import literal_eval

import pytest

HEAVY = (
    "flask", "flask_smorest", "PIL", "gunicorn", "alembic", "jinja2", "cryptography", "server.app", "server.cli",
)  # fmt: skip
PROGRAM = f"""
import sys
from server.front import main
try:
    main()
except SystemExit:
    pass
print([name for name in {HEAVY!r} if name in sys.modules])
"""


def run(*arguments: str) -> str:
    """Run the entry point in a process of its own; what it prints, and at last what it has loaded."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_ingester_starts_light() -> None:
    """No web framework, no pictures, no pages: memory that is there for readings."""
    text = run("ingest", "--help")
    assert "Usage: fieldproof ingest" in text
    assert text.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", ["bench", "central", "demo", "device"])
def test_outsiders_start_without_the_platform(name: str) -> None:
    """What reaches the platform over the network only loads nothing of it, and takes the same options for help."""
    text = run(name, "-h")
    assert f"Usage: fieldproof {name}" in text
    assert not {"flask", "gunicorn", "alembic", "server.cli"} & set(literal_eval(text.strip().splitlines()[-1]))


@pytest.mark.parametrize("arguments", [("migrate",), ("operator", "add"), ("rotate-secret",)])
def test_a_command_starts_without_the_others(arguments: tuple[str, ...]) -> None:
    """What does not serve loads neither the application nor its server."""
    text = run(*arguments, "--help")
    assert f"Usage: {' '.join(('-c', *arguments))}" in text
    assert not {"flask_smorest", "gunicorn", "server.app"} & set(literal_eval(text.strip().splitlines()[-1]))


@pytest.mark.parametrize("arguments", [("--help",), ("serve", "--help")])
def test_other_commands_are_those_of_the_platform(arguments: tuple[str, ...]) -> None:
    """The list of commands names the ingester too."""
    text = run(*arguments)
    assert "Usage:" in text
    assert "flask" in text.strip().splitlines()[-1]
    if arguments == ("--help",):
        assert "ingest" in text
