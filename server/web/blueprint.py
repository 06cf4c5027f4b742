"""The blueprint class of all API modules: flask-smorest's, with strict JSON parsing of request bodies."""

from typing import Any

import flask
import flask_smorest
from marshmallow import RAISE
from webargs import core
from webargs.flaskparser import FlaskParser, is_json_request

from server.errors import Problem
from server.web.body import parse_json


class StrictParser(FlaskParser):
    """webargs' parser over :func:`server.web.body.parse_json`; unknown members are refused everywhere."""

    DEFAULT_UNKNOWN_BY_LOCATION = {
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
