"""The only wiring: which blueprints, which principals, which limits. Only entry points and tests import it."""

from importlib.metadata import version
from typing import Any

from flask import Flask, Response
from flask.json.provider import DefaultJSONProvider
from flask_smorest import Api

from server.accounts import api as accounts_api
from server.accounts import service as accounts
from server.analytics import api as analytics_api
from server.audit import api as audit_api
from server.behaviors import api as behaviors_api
from server.behaviors import proceedings_api, publication_api
from server.codes import api as codes_api
from server.complaints import api as complaints_api
from server.credit import api as credit_api
from server.devices import api as devices_api
from server.devices import standing
from server.directory import api as directory_api
from server.entities import api as entities_api
from server.entities import doors_api
from server.evidence import api as evidence_api
from server.exchange import api as exchange_api
from server.fieldsync import api as fieldsync_api
from server.fieldsync import decisions_api, erasure_api, feed_api
from server.inspections import api as inspections_api
from server.inspections import rectification_api, visits_api
from server.knowledge import api as knowledge_api
from server.leads import api as leads_api
from server.officers import api as officers_api
from server.pages import api as pages
from server.pages import behaviors_api as behavior_pages
from server.pages import draws_api, quarantine_api, registers_api
from server.pages import leads_api as lead_pages
from server.pages import missing_evidence as missing_pages
from server.pages import visits_api as visit_pages
from server.plans import api as plans_api
from server.plans import batches_api, public_api
from server.platforms import api as platforms_api
from server.prooflog import api as prooflog_api
from server.ratings import api as ratings_api
from server.runtime import Runtime
from server.telemetry import api as telemetry_api
from server.telemetry import provisioning_api, rule_api, series_api
from server.web import docs, health, problems
from server.web.auth import HAND_IN
from server.web.body import parse_json

MAX_BODY_BYTES = 1024 * 1024
"""Largest request body, unless a route raises its own limit (push, evidence upload)."""
MAX_FORM_PARTS = 100
DOMAINS = (
    accounts_api,
    devices_api,
    fieldsync_api,
    decisions_api,
    erasure_api,
    feed_api,
    codes_api,
    directory_api,
    entities_api,
    doors_api,
    officers_api,
    complaints_api,
    credit_api,
    platforms_api,
    knowledge_api,
    audit_api,
    inspections_api,
    rectification_api,
    visits_api,
    plans_api,
    batches_api,
    public_api,
    ratings_api,
    evidence_api,
    telemetry_api,
    provisioning_api,
    series_api,
    rule_api,
    leads_api,
    behaviors_api,
    proceedings_api,
    publication_api,
    prooflog_api,
    exchange_api,
    analytics_api,
)
"""The API modules; each has a blueprint `blp`."""


class StrictJson(DefaultJSONProvider):
    """Flask's JSON, reading strictly and writing Chinese as it is."""

    ensure_ascii = False
    sort_keys = False

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:  # noqa: ANN401, ARG002 - Flask's signature
        """Parse strictly."""
        return parse_json(s.encode() if isinstance(s, str) else s)


def create_app(rt: Runtime) -> Flask:
    """Return the WSGI application over a runtime."""
    app = Flask("fieldproof", static_folder=None, template_folder=None)
    app.json = StrictJson(app)
    app.url_map.strict_slashes = False
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
        MAX_FORM_MEMORY_SIZE=MAX_BODY_BYTES,
        MAX_FORM_PARTS=MAX_FORM_PARTS,
        API_TITLE="现场为证 Fieldproof",
        API_VERSION=version("fieldproof"),
        OPENAPI_VERSION="3.1.0",
        PROPAGATE_EXCEPTIONS=False,
    )
    app.extensions["fieldproof"] = rt
    app.extensions["fieldproof.principals"] = {
        "account": accounts.load_principal,
        "device": standing.load_principal,
        HAND_IN: standing.load_handing_in,
    }
    app.extensions["fieldproof.revoked"] = accounts.is_revoked
    api = Api(app, spec_kwargs={"info": {"description": "可证明的监管后端 · The provable supervision backend"}})
    app.extensions["fieldproof.api"] = api
    api.spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"})
    for module in DOMAINS:
        api.register_blueprint(module.blp)
    for blueprint in (proceedings_api.reviewers_blp, publication_api.public_blp, batches_api.of_plan):
        api.register_blueprint(blueprint)
    app.register_blueprint(health.blp)
    app.register_blueprint(docs.blp)
    app.register_blueprint(pages.blp)
    app.register_blueprint(quarantine_api.blp)
    app.register_blueprint(registers_api.blp)
    app.register_blueprint(behavior_pages.blp)
    app.register_blueprint(draws_api.blp)
    app.register_blueprint(visit_pages.blp)
    app.register_blueprint(lead_pages.blp)
    app.register_blueprint(missing_pages.blp)
    problems.register(app)
    app.after_request(_harden)
    return app


def _harden(response: Response) -> Response:
    """Headers for every response; pages set their own content policy first."""
    headers = response.headers
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "same-origin")
    headers.setdefault("X-Frame-Options", "DENY")
    headers.setdefault("Cache-Control", "no-store")
    headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    return response
