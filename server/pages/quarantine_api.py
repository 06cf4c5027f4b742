"""The pages of acts that are in no record: what is wrong with them, what they wait for, and ruling on them."""

import json
from typing import Any

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response as BaseResponse

from server.errors import Problem
from server.fieldsync import quarantine
from server.fieldsync.conflicts import MAX_REASON_CHARS, MIN_REASON_CHARS
from server.fieldsync.unmerged import STATUSES, list_unmerged, show_unmerged
from server.pages import frame
from server.pages import session as browser
from server.web.auth import principal, require
from server.web.body import parse_json
from server.web.transaction import runtime, session, transactional

LIST_LIMIT = 200
MAX_FIELDS_CHARS = 65_536
RULERS = ("operator",)
"""Who may rule; the same as in the API."""

blp = Blueprint("quarantine", __name__, template_folder="templates")
blp.context_processor(frame.variables)
blp.after_request(frame.seal_response)
blp.register_error_handler(Problem, frame.problem_page)


@blp.get("/acts")
@require(*browser.PEOPLE)
@transactional(read_only=True)
def act_list() -> str:
    """List quarantined acts, overdue ones, or those that people have ruled on."""
    state = request.args.get("state", "quarantined")
    if state not in (*STATUSES, "overdue"):
        raise Problem("not-found", field="state")
    overdue = state == "overdue"
    rows = list_unmerged(
        session(), principal(), status="held" if overdue else state, after="", limit=LIST_LIMIT, overdue=overdue
    )
    return render_template("pages/act_list.html", rows=rows, state=state, here="acts")


@blp.get("/acts/<dot>")
@require(*browser.PEOPLE)
@transactional(read_only=True)
def act(dot: str) -> str:
    """Show one act with what it says, and the forms to mend or dismiss it."""
    return _page(dot, "", "", "")


@blp.post("/acts/<dot>")
@require(*RULERS)
@transactional
def rule(dot: str) -> BaseResponse:
    """Mend or dismiss an act; its page follows."""
    reason, fields = request.form.get("reason", ""), request.form.get("fields", "")[:MAX_FIELDS_CHARS]
    try:
        with session().begin_nested():
            if request.form.get("ruling") == "mend":
                mending = quarantine.Mending(reason, _fields(fields))
                quarantine.mend(session(), runtime(), principal(), dot, mending)
            else:
                quarantine.dismiss(session(), runtime(), principal(), dot, reason)
    except Problem as problem:
        if problem.status in (401, 403, 404):
            raise
        error = " · ".join(part for part in (frame.title_of(problem), problem.field or "", problem.detail) if part)
        return make_response(_page(dot, error, reason, fields), problem.status)
    return redirect(url_for("quarantine.act", dot=dot), 303)


def _fields(text: str) -> dict[str, Any]:
    fields = parse_json(text.encode())
    if not isinstance(fields, dict):
        raise Problem("invalid-field", field="fields", detail=gettext("A JSON object of fields is needed."))
    return fields


def _page(dot: str, error: str, reason: str, fields: str) -> str:
    row = show_unmerged(session(), principal(), dot)
    open_ = row["status"] == "quarantined" or row["overdue_at"] is not None
    return render_template(
        "pages/act.html",
        row=row,
        error=error,
        reason=reason,
        fields=fields or json.dumps(row["fields"], ensure_ascii=False, indent=2),
        can_rule=open_ and principal().role in RULERS,
        reason_floor=MIN_REASON_CHARS,
        reason_limit=MAX_REASON_CHARS,
        here="acts",
    )
