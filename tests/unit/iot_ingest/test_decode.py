"""Decoding deliveries: everything a sensor may send is understood or refused with a reason, and nothing raises."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_ingest.codecs import quick_json, strict_json
from iot_ingest.decode import decode
from schemas.telemetry import (
    CODES,
    MESSAGE_LIMIT_BYTES,
    READINGS_LIMIT,
    Message,
    MessageSchema,
    reading_identity,
    readings_topic,
)

NOW = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
TOPIC = readings_topic("s1")
GOOD: dict[str, Any] = {"time": "2013-03-01T00:00:00+08:00", "factor": "SO2", "value": 4, "unit": "ug/m3", "flag": "N"}


def message(*readings: object, **members: object) -> bytes:
    """The bytes of a message with these readings."""
    return json.dumps({"seq": 7, "readings": list(readings), **members}).encode()


def reason(decoded: Message) -> str:
    """The only refusal's reason."""
    assert len(decoded.refusals) == 1
    assert not decoded.readings
    return decoded.refusals[0].reason


def test_a_good_reading_is_understood() -> None:
    """Time comes out in UTC, numbers as floats, and nothing is refused."""
    decoded = decode(TOPIC, message(GOOD, GOOD | {"value": None, "flag": "D"}), NOW)
    first, second = decoded.readings
    assert (decoded.sensor, decoded.seq, decoded.refusals) == ("s1", 7, ())
    assert (first.at, first.factor, first.value) == (datetime(2013, 2, 28, 16, tzinfo=UTC), "SO2", 4.0)
    assert (second.value, second.flag) == (None, "D")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"factor": "VOC"}, "unknown-factor"),
        ({"factor": ["SO2"]}, "unknown-factor"),
        ({"unit": "ppm"}, "unknown-unit"),
        ({"flag": "Q"}, "unknown-flag"),
        ({"flag": None}, "unknown-flag"),
        ({"time": "2013-13-45T25:00:00+08:00"}, "bad-time"),
        ({"time": "2013-03-01T00:00:00"}, "bad-time"),
        ({"time": "2013-W09-5T00:00:00Z"}, "bad-time"),
        ({"time": "0001-01-01T00:00:00+14:00"}, "bad-time"),
        ({"time": 1362067200}, "bad-time"),
        ({"value": "NA"}, "not-a-number"),
        ({"value": "4"}, "not-a-number"),
        ({"value": True}, "not-a-number"),
        ({"value": [4]}, "not-a-number"),
        ({"vale": 4}, "bad-reading"),
    ],
)
def test_a_bad_reading_is_refused_alone(change: dict[str, object], expected: str) -> None:
    """One bad reading is refused with its reason and bytes; its neighbour is understood."""
    bad = GOOD | change
    decoded = decode(TOPIC, message(GOOD, bad), NOW)
    refusal = decoded.refusals[0]
    assert len(decoded.readings) == 1
    assert refusal.reason == expected
    assert json.loads(refusal.payload) == bad
    assert refusal.identity == reading_identity("s1", bad)


@pytest.mark.parametrize("bad", [7, None, [], {}, "x", {**GOOD, "value": None} | {"factor": None}])
def test_a_reading_of_another_shape_is_refused(bad: object) -> None:
    """Whatever stands in the list of readings, it is refused and kept."""
    decoded = decode(TOPIC, message(bad), NOW)
    assert reason(decoded) in ("bad-reading", "unknown-factor")
    assert json.loads(decoded.refusals[0].payload) == bad


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", "malformed-json"),
        (b"\xff\xfe", "malformed-json"),
        (b'{"seq":7,"readings":[{"time":"2013-', "malformed-json"),
        (b'{"seq":7,"seq":8,"readings":[]}', "malformed-json"),
        (b'{"seq":7,"readings":[{"value":NaN}]}', "malformed-json"),
        (b'{"seq":7,"readings":[{"value":1e999}]}', "malformed-json"),
        (b'{"seq":7,"readings":[{"factor":"\\ud800"}]}', "malformed-json"),
        (b'{"seq":7,"readings":[{"value":1' + b"0" * 400 + b"}]}", "malformed-json"),
        (b"[" * 100_000, "message-too-large"),
        (b"[" * 1_000, "malformed-json"),
        (b"7", "bad-message"),
        (b'{"readings":[]}', "bad-message"),
        (b'{"seq":true,"readings":[]}', "bad-message"),
        (b'{"seq":0,"readings":[1]}', "bad-message"),
        (b'{"seq":' + str(2**60).encode() + b',"readings":[1]}', "bad-message"),
        (b'{"seq":7}', "bad-message"),
        (b'{"seq":7,"readings":[]}', "bad-message"),
        (b'{"seq":7,"readings":{}}', "bad-message"),
        (b'{"seq":7,"readings":[1],"x":1}', "bad-message"),
        (b'{"seq":7,"readings":[1],"sensor":"s2"}', "foreign-sensor"),
        (b'{"seq":7,"readings":[1],"sensor":null}', "foreign-sensor"),
        (b" " * (MESSAGE_LIMIT_BYTES + 1), "message-too-large"),
    ],
)
def test_a_bad_message_is_refused_whole(payload: bytes, expected: str) -> None:
    """A message that cannot be read is refused once, with all its bytes."""
    decoded = decode(TOPIC, payload, NOW)
    assert reason(decoded) == expected
    assert decoded.refusals[0].payload == payload


