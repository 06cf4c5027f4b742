"""The book of rules: drafts, and which version is in force when; every change with its author and reason."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from schemas.telemetry import CODES, FACTORS
from server.audit.service import record_event
from server.errors import Problem
from server.runtime import Runtime
from server.telemetry.backtest import BackTest
from server.telemetry.counting import REGISTRY_VERSION, raise_counters
from server.telemetry.expressions import Expression
from server.telemetry.judging_notes import ask, watermark
from server.telemetry.models import RuleVersion
from server.telemetry.neighbours import RADIUS_LIMIT_KM
from server.telemetry.registry import RULE_COLUMNS, as_rule
from server.telemetry.rule_life import ACTIVATE, ACTIVE, DISCARD, DRAFT, END, RULE_LIFE, SUPERSEDE
from server.telemetry.rules import (
    ABSENCE,
    CATEGORIES,
    DAY_MINUTES,
    DRIFT,
    EXPRESSION,
    HOUR_S,
    MEASURES,
    STEPS_S,
    Rule,
)
from server.telemetry.staleness import EVERY_SENSOR

CODE = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
ACTIVE_LIMIT = 200
"""Most rules in force at once."""
DRAFTS_LIMIT = 500
"""Most drafts at once."""
RETROACTIVE_LIMIT = timedelta(days=366)
"""How far back a rule may be put in force."""
SETTINGS = tuple(item.name for item in fields(Rule) if item.name not in {*RULE_COLUMNS, "id"})
"""Members of a rule that only some measures need."""
USUAL = {item.name: item.default for item in fields(Rule) if item.name in SETTINGS}
MINIMUM, MAXIMUM = -1e12, 1e12
"""Between these lie all levels."""


@dataclass(frozen=True)
class RuleDraft:
    """A version of a rule as it is written; `settings` holds the members named in :data:`SETTINGS`."""

    code: str
    factor: str
    threshold: float
    clear_level: float
    window_hours: float
    min_valid_hours: float
    max_silence_hours: float
    title_zh: str
    title_en: str
    reason: str
    measure: str = "level"
    category: str = "breach"
    unit: str = ""
    """Of an expression's result; the other measures have their own."""
    region: str = ""
    department: str = ""
    entity_id: str = ""
    basis: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


def draft_rule(session: Session, rt: Runtime, draft: RuleDraft, *, author: str) -> RuleVersion:
    """Write the next version of a rule, as a draft.

    Raises:
        Problem: `invalid-field` naming what contradicts itself, or `limit-exceeded`.
    """
    if (session.scalar(select(func.count()).where(RuleVersion.status == DRAFT)) or 0) >= DRAFTS_LIMIT:
        raise Problem("limit-exceeded", field="rules", limit=DRAFTS_LIMIT)
    newest = session.scalar(select(func.max(RuleVersion.version)).where(RuleVersion.code == draft.code)) or 0
    settings = {name: value for name, value in draft.settings.items() if value != USUAL.get(name, value)}
    columns = {item.name: getattr(draft, item.name) for item in fields(RuleDraft)}
    row = RuleVersion(
        id=rt.new_id(), version=newest + 1, effective_from=None, effective_to=None, created_at=rt.now(), status=DRAFT,
        author=author[:64], decision="", **columns | {"settings": settings, "unit": _unit(draft)},
    )  # fmt: skip
    _check(draft, row)
    session.add(row)
    session.flush()
    record_event(session, rt, author, "rule.draft", "rule", row.id, {"rule": _name(row), "reason": draft.reason})
    return row


def _unit(draft: RuleDraft) -> str:
    """Return the unit of a rule's values.

    Raises:
        Problem: `invalid-field`.
    """
    if draft.factor not in FACTORS:
        raise Problem("invalid-field", field="factor", detail="unknown factor")
    own = {ABSENCE: "%", DRIFT: "%", EXPRESSION: draft.unit or "1"}.get(draft.measure, FACTORS[draft.factor].unit)
    if draft.unit not in ("", own) or own not in CODES["units"]:
        raise Problem(
            "invalid-field", field="unit", detail=f"must be {own if own in CODES['units'] else 'a known unit'}"
        )
    return own


