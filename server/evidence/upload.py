"""Resumable uploads: creating them, taking bytes in, ending them. The protocol's rules without its HTTP.

Bytes stream to disk in blocks. An upload's offset counts only bytes that were synced, and is written after the sync;
what a crash leaves beyond it is cut off by the next request. No transaction is open while bytes arrive.
"""

import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

from sqlalchemy import Table, bindparam, func, select
from sqlalchemy.orm import Session

from schemas.kinds.field_work import MAX_EVIDENCE_BYTES
from server.db.prepared import Prepared
from server.errors import Problem
from server.evidence.models import FINISHED, OPEN, PART, RECEIVED, UNSETTLED, Upload
from server.evidence.parts import HeldPart, Parts, Superseded
from server.evidence.placing import read_declaration
from server.evidence.tus import PARTIAL, Checksum, Metadata
from server.runtime import Runtime

MAX_UPLOAD_BYTES = MAX_EVIDENCE_BYTES
MAX_OPEN_UPLOADS = 64
"""Unfinished uploads one device may have."""
MAX_PENDING_BYTES = 8 * 1024**3
"""Bytes of one device's uploads that are unfinished or not declared yet."""
READ_BYTES = 16 * 1024
"""Bytes asked of the HTTP server at a time; a connection that is reset loses at most one such piece."""
BLOCK_BYTES = 256 * 1024
"""Bytes held in memory by one request before they are written."""
CHECKPOINT_BYTES = 8 * 1024 * 1024
"""Bytes after which a running request syncs and counts: the most that a crash makes a device send again."""
FREE_RESERVE_BYTES = 64 * 1024 * 1024
"""Space that uploads leave free, so that the database can still commit."""
OPEN_LIFETIME = timedelta(days=14)
"""How long an upload waits for more bytes; handhelds are away for days."""
WAITING_LIFETIME = timedelta(days=90)
"""How long finished bytes wait for a declaration."""


_UPLOADS = cast(Table, Upload.__table__)
_TWINS = Prepared(
    select(*(_UPLOADS.c[name] for name in ("id", "state", "offset_bytes", "announced_sha256"))).where(
        _UPLOADS.c.evidence == bindparam("evidence"),
        _UPLOADS.c.device == bindparam("device"),
        _UPLOADS.c.length_bytes == bindparam("length_bytes"),
        _UPLOADS.c.concat.is_(None),
    )
)
_HELD = Prepared(
    select(_UPLOADS.c.state, func.count(), func.sum(_UPLOADS.c.length_bytes))
    .where(_UPLOADS.c.device == bindparam("device"), _UPLOADS.c.state.in_(bindparam("states", expanding=True)))
    .group_by(_UPLOADS.c.state),
    "states",
)


class BodyCut(Exception):
    """The connection ended before the request's body did."""


ReadBody = Callable[[int], bytes]
"""Reads at most n bytes of the body; empty at its end. Raises :class:`BodyCut`."""


def create_upload(
    session: Session, rt: Runtime, device: str, length_bytes: int, metadata: Metadata, *, partial: bool = False
) -> Upload:
    """Open an upload, or return the one that a lost reply left behind: untouched, or already finished.

    Args:
        session: the write session.
        rt: the runtime.
        device: whose upload it is.
        length_bytes: of the whole upload.
        metadata: what the client says of it.
        partial: whether it is a part of a file; each creation of a part makes a new one.

    Raises:
        Problem: `too-large`, `limit-exceeded` (uploads or bytes of this device), `storage-full`, `erased`.
    """
    twin = None if partial else find_twin(session, device, length_bytes, metadata)
    if twin is not None:
        return twin
    read_declaration(session, metadata.evidence, device)
    check_room(session, rt, device, length_bytes)
    upload = new_upload(rt, device, length_bytes, metadata)
    if partial:
        upload.concat = PARTIAL
        if length_bytes == 0:
            upload.state = PART
    session.add(upload)
    session.flush()
    return upload


