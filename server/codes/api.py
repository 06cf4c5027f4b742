"""The code tables for whoever shows or checks codes; a day asks for the labels that were in force on it."""

from datetime import date
from typing import Any

from marshmallow import Schema, fields

from schemas.codes import CodeEntry, CodeTable, CodeVersion, UnknownTable, code_table, table_names
from server.errors import Problem
from server.web.auth import require
from server.web.blueprint import Blueprint

blp = Blueprint("codes", __name__, url_prefix="/api/v1/codes", description="代码表 Code tables")
READERS = ("admin", "operator", "auditor", "officer", "device", "central")


class EntryView(Schema):
    """One code with its labels."""

    code = fields.String()
    zh = fields.String()
    en = fields.String()


class TableHead(Schema):
    """Name, labels and version of a code table."""

    name = fields.String()
    zh = fields.String()
    en = fields.String()
    source = fields.String()
    version = fields.Integer()
    since = fields.Date()


class VersionHead(Schema):
    """One of a table's versions."""

    version = fields.Integer()
    since = fields.Date()


class TableView(TableHead):
    """A code table in one version, and which versions there are."""

    entries = fields.List(fields.Nested(EntryView))
    versions = fields.List(fields.Nested(VersionHead))


class TableList(Schema):
    """All tables in their newest version, without entries."""

    tables = fields.List(fields.Nested(TableHead))


class DayQuery(Schema):
    """The day whose version is wanted; without one, the newest."""

    on = fields.Date(load_default=None)


@blp.route("", methods=["GET"])
@require(*READERS)
@blp.response(200, TableList)
def tables() -> dict[str, Any]:
    """List the code tables."""
    return {"tables": [_view(table, table.current) for table in map(code_table, table_names())]}


@blp.route("/<name>", methods=["GET"])
@require(*READERS)
@blp.arguments(DayQuery, location="query")
@blp.response(200, TableView)
def table(query: dict[str, date | None], name: str) -> dict[str, Any]:
    """Show a code table with its Chinese and English labels, as in force on a day."""
    found, day = _table(name), query["on"]
    version = found.current if day is None else found.in_force(day)
    return _view(found, version) | {"versions": list(found.versions)}


@blp.route("/<name>/<code>", methods=["GET"])
@require(*READERS)
@blp.arguments(DayQuery, location="query")
@blp.response(200, EntryView)
def entry(query: dict[str, date | None], name: str, code: str) -> CodeEntry:
    """Show a code with its labels, as in force on a day: an old record keeps the label of its time."""
    found = _table(name).find(code, query["on"])
    if found is None:
        raise Problem("not-found", detail="the table did not hold this code")
    return found


def _table(name: str) -> CodeTable:
    try:
        return code_table(name)
    except UnknownTable as error:
        raise Problem("not-found", detail="no code table of this name") from error


def _view(found: CodeTable, version: CodeVersion) -> dict[str, Any]:
    return {
        "name": found.name, "zh": found.zh, "en": found.en, "source": found.source,
        "version": version.version, "since": version.since, "entries": list(version.entries.values()),
    }  # fmt: skip
