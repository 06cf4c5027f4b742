"""The pages' addresses. Each view asks one query function and renders one template; only sign-in is public."""

from flask import (
    Blueprint,
    Response,
    g,
    make_response,
    redirect,
    render_template,
    request,
    send_from_directory,
    url_for,
)
from flask_babel import gettext
from werkzeug.wrappers import Response as BaseResponse

from server.accounts import service as accounts
from server.accounts.service import MAX_PASSWORD_CHARS
from server.errors import Problem
from server.fieldsync.conflicts import MAX_REASON_CHARS, MIN_REASON_CHARS
from server.fieldsync.reverting import revert as undo
from server.pages import conflicts, frame, labels
from server.pages import session as browser
from server.pages.display import STATIC, clock_time
from server.pages.listings import conflict_rows
from server.pages.overview import load_overview
from server.web.auth import principal, public, require, token_id
from server.web.transaction import runtime, session, transactional

POLL_MS = 4_000
"""How often an open overview asks for news."""
ASSET_MAX_AGE_S = 30 * 24 * 3600
DECIDERS = ("operator",)
"""Who may decide a conflict; the same as in the API."""

blp = Blueprint("pages", __name__, template_folder="templates")
blp.record_once(frame.install)
blp.context_processor(frame.variables)
blp.after_request(frame.seal_response)
blp.register_error_handler(Problem, frame.problem_page)


@blp.get("/")
@require(*browser.PEOPLE)
@transactional(read_only=True)
def overview() -> str:
    """Show the overview."""
    view = load_overview(session(), runtime(), principal())
    return render_template("pages/overview.html", view=view, here="overview", poll_ms=POLL_MS)


@blp.get("/overview/live")
@require(*browser.PEOPLE)
@transactional(read_only=True)
def overview_live() -> BaseResponse:
    """Return the overview's sections alone; 304 while nothing in them has changed."""
    view = load_overview(session(), runtime(), principal())
    response = make_response(render_template("pages/_live.html", view=view))
    response.headers["X-As-Of"] = clock_time(view.at)
    response.add_etag()
    return response.make_conditional(request)


@blp.get("/conflicts")
@require(*browser.PEOPLE)
@transactional(read_only=True)
def conflict_list() -> str:
    """List the open conflicts, or those that are settled."""
    state = request.args.get("state", "open")
    if state not in conflicts.STATUSES:
        raise Problem("not-found", field="state")
    rows = conflict_rows(session(), principal(), status=state, limit=conflicts.LIST_LIMIT + 1)
    more = len(rows) > conflicts.LIST_LIMIT
    return render_template(
        "pages/conflict_list.html", rows=rows[: conflicts.LIST_LIMIT], state=state, more=more, here="conflicts"
    )


@blp.get("/conflicts/<conflict_id>")
@require(*browser.PEOPLE)
@transactional(read_only=True)
def conflict(conflict_id: str) -> str:
    """Show one conflict: base, all sides, and the form or the decision."""
    return _conflict_page(conflict_id, conflicts.DecisionForm("", "", "", ()), "")


@blp.post("/conflicts/<conflict_id>")
@require(*DECIDERS)
@transactional
def decide(conflict_id: str) -> BaseResponse:
    """Record a person's decision; the page with the outcome follows."""
    form = conflicts.DecisionForm(
        choice=request.form.get("choice", ""),
        value=request.form.get("value", ""),
        reason=request.form.get("reason", ""),
        sides=tuple(request.form.getlist("sides")),
    )
    try:
        with session().begin_nested():
            conflicts.decide(session(), runtime(), principal(), conflict_id, form)
    except Problem as problem:
        if problem.status in (401, 403, 404):
            raise
        error = labels.decision_error(problem.code, problem.field) or _explain(problem)
        return make_response(_conflict_page(conflict_id, form, error), problem.status)
    return redirect(url_for("pages.conflict", conflict_id=conflict_id), 303)


@blp.post("/conflicts/<conflict_id>/revert")
@require(*DECIDERS)
@transactional
def revert(conflict_id: str) -> BaseResponse:
    """Undo a decision; the page of the conflict that is open instead follows."""
    reason = request.form.get("reason", "")
    try:
        with session().begin_nested():
            opened = undo(session(), runtime(), principal(), conflict_id, reason)
    except Problem as problem:
        if problem.status in (401, 403, 404):
            raise
        error = labels.decision_error(problem.code, problem.field) or _explain(problem)
        form = conflicts.DecisionForm("", "", reason, ())
        return make_response(_conflict_page(conflict_id, form, error), problem.status)
    return redirect(url_for("pages.conflict", conflict_id=opened.id), 303)


def _conflict_page(conflict_id: str, form: conflicts.DecisionForm, error: str) -> str:
    return render_template(
        "pages/conflict.html",
        view=conflicts.load_conflict(session(), principal(), conflict_id),
        form=form,
        error=error,
        can_decide=principal().role in DECIDERS,
        value_limit=conflicts.VALUE_MAX_CHARS,
        reason_floor=MIN_REASON_CHARS,
        reason_limit=MAX_REASON_CHARS,
        here="conflicts",
    )


def _explain(problem: Problem) -> str:
    """Return a problem in the reader's language, with its detail."""
    title = frame.title_of(problem)
    return f"{title}: {problem.detail}" if problem.detail else title


@blp.route("/sign-in", methods=["GET", "POST"])
@public
@transactional
def sign_in() -> BaseResponse:
    """Show the sign-in form; sign in by login and password, or by a one-time `?code=`."""
    target = browser.next_page(request.values.get("next", ""))
    try:
        if request.method == "POST":
            browser.refuse_foreign_form()
            login = request.form.get("login", "")
            account = browser.by_password(session(), runtime(), login, request.form.get("password", ""))
            if account is None:
                return _sign_in_form(target, gettext("The account or the password is wrong."), login, 401)
            return browser.start(redirect_response(target), runtime(), account)
        if code := request.args.get("code", ""):
            account = browser.by_code(session(), runtime(), code)
            page = make_response(render_template("pages/signed_in.html", target=target))
            return browser.start(page, runtime(), account)
    except Problem as problem:
        error = gettext("This sign-in address has been used or has expired.")
        return _sign_in_form(target, error if problem.status == 401 else _explain(problem), "", problem.status)
    return _sign_in_form(target, "", "", 200)


def redirect_response(target: str) -> Response:
    """Return a redirect as Flask's own response class, which can carry a cookie."""
    return make_response(redirect(target, 303))


def _sign_in_form(target: str, error: str, login: str, status: int) -> Response:
    page = render_template(
        "pages/sign_in.html",
        next_path=target,
        error=error,
        login=login[: browser.LOGIN_MAX_CHARS],
        login_limit=browser.LOGIN_MAX_CHARS,
        password_limit=MAX_PASSWORD_CHARS,
    )
    return make_response(page, status)


@blp.post("/sign-out")
@require(*browser.PEOPLE)
def sign_out() -> Response:
    """End the session of this browser; a copy of its token ends with it."""
    with runtime().db.write() as session:
        accounts.revoke_token(session, runtime(), token_id())
    g.pop("principal", None)
    return browser.end(redirect_response(url_for("pages.sign_in")), runtime())


@blp.get("/assets/<name>")
@public
def asset(name: str) -> Response:
    """Return one of the pages' own files; the sign-in page needs them before anyone is signed in."""
    if name not in frame.STATIC_FILES:
        raise Problem("not-found")
    return send_from_directory(STATIC, name, max_age=ASSET_MAX_AGE_S)
