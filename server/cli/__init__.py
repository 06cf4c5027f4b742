"""The command `fieldproof`: a group that loads each command when it is called or listed, and only then.

Commands of the other programs come in by entry point (group `fieldproof.commands`).
"""

import logging
from importlib.metadata import entry_points
from pkgutil import resolve_name

import click
from sqlalchemy.exc import DBAPIError

from server.errors import Problem

EPILOG = "数据位于 FIELDPROOF_HOME（默认 ./var）。Data lives below FIELDPROOF_HOME (default ./var)."

OWN = {
    "backup": "server.cli.life:backup",
    "clocks": "server.cli.clocks:clocks",
    "draw": "server.inspections.draw_cli:draw",
    "entities": "server.entities.cli:entities",
    "export": "server.casefile.cli:export",
    "leads": "server.leads.cli:leads",
    "migrate": "server.cli.migration:migrate",
    "new-epoch": "server.cli.life:start_new_epoch",
    "openapi": "server.cli.http:openapi",
    "operator": "server.cli.operators:operator",
    "restore": "server.cli.life:restore",
    "rotate-secret": "server.cli.secrets:rotate",
    "rules": "server.telemetry.rule_cli:rules",
    "seed": "server.cli.seeding:seed",
    "serve": "server.cli.http:serve",
    "verify": "server.cli.verification:verify",
    "worker": "server.cli.work:worker",
}
"""Where each of the platform's commands is defined."""
OTHERS = {entry.name: entry for entry in entry_points(group="fieldproof.commands")}
"""Commands of the other programs."""


class Commands(click.Group):
    """Own commands and those of the other programs; a problem is reported in one line instead of a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *OWN, *OTHERS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, loading it; None where it does not exist or its program is not installed."""
        if cmd_name in OTHERS:
            try:
                command: click.Command = OTHERS[cmd_name].load()
            except ModuleNotFoundError:
                return None  # `simulate` and `soak` live with the tests, which no wheel carries
            return command
        return resolve_name(OWN[cmd_name]) if cmd_name in OWN else super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except Problem as problem:
            raise click.ClickException(f"{problem.kind.title_zh} / {problem.kind.title_en}: {problem}") from problem
        except DBAPIError as error:
            raise click.ClickException(f"database: {error.orig} (has `fieldproof migrate` been run?)") from error


@click.group(cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fieldproof")
def main() -> None:
    """现场为证 Fieldproof：可证明的监管后端。The provable supervision backend."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
