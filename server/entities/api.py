"""Regulated entities for operators: finding, history, changes, grades, merges, import."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import request
from marshmallow import Schema, fields, validate
from sqlalchemy.orm import Session

from schemas.codes import Code
from schemas.kinds.base import ID, MAX_LABEL_CHARS
from server.entities import importing, service
from server.entities.models import Entity
from server.errors import Problem
from server.web.auth import principal, require, require_scope
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.transaction import runtime, session, transactional

blp = Blueprint("entities", __name__, url_prefix="/api/v1/entities", description="监管对象 Regulated entities")
MAX_REASON_CHARS = 1_000
READERS = ("admin", "operator", "auditor")
FORMATS = {"text/csv": "csv", "application/x-ndjson": "jsonl"}


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


class EntityPage(Schema):
    """A page of entities; `next` is the `after` of the next page, empty at the end."""

    entities = fields.List(fields.Nested(EntityView))
    next = fields.String()


class ChangeBody(Schema):
    """What changes, and why."""

    name = fields.String(validate=validate.Length(1, MAX_LABEL_CHARS))
    registered_address = fields.String(validate=validate.Length(1, MAX_LABEL_CHARS))
    operating_address = fields.String(validate=validate.Length(1, MAX_LABEL_CHARS))
    sector = Code("sector")
    entity_type = Code("entity_type")
    reason = fields.String(required=True, validate=validate.Length(1, MAX_REASON_CHARS))


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


class RefusalView(Schema):
    """A row that was not taken."""

    row = fields.Integer()
    field = fields.String()
    reason = fields.String()


class ImportView(Schema):
    """What became of the rows of an import."""

    rows = fields.Integer()
    entered = fields.Integer()
    changed = fields.Integer()
    unchanged = fields.Integer()
    refused = fields.Integer()
    by_field = fields.Dict()
    refusals = fields.List(fields.Nested(RefusalView))


def _mine(entity_id: str) -> Entity:
    entity = service.get_entity(session(), entity_id)
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
    """Change names, addresses, type or sector; handhelds learn of it at their next sync."""
    known, reason = _mine(entity_id), body.pop("reason")
    service.change_entity(session(), runtime(), known, body, author=principal().subject, reason=reason)
    return known


@blp.route("/<entity_id>/grades", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, GradeList)
def grades(entity_id: str) -> dict[str, Any]:
    """Show the history of an entity's risk and credit grades, those of merged duplicates included."""
    return {"grades": service.grades_of(session(), _mine(entity_id))}


@blp.route("/<entity_id>/grades", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.arguments(GradeBody)
@blp.response(201, EntityView)
def grade(body: dict[str, Any], entity_id: str) -> Entity:
    """Give an entity a risk or credit grade."""
    known = _mine(entity_id)
    service.grade_entity(session(), runtime(), known, **body, author=principal().subject)
    return known


@blp.route("/<entity_id>/merge", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.arguments(MergeBody)
@blp.response(200, EntityView)
def merge(body: dict[str, Any], entity_id: str) -> Entity:
    """Merge a duplicate into another entity; both histories stay."""
    loser, keeper = _mine(entity_id), _mine(body["into"])
    service.merge_entity(session(), runtime(), loser, keeper, author=principal().subject, reason=body["reason"])
    return loser


@blp.route("/import", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.response(200, ImportView)
def import_rows() -> importing.ImportReport:
    """Import entities from CSV (`text/csv`) or JSON lines (`application/x-ndjson`); the reply tells of every row."""
    reader = importing.READERS.get(FORMATS.get(request.mimetype, ""))
    if reader is None:
        raise Problem("unsupported-media-type", detail=f"must be one of {', '.join(FORMATS)}")
    rows = reader(io.BytesIO(request.get_data()))
    return importing.import_entities(
        runtime(), _own_session, rows, author=principal().subject, region=principal().region
    )


@contextmanager
def _own_session() -> Iterator[Session]:
    yield session()
