"""Evidence over HTTP: the list of an inspection, originals, chains of custody, and receipts for devices."""

from typing import Any

from flask import Response, request
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.wsgi import wrap_file

from schemas.evidence import (
    CustodyOut,
    EvidenceListOut,
    EvidenceOut,
    EvidenceQuery,
    MissingOut,
    MissingQuery,
    ReceiptOut,
)
from server.errors import Problem
from server.evidence import receipts, service, tus_api
from server.evidence.missing import missing_evidence
from server.evidence.models import Evidence
from server.web.auth import principal, require, require_scope
from server.web.blueprint import Blueprint
from server.web.transaction import runtime, session, transactional

READERS = ("admin", "operator", "auditor", "officer")
SHOWN_IN_PLACE = {"image/jpeg": ".jpg", "image/png": ".png", "image/heif": ".heic", "image/heic": ".heic"}
"""Types that a browser may show; everything else is only ever saved."""
CONTENT_POLICY = "sandbox; default-src 'none'"

blp = Blueprint("evidence", __name__, url_prefix="/api/v1/evidence", description="证据 / Evidence")
blp.register_blueprint(tus_api.blp)


@blp.route("", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(EvidenceQuery, location="query")
@blp.response(200, EvidenceListOut)
def list_evidence(query: dict[str, Any]) -> dict[str, Any]:
    """List an inspection's evidence and say whether it is complete."""
    caller = principal()
    rows = service.list_evidence(session(), query["inspection"])
    for row in rows:
        require_scope(caller, row.region, row.department)
    manifest = service.manifest(session(), query["inspection"])
    return {"evidence": rows, "total": manifest.total, "verified": manifest.verified, "complete": manifest.complete}


@blp.route("/missing", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(MissingQuery, location="query")
@blp.response(200, MissingOut)
def list_missing(query: dict[str, Any]) -> dict[str, Any]:
    """List declared evidence that is not here, per device and officer, the longest missing first."""
    caller = principal()
    return missing_evidence(session(), runtime(), region=caller.region, department=caller.department, query=query)


@blp.route("/<evidence_id>", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, EvidenceOut)
def show(evidence_id: str) -> Evidence:
    """Return one evidence record."""
    return _in_scope(evidence_id)


@blp.route("/<evidence_id>/content", methods=["GET"])
@require(*READERS)
@transactional
@blp.response(200, content_type="application/octet-stream")
def content(evidence_id: str) -> Response:
    """Return the original, whole or a range of it; each access is a custody entry."""
    media_type = service.found_media_type(session(), _in_scope(evidence_id))
    actor, asked = principal().subject, request.headers.get("Range", "")
    original = service.open_content(session(), runtime(), evidence_id, actor=actor, requested=asked)
    response = Response(wrap_file(request.environ, original.stream), direct_passthrough=True)
    response.content_type = media_type if media_type in SHOWN_IN_PLACE else "application/octet-stream"
    response.content_length = original.size_bytes
    response.set_etag(original.sha256)
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = CONTENT_POLICY
    disposition = "inline" if media_type in SHOWN_IN_PLACE else "attachment"
    # the name is made here: a name from a device never reaches a header
    response.headers.set("Content-Disposition", disposition, filename=evidence_id + SHOWN_IN_PLACE.get(media_type, ""))
    try:
        response.make_conditional(request.environ, accept_ranges=True, complete_length=original.size_bytes)
    except RequestedRangeNotSatisfiable as error:
        response.close()
        raise Problem("range-not-satisfiable", field="Range", limit=original.size_bytes) from error
    return response


@blp.route("/<evidence_id>/custody", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, CustodyOut)
def custody(evidence_id: str) -> dict[str, Any]:
    """Return the chain of custody, checked."""
    evidence = _in_scope(evidence_id)
    entries, faults = service.custody(session(), evidence)
    shown = [{"seq": entry.seq, "body": entry.body.decode("utf-8", "replace"), "hash": entry.hash} for entry in entries]
    return {"evidence": evidence.id, "entries": shown, "intact": not faults, "faults": faults}


@blp.route("/<evidence_id>/receipt", methods=["GET"])
@require("device")
@transactional(read_only=True)
@blp.response(200, ReceiptOut)
def receipt(evidence_id: str) -> dict[str, Any]:
    """Tell a device how far its evidence is, with the custody receipt once there is one."""
    device = principal().device
    if device is None:
        raise Problem("forbidden", detail="only devices get receipts")
    return receipts.receipt(session(), runtime(), evidence_id, device)


def _in_scope(evidence_id: str) -> Evidence:
    """Return the evidence if it is the caller's business; `not-found` otherwise."""
    evidence = service.get_evidence(session(), evidence_id)
    require_scope(principal(), evidence.region, evidence.department)
    return evidence
