"""The command that enters base data."""

from pathlib import Path

import click

from server.cli.console import open_runtime, print_table
from server.migrating import migrate_database
from server.province.generate import MAX_ENTITIES
from server.province.seeding import seed_province
from server.seed import seed as seed_platform


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--entities", type=click.IntRange(1, MAX_ENTITIES), help="样例省的监管对象数 Make a sample province.")
@click.option("--seed", "number", default=1, show_default=True, type=click.IntRange(0), help="样例省的种子 Its seed.")
def seed(file: Path | None, entities: int | None, number: int) -> None:
    """从 JSON 文件导入基础数据，或生成样例省。Enter base data from a JSON FILE, or a sample province (--entities)."""
    if (file is None) == (entities is None):
        raise click.UsageError("给出文件或 --entities，二者取一。Give either a FILE or --entities.")
    rt = open_runtime()

    def progress(name: str, rows: int) -> None:
        click.echo(f"  {name}: +{rows}", err=True)

    if entities is not None:
        migrate_database(rt)
        counts = seed_province(rt, entities, number, progress)
    else:
        assert file is not None  # noqa: S101 - one of the two was given
        counts = seed_platform(rt, file, progress)
    print_table("基础数据 Seeded", ("表 list", "新增 entered"), [(name, str(rows)) for name, rows in counts.items()])
