"""When acts were written: raw clocks, corrected time and error bound, side by side for people who audit."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.clock import to_ms
from server.devices.models import Device
from server.devices.service import get_device
from server.errors import Problem
from server.fieldsync.models import Journal, SegmentSignature
from server.records.models import Act
from server.web.body import parse_json
from server.web.principal import Principal
from sync.clocks import Basis, Correction, error_ms, reading_of


def times_of(session: Session, caller: Principal, journal_id: str, *, after: int, limit: int) -> dict[str, Any]:
    """Return the times of a journal's acts beyond a number, in order.

    Raises:
        Problem: `not-found` for a journal of no device in the caller's scope.
    """
    journal = session.get(Journal, journal_id)
    if journal is None:
        raise Problem("not-found", detail="no journal with this id")
    device = get_device(session, journal.device, caller)
    query = select(Act).where(Act.journal == journal_id, Act.seq > after).order_by(Act.seq).limit(limit)
    acts = list(session.execute(query).scalars())
    segments = _segments(session, journal_id, acts)
    return {"device": device.id, "acts": [_times(act, device, segments) for act in acts]}


def _segments(session: Session, journal_id: str, acts: list[Act]) -> list[SegmentSignature]:
    if not acts:
        return []
    query = select(SegmentSignature).where(
        SegmentSignature.journal == journal_id,
        SegmentSignature.first <= acts[-1].seq,
        SegmentSignature.last >= acts[0].seq,
    )
    return list(session.execute(query.order_by(SegmentSignature.received_at, SegmentSignature.last)).scalars())


def _times(act: Act, device: Device, segments: list[SegmentSignature]) -> dict[str, Any]:
    members = parse_json(act.header)
    correction = _correction(members.get("boot"), act.seq, segments)
    usable = correction is not None and reading_of(correction, members) is not None
    error = error_ms(
        correction, members, act.at_ms, earliest_ms=to_ms(device.enrolled_at), arrived_ms=to_ms(act.received_at)
    )
    return {
        "seq": act.seq, "officer": act.author, "kind": act.kind, "record": act.record,
        "boot": members.get("boot"), "wall_ms": members.get("wall_ms"), "mono_ms": members.get("mono_ms"),
        "at_ms": act.at_ms, "error_ms": error, "basis": correction.basis if correction and usable else Basis.NONE,
        "received_at": act.received_at,
    }  # fmt: skip


def _correction(boot: object, seq: int, segments: list[SegmentSignature]) -> Correction | None:
    """The correction by which an act was stamped: that of the first segment that brought it."""
    segment = next((one for one in segments if one.first <= seq <= one.last), None)
    for kept in segment.clocks if segment else ():
        if kept["boot"] == boot:
            return Correction(Basis(kept["basis"]), kept["offset_ms"], kept["reference_ms"], kept["error_ms"])
    return None
