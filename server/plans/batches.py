"""Drawing by a plan: announce first, then draw by a seed that the announcement fixed and nobody knew.

The registers are read and the lots are drawn outside any write transaction, since they may take seconds; what comes of
it is kept in one short transaction, if nothing has changed the state in the meantime.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server.audit.service import record_event
from server.errors import Problem
from server.inspections.draw import Rules
from server.inspections.draw_file import (
    Result,
    Reveal,
    announce,
    carry_out,
    commitment,
    json_line,
    make_seed,
    rules_from_json,
    sections,
)
from server.inspections.drawing import DrawOrder, fresh_secret, gather
from server.plans import file_parts
from server.plans.lifecycles import ANNOUNCED, BATCH, DRAW, WAITING, WITHDRAW
from server.plans.models import DrawBatch, DrawnVisit, DrawPlan
from server.plans.rules import draw_rules, period
from server.plans.service import MIN_REASON_CHARS, approved_plan
from server.prooflog.service import enqueue
from server.runtime import Runtime
from server.web.principal import Principal, require_scope

MAX_BATCHES = 100
"""Most batches of one plan."""
MAX_BEACON_CHARS = 256


@dataclass(frozen=True)
class BatchOrder:
    """When a batch is drawn and its visits are made."""

    visits_from: date
    visits_until: date
    draw_not_before: datetime
    beacon: Mapping[str, str] | None = None
    """Source and round of a public random value that comes out later; it enters the seed beside the secret."""


def announce_batch(rt: Runtime, caller: Principal, plan_id: str, order: BatchOrder) -> str:
    """Fix everything but the seed, and announce it. Returns the batch.

    Raises:
        Problem: `not-found`; `conflict` for a plan that is not approved; `invalid-field` for days outside the plan's
            period; `limit-exceeded` for too many batches.
    """
    with rt.db.read() as session:
        plan = approved_plan(session, caller, plan_id)
        rules = _rules(plan, order)
        wanted = DrawOrder(rules, plan.region, plan.item, plan.rules["capacity"])
        basis = gather(session, wanted)
        described = basis.plan(wanted) | {"number": plan.number, "title": plan.title, "joint": list(plan.joint)}
        checklist = basis.checklist.id
    batch_id, secret = rt.new_id(), fresh_secret(rt)
    earliest = max(order.draw_not_before.astimezone(UTC), rt.now())
    with rt.db.write() as session:
        plan = approved_plan(session, caller, plan_id, lock=True)
        taken = session.execute(select(func.max(DrawBatch.number)).where(DrawBatch.plan == plan.id)).scalar() or 0
        if taken >= MAX_BATCHES:
            raise Problem("limit-exceeded", field="plan", detail="too many batches", limit=MAX_BATCHES)
        announcement = announce(
            described | {"batch": taken + 1}, rules, basis.entities, basis.officers, committed=commitment(secret),
            beacon=order.beacon, announced_at=rt.now().isoformat(), draw_not_before=earliest.isoformat(),
        )  # fmt: skip
        line = json_line(announcement)
        batch = DrawBatch(
            id=batch_id, plan=plan.id, number=taken + 1, region=plan.region, department=plan.department,
            state=ANNOUNCED, checklist=checklist, visits_from=order.visits_from, visits_until=order.visits_until,
            announcement=announcement, announcement_sha256=hashlib.sha256(line).hexdigest(), announced_at=rt.now(),
            draw_not_before=earliest, secret=secret, beacon_value="", author=caller.subject, reason="",
        )  # fmt: skip
        session.add(batch)
        session.flush()
        rosters = zip(file_parts.ANNOUNCED_SECTIONS, (line, basis.entities.data, basis.officers.data), strict=True)
        file_parts.keep(session, batch_id, rosters)
        _anchor(session, rt, batch, "announcement", batch.announcement_sha256)
        note(session, rt, caller.subject, batch, "announce", {"sha256": batch.announcement_sha256})
    return batch_id


def _rules(plan: DrawPlan, order: BatchOrder) -> Rules:
    first, last = period(plan.year, plan.quarter)
    if not first <= order.visits_from <= order.visits_until <= last:
        detail = f"检查日期应在计划期间内 / the visits must lie within {first} to {last}"
        raise Problem("invalid-field", field="visits_from", detail=detail)
    return draw_rules(plan.rules, plan.sector, order.visits_from, order.visits_until)


def draw_batch(rt: Runtime, caller: Principal, batch_id: str, beacon_value: str) -> str:
    """Draw by an announcement, and keep the whole file that shows it. Returns the batch.

    Raises:
        Problem: `not-found`; `illegal-transition`; `conflict` before the announced time; `invalid-field` when the
            beacon's value is missing, or given where none was announced.
    """
    with rt.db.read() as session:
        batch = get_batch(session, caller, batch_id)
        _may_draw(rt, batch, beacon_value)
        announcement, secret = batch.announcement, batch.secret
        entities, officers = (file_parts.roster(session, batch_id, name) for name in ("entities", "officers"))
    result = carry_out(rules_from_json(announcement["rules"]), make_seed(secret, beacon_value), entities, officers)
    reveal = Reveal(secret, beacon_value, rt.now().isoformat())
    with rt.db.write() as session:
        batch = get_batch(session, caller, batch_id, lock=True)
        _may_draw(rt, batch, beacon_value)
        batch.state = BATCH.step(batch.state, DRAW)
        batch.drawn_at, batch.beacon_value = rt.now(), beacon_value
        pieces = [*sections(announcement, entities, officers, reveal, result)]
        batch.summary = json.loads(pieces[-1][1])
        later = [piece for piece in pieces if piece[0] not in file_parts.ANNOUNCED_SECTIONS]
        file_parts.keep(session, batch_id, _joined(later))
        _enter_visits(session, batch, result)
        batch.file_sha256 = _sha256(pieces)
        _anchor(session, rt, batch, "file", batch.file_sha256)
        note(session, rt, caller.subject, batch, DRAW, {"sha256": batch.file_sha256, "drawn": batch.summary["drawn"]})
    return batch_id


def _may_draw(rt: Runtime, batch: DrawBatch, beacon_value: str) -> None:
    BATCH.step(batch.state, DRAW)
    if rt.now() < batch.draw_not_before:
        detail = f"未到公告的抽取时间 / announced for {batch.draw_not_before.isoformat()}"
        raise Problem("conflict", field="draw_not_before", detail=detail)
    if bool(beacon_value) != bool(batch.announcement["beacon"]):
        detail = "the value of the announced beacon is needed, and only of an announced one"
        raise Problem("invalid-field", field="beacon_value", detail=detail)


def _joined(pieces: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Put the pieces of each section together: they are cut anew when they are kept."""
    joined: dict[str, list[bytes]] = {}
    for name, data in pieces:
        joined.setdefault(name, []).append(data)
    return [(name, b"".join(found)) for name, found in joined.items()]


