"""What people decide: conflicts, their decisions and undoing them; acts in no record; the history of a record."""

from typing import Any

from marshmallow import Schema, fields, validate

from schemas.kinds import KINDS
from server.fieldsync import conflicts, history, quarantine, reverting, unmerged
from server.fieldsync.models import ActRuling
from server.records.models import Conflict
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.transaction import runtime, session, transactional

blp = Blueprint("decisions", __name__, url_prefix="/api/v1", description="人工裁定 What people decide")
READERS = ("admin", "operator", "auditor")
STATUSES = ("open", "decided", "dissolved", "reverted")
NAME = validate.Length(max=64)


def _reason() -> fields.String:
    limits = validate.Length(conflicts.MIN_REASON_CHARS, conflicts.MAX_REASON_CHARS)
    return fields.String(required=True, validate=limits)


class ConflictFilterQuery(Schema):
    """Which conflicts; what is left out does not matter."""

    status = fields.String(load_default="open", validate=validate.OneOf(STATUSES))
    region = fields.String(load_default="", validate=validate.Regexp(r"\A\d{0,9}\Z"))
    department = fields.String(load_default="", validate=validate.Length(max=32))
    kind = fields.String(load_default="", validate=NAME)
    field = fields.String(load_default="", validate=NAME)
    record = fields.String(load_default="", validate=validate.Length(max=36))
    opened_from = fields.AwareDateTime(load_default=None)
    opened_before = fields.AwareDateTime(load_default=None)


class ConflictQuery(ConflictFilterQuery, PageQuery):
    """A page of them."""


class UnmergedQuery(PageQuery):
    """Which acts; `after` is the last dot of the page before."""

    status = fields.String(load_default="quarantined", validate=validate.OneOf(unmerged.STATUSES))
    overdue = fields.Boolean(load_default=False)


class HistoryQuery(PageQuery):
    """Which part of a history; `after` is that of the page before."""

    field = fields.String(load_default="", validate=NAME)


class RulingSchema(Schema):
    """What a person did about a quarantined act."""

    ruling = fields.String()
    ruled_by = fields.String()
    ruled_at = fields.AwareDateTime()
    reason = fields.String()
    mended_by = fields.String(allow_none=True)


class UnmergedSchema(Schema):
    """An act that is stored as bytes and not merged."""

    dot = fields.String()
    kind = fields.String()
    record = fields.String()
    device = fields.String()
    officer = fields.String()
    received_at = fields.AwareDateTime()
    status = fields.String()
    waiting_for = fields.String(allow_none=True)
    problem = fields.Dict(allow_none=True)
    overdue_at = fields.AwareDateTime(allow_none=True)
    fields_ = fields.Dict(data_key="fields", attribute="fields")
    ruling = fields.Nested(RulingSchema, allow_none=True)


class UnmergedListSchema(Schema):
    """A page of acts that are not merged."""

    acts = fields.List(fields.Nested(UnmergedSchema))


class SideSchema(Schema):
    """One side of a conflict."""

    dot = fields.String()
    value = fields.Raw(allow_none=True)
    at = fields.AwareDateTime()
    author = fields.String()
    device = fields.String(allow_none=True)
    held = fields.Boolean()
    repeats = fields.String(allow_none=True)


class ConflictSchema(Schema):
    """A conflict in a list."""

    id = fields.String()
    kind = fields.String()
    record = fields.String()
    field = fields.String()
    region = fields.String()
    department = fields.String()
    opened_at = fields.AwareDateTime()
    status = fields.String()
    ended_at = fields.AwareDateTime(allow_none=True)
    decided_by = fields.String(allow_none=True)
    reason = fields.String(allow_none=True)
    decision = fields.Dict(allow_none=True)
    held = fields.String(allow_none=True)
    reverted_at = fields.AwareDateTime(allow_none=True)
    reverted_by = fields.String(allow_none=True)
    revert_reason = fields.String(allow_none=True)
    follows = fields.String(allow_none=True)


class ConflictListSchema(Schema):
    """A page of conflicts."""

    conflicts = fields.List(fields.Nested(ConflictSchema))


class RegionCountSchema(Schema):
    """How many a region and department have."""

    region = fields.String()
    department = fields.String()
    count = fields.Integer()
    oldest_at = fields.AwareDateTime()


class CountsSchema(Schema):
    """Conflicts by region and department."""

    counts = fields.List(fields.Nested(RegionCountSchema))


class ConflictViewSchema(Schema):
    """A conflict with base and sides."""

    conflict = fields.Nested(ConflictSchema, attribute="row")
    base = fields.List(fields.Raw(allow_none=True))
    sides = fields.List(fields.Nested(SideSchema))
    record = fields.Dict(attribute="fields")


class DecisionBody(Schema):
    """A person's decision: `choice` names a side by its dot, or `value` gives another value."""

    sides = fields.List(fields.String(), required=True, validate=validate.Length(1, 512))
    choice = fields.String(load_default=None, allow_none=True)
    value = fields.Raw(load_default=None, allow_none=True)
    reason = _reason()


class ReasonBody(Schema):
    """Why."""

    reason = _reason()


