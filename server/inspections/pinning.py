"""Which versions an inspection was made with, and whether newer ones were published before or since it began.

An inspection begun on an older version, offline or before the newer one was published, stays valid; it is marked.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.db.engine import IN_LIST_LIMIT
from server.directory.models import DirectoryVersion, SupervisionItem
from server.inspections.filing import instant
from server.records.service import get_records

IN_FORCE = "in_force"
SUPERSEDED_SINCE = "superseded_since"
"""The version was in force when the inspection began, and is not any more."""
SUPERSEDED_BEFORE = "superseded_before"
"""The version was not in force any more when the inspection began: the handheld did not know yet."""
STANDINGS = (IN_FORCE, SUPERSEDED_SINCE, SUPERSEDED_BEFORE)


@dataclass(frozen=True)
class Pinned:
    """The checklist version that an inspection names, and the version of its item that was in force as it began."""

    code: str
    version: int
    name: str
    standing: str
    item_code: str
    item_version: int | None
    item_name: str


def pinned_versions(session: Session, inspections: Iterable[str]) -> dict[str, Pinned]:
    """Return the versions that inspections were made with, by inspection; those that name none are left out."""
    records = get_records(session, [("inspection", inspection) for inspection in inspections])
    asked = {record.id: record.fields for record in records.values() if record.fields.get("checklist")}
    lists = _versions(session, {str(fields["checklist"]) for fields in asked.values()})
    items = _versions(session, {str(fields["item"]) for fields in asked.values() if fields.get("item")})
    pinned = {}
    for inspection, fields in asked.items():
        for checklist in lists.get(str(fields["checklist"]), ()):
            began = _began(fields)
            item = next((one for one in items.get(str(fields.get("item")), ()) if _held(one, began)), None)
            pinned[inspection] = Pinned(
                checklist.code, checklist.version, checklist.name, standing_of(checklist, began),
                checklist.content["item"], item.version if item else None, item.name if item else "",
            )  # fmt: skip
    return pinned


def item_as_it_was(session: Session, item: SupervisionItem, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return name and basis of an item as they were when the inspection with these fields began."""
    began = _began(fields)
    held = next((one for one in _versions(session, {item.id}).get(item.id, ()) if _held(one, began)), None)
    return {"name": item.name, "basis": item.basis} if held is None else held.content


def _began(fields: Mapping[str, Any]) -> datetime | None:
    text = fields.get("started_at") or fields.get("inspected_at")
    return instant(text) if text else None


def _held(version: DirectoryVersion, at: datetime | None) -> bool:
    """Whether a version was in force at a moment, or is now for what has not begun."""
    if at is None or version.published_at is None:
        return version.published_at is not None and version.ended_at is None
    return version.published_at <= at and (version.ended_at is None or version.ended_at > at)


def standing_of(checklist: DirectoryVersion, began: datetime | None) -> str:
    """Tell how a checklist version stands to an inspection that began then, or has not begun."""
    if checklist.ended_at is None:
        return IN_FORCE
    return SUPERSEDED_BEFORE if began is not None and began >= checklist.ended_at else SUPERSEDED_SINCE


def _versions(session: Session, subjects: Iterable[str]) -> dict[str, list[DirectoryVersion]]:
    found: dict[str, list[DirectoryVersion]] = {}
    ids = sorted(subjects)
    for start in range(0, len(ids), IN_LIST_LIMIT):
        query = select(DirectoryVersion).where(
            DirectoryVersion.subject.in_(ids[start : start + IN_LIST_LIMIT]), DirectoryVersion.published_at.is_not(None)
        )
        for row in session.execute(query.order_by(DirectoryVersion.version.desc())).scalars():
            found.setdefault(row.subject, []).append(row)
    return found
