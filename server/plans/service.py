"""Keeping plans of double-random inspection: proposed by one person, approved by another, closed when all is done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.audit.service import record_event
from server.directory.lifecycle import PUBLISHED as IN_FORCE
from server.directory.models import SupervisionItem
from server.errors import Problem
from server.inspections.draw import check_rules
from server.plans.lifecycles import APPROVE, APPROVED, CLOSE, DRAFT, PLAN, PUBLISHED, WITHDRAW, WITHDRAWN
from server.plans.models import DrawBatch, DrawPlan
from server.plans.rules import DEFAULTS, draw_rules, period
from server.runtime import Runtime
from server.web.principal import Principal, require_scope
from server.web.scope import in_scope

MIN_REASON_CHARS, MAX_REASON_CHARS = 2, 1_000
MAX_JOINT = 16
"""Most departments that go along."""


@dataclass(frozen=True)
class PlanDraft:
    """A plan as it is proposed."""

    number: str
    title: str
    year: int
    quarter: int | None
    region: str
    item_code: str
    joint: Sequence[str] = ()
    rules: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the usual rules."""


def create_plan(session: Session, rt: Runtime, caller: Principal, draft: PlanDraft) -> DrawPlan:
    """Propose a plan for an item of the published list.

    Raises:
        Problem: `not-found` for what is outside the caller's scope; `invalid-field` for an item that is not published
            or rules that cannot be used; `conflict` for a number that is taken.
    """
    item = session.execute(
        select(SupervisionItem).where(SupervisionItem.code == draft.item_code, SupervisionItem.status == IN_FORCE)
    ).scalar_one_or_none()
    if item is None or not item.sector:
        detail = "清单之外无检查 / no published item with this code that belongs to a sector"
        raise Problem("invalid-field", field="item_code", detail=detail)
    require_scope(caller, draft.region, item.department)
    rules = {**DEFAULTS, **draft.rules}
    if fault := check_rules(draw_rules(rules, item.sector, *period(draft.year, draft.quarter))):
        raise Problem("invalid-field", field="rules", detail=fault)
    if session.execute(select(DrawPlan.id).where(DrawPlan.number == draft.number)).first():
        raise Problem("conflict", field="number", detail="this number is taken")
    plan = DrawPlan(
        id=rt.new_id(), number=draft.number, title=draft.title, year=draft.year, quarter=draft.quarter,
        region=draft.region, department=item.department, joint=list(draft.joint), item=item.id, sector=item.sector,
        rules=rules, state=DRAFT, author=caller.subject, created_at=rt.now(), reason="",
    )  # fmt: skip
    session.add(plan)
    session.flush()
    _note(session, rt, caller, plan, "propose", {"number": plan.number})
    return plan


def act_on_plan(session: Session, rt: Runtime, caller: Principal, plan_id: str, action: str, reason: str) -> DrawPlan:
    """Approve, close or withdraw a plan.

    Raises:
        Problem: `not-found`; `illegal-transition` naming the legal actions; `forbidden` when the author approves;
            `invalid-field` for a withdrawal without a reason; `conflict` for closing while a batch is under way.
    """
    plan = get_plan(session, caller, plan_id, lock=True)
    target = PLAN.step(plan.state, action)
    if action == APPROVE:
        if plan.author == caller.subject:
            raise Problem("forbidden", detail="须由他人批准 / somebody else than its author approves a plan")
        plan.approver = caller.subject
    if action == WITHDRAW and len(reason.strip()) < MIN_REASON_CHARS:
        raise Problem("invalid-field", field="reason", detail="a reason is needed", limit=MIN_REASON_CHARS)
    if action == CLOSE:
        over = (PUBLISHED, WITHDRAWN)
        running = select(DrawBatch.id).where(DrawBatch.plan == plan.id, DrawBatch.state.not_in(over)).limit(1)
        if session.execute(running).first():
            raise Problem("conflict", field="action", detail="a batch of this plan is under way")
    plan.state, plan.reason = target, reason.strip()
    _note(session, rt, caller, plan, action, {"reason": plan.reason})
    session.flush()
    return plan


def get_plan(session: Session, caller: Principal, plan_id: str, *, lock: bool = False) -> DrawPlan:
    """Return a plan of one's scope.

    Raises:
        Problem: `not-found`.
    """
    plan = session.get(DrawPlan, plan_id, with_for_update=lock)
    if plan is None:
        raise Problem("not-found", detail="no plan with this id")
    require_scope(caller, plan.region, plan.department)
    return plan


def approved_plan(session: Session, caller: Principal, plan_id: str, *, lock: bool = False) -> DrawPlan:
    """Return a plan of one's scope by which may be drawn.

    Raises:
        Problem: `not-found`; `conflict` for a plan that is not approved, or not any more.
    """
    plan = get_plan(session, caller, plan_id, lock=lock)
    if plan.state != APPROVED:
        raise Problem("conflict", field="plan", detail="计划未批准 / the plan is not approved", state=plan.state)
    return plan


def list_plans(session: Session, caller: Principal, *, after: str = "", limit: int = 50) -> Sequence[DrawPlan]:
    """Return the plans of one's scope in order of id."""
    mine = in_scope(caller, DrawPlan.region, DrawPlan.department)
    query = select(DrawPlan).where(mine, DrawPlan.id > after).order_by(DrawPlan.id).limit(limit)
    return session.execute(query).scalars().all()


def _note(
    session: Session, rt: Runtime, caller: Principal, plan: DrawPlan, action: str, detail: Mapping[str, Any]
) -> None:
    record_event(
        session, rt, caller.subject, f"draw-plan.{action}", "draw-plan", plan.id, detail, region=plan.region,
        department=plan.department,
    )  # fmt: skip
