"""Provisioning over HTTP: types, periods, credentials, brokers' files, presence and commands."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import bcrypt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID
from flask.testing import FlaskClient

from iot_ingest.batcher import Delivery
from iot_ingest.writer import Writer
from schemas import hj212
from schemas.telemetry import readings_topic
from server.runtime import Runtime
from server.telemetry import service
from server.telemetry.tokens import authorise
from tests.conftest import FakeClock
from tests.integration.telemetry.programs import counted, register

SignIn = Callable[..., dict[str, str]]
BASE = "/api/v1/telemetry"
TYPE = {
    "title_zh": "烟气分析仪", "title_en": "flue gas analyser",
    "channels": {"SO2": {"unit": "mg/m3", "low": 0, "high": 1, "precision": 0.01, "interval_s": 60}},
}  # fmt: skip


def deliver(rt: Runtime, topic: str, body: object) -> Delivery:
    """A delivery of a JSON body."""
    return Delivery(topic, json.dumps(body).encode(), rt.now(), 1, 1)


def reading(rt: Runtime, seq: int, time: str = "2013-03-01T00:00:00Z", **more: object) -> Delivery:
    """Message number `seq` of s1: one reading of SO2."""
    item = {"time": time, "factor": "SO2", "value": 4, "unit": "ug/m3", "flag": "N"}
    return deliver(rt, readings_topic("s1"), {"seq": seq, "readings": [item], **more})


def reasons(rt: Runtime) -> list[str | None]:
    """Why s1's readings do not count, by time."""
    with rt.db.read() as session:
        return [row.reason for row in service.list_readings(session, "s1")]


def test_a_sensor_takes_its_channels_from_its_type(client: FlaskClient, sign_in: SignIn, rt: Runtime) -> None:
    """Ranges are in the channel's unit and stored in the factor's; an unknown type or an empty range is refused."""
    admin, operator = sign_in("admin"), sign_in("operator")
    assert client.put(f"{BASE}/device-types/gas-1", json=TYPE, headers=operator).status_code == 403
    assert client.put(f"{BASE}/device-types/gas-1", json=TYPE, headers=admin).status_code == 200
    assert client.put(f"{BASE}/device-types/a b", json=TYPE, headers=admin).status_code == 422
    empty = TYPE | {"channels": {"SO2": {"low": 5, "high": 5}}}
    assert client.put(f"{BASE}/device-types/gas-1", json=empty, headers=admin).status_code == 422
    wrong = TYPE | {"channels": {"SO2": {"unit": "degC"}}}
    assert client.put(f"{BASE}/device-types/gas-1", json=wrong, headers=admin).status_code == 422
    types = client.get(f"{BASE}/device-types", headers=operator).get_json()["types"]
    assert [(row["code"], row["channels"]["SO2"]["high"]) for row in types] == [("gas-1", 1000.0)]
    sensor = {
        "sensor": "g1", "name": "样例", "entity": "e", "region": "420106", "department": "env",
        "lat": 30.5, "lon": 114.3, "datum": "WGS-84", "device_type": "gas-1",
    }  # fmt: skip
    made = client.post(f"{BASE}/sensors", json=sensor, headers=operator).get_json()
    assert made["channels"]["SO2"]["interval_s"] == 60
    assert client.post(f"{BASE}/sensors", json=sensor | {"device_type": "x"}, headers=operator).status_code == 422
    frame = "DataTime=20130301000000;a21026-Avg=0.5;a21026-Flag=N"
    from_station(rt, "g1", frame)
    with rt.db.read() as session:
        (row,) = service.list_readings(session, "g1")
    assert (row.value, row.valid) == (500.0, True)


def from_station(rt: Runtime, sensor: str, content: str, *, qn: str = "20260302090000000") -> None:
    """Write one HJ 212 message of hourly means."""
    payload = hj212.encode(hj212.Packet(qn, 31, 2061, "123456", sensor, 5, content))
    topic = readings_topic(sensor, "hj212")
    Writer(rt, lambda _seconds: False).write([Delivery(topic, payload, rt.now(), 1, 1)])


