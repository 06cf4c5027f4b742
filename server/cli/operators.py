"""The commands that make accounts and sign-in addresses."""

import click

from server.accounts.service import ROLES, NewAccount, account_by_login, add_account, issue_code
from server.cli.console import open_runtime
from server.errors import Problem


@click.group()
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
    rt = open_runtime()
    with rt.db.write() as session:
        new = NewAccount(login, password, role, name or login, region, department, officer)
        account = add_account(session, rt, new, actor="cli")
    click.echo(account)


@operator.command("link")
@click.argument("login")
def operator_link(login: str) -> None:
    """生成一次性登录地址。Print a one-time sign-in address for an account."""
    rt = open_runtime()
    with rt.db.write() as session:
        account = account_by_login(session, login)
        if account is None:
            raise Problem("not-found", detail="no account with this login")
        code = issue_code(session, rt, account.id)
    click.echo(f"{rt.settings.public_url}/sign-in?code={code}")
