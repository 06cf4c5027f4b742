"""Files that arrive whole, in the request that creates their upload: one request, one transaction.

Nobody can resume an upload whose creation was never answered, so there is no row before the bytes are durable and
placed. A cut leaves nothing, and the client creates anew.
"""

import logging
from contextlib import suppress

from sqlalchemy.exc import DBAPIError

from server.errors import Problem
from server.evidence.models import RECEIVED, STORED, Upload
from server.evidence.parts import HeldPart, Parts
from server.evidence.placing import Declared, Placed, place, read_declaration
from server.evidence.settlement import record_placed
from server.evidence.store import sync_file, sync_folder
from server.evidence.tus import Checksum, Metadata
from server.evidence.upload import (
    BLOCK_BYTES,
    CHECKPOINT_BYTES,
    BodyCut,
    ReadBody,
    check_room,
    find_twin,
    finish,
    new_upload,
)
from server.runtime import Runtime

log = logging.getLogger(__name__)

MAX_WHOLE_BYTES = CHECKPOINT_BYTES
"""Largest file taken this way; a crash makes a device send no more than this again."""


def receive_whole(
    rt: Runtime, device: str, length_bytes: int, metadata: Metadata, body: ReadBody, checksum: Checksum | None
) -> Upload:
    """Take in a whole file and settle it; or return the upload that a lost reply left behind.

    Args:
        rt: the runtime.
        device: whose file it is.
        length_bytes: its length, at most :data:`MAX_WHOLE_BYTES`.
        metadata: what the client says of it.
        body: reads exactly the file.
        checksum: what the client promises for it.

    Returns:
        The upload; one in state `open` is an older one that waits for its bytes.

    Raises:
        Problem: `too-large`, `limit-exceeded`, `storage-full`, `checksum-mismatch`, `bad-request` (cut).
        OSError: the disk refused; nothing is left.
        sqlalchemy.exc.DBAPIError: the database did; nothing is left that it does not know of.
    """
    with rt.db.read() as session:
        twin = find_twin(session, device, length_bytes, metadata)
        if twin is not None:
            session.expunge(twin)
            return twin
        check_room(session, rt, device, length_bytes)
        declared = read_declaration(session, metadata.evidence, device)
    upload = new_upload(rt, device, length_bytes, metadata)
    with Parts(rt.settings.evidence_dir).hold(upload.id) as held:
        try:
            _write(held, body, length_bytes, checksum)
            placed = _place(rt, upload, held, declared)
        except BaseException:
            held.discard()
            raise
        try:
            upload.state = record_placed(rt, placed, held)
        except DBAPIError:
            _discard_unknown(rt, upload.id, held)
            raise
    return upload


def _write(held: HeldPart, body: ReadBody, length_bytes: int, checksum: Checksum | None) -> None:
    hasher = checksum.hasher() if checksum else None
    written_bytes = 0
    try:
        with held.path.open("xb", buffering=0) as out:
            while piece := body(BLOCK_BYTES):
                written_bytes += len(piece)
                if written_bytes > length_bytes:
                    raise Problem("too-large", detail="more bytes than the upload's length", limit=length_bytes)
                out.write(piece)
                if hasher is not None:
                    hasher.update(piece)
    except BodyCut as error:
        raise Problem("bad-request", detail="the connection ended early", offset=0) from error
    if checksum is not None and hasher is not None and hasher.digest() != checksum.digest:
        raise Problem("checksum-mismatch", detail="the body does not have the promised checksum")


def _discard_unknown(rt: Runtime, upload_id: str, held: HeldPart) -> None:
    """After a failed commit: drop the file unless the database has its row, or cannot say; then the sweep does."""
    with suppress(DBAPIError), rt.db.read() as session:
        if session.get(Upload, upload_id) is None:
            held.discard()


def _place(rt: Runtime, upload: Upload, held: HeldPart, declared: Declared | None) -> Placed:
    """Place the file; if the store refuses, the durable bytes are left to the worker."""
    finish(upload, rt.now())
    upload.offset_bytes = upload.length_bytes
    try:
        placed = place(rt, upload, held, declared, fresh=True)
    except OSError as error:
        log.warning("upload %s is not settled yet: %s", upload.id, error)
        placed = Placed(upload, None, RECEIVED, fresh=True)
    if placed.state != STORED:  # a store syncs what it takes
        sync_file(held.path)
        sync_folder(held.path.parent)
    return placed