def test_what_is_said_in_a_period_does_not_count(client: FlaskClient, sign_in: SignIn, rt: Runtime) -> None:
    """From the data time on which a period began until it ended; an ingester sees it at once."""
    register(rt, "s1")
    operator, url = sign_in("operator"), f"{BASE}/sensors/s1/periods"
    writer = Writer(rt, lambda _seconds: False)
    writer.write([reading(rt, 1)])
    period = {"kind": "calibration", "starts_at": "2013-03-01T01:00:00Z"}
    made = client.post(url, json=period, headers=operator)
    assert made.status_code == 201
    writer.write([reading(rt, 2, "2013-03-01T01:00:00Z"), reading(rt, 3, "2013-03-01T02:00:00Z")])
    assert client.post(url, json=period, headers=operator).status_code == 409
    assert client.post(url, json=period | {"ends_at": "2013-01-01T00:00:00Z"}, headers=operator).status_code == 422
    end = f"{url}/{made.get_json()['id']}/end"
    assert client.post(end, json={"ends_at": "2013-03-01T00:00:00Z"}, headers=operator).status_code == 422
    assert client.post(end, json={"ends_at": "2013-03-01T03:00:00Z"}, headers=operator).status_code == 200
    assert client.post(end, json={"ends_at": "2013-03-01T03:00:00Z"}, headers=operator).status_code == 409
    assert client.post(f"{url}/x/end", json={"ends_at": "2013-03-01T03:00:00Z"}, headers=operator).status_code == 404
    writer.write([reading(rt, 4, "2013-03-01T03:00:00Z")])
    assert reasons(rt) == [None, "calibrating", "calibrating", None]
    assert len(client.get(url, headers=operator).get_json()["periods"]) == 1


def test_a_clock_that_runs_ahead_is_noticed(rt: Runtime) -> None:
    """The skew is kept beside the raw data time; only a clock ahead of ours makes its data not count."""
    register(rt, "s1")
    now = rt.now()
    ahead, behind = (now + timedelta(hours=1)).isoformat(), (now - timedelta(days=2)).isoformat()
    writer = Writer(rt, lambda _seconds: False)
    writer.write([reading(rt, 1, sent=ahead), reading(rt, 2, "2013-03-01T01:00:00Z", sent=behind)])
    assert reasons(rt) == ["clock-ahead", None]
    with rt.db.read() as session:
        rows = service.list_readings(session, "s1")
        assert [row.skew_ms for row in rows] == [-3_600_000, 172_800_000]
        assert [row.corrected_at - row.at for row in rows] == [timedelta(hours=-1), timedelta(0)]


def certificate(name: str) -> str:
    """A self-signed client certificate."""
    key = Ed25519PrivateKey.generate()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, start, start + timedelta(days=365))
    return builder.sign(key, None).public_bytes(serialization.Encoding.PEM).decode()


def test_credentials_are_granted_shown_once_and_revoked(
    client: FlaskClient, sign_in: SignIn, rt: Runtime, clock: FakeClock
) -> None:
    """A token is kept as digests only; brokers' files hold what is in force, each sensor with its own topics only."""
    register(rt, "s1", "s2")
    operator, admin, url = sign_in("operator"), sign_in("admin"), f"{BASE}/sensors/s1/credentials"
    granted = client.post(url, json={"kind": "token"}, headers=operator).get_json()
    clock.advance(1)
    station = client.post(url, json={"kind": "token", "password": "123456"}, headers=operator).get_json()
    assert (len(granted["token"]), station["token"]) == (32, "123456")
    for bad in ({"kind": "token", "password": "1"}, {"kind": "certificate", "certificate": "x"},
                {"kind": "certificate", "certificate": certificate("s2")}):  # fmt: skip
        assert client.post(url, json=bad, headers=operator).status_code == 422
    ours = client.post(url, json={"kind": "certificate", "certificate": certificate("s1")}, headers=operator)
    assert (ours.status_code, ours.get_json()["token"]) == (201, "")
    with rt.db.read() as session:
        assert [
            authorise(session, *pair)
            for pair in (("s1", granted["token"]), ("s1", "123456"), ("s1", ""), ("s2", "123456"))
        ] == [True, True, False, False]
    files = {name: client.get(f"{BASE}/broker-files/{name}", headers=admin).get_json()["text"]
             for name in ("mosquitto-passwords", "mosquitto-acl", "nats-users")}  # fmt: skip
    assert files["mosquitto-passwords"].startswith("s1:$7$101$")
    assert "user s1\ntopic write fieldproof/v1/s1/readings\n" in files["mosquitto-acl"]
    assert "topic read fieldproof/v1/s1/command" in files["mosquitto-acl"]
    assert "s2" not in "".join(files.values())
    digest = files["nats-users"].split('password: "')[1].split('"')[0]
    assert bcrypt.checkpw(b"123456", digest.encode())
    for item in client.get(url, headers=operator).get_json()["credentials"]:
        assert client.post(f"{url}/{item['id']}/revoke", headers=operator).status_code == 204
    assert client.post(f"{url}/x/revoke", headers=operator).status_code == 404
    assert client.get(f"{BASE}/broker-files/mosquitto-passwords", headers=admin).get_json()["text"] == ""
    assert client.get(f"{BASE}/broker-files/x", headers=admin).status_code == 404


