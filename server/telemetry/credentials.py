"""How sensors prove who they are: tokens and client certificates, and the brokers' files that are made from them.

A token is shown once and kept as digests only: PBKDF2-SHA512 as mosquitto's password file has it, bcrypt as NATS takes
it. A client certificate is kept by its fingerprint; its common name must be the sensor's MQTT user, which both brokers
take as the user's name (mosquitto: `use_identity_as_username`; NATS: `verify_and_map`).
"""

import base64
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import bcrypt
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.telemetry import ANSWER, COMMAND, FORMATS, PARTITIONED, PRESENCE, RECEIPT, TOPIC_PREFIX, readings_topic
from server.errors import Problem
from server.runtime import Runtime
from server.telemetry.models import Sensor, SensorCredential
from server.telemetry.tokens import TOKEN, in_force, mosquitto_digest

CERTIFICATE = "certificate"
TOKEN_BYTES = 24
BCRYPT_ROUNDS = 4
"""The least bcrypt allows, for the same reason: NATS checks it at each connection."""
STATION_PASSWORD_CHARS = (6, 72)
"""Length of a password that is brought along: an HJ 212 station has one of six characters."""
CREDENTIALS_LIMIT = 8
"""Most credentials of one sensor in force at once."""
CERTIFICATE_LIMIT_CHARS = 20_000


@dataclass(frozen=True)
class Granted:
    """A new credential; `token` is shown this once and kept nowhere."""

    id: str
    kind: str
    token: str = ""


def add_token(session: Session, rt: Runtime, sensor: Sensor, password: str = "") -> Granted:
    """Give a sensor a fresh token, or the password that its station has been set to.

    Raises:
        Problem: `invalid-field` or `limit-exceeded`.
    """
    low, high = STATION_PASSWORD_CHARS
    if password and not (low <= len(password) <= high and password.isascii() and password.isprintable()):
        raise Problem("invalid-field", field="password", detail=f"must be {low} to {high} printable ASCII characters")
    token = password or base64.urlsafe_b64encode(rt.random_bytes(TOKEN_BYTES)).decode()
    salt = bcrypt.gensalt(BCRYPT_ROUNDS)
    return _add(
        session, rt, sensor, TOKEN, mosquitto_digest(token), bcrypt.hashpw(token.encode(), salt).decode(), token
    )


def add_certificate(session: Session, rt: Runtime, sensor: Sensor, pem: str) -> Granted:
    """Let a sensor use a client certificate; its issuer is the broker's business.

    Raises:
        Problem: `invalid-field` if it is none, or its common name is not the sensor's MQTT user.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem[:CERTIFICATE_LIMIT_CHARS].encode())
    except ValueError as error:
        raise Problem("invalid-field", field="certificate", detail="not an X.509 certificate in PEM form") from error
    names = [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [sensor.mqtt_user]:
        raise Problem("invalid-field", field="certificate", detail=f"its common name must be {sensor.mqtt_user}")
    return _add(session, rt, sensor, CERTIFICATE, certificate.fingerprint(SHA256()).hex(), "")


def _add(
    session: Session, rt: Runtime, sensor: Sensor, kind: str, digest: str, nats_digest: str, token: str = ""
) -> Granted:
    if len(in_force(session, sensor.id)) >= CREDENTIALS_LIMIT:
        raise Problem("limit-exceeded", field="credentials", limit=CREDENTIALS_LIMIT)
    row = SensorCredential(
        id=rt.new_id(), sensor_id=sensor.id, kind=kind, digest=digest, nats_digest=nats_digest, created_at=rt.now()
    )
    session.add(row)
    session.flush()
    return Granted(row.id, kind, token)


def revoke(session: Session, rt: Runtime, sensor_id: str, credential_id: str) -> None:
    """Take a credential back; the brokers' files made from now on leave it out. Safe to repeat.

    Raises:
        Problem: `not-found`.
    """
    row = session.get(SensorCredential, credential_id)
    if row is None or row.sensor_id != sensor_id:
        raise Problem("not-found", detail="no such credential")
    row.revoked_at = row.revoked_at or rt.now()


@dataclass(frozen=True)
class BrokerClient:
    """A sensor as a broker is to know it."""

    user: str
    sensor: str
    digests: tuple[str, ...]
    nats_digests: tuple[str, ...]

    @property
    def publishes(self) -> tuple[str, ...]:
        """Topics it may publish on: its own."""
        return tuple(readings_topic(self.sensor, name) for name in (*FORMATS, PRESENCE, ANSWER))

    @property
    def hears(self) -> tuple[str, ...]:
        """Topics it may subscribe to."""
        return tuple(readings_topic(self.sensor, name) for name in (RECEIPT, COMMAND))


def broker_clients(session: Session) -> list[BrokerClient]:
    """Return all sensors that have a credential in force, by user."""
    rows = session.execute(
        select(Sensor.mqtt_user, Sensor.id, SensorCredential)
        .join(SensorCredential, SensorCredential.sensor_id == Sensor.id)
        .where(SensorCredential.revoked_at.is_(None))
        .order_by(Sensor.mqtt_user, SensorCredential.created_at)
    )
    clients: dict[str, BrokerClient] = {}
    for user, sensor, row in rows:
        known = clients.get(user, BrokerClient(user, sensor, (), ()))
        tokens = row.kind == TOKEN
        digests = (*known.digests, *([row.digest] if tokens else []))
        clients[user] = BrokerClient(
            user, sensor, digests, (*known.nats_digests, *([row.nats_digest] if tokens else []))
        )
    return list(clients.values())


def mosquitto_passwords(clients: Iterable[BrokerClient]) -> str:
    """Return mosquitto's password file; it knows one password a user, and the newest stands."""
    return "".join(f"{client.user}:{client.digests[-1]}\n" for client in clients if client.digests)


def mosquitto_acl(clients: Iterable[BrokerClient]) -> str:
    """Return mosquitto's access file: nobody may do anything that is not written here."""
    lines: list[str] = []
    for client in clients:
        lines.append(f"user {client.user}")
        lines += [f"topic write {topic}" for topic in client.publishes]
        lines += [f"topic read {topic}" for topic in client.hears]
    return "\n".join(lines) + "\n"


def nats_users(clients: Iterable[BrokerClient]) -> str:
    """Return the `users` list of a NATS `authorization` block; `/` is `.` in its subjects."""
    entries: list[str] = []
    for client in clients:
        # a broker that divides topics checks the right to publish behind the division
        publishes = (
            *client.publishes,
            *(topic.replace(TOPIC_PREFIX, f"{PARTITIONED}/*", 1) for topic in client.publishes),
        )
        allowed = f"publish: {{allow: {_subjects(publishes)}}}, subscribe: {{allow: {_subjects(client.hears)}}}"
        rights = f'allowed_connection_types: ["MQTT"], permissions: {{{allowed}}}'
        secret = f"password: {json.dumps(client.nats_digests[-1])}, " if client.nats_digests else ""
        entries.append(f"  {{user: {json.dumps(client.user)}, {secret}{rights}}}")
    return "users: [\n" + "\n".join(entries) + "\n]\n"


def _subjects(topics: Iterable[str]) -> str:
    return json.dumps([topic.replace("/", ".") for topic in topics])


FILES: dict[str, Callable[[Iterable[BrokerClient]], str]] = {
    "mosquitto-passwords": mosquitto_passwords,
    "mosquitto-acl": mosquitto_acl,
    "nats-users": nats_users,
}
"""What can be written for a broker."""
