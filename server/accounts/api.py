"""Sign-in of people and of the central system."""

from typing import Any

from marshmallow import Schema, fields, validate

from server.accounts import service
from server.errors import Problem
from server.web.auth import issue_token, public
from server.web.blueprint import Blueprint
from server.web.transaction import runtime, session, transactional

blp = Blueprint("accounts", __name__, url_prefix="/api/v1/sign-in", description="登录 Sign-in")


class SignInBody(Schema):
    """Login and password."""

    login = fields.String(required=True, validate=validate.Length(1, 64))
    password = fields.String(required=True, validate=validate.Length(1, service.MAX_PASSWORD_CHARS))


class TokenSchema(Schema):
    """A bearer token."""

    token = fields.String(required=True)
    expires_at_ms = fields.Integer(required=True, metadata={"description": "Unix time in milliseconds"})
    role = fields.String(required=True)


@blp.route("", methods=["POST"])
@public
@transactional
@blp.arguments(SignInBody)
@blp.response(200, TokenSchema)
def sign_in(body: dict[str, Any]) -> dict[str, Any]:
    """Sign in with login and password."""
    account = service.sign_in(session(), runtime(), body["login"], body["password"])
    if account is None:
        session().commit()  # the failure must count although the reply is an error
        raise Problem("unauthenticated", detail="login or password is wrong")
    token = issue_token(runtime(), "account", account.id, runtime().settings.token_s)
    return {"token": token.text, "expires_at_ms": token.expires_at_ms, "role": account.role}
