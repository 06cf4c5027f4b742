"""What is recorded for good: the latest supervision behaviors and the newest signed head of the proof log."""

from datetime import datetime
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from server.behaviors.models import Behavior
from server.behaviors.service import content_of
from server.clock import from_ms
from server.pages.overview_values import BehaviorRow, Count, Part, TreeHead
from server.prooflog.models import Leaf
from server.prooflog.service import latest_head, pending_count
from server.web.principal import Principal
from server.web.scope import in_scope

BEHAVIORS_SHOWN = 8
CURRENT = "current"


def behaviors(session: Session, caller: Principal, today: datetime) -> Count:
    """Supervision behaviors recorded, and those recorded today; a corrected one counts once."""
    recent = func.coalesce(func.sum(case((Behavior.created_at >= today, 1), else_=0)), 0)
    query = select(func.count(), recent).where(
        Behavior.status == CURRENT, in_scope(caller, Behavior.region, Behavior.department)
    )
    total, today_count = session.execute(query).one()
    return Count("behaviors", "recorded", total, (Part("today", today_count),))


def proof(head: TreeHead | None) -> Count:
    """Leaves of the proof log under its signed head; the log is one for the whole province."""
    return Count("proof", "leaves", head.size if head else 0, (Part("waiting", head.pending if head else 0),))


def behavior_rows(session: Session, caller: Principal) -> tuple[BehaviorRow, ...]:
    """Return the latest behaviors of the caller's scope, newest first."""
    query = (
        select(Behavior)
        .where(Behavior.status == CURRENT, in_scope(caller, Behavior.region, Behavior.department))
        .order_by(Behavior.id.desc())
        .limit(BEHAVIORS_SHOWN)
    )
    rows = session.execute(query).scalars().all()
    refs = {f"{row.id}:{row.version}": row for row in rows}
    placed = select(Leaf.ref, Leaf.index).where(Leaf.kind == "behavior", Leaf.ref.in_(refs))
    leaves = dict(session.execute(placed).all())
    return tuple(_row(row, content_of(row), leaves.get(ref)) for ref, row in refs.items())


def _row(row: Behavior, content: dict[str, Any], leaf: int | None) -> BehaviorRow:
    return BehaviorRow(
        id=row.id,
        number=row.number,
        entity=content.get("counterpart_name", ""),
        region=row.region,
        result=row.result,
        category=row.kind,
        happened_at=row.inspected_at,
        officers=tuple(officer["name"] for officer in content["officers"]),
        leaf=leaf,
    )


def tree_head(session: Session) -> TreeHead | None:
    """Return the newest signed head, None before the first."""
    head = latest_head(session)
    if head is None:
        return None
    return TreeHead(head.size, head.root.hex(), from_ms(head.at_ms), head.key_id, pending_count(session))
