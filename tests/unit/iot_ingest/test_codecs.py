"""The promise of every format: what is sound is understood alike, the rest is kept with a reason, nothing raises."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_ingest.codecs import quick_json
from iot_ingest.decode import CODECS, decode
from schemas import hj212
from schemas.telemetry import CBOR, CODES, FORMATS, HJ212, JSON, MESSAGE_LIMIT_BYTES, SENML, Message, readings_topic

NOW = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
AT = datetime(2013, 2, 28, 16, tzinfo=UTC)
SENSOR = "010000A8900016F000169DC0"


@dataclass(frozen=True)
class Sample:
    """How a format says one thing: SO2 was 4 and PM10 was 57.5 (flag D), in the hour that began at `AT`."""

    sound: bytes
    """Number 7, of this sensor."""
    foreign: bytes
    """The same, in another sensor's name."""
    numbered: bool = True


def _json(sensor: str) -> dict[str, object]:
    readings = [
        {"time": "2013-03-01T00:00:00+08:00", "factor": "SO2", "value": 4, "unit": "ug/m3"},
        {"time": "2013-02-28T16:00:00Z", "factor": "PM10", "value": 0.0575, "unit": "mg/m3", "flag": "D"},
    ]
    return {"seq": 7, "sensor": sensor, "sent": "2026-03-02T09:00:00+08:00", "readings": readings}


def _senml(sensor: str) -> list[dict[str, object]]:
    return [
        {"bn": f"{sensor}/", "bt": AT.timestamp(), "bu": "ug/m3", "n": "SO2", "v": 4},
        {"n": "PM10", "v": 57.5},
        {"n": "PM10/flag", "vs": "D"},
        {"n": "seq", "v": 7},
    ]


def _hj212(sensor: str) -> bytes:
    content = "DataTime=20130301000000;a21026-Cou=9,a21026-Avg=4,a21026-Flag=N;a34002-Avg=57.5,a34002-Flag=D"
    return hj212.encode(hj212.Packet("20260302090000000", 22, 2061, "123456", sensor, 5, content))


SAMPLES = {
    JSON: Sample(json.dumps(_json(SENSOR)).encode(), json.dumps(_json("other")).encode()),
    CBOR: Sample(cbor2.dumps(_json(SENSOR)), cbor2.dumps(_json("other"))),
    SENML: Sample(json.dumps(_senml(SENSOR)).encode(), json.dumps(_senml("other")).encode()),
    HJ212: Sample(_hj212(SENSOR), _hj212("other"), numbered=False),
}
per_format = pytest.mark.parametrize("form", FORMATS)


def understood(form: str, payload: bytes) -> Message:
    """Decode a payload on the sensor's topic of a format."""
    return decode(readings_topic(SENSOR, form), payload, NOW)


def test_every_format_keeps_the_promise() -> None:
    """A format without a sample here would go untested."""
    assert set(SAMPLES) == set(CODECS) == set(FORMATS)


@per_format
def test_a_sound_message_is_understood(form: str) -> None:
    """All formats say the same thing in the end; a unit that a format does not carry is the channel's."""
    message = understood(form, SAMPLES[form].sound)
    assert message.refusals == ()
    assert [(item.at, item.factor, item.flag, item.kind) for item in message.readings] == [
        (AT, "SO2", "N", "hour"),
        (AT, "PM10", "D", "hour"),
    ]
    assert [item.value for item in message.readings] == pytest.approx([4.0, 57.5])
    assert {item.unit for item in message.readings} == ({"ug/m3"} if SAMPLES[form].numbered else {""})
    assert (message.sensor, message.seq) == (SENSOR, 7 if SAMPLES[form].numbered else 0)
    assert message.sent_at == (None if form == SENML else NOW)


@per_format
def test_another_sensors_name_is_refused(form: str) -> None:
    """The topic is what the broker has authenticated."""
    (refusal,) = understood(form, SAMPLES[form].foreign).refusals
    assert (refusal.reason, refusal.payload, refusal.readings) == ("foreign-sensor", SAMPLES[form].foreign, 2)


@per_format
def test_a_message_cut_off_is_refused(form: str) -> None:
    """Wherever it is cut, it is refused whole with its bytes, for a reason that has a name."""
    sound = SAMPLES[form].sound
    for length in range(len(sound)):
        message = understood(form, sound[:length])
        assert message.readings == ()
        (refusal,) = message.refusals
        assert refusal.payload == sound[:length]
        assert refusal.reason in CODES["refusals"]


