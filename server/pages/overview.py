"""The overview's data: every figure, list and point in a fixed number of queries, cut to the caller's scope."""

from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from server.pages import figures, listings, map_view, recorded
from server.pages.overview_values import Overview
from server.runtime import Runtime
from server.web.principal import Principal

CONFLICTS_SHOWN = 5
DAY_ZONE = ZoneInfo("Asia/Shanghai")
"""Whose midnight begins "today"."""


def load_overview(session: Session, rt: Runtime, caller: Principal) -> Overview:
    """Return everything the overview shows to this caller."""
    now = rt.now()
    head = recorded.tree_head(session)
    drawn, lead_rows = map_view.load_map(session, caller)
    device_count, online_count = listings.device_counts(session, caller, now)
    return Overview(
        at=now,
        region=caller.region,
        department=caller.department,
        counts=figures.all_counts(session, caller, day_start(now), head),
        map=drawn,
        leads=lead_rows,
        conflict_count=listings.conflict_count(session, caller),
        conflicts=listings.conflict_rows(session, caller, status="open", limit=CONFLICTS_SHOWN),
        behaviors=recorded.behavior_rows(session, caller),
        device_count=device_count,
        online_count=online_count,
        devices=listings.device_rows(session, caller, now),
        tree_head=head,
    )


def day_start(now: datetime) -> datetime:
    """Return the instant at which the present day began in Beijing."""
    return now.astimezone(DAY_ZONE).replace(hour=0, minute=0, second=0, microsecond=0)
