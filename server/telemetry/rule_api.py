"""HTTP of rules: drafts, back-tests, and which version is in force when."""

from typing import Any

from server.errors import Problem
from server.telemetry import rule_book, service
from server.telemetry.backtest import BackTest, back_test
from server.telemetry.models import RuleVersion
from server.telemetry.registry import as_rule
from server.telemetry.rule_schemas import (
    BackTestBody,
    BackTestSchema,
    JudgeAgainBody,
    JudgeAgainSchema,
    RuleActivationBody,
    RuleDiscardBody,
    RuleDraftSchema,
    RuleEndBody,
    RuleListSchema,
    RuleSchema,
    RulesQuery,
)
from server.telemetry.service import PROVINCE_CHARS
from server.telemetry.staleness import EVERY_SENSOR
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.principal import require_scope
from server.web.transaction import runtime, session, transactional

blp = Blueprint("rules", __name__, url_prefix="/api/v1/telemetry/rules", description="非现场监管规则 Rules")

READERS = ("admin", "operator", "auditor")
WRITERS = ("admin", "operator")
PROVINCE = "42"


def _mine(rule_id: str) -> RuleVersion:
    """Return a version that the caller may change.

    Raises:
        Problem: `not-found`, also for a rule whose reach is wider than the caller's.
    """
    row = rule_book.get_rule(session(), rule_id)
    _require_reach(row.region, row.department)
    return row


def _concerning(rule_id: str) -> RuleVersion:
    """Return a version that concerns the caller: its reach and the caller's scope meet.

    Raises:
        Problem: `not-found`.
    """
    row, caller = rule_book.get_rule(session(), rule_id), principal()
    near = row.region.startswith(caller.region) or caller.region.startswith(row.region)
    if not near or (caller.department and row.department not in ("", caller.department)):
        raise Problem("not-found", detail="no rule with this id")
    return row


def _require_reach(region: str, department: str) -> None:
    require_scope(principal(), region or PROVINCE, department)


@blp.route("", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(RulesQuery, location="query")
@blp.response(200, RuleListSchema)
def rules(query: dict[str, Any]) -> dict[str, Any]:
    """List the versions of rules that concern one's scope."""
    caller = principal()
    region = caller.region if len(caller.region) > PROVINCE_CHARS else ""
    return {"rules": rule_book.list_rules(session(), region=region, department=caller.department, **query)}


@blp.route("", methods=["POST"])
@require(*WRITERS)
@transactional
@blp.arguments(RuleDraftSchema)
@blp.response(201, RuleSchema)
def draft(body: dict[str, Any]) -> RuleVersion:
    """Write the next version of a rule, as a draft."""
    _require_reach(body["region"], body["department"])
    return rule_book.draft_rule(session(), runtime(), rule_book.RuleDraft(**body), author=principal().subject)


@blp.route("/judge-again", methods=["POST"])
@require(*WRITERS)
@transactional
@blp.arguments(JudgeAgainBody)
@blp.response(202, JudgeAgainSchema)
def judge_again(body: dict[str, Any]) -> dict[str, Any]:
    """Have the worker run rules over stored data again, after a rule or a period was mended."""
    if body["sensor"] is None:
        _require_reach("", "")
    else:
        found = service.get_sensor(session(), body["sensor"])
        require_scope(principal(), found.region, found.department)
    rule = None if body["rule"] is None else _concerning(body["rule"])
    rule_book.judge_again(
        session(), runtime(), since=body["since"], until=body["until"], by=principal().subject, rule=rule,
        sensor_id=body["sensor"] or EVERY_SENSOR,
    )  # fmt: skip
    return {"asked": True}


@blp.route("/<rule_id>", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, RuleSchema)
def rule(rule_id: str) -> RuleVersion:
    """Show one version of a rule that concerns one's scope."""
    return _concerning(rule_id)


@blp.route("/<rule_id>/back-test", methods=["POST"])
@require(*WRITERS)
@transactional
@blp.arguments(BackTestBody)
@blp.response(200, BackTestSchema)
def try_rule(body: dict[str, Any], rule_id: str) -> BackTest:
    """Show what a version would have raised over stored data; a draft remembers that it was tried."""
    row, caller = _mine(rule_id), principal()
    found = back_test(
        session(), as_rule(row), body["since"], body["until"], region=caller.region, department=caller.department,
        sensor_ids=body["sensors"],
    )  # fmt: skip
    rule_book.note_preview(row, found, runtime().now())
    return found


@blp.route("/<rule_id>/activate", methods=["POST"])
@require(*WRITERS)
@transactional
@blp.arguments(RuleActivationBody)
@blp.response(200, RuleSchema)
def activate(body: dict[str, Any], rule_id: str) -> RuleVersion:
    """Put a draft in force after a back-test; the version before it is superseded from then on."""
    return rule_book.activate_rule(session(), runtime(), _mine(rule_id), by=principal().subject, **body)


@blp.route("/<rule_id>/end", methods=["POST"])
@require(*WRITERS)
@transactional
@blp.arguments(RuleEndBody)
@blp.response(200, RuleSchema)
def end(body: dict[str, Any], rule_id: str) -> RuleVersion:
    """Take a version out of force, without a next one."""
    return rule_book.end_rule(session(), runtime(), _mine(rule_id), by=principal().subject, **body)


@blp.route("/<rule_id>/discard", methods=["POST"])
@require(*WRITERS)
@transactional
@blp.arguments(RuleDiscardBody)
@blp.response(200, RuleSchema)
def discard(body: dict[str, Any], rule_id: str) -> RuleVersion:
    """Give a draft up; it stays in the book."""
    return rule_book.discard_rule(session(), runtime(), _mine(rule_id), by=principal().subject, **body)
