"""The blueprint class of all API modules: flask-smorest's, with strict JSON parsing of request bodies."""

from collections.abc import Callable
from typing import Any, cast

import flask
import flask_smorest
from marshmallow import RAISE, Schema
from webargs import core
from webargs.flaskparser import FlaskParser, is_json_request

from server.errors import Problem
from server.web.body import parse_json

View = Callable[..., Any]


class StrictParser(FlaskParser):
    """webargs' parser over :func:`server.web.body.parse_json`; unknown members are refused everywhere."""

    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {  # noqa: RUF012 - declared this way by webargs
        **FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION,
        "json": RAISE,
        "query": RAISE,
    }

    def _raw_load_json(self, req: flask.Request) -> Any:  # noqa: ANN401 - webargs' signature
        if not is_json_request(req):
            if req.get_data(cache=True):
                raise Problem("unsupported-media-type", detail="the body must be application/json")
            return core.missing
        return parse_json(req.get_data(cache=True))


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc]  # flask-smorest ships no types
    """A set of routes and its part of the OpenAPI document."""

    ARGUMENTS_PARSER = StrictParser()

    def route(self, rule: str, **options: Any) -> Callable[[View], View]:  # noqa: ANN401 - passed on
        """Register a view under a rule (flask-smorest's `route`, typed)."""
        return cast(Callable[[View], View], super().route(rule, **options))

    def arguments(self, schema: type[Schema], **options: Any) -> Callable[[View], View]:  # noqa: ANN401 - passed on
        """Load the request's arguments by a schema (flask-smorest's `arguments`, typed)."""
        return cast(Callable[[View], View], super().arguments(schema, **options))

    def response(self, status: int, schema: type[Schema] | None = None, **options: Any) -> Callable[[View], View]:  # noqa: ANN401 - passed on
        """Serialise the reply by a schema (flask-smorest's `response`, typed)."""
        return cast(Callable[[View], View], super().response(status, schema, **options))
