"""Health (the process lives) and readiness (the database answers and is set up)."""

from flask import Blueprint, Response, jsonify
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from server.errors import Problem
from server.web.auth import public
from server.web.transaction import runtime

blp = Blueprint("health", __name__)


@blp.get("/health")
@public
def health() -> Response:
    """Answer as long as the process lives."""
    return jsonify(status="ok")


@blp.get("/ready")
@public
def ready() -> Response:
    """Answer once the database is reachable and set up; else 503."""
    try:
        with runtime().db.read() as session:
            epoch = session.execute(text("SELECT epoch FROM server_state WHERE id = 1")).scalar_one_or_none()
    except DBAPIError as error:
        raise Problem("unavailable", detail="the database does not answer or is not set up") from error
    if epoch is None:
        raise Problem("unavailable", detail="the database is not set up: run `fieldproof migrate`")
    return jsonify(status="ready")
