"""The directory for operators: finding, history, differences, drafts, review, publication, import, export."""

from typing import Any

from flask import Response, request
from marshmallow import Schema, fields, validate

from schemas.kinds.base import MAX_LABEL_CHARS, REGION
from server.directory import importing, versions
from server.directory.bodies import add_body, list_bodies
from server.directory.contents import differences
from server.directory.lifecycle import DIRECTORY, PEOPLE_DO, PUBLISHED
from server.directory.models import DirectoryVersion, SupervisionBody
from server.errors import Problem
from server.registers.tables import CSV, JSON, XLSX
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.transaction import runtime, session, transactional

blp = Blueprint("directory", __name__, url_prefix="/api/v1/directory", description="监管事项目录 Directory of items")
READERS = ("admin", "operator", "auditor")
EDITORS = ("admin", "operator")
REASON = validate.Length(1, 1_000)
EXPORT_PAGE = 500
MAX_EXPORT = 20_000
MAX_IMPORT_BYTES = 16 * 1024 * 1024
"""Largest file of an import."""
EXPORTS = {"json": JSON, "csv": CSV, "xlsx": XLSX}
VERSION = validate.Range(0, versions.MAX_VERSIONS)


class VersionsQuery(PageQuery):
    """Which versions: `q` is part of the name or the start of the code; `after` is `code~version` of the last one."""

    q = fields.String(load_default="", validate=validate.Length(max=100))
    state = fields.String(load_default=PUBLISHED, validate=validate.OneOf(tuple(DIRECTORY.states)))
    department = fields.String(load_default="", validate=validate.Length(max=32))
    sector = fields.String(load_default="", validate=validate.Length(max=32))
    item = fields.String(load_default="", validate=validate.Length(max=14))


class MomentQuery(Schema):
    """The version of a number, or in force at a moment (now, unless said)."""

    version = fields.Integer(load_default=None, validate=validate.Range(1, versions.MAX_VERSIONS))
    at = fields.AwareDateTime(load_default=None)


class DiffQuery(Schema):
    """Two versions."""

    before = fields.Integer(required=True, validate=VERSION)
    after = fields.Integer(required=True, validate=VERSION)


class ImportQuery(Schema):
    """Why, and whether to change nothing."""

    reason = fields.String(required=True, validate=REASON)
    dry_run = fields.Boolean(load_default=False)


class ExportQuery(Schema):
    """As what."""

    format = fields.String(load_default="json", validate=validate.OneOf(tuple(EXPORTS)))


class DirectoryDraftBody(Schema):
    """An edit on top of version `base` (0: a new code); `content` as in docs/operations.md."""

    base = fields.Integer(required=True, validate=VERSION)
    content = fields.Dict(required=True)
    reason = fields.String(required=True, validate=REASON)


class DirectoryActionBody(Schema):
    """What is done with a version, and why."""

    action = fields.String(required=True, validate=validate.OneOf(PEOPLE_DO))
    reason = fields.String(required=True, validate=REASON)


class DirectoryVersionView(Schema):
    """A version as people see it."""

    register = fields.String()
    code = fields.String()
    version = fields.Integer()
    name = fields.String()
    content = fields.Dict()
    state = fields.String()
    record = fields.String(attribute="subject")
    author = fields.String()
    reason = fields.String()
    created_at = fields.AwareDateTime()
    reviewer = fields.String(allow_none=True)
    published_at = fields.AwareDateTime(allow_none=True)
    ended_at = fields.AwareDateTime(allow_none=True)
    legal = fields.Function(lambda one: [a for a in DIRECTORY.legal(one.state) if a in PEOPLE_DO])


class DirectoryVersionPage(Schema):
    """A page of versions; `next` is the `after` of the next page, empty at the end."""

    versions = fields.List(fields.Nested(DirectoryVersionView))
    next = fields.String()


class DirectoryChangeView(Schema):
    """One difference; `text` says it in words."""

    path = fields.String()
    before = fields.Raw(allow_none=True)
    after = fields.Raw(allow_none=True)
    text = fields.String()


class DirectoryDiffView(Schema):
    """What two versions differ in."""

    changes = fields.List(fields.Nested(DirectoryChangeView))


class DirectoryRowView(Schema):
    """What becomes of a code of a file."""

    row = fields.Integer()
    code = fields.String()
    outcome = fields.String()
    version = fields.Integer(allow_none=True)
    field = fields.String()
    reason = fields.String()


class DirectoryImportView(Schema):
    """What becomes of a file."""

    dry_run = fields.Boolean()
    drafted = fields.Integer()
    unchanged = fields.Integer()
    refused = fields.Integer()
    rows = fields.List(fields.Nested(DirectoryRowView))


class SupervisionBodySchema(Schema):
    """A body that implements checklists."""

    uscc = fields.String(required=True, validate=validate.Length(equal=18))
    name = fields.String(required=True, validate=validate.Length(1, MAX_LABEL_CHARS))
    department = fields.String(required=True, validate=validate.Length(1, 32))
    region = fields.String(required=True, validate=REGION)


class SupervisionBodyList(Schema):
    """A page of bodies."""

    bodies = fields.List(fields.Nested(SupervisionBodySchema))


