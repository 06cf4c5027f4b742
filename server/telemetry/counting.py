"""Running totals, raised in the transaction that they count."""

from collections.abc import Mapping
from typing import cast

from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from server.db.bulk import Bulk
from server.telemetry.models import IngestCounter

REGISTRY_VERSION = "registry_version"
"""Raised by every change of sensors or rules, so that ingesters look again at what they remember of them."""
_TOTALS = Bulk(cast(Table, IngestCounter.__table__), ("name", "value"))


def raise_counters(session: Session, counts: Mapping[str, int]) -> None:
    """Raise running totals, in this transaction; in order of name, so that two transactions never cross."""
    rows = [(name, counts[name]) for name in sorted(counts) if counts[name]]
    _TOTALS.add(session, rows, keys=("name",), sums=("value",))


def registry_version(session: Session) -> int:
    """Return how often sensors and rules have changed."""
    query = select(IngestCounter.value).where(IngestCounter.name == REGISTRY_VERSION)
    return session.scalar(query) or 0
