"""The summary of a demonstration: for each step what went in, what came out, and the difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text


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
    leads = figures["leads"]
    from_leads = figures["tasks"] - (figures["inspections"]["total"] - leads - figures["draw"]["drawn"])
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
    yield from _base_rows(figures)
    central = figures["central"]
    yield (
        "国家平台 central",
        f"{figures['behaviors']:,}",
        _parts((central["pulled"], "汇聚 pulled"), (central["proofs_verified"], "证明已验 proofs verified")),
        f"{central['missed'] + central['duplicated']}",
    )


def _base_rows(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """What the registers and the rules of the field did."""
    checklist, draw, rules, doors = (figures[name] for name in ("checklist", "draw", "rules", "doors"))
    yield (
        "修订清单 revised checklist",
        f"{checklist['devices']:,} 终端 handhelds",
        _parts(
            (checklist["held"], "下次同步即得 came with the next sync"),
            (checklist["marked"], "旧版检查已标注 begun on the older one, marked"),
        ),
        f"{checklist['devices'] - checklist['held']}",
    )
    yield (
        "双随机 double-random",
        f"{draw['roster']:,} 对象 entities",
        _parts(
            (draw["excluded"], "频次已满 left out: had their visits"),
            (draw["drawn"], "抽中 drawn"),
            (draw["published"], "已公示 published"),
        ),
        f"{draw['drawn'] - draw['published']}",
    )
    yield (
        "入企限制 limits on visits",
        f"{doors['visits']:,} 检查 visits",
        _parts(
            (doors["scanned"], "扫码入企 scanned in"),
            (doors["visits"] - doors["scanned"], "免扫情形 by a coded reason"),
            (doors["marked"], "补录标注 marked, of past years"),
        ),
        "0",
    )
    yield (
        "现场规则 rules of the field",
        f"{rules['tried']:,} 违规操作 forbidden entries",
        _parts(
            (rules["refused"], "离线拒绝 refused offline"),
            (rules["kept_unclosed"], "平台不办结 written anyway, not closed"),
        ),
        f"{rules['tried'] - rules['refused']}",
    )


def _parts(*counts: tuple[int, str]) -> str:
    return "\n".join(f"{count:,} {label}" for count, label in counts)
