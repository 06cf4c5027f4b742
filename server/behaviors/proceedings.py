"""Proceedings: a penalty, coercion or other behavior from its draft to its close, by the tables of `lifecycles`.

A proceeding begins with an inspection's number and takes the firm, item, officers and place from there. Once it is
issued it is a behavior: each further step writes a version, and with it a leaf of the proof log.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server.audit.service import record_event
from server.behaviors import recording, reviewing
from server.behaviors.drafting import (
    FROM_INSPECTION,
    REASON_NEEDED,
    fields_of_step,
    missing_fields,
    require_fields,
    write_content,
)
from server.behaviors.lifecycles import (
    APPROVE,
    CLOSE,
    DRAFT,
    EDITABLE,
    ISSUE,
    LIFECYCLES,
    PROPOSE,
    REQUEST_REVIEW,
    RETURN,
    REVIEWING,
    STEP_FIELDS,
)
from server.behaviors.models import Behavior, Proceeding, ProceedingStep
from server.behaviors.service import BehaviorDraft, content_of, correct_behavior, create_behavior
from server.errors import Problem
from server.runtime import Runtime
from server.web.principal import Principal, require_scope

MIN_REASON_CHARS, MAX_REASON_CHARS = 2, 1_000


@dataclass(frozen=True)
class Opening:
    """What a proceeding begins with."""

    kind: str
    inspection_number: str
    content: Mapping[str, Any]
    rectification: str | None = None


def open_proceeding(
    session: Session, rt: Runtime, opening: Opening, *, author: str, caller: Principal | None = None
) -> Proceeding:
    """Begin a penalty, coercion or other behavior as a draft.

    Args:
        session: the write session.
        rt: the runtime.
        opening: of which kind, after which inspection, and what is known already.
        author: who begins it.
        caller: whose scope the inspection must be in; None: the platform itself.

    Raises:
        Problem: `unknown-kind`; `not-found` for an inspection that is not there or outside the scope; `invalid-field`
            for a field that is wrong or not to be written by hand.
    """
    if opening.kind not in LIFECYCLES:
        raise Problem("unknown-kind", field="kind", detail=f"must be one of {', '.join(LIFECYCLES)}")
    inspection = _inspection(session, opening.inspection_number, caller)
    base = content_of(inspection)
    row = Proceeding(
        id=rt.new_id(),
        kind=opening.kind,
        state=DRAFT,
        revision=1,
        region=inspection.region,
        department=inspection.department,
        entity=inspection.entity,
        inspection=inspection.inspection,
        inspection_number=inspection.number,
        rectification=opening.rectification,
        content={name: base[name] for name in FROM_INSPECTION if name in base},
        author=author,
        created_at=rt.now(),
        changed_at=rt.now(),
    )
    write_content(row, opening.content)
    session.add(row)
    session.flush()
    record_event(session, rt, author, "proceeding.open", "proceeding", row.id, {"kind": row.kind})
    return row


def edit_proceeding(
    session: Session, rt: Runtime, caller: Principal, proceeding: str, content: Mapping[str, Any], revision: int
) -> Proceeding:
    """Change fields of a proceeding that is not proposed yet; null takes a field out.

    Raises:
        Problem: `not-found`; `illegal-transition` once it is proposed; `conflict` when somebody changed it since
            `revision`; `invalid-field`.
    """
    row = _lock(session, caller, proceeding, revision)
    if row.state not in EDITABLE:
        legal = list(LIFECYCLES[row.kind].legal(row.state))
        detail = f"the content of a {row.kind} is not written in the state {row.state}"
        raise Problem("illegal-transition", field="content", detail=detail, state=row.state, legal=legal)
    write_content(row, content)
    _touch(session, rt, row)
    record_event(session, rt, caller.subject, "proceeding.edit", "proceeding", row.id, {"fields": sorted(content)})
    return row


@dataclass(frozen=True)
class Step:
    """A step that somebody takes."""

    action: str
    revision: int
    content: Mapping[str, Any]
    """National fields that come with it."""
    reason: str = ""
    opinion: str = ""
    """Of a reviewer who returns a decision: code of the table `review_opinion`."""


def take_step(session: Session, rt: Runtime, caller: Principal, proceeding: str, step: Step) -> Proceeding:
    """Take one step of a proceeding's course; it is noted, audited, and once issued written as a version.

    Raises:
        Problem: `not-found`; `conflict` when somebody changed it since; `illegal-transition` naming the legal actions,
            also for issuing a major decision that is not approved and for closing without the required recordings;
            `forbidden` for a reviewer who is not qualified or prepared the decision; `invalid-field` for what a step
            needs and lacks.
    """
    row = _lock(session, caller, proceeding, step.revision)
    source, machine = row.state, LIFECYCLES[row.kind]
    target = machine.step(source, step.action)
    legal = legal_actions(session, row)
    if step.action in REASON_NEEDED and len(step.reason.strip()) < MIN_REASON_CHARS:
        raise Problem("invalid-field", field="reason", detail="a reason is needed", limit=MIN_REASON_CHARS)
    content = fields_of_step(row, step.action, step.content)
    if step.action == ISSUE and ISSUE not in legal:
        criteria = [one.code for one in reviewing.criteria_of(row)]
        detail = "a major decision is not issued before another, qualified person has approved it"
        raise Problem("illegal-transition", field="action", detail=detail, state=source, legal=legal, criteria=criteria)
    if step.action in (APPROVE, RETURN) and source == REVIEWING:
        content |= reviewing.decide(session, rt, caller, row, approved=step.action == APPROVE, **_opinion(step))
    if step.action == CLOSE:
        recording.require_complete(session, row.id, row.kind, current_content(session, row) | content)
    _note(session, rt, row, step, target, caller.subject, _perform(session, rt, row, step.action, content, caller))
    return row


def _perform(
    session: Session, rt: Runtime, row: Proceeding, action: str, content: dict[str, Any], caller: Principal
) -> int | None:
    """Do what a step does to the content; returns the version of the behavior that it wrote."""
    if action == ISSUE:
        write_content(row, content)
        return _issue(session, rt, row, caller)
    if is_issued(session, row):
        whole = current_content(session, row) | content
        whole |= {"reported_at": rt.now().isoformat()}
        return correct_behavior(session, rt, row.id, whole, author=caller.subject, reason=action)
    if content:
        write_content(row, content, reviewed=action in (APPROVE, RETURN))
    required = STEP_FIELDS.get((row.kind, action), ())
    if action == PROPOSE:
        required = (*required, *missing_fields(row))
    require_fields(row.content, required)
    if action == REQUEST_REVIEW:
        reviewing.request(session, rt, caller, row)
    return None


def _issue(session: Session, rt: Runtime, row: Proceeding, caller: Principal) -> int:
    reporter = row.content["officers"][0]["name"]
    content = row.content | {
        "inspection_number": row.inspection_number,
        "reported_at": rt.now().isoformat(),
        "reported_by": reporter,
    }
    draft = BehaviorDraft(row.kind, row.region, row.department, content, row.entity, row.inspection)
    create_behavior(session, rt, draft, behavior_id=row.id)
    row.content = {}  # from here on it is in the versions of the behavior, and nowhere else
    record_event(session, rt, caller.subject, "behavior.issue", "behavior", row.id, {"kind": row.kind})
    return 1


def _opinion(step: Step) -> dict[str, str]:
    return {"reason": step.reason, "opinion": step.opinion}


def is_issued(session: Session, row: Proceeding) -> bool:
    """Tell whether a proceeding has become a behavior."""
    return session.get(Behavior, (row.id, 1)) is not None


def legal_actions(session: Session, row: Proceeding) -> list[str]:
    """Return what may be done next; a major decision cannot be issued before it is approved."""
    legal = list(LIFECYCLES[row.kind].legal(row.state))
    if ISSUE in legal and not reviewing.may_issue(session, row):
        legal.remove(ISSUE)
    return legal


def current_content(session: Session, row: Proceeding) -> dict[str, Any]:
    """Return a proceeding's national fields: the draft's, or those of the behavior's current version."""
    query = select(Behavior).where(Behavior.id == row.id, Behavior.status == "current")
    behavior = session.execute(query).scalar_one_or_none()
    if behavior is None:
        return dict(row.content)
    return {name: value for name, value in content_of(behavior).items() if name != "salt"}


