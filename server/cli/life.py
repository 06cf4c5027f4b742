"""The commands of a database's life: backing it up, putting it back, and beginning a new epoch."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from server.cli.console import open_runtime
from server.migrating import migrate_database
from server.restoring import NewLife, back_up, begin_new_life, put_back


@click.command()
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
def backup(target: Path) -> None:
    """备份数据库（SQLite，可在运行中进行）。Copy the SQLite database while it is in use."""
    click.echo(json.dumps(back_up(open_runtime(), target)))


LAST_HEAD = click.option(
    "--last-head", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="外部保存的最新签名树头 Newest signed head kept by others; default: the one kept beside the database.",
)  # fmt: skip


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@LAST_HEAD
def restore(file: Path, last_head: Path | None) -> None:
    """恢复 SQLite 备份并开始新纪元；须先停止全部程序。Put a backup back, with all programs stopped."""
    rt = open_runtime()
    put_back(rt, file)
    migrate_database(rt)
    _tell(begin_new_life(rt, _note(last_head)))


@click.command("new-epoch")
@LAST_HEAD
def start_new_epoch(last_head: Path | None) -> None:
    """在用其他工具恢复数据库之后开始新纪元。Begin a new epoch, after a restore with other tools (PostgreSQL)."""
    rt = open_runtime()
    migrate_database(rt)
    _tell(begin_new_life(rt, _note(last_head)))


def _note(path: Path | None) -> str:
    return path.read_text(encoding="utf-8") if path else ""


def _tell(life: NewLife) -> None:
    click.echo(json.dumps(asdict(life)))
    if life.log_closed:
        click.echo("证明日志已关闭并由新日志接续，请将新的 proof-log.pub 另途交给中央系统。", err=True)
        click.echo(
            "The proof log has a successor: hand the new proof-log.pub to the central system on another way.", err=True
        )
