"""Signing people in and out of the pages: the session cookie, where to go next, and forms from elsewhere refused."""

from urllib.parse import urlsplit

from flask import Response, request, url_for
from sqlalchemy.orm import Session

from server.accounts import service as accounts
from server.accounts.models import Account
from server.errors import Problem
from server.runtime import Runtime
from server.web.auth import COOKIE, issue_token

LOGIN_MAX_CHARS = 64
NEXT_MAX_CHARS = 500
CODE_MAX_CHARS = 100
PEOPLE = ("admin", "operator", "auditor")
"""Roles that may use the pages: the office. Officers have their handhelds, the central system its own interface."""


def start(response: Response, rt: Runtime, account: Account) -> Response:
    """Put a fresh session of an account into the browser: the same token as the API's, out of scripts' reach."""
    lifetime_s = rt.settings.token_s
    token = issue_token(rt, "account", account.id, lifetime_s)
    response.set_cookie(
        COOKIE,
        token.text,
        max_age=lifetime_s,
        httponly=True,
        samesite="Strict",
        secure=rt.settings.secure_cookies,
    )
    return response


def end(response: Response, rt: Runtime) -> Response:
    """Take the session out of the browser."""
    response.delete_cookie(COOKIE, httponly=True, samesite="Strict", secure=rt.settings.secure_cookies)
    return response


def by_password(session: Session, rt: Runtime, login: str, password: str) -> Account | None:
    """Return the account of a right password, None for a wrong one or a role that has no pages.

    Raises:
        Problem: `rate-limited` while the account is locked.
    """
    if not 0 < len(login) <= LOGIN_MAX_CHARS or not 0 < len(password) <= accounts.MAX_PASSWORD_CHARS:
        return None
    account = accounts.sign_in(session, rt, login, password)
    return account if account is not None and account.role in PEOPLE else None


def by_code(session: Session, rt: Runtime, code: str) -> Account:
    """Return the account of a one-time code, which is used up.

    Raises:
        Problem: `unauthenticated`.
    """
    if len(code) > CODE_MAX_CHARS:
        raise Problem("unauthenticated", detail="no such code", limit=CODE_MAX_CHARS)
    account = accounts.redeem_code(session, rt, code)
    if account.role not in PEOPLE:
        raise Problem("unauthenticated", detail="this account has no pages")
    return account


def next_page(wish: str) -> str:
    """Return where to go after signing in: a path of this server, else the overview."""
    local = wish.startswith("/") and not wish.startswith(("//", "/\\"))
    if local and len(wish) <= NEXT_MAX_CHARS and wish.isprintable():
        return wish
    return url_for("pages.overview")


def refuse_foreign_form() -> None:
    """Refuse a form that another site submits: before there is a session, no token can tell.

    Raises:
        Problem: `forbidden`.
    """
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site:
        foreign = site not in ("same-origin", "none")
    else:
        foreign = origin is not None and urlsplit(origin).netloc != request.host
    if foreign:
        raise Problem("forbidden", detail="this form came from another site")
