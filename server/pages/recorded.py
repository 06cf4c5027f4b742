"""What is recorded for good: the latest supervision behaviors and the newest signed head of the proof log."""

from datetime import datetime

from sqlalchemy.orm import Session

from server.pages.overview_values import BehaviorRow, Count, Part, TreeHead
from server.web.auth import Principal

BEHAVIORS_SHOWN = 10


def behaviors(session: Session, caller: Principal, today: datetime) -> Count:
    """Supervision behaviors recorded, and those recorded today."""
    return Count("behaviors", "recorded", 0, (Part("today", 0),))


def proof(head: TreeHead | None) -> Count:
    """Leaves of the proof log under its signed head; the log is one for the whole province."""
    return Count("proof", "leaves", head.size if head else 0, (Part("waiting", head.pending if head else 0),))


def behavior_rows(session: Session, caller: Principal) -> tuple[BehaviorRow, ...]:
    """Return the latest behaviors of the caller's scope."""
    return ()


def tree_head(session: Session) -> TreeHead | None:
    """Return the newest signed head, None before the first."""
    return None
