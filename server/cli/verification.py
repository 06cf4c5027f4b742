"""The command that verifies the whole database, or a case bundle offline."""

import sys
from pathlib import Path

import click

from server.casefile.cli import verify as verify_bundle
from server.cli.console import open_runtime, print_table
from server.verifying import repair_records, verify_everything


@click.command()
@click.argument("bundle", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="日志公钥，核验案卷包时使用 Trusted key for a bundle; default: this installation's.",
)
@click.option("--repair", is_flag=True, help="先按行为日志重建受损记录。First rebuild damaged records from their acts.")
def verify(bundle: Path | None, key: Path | None, *, repair: bool) -> None:
    """核验日志链、摘要与证明；或离线核验案卷包。Verify the whole database, or a case BUNDLE offline; names what fails.

    Exits with 1 if anything does.
    """
    if bundle is not None:
        verify_bundle(bundle, key)
    rt = open_runtime()
    if repair:
        click.echo(f"已修复记录 Records repaired: {repair_records(rt)}")
    report = verify_everything(rt)
    rows = [(check.name, str(check.checked), str(len(check.findings))) for check in report]
    print_table("核验 Verification", ("检查 check", "数量 checked", "问题 findings"), rows)
    findings = [(check.name, finding) for check in report for finding in check.findings]
    for name, finding in findings:
        click.echo(f"{name}: {finding}", err=True)
    if findings:
        sys.exit(1)
