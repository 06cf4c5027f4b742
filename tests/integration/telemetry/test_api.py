"""Telemetry and leads over HTTP: scope, paging, bad input, and the request for a replay."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from device_sim.sample.reading import SkipReport
from device_sim.sample.telemetry import read_observations
from device_sim.sensors.check import balance
from device_sim.sensors.fleet import station_files
from device_sim.sensors.replay import ReplayPlan, outgoing
from iot_ingest.batcher import Delivery
from iot_ingest.writer import Writer
from server.runtime import Runtime
from tests.integration.telemetry.programs import register

SignIn = Callable[..., dict[str, str]]
BASE = "/api/v1/telemetry"
SENSOR = {
    "sensor": "s9", "name": "样例监测点", "entity": "entity-9", "region": "420106", "department": "env", "lat": 30.5,
    "lon": 114.3, "datum": "WGS-84", "channels": {"SO2": {"low": 0, "high": 500}},
}  # fmt: skip


@pytest.fixture
def published(rt: Runtime) -> list[Any]:
    """Some 1,500 readings of a shipped station stored for sensor s1, nonsense included; what was said."""
    register(rt, "s1")
    plan = ReplayPlan(repeat_every=20, nonsense_every=10)
    messages = list(outgoing(read_observations(station_files(None)[0], SkipReport()), "s1", plan, 1_500))
    Writer(rt, lambda _seconds: True).write(
        [Delivery(item.topic, item.payload, rt.now(), 0, 0) for item in messages for _ in range(1 + item.repeats)]
    )
    return [said for item in messages for said in item.said]


def body(reply: TestResponse) -> Any:  # noqa: ANN401 - decoded JSON
    """The JSON of a reply."""
    return reply.json


def pages(client: FlaskClient, headers: dict[str, str], path: str) -> list[dict[str, Any]]:
    """All readings of a sensor, page by page."""
    rows: list[dict[str, Any]] = []
    following = ""
    while True:
        reply = client.get(path, query_string={"limit": 400, "after": following}, headers=headers)
        assert reply.status_code == 200, reply.text
        page = body(reply)
        rows += [row | {"sensor": page["sensor"]} for row in page["readings"]]
        following = page["next"]
        if following is None:
            return rows


def test_the_balance_closes_over_http(client: FlaskClient, sign_in: SignIn, published: list[Any]) -> None:
    """Everything said is served exactly once, as reading or as dead letter, and the totals agree."""
    headers = sign_in("operator")
    stored = pages(client, headers, f"{BASE}/sensors/s1/readings")
    letters = body(client.get(f"{BASE}/dead-letters?limit=500", headers=headers))["letters"]
    found = balance(published, stored, letters)
    totals = body(client.get(f"{BASE}/counters", headers=headers))
    assert found.ok, found.examples
    assert totals["readings"] == {"valid": found.valid, "invalid": found.invalid}
    assert sum(totals["dead_letters"].values()) == totals["counters"]["dead_lettered"] == found.dead_lettered > 5
    assert totals["counters"]["duplicate"] > 0


def test_readings_are_filtered(client: FlaskClient, sign_in: SignIn, published: list[Any]) -> None:
    """By time and by factor."""
    query = {"since": "2013-03-01T00:00:00+08:00", "until": "2013-03-01T02:00:00+08:00", "factor": "SO2"}
    reply = client.get(f"{BASE}/sensors/s1/readings", query_string=query, headers=sign_in("auditor"))
    assert [row["factor"] for row in body(reply)["readings"]] == ["SO2", "SO2"]


@pytest.mark.parametrize(
    "query",
    ["after=x", "after=2013-03-01T00:00:00Z~XX", "limit=0", "limit=501", "factor=XX", "since=yesterday", "colour=red",
     "since=2013-03-01T00:00:00"],
)  # fmt: skip
def test_bad_queries_name_the_field(client: FlaskClient, sign_in: SignIn, rt: Runtime, query: str) -> None:
    """A bad query is a problem of the caller."""
    register(rt, "s1")
    reply = client.get(f"{BASE}/sensors/s1/readings?{query}", headers=sign_in("operator"))
    assert reply.status_code == 422
    assert body(reply)["field"] == query.partition("=")[0]


def test_scope_hides_what_is_elsewhere(client: FlaskClient, sign_in: SignIn, published: list[Any]) -> None:
    """Another region or department sees no sensor, no reading, no dead letter."""
    for headers in (sign_in("operator", region="4202"), sign_in("operator", department="water")):
        assert body(client.get(f"{BASE}/sensors", headers=headers)) == {"sensors": []}
        assert client.get(f"{BASE}/sensors/s1", headers=headers).status_code == 404
        assert client.get(f"{BASE}/sensors/s1/readings", headers=headers).status_code == 404
        assert body(client.get(f"{BASE}/dead-letters", headers=headers)) == {"letters": []}
    own = sign_in("operator", region="4201", department="env")
    assert len(body(client.get(f"{BASE}/sensors", headers=own))["sensors"]) == 1
    assert body(client.get(f"{BASE}/sensors/s1", headers=own))["sensor"] == "s1"
    assert body(client.get(f"{BASE}/dead-letters", headers=own))["letters"]


def test_a_sensor_is_registered(client: FlaskClient, sign_in: SignIn) -> None:
    """By an operator, within the own scope only; the reply carries what is registered."""
    assert client.post(f"{BASE}/sensors", json=SENSOR, headers=sign_in("auditor")).status_code == 403
    assert client.post(f"{BASE}/sensors", json=SENSOR, headers=sign_in("operator", region="4202")).status_code == 404
    reply = client.post(f"{BASE}/sensors", json=SENSOR, headers=sign_in("operator"))
    assert reply.status_code == 201
    assert body(reply) == SENSOR | {
        "mqtt_user": "s9",
        "device_type": None,
        "channels": {"SO2": {"low": 0.0, "high": 500.0}},
    }
    moved = SENSOR | {"region": "420206"}
    assert client.post(f"{BASE}/sensors", json=moved, headers=sign_in("operator", region="4202")).status_code == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [({"sensor": "a/b"}, "sensor"), ({"datum": "GCJ-02"}, "datum"), ({"channels": {"XX": {}}}, "channels.XX.key"),
     ({"lat": 91}, "lat"), ({"region": "42"}, "region"), ({"extra": 1}, "extra")],
)  # fmt: skip
def test_a_bad_sensor_is_refused(client: FlaskClient, sign_in: SignIn, change: dict[str, Any], field: str) -> None:
    """The problem names the field."""
    reply = client.post(f"{BASE}/sensors", json=SENSOR | change, headers=sign_in("operator"))
    assert (reply.status_code, body(reply)["field"]) == (422, field)


def test_letters_are_listed_and_asked_for(client: FlaskClient, sign_in: SignIn, published: list[Any]) -> None:
    """A letter shows its reason in both languages and its bytes; a replay is asked for by id."""
    headers = sign_in("operator")
    listed = body(client.get(f"{BASE}/dead-letters?reason=unknown-factor&status=open", headers=headers))["letters"]
    first = listed[0]
    assert first["title"] == "未知因子 / unknown factor"
    assert json.loads(base64.b64decode(first["payload"]))["factor"] == first["factor"] == "VOC"
    reply = client.post(f"{BASE}/dead-letters/replay", json={"letters": [first["id"]]}, headers=headers)
    assert (reply.status_code, body(reply)) == (202, {"requested": 1})
    asked = body(client.get(f"{BASE}/dead-letters?status=requested", headers=headers))["letters"]
    assert [item["id"] for item in asked] == [first["id"]]
    foreign = sign_in("operator", region="4202")
    for caller, letter in ((headers, "nobody"), (foreign, first["id"])):
        reply = client.post(f"{BASE}/dead-letters/replay", json={"letters": [letter]}, headers=caller)
        assert (reply.status_code, body(reply)["field"]) == (404, "letters")
    assert client.post(f"{BASE}/dead-letters/replay", json={"letters": []}, headers=headers).status_code == 422


def test_leads_are_served_by_scope(client: FlaskClient, sign_in: SignIn, published: list[Any]) -> None:
    """A lead shows what it rests on to its own region, and does not exist for others."""
    leads = body(client.get("/api/v1/leads?status=generated", headers=sign_in("officer", region="4201")))["leads"]
    assert leads
    lead = leads[0]
    assert lead["explanation_zh"]
    assert len(lead["extract"]) >= 3
    own, foreign = sign_in("operator"), sign_in("operator", region="4202")
    assert body(client.get(f"/api/v1/leads/{lead['lead']}", headers=own)).items() >= lead.items()
    assert client.get(f"/api/v1/leads/{lead['lead']}", headers=foreign).status_code == 404
    assert body(client.get("/api/v1/leads", headers=foreign)) == {"leads": []}
    assert client.get("/api/v1/leads?status=lost", headers=own).status_code == 422
