"""The commands `fieldproof rules …`: the book of rules, back-tests, and scores over labelled series."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from marshmallow import ValidationError
from rich.console import Console
from rich.table import Table
from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.telemetry import FACTORS
from server.config import load_settings
from server.errors import Problem
from server.runtime import Runtime, build_runtime
from server.telemetry import rule_book
from server.telemetry.backtest import EPISODES_LIMIT, BackTest, back_test
from server.telemetry.models import RuleVersion
from server.telemetry.registry import as_rule
from server.telemetry.rule_life import RULE_LIFE
from server.telemetry.rule_schemas import RuleDraftSchema, RuleSchema
from server.telemetry.rules import CATEGORIES, MEASURES
from server.telemetry.scoring import builtin_rules, read_series, read_windows, score, usual_interval_s
from server.telemetry.staleness import EVERY_SENSOR
from server.telemetry.wording import CHINA_TIME, explain, number

FILE_LIMIT_BYTES = 64 * 1024 * 1024
AUTHOR = "cli"
WHEN = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"])
SINCE = click.option("--since", type=WHEN, required=True, help="起（北京时间） From, China time.")
UNTIL = click.option("--until", type=WHEN, required=True, help="止（不含） To, not included.")
REASON = click.option("--reason", required=True, help="理由 Why.")


class Rules(click.Group):
    """Reports a problem in one line."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except Problem as problem:
            raise click.ClickException(f"{problem.kind.title_zh} / {problem.kind.title_en}: {problem}") from problem
        except (OSError, ValueError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Rules)
def rules() -> None:
    """非现场监管规则。Rules of off-site supervision."""


@rules.command("list")
@click.option("--status", type=click.Choice(list(RULE_LIFE.states)), help="状态 Only this status.")
def list_(status: str | None) -> None:
    """列出规则的版本。List the versions of rules."""
    with _runtime().db.read() as session:
        found = rule_book.list_rules(session, status=status, limit=1_000)
        rows = sorted(found, key=lambda row: (row.code, row.version))
        table = Table(title="规则 Rules", title_justify="left")
        for head in (
            "规则 rule",
            "状态 status",
            "类别 category",
            "指标 measure",
            "因子 factor",
            "名称 title",
            "起 from",
        ):
            table.add_column(head, overflow="fold")
        for row in rows:
            measure, category = MEASURES[row.measure][0], CATEGORIES[row.category][0]
            table.add_row(
                f"{row.code}/{row.version}", RULE_LIFE.states[row.status][0], category, measure, row.factor,
                f"{row.title_zh} {row.title_en}", _time(row.effective_from),
            )  # fmt: skip
    Console().print(table)


@rules.command()
@click.argument("rule")
def show(rule: str) -> None:
    """显示一个版本。Show a version, RULE as `air-so2-hourly/1` or its id, as JSON."""
    with _runtime().db.read() as session:
        text = json.dumps(RuleSchema().dump(_find(session, rule)), ensure_ascii=False, indent=2)
    click.echo(text)


@rules.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def draft(file: Path) -> None:
    """从 JSON 文件写一个草稿。Write the next version of a rule from a JSON FILE, as a draft."""
    try:
        body: dict[str, Any] = RuleDraftSchema().load(json.loads(_text(file)))
    except ValidationError as error:
        raise click.ClickException(f"{file}: {json.dumps(error.messages, ensure_ascii=False)}") from error
    rt = _runtime()
    with rt.db.write() as session:
        row = rule_book.draft_rule(session, rt, rule_book.RuleDraft(**body), author=AUTHOR)
        click.echo(f"{row.code}/{row.version}")


@rules.command("back-test")
@click.argument("rule")
@SINCE
@UNTIL
@click.option("--sensor", "sensors", multiple=True, help="只看此传感器 Only this sensor; may be repeated.")
@click.option("--limit", type=click.IntRange(1, EPISODES_LIMIT), default=50, show_default=True, help="行数 Most rows.")
def try_rule(rule: str, since: datetime, until: datetime, sensors: tuple[str, ...], limit: int) -> None:
    """用已存数据试算。Show which episodes RULE would have raised over stored data; nothing is raised."""
    rt = _runtime()
    with rt.db.read() as session:
        found = back_test(session, as_rule(_find(session, rule)), _china(since), _china(until), sensor_ids=sensors)
    with rt.db.write() as session:
        rule_book.note_preview(_find(session, rule), found, rt.now())
    _print(found, limit)


@rules.command()
@click.argument("rule")
@REASON
@click.option("--from", "effective_from", type=WHEN, help="生效时间，缺省为现在 From when on; default: now.")
def activate(rule: str, reason: str, effective_from: datetime | None) -> None:
    """启用已试算的草稿。Put a draft that was tried in force; the version before it is superseded."""
    rt = _runtime()
    at = effective_from and _china(effective_from)
    with rt.db.write() as session:
        row = _find(session, rule)
        rule_book.activate_rule(session, rt, row, by=AUTHOR, reason=reason, effective_from=at)
        click.echo(f"{row.code}/{row.version} 生效 in force: {_time(row.effective_from)}")


