"""The commands `fieldproof leads …`: leads with their deadlines, and how often rules were right."""

import click
from rich.console import Console
from rich.table import Table

from server.config import load_settings
from server.leads.course import is_overdue
from server.leads.lifecycle import LEAD
from server.leads.precision import RulePrecision, rule_precision
from server.leads.service import LeadFilter, list_leads
from server.runtime import build_runtime
from server.web.principal import Principal

LIST_LIMIT = 500
EVERYONE = Principal("cli", "admin", "", "")
"""Whoever may run commands here sees every region and department."""


@click.group()
def leads() -> None:
    """非现场监管线索。Leads from off-site supervision."""


@leads.command("list")
@click.option("--status", type=click.Choice(list(LEAD.states)), default=None, help="状态 Only this state.")
@click.option("--overdue", is_flag=True, help="只列逾期的 Only those whose next step is late.")
def list_(status: str | None, overdue: bool) -> None:
    """列出线索，最新的在前。List leads, newest first."""
    rt = build_runtime(load_settings())
    wanted = LeadFilter(status=status or "", overdue=True if overdue else None)
    table = _table("线索 Leads", ("线索 lead", "状态 state", "名称 title", "应于 due", "升级 escalated"))
    with rt.db.read() as session:
        for lead in list_leads(session, rt, EVERYONE, wanted, limit=LIST_LIMIT, newest_first=True):
            due = f"{lead.due_at:%Y-%m-%d %H:%M}Z" if lead.due_at else ""
            late = " 逾期 late" if is_overdue(lead, rt.now()) else ""
            withdrawn = " 已撤回 withdrawn" if lead.withdrawn_at else ""
            zh, en = LEAD.states[lead.status]
            title = f"{lead.title_zh} {lead.title_en}"
            table.add_row(lead.id, f"{zh} {en}{withdrawn}", title, due + late, str(lead.escalation or ""))
    Console().print(table)


@leads.command("precision")
@click.option("--rule", default="", help="规则代码 Only this rule.")
def precision(rule: str) -> None:
    """各规则版本的线索核实情况与准确率。How often the leads of each version of a rule were right."""
    rt = build_runtime(load_settings())
    heads = (
        "规则 rule", "名称 title", "线索 leads", "撤回 withdrawn", "属实 confirmed", "部分 partly", "不实 refuted",
        "准确率 precision",
    )  # fmt: skip
    table = _table("规则准确率 Precision of rules", heads)
    with rt.db.read() as session:
        for one in rule_precision(session, EVERYONE, code=rule):
            counts = (one.leads, one.withdrawn, one.confirmed, one.partly, one.refuted)
            title = f"{one.title_zh} {one.title_en}"
            table.add_row(f"{one.code}/{one.version}", title, *map(str, counts), percent(one))
    Console().print(table)


def percent(one: RulePrecision) -> str:
    """Return a precision as people read it, or a dash before anything is settled."""
    return "—" if one.precision is None else f"{one.precision:.0%}"


def _table(title: str, heads: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    for head in heads:
        table.add_column(head, overflow="fold")
    return table
