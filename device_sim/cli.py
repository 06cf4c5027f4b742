"""The commands under `fieldproof device`: the fault proxy and the fleet of simulated handhelds."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import click

from device_sim.fleet import PHASES, Fleet
from device_sim.fleet_plan import PlanFault, read_plan
from device_sim.proxy import FaultProxy, Planner, run_proxy
from device_sim.sample.sources import DataFolderMissing
from device_sim.sensors.cli import sensors
from device_sim.soak.cli import soak_command


@click.group()
def device() -> None:
    """模拟手持终端、传感器与故障代理。Simulated handhelds, sensors, and a proxy that spoils connections."""


@device.command()
@click.option("--upstream-port", type=click.IntRange(1, 65535), required=True, help="Port of the server on 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="Port to listen on; 0: any.")
@click.option(
    "--seed", default="1", show_default=True, help="The same seed spoils the n-th connection in the same way."
)
@click.option(
    "--fault-rate",
    type=click.FloatRange(0, 0.9),
    default=0.3,
    show_default=True,
    help="Share of connections that suffer; never all, so that progress stays possible.",
)
@click.option("--longest-delay-s", type=click.FloatRange(0, 60), default=0.2, show_default=True)
@click.option("--longest-cut-bytes", type=click.IntRange(2, 100_000_000), default=200_000, show_default=True)
@click.option("--stats", type=click.Path(dir_okay=False, path_type=Path), help="Keep the counts in this JSON file.")
def proxy(
    *,
    upstream_port: int,
    port: int,
    seed: str,
    fault_rate: float,
    longest_delay_s: float,
    longest_cut_bytes: int,
    stats: Path | None,
) -> None:
    """Pass TCP connections on to a server, dropping, cutting, delaying and duplicating some of them.

    Prints one JSON line with the port when it listens, and one with its counts when it ends (SIGTERM or Ctrl-C).
    """
    planner = Planner(seed, fault_rate, longest_cut_bytes, longest_delay_s)
    spoiler = FaultProxy(upstream_port, planner)

    def ready(listening: int) -> None:
        click.echo(json.dumps({"listening": listening}))
        sys.stdout.flush()

    asyncio.run(run_proxy(spoiler, port, stats, ready))
    click.echo(json.dumps(spoiler.stats()))


@device.command()
@click.option("--phase", type=click.Choice(PHASES), required=True, help="What the handhelds do in this run.")
@click.option("--plan", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Who and which tasks.")
@click.option(
    "--home", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the handhelds."
)
@click.option("--url", default="", help="Address of the server, or of the fault proxy before it.")
@click.option("--devices", type=click.IntRange(1, 1_000), default=20, show_default=True)
@click.option("--seed", default="1", show_default=True, help="The same seed ends with the same counts.")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="Folder with real data; else the sample."
)
def fleet(*, phase: str, plan: Path, home: Path, url: str, devices: int, seed: str, data: Path | None) -> None:
    """Run one phase on a fleet of simulated handhelds.

    Progress and, last, the totals are printed as JSON lines. Each phase is a new process: what lasts is in the
    handhelds' folders. Ends with 1 when a handheld failed, and with 2 when the plan or the folder is no good.
    """
    try:
        handhelds = Fleet(home, url, read_plan(plan), seed, devices, data)
        whole = handhelds.run(phase, _print_line)
    except (PlanFault, DataFolderMissing) as error:
        raise click.UsageError(str(error)) from error
    if not whole:
        sys.exit(1)


def _print_line(members: dict[str, Any]) -> None:
    click.echo(json.dumps(members, ensure_ascii=False))
    sys.stdout.flush()


device.add_command(sensors)
device.add_command(soak_command)
