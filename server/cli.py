"""The command `fieldproof`. Commands of the other programs come in by entry point (group `fieldproof.commands`)."""

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import DBAPIError

from server.accounts.service import ROLES, NewAccount, account_by_login, add_account, issue_code
from server.app import create_app
from server.casefile.cli import export
from server.casefile.cli import verify as verify_bundle
from server.config import load_settings, rotate_secret
from server.devices.clocks import wrong_clocks
from server.entities.cli import entities as entities_commands
from server.errors import Problem
from server.inspections.draw_cli import draw
from server.leads.cli import leads as leads_commands
from server.migrating import migrate_database
from server.prooflog.keys import SECRET as PROOF_LOG
from server.prooflog.rotation import rotate_key
from server.province.generate import MAX_ENTITIES
from server.province.seeding import seed_province
from server.restoring import NewLife, back_up, begin_new_life, put_back
from server.runtime import Runtime, build_runtime
from server.seed import seed as seed_platform
from server.serving import WORKERS, Server
from server.telemetry.rule_cli import rules
from server.verifying import repair_records, verify_everything
from server.worker import run_forever, run_once

EPILOG = "数据位于 FIELDPROOF_HOME（默认 ./var）。Data lives below FIELDPROOF_HOME (default ./var)."


OTHERS = {entry.name: entry for entry in entry_points(group="fieldproof.commands")}
"""Commands of the other programs; each is loaded only when it is called or listed."""


class Commands(click.Group):
    """Own commands and those of the other programs; a problem is reported in one line instead of a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *OTHERS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, loading it if it belongs to another program; None where that program is not installed."""
        if cmd_name in OTHERS:
            try:
                command: click.Command = OTHERS[cmd_name].load()
            except ModuleNotFoundError:
                return None  # `simulate` and `soak` live with the tests, which no wheel carries
            return command
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except Problem as problem:
            raise click.ClickException(f"{problem.kind.title_zh} / {problem.kind.title_en}: {problem}") from problem
        except DBAPIError as error:
            raise click.ClickException(f"database: {error.orig} (has `fieldproof migrate` been run?)") from error


