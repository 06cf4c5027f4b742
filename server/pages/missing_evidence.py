"""The page of evidence that is declared and not here: by officer and handheld, and the records missing longest."""

from flask import Blueprint, render_template, request
from sqlalchemy import select

from server.devices.models import Device
from server.errors import Problem
from server.evidence.missing import missing_evidence
from server.officers.service import get_officers
from server.pages import frame
from server.pages import session as browser
from server.web.auth import principal, require
from server.web.transaction import runtime, session, transactional

LIST_LIMIT = 200
AGES_H = (0, 24, 72, 168)
"""Hours that something may have to be missing to be listed."""

blp = Blueprint("missing_pages", __name__, template_folder="templates")
blp.context_processor(frame.variables)
blp.after_request(frame.seal_response)
blp.register_error_handler(Problem, frame.problem_page)


@blp.get("/missing-evidence")
@require(*browser.PEOPLE)
@transactional(read_only=True)
def overview() -> str:
    """List declared evidence that is not here, by officer and handheld, the longest missing first."""
    asked = request.args.get("hours", "0")
    if asked not in map(str, AGES_H):
        raise Problem("not-found", field="hours")
    caller, hours = principal(), int(asked)
    found = missing_evidence(
        session(), runtime(), region=caller.region, department=caller.department,
        query={"older_than_hours": hours, "limit": LIST_LIMIT},
    )  # fmt: skip
    devices = found["devices"][:LIST_LIMIT]
    shown = {each["device"] for each in devices} | {row.device for row in found["evidence"]}
    names = select(Device.id, Device.name).where(Device.id.in_(shown))
    officers = get_officers(
        session(), {each["officer"] for each in devices} | {row.officer for row in found["evidence"]}
    )
    return render_template(
        "pages/missing_evidence.html", total=found["total"], devices=devices, rows=found["evidence"],
        device_names=dict(session().execute(names).all()), officers=officers, hours=hours, ages=AGES_H,
        limit=LIST_LIMIT, now=runtime().now(), here="missing",
    )  # fmt: skip
