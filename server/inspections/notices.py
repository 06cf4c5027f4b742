"""The notice of a visit that the firm gets (入企检查告知单), with a token for one anonymous rating."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from server.audit.service import record_event
from server.clock import CHINA
from server.entities.service import get_entity
from server.errors import Problem
from server.inspections.service import get_inspection
from server.officers.service import get_officers
from server.ratings.tokens import issue_token
from server.records.service import get_view
from server.runtime import Runtime
from server.web.principal import Principal


@dataclass(frozen=True)
class VisitNotice:
    """A notice as it is printed, once."""

    text: str
    token: str
    url: str


def print_notice(session: Session, rt: Runtime, caller: Principal, inspection: str) -> VisitNotice:
    """Return the notice of a visit that was made, with a fresh token. It is made once, and the token is not kept.

    Raises:
        Problem: `not-found`; `conflict` before the visit is handed in, or when the notice was printed.
    """
    row = get_inspection(session, caller, inspection, lock=True)
    if row.status == "open" or row.inspected_at is None or row.entity is None:
        raise Problem("conflict", field="status", detail="检查尚未提交 / the visit is not handed in yet")
    if row.noticed_on is not None:
        raise Problem("conflict", field="noticed_on", detail="告知单已打印 / the notice was printed already")
    row.noticed_on = rt.now().astimezone(CHINA).date()
    view = get_view(session, "inspection", row.id) or {}
    people = get_officers(session, view.get("officers") or ())
    day = row.inspected_at.astimezone(CHINA).date()
    token = issue_token(rt, row.department, rt.now().astimezone(CHINA).date())
    url = f"{rt.settings.public_url}/rate?token={token}"
    names = "、".join(f"{one.name}（{one.certificate_number}）" for one in people.values())
    text = (
        f"入企检查告知单 Notice of a visit\n{get_entity(session, row.entity).name}\n"
        f"检查日期 Day: {day.isoformat()}\n检查部门 Department: {row.department}\n执法人员 Officers: {names}\n"
        f"请匿名评价本次检查（仅限一次） Please rate this visit anonymously, once:\n{url}\n"
    )
    record_event(
        session, rt, caller.subject, "inspection.notice", "inspection", row.id, region=row.region,
        department=row.department,
    )  # fmt: skip
    return VisitNotice(text, token, url)
