"""The entry point `fieldproof`: a program starts without loading the programs it is not.

The commands of the other programs (entry points of the group `fieldproof.commands`) are loaded by themselves: the
ingester, which runs for months, needs neither the pages nor the HTTP server nor the pictures' libraries, some 45 MB,
and a simulated handheld needs nothing of the platform at all. All other commands are those of `server.cli`, which knows
these as well, for its help.
"""

import sys
from importlib import import_module
from importlib.metadata import distribution
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

COMMANDS = "fieldproof.commands"
HELP_OPTIONS = ["-h", "--help"]


def main() -> None:
    """Run the command named first among the arguments."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    command = _command_of_another_program(name)
    if command is None:
        import_module("server.cli").main()
    else:
        command.main(sys.argv[2:], prog_name=f"fieldproof {name}", help_option_names=HELP_OPTIONS)


def _command_of_another_program(name: str) -> "click.Command | None":
    for entry in distribution("fieldproof").entry_points.select(group=COMMANDS, name=name):
        try:
            command: click.Command = entry.load()
        except ModuleNotFoundError:  # `simulate` and `soak` live with the tests, which no wheel carries
            return None
        return command
    return None