def _check(draft: RuleDraft, row: RuleVersion) -> None:
    """Refuse a rule that contradicts itself.

    Raises:
        Problem: `invalid-field`.
    """
    step_s = draft.settings.get("step_s", HOUR_S)
    daily = [draft.settings.get(name) for name in ("daily_from", "daily_to")]
    faults = {
        "code": (not CODE.fullmatch(draft.code), "must be lower-case letters, digits and hyphens, at most 64"),
        "measure": (draft.measure not in MEASURES, f"must be one of {', '.join(MEASURES)}"),
        "category": (draft.category not in CATEGORIES, f"must be one of {', '.join(CATEGORIES)}"),
        "settings": (not set(draft.settings) <= set(SETTINGS), f"takes {', '.join(SETTINGS)}"),
        "step_s": (step_s not in STEPS_S, f"must be one of {', '.join(map(str, STEPS_S))}"),
        "window_hours": (
            step_s in STEPS_S and bool(round(draft.window_hours * HOUR_S) % step_s),
            "must be whole steps",
        ),
        "threshold": (not MINIMUM <= draft.threshold <= MAXIMUM, f"must lie between {MINIMUM:g} and {MAXIMUM:g}"),
        "clear_level": (not MINIMUM <= draft.clear_level <= MAXIMUM, f"must lie between {MINIMUM:g} and {MAXIMUM:g}"),
        "daily_from": (
            (daily[0] is None) != (daily[1] is None)
            or any(at is not None and not 0 <= at < DAY_MINUTES for at in daily),
            "needs both ends, as minutes of the day",
        ),
    }
    for name, (wrong, detail) in (faults | _measure_faults(draft, step_s)).items():
        if wrong:
            raise Problem("invalid-field", field=name, detail=detail)
    try:
        as_rule(row)
    except (TypeError, ValueError) as error:
        raise Problem("invalid-field", field="rule", detail=str(error)) from error


def _measure_faults(draft: RuleDraft, step_s: int) -> dict[str, tuple[bool, str]]:
    """Return what the measure itself finds wrong."""
    settings = draft.settings
    if draft.measure == ABSENCE:
        return {"step_s": (step_s != HOUR_S, "absence is looked at hour by hour")}
    if draft.measure == DRIFT:
        return {
            "radius_km": (
                not 0 < settings.get("radius_km", 0) <= RADIUS_LIMIT_KM,
                f"needs 0 < km <= {RADIUS_LIMIT_KM}",
            ),
            "min_neighbours": (settings.get("min_neighbours", 0) < 1, "needs at least one neighbour"),
            "floor": (settings.get("floor", 0) <= 0, "needs a least value to compare with, above 0"),
        }
    if draft.measure == EXPRESSION:
        try:
            Expression(settings.get("expression", ""))
        except ValueError as error:
            return {"expression": (True, str(error))}
    return {}


def activate_rule(
    session: Session, rt: Runtime, row: RuleVersion, *, by: str, reason: str, effective_from: datetime | None = None
) -> RuleVersion:
    """Put a previewed draft in force; it supersedes the version before it from then on.

    Put in force in the past, both look again at what is stored since then.

    Raises:
        Problem: `illegal-transition`, `invalid-field`, or `limit-exceeded`.
    """
    now = rt.now()
    since = effective_from or now
    status = RULE_LIFE.step(row.status, ACTIVATE)
    if row.preview is None:
        detail = "a draft is put in force after a back-test has shown what it would have raised"
        raise Problem("illegal-transition", field="preview", detail=detail)
    if since < now - RETROACTIVE_LIMIT:
        detail = f"must lie at most {RETROACTIVE_LIMIT.days} days back"
        raise Problem("invalid-field", field="effective_from", detail=detail)
    others = session.scalars(select(RuleVersion).where(RuleVersion.status == ACTIVE)).all()
    if len(others) >= ACTIVE_LIMIT:
        raise Problem("limit-exceeded", field="rules", limit=ACTIVE_LIMIT)
    for other in others:
        if other.code == row.code:
            other.status, other.effective_to = RULE_LIFE.step(other.status, SUPERSEDE), since
            _look_again(session, other, since, now)
            record_event(session, rt, by, "rule.supersede", "rule", other.id, {"by": _name(row)})
    row.status, row.effective_from, row.decided_by, row.decided_at, row.decision = status, since, by[:64], now, reason
    session.flush()
    _look_again(session, row, since, now)
    raise_counters(session, {REGISTRY_VERSION: 1})
    record_event(session, rt, by, "rule.activate", "rule", row.id, {"rule": _name(row), "reason": reason})
    return row


