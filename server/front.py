"""The entry point `fieldproof`: a program that runs for months starts without loading the rest of the platform.

The ingester needs neither the pages nor the HTTP server nor the pictures' libraries, which take some 45 MB. All other
commands are those of `server.cli`, which knows the ingester as well, for its help.
"""

import sys
from importlib import import_module

import click

LIGHT = {"ingest": "iot_ingest.cli"}
"""Command → the module that defines it under that name."""


def main() -> None:
    """Run the command named first among the arguments."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in LIGHT:
        import_module("server.cli").main()
        return
    command: click.Command = getattr(import_module(LIGHT[name]), name)
    command.main(sys.argv[2:], prog_name=f"fieldproof {name}")
