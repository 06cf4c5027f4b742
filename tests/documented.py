"""The tables of the documentation that are made from the code, so that neither can drift from the other.

`python -m tests.documented` writes them between their marks (`<!-- begin: name -->`, `<!-- end: name -->`);
tests/test_docs.py fails when what stands there is not what would be written.
"""

from __future__ import annotations

import importlib
import inspect
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from flask import Flask
from marshmallow import Schema, fields, validate

from schemas.kinds import KINDS
from schemas.kinds.base import HASH, ID, REGION, DotText, Instant, SetChange
from server.app import create_app
from server.behaviors.lifecycles import LIFECYCLES, PUBLICATION
from server.cli import main
from server.clock import SystemClock
from server.config import load_settings
from server.db.engine import Database
from server.directory.lifecycle import DIRECTORY
from server.errors import PROBLEMS
from server.inspections.lifecycles import INSPECTION, RECTIFICATION
from server.leads.lifecycle import LEAD
from server.plans.lifecycles import BATCH, PLAN, VISIT
from server.runtime import Runtime
from server.telemetry.rule_life import RULE_LIFE
from tests.project_tree import ROOT

PROTOCOL = ROOT / "docs" / "protocol.md"
OPERATIONS = ROOT / "docs" / "operations.md"
STATES = ROOT / "docs" / "states.md"
MACHINES = (
    DIRECTORY,
    INSPECTION,
    *LIFECYCLES.values(),
    RECTIFICATION,
    PUBLICATION,
    PLAN,
    BATCH,
    VISIT,
    RULE_LIFE,
    LEAD,
)
"""All state machines that are tables."""

LIMITS: Sequence[tuple[str, str, str]] = (
    ("sync.acts.MAX_PART_BYTES", "bytes", "header, body or personal part of an act, each"),
    ("sync.acts.MAX_FIELDS", "fields", "set by one act, both parts together"),
    ("sync.acts.MAX_NAME_CHARS", "characters", "of a field's or kind's name"),
    ("sync.acts.MAX_SEEN", "dots", "in `seen`"),
    ("sync.acts.SALT_CHARS", "characters", "of a salt, exactly"),
    ("sync.dots.MAX_SEQUENCE", "", "largest number anywhere in a header or segment head"),
    ("sync.journal.MAX_SEGMENT_ACTS", "acts", "in a segment"),
    ("sync.journal.MAX_SEGMENT_BYTES", "bytes", "of a segment"),
    ("sync.journal.MAX_JOURNAL_GAP", "acts", "between the server's head of a journal and a segment's first act"),
    ("schemas.kinds.base.MAX_TEXT_CHARS", "characters", "of a long text"),
    ("schemas.kinds.base.MAX_LABEL_CHARS", "characters", "of a label"),
    ("schemas.kinds.base.MAX_SET_ELEMENTS", "elements", "added, and removed, by one set change"),
    ("schemas.kinds.field_work.MAX_SIGNED_DOTS", "dots", "named by one signature"),
    ("schemas.kinds.field_work.MAX_EVIDENCE_BYTES", "bytes", "of one evidence file"),
    ("schemas.kinds.reference.MAX_SUB_ITEMS", "lines", "of a checklist"),
    ("server.fieldsync.feed.DEFAULT_LINES", "acts", "in an answer about statuses, unless asked for another number"),
    ("server.fieldsync.feed.MAX_LINES", "lines", "of a page of the feed, and acts in an answer about statuses"),
    ("server.fieldsync.feed.MAX_STREAM_LINES", "lines", "of a stream, about; it then ends with `more`"),
    ("server.records.compaction.LEAVES_KEPT_DAYS", "days", "that leaves are kept for those who stay away"),
    ("server.fieldsync.reconcile.MAX_RECORDS", "records", "asked for by id in one request"),
    ("sync.digest.MAX_RANGE_PAIRS", "pairs", "in a range that is listed instead of being divided further"),
    ("sync.cursors.MAX_CURSOR_CHARS", "characters", "of a cursor"),
    ("server.web.body.MAX_DEPTH", "levels", "of nesting in any JSON"),
    ("server.app.MAX_BODY_BYTES", "bytes", "of a request's body, where nothing else is said"),
    ("server.web.auth.MAX_TOKEN_CHARS", "characters", "of a token"),
    ("server.web.paging.MAX_PAGE", "rows", "of a list"),
    ("server.registers.blueprint.MAX_IMPORT_BYTES", "bytes", "of a file that is imported into a register"),
    ("server.registers.importing.MAX_ROWS", "rows", "of such a file"),
    ("server.registers.tables.MAX_JSON_BYTES", "bytes", "of such a file in JSON; JSON lines have the limit above"),
    ("server.registers.tables.MAX_XLSX_BYTES", "bytes", "of an XLSX"),
    ("server.registers.tables.MAX_XLSX_UNPACKED_BYTES", "bytes", "that an XLSX unpacks to"),
    ("server.registers.tables.MAX_XLSX_ROWS", "rows", "of an XLSX"),
    ("server.registers.blueprint.MAX_EXPORT_ROWS", "rows", "of one file of an export"),
    ("server.devices.service.MAX_DEVICES_PER_OFFICER", "devices", "of one officer, pending or active"),
    ("server.devices.sharing.MAX_OFFICERS_PER_DEVICE", "officers", "on one shared device"),
    ("server.devices.keys.MAX_KEY_CHANGES", "changes", "of one device's key"),
    ("server.devices.keys.MAX_KEY_HEADS", "journals", "named when a key is changed"),
    ("server.devices.standing.MAX_SEALED_ACTS", "acts", "handed in by one revoked device"),
    ("server.devices.wiping.MAX_LOST", "acts, and files", "that a device can say it lost"),
    ("server.rates.BURST_S", "seconds", "whose requests a device may make at once (rate: the operator's choice)"),
    (
        "server.devices.service.SIGN_IN_WINDOW_S",
        "seconds",
        "between a device's `at_ms` at sign-in and the server's time",
    ),
    ("server.evidence.upload.MAX_OPEN_UPLOADS", "uploads", "of one device that are unfinished"),
    ("server.evidence.upload.MAX_PENDING_BYTES", "bytes", "of one device that are unfinished or undeclared"),
    ("server.evidence.tus.MAX_METADATA_BYTES", "bytes", "of `Upload-Metadata`"),
    ("server.fieldsync.conflicts.MAX_REASON_CHARS", "characters", "of the reason for a decision"),
    ("server.fieldsync.erasure.MAX_RECORDS", "records", "of one erasure order, and of one answer to erase lines"),
    ("server.fieldsync.erasure.MAX_BASIS_CHARS", "characters", "of an order's legal basis"),
    ("schemas.exchange.MAX_PAGE_LINES", "lines", "of a page of the central pull"),
    ("server.exchange.feed.DEFAULT_LINES", "lines", "of such a page, unless asked for another number"),
    ("schemas.proof_log.MAX_PATH_HASHES", "hashes", "of an inclusion proof"),
)
"""Constants that a client meets, with unit and meaning."""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return "\n".join([*lines, *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)])


