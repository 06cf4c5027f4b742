"""The pages of visits: which limits they broke, the reason that excuses it, and the notice that the firm gets."""

import io
from datetime import datetime
from typing import Any

import segno
from flask import Blueprint, make_response, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response as BaseResponse

from schemas.codes import code_table
from schemas.field_rules import MESSAGES
from schemas.visit_rules import is_capped
from server.entities.service import names_of
from server.errors import Problem
from server.inspections import limits, notices
from server.inspections.lifecycles import INSPECTION
from server.inspections.models import Inspection, VisitFiling
from server.inspections.service import get_inspection, list_inspections
from server.pages import frame, labels
from server.pages import session as browser
from server.web.auth import principal, require
from server.web.transaction import runtime, session, transactional

PAGE = 50
"""Visits of a page."""
EDITORS = ("admin", "operator")
EXCUSE, NOTICE = "excuse", "notice"
MAX_AFTER_CHARS = 64
MARKS = {
    **MESSAGES,
    limits.FILED_LATE: ("计划备案晚于检查开始", "the plan was filed after the visit began"),
    limits.SUPERSEDED_CODE: ("入企码已被更换", "the code had been replaced"),
}
"""Every limit that a visit can have broken, in words."""
QR_SCALE = 4

blp = Blueprint("visit_pages", __name__, template_folder="templates")
blp.context_processor(frame.variables)
blp.after_request(frame.seal_response)
blp.register_error_handler(Problem, frame.problem_page)


def mark_label(reason: str) -> str:
    """Return a broken limit in the reader's language."""
    zh, en = MARKS.get(reason, (reason, reason))
    return zh if labels.is_chinese() else en


def state_label(state: str) -> str:
    """Return a state of an inspection in the reader's language."""
    zh, en = INSPECTION.states[state]
    return zh if labels.is_chinese() else en


@blp.context_processor
def words() -> dict[str, Any]:
    """Return what these templates use beside the frame's."""
    return {
        "mark_label": mark_label,
        "state_label": state_label,
        "coded": labels.coded,
        "instant": datetime.fromisoformat,
    }


@blp.get("/visits")
@require(*browser.PEOPLE)
@transactional(read_only=True)
def overview() -> str:
    """List the visits of one's scope that broke a limit, or all of them, page by page."""
    marked, after = not request.args.get("all"), request.args.get("after", "")[:MAX_AFTER_CHARS]
    rows = list_inspections(session(), principal(), marked=marked, after=after, limit=PAGE)
    names = names_of(session(), [row.entity for row in rows if row.entity])
    rest = rows[-1].id if len(rows) == PAGE else ""
    return render_template("pages/visit_list.html", rows=rows, names=names, marked=marked, rest=rest, here="visits")


@blp.get("/visits/<inspection_id>")
@require(*browser.PEOPLE)
@transactional(read_only=True)
def visit(inspection_id: str) -> str:
    """Show a visit: when its plan was filed, which limits it broke, and what may be done about it."""
    return _page(inspection_id, "", {})


@blp.post("/visits/<inspection_id>")
@require(*EDITORS)
@transactional
def step(inspection_id: str) -> BaseResponse:
    """Excuse a visit by a coded reason, or print its notice, which is shown this once."""
    form, action = request.form, request.form.get("action", "")
    try:
        with session().begin_nested():
            if action == NOTICE:
                printed = notices.print_notice(session(), runtime(), principal(), inspection_id)
                return make_response(render_template("pages/notice.html", notice=printed, qr=_qr(printed.url), here=""))
            if action != EXCUSE:
                raise Problem("invalid-field", field="action")
            reason = form.get("reason", "")[: limits.MAX_REASON_CHARS]
            limits.excuse(session(), runtime(), principal(), inspection_id, form.get("code", ""), reason)
    except Problem as problem:
        if problem.status in (401, 404):
            raise
        error = " · ".join(part for part in (frame.title_of(problem), problem.detail) if part)
        return make_response(_page(inspection_id, error, form), problem.status)
    return redirect(url_for("visit_pages.visit", inspection_id=inspection_id), 303)


def _page(inspection_id: str, error: str, form: Any) -> str:  # noqa: ANN401 - a form, or nothing
    row: Inspection = get_inspection(session(), principal(), inspection_id)
    can_act = principal().role in EDITORS
    return render_template(
        "pages/visit.html",
        row=row,
        name=names_of(session(), [row.entity or ""]).get(row.entity or "", ""),
        filing=session().get(VisitFiling, row.id),
        exceptions=[code for code in code_table(limits.REASONS).current.entries if not is_capped(code)],
        can_excuse=can_act and bool(row.marks),
        can_print=can_act and row.status != "open" and row.noticed_on is None,
        form=form,
        error=error,
        reason_limit=limits.MAX_REASON_CHARS,
        here="visits",
    )


def _qr(url: str) -> Markup:
    """The address for rating, drawn as QR."""
    out = io.BytesIO()
    segno.make_qr(url, error="m").save(out, kind="svg", scale=QR_SCALE, border=4, xmldecl=False)
    return Markup(out.getvalue().decode())  # noqa: S704 - drawn here, of squares only
