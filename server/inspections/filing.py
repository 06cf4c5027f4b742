"""The plan of a visit is filed before it (入企检查备案): by the office with the task, or by an officer alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from schemas.visit_rules import PLANNED, REASON_OF_ORIGIN
from server.inspections.models import VisitFiling
from server.runtime import Runtime


@dataclass(frozen=True)
class Filing:
    """Whom a visit is to, for which reason, and when."""

    task: str
    """Empty for a visit without one."""
    inspection: str
    entity: str
    region: str
    department: str
    reason: str
    visit_from: datetime
    visit_until: datetime

    @classmethod
    def of_task(cls, task: str, region: str, department: str, fields: Mapping[str, Any], now: datetime) -> "Filing":
        """Read it from a task that the office gives out now."""
        return cls(
            task, fields["inspection"], fields["entity"], region, department, reason_of(fields), now,
            instant(fields["due_at"]),
        )  # fmt: skip

    @classmethod
    def of_inspection(cls, inspection: str, region: str, department: str, fields: Mapping[str, Any]) -> "Filing":
        """Read it from an inspection that an officer planned."""
        return cls(
            fields["task"] or "", inspection, fields["entity"], region, department, reason_of(fields),
            instant(fields["visit_from"]), instant(fields["visit_until"]),
        )  # fmt: skip


def reason_of(fields: Mapping[str, Any]) -> str:
    """Return the reason of a task's visit: as said, or as follows from where the task comes from."""
    return str(fields.get("visit_reason") or REASON_OF_ORIGIN.get(str(fields.get("origin")), PLANNED))


def file_visit(session: Session, rt: Runtime, filing: Filing) -> None:
    """Note that a visit's plan is filed now; the first filing of an inspection counts."""
    if session.get(VisitFiling, filing.inspection) is None:
        session.add(VisitFiling(**vars(filing), filed_at=rt.now()))


def instant(text: str) -> datetime:
    """Return the aware UTC instant of an RFC 3339 text that a schema has checked."""
    return datetime.fromisoformat(text).astimezone(UTC)
