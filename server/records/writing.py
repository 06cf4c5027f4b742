"""Writing what a batch has made of its records: the records, their assignees, the conflicts, and whom a record left."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from server.db.many_rows import insert_rows, update_rows
from server.records.held import ASSIGNEES, RECORDS, Held, Key
from server.records.lines import Placement, encode_served
from server.records.models import Conflict, RecordLeave
from server.runtime import Runtime

PLACE = ("region", "department", "assigned", "parent")
"""Columns that only a move changes; the others of an update stand in no index but that of the position."""


def write_records(session: Session, rt: Runtime, records: Mapping[Key, Held]) -> None:
    """Insert new records and update changed ones, each with its line and its assignees."""
    fresh: list[dict[str, Any]] = []
    known: list[dict[str, Any]] = []
    moved: list[dict[str, Any]] = []
    people: list[dict[str, Any]] = []
    for key, held in records.items():
        if not held.changed:
            continue
        row, (kind, record_id), place = _row(key, held), key, held.placement
        if held.placement == held.stored:
            known.append({name: value for name, value in row.items() if name not in PLACE})
            continue
        (moved if held.known else fresh).append(row)
        people += [{"kind": kind, "id": record_id, "officer": o, "active": True} for o in place.assignees]
        if held.former and not held.known:
            people += [{"kind": kind, "id": record_id, "officer": o, "active": False} for o in held.former]
            write_leaves(session, rt, key, held.position, place, held.former)
    insert_rows(session, RECORDS, fresh)
    update_rows(session, RECORDS, ("kind", "id"), known)
    update_rows(session, RECORDS, ("kind", "id"), moved)
    insert_rows(session, ASSIGNEES, people, ignore=True)


def _row(key: Key, held: Held) -> dict[str, Any]:
    place, clashes = held.placement, held.conflicts_after
    return {
        "kind": key[0],
        "id": key[1],
        "position": held.position,
        "region": place.region,
        "department": place.department,
        "assigned": bool(place.assignees),
        "parent": place.parent,
        "deleted": held.deleted,
        "conflict_fields": list(clashes),
        "line": encode_served(*key, held.position, place, held.served, clashes, deleted=held.deleted),
    }


def write_conflicts(session: Session, rt: Runtime, records: Mapping[Key, Held]) -> None:
    """Open a conflict for each field that has become one, and dissolve those that are none any more."""
    for key, held in records.items():
        before, after = set(held.conflict_fields), set(held.conflicts_after)
        if not held.changed or before == after:
            continue
        for name in sorted(after - before):
            session.add(
                Conflict(
                    id=rt.new_id(),
                    kind=key[0],
                    record=key[1],
                    field=name,
                    region=held.placement.region,
                    department=held.placement.department,
                    opened_at=rt.now(),
                    status="open",
                )
            )
        gone = update(Conflict).where(
            Conflict.kind == key[0],
            Conflict.record == key[1],
            Conflict.status == "open",
            Conflict.field.in_(before - after),
            Conflict.held.is_(None),
        )
        session.execute(gone.values(status="dissolved", ended_at=rt.now()))


def write_leaves(
    session: Session, rt: Runtime, key: Key, position: int, before: Placement, officers: Iterable[str]
) -> None:
    """Note that a record placed as `before` left these officers' scopes at `position`; ("",): everybody's there."""
    for officer in officers:
        session.add(
            RecordLeave(
                position=position, officer=officer, kind=key[0], id=key[1],
                region=before.region, department=before.department, at=rt.now(),
            )
        )  # fmt: skip
