"""How the demonstration looks on a terminal: live progress while it runs, a summary that is a pleasure to read."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

CHAPTERS = (
    ("set_up", "启动平台", "Start the platform: database, server, broker, worker, ingester"),
    ("enrol", "终端注册", "Enrol handhelds; the operator approves"),
    ("sense", "传感器上报", "Sensors replay real air quality over MQTT"),
    ("follow_leads", "线索与任务", "Sustained exceedances become leads, leads become tasks"),
    ("dispatch", "下达检查任务", "Dispatch planned inspections"),
    ("work_offline", "离线检查", "Officers work offline: checklists, photos, signatures"),
    ("sync_over_bad_links", "弱网同步", "Sync through a proxy that drops, cuts, duplicates and delays"),
    ("decide_conflicts", "人工裁决冲突", "A person decides contradictions, with reasons"),
    ("finish", "复签、提交、归档", "Sign again, submit, close into behaviors"),
    ("settle_leads", "线索处置与反馈", "Verified leads are disposed of, fed back to their rules, and closed"),
    ("finish_central", "国家平台汇聚", "The central system pulls, proofs and digests checked"),
    ("verify", "全库核验", "Recompute chains, signatures, records, custody, proofs"),
)
"""The chapters in order: the story's method, and its title in both languages."""


class Stage:
    """The live list of chapters."""

    def __init__(self, console: Console) -> None:
        """Show on `console`; a console that is no terminal gets plain lines instead."""
        self.console = console
        self._done: dict[str, float] = {}
        self._now = ""
        self._since = time.monotonic()
        self._detail = ""
        self._live: Live | None = None

    @contextmanager
    def live(self) -> Iterator[None]:
        """Keep the list on the screen for the length of the block."""
        if not self.console.is_terminal:
            yield
            return
        with Live(self, console=self.console, refresh_per_second=8, transient=True) as self._live:
            yield
        self._live = None

    def begin(self, chapter: str) -> None:
        """A chapter begins."""
        self._now, self._since, self._detail = chapter, time.monotonic(), ""

    def end(self) -> None:
        """The running chapter is done."""
        self._done[self._now] = time.monotonic() - self._since
        if not self.console.is_terminal:
            zh, en = next((zh, en) for name, zh, en in CHAPTERS if name == self._now)
            self.console.print(f"✔ {zh} {en}  {self._done[self._now]:.1f} s  {self._detail}", highlight=False)

    def report(self, _step: str, figures: Mapping[str, Any]) -> None:
        """Show the newest figures of the running chapter."""
        shown = [
            (name, value) for name, value in figures.items() if isinstance(value, int) and not isinstance(value, bool)
        ]
        self._detail = " · ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in shown[:6])

    def __rich__(self) -> Group:
        """Render the list."""
        rows: list[Any] = [Text("现场为证 Fieldproof", style="bold cyan"), Text()]
        for name, zh, en in CHAPTERS:
            if name in self._done:
                line = Text.assemble(("✔ ", "green"), (f"{zh} ", "bold"), (en, "dim"), f"  {self._done[name]:.1f} s")
            elif name == self._now:
                seconds = time.monotonic() - self._since
                text = Text.assemble((f"{zh} ", "bold yellow"), en, f"  {seconds:.0f} s  ", (self._detail, "cyan"))
                rows.append(Spinner("dots", text=text))
                continue
            else:
                line = Text(f"  {zh} {en}", style="bright_black")
            rows.append(line)
        return Group(*rows)


def summary(figures: Mapping[str, Any]) -> Group:
    """Return the summary: for each step what went in, what came out, and the difference."""
    table = Table(box=None, pad_edge=False, header_style="bold cyan")
    table.add_column("步骤 Step")
    table.add_column("进 In", justify="right")
    table.add_column("出 Out", overflow="fold")
    table.add_column("差异 Difference", justify="right")
    for row in _rows(figures):
        table.add_row(*row)
    digests = figures["digests"]
    same = digests["server"] == digests["central"]
    digest = Text.assemble(
        ("摘要一致 digests equal  " if same else "摘要不一致 DIGESTS DIFFER  ", "bold green" if same else "bold red"),
        digests["server"][:16],
        " = " if same else " ≠ ",
        digests["central"][:16],
    )
    faults = figures.get("faults", {})
    spoiled = " · ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in faults.items() if count)
    foot = Text(f"链路故障 link faults: {spoiled or 'none'}", style="dim")
    verdict = Text.assemble(
        ("✔ 无丢失、无重复、无未解释差异  ", "bold green"), "nothing lost, nothing twice, nothing unexplained"
    )
    ending = Text(f"种子 seed {figures['seed']} · {figures['seconds']:.1f} s", style="dim")
    return Group(
        Panel(Group(table, Text(), digest, foot), title="现场为证 Fieldproof", border_style="cyan"), verdict, ending
    )


def _rows(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    readings, acts, evidence = figures["readings"], figures["acts"], figures["evidence"]
    yield (
        "传感器读数 readings",
        f"{readings['published']:,}",
        _parts(
            (readings["stored"], "有效 valid"),
            (readings["invalid"], "无效 invalid"),
            (readings["dead_lettered"], "死信 dead-lettered"),
            (readings["duplicate"], "重复 repeats without effect"),
        ),
        f"{readings['lost']}",
    )
    leads, from_leads = figures["leads"], figures["tasks"] - (figures["inspections"]["total"] - figures["leads"])
    yield "线索 leads", f"{leads:,} 次超标 episodes", f"{from_leads:,} 任务 tasks", f"{leads - from_leads}"
    settled = figures["settled_leads"]
    yield (
        "线索核实 leads verified",
        f"{leads:,}",
        _parts(
            (settled["confirmed"], "属实 confirmed"),
            (settled["partly"], "部分属实 partly"),
            (settled["refuted"], "不实 refuted"),
            (leads - sum(settled.values()), "核查中 being verified"),
        ),
        "0",
    )
    yield (
        "操作 acts",
        f"{acts['written']:,}",
        _parts(
            (acts["applied"], "应用 applied"),
            (acts["merged"], "合并 merged"),
            (acts["conflict"], "冲突 conflict"),
            (acts["held"], "暂存 held"),
            (acts["quarantined"], "隔离 quarantined"),
        ),
        f"{acts['lost']}",
    )
    yield (
        "证据 evidence",
        f"{evidence['captured'] + evidence['extracts']:,}",
        _parts((evidence["verified"], "已核验 verified"), (evidence["rejected"], "拒绝 rejected")),
        f"{evidence['lost']}",
    )
    conflicts, inspections = figures["conflicts"], figures["inspections"]
    yield (
        "冲突 conflicts",
        f"{conflicts['opened']:,}",
        _parts((conflicts["decided"], "已裁决 decided"), (conflicts["open"], "待裁决 waiting for a person")),
        f"{conflicts['opened'] - conflicts['decided'] - conflicts['open']}",
    )
    yield (
        "检查 inspections",
        f"{inspections['total']:,}",
        _parts((inspections["closed"], "监管行为 behaviors"), (inspections["left_in_conflict"], "待裁决 in conflict")),
        f"{inspections['total'] - inspections['closed'] - inspections['left_in_conflict']}",
    )
    central = figures["central"]
    yield (
        "国家平台 central",
        f"{figures['behaviors']:,}",
        _parts((central["pulled"], "汇聚 pulled"), (central["proofs_verified"], "证明已验 proofs verified")),
        f"{central['missed'] + central['duplicated']}",
    )


def _parts(*counts: tuple[int, str]) -> str:
    return "\n".join(f"{count:,} {label}" for count, label in counts)
