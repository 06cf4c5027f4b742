"""What the commands share: the runtime that the environment describes, and tables on the terminal."""

from collections.abc import Sequence

import click
from rich.console import Console
from rich.table import Table

from server.config import load_settings
from server.runtime import Runtime, build_runtime


def open_runtime() -> Runtime:
    """Return the runtime of FIELDPROOF_HOME; what is wrong with the settings is said in one line."""
    try:
        return build_runtime(load_settings())
    except (RuntimeError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


def print_table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows under their columns' names."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
