"""Receipts: how far a sensor's messages are stored, read in the transaction that stores them, told after its commit."""

from collections.abc import Iterable

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.telemetry import MISSING_LIMIT
from server.telemetry.gaps import list_gaps
from server.telemetry.models import SensorProgress


class Receipt(msgspec.Struct, frozen=True):
    """All messages up to `seq` are stored or dead-lettered, apart from the ranges `missing`."""

    seq: int
    missing: tuple[tuple[int, int], ...] = ()

    def encode(self) -> bytes:
        """Return the receipt as sensors read it."""
        return msgspec.json.encode(self)


def make_receipts(session: Session, sensor_ids: Iterable[str]) -> dict[str, Receipt]:
    """Return the receipts of sensors, as this transaction sees them."""
    receipts = {}
    for sensor_id in sorted(sensor_ids):
        columns = select(SensorProgress.complete_seq, SensorProgress.skipped)
        complete, skipped = session.execute(columns.where(SensorProgress.sensor_id == sensor_id)).one()
        gaps = list_gaps(session, sensor_id, limit=MISSING_LIMIT) if skipped else ()
        receipts[sensor_id] = Receipt(complete, tuple((gap.first_seq, gap.last_seq) for gap in gaps))
    return receipts
