"""The command `fieldproof export`, and the checking of a bundle behind `fieldproof verify BUNDLE`."""

import sys
from pathlib import Path
from typing import NoReturn

import click

from server.casefile import verify_bundle
from server.casefile.writing import export_case
from server.config import load_settings
from server.errors import Problem
from server.prooflog.keys import FORMER_FILE, PUBLIC_FILE
from server.runtime import build_runtime


@click.command()
@click.argument("case")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="目标文件 Where to write it; default: CASE.zip here."
)
@click.option("--by", default="cli", show_default=True, help="导出人 Who exports it; stands in the chain of custody.")
def export(case: str, out: Path | None, by: str) -> None:
    """导出案卷包。Write the bundle of an inspection (CASE is its id): one ZIP, and its signature beside it."""
    target = out or Path(f"{case}.zip")
    try:
        rt = build_runtime(load_settings())
        done = export_case(rt, case, target, actor=by, tell=lambda name: click.echo(name, err=True))
    except Problem as problem:
        raise click.ClickException(f"{problem.kind.title_zh} / {problem.kind.title_en}: {problem}") from problem
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{target}  {done['size_bytes']:,} B  {done['files']} 个文件 files\n{target}.sig")


def verify(bundle: Path, key: Path | None) -> NoReturn:
    """Check a bundle offline and exit with 1 if anything does not hold; without a key, those of this installation."""
    keys_dir = load_settings().keys_dir
    former = keys_dir / FORMER_FILE
    trusted = [key] if key else [keys_dir / PUBLIC_FILE, *([former] if former.exists() else [])]
    sys.exit(verify_bundle.main(str(bundle), *map(str, trusted)))
