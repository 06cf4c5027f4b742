"""Why an entity was drawn, passed over or left out, and why each officer of its place goes or not: in words."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.errors import Problem
from server.inspections.draw import DRAWN, OfficerDraw
from server.inspections.draw_file import inspectors_of, make_seed, rules_from_json
from server.inspections.draw_words import both, entity_words, refusal_words
from server.plans import file_parts
from server.plans.models import DrawBatch, DrawnVisit

MAX_EXPLAINED = 500
"""Most officers explained one by one."""


@dataclass(frozen=True)
class OfficerWords:
    """An officer of the roster and why they go, or do not."""

    officer: str
    goes: bool
    why: str


@dataclass(frozen=True)
class Explanation:
    """What became of one entity of the roster."""

    entity: str
    outcome: str
    where: str
    why: str
    officers: list[OfficerWords]


def explain(session: Session, batch: DrawBatch, entity: str) -> Explanation:
    """Explain an entity's part in a draw, from the published file alone.

    Raises:
        Problem: `conflict` before the draw; `not-found` for an entity that was not in the roster.
    """
    if batch.summary is None:
        raise Problem("conflict", field="state", detail="尚未抽取 / nothing is drawn yet")
    _, region, _, credit, visits, _ = file_parts.line(session, batch.id, "entities", entity)
    _, outcome, where, best = file_parts.line(session, batch.id, "outcomes", entity)
    rules = rules_from_json(batch.announcement["rules"])
    cuts = {stratum["name"]: int(stratum["cut"], 16) for stratum in batch.summary["strata"]}
    why = entity_words(rules, outcome, where, int(best, 16), credit=credit, visits=int(visits), cut=cuts.get(where, 0))
    officers = _officers(session, batch, entity, region) if outcome == DRAWN else []
    return Explanation(entity, outcome, where, both(*why), officers)


def _officers(session: Session, batch: DrawBatch, entity: str, region: str) -> list[OfficerWords]:
    """The officers as they stood when this entity's turn came: those drawn earlier had their work already."""
    visits = select(DrawnVisit).where(DrawnVisit.batch == batch.id).order_by(DrawnVisit.place)
    visit = session.execute(visits.where(DrawnVisit.entity == entity)).scalar_one()
    rules = rules_from_json(batch.announcement["rules"])
    inspectors = inspectors_of(file_parts.roster(session, batch.id, "officers"))
    lottery = OfficerDraw(rules, make_seed(batch.secret, batch.beacon_value), inspectors)
    for assigned in _assigned_before(session, batch, entity):
        lottery.assign(assigned)
    words = []
    for one in inspectors[:MAX_EXPLAINED]:
        goes = one.id in visit.officers
        reason = "elsewhere" if not region.startswith(one.region) else lottery.refusal(one, entity) or "outdrawn"
        if one.id in visit.unable:
            why = f"{both(*refusal_words('substituted'))}: {visit.unable[one.id]}"
        elif goes:
            why = both("抽中", "drawn")
        else:
            why = both(*refusal_words(reason))
        words.append(OfficerWords(one.id, goes, why))
    return words


def _assigned_before(session: Session, batch: DrawBatch, entity: str) -> list[list[str]]:
    teams = []
    for line in file_parts.section(session, batch.id, "assignments").decode().split("\n"):
        name, officers = line.split("\t")[:2]
        if name == entity:
            break
        if officers:
            teams.append(officers.split(","))
    return teams
