"""The rules of a plan as they are kept, and as a draw needs them. Pure."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from server.inspections.draw import MIN_OFFICERS, Rules, Stratum
from server.inspections.drawing import CAPACITY, STRATA, TICKETS, VISITS_CAP

DEFAULTS: Mapping[str, Any] = {
    "strata": [
        {"name": s.name, "risks": list(s.risks), "credits": list(s.credits), "per_mille": s.per_mille,
         "minimum": s.minimum}
        for s in STRATA
    ],
    "tickets": TICKETS,
    "visits_cap": VISITS_CAP,
    "officers": MIN_OFFICERS,
    "load_slack": 1,
    "capacity": CAPACITY,
}  # fmt: skip
"""Where a plan says nothing else."""


def draw_rules(kept: Mapping[str, Any], sector: str, visits_from: date, visits_until: date) -> Rules:
    """Return a plan's rules for visits of a sector on these days."""
    strata = tuple(
        Stratum(s["name"], tuple(s["risks"]), tuple(s["credits"]), s["per_mille"], s["minimum"]) for s in kept["strata"]
    )
    return Rules(
        strata=strata, tickets=dict(kept["tickets"]), visits_cap=kept["visits_cap"], officers=kept["officers"],
        load_slack=kept["load_slack"], sector=sector, visits_from=visits_from.isoformat(),
        visits_until=visits_until.isoformat(),
    )  # fmt: skip


def period(year: int, quarter: int | None) -> tuple[date, date]:
    """Return the first and last day of a plan's year or quarter."""
    if quarter is None:
        return date(year, 1, 1), date(year, 12, 31)
    after = date(year + quarter // 4, quarter % 4 * 3 + 1, 1)
    return date(year, quarter * 3 - 2, 1), date.fromordinal(after.toordinal() - 1)
