"""Evidence that is declared and not here: by device and officer, the longest missing first."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from schemas.evidence import MAX_MISSING
from server.devices.models import Device
from server.evidence.models import ERASED, VERIFIED, Evidence
from server.runtime import Runtime


@dataclass(frozen=True)
class Missing:
    """One record whose bytes are not verified."""

    id: str
    inspection: str | None
    status: str
    device: str
    officer: str
    size_bytes: int | None
    declared_at: Any
    age_s: int


def missing_evidence(
    session: Session, rt: Runtime, *, region: str, department: str, query: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the evidence of a scope whose bytes are not verified.

    Args:
        session: a session.
        rt: the runtime, for the time.
        region: division-code prefix of the scope.
        department: department of the scope; empty for all.
        query: may have `device`, `officer`, `older_than_hours` and `limit`.

    Returns:
        `total`, `devices` (count and oldest declaration of each device and officer), and `evidence`, oldest first.
    """
    wanted: list[ColumnElement[bool]] = [
        Evidence.status.not_in((VERIFIED, ERASED)),
        Evidence.withdrawn_at.is_(None),
        Evidence.region.startswith(region, autoescape=True),
    ]
    if department:
        wanted.append(Evidence.department == department)
    for name, column in (("device", Evidence.device), ("officer", Device.officer)):
        if query.get(name):
            wanted.append(column == query[name])
    if query.get("older_than_hours"):
        wanted.append(Evidence.declared_at < rt.now() - timedelta(hours=query["older_than_hours"]))
    joined = Evidence.device == Device.id
    counts = (
        select(Evidence.device, Device.officer, func.count(), func.min(Evidence.declared_at))
        .join(Device, joined)
        .where(*wanted)
        .group_by(Evidence.device, Device.officer)
        .order_by(func.min(Evidence.declared_at))
    )
    devices = [
        {"device": device, "officer": officer, "missing": count, "oldest_declared_at": oldest}
        for device, officer, count, oldest in session.execute(counts)
    ]
    rows = select(Evidence, Device.officer).join(Device, joined).where(*wanted)
    rows = rows.order_by(Evidence.declared_at, Evidence.id).limit(query.get("limit", MAX_MISSING))
    return {
        "total": sum(each["missing"] for each in devices),
        "devices": devices,
        "evidence": [_missing(rt, evidence, officer) for evidence, officer in session.execute(rows)],
    }


def _missing(rt: Runtime, evidence: Evidence, officer: str) -> Missing:
    return Missing(
        id=evidence.id,
        inspection=evidence.inspection,
        status=evidence.status,
        device=evidence.device,
        officer=officer,
        size_bytes=evidence.size_bytes,
        declared_at=evidence.declared_at,
        age_s=int((rt.now() - evidence.declared_at).total_seconds()),
    )
