"""Officers who became unable to go: the draw names who goes in their place, with a reason, and reproducibly."""

from collections.abc import Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server.errors import Problem
from server.inspections.draw import OfficerDraw
from server.inspections.draw_file import inspectors_of, make_seed, rules_from_json, substitution_line
from server.inspections.reassigning import reassign
from server.inspections.service import check_fitness
from server.officers.service import get_officers
from server.plans import file_parts
from server.plans.batches import get_batch, note
from server.plans.lifecycles import GIVEN, SUBSTITUTE, VISIT
from server.plans.models import DrawBatch, DrawnVisit, OfficerSubstitution
from server.plans.service import MIN_REASON_CHARS
from server.plans.visits import visit_of
from server.runtime import Runtime
from server.web.principal import Principal

MAX_SUBSTITUTIONS = 10_000
"""Most substitutions of one batch."""


def substitute(
    session: Session, rt: Runtime, caller: Principal, batch_id: str, place: int, officer: str, reason: str
) -> DrawnVisit:
    """Draw again for an officer of a drawn visit; the task, if it is given out, goes to the new team.

    Who is drawn in the place follows from the seed, the announced roster and the work drawn so far. One whom the
    registers do not let go any more (an expired certificate, an avoidance entered since) is passed over, named.

    Raises:
        Problem: `not-found`; `illegal-transition` once the visit is settled; `invalid-field` for an officer who is not
            of the team or without a reason; `conflict` when nobody is left.
    """
    batch = get_batch(session, caller, batch_id, lock=True)
    if batch.drawn_at is None:
        raise Problem("not-found", detail="nothing is drawn yet")
    visit = visit_of(session, batch, place)
    VISIT.step(visit.state, SUBSTITUTE)
    if officer not in visit.officers:
        raise Problem("invalid-field", field="officer", detail="is not of this visit's team")
    if len(reason.strip()) < MIN_REASON_CHARS:
        raise Problem("invalid-field", field="reason", detail="a reason is needed", limit=MIN_REASON_CHARS)
    told = {officer: reason.strip()}
    before = list(visit.officers)
    team = _draw_again(session, rt, batch, visit, told)
    number = session.execute(
        select(func.count()).select_from(OfficerSubstitution).where(OfficerSubstitution.batch == batch.id)
    ).scalar_one() + 1  # fmt: skip
    if number > MAX_SUBSTITUTIONS:
        raise Problem("limit-exceeded", field="batch", detail="too many substitutions", limit=MAX_SUBSTITUTIONS)
    line = substitution_line(number, visit.entity, told, team, rt.now().isoformat(), str(batch.file_sha256))
    entry = OfficerSubstitution(
        batch=batch.id, number=number, place=place, before=before, line=line, actor=caller.subject, at=rt.now()
    )
    session.add(entry)
    visit.officers, visit.unable, visit.fault = list(team), {**visit.unable, **told}, None
    session.flush()
    batch.file_sha256 = file_parts.sha256(session, batch.id)
    note(session, rt, caller.subject, batch, SUBSTITUTE, {"entity": visit.entity, "unable": told, "officers": team})
    if visit.state == GIVEN and visit.task is not None:
        reassign(session, rt, caller, visit.task, team, reason.strip())
    return visit


def _draw_again(
    session: Session, rt: Runtime, batch: DrawBatch, visit: DrawnVisit, told: dict[str, str]
) -> Sequence[str]:
    """Return the new team; `told` receives those drawn whom the registers do not let go any more."""
    while True:
        lottery = _lottery(session, batch)
        unable = {**visit.unable, **told}
        region = file_parts.line(session, batch.id, "entities", visit.entity)[1]
        team = lottery.replace(visit.entity, region, visit.officers, unable)
        if list(team) == visit.officers:
            raise Problem("conflict", field="officer", detail="无人可补 / nobody is left who may go")
        faults = _faults(session, rt, batch, visit, [one for one in team if one not in visit.officers])
        if not faults:
            return team
        told.update(faults)


def _faults(
    session: Session, rt: Runtime, batch: DrawBatch, visit: DrawnVisit, added: Sequence[str]
) -> Mapping[str, str]:
    people = get_officers(session, added)
    sector = str(batch.announcement["rules"]["sector"])
    faults = {}
    for officer in added:
        if officer not in people:
            faults[officer] = "not-in-register"
            continue
        try:
            check_fitness(session, rt, [people[officer]], visit.entity, sector)
        except Problem as problem:
            faults[officer] = str(problem.extra["reason"])
    return faults


def _lottery(session: Session, batch: DrawBatch) -> OfficerDraw:
    """The officers' draw as it stands: the roster, and the work of all teams as they are now."""
    rules = rules_from_json(batch.announcement["rules"])
    inspectors = inspectors_of(file_parts.roster(session, batch.id, "officers"))
    lottery = OfficerDraw(rules, make_seed(batch.secret, batch.beacon_value), inspectors)
    teams = select(DrawnVisit.officers).where(DrawnVisit.batch == batch.id)
    for team in session.execute(teams).scalars():
        lottery.assign(team)
    return lottery
