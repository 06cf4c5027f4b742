"""The frame around every page: its template variables, its security headers, and problems shown as pages."""

import secrets
from typing import cast

from flask import Flask, Response, g, make_response, redirect, render_template, request, url_for
from flask.blueprints import BlueprintSetupState
from flask_babel import gettext
from werkzeug.wrappers import Response as BaseResponse

from server.errors import Problem
from server.pages import display, labels, language
from server.pages.outline import load_outline
from server.web.auth import csrf_token, principal, token_id
from server.web.transaction import runtime

STATIC_FILES = frozenset({"pages.css", "live.js", "seal.svg"})
GLOBALS = {
    "asset_url": display.asset_url,
    "number": display.number,
    "clock_time": display.clock_time,
    "time_tag": display.time_tag,
    "ago_tag": display.ago_tag,
    "short_hash": display.short_hash,
    "short_dot": display.short_dot,
    "fingerprint": display.fingerprint,
    "entity_paths": display.entity_paths,
    "minor_prefectures": display.MINOR_PREFECTURES,
    "stage_label": labels.stage_label,
    "figure_label": labels.figure_label,
    "kind_label": labels.kind_label,
    "field_label": labels.field_label,
    "value_label": labels.value_label,
    "result_label": labels.result_label,
    "result_tone": labels.result_tone,
    "device_status_label": labels.device_status_label,
    "prefecture_short": labels.prefecture_short,
    "prefecture_name": labels.prefecture_name,
    "region_name": labels.region_name,
    "language_url": language.language_url,
}


def install(state: BlueprintSetupState) -> None:
    """Prepare the application once, when the pages are registered on it."""
    app = cast(Flask, state.app)
    language.install(app)
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True


def variables() -> dict[str, object]:
    """Return what every template may use."""
    caller = principal() if "principal" in g else None
    return GLOBALS | {
        "caller": caller,
        "csrf": csrf_token(runtime(), token_id()) if caller else "",
        "csp_nonce": nonce(),
        "language": language.chosen_language(),
        "languages": language.LANGUAGES.items(),
        "html_lang": language.HTML_TAGS[language.chosen_language()],
        "outline": load_outline(),
    }


def nonce() -> str:
    """Return the running request's script nonce."""
    if "csp_nonce" not in g:
        g.csp_nonce = secrets.token_urlsafe(16)
    return cast(str, g.csp_nonce)


def seal_response(response: Response) -> Response:
    """Add the headers that keep a page to itself: scripts by nonce only, no outside host, no frame around it."""
    response.headers.setdefault(
        "Content-Security-Policy",
        f"default-src 'none'; script-src 'nonce-{nonce()}'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("Vary", "Cookie")
    return language.remember_language(response)


def problem_page(problem: Problem) -> BaseResponse:
    """Show a problem to a person: without a session the sign-in page, else a page with its title and detail."""
    if problem.code == "unauthenticated" and request.endpoint != "pages.sign_in":
        if request.method == "GET" and request.endpoint != "pages.overview_live":
            return redirect(url_for("pages.sign_in", next=request.full_path.rstrip("?")), 303)
        return make_response("", 401)
    detail = problem.detail or gettext("Nothing more is known about it.")
    return make_response(render_template("pages/problem.html", title=title_of(problem), detail=detail), problem.status)


def title_of(problem: Problem) -> str:
    """Return a problem's title in the reader's language."""
    return problem.kind.title_zh if labels.is_chinese() else problem.kind.title_en