def test_a_refused_message_stands_for_all_its_readings() -> None:
    """Too many readings, or another sensor's name: the refusal counts every reading, and the number is used up."""
    crowded = decode(TOPIC, message(*[GOOD] * (READINGS_LIMIT + 1)), NOW)
    forged = decode(TOPIC, message(GOOD, GOOD, sensor="s2"), NOW)
    assert (reason(crowded), crowded.refusals[0].readings, crowded.seq) == ("too-many-readings", READINGS_LIMIT + 1, 7)
    assert (reason(forged), forged.refusals[0].readings, forged.seq) == ("foreign-sensor", 2, 7)


@pytest.mark.parametrize(
    "topic",
    ["", "fieldproof/v1//readings", "fieldproof/v1/a/b/readings", "x/fieldproof/v1/s1/readings",
     "fieldproof/v1/+/readings", "fieldproof/v1/$SYS/readings",
     "fieldproof/v1/s 1/readings", "fieldproof/v1/s1/receipt"],
)  # fmt: skip
def test_a_topic_that_names_no_sensor_is_refused(topic: str) -> None:
    """No sensor, no reading: the message is kept under its topic."""
    decoded = decode(topic, message(GOOD), NOW)
    assert reason(decoded) == "bad-topic"
    assert decoded.sensor == ""


def test_every_reason_has_a_name() -> None:
    """The reasons used here are in the code table, so that people can read them."""
    for code in ("bad-topic", "malformed-json", "foreign-sensor", "contradiction", "unknown-sensor", "unprocessable"):
        assert CODES["refusals"][code]["zh"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
READINGS = st.fixed_dictionaries(
    {
        "time": st.sampled_from(["2013-03-01T00:00:00+08:00", "2013-03-01T01:00Z", "x"]) | JSON,
        "factor": st.sampled_from(["SO2", "PM2.5"]) | JSON,
        "value": st.floats(0, 500) | JSON,
        "unit": st.just("ug/m3") | JSON,
    },
    optional={"flag": st.sampled_from("NDXX") | JSON},
)


@given(st.lists(READINGS | JSON, max_size=5), st.integers(-1, 9) | JSON, st.booleans())
def test_every_reading_ends_once(readings: list[object], seq: object, cut: bool) -> None:
    """Whatever is sent, nothing raises, and every reading is understood or stands behind a refusal."""
    payload = json.dumps({"seq": seq, "readings": readings}).encode()
    decoded = decode(TOPIC, payload[:-1] if cut else payload, NOW)
    total = len(decoded.readings) + sum(refusal.readings for refusal in decoded.refusals)
    assert total == (max(1, len(readings)) if decoded.seq is not None else 1)


@given(st.binary(max_size=200), st.text(max_size=30))
def test_no_bytes_raise(payload: bytes, topic: str) -> None:
    """Arbitrary bytes on arbitrary topics are refused, not raised."""
    assert decode(topic, payload, NOW).topic == topic


@given(st.lists(READINGS, min_size=1, max_size=5))
def test_what_is_understood_is_what_the_schema_says(readings: list[dict[str, object]]) -> None:
    """The decoder takes nothing that the published schema does not allow."""
    body = {"seq": 7, "readings": readings}
    decoded = decode(TOPIC, json.dumps(body).encode(), NOW)
    if not decoded.refusals:
        assert MessageSchema().validate(body) == {}


COMMON = st.fixed_dictionaries(
    {
        "time": st.sampled_from(["2013-03-01T00:00:00+08:00", "2013-03-01T01:00Z", "2013-03-01 01:00Z", "x"]),
        "factor": st.sampled_from(["SO2", "PM2.5", "X", 'a":b']),
        "value": st.none() | st.floats(-5, 500) | st.integers(-5, 2**70) | st.just("4"),
        "unit": st.sampled_from(["ug/m3", "mg/m3"]),
        "flag": st.sampled_from("NDX"),
    }
)
SEQS = st.sampled_from([0, 1, 7, 7.0, 7.5, 2**53 - 1, 2**53, True, "7"])


@given(st.lists(COMMON, max_size=4), SEQS, st.sampled_from([{}, {"sensor": "s1"}, {"sensor": "s2"}]), st.booleans())
def test_the_quick_way_is_the_careful_way(
    readings: list[object], seq: object, names: dict[str, str], spaced: bool
) -> None:
    """What the quick decoder understands is exactly what the strict one understands."""
    separators = (", ", ": ") if spaced else (",", ":")
    payload = json.dumps({"seq": seq, "readings": readings, **names}, separators=separators).encode()
    quick = quick_json.understand(TOPIC, "s1", payload, NOW)
    assert quick in (None, strict_json.understand(TOPIC, "s1", payload, NOW))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"seq":7', b'"seq":7,"seq":7'),
        (b'"flag":"N"', b'"flag":"D","flag":"N"'),
        (b'"seq":7', b'"seq":7.0'),
        (b'"unit"', b'"unit" '),
        (b"SO2", b"S\\u004f2"),
        (b"4,", b"4e0,"),
        (b"4,", b"1e999,"),
        (b"4,", b"NaN,"),
        (b"4,", b"-0,"),
    ],
)
def test_uncommon_spellings(before: bytes, after: bytes) -> None:
    """Repeated members, other spellings of numbers and texts: never understood otherwise than by the strict decoder."""
    payload = json.dumps({"seq": 7, "readings": [GOOD]}, separators=(",", ":")).encode()
    assert quick_json.understand(TOPIC, "s1", payload, NOW) is not None
    payload = payload.replace(before, after)
    assert quick_json.understand(TOPIC, "s1", payload, NOW) in (
        None,
        strict_json.understand(TOPIC, "s1", payload, NOW),
    )
