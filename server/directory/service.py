"""Keeping the directory."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.identifiers import check_checklist_code, check_item_code
from server.directory.models import Checklist, SupervisionItem
from server.errors import Problem
from server.records.lines import Placement
from server.records.service import OfficeChange, office_write_many
from server.runtime import Runtime

EVERYWHERE = Placement("", "")
"""The directory is the same for the whole province."""


def add_item(session: Session, rt: Runtime, item: SupervisionItem, *, author: str) -> None:
    """Enter a supervision item and publish it.

    Raises:
        Problem: `invalid-field` if the code does not have 14 digits.
    """
    if reason := check_item_code(item.code):
        raise Problem("invalid-field", field="code", detail=reason)
    session.add(item)
    fields = {"code": item.code, "name": item.name, "basis": item.basis, "department": item.department}
    office_write_many(session, rt, [OfficeChange("item", item.id, fields, author, EVERYWHERE)])


def add_checklist(session: Session, rt: Runtime, checklist: Checklist, *, author: str) -> None:
    """Enter a version of a checklist and publish it.

    Raises:
        Problem: `invalid-field` for a wrong code.
    """
    if reason := check_checklist_code(checklist.code):
        raise Problem("invalid-field", field="code", detail=reason)
    session.add(checklist)
    fields = {
        "code": checklist.code,
        "version": checklist.version,
        "name": checklist.name,
        "item": checklist.item,
        "sub_items": checklist.sub_items,
    }
    office_write_many(session, rt, [OfficeChange("checklist", checklist.id, fields, author, EVERYWHERE)])


def get_item(session: Session, item_id: str) -> SupervisionItem:
    """Return one supervision item.

    Raises:
        Problem: `not-found`.
    """
    item = session.get(SupervisionItem, item_id)
    if item is None:
        raise Problem("not-found", detail="no supervision item with this id")
    return item


def get_checklist(session: Session, checklist_id: str) -> Checklist:
    """Return one checklist version.

    Raises:
        Problem: `not-found`.
    """
    checklist = session.get(Checklist, checklist_id)
    if checklist is None:
        raise Problem("not-found", detail="no checklist with this id")
    return checklist


def checklist_for(session: Session, department: str) -> Checklist | None:
    """Return the newest version of a department's first checklist by code, or None if it has none."""
    query = (
        select(Checklist)
        .join(SupervisionItem, SupervisionItem.id == Checklist.item)
        .where(SupervisionItem.department == department)
        .order_by(Checklist.code, Checklist.version.desc())
        .limit(1)
    )
    return session.execute(query).scalar_one_or_none()
