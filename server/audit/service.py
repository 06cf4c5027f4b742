"""Recording audit events."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from server.audit.models import AuditEvent
from server.runtime import Runtime

SYSTEM = "system"
"""Actor of what a program did on its own."""


def record_event(
    session: Session,
    rt: Runtime,
    actor: str,
    action: str,
    subject_kind: str,
    subject_id: str,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Add one event to the trail, in the caller's transaction.

    Args:
        session: the write session of the act itself: both commit or neither does.
        rt: the runtime, for the time.
        actor: account, device or officer id, or :data:`SYSTEM`.
        action: verb with its object, e.g. `device.approve`.
        subject_kind: kind of what was acted on.
        subject_id: its id.
        detail: further facts, JSON; no personal data.
    """
    event = AuditEvent(
        at=rt.now(),
        actor=actor,
        action=action,
        subject_kind=subject_kind,
        subject_id=subject_id,
        detail=dict(detail or {}),
    )
    session.add(event)
