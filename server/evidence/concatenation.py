"""Putting finished partial uploads together to one file (tus concatenation).

The parts are copied into a file of their own, which is synced before any row speaks of it; then one transaction enters
the upload and ends its parts. A crash before that leaves a file that the sweep removes, and all parts.
"""

import os
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.errors import Problem
from server.evidence.models import PART, Upload
from server.evidence.parts import HeldPart, Parts
from server.evidence.store import sync_file, sync_folder
from server.evidence.tus import FINAL, PARTIAL, Metadata
from server.evidence.upload import MAX_UPLOAD_BYTES, check_space, finish, new_upload
from server.runtime import Runtime

COPY_BYTES = 8 * 1024 * 1024


def concatenate(rt: Runtime, device: str, part_ids: Sequence[str], metadata: Metadata) -> Upload:
    """Put finished parts together in the given order; returns the finished upload, or the one of an equal request.

    Raises:
        Problem: `not-found` for what is no part of this device; `conflict` for a part that is not finished;
            `too-large`, `storage-full`.
        OSError: the disk refused; the parts are as they were.
    """
    concat = FINAL + " ".join(part_ids)
    with rt.db.read() as session:
        twin = _twin(session, device, concat)
        if twin is not None:
            session.expunge(twin)
            return twin
        lengths = {part.id: part.length_bytes for part in _finished_parts(session, device, part_ids)}
    length_bytes = sum(lengths.values())
    if length_bytes > MAX_UPLOAD_BYTES:
        raise Problem("too-large", detail="the file is too large", field="Upload-Concat", limit=MAX_UPLOAD_BYTES)
    check_space(rt, length_bytes)
    upload = new_upload(rt, device, length_bytes, metadata)
    upload.concat = concat
    parts = Parts(rt.settings.evidence_dir)
    with parts.hold(upload.id) as held:
        try:
            _assemble(parts, held, [(part, lengths[part]) for part in part_ids])
            with rt.db.write() as session:
                standing = _twin(session, device, concat)
                if standing is None:
                    for part in _finished_parts(session, device, part_ids, lock=True):
                        session.delete(part)
                    upload.offset_bytes = length_bytes
                    finish(upload, rt.now())
                    session.add(upload)
        except BaseException:
            held.discard()
            raise
        if standing is not None:
            held.discard()
            return standing
    for part_id in part_ids:
        with parts.hold(part_id) as held:
            held.discard()
    return upload


def _twin(session: Session, device: str, concat: str) -> Upload | None:
    query = select(Upload).where(Upload.device == device, Upload.concat == concat)
    return session.scalars(query.limit(1)).first()


def _finished_parts(session: Session, device: str, part_ids: Sequence[str], *, lock: bool = False) -> list[Upload]:
    query = select(Upload).where(Upload.id.in_(part_ids), Upload.device == device, Upload.concat == PARTIAL)
    parts = list(session.scalars(query.order_by(Upload.id).with_for_update() if lock else query))
    if len(parts) < len(part_ids):
        raise Problem("not-found", detail="a part is not there", field="Upload-Concat")
    for part in parts:
        if part.state != PART:
            raise Problem("conflict", detail="a part is not finished", field="Upload-Concat", part=part.id)
    return parts


def _assemble(parts: Parts, held: HeldPart, wanted: Sequence[tuple[str, int]]) -> None:
    """Copy the parts into one file, durably.

    Raises:
        Problem: `not-found`: a part has ended meanwhile.
    """
    with held.path.open("xb", buffering=0) as out:
        for part_id, length_bytes in wanted:
            with parts.hold(part_id) as part:
                try:
                    _copy(part, out.fileno(), length_bytes)
                except FileNotFoundError as error:
                    if length_bytes:
                        raise Problem("not-found", detail="a part is not there", field="Upload-Concat") from error
    sync_file(held.path)
    sync_folder(held.path.parent)


def _copy(part: HeldPart, out: int, length_bytes: int) -> None:
    with part.path.open("rb", buffering=0) as source:
        copied = 0
        while copied < length_bytes:
            sent = os.sendfile(out, source.fileno(), copied, min(COPY_BYTES, length_bytes - copied))
            if sent == 0:
                raise FileNotFoundError("a part's file is shorter than its counted bytes")
            copied += sent
