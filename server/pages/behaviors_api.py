"""The pages of behaviors under way: proceedings with their next steps, rectification orders, publication; and what is
published, for anybody.
"""

import json
from typing import Any

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from schemas.codes import code_table
from server.behaviors import listing
from server.behaviors.lifecycles import LIFECYCLES, PUBLICATION
from server.behaviors.proceedings import MAX_REASON_CHARS, Step, take_step
from server.behaviors.publication import PublicationFilter, list_publications, list_published
from server.errors import Problem
from server.inspections.lifecycles import RECTIFICATION
from server.inspections.rectifying import OrderFilter, list_orders
from server.pages import frame, labels
from server.pages import session as browser
from server.states import StateMachine
from server.web.auth import principal, public, require
from server.web.body import parse_json
from server.web.transaction import runtime, session, transactional

PAGE = 50
"""Rows of a page."""
PUBLIC_LIMIT = 200
MAX_AFTER_CHARS = 64
MAX_FIELDS_CHARS = 65_536
EDITORS = ("admin", "operator")
VIEWS = ("proceedings", "orders", "publications")
SHOWN_FIELDS = ("decision_number", "facts", "basis", "kinds", "kind", "fine_yuan", "outcome", "measures", "closed_at")

blp = Blueprint("behavior_pages", __name__, template_folder="templates")
blp.context_processor(frame.variables)
blp.after_request(frame.seal_response)
blp.register_error_handler(Problem, frame.problem_page)


def machine_of(kind: str) -> StateMachine:
    """Return the course of a kind of behavior, of orders, or of publications."""
    return {**LIFECYCLES, "orders": RECTIFICATION, "publications": PUBLICATION}[kind]


def state_label(kind: str, state: str) -> str:
    """Return a state in the reader's language, from the table that it stands in."""
    zh, en = machine_of(kind).states[state]
    return zh if labels.is_chinese() else en


def action_label(kind: str, action: str) -> str:
    """Return an action in the reader's language."""
    found = next(one for one in machine_of(kind).transitions if one.action == action)
    return found.zh if labels.is_chinese() else found.en


def kind_name(kind: str) -> str:
    """Return a kind of behavior in the reader's language."""
    entry = code_table("behavior_kind").find(kind)
    return kind if entry is None else entry.zh if labels.is_chinese() else entry.en


@blp.context_processor
def words() -> dict[str, Any]:
    """Return what these templates use beside the frame's."""
    return {"state_label": state_label, "action_label": action_label, "kind_name": kind_name}


@blp.get("/behaviors")
@require(*browser.PEOPLE)
@transactional(read_only=True)
def overview() -> str:
    """List proceedings, rectification orders or publications, page by page; of the latter two, overdue ones."""
    view = request.args.get("view", "proceedings")
    if view not in VIEWS:
        raise Problem("not-found", field="view")
    overdue = True if request.args.get("overdue") else None
    paging: Any = {"after": request.args.get("after", "")[:MAX_AFTER_CHARS], "limit": PAGE}
    rows: Any
    subjects: dict[str, str] = {}
    if view == "proceedings":
        rows = listing.list_proceedings(session(), principal(), listing.Wanted(), **paging)
        subjects = listing.subjects_of(session(), rows)
    elif view == "orders":
        rows = list_orders(session(), runtime(), principal(), OrderFilter(overdue=overdue), **paging)
    else:
        wanted = PublicationFilter(overdue=overdue)
        rows = list_publications(session(), runtime(), principal(), wanted, **paging)
    rest = (rows[-1].behavior if view == "publications" else rows[-1].id) if len(rows) == PAGE else ""
    return render_template(
        "pages/behavior_list.html", rows=rows, rest=rest, subjects=subjects, view=view, overdue=overdue,
        here="behaviors",
    )  # fmt: skip


@blp.get("/behaviors/<proceeding_id>")
@require(*browser.PEOPLE)
@transactional(read_only=True)
def proceeding(proceeding_id: str) -> str:
    """Show a proceeding: its course so far, what it lacks, and what may be done next."""
    return _page(proceeding_id, "", {})


@blp.post("/behaviors/<proceeding_id>")
@require(*EDITORS)
@transactional
def step(proceeding_id: str) -> BaseResponse:
    """Take a step; the proceeding's page follows."""
    form = request.form
    try:
        with session().begin_nested():
            content = parse_json((form.get("fields", "")[:MAX_FIELDS_CHARS] or "{}").encode())
            if not isinstance(content, dict):
                raise Problem("invalid-field", field="fields", detail="a JSON object is needed")
            revision = int(form["revision"]) if form.get("revision", "").isdigit() else 0
            taken = Step(form.get("action", ""), revision, content, form.get("reason", "")[:MAX_REASON_CHARS])
            take_step(session(), runtime(), principal(), proceeding_id, taken)
    except Problem as problem:
        if problem.status in (401, 404):
            raise
        error = " · ".join(part for part in (frame.title_of(problem), problem.field or "", problem.detail) if part)
        return make_response(_page(proceeding_id, error, form), problem.status)
    return redirect(url_for("behavior_pages.proceeding", proceeding_id=proceeding_id), 303)


def _page(proceeding_id: str, error: str, form: Any) -> str:  # noqa: ANN401 - a form, or nothing
    row = listing.whole(session(), listing.get_proceeding(session(), principal(), proceeding_id))
    shown = {name: row["content"][name] for name in SHOWN_FIELDS if name in row["content"]}
    return render_template(
        "pages/behavior.html",
        row=row,
        shown=shown,
        error=error,
        reason=form.get("reason", ""),
        fields=form.get("fields", "") or json.dumps({}),
        can_act=principal().role in EDITORS and bool(row["legal"]),
        reason_limit=MAX_REASON_CHARS,
        here="behaviors",
    )


@blp.get("/public")
@public
@transactional(read_only=True)
def published() -> str:
    """Show what is published, newest first, for anybody."""
    rows = list_published(session(), limit=PUBLIC_LIMIT)
    return render_template("pages/public.html", rows=rows, here="public")
