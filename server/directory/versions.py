"""Versions of items and checklists: drafting, reviewing, publishing, ending, and finding the one of a moment."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from schemas.identifiers import USCC_LENGTH
from server.audit.service import record_event
from server.directory.contents import ITEMS, REGISTERS, Content, check_content, differences
from server.directory.lifecycle import (
    DIRECTORY,
    DRAFT,
    OPEN,
    PUBLISH,
    PUBLISHED,
    REVIEW,
    SUPERSEDE,
    SUPERSEDED,
    WITHDRAW,
)
from server.directory.models import Checklist, DirectoryVersion, SupervisionBody, SupervisionItem
from server.directory.service import ITEM_FIELDS, end_checklist, publish_checklist, publish_item
from server.errors import Problem
from server.knowledge.service import check_links
from server.records.models import ServerState
from server.runtime import Runtime
from server.web.principal import Principal, covers

PROVINCE = "42"
MAX_VERSIONS = 10_000


@dataclass(frozen=True)
class Draft:
    """An edit: a new version on top of version `base` (0: the code is new)."""

    register: str
    code: str
    content: Content
    base: int
    author: str
    reason: str


def check_register(register: str) -> None:
    """Refuse a register that does not exist.

    Raises:
        Problem: `not-found`.
    """
    if register not in REGISTERS:
        raise Problem("not-found", detail=f"the registers are {', '.join(REGISTERS)}")


def check_editor(caller: Principal, department: str) -> None:
    """Let only the province's own people of the item's department edit: the directory is one for the whole province.

    Raises:
        Problem: `forbidden`.
    """
    if not covers(caller, PROVINCE, department):
        raise Problem("forbidden", detail=f"the directory of {department} is edited by that department of the province")


def newest(session: Session, register: str, code: str) -> DirectoryVersion | None:
    """Return the version of a code that was entered last, whatever became of it."""
    query = select(DirectoryVersion).where(DirectoryVersion.register == register, DirectoryVersion.code == code)
    return session.execute(query.order_by(DirectoryVersion.version.desc()).limit(1)).scalar_one_or_none()


def get_version(session: Session, register: str, code: str, version: int) -> DirectoryVersion:
    """Return one version.

    Raises:
        Problem: `not-found`.
    """
    check_register(register)
    which = (DirectoryVersion.register == register, DirectoryVersion.code == code, DirectoryVersion.version == version)
    found = session.execute(select(DirectoryVersion).where(*which)).scalar_one_or_none()
    if found is None:
        raise Problem("not-found", detail="no such version")
    return found


def version_at(session: Session, register: str, code: str, at: datetime) -> DirectoryVersion | None:
    """Return the version that was in force at a moment, or None."""
    which = (DirectoryVersion.register == register, DirectoryVersion.code == code)
    query = select(DirectoryVersion).where(*which, in_force_at(at))
    return session.execute(query.order_by(DirectoryVersion.version.desc()).limit(1)).scalar_one_or_none()


def in_force_at(at: datetime) -> ColumnElement[bool]:
    """The condition that a version was published before and ended after a moment."""
    ended = DirectoryVersion.ended_at
    return (DirectoryVersion.published_at <= at) & or_(ended.is_(None), ended > at)


def list_versions(session: Session, register: str, code: str) -> list[DirectoryVersion]:
    """Return all versions of a code, oldest first.

    Raises:
        Problem: `not-found` for an unknown code.
    """
    check_register(register)
    which = (DirectoryVersion.register == register, DirectoryVersion.code == code)
    found = list(session.execute(select(DirectoryVersion).where(*which).order_by(DirectoryVersion.version)).scalars())
    if not found:
        raise Problem("not-found", detail="no such code")
    return found


def find_versions(
    session: Session, register: str, *, q: str = "", state: str = PUBLISHED, exact: Mapping[str, str] | None = None,
    after: str = "", limit: int = 50,
) -> list[DirectoryVersion]:  # fmt: skip
    """Return versions in a state, in order of code and version; `q` is a part of the name or the start of the code.

    `exact` holds members of the content and what they must say; an empty text asks nothing.
    """
    check_register(register)
    query = select(DirectoryVersion).where(DirectoryVersion.register == register, DirectoryVersion.state == state)
    for name, value in (exact or {}).items():
        if value:
            query = query.where(DirectoryVersion.content[name].as_string() == value)
    if q:
        starts = DirectoryVersion.code.startswith(q, autoescape=True)
        query = query.where(or_(DirectoryVersion.name.contains(q, autoescape=True), starts))
    if after:
        code, _, version = after.partition("~")
        number = int(version) if version.isascii() and version.isdigit() and len(version) < 6 else 0
        later = (DirectoryVersion.code == code) & (DirectoryVersion.version > number)
        query = query.where(or_(DirectoryVersion.code > code, later))
    return list(session.execute(query.order_by(DirectoryVersion.code, DirectoryVersion.version).limit(limit)).scalars())


def item_in_force(session: Session, code: str) -> SupervisionItem:
    """Return the published item of a code.

    Raises:
        Problem: `invalid-field`.
    """
    query = select(SupervisionItem).where(SupervisionItem.code == code, SupervisionItem.status == PUBLISHED)
    found = session.execute(query).scalar_one_or_none()
    if found is None:
        raise Problem("invalid-field", field="item", detail=f"no published supervision item {code}")
    return found


def check_references(session: Session, register: str, code: str, content: Content) -> str:
    """Check what a version refers to, and that its name is nobody else's. Returns the department it belongs to.

    Raises:
        Problem: `invalid-field` naming the unknown item, body or department; `conflict` for a name given twice.
    """
    if register == ITEMS:
        department = str(content["department"])
        if (
            session.execute(select(SupervisionBody.uscc).where(SupervisionBody.department == department)).first()
            is None
        ):
            raise Problem("invalid-field", field="department", detail=f"no supervision body of {department!r} is known")
        same = (DirectoryVersion.register == ITEMS, DirectoryVersion.name == content["name"])
        alive = DirectoryVersion.state.in_((*OPEN, PUBLISHED))
        other = session.execute(
            select(DirectoryVersion.code).where(*same, alive, DirectoryVersion.code != code)
        ).first()
        if other is not None:
            raise Problem(
                "conflict", field="name", detail=f"the item {other.code} has this name", code_of_name=other.code
            )
        return department
    if session.get(SupervisionBody, code[:USCC_LENGTH]) is None:
        raise Problem("invalid-field", field="code", detail=f"no supervision body has the code {code[:USCC_LENGTH]}")
    check_links(session, content["sub_items"])
    return item_in_force(session, str(content["item"])).department


def check_draft(session: Session, caller: Principal, draft: Draft) -> tuple[dict[str, Any], DirectoryVersion | None]:
    """Check an edit by the rules for contents, references and editors. Returns its content and the newest version.

    Raises:
        Problem: `invalid-field`, `forbidden`, or `conflict` for a name given twice.
    """
    content = check_content(draft.register, draft.code, draft.content)
    check_editor(caller, check_references(session, draft.register, draft.code, content))
    last = newest(session, draft.register, draft.code)
    if last is not None:
        check_editor(caller, department_of(session, last))  # another department's item is not taken over
    return content, last


def department_of(session: Session, version: DirectoryVersion) -> str:
    """Return the department that a version belongs to; a checklist belongs to the one of its item."""
    if version.register == ITEMS:
        return str(version.content["department"])
    query = select(SupervisionItem.department).where(SupervisionItem.code == version.content["item"])
    return session.execute(query).scalar_one_or_none() or ""


def enter_draft(session: Session, rt: Runtime, draft: Draft, *, caller: Principal) -> DirectoryVersion:
    """Enter an edit as a new version; a version of the code that is still open is superseded by it.

    Raises:
        Problem: as :func:`check_draft` says; `conflict` when the code has moved on from `base`.
    """
    content, last = check_draft(session, caller, draft)
    number = last.version if last else 0
    if draft.base != number:
        raise Problem("conflict", field="base", detail=f"the newest version is {number}", newest=number)
    if number >= MAX_VERSIONS:
        raise Problem("limit-exceeded", field="base", detail="too many versions", limit=MAX_VERSIONS)
    if last is not None and last.state in OPEN:
        last.state, last.ended_at = DIRECTORY.step(last.state, SUPERSEDE), rt.now()
    version_id = rt.new_id()
    subject = last.subject if last is not None and draft.register == ITEMS else version_id
    made = DirectoryVersion(
        id=version_id, register=draft.register, code=draft.code, version=number + 1, name=content["name"],
        content=content, state=DRAFT, subject=subject, author=draft.author, reason=draft.reason, created_at=rt.now(),
    )  # fmt: skip
    session.add(made)
    session.flush()
    changes = differences(last.content if last else {}, content)
    fields = {one["path"]: [one["before"], one["after"]] for one in changes}
    _record(session, rt, made, draft.author, "draft", draft.reason, {"fields": fields})
    return made


def take_action(
    session: Session, rt: Runtime, version: DirectoryVersion, action: str, *, author: str, reason: str
) -> None:
    """Review, publish or withdraw a version.

    Raises:
        Problem: `illegal-transition` naming the legal actions; `forbidden` for reviewing one's own version; `conflict`
            or `invalid-field` when what it refers to has changed, or checklists still need an item.
    """
    session.execute(select(ServerState).where(ServerState.id == 1).with_for_update()).scalar_one()  # one at a time
    session.refresh(version)
    before, after = version.state, DIRECTORY.step(version.state, action)
    if action == REVIEW:
        if version.author == author:
            raise Problem("forbidden", field="action", detail="another person than the author reviews a version")
        version.reviewer = author
    elif action == PUBLISH:
        _publish(session, rt, version, author=author)
    elif action == WITHDRAW:
        if before == PUBLISHED:
            _take_back(session, rt, version, author=author)
        version.ended_at = rt.now()
    version.state = after
    _record(session, rt, version, author, action, reason, {"fields": {"state": [before, after]}})
    session.flush()


def _publish(session: Session, rt: Runtime, version: DirectoryVersion, *, author: str) -> None:
    check_references(session, version.register, version.code, version.content)
    which = (DirectoryVersion.register == version.register, DirectoryVersion.code == version.code)
    query = select(DirectoryVersion).where(*which, DirectoryVersion.state == PUBLISHED)
    former = session.execute(query).scalar_one_or_none()
    if former is not None:
        former.state, former.ended_at = DIRECTORY.step(former.state, SUPERSEDE), rt.now()
        session.flush()  # only one version of a code may be published at any moment
        _record(session, rt, former, author, SUPERSEDE, version.reason, {"by": version.version})
    version.published_at = rt.now()
    if version.register == ITEMS:
        item = session.get(SupervisionItem, version.subject) or SupervisionItem(id=version.subject, code=version.code)
        for name in ITEM_FIELDS:
            setattr(item, name, version.content.get(name, ""))
        item.version, item.status = version.version, PUBLISHED
        session.add(item)
        session.flush()
        publish_item(session, rt, item, author=author)
        return
    if former is not None:
        end_checklist(session, rt, session.get_one(Checklist, former.subject), SUPERSEDED, author=author)
    asked = item_in_force(session, version.content["item"]).id
    made = Checklist(
        id=version.subject, code=version.code, version=version.version, name=version.name,
        item=asked, sub_items=version.content["sub_items"], status=PUBLISHED,
    )  # fmt: skip
    publish_checklist(session, rt, made, author=author)


def _take_back(session: Session, rt: Runtime, version: DirectoryVersion, *, author: str) -> None:
    if version.register != ITEMS:
        end_checklist(session, rt, session.get_one(Checklist, version.subject), "withdrawn", author=author)
        return
    query = select(Checklist.code).where(Checklist.item == version.subject, Checklist.status == PUBLISHED)
    if codes := list(session.execute(query.order_by(Checklist.code).limit(20)).scalars()):
        raise Problem("conflict", detail="withdraw the checklists of this item first", checklists=codes)
    item = session.get_one(SupervisionItem, version.subject)
    item.status = "withdrawn"
    publish_item(session, rt, item, author=author)


def _record(
    session: Session, rt: Runtime, version: DirectoryVersion, author: str, action: str, reason: str,
    more: Mapping[str, Any],
) -> None:  # fmt: skip
    detail = {"code": version.code, "version": version.version, "reason": reason, **more}
    record_event(session, rt, author, f"directory.{action}", REGISTERS[version.register], version.id, detail)
