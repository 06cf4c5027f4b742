"""What the conflict pages show: one conflict with its base, all its sides and the decision; and deciding it.

The facts and the decision itself are `server.fieldsync.conflicts`', the same as the API's; here names are put to ids.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.codes import code_table
from server.accounts.models import Account
from server.devices.models import Device
from server.entities.models import Entity
from server.errors import Problem
from server.fieldsync import conflicts as facts
from server.inspections.models import Inspection
from server.officers.models import Officer
from server.pages.labels import TABLES
from server.records.models import Conflict, SyncedRecord
from server.runtime import Runtime
from server.web.principal import Principal
from sync.registers import DELETED

LIST_LIMIT = 200
VALUE_MAX_CHARS = 4_000
OTHER = "other"
"""The choice of a value that no side has."""
STATUSES = ("open", "decided", "dissolved", "reverted")


@dataclass(frozen=True)
class ConflictSide:
    """One of the values that stand against each other."""

    dot: str
    value: Any
    officer: str
    """Name of who wrote it; empty if unknown."""
    certificate: str
    device: str
    """Name of the handheld; empty for the office."""
    at: datetime
    """Corrected time, UTC."""
    deleted: bool = False
    held: bool = False
    """Whether its act still waits for its cause."""


@dataclass(frozen=True)
class Decision:
    """What a person decided."""

    value: Any
    choice: str | None
    """Dot of the first side with that value, None where no side had it."""
    by: str
    at: datetime | None
    reason: str


@dataclass(frozen=True)
class Undoing:
    """Who undid the decision."""

    by: str
    at: datetime | None
    reason: str


@dataclass(frozen=True)
class ConflictPage:
    """One conflict, ready to be shown."""

    id: str
    kind: str
    field: str
    title: str
    """Name of the entity, or the record's id where there is none."""
    region: str
    status: str
    """open, decided or dissolved (the sides' own later acts agree)."""
    opened_at: datetime
    base: tuple[Any, ...]
    sides: tuple[ConflictSide, ...]
    options: tuple[str, ...]
    """Values of the field's code table; empty for free text."""
    free: bool
    """Whether a value of one's own may be given; a deletion only stands or falls."""
    decision: Decision | None
    undone: Undoing | None
    follows: str | None
    """The conflict whose decision was undone, so that this one opened."""
    followed_by: str | None
    held: bool
    """Whether it opened because an act has waited too long."""


@dataclass(frozen=True)
class DecisionForm:
    """What the form sends."""

    choice: str
    value: str
    reason: str
    sides: tuple[str, ...]


def load_conflict(session: Session, caller: Principal, conflict_id: str) -> ConflictPage:
    """Return a conflict with every id resolved to a name.

    Raises:
        Problem: `not-found`, also for what lies outside the caller's scope.
    """
    view = facts.show(session, caller, conflict_id)
    row = view.row
    named = [person for person in (row.decided_by, row.reverted_by) if person]
    people = _people(session, [*(side.author for side in view.sides), *named])
    devices = _device_names(session, (side.device for side in view.sides if side.device))
    sides = tuple(_side(side, row.field, people, devices) for side in view.sides)
    table = TABLES.get(row.field)
    return ConflictPage(
        id=row.id,
        kind=row.kind,
        field=row.field,
        title=_title(session, row.kind, row.record),
        region=row.region,
        status=row.status,
        opened_at=row.opened_at,
        base=view.base,
        sides=sides,
        options=tuple(code_table(table).current.entries) if table else (),
        free=row.field != DELETED,
        decision=_decision(row, sides, people) if row.decision else None,
        undone=_undoing(row, people) if row.status == "reverted" else None,
        follows=row.follows,
        followed_by=session.execute(select(Conflict.id).where(Conflict.follows == row.id).limit(1)).scalar(),
        held=row.held is not None,
    )


def _side(side: facts.Side, field: str, people: dict[str, tuple[str, str]], devices: dict[str, str]) -> ConflictSide:
    name, certificate = people.get(side.author, ("", ""))
    return ConflictSide(
        dot=side.dot,
        value=side.value,
        officer=name,
        certificate=certificate,
        device=devices.get(side.device or "", ""),
        at=side.at,
        deleted=field == DELETED and side.value is None,
        held=side.held,
    )


def _decision(row: Conflict, sides: Sequence[ConflictSide], people: dict[str, tuple[str, str]]) -> Decision:
    value = (row.decision or {}).get("value")
    choice = next((side.dot for side in sides if side.value == value), None)
    by, _ = people.get(row.decided_by or "", ("", ""))
    return Decision(value=value, choice=choice, by=by, at=row.ended_at, reason=row.reason or "")


def _undoing(row: Conflict, people: dict[str, tuple[str, str]]) -> Undoing:
    by, _ = people.get(row.reverted_by or "", ("", ""))
    return Undoing(by=by, at=row.reverted_at, reason=row.revert_reason or "")


def _people(session: Session, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return (name, certificate number) of officers and accounts by id."""
    accounts = session.execute(select(Account.id, Account.name).where(Account.id.in_(ids)))
    officers = select(Officer.id, Officer.name, Officer.certificate_number).where(Officer.id.in_(ids))
    return {account: (name, "") for account, name in accounts} | {
        officer: (name, certificate) for officer, name, certificate in session.execute(officers)
    }


def _device_names(session: Session, ids: Iterable[str]) -> dict[str, str]:
    return dict(session.execute(select(Device.id, Device.name).where(Device.id.in_(list(ids)))).all())


def _title(session: Session, kind: str, record: str) -> str:
    inspection: Any = record
    if kind != "inspection":
        inspection = (
            select(SyncedRecord.parent).where(SyncedRecord.kind == kind, SyncedRecord.id == record).scalar_subquery()
        )
    query = select(Entity.name).join(Inspection, Inspection.entity == Entity.id).where(Inspection.id == inspection)
    return session.execute(query).scalar_one_or_none() or record


def decide(session: Session, rt: Runtime, caller: Principal, conflict_id: str, form: DecisionForm) -> None:
    """Record the decision that a form carries.

    Raises:
        Problem: `invalid-field` when nothing was chosen or the value is too long; else as the API's own decision.
    """
    if not form.choice:
        raise Problem("invalid-field", field="choice", detail="one of the values must be chosen")
    if len(form.value) > VALUE_MAX_CHARS:
        raise Problem("invalid-field", field="value", detail="is too long", limit=VALUE_MAX_CHARS)
    own = form.choice == OTHER
    if own and not form.value.strip():
        raise Problem("invalid-field", field="value", detail="the other value must be given")
    decision = facts.Decision(
        sides=form.sides,
        reason=form.reason,
        choice=None if own else form.choice,
        value=form.value.strip() if own else None,
    )
    facts.decide(session, rt, caller, conflict_id, decision)
