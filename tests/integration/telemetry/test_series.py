"""Aggregates and charts over HTTP: pages, few points, scope, ranges that are too long."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import insert

from schemas.telemetry import HOUR
from server.runtime import Runtime
from server.telemetry import series
from server.telemetry.models import StoredAggregate, StoredReading
from tests.integration.telemetry.programs import register

SignIn = Callable[..., dict[str, str]]
START = datetime(2026, 1, 1, tzinfo=UTC)
HOURS = 700
PATH = "/api/v1/telemetry/sensors/s1"
RANGE = {"factor": "SO2", "tier": "hour", "since": START.isoformat(), "until": "2027-01-01T00:00:00Z"}


@pytest.fixture(autouse=True)
def _stored(rt: Runtime) -> None:
    """Some weeks of hours, each tenth invalid, with one peak; and the readings they were made from."""
    register(rt, "s1")
    rows = [
        {
            "sensor_id": "s1", "factor": "SO2", "at": START + timedelta(hours=n), "valid": n % 10 != 0,
            "value": 400.0 if n == 333 else float(n % 24),
        }
        for n in range(HOURS)
    ]  # fmt: skip
    with rt.db.write() as session:
        session.execute(
            insert(StoredReading),
            [row | {"kind": HOUR, "flag": "N", "seq": 1, "received_at": START, "reason": None} for row in rows],
        )
        shown = [{name: value for name, value in row.items() if name != "value"} for row in rows]
        session.execute(
            insert(StoredAggregate),
            [
                row | {"tier": HOUR, "mean": said["value"], "low": said["value"], "high": said["value"], "share": 1.0}
                for row, said in zip(shown, rows, strict=True)
            ],
        )


def get(client: FlaskClient, headers: dict[str, str], what: str, **query: object) -> Any:  # noqa: ANN401 - decoded JSON
    """The JSON of a reply that must be good."""
    reply = client.get(f"{PATH}/{what}", query_string=RANGE | query, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json


def test_pages_hold_every_period_once(client: FlaskClient, sign_in: SignIn) -> None:
    """Page by page, valid or not, in order, within the range only."""
    headers = sign_in("auditor")
    times: list[str] = []
    after: str | None = ""
    while after is not None:
        page = get(client, headers, "aggregates", limit=300, after=after)
        times += [row["time"] for row in page["aggregates"]]
        after = page["next"]
    assert times == [(START + timedelta(hours=n)).isoformat() for n in range(HOURS)]
    until = (START + timedelta(hours=2)).isoformat()
    short = get(client, headers, "aggregates", until=until)
    assert [row["valid"] for row in short["aggregates"]] == [False, True]
    assert short["unit"] == "ug/m3"


@pytest.mark.parametrize("tier", ["hour", "raw"])
def test_a_chart_keeps_what_stands_out(client: FlaskClient, sign_in: SignIn, tier: str) -> None:
    """Fifty points of the valid ones, the peak among them."""
    drawn = get(client, sign_in("officer"), "chart", tier=tier, points=50)
    assert (len(drawn["points"]), drawn["of"]) == (50, HOURS - HOURS // 10)
    assert [(START + timedelta(hours=333)).isoformat(), 400.0] in drawn["points"]


def test_bad_questions_are_refused(client: FlaskClient, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another's sensor, a page that never was, and a range with more rows than a chart is drawn from."""
    foreign = client.get(f"{PATH}/chart", query_string=RANGE, headers=sign_in("operator", region="420200"))
    assert foreign.status_code == 404
    assert client.get(f"{PATH}/aggregates", query_string=RANGE | {"after": "x"}, headers=sign_in()).status_code == 422
    monkeypatch.setattr(series, "CHART_ROWS", 100)
    long = client.get(f"{PATH}/chart", query_string=RANGE, headers=sign_in())
    assert (long.status_code, long.json and long.json["field"]) == (422, "since")
