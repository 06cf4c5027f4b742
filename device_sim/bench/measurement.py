"""What one case measured, and the row that is shown and written for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

PRODUCT, RAW = "fieldproof", "raw"
"""The systems every benchmark has: the product, and the bare library doing the same work."""
STOCK = "stock"
"""A case of `raw` that is the limit of all cases that have none of their own."""


@dataclass(frozen=True)
class Measurement:
    """What came out of one run of one case.

    `count` is in the unit of its case (records, MB, …), `seconds` is the time for all of it together, and
    `latencies_s` has one entry for each request or batch. `extra` holds further whole numbers for the JSON.
    """

    count: float
    seconds: float
    latencies_s: Sequence[float]
    peak_rss_mb: float
    note: str
    extra: Mapping[str, int] = field(default_factory=dict)
    limited: bool = True
    """Whether comparing it with a limit says anything."""

    @property
    def rate_per_s(self) -> float:
        """Units per second; 0 when nothing was measured."""
        return self.count / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Row:
    """One line of the result: which system did what, how fast."""

    system: str
    case: str
    unit: str
    measured: Measurement

    def as_dict(self) -> dict[str, Any]:
        """Return the row as the JSON file has it."""
        return {
            "system": self.system,
            "case": self.case,
            "rate_per_s": round(self.measured.rate_per_s, 2),
            "unit": self.unit,
            "p50_ms": round(1000 * percentile(self.measured.latencies_s, 0.50), 3),
            "p99_ms": round(1000 * percentile(self.measured.latencies_s, 0.99), 3),
            "peak_rss_mb": round(self.measured.peak_rss_mb, 1),
            "note": self.measured.note,
            **self.measured.extra,
        }


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile: the smallest value that at least `share` of all values do not exceed.

    No value is made up between two measured ones; of few values the highest percentiles are the largest. 0 for none.

    Raises:
        ValueError: the share is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError("a share is above 0 and at most 1")
    if not values:
        return 0.0
    return sorted(values)[ceil(share * len(values)) - 1]


def ratio(row: Row, rows: Sequence[Row]) -> float | None:
    """Return a row's rate over its limit, or None without one.

    The limit is the last row of `raw` with the same case, else with case `stock`.
    """
    raw = [one for one in rows if one.system == RAW]
    limits = [one for one in raw if one.case == row.case] or [one for one in raw if one.case == STOCK]
    if row.system == RAW or not row.measured.limited or not limits or limits[-1].measured.rate_per_s <= 0:
        return None
    return row.measured.rate_per_s / limits[-1].measured.rate_per_s
