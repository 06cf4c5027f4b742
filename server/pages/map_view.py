"""The points of the map: regulated entities and open leads where they lie, and both counted by prefecture."""

from collections import Counter
from collections.abc import Iterable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server.entities.models import Entity
from server.leads.models import Lead
from server.pages.figures import OPEN_LEADS
from server.pages.outline import load_outline, prefecture_code
from server.pages.overview_values import LeadRow, MapPoint, MapView, PrefectureRow
from server.web.principal import Principal
from server.web.scope import in_region, in_scope

ENTITIES_DRAWN = 3_000
"""Most entities drawn as points; all are counted."""
LEADS_DRAWN = 300
"""Most open leads drawn as points, newest first; all are counted."""
LEADS_LISTED = 4
COUNTY_DIGITS = 6
TITLE_ENDS = ("：", ": ")
"""What parts the rule from the sensor in a lead's title (Chinese, English)."""


def load_map(session: Session, caller: Principal) -> tuple[MapView, tuple[LeadRow, ...]]:
    """Return what the map draws, and the newest open leads for the list below it."""
    entities, entity_counts = _entities(session, caller)
    points, lead_rows, lead_counts = _leads(session, caller)
    codes = load_outline().by_code()
    rows = [PrefectureRow(code, entity_counts[code], lead_counts[code]) for code in codes]
    view = MapView(
        entities=entities,
        leads=points,
        prefectures=tuple(sorted(rows, key=lambda row: (-row.entities, row.code))),
        entity_count=entity_counts.total(),
        lead_count=lead_counts.total(),
    )
    return view, lead_rows


def _entities(session: Session, caller: Principal) -> tuple[tuple[MapPoint, ...], Counter[str]]:
    mine = in_region(caller, Entity.region)
    outline = load_outline()
    query = select(Entity.lat, Entity.lon).where(mine).order_by(Entity.id).limit(ENTITIES_DRAWN)
    spots = Counter(outline.project(lat, lon) for lat, lon in session.execute(query))
    spots.pop(None, None)
    points = tuple(MapPoint(spot[0], spot[1], count) for spot, count in sorted(spots.items()) if spot is not None)
    county = func.substr(Entity.region, 1, COUNTY_DIGITS)
    counted = session.execute(select(county, func.count()).where(mine).group_by(county))
    return points, _by_prefecture(counted)


def _leads(session: Session, caller: Principal) -> tuple[tuple[MapPoint, ...], tuple[LeadRow, ...], Counter[str]]:
    mine = in_scope(caller, Lead.region, Lead.department) & Lead.status.in_(OPEN_LEADS)
    outline = load_outline()
    query = (
        select(Lead.id, Lead.title_zh, Lead.title_en, Lead.created_at, Entity.name, Entity.lat, Entity.lon)
        .join(Entity, Entity.id == Lead.entity_id)
        .where(mine)
        .order_by(Lead.id.desc())
        .limit(LEADS_DRAWN)
    )
    rows = session.execute(query).all()
    at: dict[tuple[int, int], list[str]] = {}
    for row in rows:
        spot = outline.project(row.lat, row.lon)
        if spot is not None:
            at.setdefault(spot, []).append(f"{row.name} · {row.title_zh}")
    points = tuple(MapPoint(x, y, len(names), "\n".join(names)) for (x, y), names in sorted(at.items()))
    listed = tuple(
        LeadRow(row.id, row.name, rule_of(row.title_zh), rule_of(row.title_en), row.created_at)
        for row in rows[:LEADS_LISTED]
    )
    county = func.substr(Lead.region, 1, COUNTY_DIGITS)
    counted = session.execute(select(county, func.count()).where(mine).group_by(county))
    return points, listed, _by_prefecture(counted)


def rule_of(title: str) -> str:
    """Return the part of a lead's title that names the rule, without the sensor."""
    for end in TITLE_ENDS:
        title = title.partition(end)[0]
    return title


def _by_prefecture(counted: Iterable[tuple[str, int]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for region, count in counted:
        found[prefecture_code(region)] += count
    return found