def note_preview(row: RuleVersion, found: BackTest, now: datetime) -> None:
    """Remember what a back-test of a draft found; putting it in force rests on that."""
    if row.status == DRAFT:
        row.preview = {
            "since": found.since.isoformat(), "until": found.until.isoformat(), "sensors": found.sensors,
            "sensors_with_data": found.sensors_with_data, "episodes": found.episodes, "at": now.isoformat(),
        }  # fmt: skip


def end_rule(
    session: Session, rt: Runtime, row: RuleVersion, *, by: str, reason: str, effective_to: datetime | None = None
) -> RuleVersion:
    """Take a version out of force, without a next one.

    Raises:
        Problem: `illegal-transition` or `invalid-field`.
    """
    now = rt.now()
    until = effective_to or now
    row.status = RULE_LIFE.step(row.status, END)
    if not now - RETROACTIVE_LIMIT <= until <= now or (row.effective_from is not None and until < row.effective_from):
        raise Problem("invalid-field", field="effective_to", detail="must lie between the rule's beginning and now")
    row.effective_to, row.decided_by, row.decided_at, row.decision = until, by[:64], now, reason
    session.flush()
    _look_again(session, row, until, now)
    raise_counters(session, {REGISTRY_VERSION: 1})
    record_event(session, rt, by, "rule.end", "rule", row.id, {"rule": _name(row), "reason": reason})
    return row


def discard_rule(session: Session, rt: Runtime, row: RuleVersion, *, by: str, reason: str) -> RuleVersion:
    """Give a draft up; it stays in the book.

    Raises:
        Problem: `illegal-transition`.
    """
    row.status = RULE_LIFE.step(row.status, DISCARD)
    row.decided_by, row.decided_at, row.decision = by[:64], rt.now(), reason
    session.flush()
    record_event(session, rt, by, "rule.discard", "rule", row.id, {"rule": _name(row), "reason": reason})
    return row


def judge_again(
    session: Session, rt: Runtime, *, since: datetime, until: datetime, by: str, rule: RuleVersion | None = None,
    sensor_id: str = EVERY_SENSOR,
) -> None:  # fmt: skip
    """Have a rule, or every one, look at a stretch of stored data again, at one sensor or at all of them.

    Raises:
        Problem: `invalid-field`.
    """
    if not since < until <= since + RETROACTIVE_LIMIT:
        detail = f"must lie up to {RETROACTIVE_LIMIT.days} days after since"
        raise Problem("invalid-field", field="until", detail=detail)
    ask(session, "" if rule is None else rule.id, sensor_id, since, until)
    detail_of = {"since": since.isoformat(), "until": until.isoformat(), "sensor": sensor_id}
    record_event(session, rt, by, "rule.judge-again", "rule", "" if rule is None else rule.id, detail_of)


def _look_again(session: Session, row: RuleVersion, since: datetime, now: datetime) -> None:
    if since < watermark(now):
        ask(session, row.id, EVERY_SENSOR, since, now)


def get_rule(session: Session, rule_id: str) -> RuleVersion:
    """Return a version of a rule.

    Raises:
        Problem: `not-found`.
    """
    row = session.get(RuleVersion, rule_id)
    if row is None:
        raise Problem("not-found", detail="no such rule")
    return row


def list_rules(
    session: Session, *, region: str = "", department: str = "", status: str | None = None, code: str | None = None,
    after: str = "", limit: int = 50,
) -> Sequence[RuleVersion]:  # fmt: skip
    """Return versions by id, after id `after`: those that concern a region prefix and department (empty: all)."""
    around = [region[:chars] for chars in range(len(region))]
    query = select(RuleVersion).where(
        RuleVersion.id > after,
        or_(RuleVersion.region.startswith(region, autoescape=True), RuleVersion.region.in_(around)),
    )
    if department:
        query = query.where(RuleVersion.department.in_(["", department]))
    if status is not None:
        query = query.where(RuleVersion.status == status)
    if code is not None:
        query = query.where(RuleVersion.code == code)
    return session.scalars(query.order_by(RuleVersion.id).limit(limit)).all()


def _name(row: RuleVersion) -> str:
    return f"{row.code}/{row.version}"
