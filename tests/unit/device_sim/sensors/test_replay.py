"""From station hours to messages: raw values kept, dense numbers, and every fault accounted for."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from device_sim.sample.reading import SkipReport
from device_sim.sample.telemetry import Observation, read_observations
from device_sim.sensors.replay import Outgoing, ReplayPlan, as_reading, nonsense, outgoing
from iot_ingest.decode import decode
from schemas.telemetry import payload_identity, reading_identity

START = datetime(2013, 2, 28, 16, tzinfo=UTC)


def hours(count: int) -> list[Observation]:
    """Hours of two factors."""
    return [Observation("x", START + timedelta(hours=n), {"SO2": str(n), "O3": "NA"}) for n in range(count)]


def bodies(plan: ReplayPlan, count: int, limit: int = 0) -> list[Outgoing]:
    """The messages of so many hours."""
    return list(outgoing(hours(count), "s1", plan, limit))


@pytest.mark.parametrize(
    ("text", "value", "flag"),
    [("4", 4, "N"), ("-0.7", -0.7, "N"), ("007", 7, "N"), ("NA", None, "D"), ("", None, "D"), (" ", " ", "N"),
     ("abc", "abc", "N"), ("1e999", "1e999", "N"), ("nan", "nan", "N"), (" 5 ", " 5 ", "N"), ("9" * 30, "9" * 30, "N")],
)  # fmt: skip
def test_values_keep_their_text(text: str, value: object, flag: str) -> None:
    """Numbers become numbers, missing values null with flag D, and anything else stays as it stands in the file."""
    reading = as_reading(Observation("x", START, {"SO2": text}), "SO2")
    assert (reading["value"], reading["flag"]) == (value, flag)
    assert reading["time"] == "2013-03-01T00:00:00+08:00"


def test_numbers_are_dense_and_hours_whole() -> None:
    """A message carries whole hours, the numbers are 1, 2, 3 …, and the limit is reached with a whole message."""
    found = bodies(ReplayPlan(hours_per_message=3), 10)
    contents = [json.loads(item.payload) for item in found]
    assert [content["seq"] for content in contents] == [1, 2, 3, 4]
    assert [len(content["readings"]) for content in contents] == [6, 6, 6, 2]
    assert len(bodies(ReplayPlan(), 10, limit=5)) == 3


def test_the_same_plan_says_the_same() -> None:
    """A replay that is run again repeats itself byte for byte."""
    plan = ReplayPlan(repeat_every=2, nonsense_every=3)
    assert bodies(plan, 30) == bodies(plan, 30)
    assert bodies(plan, 30) != bodies(ReplayPlan(repeat_every=2, nonsense_every=3, seed=8), 30)


def test_everything_said_is_on_record() -> None:
    """Each reading of each message, nonsense included, is named; unreadable and forged messages are named whole."""
    found = bodies(ReplayPlan(repeat_every=4, nonsense_every=2), 60)
    seqs: list[int] = []
    for item in found:
        if len(item.said) == 1 and item.said[0].whole:
            assert item.said[0].identity == payload_identity(item.topic, item.payload)
        else:
            content = json.loads(item.payload)
            assert {said.identity for said in item.said} == {
                reading_identity("s1", reading) for reading in content["readings"]
            }
        decoded = decode(item.topic, item.payload, START)
        if decoded.seq is not None:
            seqs.append(decoded.seq)
    assert seqs == list(range(1, len(seqs) + 1))
    assert sum(item.repeats for item in bodies(ReplayPlan(repeat_every=4), 60)) == 15
    assert any(decode(item.topic, item.payload, START).seq is None for item in found)


def test_each_turn_brings_other_nonsense() -> None:
    """Nine kinds, each different from the real reading."""
    real: dict[str, Any] = dict(as_reading(hours(1)[0], "SO2"))
    kinds = [nonsense(real, turn)[0] for turn in range(9)]
    assert all(kind != real for kind in kinds)
    assert len({json.dumps(kind) for kind in kinds}) == 9
    assert nonsense(real, 9) == nonsense(real, 0)


def test_a_machines_temperatures_are_replayed(tmp_path: Path) -> None:
    """A series of moments becomes readings of the moment, in the unit of its factor; odd rows are counted."""
    path = tmp_path / "nab_machine_temperature.csv.gz"
    rows = ["timestamp,value", "2013-12-02 21:15:00,73.96732207", "yesterday,5", "2013-12-02 21:20:00,NA"]
    with gzip.open(path, "wt") as out:
        out.write("\n".join(rows))
    report = SkipReport()
    first, second = outgoing(read_observations(path, report), "m1", ReplayPlan(), 0)
    understood = decode(first.topic, first.payload, START)
    (reading,) = understood.readings
    assert (reading.at, reading.value) == (datetime(2013, 12, 2, 21, 15, tzinfo=UTC), 73.96732207)
    assert (reading.factor, reading.unit, reading.kind) == ("machine-temperature", "degC", "realtime")
    assert [item.flag for item in decode(second.topic, second.payload, START).readings] == ["D"]
    assert sum(report.counts.values()) == 1
