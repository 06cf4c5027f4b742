"""Running totals, raised in the transaction that they count."""

from collections.abc import Mapping
from typing import cast

from sqlalchemy import Table
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
    return sum(value for _, value in _TOTALS.find(session, "name", [REGISTRY_VERSION]))
