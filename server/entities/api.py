"""Regulated entities for operators: finding, history, changes, grades, merges, import and export."""

from collections.abc import Iterator, Mapping
from typing import Any

from flask import Response, request
from marshmallow import Schema, ValidationError, fields, validate, validates_schema
from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.codes import Code
from schemas.kinds.base import ID, Text
from server.audit.api import ChangePage, page_place
from server.audit.service import ChangeQuestion, find_changes
from server.entities import importing, merging, service
from server.entities.models import Entity
from server.errors import Problem
from server.registers.blueprint import EXPORT_PAGE, export_file, uploaded
from server.registers.definition import Region, label
from server.registers.report import ImportReport
from server.registers.schemas import ExportQuery, ImportQuery, ImportView
from server.registers.tables import read_rows
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.principal import require_scope
from server.web.transaction import runtime, session, transactional

blp = Blueprint("entities", __name__, url_prefix="/api/v1/entities", description="监管对象 Regulated entities")
MAX_REASON_CHARS = 1_000
READERS = ("admin", "operator", "auditor")


class EntityQuery(PageQuery):
    """Which entities: `q` is a fragment of the name (two characters or more) or a whole code."""

    q = fields.String(load_default="", validate=validate.Length(max=100))
    region = fields.String(load_default="", validate=validate.Regexp(r"\A\d{0,9}\Z"))
    sector = Code("sector", load_default="")
    risk = Code("risk_grade", load_default="")
    credit = Code("credit_grade", load_default="")
    status = fields.String(load_default="", validate=validate.OneOf(("", "active", "closed", "merged")))


class EntityView(Schema):
    """An entity as people see it."""

    id = fields.String()
    name = fields.String()
    nature = fields.String()
    uscc = fields.String()
    entity_type = fields.String()
    sector = fields.String()
    registered_address = fields.String()
    operating_address = fields.String()
    region = fields.String()
    lat = fields.Float()
    lon = fields.Float()
    datum = fields.String()
    risk = fields.String()
    credit = fields.String()
    status = fields.String()
    merged_into = fields.String(allow_none=True)
    revision = fields.Integer()


class EntityPage(Schema):
    """A page of entities; `next` is the `after` of the next page, empty at the end."""

    entities = fields.List(fields.Nested(EntityView))
    next = fields.String()


class ChangeBody(Schema):
    """What changes, on which revision, and why."""

    name = Text(validate=label())
    registered_address = Text(validate=label())
    operating_address = Text(validate=label())
    sector = Code("sector")
    entity_type = Code("entity_type")
    region = Region()
    lat = fields.Float(validate=validate.Range(-90, 90))
    lon = fields.Float(validate=validate.Range(-180, 180))
    datum = fields.String(validate=validate.OneOf(importing.DATUMS))
    status = fields.String(validate=validate.OneOf(("active", "closed")))
    revision = fields.Integer(required=True, strict=True)
    reason = fields.String(required=True, validate=validate.Length(1, MAX_REASON_CHARS))

    @validates_schema
    def _whole_position(self, data: Mapping[str, Any], **_: Any) -> None:  # noqa: ANN401 - marshmallow's
        """A position is given whole, with its datum: one that is not named may lie hundreds of metres off."""
        given = [name for name in service.POSITION if name in data]
        if given and len(given) < len(service.POSITION):
            missing = next(name for name in service.POSITION if name not in data)
            raise ValidationError("位置须连同坐标系一并给出 / a position is given whole, with its datum", missing)


class GradeBody(Schema):
    """A new grade, and why."""

    kind = fields.String(required=True, validate=validate.OneOf(tuple(service.GRADES)))
    grade = fields.String(required=True, validate=validate.Length(equal=1))
    reason = fields.String(required=True, validate=validate.Length(1, MAX_REASON_CHARS))


class GradeView(Schema):
    """One change of a grade."""

    entity = fields.String()
    kind = fields.String()
    before = fields.String()
    grade = fields.String()
    reason = fields.String()
    author = fields.String()
    at = fields.AwareDateTime()


class GradeList(Schema):
    """The history of an entity's grades."""

    grades = fields.List(fields.Nested(GradeView))


class MergeBody(Schema):
    """Into which entity a duplicate goes, and why."""

    into = fields.String(required=True, validate=ID)
    reason = fields.String(required=True, validate=validate.Length(1, MAX_REASON_CHARS))


class EntityImportQuery(ImportQuery):
    """Why, unless it is an import like any other, and whether to change nothing."""

    reason = fields.String(load_default="import", validate=validate.Length(1, MAX_REASON_CHARS))


class EntityExportQuery(ExportQuery):
    """As what, from which place of one's region, and from where on."""

    region = fields.String(load_default="", validate=validate.Regexp(r"\A\d{0,9}\Z"))


def _mine(entity_id: str, *, lock: bool = False) -> Entity:
    entity = service.get_entity(session(), entity_id, lock=lock)
    require_scope(principal(), entity.region, principal().department)
    return entity


