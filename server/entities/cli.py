"""The command `fieldproof entities import`."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from server.config import load_settings
from server.entities.importing import COLUMNS, import_entities
from server.errors import Problem
from server.registers.tables import FORMATS, read_rows
from server.runtime import build_runtime

SUFFIXES = {f".{name}": media_type for name, media_type in FORMATS.items()} | {".ndjson": FORMATS["jsonl"]}


@click.group()
def entities() -> None:
    """监管对象。Regulated entities."""


@entities.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="逐行报告 Where to write the report.")
def import_file(file: Path, report: Path | None) -> None:
    """从 CSV、JSONL 或 XLSX 导入监管对象。Import entities from FILE (.csv, .jsonl, .xlsx); refused rows are told."""
    media_type = SUFFIXES.get(file.suffix.lower())
    if media_type is None:
        raise click.UsageError(f"{' / '.join(SUFFIXES)}")
    try:
        rt = build_runtime(load_settings())
        with file.open("rb") as stream:
            done = import_entities(rt, rt.db.write, read_rows(stream, media_type, COLUMNS), author="cli")
    except Problem as problem:
        raise click.ClickException(f"{problem.kind.title_zh} / {problem.kind.title_en}: {problem}") from problem
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    if report is not None:
        report.write_text(json.dumps(asdict(done), ensure_ascii=False, indent=2), encoding="utf-8")
    for refusal in done.refusals[:20]:
        click.echo(f"第 {refusal.row} 行 row {refusal.row}: {refusal.field}: {refusal.reason}", err=True)
    click.echo(
        f"行 rows: {done.rows}, 新增 entered: {done.entered}, 变更 changed: {done.changed}, "
        f"未变 unchanged: {done.unchanged}, 拒绝 refused: {done.refused}"
    )