def kinds_table() -> str:
    """The synced kinds: who writes them, and each field with its type, policy and protection."""
    parts = []
    for kind in KINDS.values():
        doc = inspect.getdoc(kind.schema) or ""
        rows = [
            (f"`{name}`", type_of(field), policy_of(field), "yes" if field.metadata["personal"] else "")
            for name, field in kind.schema().fields.items()
        ]
        title = f"### `{kind.name}`\n\n{doc}\n\nWritten by: {kind.writer}. Version {kind.version}."
        parts.append(f"{title}\n\n{table(('Field', 'Value', 'Policy', 'Personal'), rows)}")
    return "\n\n".join(parts)


def policy_of(field: fields.Field[Any]) -> str:
    """The merge policy of a field, with the order of a monotone one."""
    order = field.metadata["order"]
    return f"{field.metadata['policy']}: {' < '.join(order)}" if order else str(field.metadata["policy"])


def type_of(field: fields.Field[Any]) -> str:
    """What values a field takes, in words."""
    null = " or null" if field.allow_none else ""
    match field:
        case SetChange():
            listed = "ordered list" if field.metadata["policy"] == "list" else "set"
            return f"{listed} of: {type_of(field.element)}"
        case Instant():
            return "instant" + null
        case DotText():
            return "dot" + null
        case fields.List():
            return f"list of {bounds(field)}: {type_of(field.inner)}"
        case fields.Nested():
            return f"object {{{members(field.schema)}}}"
        case fields.Integer():
            return f"whole number {bounds(field)}" + null
        case fields.Float():
            return f"number {bounds(field)}" + null
        case fields.String():
            return text_of(field) + null
    raise TypeError(f"no words for {type(field).__name__}")


