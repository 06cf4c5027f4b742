"""The commands `fieldproof draw run` and `fieldproof draw verify`."""

import sys
from pathlib import Path

import click

from schemas.codes import code_table
from schemas.divisions import PROVINCE, check_known_region
from server.config import load_settings
from server.errors import Problem
from server.inspections import draw_verifier
from server.inspections.draw_explain import explain_entity
from server.inspections.drawing import DrawOrder, draw_to_file, fresh_secret, secret_from_number
from server.runtime import build_runtime

SECTORS = tuple(code_table("sector").current.entries)


@click.group()
def draw() -> None:
    """双随机抽取。The double-random draw."""


@draw.command("run")
@click.option(
    "--seed", type=click.IntRange(0), help="种子，缺省为随机 Seed, to repeat a draw; default: a fresh secret."
)
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="公布文件 Published file.")
@click.option("--sector", type=click.Choice(SECTORS), default="market", show_default=True, help="监管领域 Sector.")
@click.option("--region", default=PROVINCE, show_default=True, help="行政区划 Division code of the place.")
def run(seed: int | None, out: Path, sector: str, region: str) -> None:
    """从登记库抽取对象与人员，写出公布文件。Draw from the registers and write the file that is published."""
    if reason := check_known_region(region):
        raise click.BadParameter(reason, param_hint="--region")
    try:
        rt = build_runtime(load_settings())
        secret = fresh_secret(rt) if seed is None else secret_from_number(seed)
        with rt.db.read() as session:
            figures = draw_to_file(session, rt, DrawOrder.from_today(rt, sector, region), secret, out)
    except Problem as problem:
        raise click.ClickException(f"{problem.kind.title_zh} / {problem.kind.title_en}: {problem}") from problem
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    for stratum in figures["strata"]:
        click.echo(f"{stratum['name']}: {stratum['quota']} / {stratum['size']}")
    click.echo(
        f"对象 entities: {figures['entities']}, 抽中 drawn: {figures['drawn']}, 已配人员 with officers: "
        f"{figures['assigned']}\n{out}"
    )


@draw.command("verify")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def verify(file: Path) -> None:
    """仅凭公布文件重现抽取。Reproduce a draw from its published file alone; exits with 1 if it cannot be."""
    sys.exit(draw_verifier.main([str(file)]))


@draw.command("explain")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("entity")
def explain(file: Path, entity: str) -> None:
    """说明某对象为何抽中、未抽中或被排除。Say in words why an entity was drawn, passed over or left out."""
    try:
        with file.open("rb") as stream:
            lines = explain_entity(stream, entity)
    except (ValueError, KeyError, IndexError) as error:
        raise click.ClickException(f"不是抽取文件 / not the file of a draw: {error}") from error
    if not lines:
        raise click.ClickException("不在该次抽取的名录中 / not in the roster of this draw")
    click.echo("\n".join(lines))
