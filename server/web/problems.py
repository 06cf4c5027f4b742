"""Maps every failure to an RFC 9457 problem response; nothing leaves the server as a bare error page."""

import errno
import json
import logging
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response
from sqlalchemy.exc import DBAPIError, IntegrityError
from werkzeug.exceptions import HTTPException

from server.errors import Problem

log = logging.getLogger(__name__)

CODES_BY_STATUS = {
    400: "bad-request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    409: "conflict",
    410: "stale-cursor",
    413: "too-large",
    415: "unsupported-media-type",
    416: "range-not-satisfiable",
    422: "invalid-field",
    429: "rate-limited",
    503: "unavailable",
}
FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})


def problem_response(problem: Problem) -> Response:
    """Return the `application/problem+json` response of a problem."""
    body = json.dumps(problem.as_dict(), ensure_ascii=False, default=str)
    response = Response(body, status=problem.status, mimetype="application/problem+json")
    if problem.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if "retry_after_s" in problem.extra:
        response.headers["Retry-After"] = str(problem.extra["retry_after_s"])
    return response


def from_http_exception(error: HTTPException) -> Problem:
    """Translate werkzeug's and webargs' exceptions, keeping the first offending field."""
    status = error.code or 500
    code = CODES_BY_STATUS.get(status, "internal" if status >= 500 else "bad-request")
    messages = (getattr(error, "data", None) or {}).get("messages")
    if isinstance(messages, Mapping):
        field, reason = first_message(messages)
        return Problem(code, detail=reason, field=field, errors=_plain(messages))
    return Problem(code, detail=error.description or "")


def first_message(messages: Any, path: tuple[str, ...] = ()) -> tuple[str | None, str]:  # noqa: ANN401 - marshmallow's tree
    """Return dotted path and text of the first leaf of marshmallow's error tree."""
    while isinstance(messages, Mapping) and messages:
        name, messages = next(iter(messages.items()))
        location = not path and name in ("json", "query", "headers", "path", "form") and isinstance(messages, Mapping)
        if not location:  # a field may be called like one: then what is wrong with it follows at once
            path = (*path, str(name))
    if isinstance(messages, list) and messages:
        messages = messages[0]
    return ".".join(path) or None, str(messages)


def _plain(messages: Any) -> Any:  # noqa: ANN401 - marshmallow's tree
    if isinstance(messages, Mapping):
        return {str(name): _plain(member) for name, member in messages.items()}
    return messages


def from_database_error(error: DBAPIError) -> Problem:
    """Translate database failures in one place: constraint, disk full, or database away."""
    text = str(error.orig)
    if isinstance(error, IntegrityError):
        return Problem("conflict", detail="the change breaks a uniqueness or reference rule")
    if "disk is full" in text or "No space left" in text:
        return Problem("storage-full", detail="the database has no space left")
    return Problem("unavailable", detail="the database cannot take the request now")


def register(app: Flask) -> None:
    """Install the handlers on an application."""

    @app.errorhandler(Problem)
    def _problem(error: Problem) -> Response:
        return problem_response(error)

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> Response:
        if error.code is not None and 300 <= error.code < 400:
            return error.get_response()  # type: ignore[return-value]  # werkzeug types redirects as WSGI responses
        return problem_response(from_http_exception(error))

    @app.errorhandler(DBAPIError)
    def _database(error: DBAPIError) -> Response:
        log.warning("database error: %s", error.orig)
        return problem_response(from_database_error(error))

    @app.errorhandler(OSError)
    def _os(error: OSError) -> Response:
        log.warning("operating system error: %s", error)
        full = error.errno in FULL_ERRNOS
        return problem_response(
            Problem("storage-full" if full else "unavailable", detail="the storage cannot take the request now")
        )

    @app.errorhandler(Exception)
    def _any(error: Exception) -> Response:
        log.error("unhandled error", exc_info=error)
        return problem_response(Problem("internal"))
