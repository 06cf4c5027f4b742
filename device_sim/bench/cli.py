"""The command `fieldproof bench`."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from device_sim.bench.curve_suite import CURVE
from device_sim.bench.evidence_suite import EVIDENCE
from device_sim.bench.feed_suite import FEED
from device_sim.bench.frame import DEFAULT_SECONDS, MAX_RECORDS, MAX_SECONDS, BenchFailed, Options, Suite, run_suite
from device_sim.bench.growth_suite import GROWTH
from device_sim.bench.ingest_suite import INGEST
from device_sim.bench.measurement import Row
from device_sim.bench.network_suite import NETWORK
from device_sim.bench.prove_suite import LOG, PROVE
from device_sim.bench.registers_suite import REGISTERS
from device_sim.bench.show import note_lines, result_table, suite_table, write_json
from device_sim.bench.sync_suite import SYNC

SUITES: dict[str, Suite] = {
    suite.name: suite for suite in (SYNC, GROWTH, FEED, NETWORK, EVIDENCE, INGEST, CURVE, PROVE, LOG, REGISTERS)
}
ALL = "all"


@click.command()
@click.argument("name", required=False, type=click.Choice([*SUITES, ALL]))
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="结果写入 Result as JSON.")
@click.option(
    "--seconds", default=DEFAULT_SECONDS, show_default=True, type=click.FloatRange(0.1, MAX_SECONDS),
    help="每个案例最多发送多久 A case stops sending after so long.",
)  # fmt: skip
@click.option(
    "--records", default=0, type=click.IntRange(0, MAX_RECORDS),
    help="每个案例的规模，0 为各自默认 Records, files, messages or leaves of each case; 0: each case's own.",
)  # fmt: skip
@click.option(
    "--peers",
    is_flag=True,
    help="同时测量其他产品，sync 会下载 Measure other products as well; sync downloads its own.",
)
@click.option("--list", "list_only", is_flag=True, help="列出全部基准 List what there is to measure.")
def bench(
    *, name: str | None, json_file: Path | None, seconds: float, records: int, peers: bool, list_only: bool
) -> None:
    """性能基准，每项与同一次测得的极限并列。Measure one part beside its own limit, in the same run.

    Rates are only comparable within one run on one machine: read the ratio, not the rate. Everything runs on temporary
    folders; FIELDPROOF_HOME is not touched.
    """
    console = Console()
    if list_only or name is None:
        console.print(suite_table(list(SUITES.values())))
        return
    rows: list[Row] = []
    for suite in SUITES.values() if name == ALL else [SUITES[name]]:
        measured = _run(suite, Options(seconds, records, peers))
        console.print(result_table(f"{suite.name}: {suite.about}", measured))
        for line in note_lines(measured):
            console.print(f"  {line}", style="dim", highlight=False)
        rows += measured
    if json_file is not None:
        write_json(json_file, rows)


def _run(suite: Suite, options: Options) -> list[Row]:
    def report(what: str, row: Row | None) -> None:
        rate = "…" if row is None else f"{row.measured.rate_per_s:,.1f} {row.unit}/s"
        click.echo(f"  {what} {rate}", err=True)

    try:
        return run_suite(suite, options, report)
    except (BenchFailed, OSError) as error:
        raise click.ClickException(f"{suite.name}: {error}") from error
