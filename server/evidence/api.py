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
    HoldOut,
    MissingOut,
    MissingQuery,
    ReasonIn,
    ReceiptOut,
    ReceiptsIn,
    ReceiptsOut,
    TransferIn,
)
from server.errors import Problem
from server.evidence import derivatives, receipts, retention, service, tus_api
from server.evidence.missing import missing_evidence
from server.evidence.models import Evidence, LegalHold
from server.records.service import assignees_of
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.principal import require_scope
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


@blp.route("/holds/<inspection>", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.arguments(ReasonIn)
@blp.response(201, HoldOut)
def hold(body: dict[str, Any], inspection: str) -> LegalHold:
    """Place a legal hold on a case: nothing of its evidence is destroyed until it is lifted."""
    _case_in_scope(inspection)
    return retention.place_hold(session(), runtime(), inspection, reason=body["reason"], actor=principal().subject)


@blp.route("/holds/<inspection>/lift", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.arguments(ReasonIn)
@blp.response(200, HoldOut)
def lift(body: dict[str, Any], inspection: str) -> LegalHold:
    """Lift the legal hold on a case."""
    _case_in_scope(inspection)
    return retention.lift_hold(session(), runtime(), inspection, reason=body["reason"], actor=principal().subject)


@blp.route("/<evidence_id>", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, EvidenceOut)
def show(evidence_id: str) -> Evidence:
    """Return one evidence record."""
    return _in_scope(evidence_id)


@blp.route("/<evidence_id>/content", methods=["GET"])
@require(*READERS, "device")
@transactional
@blp.response(200, content_type="application/octet-stream")
def content(evidence_id: str) -> Response:
    """Return the original, whole or a range of it; each access is a custody entry.

    A device gets what is evidence of its officers' own inspections, such as the extract that a lead rests on.
    """
    evidence, caller = _in_scope(evidence_id), principal()
    if caller.device is not None and not {*assignees_of(session(), "evidence", evidence_id)} & {*caller.officers}:
        raise Problem("not-found", detail="no such evidence")
    return _bytes_of(evidence_id, service.found_media_type(session(), evidence))


@blp.route("/<evidence_id>/thumbnail", methods=["GET"])
@require(*READERS)
@transactional
@blp.response(200, content_type=derivatives.MEDIA_TYPE)
def thumbnail(evidence_id: str) -> Response:
    """Return the thumbnail of a picture; each access is a custody entry."""
    _in_scope(evidence_id)
    return _bytes_of(evidence_id, derivatives.MEDIA_TYPE, derivatives.THUMBNAIL)


@blp.route("/<evidence_id>/watermarked", methods=["GET"])
@require(*READERS)
@transactional
@blp.response(200, content_type=derivatives.MEDIA_TYPE)
def watermarked(evidence_id: str) -> Response:
    """Return the watermarked copy of a picture, the one to hand on; each access is a custody entry."""
    _in_scope(evidence_id)
    return _bytes_of(evidence_id, derivatives.MEDIA_TYPE, derivatives.WATERMARKED)


@blp.route("/<evidence_id>/redraw", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.response(202)
def redraw(evidence_id: str) -> None:
    """Let the worker draw thumbnail and watermarked copy again."""
    derivatives.redraw(session(), _in_scope(evidence_id))


@blp.route("/<evidence_id>/transfers", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.arguments(TransferIn)
@blp.response(201)
def transfer(body: dict[str, Any], evidence_id: str) -> None:
    """Enter in the chain of custody that the evidence was handed to somebody outside."""
    evidence = _in_scope(evidence_id)
    service.note_transfer(session(), runtime(), evidence.id, actor=principal().subject, **body)


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
    return receipts.receipt(session(), runtime(), evidence_id, _calling_device())


@blp.route("/receipts", methods=["POST"])
@require("device")
@transactional(read_only=True)
@blp.arguments(ReceiptsIn)
@blp.response(200, ReceiptsOut)
def many_receipts(body: dict[str, Any]) -> dict[str, Any]:
    """Tell a device the same of several pieces of its evidence at once; nothing is changed."""
    return {"receipts": receipts.receipts(session(), runtime(), body["evidence"], _calling_device())}


def _calling_device() -> str:
    device = principal().device
    if device is None:
        raise Problem("forbidden", detail="only devices get receipts")
    return device


def _bytes_of(evidence_id: str, media_type: str, kind: str = "") -> Response:
    """Return original or derivative as a response that knows ranges and conditions; enters the access."""
    actor, asked = principal().subject, request.headers.get("Range", "")
    opened = service.open_content(session(), runtime(), evidence_id, actor=actor, requested=asked, kind=kind)
    response = Response(wrap_file(request.environ, opened.stream), direct_passthrough=True)
    response.content_type = media_type if media_type in SHOWN_IN_PLACE else "application/octet-stream"
    response.content_length = opened.size_bytes
    response.set_etag(opened.sha256)
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = CONTENT_POLICY
    disposition = "inline" if media_type in SHOWN_IN_PLACE else "attachment"
    # the name is made here: a name from a device never reaches a header
    response.headers.set("Content-Disposition", disposition, filename=evidence_id + SHOWN_IN_PLACE.get(media_type, ""))
    try:
        response.make_conditional(request.environ, accept_ranges=True, complete_length=opened.size_bytes)
    except RequestedRangeNotSatisfiable as error:
        response.close()
        raise Problem("range-not-satisfiable", field="Range", limit=opened.size_bytes) from error
    return response


def _in_scope(evidence_id: str) -> Evidence:
    """Return the evidence if it is the caller's business; `not-found` otherwise."""
    evidence = service.get_evidence(session(), evidence_id)
    require_scope(principal(), evidence.region, evidence.department)
    return evidence


def _case_in_scope(inspection: str) -> None:
    """Raise `not-found` unless the case has evidence and all of it is the caller's business."""
    rows = service.list_evidence(session(), inspection)
    if not rows:
        raise Problem("not-found", detail="this case has no evidence")
    for row in rows:
        require_scope(principal(), row.region, row.department)