def _sha256(pieces: list[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for _, data in pieces:
        digest.update(data)
    return digest.hexdigest()


def _enter_visits(session: Session, batch: DrawBatch, result: Result) -> None:
    strata = [result.entities.outcome(index)[1] for index in result.entities.drawn]
    for place, (one, stratum) in enumerate(zip(result.assignments, strata, strict=True)):
        session.add(
            DrawnVisit(
                batch=batch.id, place=place, entity=one.entity, stratum=stratum, officers=list(one.officers),
                unable={}, state=WAITING, fault=None if one.officers else "officers-too-few", reason="",
                provisional=False,
            )
        )  # fmt: skip
    session.flush()


def withdraw_batch(session: Session, rt: Runtime, caller: Principal, batch_id: str, reason: str) -> DrawBatch:
    """Withdraw an announced batch. Its secret becomes public: anybody can see what would have been drawn.

    Raises:
        Problem: `not-found`; `illegal-transition`; `invalid-field` without a reason.
    """
    batch = get_batch(session, caller, batch_id, lock=True)
    state = BATCH.step(batch.state, WITHDRAW)
    if len(reason.strip()) < MIN_REASON_CHARS:
        raise Problem("invalid-field", field="reason", detail="a reason is needed", limit=MIN_REASON_CHARS)
    batch.state, batch.reason = state, reason.strip()
    note(session, rt, caller.subject, batch, WITHDRAW, {"reason": batch.reason})
    return batch


def get_batch(session: Session, caller: Principal, batch_id: str, *, lock: bool = False) -> DrawBatch:
    """Return a batch of one's scope.

    Raises:
        Problem: `not-found`.
    """
    batch = session.get(DrawBatch, batch_id, with_for_update=lock, populate_existing=lock)
    if batch is None:
        raise Problem("not-found", detail="no batch with this id")
    require_scope(caller, batch.region, batch.department)
    return batch


def batches_of(session: Session, plan: str) -> list[DrawBatch]:
    """Return the batches of a plan in their order."""
    return list(session.execute(select(DrawBatch).where(DrawBatch.plan == plan).order_by(DrawBatch.number)).scalars())


def _anchor(session: Session, rt: Runtime, batch: DrawBatch, what: str, sha256: str) -> None:
    """Let the proof log hold what was fixed: nobody can change it, or say that it was fixed earlier."""
    leaf = json.dumps({"draw": batch.id, what: sha256}, separators=(",", ":"), sort_keys=True)
    enqueue(session, rt, "draw", f"{batch.id}:{what}", leaf.encode())


def note(session: Session, rt: Runtime, actor: str, batch: DrawBatch, action: str, detail: Mapping[str, Any]) -> None:
    """Add an audit event about a batch."""
    record_event(
        session, rt, actor, f"draw-batch.{action}", "draw-batch", batch.id, detail, region=batch.region,
        department=batch.department,
    )  # fmt: skip