@blp.route("", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(EntityQuery, location="query")
@blp.response(200, EntityPage)
def entities(query: dict[str, Any]) -> dict[str, Any]:
    """Find entities of one's region by name fragment, code, place or grade."""
    paging = {"after": query.pop("after"), "limit": query.pop("limit")}
    found, rest = service.find_entities(session(), principal(), service.EntityQuestion(**query), **paging)
    return {"entities": found, "next": rest}


@blp.route("/<entity_id>", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, EntityView)
def entity(entity_id: str) -> Entity:
    """Show an entity; a merged duplicate says what it was merged into."""
    return _mine(entity_id)


@blp.route("/<entity_id>", methods=["PATCH"])
@require("admin", "operator")
@transactional
@blp.arguments(ChangeBody)
@blp.response(200, EntityView)
def change(body: dict[str, Any], entity_id: str) -> Entity:
    """Change an entity as it stood at `revision`; handhelds learn of it at their next sync."""
    known, reason, revision = _mine(entity_id, lock=True), body.pop("reason"), body.pop("revision")
    if "region" in body and not body["region"].startswith(principal().region):
        raise Problem("invalid-field", field="region", detail=f"{body['region']} lies outside your region")
    author = principal().subject
    service.change_entity(session(), runtime(), known, body, author=author, reason=reason, revision=revision)
    return known


@blp.route("/<entity_id>/grades", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, GradeList)
def grades(entity_id: str) -> dict[str, Any]:
    """Show the history of an entity's risk and credit grades, those of merged duplicates included."""
    return {"grades": merging.grades_of(session(), _mine(entity_id))}


@blp.route("/<entity_id>/grades", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.arguments(GradeBody)
@blp.response(201, EntityView)
def grade(body: dict[str, Any], entity_id: str) -> Entity:
    """Give an entity a risk or credit grade."""
    known = _mine(entity_id, lock=True)
    service.grade_entity(session(), runtime(), known, **body, author=principal().subject)
    return known


@blp.route("/<entity_id>/merge", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.arguments(MergeBody)
@blp.response(200, EntityView)
def merge(body: dict[str, Any], entity_id: str) -> Entity:
    """Merge a duplicate into another entity; both histories stay."""
    locked = {one: _mine(one, lock=True) for one in sorted({entity_id, body["into"]})}  # both ways in one order
    loser, keeper = locked[entity_id], locked[body["into"]]
    merging.merge_entity(session(), runtime(), loser, keeper, author=principal().subject, reason=body["reason"])
    return loser


@blp.route("/<entity_id>/history", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(PageQuery, location="query")
@blp.response(200, ChangePage)
def history(query: dict[str, Any], entity_id: str) -> dict[str, Any]:
    """Show every change of an entity and its merged duplicates, newest first: who, when, old and new values, why."""
    first, *others = merging.with_duplicates(session(), _mine(entity_id).id)
    asked = ChangeQuestion(kind="entity", record=first, others=tuple(others))
    place, limit = page_place(query["after"]), query["limit"]
    found = find_changes(session(), principal(), asked, after=place, limit=limit)
    return {"changes": found, "next": str(found[-1].id) if len(found) == limit else ""}


@blp.route("/import", methods=["POST"])
@require("admin", "operator")
@blp.arguments(EntityImportQuery, location="query")
@blp.response(200, ImportView)
def import_rows(query: dict[str, Any]) -> ImportReport:
    """Import entities (CSV, JSON lines, JSON or XLSX), read as a stream; the reply tells of every row refused."""
    rows = read_rows(uploaded(), request.mimetype, importing.COLUMNS)
    opened = runtime().db.read if query["dry_run"] else runtime().db.write
    caller = principal()
    return importing.import_entities(runtime(), opened, rows, author=caller.subject, region=caller.region, **query)


@blp.route("/export", methods=["GET"])
@require(*READERS)
@blp.arguments(EntityExportQuery, location="query")
def export(query: dict[str, Any]) -> Response:
    """Export the entities of one's region as CSV, JSON, JSON lines or XLSX, which imports again unchanged."""
    region = query["region"] or principal().region
    require_scope(principal(), region, principal().department)
    return export_file(
        "entities", importing.EXPORTED, query["format"], lambda opened: _pages(opened, region, query["after"])
    )


def _pages(opened: Session, region: str, after: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    columns = [getattr(Entity, name) for name in importing.EXPORTED]
    here = (Entity.region.startswith(region, autoescape=True), Entity.status != service.MERGED)
    while True:
        query = select(Entity.id, *columns).where(*here, Entity.id > after).order_by(Entity.id).limit(EXPORT_PAGE)
        rows = opened.execute(query).mappings().all()
        yield from ((str(row["id"]), {name: row[name] for name in importing.EXPORTED}) for row in rows)
        if len(rows) < EXPORT_PAGE:
            return
        after = rows[-1]["id"]
