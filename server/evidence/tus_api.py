"""tus 1.0 over HTTP: creation, upload, offset, termination, for devices and their own uploads only.

These views open their transactions themselves: bytes may arrive for minutes, and no transaction may be open meanwhile.
"""

import logging

from flask import Response, request, url_for
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.http import http_date

from server.errors import Problem
from server.evidence.concatenation import concatenate
from server.evidence.models import LOST, OPEN, PART, RECEIVED, Upload
from server.evidence.settlement import settle_upload
from server.evidence.tus import (
    EXTENSIONS,
    FINAL,
    PARTIAL,
    VERSION,
    Metadata,
    parse_checksum,
    parse_concat,
    parse_count,
    parse_metadata,
)
from server.evidence.upload import (
    MAX_UPLOAD_BYTES,
    READ_BYTES,
    BodyCut,
    ReadBody,
    create_upload,
    read_upload,
    receive,
    terminate,
)
from server.evidence.whole import MAX_WHOLE_BYTES, receive_whole
from server.web.auth import HAND_IN, principal, require
from server.web.blueprint import Blueprint
from server.web.transaction import runtime

log = logging.getLogger(__name__)

BODY_TYPE = "application/offset+octet-stream"

blp = Blueprint(
    "uploads",
    __name__,
    url_prefix="/uploads",
    description="证据续传（tus 1.0） / Resumable evidence upload (tus 1.0)",
)


@blp.after_request  # type: ignore[untyped-decorator]  # flask-smorest ships no types
def _tus_headers(response: Response) -> Response:
    response.headers["Tus-Resumable"] = VERSION
    response.headers["Cache-Control"] = "no-store"
    if response.status_code in (204, 412):
        response.headers["Tus-Version"] = VERSION
    return response


@blp.route("", methods=["OPTIONS"])
@require("device", HAND_IN)
@blp.response(204)
def options() -> Response:
    """Tell the protocol version, extensions and the largest upload."""
    return Response(
        status=204,
        headers={
            "Tus-Extension": EXTENSIONS,
            "Tus-Max-Size": str(MAX_UPLOAD_BYTES),
            "Tus-Checksum-Algorithm": "sha1,sha256,md5",
        },
    )


@blp.route("", methods=["POST"])
@require("device", HAND_IN)
@blp.response(201)
def create() -> Response:
    """Create an upload for an evidence record, optionally with its first bytes."""
    _check_version()
    if "Upload-Defer-Length" in request.headers:
        raise Problem("bad-request", detail="the length must be known", field="Upload-Defer-Length")
    concat = parse_concat(request.headers.get("Upload-Concat"))
    metadata = parse_metadata(request.headers.get("Upload-Metadata"), record_needed=concat != PARTIAL)
    if isinstance(concat, tuple):
        return _created(_settle(concatenate(runtime(), _device(), concat, metadata)))
    length_bytes = parse_count(request.headers.get("Upload-Length"), "Upload-Length")
    return _created(_create(length_bytes, metadata, partial=concat == PARTIAL))


def _create(length_bytes: int, metadata: Metadata, *, partial: bool) -> Upload:
    """Create an upload and take in what bytes came with the request."""
    device, rt = _device(), runtime()
    has_body = request.mimetype == BODY_TYPE
    if has_body and not partial and request.content_length == length_bytes <= MAX_WHOLE_BYTES:
        request.max_content_length = MAX_WHOLE_BYTES
        checksum = parse_checksum(request.headers.get("Upload-Checksum"))
        upload = receive_whole(rt, device, length_bytes, metadata, _body(length_bytes), checksum)
    else:
        with rt.db.write() as session:
            upload = create_upload(session, rt, device, length_bytes, metadata, partial=partial)
    if upload.state == OPEN and (has_body or length_bytes == 0):
        upload = _receive(upload, 0)
    return upload


def _created(upload: Upload) -> Response:
    location = url_for(".patch", upload_id=upload.id)
    return Response(status=201, headers={"Location": location, **_progress(upload)})


@blp.route("/<upload_id>", methods=["HEAD"])
@require("device", HAND_IN)
@blp.response(200)
def head(upload_id: str) -> Response:
    """Tell how many bytes count."""
    _check_version()
    upload = read_upload(runtime(), upload_id, _device())
    if upload.state == LOST:
        raise Problem("not-found", detail="the upload has to start again")
    return Response(status=200, headers={"Upload-Length": str(upload.length_bytes), **_progress(upload)})


