"""The pages of leads: the list by state and deadline, one lead with its readings and history, and how rules did."""

from typing import Any

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from sqlalchemy import select
from werkzeug.wrappers import Response as BaseResponse

from schemas.codes import code_table
from schemas.telemetry import CODES
from server.accounts.models import Account
from server.entities.models import Entity
from server.errors import Problem
from server.leads import course, desk, service
from server.leads.lifecycle import DISPOSE, LEAD, LEVELS
from server.leads.models import Lead, LeadStep
from server.leads.precision import rule_precision
from server.officers.service import get_officers
from server.pages import frame, labels
from server.pages import session as browser
from server.pages.reading_chart import HEIGHT, LEFT, RIGHT, WIDTH, draw_lead
from server.telemetry.models import RuleVersion
from server.telemetry.rules import CATEGORIES, LEVEL, MEASURES
from server.web.auth import principal, require
from server.web.principal import require_scope
from server.web.transaction import runtime, session, transactional

LIST_LIMIT = 200
EDITORS = ("admin", "operator")
VIEWS = ("leads", "rules")
OTHER_STEPS = {course.OPEN: ("生成", "Opened by the rule"), course.ESCALATE: ("逾期升级", "Escalated")}

blp = Blueprint("lead_pages", __name__, template_folder="templates")
blp.context_processor(frame.variables)
blp.after_request(frame.seal_response)
blp.register_error_handler(Problem, frame.problem_page)


def chosen(pair: tuple[str, str]) -> str:
    """Return the Chinese or the English of a pair, as the reader wants it."""
    return pair[0] if labels.is_chinese() else pair[1]


def state_label(state: str) -> str:
    """Return a state of a lead in the reader's language."""
    return chosen(LEAD.states[state])


def action_label(action: str) -> str:
    """Return a step of a lead in the reader's language."""
    named = {one.action: (one.zh, one.en) for one in LEAD.transitions} | OTHER_STEPS
    return chosen(named[action])


def disposal_label(code: str) -> str:
    """Return a way of disposal in the reader's language."""
    entry = code_table("lead_disposal").find(code)
    return code if entry is None else chosen((entry.zh, entry.en))


@blp.context_processor
def words() -> dict[str, Any]:
    """Return what these templates use beside the frame's."""
    return {
        "state_label": state_label,
        "action_label": action_label,
        "disposal_label": disposal_label,
        "category_label": lambda code: chosen(CATEGORIES[code]),
        "measure_label": lambda code: chosen(MEASURES[code]),
        "level_label": lambda level: chosen(LEVELS[level]),
        "is_overdue": lambda lead: course.is_overdue(lead, runtime().now()),
        "chosen": chosen,
    }


@blp.get("/leads")
@require(*browser.PEOPLE)
@transactional(read_only=True)
def overview() -> str:
    """List leads, newest first, by state, kind, or deadline; or how often each version of a rule was right."""
    view, status = request.args.get("view", "leads"), request.args.get("status", "")
    category = request.args.get("category", "")
    if view not in VIEWS or (status and status not in LEAD.states) or (category and category not in CATEGORIES):
        raise Problem("not-found", field="view")
    if view == "rules":
        rules = rule_precision(session(), principal())
        return render_template("pages/lead_rules.html", rules=rules, here="leads")
    overdue = True if request.args.get("overdue") else None
    wanted = service.LeadFilter(status=status, category=category, overdue=overdue)
    rows = service.list_leads(session(), runtime(), principal(), wanted, limit=LIST_LIMIT, newest_first=True)
    names = _entities(rows)
    return render_template(
        "pages/lead_list.html", rows=rows, names=names, status=status, category=category, overdue=overdue,
        states=LEAD.states, categories=CATEGORIES, limit=LIST_LIMIT, here="leads",
    )  # fmt: skip


def _entities(rows: Any) -> dict[str, str]:  # noqa: ANN401 - leads
    ids = {row.entity_id for row in rows}
    query = select(Entity.id, Entity.name).where(Entity.id.in_(ids))
    return dict(session().execute(query).all())


@blp.get("/leads/<lead_id>")
@require(*browser.PEOPLE)
@transactional(read_only=True)
def lead(lead_id: str) -> str:
    """Show a lead: why it was raised, its readings with the limit, its history, and what may be done next."""
    return _page(lead_id, "", {})


@blp.post("/leads/<lead_id>")
@require(*EDITORS)
@transactional
def step(lead_id: str) -> BaseResponse:
    """Take a step at the desk; the lead's page follows."""
    form = request.form
    action = form.get("action", "")
    taken = desk.DeskStep(action, form.get("reason", ""), form.get("disposal", "") if action == DISPOSE else "")
    try:
        with session().begin_nested():
            desk.act(session(), runtime(), principal(), lead_id, taken)
    except Problem as problem:
        if problem.status in (401, 404):
            raise
        error = " · ".join(part for part in (frame.title_of(problem), problem.field or "", problem.detail) if part)
        return make_response(_page(lead_id, error, form), problem.status)
    return redirect(url_for("lead_pages.lead", lead_id=lead_id), 303)


def _page(lead_id: str, error: str, form: Any) -> str:  # noqa: ANN401 - a form, or nothing
    row: Lead = service.get_lead(session(), lead_id)
    require_scope(principal(), row.region, row.department)
    query = select(RuleVersion).where(RuleVersion.code == row.rule_code, RuleVersion.version == row.rule_version)
    rule = session().execute(query).scalar_one_or_none()
    measure = rule.measure if rule is not None else LEVEL
    steps = course.steps_of(session(), row.id)
    return render_template(
        "pages/lead.html",
        row=row,
        rule=rule,
        measure=measure,
        unit=CODES["units"].get(row.unit, {}).get("symbol", row.unit),
        entity=session().get(Entity, row.entity_id),
        steps=steps,
        people=_people(steps),
        chart=draw_lead(session(), row, measure),
        frame_of_chart=(WIDTH, HEIGHT, LEFT, WIDTH - RIGHT),
        error=error,
        reason=form.get("reason", ""),
        legal=desk.legal_actions(row) if principal().role in EDITORS else [],
        disposals=desk.possible_disposals(row),
        reason_limit=desk.MAX_REASON_CHARS,
        here="leads",
    )


def _people(steps: Any) -> dict[str, str]:  # noqa: ANN401 - steps of a lead
    """Names of the officers and accounts in a history."""
    actors = {one.actor for one in steps if isinstance(one, LeadStep)}
    accounts = session().execute(select(Account.id, Account.name).where(Account.id.in_(actors))).all()
    return dict(accounts) | {officer: found.name for officer, found in get_officers(session(), actors).items()}
