"""The command that runs the worker."""

import json
import logging

import click

from server.cli.console import open_runtime
from server.worker import run_forever, run_once


@click.command()
@click.option("--once", is_flag=True, help="只运行一轮 Run one round and stop.")
def worker(once: bool) -> None:
    """运行后台作业。Run the background steps: leads, evidence, closing, proof log."""
    logging.getLogger("server").setLevel(logging.INFO)
    rt = open_runtime()
    if once:
        click.echo(json.dumps(run_once(rt)))
    else:
        run_forever(rt)
