"""Writing supervision behaviors and finding them."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from marshmallow import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.behavior import SCHEMAS, behavior_schema, days_of, personal_content
from server.audit.service import SYSTEM, changed_fields, record_event
from server.behaviors.models import Behavior, Proceeding
from server.behaviors.publication import enter_publication
from server.entities.merging import with_duplicates
from server.errors import Problem
from server.prooflog.service import enqueue
from server.runtime import Runtime
from server.web.principal import Principal, require_scope
from sync.acts import encode
from sync.merkle import leaf_hash

SALT_BYTES = 16
MAX_REASON_CHARS = 1_000


@dataclass(frozen=True)
class BehaviorDraft:
    """A behavior to be written; `content` has the national fields, except record_id, which is given here.

    A number may be given by the department; without one it is made here.
    """

    kind: str
    region: str
    """Division code that decides who may see it (six or nine digits)."""
    department: str
    content: Mapping[str, Any]
    entity: str | None = None
    inspection: str | None = None


def create_behavior(session: Session, rt: Runtime, draft: BehaviorDraft, *, behavior_id: str | None = None) -> str:
    """Write the first version of a behavior and queue its leaf, in the caller's transaction. Returns its id.

    It is to be published from now on. `behavior_id` is given where it was a proceeding before.

    Raises:
        Problem: `invalid-field` naming the national field that is missing or wrong; `not-found` for an inspection
            number that does not exist; `conflict` for a number that is taken.
    """
    if draft.kind not in SCHEMAS:
        raise Problem("unknown-kind", field="kind", detail=f"must be one of {', '.join(SCHEMAS)}")
    behavior_id = behavior_id or rt.new_id()
    number = f"{draft.region[:6]}-{rt.now():%Y%m%d}-{behavior_id[-12:]}"
    content = {"number": number, **draft.content, "record_id": behavior_id, "behavior_kind": draft.kind}
    taken = select(Behavior.id).where(Behavior.number == str(content["number"])).limit(1)
    if session.execute(taken).first() is not None:
        raise Problem("conflict", field="number", detail="another behavior has this number")
    row = _write(session, rt, draft, content, behavior_id, version=1, previous=None)
    enter_publication(session, rt, row, content)
    return behavior_id


def correct_behavior(
    session: Session,
    rt: Runtime,
    behavior_id: str,
    content: Mapping[str, Any],
    *,
    author: str = SYSTEM,
    reason: str = "",
) -> int:
    """Append a corrected version of a behavior; the earlier one stays, and the new leaf names it. Returns the version.

    Id and number stay those of the first version, whatever `content` says.

    Raises:
        Problem: `not-found`, or `invalid-field` as for a new behavior.
    """
    query = select(Behavior).where(Behavior.id == behavior_id, Behavior.status == "current").with_for_update()
    present = session.execute(query).scalar_one_or_none()
    if present is None:
        raise Problem("not-found", detail="no behavior with this id")
    present.status = "superseded"
    draft = BehaviorDraft(present.kind, present.region, present.department, content, present.entity, present.inspection)
    whole = {**content, "record_id": behavior_id, "number": present.number, "behavior_kind": present.kind}
    version = present.version + 1
    _write(session, rt, draft, whole, behavior_id, version=version, previous=leaf_hash(present.leaf).hex())
    fields = changed_fields(content_of(present), whole, personal=personal_content(whole))
    detail = {"version": version, "reason": reason, "fields": fields}
    record_event(
        session, rt, author, "behavior.correct", "behavior", behavior_id, detail,
        region=present.region, department=present.department,
    )  # fmt: skip
    return version


def _write(
    session: Session,
    rt: Runtime,
    draft: BehaviorDraft,
    content: Mapping[str, Any],
    behavior_id: str,
    *,
    version: int,
    previous: str | None,
) -> Behavior:
    told_before = draft.kind != "inspection" or previous is not None
    try:
        behavior_schema(draft.kind, days_of(content) if told_before else ()).load(dict(content))
    except ValidationError as error:
        messages = error.messages if isinstance(error.messages, dict) else {"": error.messages}
        field, reason = next(iter(messages.items()))
        raise Problem("invalid-field", field=str(field), detail=str(reason)) from error
    if draft.kind != "inspection":
        _require_inspection(session, str(content["inspection_number"]))
    private = personal_content(content)
    line = _salted(rt, {name: value for name, value in content.items() if name not in private})
    personal = _salted(rt, private) if private else None
    leaf = encode(leaf_members(behavior_id, version, line, personal, previous))
    row = Behavior(
        id=behavior_id,
        version=version,
        kind=draft.kind,
        number=content["number"],
        status="current",
        region=draft.region,
        department=draft.department,
        entity=draft.entity,
        inspection=draft.inspection,
        result=content["result"],
        inspected_at=datetime.fromisoformat(content["inspected_at"]).astimezone(UTC),
        created_at=rt.now(),
        line=line,
        personal=personal,
        leaf=leaf,
    )
    session.add(row)
    session.flush()
    enqueue(session, rt, "behavior", f"{behavior_id}:{version}", leaf)
    return row


def _salted(rt: Runtime, fields: Mapping[str, Any]) -> bytes:
    """Encode fields; the salt keeps their commitment from being guessed once these bytes are destroyed."""
    salt = base64.urlsafe_b64encode(rt.random_bytes(SALT_BYTES)).decode().rstrip("=")
    return encode({"salt": salt, **fields})


def leaf_members(
    behavior_id: str, version: int, line: bytes, personal: bytes | None, previous: str | None
) -> dict[str, Any]:
    """Return what the proof log holds of a version: commitments to its two parts, and the hash of the leaf before."""
    members: dict[str, Any] = {"behavior": behavior_id, "version": version, "content": hashlib.sha256(line).hexdigest()}
    if personal is not None:
        members["personal"] = hashlib.sha256(personal).hexdigest()
    return members | {"previous": previous}


def content_of(row: Behavior) -> dict[str, Any]:
    """Return all national fields of a version, its personal ones as far as they were not erased."""
    content: dict[str, Any] = json.loads(row.line)
    if row.personal is not None:
        content |= {name: value for name, value in json.loads(row.personal).items() if name != "salt"}
    return content


def erase_personal(session: Session, behavior_id: str, order: str) -> int:
    """Destroy the personal fields of all versions of a behavior, with their salts; returns how many had some.

    Drafts of penalties and the like that took them over from this behavior lose them as well.
    """
    query = select(Behavior).where(Behavior.id == behavior_id, Behavior.personal.is_not(None)).with_for_update()
    rows = list(session.execute(query).scalars())
    for row in rows:
        row.personal, row.erased_by = None, order
    drafts = select(Proceeding).where(Proceeding.inspection_number.in_({row.number for row in rows}))
    for draft in session.execute(drafts.with_for_update()).scalars():
        private = personal_content(draft.content)
        draft.content = {name: value for name, value in draft.content.items() if name not in private}
    session.flush()
    return len(rows)


def _require_inspection(session: Session, number: str) -> None:
    known = select(Behavior.id).where(Behavior.number == number, Behavior.kind == "inspection")
    if session.execute(known.limit(1)).first() is None:
        raise Problem("not-found", field="inspection_number", detail="no inspection with this number")


@dataclass(frozen=True)
class BehaviorFilter:
    """Which behaviors to list."""

    kind: str = ""
    result: str = ""
    entity: str = ""
    region: str = ""
    """Division-code prefix within the caller's own."""
    number: str = ""
    inspected_from: datetime | None = None
    inspected_before: datetime | None = None