def test_presence_is_what_the_sensor_and_its_will_say(client: FlaskClient, sign_in: SignIn, rt: Runtime) -> None:
    """Nothing known, then connected, then gone; nonsense and strangers become dead letters."""
    register(rt, "s1")
    operator, url, topic = sign_in("operator"), f"{BASE}/sensors/s1/presence", readings_topic("s1", "presence")
    assert client.get(url, headers=operator).get_json() == {"online": None, "since_at": None}
    writer = Writer(rt, lambda _seconds: False)
    writer.write([deliver(rt, topic, {"online": True}), deliver(rt, topic, {"online": 1})])
    assert client.get(url, headers=operator).get_json()["online"] is True
    writer.write(
        [deliver(rt, topic, {"online": False}), deliver(rt, readings_topic("x", "presence"), {"online": True})]
    )
    assert client.get(url, headers=operator).get_json()["online"] is False
    assert counted(rt)["dead_lettered"] == 2


@pytest.mark.parametrize(
    ("name", "parameters", "status"),
    [
        ("set-interval", {"seconds": 60}, 202),
        ("set-interval", {"seconds": 60, "factor": "SO2"}, 202),
        ("set-interval", {"seconds": 60, "factor": "COD", "x": 1}, 202),
        ("set-interval", {"seconds": 60, "x": 1}, 422),
        ("set-interval", {"seconds": 60, "factor": "X"}, 422),
        ("set-interval", {"seconds": 0}, 422),
        ("set-interval", {"seconds": True}, 422),
        ("history", {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}, 202),
        ("history", {"since": "2026-01-01T00:00:00Z", "until": "2026-03-02T00:00:00Z"}, 422),
        ("history", {"since": "2026-01-01T00:00:00Z"}, 422),
        ("explode", {}, 422),
    ],
)
def test_what_may_be_asked(
    client: FlaskClient, sign_in: SignIn, rt: Runtime, name: str, parameters: dict[str, Any], status: int
) -> None:
    """An interval within bounds, a channel that is there, a time that is not too long."""
    register(rt, "s1")
    if "COD" in parameters.values():
        status = 422
    reply = client.post(
        f"{BASE}/sensors/s1/commands", json={"name": name, "parameters": parameters}, headers=sign_in("operator")
    )
    assert reply.status_code == status


def test_a_command_is_sent_once_answered_or_expires(
    client: FlaskClient, sign_in: SignIn, rt: Runtime, clock: FakeClock
) -> None:
    """One at a time for each sensor; the answer is taken from that sensor only, once, and in time."""
    register(rt, "s1", "s2")
    operator, url = sign_in("operator"), f"{BASE}/sensors/s1/commands"

    def asked() -> str:
        reply = client.post(url, json={"name": "set-interval", "parameters": {"seconds": 60}}, headers=operator)
        return str(reply.get_json()["id"])

    def statuses() -> list[tuple[str, str]]:
        rows = client.get(url, headers=operator).get_json()["commands"]
        return [(row["status"], row["answer"]) for row in rows]

    writer = Writer(rt, lambda _seconds: False)
    first = asked()
    clock.advance(1)
    second = asked()
    ((topic, message),) = writer.commands().items()
    assert topic == "fieldproof/v1/s1/command"
    assert json.loads(message)["id"] == first
    said = {"id": first, "status": "done", "detail": "60 s"}
    writer.write([deliver(rt, readings_topic("s2", "answer"), said), deliver(rt, readings_topic("s1", "answer"), said)])
    writer.write([deliver(rt, readings_topic("s1", "answer"), said | {"status": "refused"})])
    writer.write([deliver(rt, readings_topic("s1", "answer"), said | {"status": "maybe"})])
    assert statuses() == [("done", "60 s"), ("asked", "")]
    assert counted(rt)["dead_lettered"] == 2
    assert json.loads(writer.commands()["fieldproof/v1/s1/command"])["id"] == second
    assert writer.commands() == {}
    clock.advance(301)
    assert writer.commands() == {}
    writer.write([deliver(rt, readings_topic("s1", "answer"), {"id": second, "status": "done"})])
    assert statuses() == [("done", "60 s"), ("expired", "")]
