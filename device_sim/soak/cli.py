"""The command `fieldproof device soak`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from device_sim.demo.programs import ProgramFailed
from device_sim.sensors.link import Stalled
from device_sim.soak.run import SENSORS_LIMIT, SoakFailed, SoakPlan, soak


@click.command(name="soak")
@click.option("--readings", type=click.IntRange(100, 10_000_000), default=10_000, show_default=True)
@click.option("--sensors", type=click.IntRange(1, SENSORS_LIMIT), default=4, show_default=True)
@click.option(
    "--kills", type=click.IntRange(0, 10_000), default=6, show_default=True, help="How often something is killed."
)
@click.option("--database", type=click.Choice(["sqlite", "postgresql"]), default="sqlite", show_default=True)
@click.option("--hours-per-message", type=click.IntRange(1, 80), default=2, show_default=True)
@click.option("--data", type=click.Path(file_okay=False, exists=True, path_type=Path), help="Folder with telemetry/.")
@click.option("--seed", type=int, default=7, show_default=True, help="Everything follows from it.")
def soak_command(
    *, readings: int, sensors: int, kills: int, database: str, hours_per_message: int, data: Path | None, seed: int
) -> None:
    """持续压测：进程反复被杀，数据恰好一次。Kill ingester, broker and database while sensors publish.

    The same readings run twice, calmly and under kills; everything must be stored exactly once, and the leads be equal.
    """
    plan = SoakPlan(readings, sensors, kills, database, seed, hours_per_message, data)
    try:
        with tempfile.TemporaryDirectory(prefix="fieldproof-soak-") as folder:
            calm, rough = soak(plan, Path(folder), lambda line: click.echo(f"  {line}", err=True))
    except (SoakFailed, Stalled, ProgramFailed) as error:
        click.echo(f"soak: {error}", err=True)
        sys.exit(1)
    for name, run in (("calm", calm), ("under kills", rough)):
        click.echo(
            f"soak: {name}: {run.published} published, {run.stored} stored ({run.valid} valid), "
            f"{run.dead_lettered} dead-lettered, {len(run.leads)} leads, {len(run.kills)} kills, {run.seconds:.1f} s"
        )
    click.echo("soak: stored = published, duplicates 0, leads equal")