def list_behaviors(
    session: Session, caller: Principal, wanted: BehaviorFilter, *, after: str = "", limit: int = 50
) -> list[Behavior]:
    """Return the current versions in the caller's scope, newest first; `after` is the last id of the page before."""
    query = select(Behavior).where(
        Behavior.status == "current", Behavior.region.startswith(caller.region, autoescape=True)
    )
    if caller.department:
        query = query.where(Behavior.department == caller.department)
    for column, value in (
        (Behavior.kind, wanted.kind),
        (Behavior.result, wanted.result),
        (Behavior.number, wanted.number),
    ):
        if value:
            query = query.where(column == value)
    if wanted.entity:
        query = query.where(Behavior.entity.in_(with_duplicates(session, wanted.entity)))
    if wanted.region:
        query = query.where(Behavior.region.startswith(wanted.region, autoescape=True))
    if wanted.inspected_from is not None:
        query = query.where(Behavior.inspected_at >= wanted.inspected_from)
    if wanted.inspected_before is not None:
        query = query.where(Behavior.inspected_at < wanted.inspected_before)
    if after:
        query = query.where(Behavior.id < after)
    return list(session.execute(query.order_by(Behavior.id.desc()).limit(limit)).scalars())


def versions_of(session: Session, caller: Principal, behavior_id: str) -> list[Behavior]:
    """Return all versions of a behavior in the caller's scope, oldest first.

    Raises:
        Problem: `not-found`.
    """
    query = select(Behavior).where(Behavior.id == behavior_id).order_by(Behavior.version)
    found = list(session.execute(query).scalars())
    if not found:
        raise Problem("not-found", detail="no behavior with this id")
    require_scope(caller, found[0].region, found[0].department)
    return found
