"""Keys of handhelds: checking signatures, changing the key, and which key may vouch for which acts.

A key is changed by a statement that both keys sign. It names the last act of every journal that is still to be pushed:
up to there the old key goes on vouching, since those segments are signed already, and nowhere beyond. So which key was
valid when is told by places in the journals and needs no clock. A device that has lost its key is enrolled anew.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from server.audit.service import record_event
from server.devices.models import Device, FormerKey
from server.errors import Problem
from server.runtime import Runtime
from sync.journal import SegmentHead
from sync.statements import JournalHead, key_statement

KEY_BYTES = 32
MAX_KEY_CHANGES = 100
"""Key changes of one device; then it is enrolled anew."""
MAX_KEY_HEADS = 64
"""Journals with acts to be pushed, in one change of the key."""


def decode_key(field: str, text: str) -> bytes:
    """Return a raw Ed25519 public key from base64url without padding.

    Raises:
        Problem: `invalid-field`.
    """
    raw = decode_base64url(field, text)
    if len(raw) != KEY_BYTES:
        raise Problem("invalid-field", field=field, detail="an Ed25519 key has 32 bytes", limit=KEY_BYTES)
    return raw


def encode_key(raw: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def refuse_known_key(session: Session, raw: bytes) -> None:
    """Refuse a key that some device has or had: a signature must name one device.

    Raises:
        Problem: `conflict`.
    """
    current = session.execute(select(Device.id).where(Device.public_key == raw)).first()
    former = session.execute(select(FormerKey.device).where(FormerKey.public_key == raw)).first()
    if current or former:
        raise Problem("conflict", field="public_key", detail="this key is enrolled already")


def change_key(
    session: Session, rt: Runtime, device: Device, public_key: str, heads: Sequence[JournalHead], *, signature: str,
    proof: str,
) -> Device:  # fmt: skip
    """Put a new key in the place of a device's present one; repeating the request changes nothing more.

    Args:
        session: write session.
        rt: runtime.
        device: the device, locked.
        public_key: the new key, base64url.
        heads: the last act of each journal with acts that are not pushed yet.
        signature: over the statement, by the present key.
        proof: over the statement, by the new key.

    Raises:
        Problem: `invalid-field`, `bad-signature`, `conflict` for a key in use, `limit-exceeded`.
    """
    raw = decode_key("public_key", public_key)
    if raw == device.public_key:
        last = session.get(FormerKey, (device.id, device.key_number - 1))
        if last is None or last.proof != proof:
            raise Problem("conflict", field="public_key", detail="this key is enrolled already")
        return device  # the reply to the first request was lost
    statement = key_statement(device.id, encode_key(device.public_key), encode_key(raw), heads)
    verify_signature(device.public_key, statement, signature)
    verify_signature(raw, statement, proof, field="proof")
    refuse_known_key(session, raw)
    if device.key_number > MAX_KEY_CHANGES:
        raise Problem("limit-exceeded", detail="too many key changes: enrol the device anew", limit=MAX_KEY_CHANGES)
    session.add(
        FormerKey(
            device=device.id, number=device.key_number, public_key=device.public_key, replaced_at=rt.now(),
            heads=[{"journal": head.journal, "seq": head.seq, "hash": head.hash} for head in sorted(heads)],
            statement=statement.decode(), signature=signature, proof=proof,
        )
    )  # fmt: skip
    device.public_key, device.key_number = raw, device.key_number + 1
    record_event(session, rt, device.id, "device.key", "device", device.id, {"number": device.key_number})
    session.flush()
    return device


def former_keys(session: Session, device_id: str) -> list[FormerKey]:
    """Return the keys that a device has replaced, the latest first."""
    query = select(FormerKey).where(FormerKey.device == device_id).order_by(FormerKey.number.desc())
    return list(session.execute(query).scalars())


@dataclass(frozen=True)
class SigningKeys:
    """The keys of a device, apart from the database."""

    present: bytes
    former: tuple[tuple[bytes, list[dict[str, Any]]], ...]
    """Replaced keys, the latest first, each with the heads up to which it still vouches."""


def signing_keys(session: Session, device: Device) -> SigningKeys:
    """Return the keys by which segments of a device may be signed."""
    former = former_keys(session, device.id) if device.key_number > 1 else []
    return SigningKeys(device.public_key, tuple((key.public_key, key.heads) for key in former))


def signer_of(session: Session, device: Device, statement: bytes, signature: str) -> bytes | None:
    """Return the one of a device's keys that has signed a statement which was taken in; None: none of them."""
    known = [device.public_key, *(former.public_key for former in former_keys(session, device.id))]
    return next((key for key in known if _verifies(key, statement, signature)), None)


def vouches(named: Mapping[str, Any], journal: str, last: int, act_hash: str) -> bool:
    """Tell whether a segment of a journal up to act `last` lies before the head that a change of key has named."""
    if named["journal"] != journal:
        return False
    return bool(last < named["seq"] or (last == named["seq"] and act_hash == named["hash"]))


def verify_segment(keys: SigningKeys, head: SegmentHead) -> None:
    """Check the signature of a segment by a device's present key, or by a former one that may vouch for it.

    Raises:
        Problem: `bad-signature`.
    """
    statement = head.statement()
    try:
        verify_signature(keys.present, statement, head.signature)
    except Problem:
        for key, heads in keys.former:
            before = any(vouches(named, head.journal, head.last, head.head) for named in heads)
            if before and _verifies(key, statement, head.signature):
                return
        raise


def _verifies(public_key: bytes, statement: bytes, signature: str) -> bool:
    try:
        verify_signature(public_key, statement, signature)
    except Problem:
        return False
    return True


def verify_signature(public_key: bytes, statement: bytes, signature: str, *, field: str = "signature") -> None:
    """Check an Ed25519 signature in base64url.

    Raises:
        Problem: `bad-signature`.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(decode_base64url(field, signature), statement)
    except (InvalidSignature, ValueError) as error:
        raise Problem("bad-signature", field=field, detail="the signature does not verify") from error


def decode_base64url(field: str, text: str) -> bytes:
    """Decode base64url without padding.

    Raises:
        Problem: `invalid-field`.
    """
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem("invalid-field", field=field, detail="not base64url without padding") from error


def as_dict(key: FormerKey) -> dict[str, Any]:
    """Return a former key as people see it."""
    return {
        "number": key.number, "public_key": encode_key(key.public_key), "replaced_at": key.replaced_at,
        "heads": key.heads, "statement": key.statement, "signature": key.signature, "proof": key.proof,
    }  # fmt: skip
