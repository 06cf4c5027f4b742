"""The browsable API documentation, served by this server alone: OpenAPI document and Swagger UI from its wheel."""

import secrets
from importlib.resources import files
from typing import cast

from flask import Blueprint, Response, current_app, render_template_string, send_from_directory
from flask_smorest import Api

from server.web.auth import require

READERS = ("admin", "operator", "auditor", "officer", "device", "central")
DIST = str(files("flask_swagger_ui") / "dist")

blp = Blueprint("docs", __name__, url_prefix="/api/docs")

PAGE = """<!doctype html>
<html lang="zh"><head><meta charset="utf-8"><title>现场为证 API · Fieldproof API</title>
<link rel="stylesheet" href="{{ url_for('docs.asset', name='swagger-ui.css') }}"></head>
<body><div id="ui"></div>
<script src="{{ url_for('docs.asset', name='swagger-ui-bundle.js') }}" nonce="{{ nonce }}"></script>
<script nonce="{{ nonce }}">
SwaggerUIBundle({url: "{{ url_for('docs.document') }}", dom_id: "#ui", validatorUrl: null});
</script>
</body></html>"""


@blp.get("/")
@require(*READERS)
def index() -> Response:
    """Show Swagger UI."""
    nonce = secrets.token_urlsafe(16)
    response = Response(render_template_string(PAGE, nonce=nonce))
    response.headers["Content-Security-Policy"] = (
        f"default-src 'self'; script-src 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
    )
    return response


@blp.get("/openapi.json")
@require(*READERS)
def document() -> Response:
    """Return the OpenAPI 3.1 document."""
    api = cast(Api, current_app.extensions["fieldproof.api"])
    return cast(Response, current_app.json.response(api.spec.to_dict()))


@blp.get("/assets/<path:name>")
@require(*READERS)
def asset(name: str) -> Response:
    """Return one of Swagger UI's own files."""
    return send_from_directory(DIST, name, max_age=86_400)