@click.group(cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fieldproof")
def main() -> None:
    """现场为证 Fieldproof：可证明的监管后端。The provable supervision backend."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)


def _runtime() -> Runtime:
    try:
        return build_runtime(load_settings())
    except (RuntimeError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


@main.command()
def migrate() -> None:
    """建立或升级数据库。Create the database or bring it up to date."""
    rt = _runtime()
    revision = migrate_database(rt)
    click.echo(f"数据库已就绪 Database ready: {revision}")


@main.command()
def clocks() -> None:
    """列出时钟不准的终端。List handhelds whose clocks are off or were set, and what their times rest on instead."""
    rt = _runtime()
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
    _print_table("终端时钟 Device clocks", titles, rows)


@main.command("rotate-secret")
@click.argument("name", type=click.Choice(("jwt", "cursor", PROOF_LOG)))
@click.option("--at-once", is_flag=True, help="旧密钥立即失效 What the present secret has signed ends now (a leak).")
def rotate(name: str, at_once: bool) -> None:
    """更换令牌、游标或存证日志的密钥。Replace the secret of tokens, cursors or proof log; servers take it up."""
    settings = load_settings()
    if name != PROOF_LOG:
        rotate_secret(settings, name, keep_previous=not at_once)
        click.echo(f"已更换 Replaced: {name}")
    elif at_once:
        raise click.ClickException("存证日志的旧签名始终可核验。What the log's key has signed stays checkable.")
    else:
        click.echo(rotate_key(build_runtime(settings)).encode())


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="监听地址 Address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535), help="端口 Port.")
@click.option("--workers", default=WORKERS, show_default=True, type=click.IntRange(1, 64), help="进程数 Processes.")
def serve(host: str, port: int, workers: int) -> None:
    """启动 HTTP 服务。Run the HTTP server."""
    Server(load_settings(), f"{host}:{port}", workers).run()


@main.command()
@click.option("--once", is_flag=True, help="只运行一轮 Run one round and stop.")
def worker(once: bool) -> None:
    """运行后台作业。Run the background steps: leads, evidence, closing, proof log."""
    logging.getLogger("server").setLevel(logging.INFO)
    rt = _runtime()
    if once:
        click.echo(json.dumps(run_once(rt)))
    else:
        run_forever(rt)


@main.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--entities", type=click.IntRange(1, MAX_ENTITIES), help="样例省的监管对象数 Make a sample province.")
@click.option("--seed", "number", default=1, show_default=True, type=click.IntRange(0), help="样例省的种子 Its seed.")
def seed(file: Path | None, entities: int | None, number: int) -> None:
    """从 JSON 文件导入基础数据，或生成样例省。Enter base data from a JSON FILE, or a sample province (--entities)."""
    if (file is None) == (entities is None):
        raise click.UsageError("给出文件或 --entities，二者取一。Give either a FILE or --entities.")
    rt = _runtime()

    def progress(name: str, rows: int) -> None:
        click.echo(f"  {name}: +{rows}", err=True)

    if entities is not None:
        migrate_database(rt)
        counts = seed_province(rt, entities, number, progress)
    else:
        assert file is not None  # noqa: S101 - one of the two was given
        counts = seed_platform(rt, file, progress)
    _print_table("基础数据 Seeded", ("表 list", "新增 entered"), [(name, str(rows)) for name, rows in counts.items()])


@main.group()
def operator() -> None:
    """管理账号。Manage accounts."""


@operator.command("add")
@click.argument("login")
@click.option("--role", type=click.Choice(ROLES), default="operator", show_default=True, help="角色 Role.")
@click.option("--name", default="", help="姓名 Name shown on pages.")
@click.option("--region", default="420000", show_default=True, help="行政区划 Division code of the scope.")
@click.option("--department", default="", help="部门代码，空为全部 Department code; empty: all.")
@click.option("--officer", default=None, help="执法人员编号 Officer id, for role officer.")
@click.password_option(help="口令，至少 12 位 Password, at least 12 characters; asked for if not given.")
def operator_add(
    login: str, role: str, name: str, region: str, department: str, officer: str | None, password: str
) -> None:
    """新建账号，第一个账号也用它建立。Make an account; this is also how the first one is made."""
    rt = _runtime()
    with rt.db.write() as session:
        new = NewAccount(login, password, role, name or login, region, department, officer)
        account = add_account(session, rt, new, actor="cli")
    click.echo(account)


@operator.command("link")
@click.argument("login")
def operator_link(login: str) -> None:
    """生成一次性登录地址。Print a one-time sign-in address for an account."""
    rt = _runtime()
    with rt.db.write() as session:
        account = account_by_login(session, login)
        if account is None:
            raise Problem("not-found", detail="no account with this login")
        code = issue_code(session, rt, account.id)
    click.echo(f"{rt.settings.public_url}/sign-in?code={code}")


@main.command()
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
def backup(target: Path) -> None:
    """备份数据库（SQLite，可在运行中进行）。Copy the SQLite database while it is in use."""
    click.echo(json.dumps(back_up(_runtime(), target)))


LAST_HEAD = click.option(
    "--last-head", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="外部保存的最新签名树头 Newest signed head kept by others; default: the one kept beside the database.",
)  # fmt: skip


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@LAST_HEAD
def restore(file: Path, last_head: Path | None) -> None:
    """恢复 SQLite 备份并开始新纪元；须先停止全部程序。Put a backup back, with all programs stopped."""
    rt = _runtime()
    put_back(rt, file)
    migrate_database(rt)
    _tell(begin_new_life(rt, _note(last_head)))


@main.command("new-epoch")
@LAST_HEAD
def start_new_epoch(last_head: Path | None) -> None:
    """在用其他工具恢复数据库之后开始新纪元。Begin a new epoch, after a restore with other tools (PostgreSQL)."""
    rt = _runtime()
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


@main.command()
def openapi() -> None:
    """输出 OpenAPI 文档。Print the OpenAPI document."""
    app = create_app(_runtime())
    document = app.extensions["fieldproof.api"].spec.to_dict()
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


main.add_command(export)
main.add_command(draw)
main.add_command(rules)
main.add_command(leads_commands)
main.add_command(entities_commands)


@main.command()
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
    rt = _runtime()
    if repair:
        click.echo(f"已修复记录 Records repaired: {repair_records(rt)}")
    report = verify_everything(rt)
    rows = [(check.name, str(check.checked), str(len(check.findings))) for check in report]
    _print_table("核验 Verification", ("检查 check", "数量 checked", "问题 findings"), rows)
    findings = [(check.name, finding) for check in report for finding in check.findings]
    for name, finding in findings:
        click.echo(f"{name}: {finding}", err=True)
    if findings:
        sys.exit(1)


def _print_table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    table = Table(title=title)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