@per_format
def test_a_large_message_is_refused_unread(form: str) -> None:
    """Whatever the format."""
    (refusal,) = understood(form, b"[" * (MESSAGE_LIMIT_BYTES + 1)).refusals
    assert refusal.reason == "message-too-large"


def _mutations(sound: bytes) -> st.SearchStrategy[bytes]:
    """Sound bytes with a piece replaced."""
    place = st.integers(0, len(sound) - 1)
    return st.builds(
        lambda at, until, new: sound[: min(at, until)] + new + sound[max(at, until) :],
        place,
        place,
        st.binary(max_size=6),
    )


ANYTHING: dict[str, Callable[[bytes], st.SearchStrategy[bytes]]] = {
    "bytes": lambda _sound: st.binary(max_size=120),
    "mutated": _mutations,
}


@per_format
@pytest.mark.parametrize("kind", ANYTHING)
def test_nothing_raises(form: str, kind: str) -> None:
    """Whatever arrives is understood or refused, every refusal has a name, and nothing is both."""

    @given(ANYTHING[kind](SAMPLES[form].sound))
    def holds(payload: bytes) -> None:
        message = understood(form, payload)
        assert message.readings or message.refusals
        assert all(refusal.reason in CODES["refusals"] for refusal in message.refusals)
        assert all(reading.value is None or abs(reading.value) < float("inf") for reading in message.readings)

    holds()


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(-9, 9), inner, max_size=4)
    ),
    max_leaves=10,
)
RECORD = st.dictionaries(st.sampled_from(["n", "v", "vs", "u", "t", "bn", "bt", "bu", "bv", "x"]), PLAIN, max_size=5)


@given(PLAIN | st.lists(RECORD, max_size=4) | st.fixed_dictionaries({"seq": PLAIN, "readings": st.lists(RECORD)}))
def test_cbor_of_any_shape(content: object) -> None:
    """Numbers, bytes and names that JSON does not know are refused, in both formats that are written in CBOR."""
    payload = cbor2.dumps(content)
    for form in (CBOR, SENML):
        message = understood(form, payload)
        assert message.readings or message.refusals


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\x81" * 2_000, "malformed-cbor"),
        (cbor2.dumps({"seq": 1}) + b"\x00", "malformed-cbor"),
        (b"\xa2\x63seq\x01\x63seq\x02", "malformed-cbor"),
        (cbor2.dumps({"seq": 1, "readings": [{"value": float("nan")}]}), "malformed-cbor"),
        (cbor2.dumps({"seq": 1, "readings": [cbor2.CBORTag(1, 0)]}), "malformed-cbor"),
        (cbor2.dumps({1: 2}), "bad-message"),
    ],
)
def test_cbor_that_is_refused(payload: bytes, reason: str) -> None:
    """Nested deep, with something behind it, a name twice, no number, a tag, another shape."""
    assert understood(CBOR, payload).refusals[0].reason == reason


def test_senml_in_cbor() -> None:
    """The short names of RFC 8428 mean the same."""
    pack = [
        {-2: f"urn:dev:ops:{SENSOR}", -3: int(AT.timestamp()), 0: "SO2/minute", 1: "mg/m3", 2: 1.5},
        {0: "seq", 2: 3.0},
    ]
    message = understood(SENML, cbor2.dumps(pack))
    (reading,) = message.readings
    assert (reading.value, reading.kind, message.seq, message.sensor) == (1500.0, "minute", 3, SENSOR)


@pytest.mark.parametrize(
    ("record", "reason"),
    [({"t": 5}, "bad-time"), ({"t": 1e300}, "bad-time"), ({"u": "ppm"}, "unknown-unit"), ({"n": "X"}, "unknown-factor"),
     ({"n": "SO2/week"}, "unknown-kind"), ({"v": "high"}, "not-a-number")],
)  # fmt: skip
def test_a_senml_record_is_refused_alone(record: dict[str, object], reason: str) -> None:
    """Relative times, foreign units and names: the others of the pack are understood."""
    good = {"n": "SO2", "u": "ug/m3", "v": 1, "t": AT.timestamp()}
    message = understood(SENML, json.dumps([good, good | record, {"n": "seq", "v": 1}]).encode())
    assert len(message.readings) == 1
    assert [refusal.reason for refusal in message.refusals] == [reason]


def test_the_quick_way_takes_no_other_format() -> None:
    """It knows the common JSON message only."""
    for form in (SENML, CBOR, HJ212):
        assert quick_json.understand("t", SENSOR, SAMPLES[form].sound, NOW) is None
