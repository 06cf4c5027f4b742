"""The proof log for those who check it: heads, proofs, leaves and the public key."""

import base64
from collections.abc import Mapping
from typing import Any

from flask import Response, request
from marshmallow import Schema, fields, validate

from schemas.proof_log import (
    MAX_SIZE,
    ConsistencySchema,
    HeadListSchema,
    HeadSchema,
    InclusionSchema,
    KeySchema,
    LeafSchema,
    TimestampSchema,
)
from server.errors import Problem
from server.prooflog import service, witnesses
from server.prooflog.keys import load_key, rotations
from server.prooflog.models import Head
from server.prooflog.timestamps import first_stamp
from server.prooflog.witnesses import cosignatures
from server.web.auth import require
from server.web.blueprint import Blueprint
from server.web.paging import DEFAULT_PAGE, MAX_PAGE
from server.web.transaction import runtime, session, transactional
from sync.checkpoints import MAX_NOTE_BYTES

READERS = ("admin", "operator", "auditor", "central")
blp = Blueprint("prooflog", __name__, url_prefix="/api/v1/proof-log", description="存证日志 Proof log")


def _place(**options: Any) -> fields.Integer:  # noqa: ANN401 - marshmallow's options
    return fields.Integer(validate=validate.Range(0, MAX_SIZE), **options)


class HeadsQuery(Schema):
    """Heads of more than `after` leaves."""

    after = _place(load_default=0)
    limit = fields.Integer(load_default=DEFAULT_PAGE, validate=validate.Range(1, MAX_PAGE))


class InclusionQuery(Schema):
    """Which leaf, in the tree of which size."""

    index = _place(required=True)
    size = _place(required=True)


class CheckpointQuery(Schema):
    """Of how many leaves; the newest head if left out."""

    size = _place(load_default=None, allow_none=True)


class SizeQuery(Schema):
    """How many leaves."""

    size = _place(required=True)


class CosignedSchema(Schema):
    """What became of a cosigned checkpoint."""

    kept = fields.Integer(required=True, metadata={"description": "signatures that were new"})


class ConsistencyQuery(Schema):
    """Which two sizes."""

    first = _place(required=True)
    second = _place(required=True)


@blp.route("/head", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, HeadSchema)
def head() -> Mapping[str, Any]:
    """Return the newest signed head."""
    return service.head_members(session(), _newest())


@blp.route("/heads", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(HeadsQuery, location="query")
@blp.response(200, HeadListSchema)
def heads(query: dict[str, Any]) -> dict[str, Any]:
    """List signed heads, smallest first."""
    found = service.heads(session(), query["after"], query["limit"])
    return {"heads": [service.head_members(session(), row) for row in found]}


@blp.route("/checkpoint", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(CheckpointQuery, location="query")
@blp.response(200, content_type="text/plain", description="C2SP tlog-checkpoint, a signed note.")
def checkpoint(query: dict[str, Any]) -> Response:
    """Return the newest signed head as text that others can store and countersign, or that of a size.

    The lines of witnesses who have countersigned it follow the log's own.
    """
    head = _newest() if query["size"] is None else service.head_of(session(), query["size"])
    body, signature = service.checkpoint_of(session(), head)
    lines = [signature, *cosignatures(session(), head.size)]
    return Response(body.body() + b"\n" + b"".join(line.line() for line in lines), mimetype="text/plain")


@blp.route("/cosignatures", methods=["POST"])
@require("admin", "auditor", "central")
@transactional
@blp.response(201, CosignedSchema)
def cosign() -> dict[str, int]:
    """Keep a witness's signature on a head: the body is the checkpoint with the witness's line, as text.

    Only signatures of the witnesses in `keys/witnesses.txt` are kept.
    """
    note = request.get_data(cache=False)
    if len(note) > MAX_NOTE_BYTES:
        raise Problem("too-large", limit=MAX_NOTE_BYTES)
    return {"kept": witnesses.accept(session(), runtime(), note)}


@blp.route("/timestamps", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(SizeQuery, location="query")
@blp.response(200, TimestampSchema)
def timestamps(query: dict[str, Any]) -> dict[str, Any]:
    """Return the earliest time stamp of a head that covers the first `size` leaves."""
    found = first_stamp(session(), query["size"])
    if found is None:
        raise Problem("not-found", field="size", detail="no head of so many leaves has been stamped yet")
    message = service.checkpoint_of(session(), service.head_of(session(), found.size))[0].body()
    return {
        "size": found.size,
        "stamped_at": found.stamped_at,
        "authority": found.authority,
        "message": message.decode(),
        "answer": base64.b64encode(found.answer).decode(),
    }


@blp.route("/inclusion", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(InclusionQuery, location="query")
@blp.response(200, InclusionSchema)
def inclusion(query: dict[str, Any]) -> dict[str, Any]:
    """Prove that a leaf is in the tree of a size."""
    proof = service.inclusion(session(), query["index"], query["size"])
    return {**query, "leaf_hash": proof.leaf_hash.hex(), "path": [step.hex() for step in proof.path]}


@blp.route("/consistency", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(ConsistencyQuery, location="query")
@blp.response(200, ConsistencySchema)
def consistency(query: dict[str, Any]) -> dict[str, Any]:
    """Prove that the tree of one size is a prefix of the tree of another."""
    path = service.consistency(session(), query["first"], query["second"])
    return {**query, "path": [step.hex() for step in path]}


@blp.route("/leaves/<int:index>", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, LeafSchema)
def leaf(index: int) -> dict[str, Any]:
    """Return a leaf: commitments and pseudonymous ids."""
    row = service.leaf(session(), index)
    return {
        "index": row.index,
        "kind": row.kind,
        "ref": row.ref,
        "leaf_hash": row.hash.hex(),
        "leaf": row.data.decode(),
    }


@blp.route("/key", methods=["GET"])
@require(*READERS)
@blp.response(200, KeySchema)
def key() -> dict[str, Any]:
    """Return the public key that heads are signed with, and the notes by which it followed the ones before."""
    verifier = load_key(runtime().settings).verifier
    return {
        "name": verifier.name,
        "key_id": verifier.key_id().hex(),
        "public_key": base64.urlsafe_b64encode(verifier.public_key).rstrip(b"=").decode(),
        "verifier": verifier.encode(),
        "rotations": rotations(runtime().settings),
    }


def _newest() -> Head:
    newest = service.latest_head(session())
    if newest is None:
        raise Problem("not-found", detail="the proof log has no signed head yet")
    return newest
