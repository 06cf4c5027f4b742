"""Missing numbers: kept as ranges when they are given up, cut when a message comes after all."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.telemetry.models import SequenceGap


def open_gap(session: Session, sensor_id: str, first: int, last: int, now: datetime) -> None:
    """Note that the messages from `first` to `last` were given up."""
    session.add(SequenceGap(sensor_id=sensor_id, first_seq=first, last_seq=last, given_up_at=now))


def close_gaps(session: Session, sensor_id: str, seqs: Iterable[int]) -> None:
    """Take numbers that came after all out of the gaps."""
    for seq in sorted(seqs):
        covers = (SequenceGap.sensor_id == sensor_id, SequenceGap.first_seq <= seq, SequenceGap.last_seq >= seq)
        gap = session.scalar(select(SequenceGap).where(*covers))
        if gap is None:
            continue
        first, last, given_up_at = gap.first_seq, gap.last_seq, gap.given_up_at
        session.delete(gap)
        session.flush()
        for begins, ends in ((first, seq - 1), (seq + 1, last)):
            if begins <= ends:
                open_gap(session, sensor_id, begins, ends, given_up_at)
        session.flush()


def covers_any(session: Session, sensor_id: str, first: int, last: int) -> bool:
    """Tell whether any number from `first` to `last` may be missing."""
    touches = (SequenceGap.sensor_id == sensor_id, SequenceGap.first_seq <= last, SequenceGap.last_seq >= first)
    return session.scalar(select(SequenceGap.first_seq).where(*touches).limit(1)) is not None


def list_gaps(session: Session, sensor_id: str, *, limit: int) -> Sequence[SequenceGap]:
    """Return a sensor's missing numbers, in order."""
    query = select(SequenceGap).where(SequenceGap.sensor_id == sensor_id).order_by(SequenceGap.first_seq)
    return session.scalars(query.limit(limit)).all()
