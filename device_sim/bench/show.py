"""The result as a table for people and as a list for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from device_sim.bench.frame import Suite
from device_sim.bench.measurement import RAW, Row, percentile, ratio


def result_table(title: str, rows: Sequence[Row]) -> Table:
    """Return the rows as a table, each product row with its share of the limit measured in the same run."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("案例\ncase", "系统\nsystem"):
        table.add_column(column, no_wrap=True)
    for column in ("速率\nrate", "占极限\nof limit", "p50\nms", "p99\nms", "内存\nRSS MB"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        measured, share = row.measured, ratio(row, rows)
        table.add_row(
            row.case,
            row.system,
            f"{measured.rate_per_s:,.{_digits(measured.rate_per_s)}f}/s",
            "" if share is None else f"{share:.3f}",
            f"{1000 * percentile(measured.latencies_s, 0.50):,.1f}",
            f"{1000 * percentile(measured.latencies_s, 0.99):,.1f}",
            f"{measured.peak_rss_mb:,.0f}",
            style="dim" if row.system == RAW else "",
        )
    return table


def note_lines(rows: Sequence[Row]) -> list[str]:
    """Return one line for each row: what was done, how durable it is, and further numbers."""
    return [
        f"{row.case} ({row.system}, {row.unit}): {row.measured.note}"
        + "".join(f"; {name} {value}" for name, value in row.measured.extra.items())
        for row in rows
    ]


def suite_table(suites: Sequence[Suite]) -> Table:
    """Return what there is to measure."""
    table = Table(title="基准 Benchmarks: fieldproof bench NAME", title_justify="left")
    for column in ("名称 name", "案例 case", "测什么 what it measures"):
        table.add_column(column)
    for suite in suites:
        table.add_row(suite.name, "", suite.about, style="bold")
        for case, about in suite.cases.items():
            table.add_row("", case, about)
    return table


def write_json(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows as a JSON list."""
    path.write_text(json.dumps([row.as_dict() for row in rows], ensure_ascii=False, indent=2) + "\n", "utf-8")


def _digits(rate: float) -> int:
    return 0 if rate >= 100 else 1
