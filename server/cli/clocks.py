"""The command that lists handhelds whose clocks are off."""

import click

from server.cli.console import open_runtime, print_table
from server.devices.clocks import wrong_clocks


@click.command()
def clocks() -> None:
    """列出时钟不准的终端。List handhelds whose clocks are off or were set, and what their times rest on instead."""
    rt = open_runtime()
    with rt.db.read() as session:
        rows = [
            (
                name,
                boot.boot,
                f"{boot.wall_off_ms / 1000:+,.0f}",
                f"{boot.steps}",
                f"{boot.largest_step_ms / 1000:+,.0f}",
                "exchange" if boot.server_ms is not None else "arrival",
            )
            for name, boot in wrong_clocks(session)
        ]
    titles = ("终端 device", "启动 boot", "偏差 s off", "被调 set", "最大一次 s largest", "依据 basis")
    print_table("终端时钟 Device clocks", titles, rows)
