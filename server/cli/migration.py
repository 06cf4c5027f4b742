"""The command that makes the database or brings it up to date."""

import click

from server.cli.console import open_runtime
from server.migrating import migrate_database


@click.command()
def migrate() -> None:
    """建立或升级数据库。Create the database or bring it up to date."""
    rt = open_runtime()
    revision = migrate_database(rt)
    click.echo(f"数据库已就绪 Database ready: {revision}")
