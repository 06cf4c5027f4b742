"""Keeping what is published of the directory: entering, publishing to the handhelds, looking up."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.identifiers import USCC_LENGTH, check_checklist_code, check_item_code
from server.directory.contents import CHECKLISTS, ITEMS, tidy
from server.directory.lifecycle import PUBLISHED
from server.directory.models import Checklist, DirectoryVersion, SupervisionBody, SupervisionItem
from server.errors import Problem
from server.knowledge.service import link, unlink
from server.records.lines import Placement
from server.records.service import OfficeChange, office_write_many
from server.runtime import Runtime

EVERYWHERE = Placement("", "")
"""The directory is the same for the whole province."""
ITEM_FIELDS = ("name", "item_type", "basis", "department", "level", "sector")
ENTERED = "初始录入 / entered with the platform"


def add_item(session: Session, rt: Runtime, item: SupervisionItem, *, author: str) -> None:
    """Enter a supervision item that was published elsewhere, as its first version, and publish it.

    Raises:
        Problem: `invalid-field` if the code does not have 14 digits.
    """
    if reason := check_item_code(item.code):
        raise Problem("invalid-field", field="code", detail=reason)
    session.add(item)
    session.flush()
    content = tidy({name: getattr(item, name) for name in ITEM_FIELDS})
    session.add(_published(rt, ITEMS, item.id, item.code, item.version, content, author))
    publish_item(session, rt, item, author=author)


def add_checklist(session: Session, rt: Runtime, checklist: Checklist, *, author: str) -> None:
    """Enter a version of a checklist that was published elsewhere, and publish it; its body is entered with it.

    Raises:
        Problem: `invalid-field` for a wrong code.
    """
    if reason := check_checklist_code(checklist.code):
        raise Problem("invalid-field", field="code", detail=reason)
    item = get_item(session, checklist.item)
    for former in session.execute(
        select(Checklist).where(Checklist.code == checklist.code, Checklist.status == PUBLISHED)
    ).scalars():
        if former.version > checklist.version:
            raise Problem("conflict", field="version", detail="a newer version is published")
        end_checklist(session, rt, former, "superseded", author=author)
        session.get_one(DirectoryVersion, former.id).state = "superseded"
        session.get_one(DirectoryVersion, former.id).ended_at = rt.now()
        session.flush()
    uscc = checklist.code[:USCC_LENGTH]
    if session.get(SupervisionBody, uscc) is None:
        body = SupervisionBody(uscc=uscc, name=item.department, department=item.department, region=uscc[2:8])
        session.add(body)
    content = tidy({"name": checklist.name, "item": item.code, "sub_items": checklist.sub_items})
    version = _published(rt, CHECKLISTS, checklist.id, checklist.code, checklist.version, content, author)
    session.add(version)
    publish_checklist(session, rt, checklist, author=author)


def _published(
    rt: Runtime, register: str, subject: str, code: str, version: int, content: Mapping[str, Any], author: str
) -> DirectoryVersion:
    return DirectoryVersion(
        id=subject, register=register, code=code, version=version, name=content["name"], content=dict(content),
        state=PUBLISHED, subject=subject, author=author, reason=ENTERED, created_at=rt.now(), published_at=rt.now(),
    )  # fmt: skip


def publish_item(session: Session, rt: Runtime, item: SupervisionItem, *, author: str) -> None:
    """Bring an item's synced record up to its row."""
    names = ("code", "name", "basis", "department", "item_type", "level", "version", "status")
    fields = {name: getattr(item, name) for name in names}
    if item.sector or item.version > 1:
        fields["sector"] = item.sector
    office_write_many(session, rt, [OfficeChange("item", item.id, fields, author, EVERYWHERE)])


def publish_checklist(session: Session, rt: Runtime, checklist: Checklist, *, author: str) -> None:
    """Enter a version's row and publish it as a record of its own."""
    session.add(checklist)
    session.flush()
    link(session, checklist.id, checklist.sub_items)
    names = ("code", "version", "name", "item", "sub_items", "status")
    fields = {name: getattr(checklist, name) for name in names}
    office_write_many(session, rt, [OfficeChange("checklist", checklist.id, fields, author, EVERYWHERE)])


def end_checklist(session: Session, rt: Runtime, checklist: Checklist, status: str, *, author: str) -> None:
    """Say on a version's row and record that it was superseded or withdrawn."""
    checklist.status = status
    unlink(session, checklist.id)
    office_write_many(session, rt, [OfficeChange("checklist", checklist.id, {"status": status}, author)])


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


def checklist_in_force(session: Session, checklist_id: str) -> Checklist:
    """Return a checklist version for a new visit: no check outside the published list.

    Raises:
        Problem: `not-found`, or `invalid-field` when it is not in force any more.
    """
    checklist = get_checklist(session, checklist_id)
    if checklist.status != PUBLISHED:
        raise Problem("invalid-field", field="checklist", detail=f"this version is {checklist.status}")
    return checklist


def checklist_for(session: Session, department: str) -> Checklist | None:
    """Return the version in force of a department's first checklist by code, or None if it has none."""
    query = (
        select(Checklist)
        .join(SupervisionItem, SupervisionItem.id == Checklist.item)
        .where(SupervisionItem.department == department, Checklist.status == PUBLISHED)
        .order_by(Checklist.code)
        .limit(1)
    )
    return session.execute(query).scalar_one_or_none()
