"""The limits on visits at the desk: filed plans, excuses for what was marked, and the notice that the firm gets."""

from typing import Any

from marshmallow import Schema, fields, validate
from sqlalchemy import select

from server.inspections import limits, notices
from server.inspections.api import InspectionViewSchema
from server.inspections.models import Inspection, VisitFiling
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.scope import in_scope
from server.web.transaction import runtime, session, transactional

READERS = ("admin", "operator", "auditor")
EDITORS = ("admin", "operator")
blp = Blueprint("visits", __name__, url_prefix="/api/v1", description="入企检查 Visits: filed, limited, rated")


class FilingSchema(Schema):
    """A filed plan of a visit."""

    inspection = fields.String()
    task = fields.String()
    entity = fields.String()
    region = fields.String()
    department = fields.String()
    reason = fields.String()
    visit_from = fields.AwareDateTime()
    visit_until = fields.AwareDateTime()
    filed_at = fields.AwareDateTime()


class FilingListSchema(Schema):
    """A page of filed plans."""

    filings = fields.List(fields.Nested(FilingSchema))


class ExcuseBody(Schema):
    """Why a visit broke a limit: an exception of the code table `visit_reason`, in words too."""

    code = fields.String(required=True, validate=validate.Length(1, 20))
    reason = fields.String(required=True, validate=validate.Length(0, limits.MAX_REASON_CHARS))


class NoticeSchema(Schema):
    """A notice as it is printed, and the token in it."""

    text = fields.String()
    token = fields.String()
    url = fields.String()


@blp.route("/visit-filings", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(PageQuery, location="query")
@blp.response(200, FilingListSchema)
def filings(query: dict[str, Any]) -> dict[str, Any]:
    """List the filed plans of one's scope in the order of their inspections' ids."""
    mine = in_scope(principal(), VisitFiling.region, VisitFiling.department)
    found = select(VisitFiling).where(mine, VisitFiling.inspection > query["after"])
    page = found.order_by(VisitFiling.inspection).limit(query["limit"])
    return {"filings": session().execute(page).scalars().all()}


@blp.route("/inspections/<inspection_id>/excuse", methods=["POST"])
@require(*EDITORS)
@transactional
@blp.arguments(ExcuseBody)
@blp.response(200, InspectionViewSchema)
def excuse(body: dict[str, Any], inspection_id: str) -> Inspection:
    """Say why a visit broke a limit; the marks stay, and with `FIELDPROOF_VISIT_LIMITS=block` it may close now."""
    return limits.excuse(session(), runtime(), principal(), inspection_id, body["code"], body["reason"])


@blp.route("/inspections/<inspection_id>/notice", methods=["POST"])
@require(*EDITORS)
@transactional
@blp.response(200, NoticeSchema)
def notice(inspection_id: str) -> notices.VisitNotice:
    """Print the notice of a visit for the firm, with a token for one anonymous rating; once."""
    return notices.print_notice(session(), runtime(), principal(), inspection_id)