class MendingBody(Schema):
    """What an act should have said; without `fields`, what it says itself."""

    reason = _reason()
    fields_ = fields.Dict(
        data_key="fields", attribute="fields", keys=fields.String(validate=NAME), load_default=None, allow_none=True
    )
    kind = fields.String(load_default="", validate=validate.OneOf(("", *KINDS)))
    record = fields.String(load_default="", validate=validate.Length(max=36))


class EntrySchema(Schema):
    """One act of a history."""

    dot = fields.String()
    op = fields.String()
    fields_ = fields.Dict(data_key="fields", attribute="fields")
    erased = fields.List(fields.String())
    erasure = fields.String(allow_none=True)
    author = fields.String()
    device = fields.String(allow_none=True)
    wall_ms = fields.Integer(allow_none=True)
    at = fields.AwareDateTime()
    received_at = fields.AwareDateTime()
    seen = fields.List(fields.String())
    verdict = fields.String()
    status = fields.String()
    waiting_for = fields.String(allow_none=True)
    problem = fields.Dict(allow_none=True)
    decision = fields.Nested(ConflictSchema, allow_none=True)
    ruling = fields.Nested(RulingSchema, allow_none=True)


class HistorySchema(Schema):
    """A piece of a history, oldest first."""

    entries = fields.List(fields.Nested(EntrySchema))
    after = fields.String()


@blp.route("/conflicts", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(ConflictQuery, location="query")
@blp.response(200, ConflictListSchema)
def list_conflicts(query: dict[str, Any]) -> dict[str, Any]:
    """List the conflicts of one's scope, oldest first."""
    paging = {"after": query.pop("after"), "limit": query.pop("limit")}
    wanted = conflicts.ConflictFilter(**query)
    return {"conflicts": conflicts.list_conflicts(session(), principal(), wanted, **paging)}


@blp.route("/conflicts/counts", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(ConflictFilterQuery, location="query")
@blp.response(200, CountsSchema)
def count_conflicts(query: dict[str, Any]) -> dict[str, Any]:
    """Count the conflicts of one's scope by region and department."""
    return {"counts": conflicts.count_by_region(session(), principal(), conflicts.ConflictFilter(**query))}


@blp.route("/conflicts/<conflict_id>", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, ConflictViewSchema)
def show_conflict(conflict_id: str) -> conflicts.ConflictView:
    """Show one conflict: what was there before, all sides, who wrote them when and on which device."""
    return conflicts.show(session(), principal(), conflict_id)


@blp.route("/conflicts/<conflict_id>/resolve", methods=["POST"])
@require("operator")
@transactional
@blp.arguments(DecisionBody)
@blp.response(200, ConflictSchema)
def resolve(body: dict[str, Any], conflict_id: str) -> Conflict:
    """Decide a conflict, with a reason."""
    decision = conflicts.Decision(tuple(body["sides"]), body["reason"], body["choice"], body["value"])
    return conflicts.decide(session(), runtime(), principal(), conflict_id, decision)


@blp.route("/conflicts/<conflict_id>/revert", methods=["POST"])
@require("operator")
@transactional
@blp.arguments(ReasonBody)
@blp.response(200, ConflictSchema)
def revert(body: dict[str, Any], conflict_id: str) -> Conflict:
    """Undo a decision, with a reason: the sides stand again. Returns the conflict that is open instead."""
    return reverting.revert(session(), runtime(), principal(), conflict_id, body["reason"])


@blp.route("/acts", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(UnmergedQuery, location="query")
@blp.response(200, UnmergedListSchema)
def acts(query: dict[str, Any]) -> dict[str, Any]:
    """List acts of one's scope that are in no record, with what they wait for, what is wrong, or who ruled on them."""
    return {"acts": unmerged.list_unmerged(session(), principal(), **query)}


@blp.route("/acts/<dot>", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, UnmergedSchema)
def act(dot: str) -> dict[str, Any]:
    """Show one act that is in no record."""
    return unmerged.show_unmerged(session(), principal(), dot)


@blp.route("/acts/<dot>/mend", methods=["POST"])
@require("operator")
@transactional
@blp.arguments(MendingBody)
@blp.response(200, RulingSchema)
def mend(body: dict[str, Any], dot: str) -> ActRuling:
    """Say right, as the office, what a quarantined act said wrong; its bytes stay."""
    return quarantine.mend(session(), runtime(), principal(), dot, quarantine.Mending(**body))


@blp.route("/acts/<dot>/dismiss", methods=["POST"])
@require("operator")
@transactional
@blp.arguments(ReasonBody)
@blp.response(200, RulingSchema)
def dismiss(body: dict[str, Any], dot: str) -> ActRuling:
    """Leave a quarantined act without effect for good; its bytes stay."""
    return quarantine.dismiss(session(), runtime(), principal(), dot, body["reason"])


@blp.route("/records/<kind>/<record_id>/history", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(HistoryQuery, location="query")
@blp.response(200, HistorySchema)
def record_history(query: dict[str, Any], kind: str, record_id: str) -> history.HistoryPage:
    """Show every value anyone wrote to a record, oldest first: who, when, on which device, and who decided what."""
    return history.read_history(session(), principal(), kind, record_id, **query)
