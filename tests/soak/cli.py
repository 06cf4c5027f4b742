"""`fieldproof soak`: kill the real server under load and look for what it had acknowledged."""

import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tests.soak.load import SoakFailed
from tests.soak.photos import PhotoSoak
from tests.soak.run import Soak, Tally

PROGRESS_EVERY = 50


@click.command()
@click.option("--kills", type=click.IntRange(1, 1_000_000), default=1_000, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Decides the load and the instants.")
@click.option("--photos", type=click.IntRange(1, 100_000), help="上传照片 Upload so many photos of 200 kB instead.")
@click.option("--home", type=click.Path(path_type=Path), help="Folder for the database; a temporary one unless given.")
def soak(*, kills: int, seed: int, photos: int | None, home: Path | None) -> None:
    """反复强制终止真实服务并核对 / Kill the real server under load with -9 and look for all it had acknowledged."""
    click.echo(f"种子 seed {seed}", err=True)
    if photos is not None:
        sys.exit(_soak_photos(kills, seed, photos, home))
    started, tally, failure = time.monotonic(), Tally(), ""
    with (
        tempfile.TemporaryDirectory(prefix="fieldproof-soak-") as temporary,
        Soak(home or Path(temporary), seed) as run,
    ):
        try:
            for tally in run.run(kills):
                if tally.kills % PROGRESS_EVERY == 0:
                    rate = tally.kills / (time.monotonic() - started)
                    click.echo(f"{tally.kills}/{kills} kills, {rate:.1f} kills/s, {tally.acts} acts", err=True)
        except SoakFailed as broken:
            failure = str(broken)
    table = Table(title="强制终止 Crash soak")
    table.add_column("项目 what")
    table.add_column("数量 count", justify="right")
    for name, value in (
        ("终止 kills", tally.kills),
        ("已确认的记录 acts acknowledged", tally.acts),
        ("推送 pushes answered", tally.pushes),
        ("无回应的推送 pushes left unanswered", tally.unanswered),
        ("其中已提交 of those committed", tally.arrived),
        ("失败（丢失、改变或未能启动） lost, changed, or not up again", 1 if failure else 0),
        ("秒 seconds", round(time.monotonic() - started)),
    ):
        table.add_row(name, f"{value:,}")
    Console().print(table)
    if failure:
        click.echo(f"失败 failed: {failure}")
        click.echo(f"重现 / reproduce: fieldproof soak --kills {kills} --seed {seed}")
    sys.exit(1 if failure else 0)


def _soak_photos(kills: int, seed: int, photos: int, home: Path | None) -> int:
    """Kill the server while photos are uploaded; returns the exit code."""
    started, failure = time.monotonic(), ""
    with (
        tempfile.TemporaryDirectory(prefix="fieldproof-soak-") as temporary,
        PhotoSoak(home or Path(temporary), seed, photos) as run,
    ):
        try:
            for number in run.run(kills):
                if number % PROGRESS_EVERY == 0:
                    click.echo(f"{number}/{kills} kills", err=True)
        except SoakFailed as broken:
            failure = str(broken)
        table = Table(title="照片 Photo soak")
        table.add_column("项目 what")
        table.add_column("数量 count", justify="right")
        for name, value in (
            ("照片 photos", photos),
            ("终止 kills", run.kills),
            ("中断的请求 requests broken off", run.attempts),
            ("丢失、重复或改变 lost, doubled or changed", 1 if failure else 0),
            ("秒 seconds", round(time.monotonic() - started)),
        ):
            table.add_row(name, f"{value:,}")
    Console().print(table)
    if failure:
        click.echo(f"失败 failed: {failure}")
    return 1 if failure else 0


if __name__ == "__main__":
    soak()