@rules.command()
@click.argument("rule")
@REASON
def end(rule: str, reason: str) -> None:
    """停用。Take a version out of force."""
    rt = _runtime()
    with rt.db.write() as session:
        row = rule_book.end_rule(session, rt, _find(session, rule), by=AUTHOR, reason=reason)
        click.echo(f"{row.code}/{row.version} 停用 ended: {_time(row.effective_to)}")


@rules.command()
@click.argument("rule")
@REASON
def discard(rule: str, reason: str) -> None:
    """放弃草稿。Give a draft up."""
    rt = _runtime()
    with rt.db.write() as session:
        row = rule_book.discard_rule(session, rt, _find(session, rule), by=AUTHOR, reason=reason)
        click.echo(f"{row.code}/{row.version} 已放弃 discarded")


@rules.command("judge-again")
@SINCE
@UNTIL
@click.option("--rule", help="只用此规则 Only by this rule; default: every one.")
@click.option("--sensor", default=EVERY_SENSOR, help="只看此传感器 Only at this sensor; default: all.")
def judge_again(since: datetime, until: datetime, rule: str | None, sensor: str) -> None:
    """请后台按时段重新研判。Have the worker run rules over a stretch of stored data again."""
    rt = _runtime()
    with rt.db.write() as session:
        row = None if rule is None else _find(session, rule)
        rule_book.judge_again(
            session, rt, since=_china(since), until=_china(until), by=AUTHOR, rule=row, sensor_id=sensor
        )
    click.echo("已请后台重新研判 The worker has been asked to look again.")


@rules.command("score")
@click.argument("series", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("windows", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--factor", type=click.Choice(sorted(FACTORS)), default="machine-temperature", show_default=True)
@click.option("--episodes", is_flag=True, help="列出事件 List the episodes too.")
def score_(series: Path, windows: Path, factor: str, episodes: bool) -> None:
    """用带标签的数据评估内置规则。Report precision and recall of the built-in rules over a labelled SERIES (CSV).

    WINDOWS is a JSON file with the labelled windows: {name: [[first, last], …]}. An episode is right if it was
    confirmed within a window.
    """
    values, labelled = read_series(_text(series)), read_windows(_text(windows))
    known = builtin_rules(factor)
    scores, found = score(known, values, labelled, usual_interval_s(at for at, _ in values))
    table = Table(title=f"{len(values):,} 个值 values, {len(labelled)} 个标注窗口 windows", title_justify="left")
    for head in ("规则 rule", "事件 episodes", "窗口内 right", "命中窗口 found", "精确率 precision", "召回率 recall"):
        name = head.startswith("规则")
        table.add_column(head, justify="left" if name else "right", no_wrap=name)
    for item in scores:
        hit = f"{item.found} / {item.windows}"
        table.add_row(item.name, str(item.episodes), str(item.right), hit, _share(item.precision), _share(item.recall))
    Console().print(table)
    if episodes:
        for rule in known:
            for episode in found[rule.code]:
                click.echo(f"{rule.code}: {explain(rule, episode.means)[1]}")


def _runtime() -> Runtime:
    try:
        return build_runtime(load_settings())
    except (RuntimeError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _find(session: Session, name: str) -> RuleVersion:
    """Return a version by `code/version` or id.

    Raises:
        Problem: `not-found`.
    """
    code, _, version = name.partition("/")
    if not version.isdecimal():
        return rule_book.get_rule(session, name)
    query = select(RuleVersion).where(RuleVersion.code == code, RuleVersion.version == int(version))
    row = session.scalar(query)
    if row is None:
        raise Problem("not-found", detail=f"no rule {name}")
    return row


def _print(found: BackTest, limit: int) -> None:
    table = Table(title_justify="left", title=f"{found.episodes} 个事件 episodes")
    for head in ("传感器 sensor", "起 from", "止 to", "最值 worst", "已有 known", "说明 in words"):
        table.add_column(head, overflow="fold")
    for item in found.shown[:limit]:
        table.add_row(
            item.sensor_id, _time(item.started_at), _time(item.ended_at), number(item.peak), "✓" if item.known else "",
            f"{item.explanation_zh}\n{item.explanation_en}",
        )  # fmt: skip
    Console().print(table)
    click.echo(
        f"传感器 sensors: {found.sensors}, 有数据 with data: {found.sensors_with_data}, "
        f"未看 left out: {found.sensors_left_out}, 事件 episodes: {found.episodes}, "
        f"已列 shown: {min(limit, len(found.shown))}"
    )


def _text(path: Path) -> str:
    """Return a file's text, unpacked if it is gzip.

    Raises:
        ValueError: it is too large, or no text.
    """
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        data = stream.read(FILE_LIMIT_BYTES + 1)
    if len(data) > FILE_LIMIT_BYTES:
        raise ValueError(f"{path}: larger than {FILE_LIMIT_BYTES} bytes")
    return data.decode("utf-8")


def _china(at: datetime) -> datetime:
    return at.replace(tzinfo=CHINA_TIME).astimezone(UTC)


def _time(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone(CHINA_TIME):%Y-%m-%d %H:%M}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