def text_of(field: fields.String) -> str:
    """What texts a field takes, in words."""
    words = {id(ID): "id", id(HASH): "64 hexadecimal digits", id(REGION): "division code, 6 or 9 digits, from 42"}
    for check in field.validators:
        if id(check) in words:
            return words[id(check)]
        if isinstance(check, validate.OneOf):
            return "one of " + ", ".join(f"`{choice}`" for choice in check.choices)
        if isinstance(check, validate.Regexp):
            pattern = str(check.regex.pattern).removeprefix(r"\A").removesuffix(r"\Z")
            return f"text matching `{pattern}`"
    return f"text {bounds(field)} characters"


def members(schema: Schema) -> str:
    """The members of a nested object; a question mark stands behind those that may be absent."""
    return "; ".join(f"`{n}`{'' if f.required else '?'}: {type_of(f)}" for n, f in schema.fields.items())


def bounds(field: fields.Field[Any]) -> str:
    """The least and most of a length or number, in words."""
    for check in field.validators:
        if isinstance(check, validate.Length) and check.equal is not None:
            return str(check.equal)
        if isinstance(check, validate.Length | validate.Range):
            least = 0 if check.min is None and isinstance(check, validate.Length) else check.min
            return f"{least:,} to {check.max:,}"
    raise ValueError(f"{field.name} has no bounds")


def limits_table() -> str:
    """Every limit that a client meets."""
    rows = []
    for path, unit, meaning in LIMITS:
        module, _, name = path.rpartition(".")
        value = getattr(importlib.import_module(module), name)
        rows.append((f"`{name}`", f"{value:,}", unit, meaning))
    return table(("Constant", "Value", "Unit", "What"), rows)


def problems_table() -> str:
    """Every problem this server can answer."""
    rows = [(f"`{code}`", str(kind.status), f"{kind.title_zh} / {kind.title_en}") for code, kind in PROBLEMS.items()]
    return table(("Code", "Status", "Title"), rows)


def routes_table(app: Flask) -> str:
    """Every address of the application: methods, who may, and what for."""
    rows = []
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: (rule.rule, sorted(rule.methods or ()))):
        view = app.view_functions[rule.endpoint]
        methods = (rule.methods or set()) - {"OPTIONS"} - ({"HEAD"} if "GET" in (rule.methods or ()) else set())
        doc = (inspect.getdoc(view) or "").partition("\n")[0]
        roles = getattr(view, "fieldproof_roles", ())
        rows.append((", ".join(sorted(methods)) or "OPTIONS", f"`{rule.rule}`", ", ".join(roles), doc))
    return table(("Method", "Address", "For", "What"), rows)


def commands(group: click.Group, above: str = "fieldproof") -> Iterator[tuple[str, str]]:
    """Every command below a group, with the first line of its help."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{above} {name}")
        elif command is not None:
            yield f"{above} {name}", command.get_short_help_str(200)


def commands_table() -> str:
    """Every command of the program, those of the other programs included."""
    return table(("Command", "What"), [(f"`{name}`", text) for name, text in commands(main)])


def state_diagrams() -> str:
    """Every state machine as a diagram."""
    return "\n\n".join(f"## {one.zh} · {one.en}\n\n```mermaid\n{one.mermaid()}\n```" for one in MACHINES)


def bare_app() -> Flask:
    """The application over an empty database, for looking at and not for calling."""
    with tempfile.TemporaryDirectory() as home:
        settings = load_settings({"FIELDPROOF_HOME": home})
        return create_app(Runtime(settings, Database(settings.database_url), SystemClock(), bytes))


BLOCKS: dict[str, tuple[Path, Callable[[], str]]] = {
    "kinds": (PROTOCOL, kinds_table),
    "limits": (PROTOCOL, limits_table),
    "problems": (PROTOCOL, problems_table),
    "routes": (OPERATIONS, lambda: routes_table(bare_app())),
    "commands": (OPERATIONS, commands_table),
    "states": (STATES, state_diagrams),
}
"""Block name: the file it stands in, and what makes it."""


def block_pattern(name: str) -> re.Pattern[str]:
    """What finds a block with its marks; group 1 is what stands between them."""
    return re.compile(rf"(?<=<!-- begin: {name} -->\n)(.*?)(?=<!-- end: {name} -->)", re.DOTALL)


def write_all() -> None:
    """Write every block into its file."""
    for name, (path, make) in BLOCKS.items():
        made = f"\n{make()}\n\n"
        text, count = block_pattern(name).subn(lambda _, made=made: made, path.read_text(encoding="utf-8"))  # type: ignore[misc]
        if count != 1:
            raise SystemExit(f"{path} has no marks for {name}")
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_all()
