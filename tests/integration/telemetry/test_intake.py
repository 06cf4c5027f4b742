"""Taking in batches: registry, channels, contradictions, dead letters and counters, in one transaction."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from iot_ingest.decode import decode
from schemas.telemetry import BUILTIN_RULES, readings_topic
from server.errors import Problem
from server.runtime import Runtime
from server.telemetry import service
from server.telemetry.intake import take_in
from server.telemetry.models import DeadLetter, RuleVersion, StoredReading
from tests.integration.telemetry.programs import register

GOOD: dict[str, Any] = {"time": "2013-03-01T00:00:00+08:00", "factor": "SO2", "value": 4, "unit": "ug/m3", "flag": "N"}


def take(rt: Runtime, sensor: str, seq: int, *readings: Mapping[str, Any]) -> None:
    """Decode and take in one message."""
    payload = json.dumps({"seq": seq, "readings": readings}).encode()
    with rt.db.write() as session:
        take_in(session, rt, [decode(readings_topic(sensor), payload, rt.now())])


def totals(rt: Runtime) -> tuple[int, ...]:
    """(valid, invalid, dead lettered, duplicate)."""
    with rt.db.read() as session:
        found = service.counters(session)
    return tuple(found[name] for name in ("valid", "invalid", "dead_lettered", "duplicate"))


def letters(rt: Runtime) -> list[tuple[str, str, str]]:
    """(reason, factor, status) of all dead letters."""
    with rt.db.read() as session:
        return [(item.reason, item.factor, item.status) for item in service.list_letters(session)]


def test_each_reading_goes_where_it_belongs(rt: Runtime) -> None:
    """Valid, invalid with its reason, and dead-lettered; a redelivery of all of it changes only the duplicates."""
    register(rt, "s1")
    readings = [GOOD, GOOD | {"factor": "O3", "value": None, "flag": "D"}, GOOD | {"factor": "XX"}]
    take(rt, "s1", 1, *readings)
    assert totals(rt) == (1, 1, 1, 0)
    take(rt, "s1", 1, *readings)
    assert totals(rt) == (1, 1, 1, 3)
    with rt.db.read() as session:
        rows = service.list_readings(session, "s1")
        assert [(row.factor, row.value, row.valid, row.reason) for row in rows] == [
            ("SO2", 4.0, True, None), ("O3", None, False, "missing"),
        ]  # fmt: skip
        assert service.count_readings(session) == {"valid": 1, "invalid": 1}
        assert service.count_letters(session) == {"unknown-factor": 1}


def test_letters_keep_the_kind(rt: Runtime) -> None:
    """Contradictions of an hour and of a minute are two, and each says which, so that a replay means the same again."""
    register(rt, "s1")
    minute = GOOD | {"kind": "minute"}
    take(rt, "s1", 1, GOOD, minute)
    take(rt, "s1", 2, GOOD | {"value": 5}, minute | {"value": 5})
    assert totals(rt) == (2, 0, 2, 0)
    with rt.db.read() as session:
        kinds = [json.loads(item.payload)["kind"] for item in service.list_letters(session)]
    assert sorted(kinds) == ["hour", "minute"]


def test_an_unknown_sensor_is_kept_whole(rt: Runtime) -> None:
    """Nothing of an unregistered sensor is stored as a reading; its message waits, counted with its readings."""
    take(rt, "ghost", 1, GOOD, GOOD | {"factor": "O3"})
    assert totals(rt) == (0, 0, 2, 0)
    assert letters(rt) == [("unknown-sensor", "", "open")]


def test_a_factor_without_channel_is_dead_lettered(rt: Runtime) -> None:
    """A sensor speaks only of what is registered for it."""
    with rt.db.write() as session:
        service.register_sensor(session, rt, draft("s1", channels={"SO2": {"high": 3.0}}))
    take(rt, "s1", 1, GOOD, GOOD | {"factor": "O3"})
    assert letters(rt) == [("unknown-channel", "O3", "open")]
    assert totals(rt) == (0, 1, 1, 0)


def test_a_contradiction_is_kept_beside_the_reading(rt: Runtime) -> None:
    """Another value for a stored hour is dead-lettered; the same value again is a duplicate."""
    register(rt, "s1")
    take(rt, "s1", 1, GOOD)
    take(rt, "s1", 2, GOOD | {"value": 5})
    take(rt, "s1", 3, GOOD | {"value": 4.0, "time": "2013-02-28T16:00:00Z"})
    assert totals(rt) == (1, 0, 1, 1)
    assert letters(rt) == [("contradiction", "SO2", "open")]


def test_the_lower_number_stands_while_rules_wait(rt: Runtime) -> None:
    """Of two values the one said first stands, though it came second: the stored one is dead-lettered instead."""
    register(rt, "s1")
    take(rt, "s1", 3, GOOD | {"value": 5})
    take(rt, "s1", 2, GOOD | {"value": -1})
    with rt.db.read() as session:
        (row,) = service.list_readings(session, "s1")
        assert (row.value, row.seq, row.reason) == (-1.0, 2, "below-range")
        (letter,) = service.list_letters(session)
        assert json.loads(letter.payload)["value"] == 5.0
    assert totals(rt) == (0, 1, 1, 0)
    take(rt, "s1", 3, GOOD | {"value": 5})
    assert totals(rt) == (0, 1, 1, 1)


def test_a_batch_is_all_or_nothing(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault after the readings are written leaves nothing of the batch, counters included."""
    register(rt, "s1")

    def fail(*_: object) -> None:
        raise RuntimeError("after the readings")

    monkeypatch.setattr("server.telemetry.intake.raise_counters", fail)
    with pytest.raises(RuntimeError, match="after the readings"):
        take(rt, "s1", 1, GOOD)
    with rt.db.read() as session:
        assert session.scalars(select(StoredReading.at)).all() == []
        assert session.scalars(select(DeadLetter.id)).all() == []