@blp.route("/<upload_id>", methods=["PATCH"])
@require("device", HAND_IN)
@blp.response(204)
def patch(upload_id: str) -> Response:
    """Take bytes in at the given offset."""
    _check_version()
    upload = read_upload(runtime(), upload_id, _device())
    if upload.concat is not None and upload.concat.startswith(FINAL):
        raise Problem("forbidden", detail="a file put together from parts takes no bytes")
    if request.mimetype != BODY_TYPE:
        raise Problem("unsupported-media-type", detail=f"must be {BODY_TYPE}", field="Content-Type")
    offset_bytes = parse_count(request.headers.get("Upload-Offset"), "Upload-Offset")
    return Response(status=204, headers=_progress(_receive(upload, offset_bytes)))


@blp.route("/<upload_id>", methods=["DELETE"])
@require("device", HAND_IN)
@blp.response(204)
def delete(upload_id: str) -> Response:
    """End an unfinished upload and free its space."""
    _check_version()
    terminate(runtime(), upload_id, _device())
    return Response(status=204)


@blp.route("/<upload_id>", methods=["POST"])
@require("device", HAND_IN)
@blp.response(204)
def override(upload_id: str) -> Response:
    """Do what `X-HTTP-Method-Override` says, for clients behind proxies that know no PATCH or DELETE."""
    methods = {"PATCH": patch, "DELETE": delete, "HEAD": head}
    view = methods.get(request.headers.get("X-HTTP-Method-Override", "").upper())
    if view is None:
        raise Problem("method-not-allowed", detail="PATCH, DELETE or HEAD", field="X-HTTP-Method-Override")
    result: Response = view(upload_id)
    return result


def _receive(upload: Upload, offset_bytes: int) -> Upload:
    """Stream the request's body into an upload."""
    rt = runtime()
    checksum = parse_checksum(request.headers.get("Upload-Checksum"))
    request.max_content_length = MAX_UPLOAD_BYTES + READ_BYTES
    declared_bytes = request.content_length
    if declared_bytes is not None and offset_bytes + declared_bytes > upload.length_bytes:
        raise Problem("too-large", detail="more bytes than the upload's length", limit=upload.length_bytes)
    return _settle(receive(rt, upload, offset_bytes=offset_bytes, body=_body(declared_bytes), checksum=checksum))


def _settle(upload: Upload) -> Upload:
    """Settle a finished upload at once if the disk lets us."""
    if upload.state == RECEIVED:
        try:
            settle_upload(runtime(), upload.id)
        except OSError as error:  # the bytes are safe and counted; the worker tries again
            log.warning("upload %s is not settled yet: %s", upload.id, error)
    return upload


def _body(declared_bytes: int | None) -> ReadBody:
    """Return a reader of the request's body that tells a cut from an end."""
    stream, read_bytes = request.stream, 0

    def read(size: int) -> bytes:
        nonlocal read_bytes
        if declared_bytes is not None:
            size = min(size, declared_bytes - read_bytes)
            if size == 0:
                return b""
        try:
            piece: bytes = stream.read(size)
        except HTTPException as error:
            if isinstance(error, RequestEntityTooLarge):
                raise
            raise BodyCut from error
        except Exception as error:
            raise BodyCut from error
        read_bytes += len(piece)
        if not piece and declared_bytes is not None:
            raise BodyCut
        return piece

    return read


def _progress(upload: Upload) -> dict[str, str]:
    headers = {"Upload-Offset": str(upload.offset_bytes)}
    if upload.concat is not None:
        parts = upload.concat.removeprefix(FINAL).split() if upload.concat.startswith(FINAL) else ()
        addresses = " ".join(url_for(".patch", upload_id=each) for each in parts)
        headers["Upload-Concat"] = f"{FINAL}{addresses}" if parts else upload.concat
    if upload.state in (OPEN, PART):
        headers["Upload-Expires"] = http_date(upload.expires_at)
    return headers


def _check_version() -> None:
    if request.headers.get("Tus-Resumable") != VERSION:
        raise Problem("unsupported-tus-version", detail=f"this server speaks tus {VERSION}", field="Tus-Resumable")


def _device() -> str:
    device = principal().device
    if device is None:
        raise Problem("forbidden", detail="only devices upload")
    return device