def _inspection(session: Session, number: str, caller: Principal | None) -> Behavior:
    query = select(Behavior).where(
        Behavior.number == number, Behavior.kind == "inspection", Behavior.status == "current"
    )
    found = session.execute(query).scalar_one_or_none()
    if found is None:
        raise Problem("not-found", field="inspection_number", detail="no inspection with this number")
    if caller is not None:
        require_scope(caller, found.region, found.department)
    return found


def _lock(session: Session, caller: Principal, proceeding: str, revision: int) -> Proceeding:
    row = session.get(Proceeding, proceeding, with_for_update=True)
    if row is None:
        raise Problem("not-found", detail="no proceeding with this id")
    require_scope(caller, row.region, row.department)
    if row.revision != revision:
        raise Problem("conflict", field="revision", detail="somebody has changed it since", revision=row.revision)
    return row


def _touch(session: Session, rt: Runtime, row: Proceeding) -> None:
    row.revision, row.changed_at = row.revision + 1, rt.now()
    session.flush()


def _note(
    session: Session, rt: Runtime, row: Proceeding, step: Step, target: str, actor: str, version: int | None
) -> None:
    count = select(func.count()).where(ProceedingStep.proceeding == row.id)
    taken = ProceedingStep(
        proceeding=row.id, number=session.execute(count).scalar_one() + 1, action=step.action, source=row.state,
        target=target, actor=actor, reason=step.reason.strip(), at=rt.now(), version=version,
    )  # fmt: skip
    session.add(taken)
    row.state = target
    _touch(session, rt, row)
    detail = {"from": taken.source, "to": target, "version": version, "reason": taken.reason}
    record_event(session, rt, actor, f"proceeding.{step.action}", "proceeding", row.id, detail)