def test_a_race_is_noticed(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another ingester stored meanwhile is not overwritten or miscounted: the transaction fails and runs again."""
    register(rt, "s1")
    take(rt, "s1", 1, GOOD)
    monkeypatch.setattr("server.telemetry.settling.load_rows", lambda *_: {})
    with pytest.raises(IntegrityError):
        take(rt, "s1", 2, GOOD)


def draft(sensor: str, **changes: object) -> service.SensorDraft:
    """A sensor to register."""
    settings: dict[str, Any] = {
        "id": sensor, "name": "样例", "entity_id": "e", "region": "420106", "department": "env",
        "lat": 30.0, "lon": 114.0, "channels": {"SO2": {}},
    }  # fmt: skip
    return service.SensorDraft(**{**settings, **changes})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": "a.b"}, "id"),
        ({"id": "x" * 65}, "id"),
        ({"name": ""}, "name"),
        ({"datum": "GCJ-02"}, "datum"),
        ({"lat": 91.0}, "lat"),
        ({"lon": float("nan")}, "lon"),
        ({"channels": {}}, "channels"),
        ({"channels": {"XX": {}}}, "channels"),
    ],
)
def test_a_bad_sensor_is_refused(rt: Runtime, change: dict[str, Any], field: str) -> None:
    """The registry names the field."""
    with pytest.raises(Problem) as caught, rt.db.write() as session:
        service.register_sensor(session, rt, draft("s1", **change))
    assert caught.value.field == field


def test_registering_again_changes_the_sensor(rt: Runtime) -> None:
    """The id stays, the rest is as told last; the seed may be repeated."""
    for name in ("旧名", "新名"):
        with rt.db.write() as session:
            service.register_sensor(session, rt, draft("s1", name=name))
            service.seed_builtin_rules(session, rt)
    with rt.db.read() as session:
        assert service.get_sensor(session, "s1").name == "新名"
        assert service.get_sensor(session, "s1").channels == {"SO2": {"low": 0.0, "high": 1430.0}}
        statuses = session.scalars(select(RuleVersion.status)).all()
        assert statuses.count("active") == 6
        assert statuses.count("draft") == len(statuses) - 6 == len(BUILTIN_RULES["drafts"])