@blp.route("/bodies", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(PageQuery, location="query")
@blp.response(200, SupervisionBodyList)
def bodies(query: dict[str, Any]) -> dict[str, Any]:
    """List the bodies that implement checklists."""
    return {"bodies": list_bodies(session(), **query)}


@blp.route("/bodies", methods=["POST"])
@require(*EDITORS)
@transactional
@blp.arguments(SupervisionBodySchema)
@blp.response(201, SupervisionBodySchema)
def enter_body(body: dict[str, Any]) -> SupervisionBody:
    """Enter a body that implements checklists."""
    versions.check_editor(principal(), body["department"])
    made = SupervisionBody(**body)
    add_body(session(), runtime(), made, author=principal().subject)
    return made


@blp.route("/<register>", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(VersionsQuery, location="query")
@blp.response(200, DirectoryVersionPage)
def entries(query: dict[str, Any], register: str) -> dict[str, Any]:
    """List items or checklists: those in force, or the versions in another state."""
    exact = {name: query.pop(name) for name in ("department", "sector", "item")}
    found = versions.find_versions(session(), register, exact=exact, **query)
    rest = f"{found[-1].code}~{found[-1].version}" if len(found) == query["limit"] else ""
    return {"versions": found, "next": rest}


@blp.route("/<register>/export", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(ExportQuery, location="query")
def export(query: dict[str, Any], register: str) -> Response:
    """Export what is in force as JSON, CSV or XLSX, in order of code; importing it again changes nothing."""
    found: list[DirectoryVersion] = []
    after, more = "", True
    while more:
        page = versions.find_versions(session(), register, after=after, limit=EXPORT_PAGE)
        found += page
        more = len(page) == EXPORT_PAGE
        after = f"{page[-1].code}~{page[-1].version}" if page else ""
        if len(found) > MAX_EXPORT:
            raise Problem("limit-exceeded", detail="too many rows", limit=MAX_EXPORT)
    media_type = EXPORTS[query["format"]]
    content_type = media_type if media_type == XLSX else f"{media_type}; charset=utf-8"
    return Response(importing.export_directory(register, found, media_type), content_type=content_type)


@blp.route("/<register>/import", methods=["POST"])
@require(*EDITORS)
@transactional
@blp.arguments(ImportQuery, location="query")
@blp.response(200, DirectoryImportView)
def import_file(query: dict[str, Any], register: str) -> importing.DirectoryImport:
    """Import JSON, CSV or XLSX as drafts; the reply tells of every code of the file."""
    request.max_content_length = MAX_IMPORT_BYTES
    data = request.get_data()
    return importing.import_directory(
        session(), runtime(), register, data, request.mimetype, caller=principal(), **query
    )


@blp.route("/<register>/<code>", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(MomentQuery, location="query")
@blp.response(200, DirectoryVersionView)
def entry(query: dict[str, Any], register: str, code: str) -> DirectoryVersion:
    """Show the version in force, now or at a moment, or any version by its number."""
    if query["version"] is not None:
        return versions.get_version(session(), register, code, query["version"])
    versions.check_register(register)
    found = versions.version_at(session(), register, code, query["at"] or runtime().now())
    if found is None:
        raise Problem("not-found", detail="no version was in force")
    return found


@blp.route("/<register>/<code>/versions", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, DirectoryVersionPage)
def history(register: str, code: str) -> dict[str, Any]:
    """Show all versions of a code, each with its author and reason, oldest first."""
    return {"versions": versions.list_versions(session(), register, code), "next": ""}


@blp.route("/<register>/<code>/diff", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(DiffQuery, location="query")
@blp.response(200, DirectoryDiffView)
def diff(query: dict[str, Any], register: str, code: str) -> dict[str, Any]:
    """Show what two versions differ in, field by field and in words; version 0 is empty."""
    both = [
        versions.get_version(session(), register, code, number).content if number else {}
        for number in (query["before"], query["after"])
    ]
    return {"changes": differences(*both)}


@blp.route("/<register>/<code>/versions", methods=["POST"])
@require(*EDITORS)
@transactional
@blp.arguments(DirectoryDraftBody)
@blp.response(201, DirectoryVersionView)
def draft(body: dict[str, Any], register: str, code: str) -> DirectoryVersion:
    """Edit an item or checklist: a new version with its author and reason, to be reviewed by another person."""
    versions.check_register(register)
    wanted = versions.Draft(register, code, body["content"], body["base"], principal().subject, body["reason"])
    return versions.enter_draft(session(), runtime(), wanted, caller=principal())


@blp.route("/<register>/<code>/versions/<int:version>", methods=["POST"])
@require(*EDITORS)
@transactional
@blp.arguments(DirectoryActionBody)
@blp.response(200, DirectoryVersionView)
def act(body: dict[str, Any], register: str, code: str, version: int) -> DirectoryVersion:
    """Review, publish or withdraw a version; what is published reaches handhelds at their next sync."""
    found = versions.get_version(session(), register, code, version)
    versions.check_editor(principal(), versions.department_of(session(), found))
    versions.take_action(session(), runtime(), found, **body, author=principal().subject)
    return found
