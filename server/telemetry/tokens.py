"""Digests of sensors' tokens, and checking a token against them; all that an ingester needs to know of credentials."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.telemetry.models import SensorCredential

TOKEN = "token"  # noqa: S105 - a kind of credential
ITERATIONS = 101
"""Of PBKDF2, as mosquitto writes it itself; a token of 24 random bytes needs no stretching."""
SALT_BYTES, DIGEST_BYTES = 12, 64


def in_force(session: Session, sensor_id: str) -> Sequence[SensorCredential]:
    """Return a sensor's credentials that are not revoked."""
    mine = (SensorCredential.sensor_id == sensor_id, SensorCredential.revoked_at.is_(None))
    return session.scalars(select(SensorCredential).where(*mine).order_by(SensorCredential.id)).all()


def authorise(session: Session, sensor_id: str, password: str) -> bool:
    """Tell whether a password is one of the sensor's tokens in force."""
    rows = in_force(session, sensor_id)
    return any(_matches(row.digest, password) for row in rows if row.kind == TOKEN)


def mosquitto_digest(token: str) -> str:
    """Return a token as mosquitto's password file has it (format 7: PBKDF2-SHA512)."""
    salt = secrets.token_bytes(SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", token.encode(), salt, ITERATIONS, DIGEST_BYTES)
    return f"$7${ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def _matches(stored: str, token: str) -> bool:
    _, _, iterations, salt, digest = stored.split("$")
    found = hashlib.pbkdf2_hmac("sha512", token.encode(), base64.b64decode(salt), int(iterations), DIGEST_BYTES)
    return hmac.compare_digest(found, base64.b64decode(digest))
