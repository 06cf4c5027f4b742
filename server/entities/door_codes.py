"""The code that a firm shows at its door (入企码): signed by the platform, checked offline by handhelds."""

import base64

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy.orm import Session

from schemas.visit_rules import DoorCode, Verify, door_statement
from server.audit.service import record_event
from server.config import load_secret
from server.entities.models import Entity, EntityDoor
from server.errors import Problem
from server.runtime import Runtime

KEY_FILE = "door"
"""Name of the secret that is the signing key."""


def _key(rt: Runtime) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(load_secret(rt.settings, KEY_FILE))


def public_door_key(rt: Runtime) -> str:
    """Return the public key by which handhelds check codes, in base64url."""
    raw = _key(rt).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def door_verifier(rt: Runtime) -> Verify:
    """Return what tells whether the platform signed a statement."""
    public = _key(rt).public_key()

    def verify(statement: bytes, signature: str) -> bool:
        try:
            public.verify(base64.urlsafe_b64decode(f"{signature}=="), statement)
        except (InvalidSignature, ValueError):
            return False
        return True

    return verify


def door_code(session: Session, rt: Runtime, entity: Entity) -> DoorCode:
    """Return the code that an entity shows now.

    Raises:
        Problem: `not-found` when it has none yet.
    """
    serial = current_serial(session, entity.id)
    if serial is None:
        raise Problem("not-found", detail="尚未发码 / no code was issued yet")
    signature = base64.urlsafe_b64encode(_key(rt).sign(door_statement(entity.id, serial))).decode().rstrip("=")
    return DoorCode(entity.id, serial, signature)


def issue_door_code(session: Session, rt: Runtime, entity: Entity, *, author: str) -> DoorCode:
    """Give an entity a new code; the former one stops counting.

    Raises:
        Problem: `conflict` for an entity that is closed or merged.
    """
    if entity.status != "active":
        raise Problem("conflict", field="status", detail=f"the entity is {entity.status}")
    row = session.get(EntityDoor, entity.id, with_for_update=True)
    if row is None:
        row = EntityDoor(entity=entity.id, serial=0, author=author, issued_at=rt.now())
        session.add(row)
    row.serial, row.author, row.issued_at = row.serial + 1, author, rt.now()
    session.flush()
    record_event(
        session, rt, author, "entity.door-code", "entity", entity.id, {"serial": row.serial}, region=entity.region
    )
    return door_code(session, rt, entity)


def current_serial(session: Session, entity: str) -> int | None:
    """Return the serial number of the code that counts, or None if there is none."""
    row = session.get(EntityDoor, entity)
    return row.serial if row else None
