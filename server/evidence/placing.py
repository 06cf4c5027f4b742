"""Placing finished bytes: hash, compare with the declaration, and move the file to where it belongs.

The first half of settling. It touches no row; :mod:`server.evidence.settlement` writes the rows afterwards. Every step
can be done again, so a crash in between costs nothing.
"""

import logging
from dataclasses import dataclass
from typing import Any, Protocol, cast

from sqlalchemy import Table, bindparam, select
from sqlalchemy.orm import Session

from server.db.prepared import Prepared
from server.errors import Problem
from server.evidence.hashing import Digest, digest_file
from server.evidence.models import ERASED, LOST, QUARANTINED, STORED, WAITING, Evidence, Upload
from server.evidence.parts import HeldPart
from server.evidence.stores import open_store
from server.runtime import Runtime

log = logging.getLogger(__name__)


_EVIDENCE = cast(Table, Evidence.__table__)
_DECLARATION = Prepared(
    select(*(_EVIDENCE.c[name] for name in ("device", "sha256", "sm3", "size_bytes", "status"))).where(
        _EVIDENCE.c.id == bindparam("id")
    )
)


@dataclass(frozen=True)
class Declared:
    """What a record declares of its bytes."""

    device: str
    sha256: str | None
    sm3: str | None
    size_bytes: int | None

    def fits(self, digest: Digest) -> bool:
        """Compare with what was received; an undeclared SM3 or length is not held against it."""
        return (
            digest.sha256 == self.sha256
            and self.sm3 in (None, digest.sm3)
            and self.size_bytes in (None, digest.size_bytes)
        )


@dataclass(frozen=True)
class Placed:
    """A finished upload whose bytes lie where they belong, and the state that its row is to have."""

    upload: Upload
    digest: Digest | None
    """None for bytes that the disk has lost."""
    state: str
    fresh: bool = False
    """Whether the upload has no row yet."""


class Declaring(Protocol):
    """What of a record's row is its declaration."""

    device: Any
    sha256: Any
    sm3: Any
    size_bytes: Any


def declared_of(evidence: Declaring) -> Declared:
    """Return what a record declares."""
    return Declared(evidence.device, evidence.sha256, evidence.sm3, evidence.size_bytes)


def read_declaration(session: Session, evidence_id: str, device: str) -> Declared | None:
    """Return the declaration an upload belongs to: same record, same device, with a hash; None before it comes.

    Raises:
        Problem: `erased`.
    """
    found = _DECLARATION.row(session, {"id": evidence_id})
    if found is None:
        return None
    *declared, status = found
    if status == ERASED:
        raise Problem("erased", detail="this evidence was lawfully erased: destroy your copy")
    declaration = Declared(*declared)
    return declaration if declaration.device == device and declaration.sha256 is not None else None


def place(rt: Runtime, upload: Upload, held: HeldPart, declared: Declared | None, *, fresh: bool = False) -> Placed:
    """Hash a finished upload and put its bytes into the store if they are what was declared.

    Bytes that are not stay where they are for now: the row must have their hash before they move to quarantine.

    Args:
        rt: the runtime.
        upload: the finished upload.
        held: its file, locked.
        declared: what its record declares; None before that has come.
        fresh: whether the upload has no row yet.

    Raises:
        OSError: the disk or the store refused; everything stays as it was and can be tried again.
    """
    digest = known_digest(upload) or _hash(upload, held)
    if digest is None:
        return Placed(upload, None, LOST, fresh)
    if declared is None:
        return Placed(upload, digest, WAITING, fresh)
    if not declared.fits(digest):
        return Placed(upload, digest, QUARANTINED, fresh)
    store = open_store(rt.settings)
    if held.path.exists():
        store.put(held.path, digest.sha256)
    elif store.size_bytes(digest.sha256) is None:
        return Placed(upload, None, LOST, fresh)
    return Placed(upload, digest, STORED, fresh)


def known_digest(upload: Upload) -> Digest | None:
    """Return the digest that an upload's row has already."""
    if upload.sha256 is None or upload.sm3 is None:
        return None
    return Digest(upload.sha256, upload.sm3, upload.length_bytes)


def _hash(upload: Upload, held: HeldPart) -> Digest | None:
    """Hash the finished file; None if the disk has lost it, or part of it."""
    try:
        digest = digest_file(held.path)
    except FileNotFoundError:
        digest = None
    if digest is None or digest.size_bytes != upload.length_bytes:
        log.error("the file of finished upload %s is damaged or gone; the device has to send it again", upload.id)
        return None
    return digest