def new_upload(rt: Runtime, device: str, length_bytes: int, metadata: Metadata) -> Upload:
    """Return an upload that has no row yet."""
    now = rt.now()
    return Upload(
        id=rt.new_id(),
        device=device,
        evidence=metadata.evidence,
        state=OPEN,
        length_bytes=length_bytes,
        offset_bytes=0,
        file_name=metadata.file_name,
        announced_sha256=metadata.sha256,
        concat=None,
        sha256=None,
        sm3=None,
        created_at=now,
        expires_at=now + OPEN_LIFETIME,
        received_at=None,
        settled_at=None,
    )


def find_upload(session: Session, upload_id: str, device: str) -> Upload:
    """Return an upload of this device.

    Raises:
        Problem: `not-found`, also for another device's upload.
    """
    upload = session.get(Upload, upload_id)
    if upload is None or upload.device != device:
        raise Problem("not-found", detail="no such upload")
    return upload


def read_upload(rt: Runtime, upload_id: str, device: str) -> Upload:
    """Return a detached copy of an upload of this device, in a transaction of its own.

    Raises:
        Problem: `not-found`, also for another device's upload.
    """
    with rt.db.read() as session:
        upload = find_upload(session, upload_id, device)
        session.expunge(upload)
    return upload


def receive(
    rt: Runtime, known: Upload, *, offset_bytes: int, body: ReadBody, checksum: Checksum | None = None
) -> Upload:
    """Take bytes in from `offset_bytes` on; what came before a cut counts, unless a checksum was promised for it.

    Args:
        rt: the runtime.
        known: the upload as the database knows it; nothing else gets a file.
        offset_bytes: where the client wants to go on.
        body: reads the bytes.
        checksum: what the client promises for them.

    Returns:
        The upload with its new offset; its state is `received` when it is complete.

    Raises:
        Problem: `not-found`, `offset-mismatch`, `conflict` (finished, or taken over), `too-large`,
            `checksum-mismatch`, `bad-request` (cut).
        OSError: the disk refused; bytes that were counted before stay.
    """
    parts = Parts(rt.settings.evidence_dir)
    writer = rt.random_bytes(16).hex()
    with parts.hold(known.id) as held:
        upload = read_upload(rt, known.id, known.device)
        if upload.offset_bytes != offset_bytes:
            raise _offset_mismatch(upload)
        if upload.state in (PART, *FINISHED) and offset_bytes == upload.length_bytes:
            return upload
        if upload.state != OPEN:
            raise Problem("conflict", detail="the upload has ended")
        held.claim(writer, offset_bytes)
    sink = _Sink(rt, parts, upload, writer, checksum)
    try:
        return sink.drain(body)
    except Superseded as error:
        raise Problem("conflict", detail="a newer request has taken this upload over") from error
    except OSError:
        sink.give_back()
        raise


def terminate(rt: Runtime, upload_id: str, device: str) -> None:
    """End an upload that is not evidence yet and free its space.

    Raises:
        Problem: `not-found`; `conflict` for a finished upload: what was handed in is not taken back.
    """
    read_upload(rt, upload_id, device)
    with Parts(rt.settings.evidence_dir).hold(upload_id) as held:
        with rt.db.write() as session:
            upload = find_upload(session, upload_id, device)
            if upload.state not in (OPEN, PART):
                raise Problem("conflict", detail="the upload is finished")
            session.delete(upload)
        held.discard()


