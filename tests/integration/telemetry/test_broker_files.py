"""The files written for a broker, on a real mosquitto over TLS: each sensor speaks for itself alone, or not at all."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from threading import Event

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from device_sim.bench.brokers import mosquitto_program
from device_sim.broker import HOST, INGEST_USER
from device_sim.demo.programs import free_port
from iot_ingest.batcher import BatchRule, Inbox
from iot_ingest.client import BrokerAddress, Subscriber
from schemas.telemetry import SUBSCRIPTIONS, readings_topic
from server.clock import SystemClock
from server.runtime import Runtime
from server.telemetry.credentials import (
    add_certificate,
    add_token,
    broker_clients,
    mosquitto_acl,
    mosquitto_passwords,
    revoke,
)
from server.telemetry.models import Sensor
from server.telemetry.tokens import mosquitto_digest
from tests.integration.telemetry.programs import register_in

WAIT_S = 20.0
INGEST_ACL = "".join(f"topic read {topic}\n" for topic in SUBSCRIPTIONS)


class Authority:
    """A certificate authority of its own, and what it has issued."""

    def __init__(self, folder: Path) -> None:
        """Make the authority and its certificate."""
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self.file = folder / "ca.pem"
        self.file.write_bytes(self._sign("sample authority", self._key).public_bytes(Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Issue a certificate by that common name, good for the loopback; return its file and its key's."""
        key = ec.generate_private_key(ec.SECP256R1())
        paths = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        paths[0].write_bytes(self._sign(name, key).public_bytes(Encoding.PEM))
        paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return paths

    def _sign(self, name: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        now, root = datetime.now(UTC), key is self._key
        named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sample authority")])
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))])
        builder = x509.CertificateBuilder(issuer, named, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True)
        return builder.add_extension(names, critical=False).sign(self._key, SHA256())


@dataclass
class Place:
    """A running mosquitto: one port for tokens, one for certificates; both speak TLS."""

    authority: Authority
    tokens: int
    certificates: int
    credentials: dict[str, str]
    subscriber: Subscriber
    inbox: Inbox

    def client(self, user: str, *, token: str = "", certificate: tuple[Path, Path] | None = None) -> "Speaker":
        """A client that has connected, or was refused."""
        return Speaker(self, user, token, certificate)

    def arrived(self) -> list[tuple[str, bytes]]:
        """What has reached the ingester."""
        return [(item.topic, item.payload) for item in self.inbox.take(WAIT_S)]


class Speaker:
    """A sensor's client."""

    def __init__(self, place: Place, user: str, token: str, certificate: tuple[Path, Path] | None) -> None:
        """Connect over TLS."""
        self._answered, self.refused = Event(), False
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=f"{user}-{token[:4]}-{certificate is None}")
        chain, key = map(str, certificate) if certificate else (None, None)
        self._client.tls_set(str(place.authority.file), chain, key)
        if token:
            self._client.username_pw_set(user, token)
        self._client.on_connect = lambda _c, _d, _f, reason, _p: self._connected(reason.is_failure)
        self._client.connect(HOST, place.certificates if certificate else place.tokens)
        self._client.loop_start()
        assert self._answered.wait(WAIT_S)

    def _connected(self, refused: bool) -> None:
        self.refused = refused
        self._answered.set()

    def say(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1 and wait for the broker's PUBACK."""
        self._client.publish(topic, payload, qos=1).wait_for_publish(WAIT_S)

    def close(self) -> None:
        """Part."""
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def place(rt: Runtime, tmp_path: Path) -> Iterator[Place]:
    """Mosquitto with the files that the platform writes, and an ingester's subscriber."""
    program = mosquitto_program()
    if program is None:
        pytest.skip("mosquitto is missing: apt-get install mosquitto")
    authority = Authority(tmp_path)
    certificate, key = authority.issue("broker")
    credentials: dict[str, str] = {}
    with rt.db.write() as session:
        register_in(session, rt, "s1", "s2", "s3")
        for sensor in session.query(Sensor).order_by(Sensor.id):
            granted = add_token(session, rt, sensor)
            credentials[sensor.id] = granted.token
            if sensor.id == "s3":
                revoke(session, rt, sensor.id, granted.id)
        pem = authority.issue("s2")[0].read_text()
        add_certificate(session, rt, session.get_one(Sensor, "s2"), pem)
        known = broker_clients(session)
        passwords, acl = mosquitto_passwords(known), mosquitto_acl(known)
    (tmp_path / "passwords").write_text(f"{passwords}{INGEST_USER}:{mosquitto_digest('ingest-password')}\n")
    (tmp_path / "acl").write_text(f"{acl}user {INGEST_USER}\n{INGEST_ACL}")
    for name in ("passwords", "acl"):
        (tmp_path / name).chmod(0o600)
    tls = f"cafile {authority.file}\ncertfile {certificate}\nkeyfile {key}\n"
    ports = free_port(), free_port()
    (tmp_path / "mosquitto.conf").write_text(
        f"user root\nper_listener_settings false\nallow_anonymous false\npassword_file {tmp_path}/passwords\n"
        f"acl_file {tmp_path}/acl\n"
        f"listener {ports[0]} {HOST}\n{tls}"
        f"listener {ports[1]} {HOST}\n{tls}require_certificate true\nuse_identity_as_username true\n"
    )
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([program, "-c", str(tmp_path / "mosquitto.conf")], stdout=log, stderr=log)
    inbox = Inbox(BatchRule())
    address = BrokerAddress(HOST, ports[0], INGEST_USER, "ingest-password", "test-tls", ca_file=str(authority.file))
    subscriber = Subscriber(address, inbox, SystemClock())
    subscriber.start()
    try:
        if not subscriber.subscribed.wait(WAIT_S):
            pytest.fail(f"not subscribed: {subscriber.fault} {(tmp_path / 'log').read_text()[-800:]}")
        yield Place(authority, *ports, credentials, subscriber, inbox)
    finally:
        subscriber.close()
        process.terminate()
        process.wait(WAIT_S)


def test_a_sensor_speaks_for_itself_alone(place: Place) -> None:
    """By token or by certificate; what it says in another one's name goes nowhere."""
    by_token = place.client("s1", token=place.credentials["s1"])
    by_certificate = place.client("s2", certificate=place.authority.issue("s2"))
    assert (by_token.refused, by_certificate.refused) == (False, False)
    by_token.say(readings_topic("s2"), b"forged")
    by_certificate.say(readings_topic("s1"), b"forged")
    by_token.say("fieldproof/v1/s1/command", b"forged")
    by_token.say(readings_topic("s1"), b"one" * 100_000)
    assert place.arrived() == [(readings_topic("s1"), b"one" * 100_000)]
    by_certificate.say(readings_topic("s2"), b"two")
    assert place.arrived() == [(readings_topic("s2"), b"two")]
    by_token.close()
    by_certificate.close()


def test_who_is_not_known_does_not_get_in(place: Place) -> None:
    """A wrong token, a revoked one, no credential of this kind; a certificate of nobody known may say nothing."""
    for user, token in (("s1", "wrong"), ("s3", place.credentials["s3"]), ("s4", "x"), ("s1", "")):
        stranger = place.client(user, token=token)
        assert stranger.refused
        stranger.close()
    nobody = place.client("s9", certificate=place.authority.issue("s9"))
    nobody.say(readings_topic("s9"), b"nothing")
    sensor = place.client("s1", token=place.credentials["s1"])
    sensor.say(readings_topic("s1"), b"after it")
    assert place.arrived() == [(readings_topic("s1"), b"after it")]
    nobody.close()
    sensor.close()
