"""The field-level audit over all registers: who changed what, when, from which value to which, and why."""

from typing import Any

from marshmallow import Schema, fields, validate

from server.audit import service
from server.errors import Problem
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.transaction import session, transactional

blp = Blueprint("audit", __name__, url_prefix="/api/v1/changes", description="变更审计 Changes of fields")
READERS = ("admin", "operator", "auditor")
NAME = validate.Length(max=128)


class ChangesQuery(PageQuery):
    """Which changes; `kind` is a kind of record (entity, officer, complaint, …), `actor` an account."""

    kind = fields.String(load_default="", validate=NAME)
    record = fields.String(load_default="", validate=NAME)
    field = fields.String(load_default="", validate=NAME)
    actor = fields.String(load_default="", validate=NAME)
    since = fields.AwareDateTime(load_default=None)
    until = fields.AwareDateTime(load_default=None)


class FieldChangeView(Schema):
    """A field that changed; personal values are masked."""

    field = fields.String()
    before = fields.Raw(allow_none=True)
    after = fields.Raw(allow_none=True)


class ChangeView(Schema):
    """One act: who changed which fields of which record, when and why."""

    id = fields.Integer()
    at = fields.AwareDateTime()
    actor = fields.String()
    action = fields.String()
    kind = fields.String(attribute="subject_kind")
    record = fields.String(attribute="subject_id")
    reason = fields.Function(lambda one: one.detail.get("reason", ""))
    fields_changed = fields.Method("_fields", data_key="fields")

    def _fields(self, one: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - an event
        return [
            {"field": name, "before": pair[0], "after": pair[1]} for name, pair in one.detail.get("fields", {}).items()
        ]


class ChangePage(Schema):
    """A page of changes, newest first; `next` is the `after` of the next page, empty at the end."""

    changes = fields.List(fields.Nested(ChangeView))
    next = fields.String()


def page_place(after: str) -> int:
    """Return the place that a page of events has given.

    Raises:
        Problem: `invalid-field` for anything else.
    """
    if after and not (after.isascii() and after.isdigit() and len(after) < 19):
        raise Problem("invalid-field", field="after", detail="not a place that a page has given")
    return int(after or 0)


@blp.route("", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(ChangesQuery, location="query")
@blp.response(200, ChangePage)
def changes(query: dict[str, Any]) -> dict[str, Any]:
    """Find changes of fields over all registers of one's region: who, when, old and new value, why."""
    after, limit = page_place(query.pop("after")), query.pop("limit")
    found = service.find_changes(session(), principal(), service.ChangeQuestion(**query), after=after, limit=limit)
    return {"changes": found, "next": str(found[-1].id) if len(found) == limit else ""}
