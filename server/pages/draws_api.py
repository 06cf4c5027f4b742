"""The pages of double-random inspection and of ratings: the desk's, and those for anybody."""

from typing import Any

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response as BaseResponse

from schemas.codes import code_table
from server.entities.service import names_of
from server.errors import Problem
from server.officers.service import get_officers
from server.pages import frame, labels
from server.pages import session as browser
from server.plans import batches, explaining, public, service, visits
from server.plans.batches_api import BATCH_ACTIONS, act
from server.plans.lifecycles import BATCH, PLAN, VISIT
from server.ratings import service as ratings
from server.ratings.api import take_turn
from server.ratings.tokens import MAX_TOKEN_CHARS
from server.states import StateMachine
from server.web import auth
from server.web.auth import principal, require
from server.web.transaction import runtime, session, transactional

LIST_LIMIT = 200
EDITORS = ("admin", "operator")
MACHINES = {"plan": PLAN, "batch": BATCH, "visit": VISIT}
MAX_FIELD_CHARS = 1_000

blp = Blueprint("draw_pages", __name__, template_folder="templates")
blp.context_processor(frame.variables)
blp.after_request(frame.seal_response)
blp.register_error_handler(Problem, frame.problem_page)


def _in_language(zh: str, en: str) -> str:
    return zh if labels.is_chinese() else en


def state_name(machine: str, state: str) -> str:
    """Return a state of a plan, batch or visit in the reader's language."""
    return _in_language(*MACHINES[machine].states[state])


def action_name(action: str) -> str:
    """Return an action of a batch in the reader's language."""
    machine: StateMachine = BATCH
    found = next(one for one in machine.transitions if one.action == action)
    return _in_language(found.zh, found.en)


@blp.context_processor
def words() -> dict[str, Any]:
    """Return what these templates use beside the frame's."""
    return {"state_name": state_name, "action_name": action_name, "coded": labels.coded}


@blp.get("/draws")
@require(*browser.PEOPLE)
@transactional(read_only=True)
def overview() -> str:
    """List the plans of one's scope with their batches, the newest first."""
    plans = list(reversed(service.list_plans(session(), principal(), limit=LIST_LIMIT)))
    rows = [(plan, batches.batches_of(session(), plan.id)) for plan in plans]
    return render_template("pages/draw_list.html", rows=rows, here="draws")


@blp.get("/draws/<batch_id>")
@require(*browser.PEOPLE)
@transactional(read_only=True)
def batch(batch_id: str) -> str:
    """Show a batch: what was announced, who was drawn, what came of it, and why (`?entity=` for one)."""
    return _page(batch_id, "")


@blp.post("/draws/<batch_id>")
@require(*EDITORS)
def step(batch_id: str) -> BaseResponse:
    """Take an action of a batch; its page follows."""
    form = {name: request.form.get(name, "")[:MAX_FIELD_CHARS] for name in ("action", "beacon_value", "reason")}
    try:
        if form["action"] not in BATCH_ACTIONS:
            raise Problem("invalid-field", field="action")
        act(batch_id, form["action"], form["beacon_value"], form["reason"])
    except Problem as problem:
        if problem.status in (401, 404):
            raise
        error = " · ".join(part for part in (frame.title_of(problem), problem.detail) if part)
        return make_response(_shown(batch_id, error), problem.status)
    return redirect(url_for("draw_pages.batch", batch_id=batch_id), 303)


@transactional(read_only=True)
def _shown(batch_id: str, error: str) -> str:
    return _page(batch_id, error)


def _page(batch_id: str, error: str) -> str:
    row = batches.get_batch(session(), principal(), batch_id)
    asked = request.args.get("entity", "")
    why = explaining.explain(session(), row, asked) if asked else None
    shown = visits.list_visits(session(), row.id, limit=LIST_LIMIT)
    legal = [action for action in BATCH.legal(row.state) if action in BATCH_ACTIONS]
    return render_template(
        "pages/draw.html",
        row=row,
        plan=service.get_plan(session(), principal(), row.plan),
        visits=shown,
        why=why,
        names=_names([one.entity for one in shown] + ([why.entity] if why else []), why),
        error=error,
        legal=legal if principal().role in EDITORS else [],
        here="draws",
    )


def _names(entities: list[str], why: explaining.Explanation | None) -> dict[str, str]:
    """The names of entities, and of the officers of an explanation, by id."""
    people = get_officers(session(), [one.officer for one in why.officers] if why else ())
    return names_of(session(), entities) | {officer: row.name for officer, row in people.items()}


@blp.get("/public/draws")
@auth.public
@transactional(read_only=True)
def public_draws() -> str:
    """Show what was announced, drawn, withdrawn and published, for anybody."""
    return render_template("pages/public_draws.html", rows=public.list_draws(session(), limit=LIST_LIMIT), here="")


@blp.get("/public/draws/<batch_id>")
@auth.public
@transactional(read_only=True)
def public_draw(batch_id: str) -> str:
    """Show one draw with its published results, for anybody."""
    row = public.get_draw(session(), batch_id)
    results = public.results_of(session(), batch_id, limit=LIST_LIMIT)
    return render_template("pages/public_draw.html", row=row, results=results, here="")


@blp.get("/rate")
@auth.public
def rating_form() -> str:
    """Ask for a rating; the token comes with the address on the notice."""
    return _rating(request.args.get("token", "")[:MAX_TOKEN_CHARS], "", thanks=False)


@blp.post("/rate")
@auth.public
@transactional
def rate() -> BaseResponse:
    """Take a rating in."""
    token, stars = request.form.get("token", "")[:MAX_TOKEN_CHARS], request.form.get("stars", "")
    known = code_table("rating_issue").current.entries
    issues = [code for code in request.form.getlist("issues") if code in known]
    try:
        take_turn()
        if stars not in map(str, range(ratings.MIN_STARS, ratings.MAX_STARS + 1)):
            raise Problem("invalid-field", field="stars", detail=gettext("Choose one to five stars."))
        with session().begin_nested():
            ratings.rate(session(), runtime(), token, int(stars), issues)
    except Problem as problem:
        return make_response(_rating(token, problem.detail, thanks=False), problem.status)
    return make_response(_rating("", "", thanks=True))


def _rating(token: str, error: str, *, thanks: bool) -> str:
    issues = [(code, _in_language(one.zh, one.en)) for code, one in code_table("rating_issue").current.entries.items()]
    return render_template("pages/rate.html", token=token, error=error, thanks=thanks, issues=issues, here="")


@blp.get("/public/ratings")
@auth.public
@transactional(read_only=True)
def public_ratings() -> str:
    """Show the ratings by department, for anybody."""
    return render_template("pages/public_ratings.html", rows=ratings.ratings(session()), here="")
