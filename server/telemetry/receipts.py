"""Receipts: how far a sensor's messages are stored, read in the transaction that stores them, told after its commit."""

from collections.abc import Iterable
from typing import cast

import msgspec
from sqlalchemy import Table
from sqlalchemy.orm import Session

from schemas.telemetry import MISSING_LIMIT
from server.db.bulk import Bulk
from server.telemetry.gaps import list_gaps
from server.telemetry.models import SensorProgress

_PROGRESS = Bulk(cast(Table, SensorProgress.__table__), ("sensor_id", "complete_seq", "skipped"))


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
    for sensor_id, complete, skipped in _PROGRESS.find(session, "sensor_id", sorted(sensor_ids)):
        gaps = list_gaps(session, sensor_id, limit=MISSING_LIMIT) if skipped else ()
        receipts[sensor_id] = Receipt(complete, tuple((gap.first_seq, gap.last_seq) for gap in gaps))
    return receipts