class _Sink:
    """The writing end of one request."""

    def __init__(self, rt: Runtime, parts: Parts, upload: Upload, writer: str, checksum: Checksum | None) -> None:
        self._rt, self._parts, self._upload, self._writer = rt, parts, upload, writer
        self._checksum = checksum
        self._hasher = checksum.hasher() if checksum else None
        self._written = self._counted = upload.offset_bytes

    def drain(self, body: ReadBody) -> Upload:
        """Take the whole body and count it."""
        buffer = bytearray()
        cut = False
        try:
            while piece := body(READ_BYTES):
                buffer += piece
                self._check_length(len(buffer))
                if self._hasher is not None:
                    self._hasher.update(piece)
                if len(buffer) >= BLOCK_BYTES:
                    self._flush(buffer)
        except BodyCut:
            cut = True
        self._flush(buffer)
        if self._checksum is not None and (cut or self._digest() != self._checksum.digest):
            raise Problem("checksum-mismatch", detail="the body does not have the promised checksum")
        self._count()
        if cut:
            raise Problem("bad-request", detail="the connection ended early", offset=self._counted)
        return self._upload

    def give_back(self) -> None:
        """After a disk error: cut the file to what counts, as far as the disk still lets us."""
        try:
            with self._parts.hold(self._upload.id) as held:
                held.require(self._writer)
                held.claim(self._writer, self._counted)
        except (OSError, Superseded):
            return  # the next request cuts it

    def _digest(self) -> bytes:
        return self._hasher.digest() if self._hasher is not None else b""

    def _check_length(self, buffered: int) -> None:
        if self._written + buffered > self._upload.length_bytes:
            raise Problem("too-large", detail="more bytes than the upload's length", limit=self._upload.length_bytes)

    def _flush(self, buffer: bytearray) -> None:
        if buffer:
            with self._parts.hold(self._upload.id) as held:
                held.write(self._writer, self._written, buffer)
            self._written += len(buffer)
            buffer.clear()
        if self._checksum is None and self._written - self._counted >= CHECKPOINT_BYTES:
            self._count()

    def _count(self) -> None:
        """Sync, then write the offset: never the other way round."""
        with self._parts.hold(self._upload.id) as held:
            held.require(self._writer)
            held.sync()
            self._upload = _record_offset(self._rt, self._upload.id, self._written, held)
        self._counted = self._written


def _record_offset(rt: Runtime, upload_id: str, offset_bytes: int, held: HeldPart) -> Upload:
    now = rt.now()
    with rt.db.write() as session:
        upload = session.get(Upload, upload_id)
        if upload is None or upload.state != OPEN:
            raise Superseded
        upload.offset_bytes = offset_bytes
        upload.expires_at = now + OPEN_LIFETIME
        if offset_bytes == upload.length_bytes:
            finish(upload, now)
    if upload.state != OPEN:
        held.revoke()
    return upload


def _offset_mismatch(upload: Upload) -> Problem:
    offset = upload.offset_bytes
    return Problem("offset-mismatch", detail="continue at the counted offset", field="Upload-Offset", offset=offset)


def finish(upload: Upload, now: datetime) -> None:
    """Note that all bytes of an upload are durable."""
    upload.received_at = now
    if upload.concat == PARTIAL:
        upload.state = PART
    else:
        upload.state, upload.expires_at = RECEIVED, now + WAITING_LIFETIME


def find_twin(session: Session, device: str, length_bytes: int, metadata: Metadata) -> Upload | None:
    """Return the upload that an earlier, equal creation made, if it is untouched or finished."""
    wanted = {"evidence": metadata.evidence, "device": device, "length_bytes": length_bytes}
    for upload_id, state, offset_bytes, announced in _TWINS.rows(session, wanted):
        untouched = state == OPEN and offset_bytes == 0
        if (untouched or state in FINISHED) and announced == metadata.sha256:
            return session.get(Upload, upload_id)
    return None


def check_room(session: Session, rt: Runtime, device: str, length_bytes: int) -> None:
    """Check that a device may begin an upload of this length now.

    Raises:
        Problem: `too-large`, `limit-exceeded` (uploads or bytes of this device), `storage-full`.
    """
    if length_bytes > MAX_UPLOAD_BYTES:
        raise Problem("too-large", detail="the file is too large", field="Upload-Length", limit=MAX_UPLOAD_BYTES)
    held = _HELD.rows(session, {"device": device, "states": [OPEN, PART, *UNSETTLED]})
    uploads = sum(count for state, count, _ in held if state in (OPEN, PART))
    pending_bytes = int(sum(size_bytes for _, _, size_bytes in held))
    if uploads >= MAX_OPEN_UPLOADS:
        raise Problem("limit-exceeded", detail="too many unfinished uploads", limit=MAX_OPEN_UPLOADS)
    if pending_bytes + length_bytes > MAX_PENDING_BYTES:
        raise Problem("limit-exceeded", detail="too many bytes wait for their records", limit=MAX_PENDING_BYTES)
    check_space(rt, length_bytes)


def check_space(rt: Runtime, size_bytes: int) -> None:
    """Check that the disk has room for a file.

    Raises:
        Problem: `storage-full`.
    """
    if _free_bytes(rt.settings.evidence_dir) < size_bytes + FREE_RESERVE_BYTES:
        raise Problem("storage-full", detail="the evidence store has no room for this file")


def _free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
