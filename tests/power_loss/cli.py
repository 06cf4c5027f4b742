"""`fieldproof power-loss`: open what losing power would leave of the database, at many instants."""

import sys
import time
from collections import deque

import click
from rich.console import Console
from rich.table import Table

from tests.power_loss.run import Result, lose_power

IMAGES_PER_SEED = 500
MODES = ("FULL", "NORMAL", "OFF")


@click.command()
@click.option("--images", type=click.IntRange(1, 1_000_000), default=1_000, show_default=True, help="For each mode.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the first recording; one for 500 images.")
@click.option("--synchronous", type=click.Choice(MODES), multiple=True, default=("FULL", "NORMAL"), show_default=True)
def power_loss(images: int, seed: int, synchronous: tuple[str, ...]) -> None:
    """模拟断电并核对 / Replay recorded writes, unsynced ones dropped, reordered or torn; NORMAL is the control."""
    table = Table(title="断电 Power loss")
    for name in (
        "synchronous",
        "映像 images",
        "含未落盘写入 unsynced",
        "核对的记录 acts looked for",
        "有缺失 bad",
        "秒 s",
    ):
        table.add_column(name, justify="right")
    lost = False
    for mode in synchronous:
        started, total = time.monotonic(), Result(mode)
        for part in range(-(-images // IMAGES_PER_SEED)):
            wanted = min(IMAGES_PER_SEED, images - part * IMAGES_PER_SEED)
            total = total.plus(deque(lose_power(seed + part, wanted, mode), maxlen=1).pop())
            click.echo(f"{mode}: {total.images}/{images} images, {total.bad} bad", err=True)
        row = (total.images, total.unsynced, total.promised, total.bad, round(time.monotonic() - started))
        table.add_row(mode, *(f"{value:,}" for value in row))
        if mode == "FULL" and total.bad:
            lost = True
            click.echo(f"失败 failed: {total.first_fault}")
    Console().print(table)
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    power_loss()
