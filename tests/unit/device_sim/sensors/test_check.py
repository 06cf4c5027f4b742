"""The balance of published and stored: it must notice each kind of fault."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from device_sim.sensors.check import balance
from device_sim.sensors.record import PublishedRecord, read_record
from device_sim.sensors.replay import Published
from schemas.telemetry import payload_identity, reading_identity

TIME = "2013-03-01T00:00:00+08:00"
READING: dict[str, Any] = {"time": TIME, "factor": "SO2", "value": 4, "unit": "ug/m3", "flag": "N"}
SERVED = READING | {"time": "2013-02-28T16:00:00+00:00", "value": 4.0, "sensor": "s1", "valid": True}
SAID = Published(reading_identity("s1", READING), "s1", "SO2", TIME)


def letter(identity: str, payload: bytes = b"x", whole: bool = False, status: str = "open") -> dict[str, Any]:
    """A dead letter as served."""
    encoded = base64.b64encode(payload).decode()
    return {"identity": identity, "sensor": "s1", "whole": whole, "status": status, "payload": encoded}


def test_a_stored_reading_is_found() -> None:
    """The same instant and number in another form are the same reading."""
    found = balance([SAID], [SERVED], [])
    assert (found.published, found.valid, found.invalid, found.lost) == (1, 1, 0, 0)
    assert found.ok
    assert balance([SAID], [SERVED | {"valid": False}], []).invalid == 1


def test_a_lost_reading_is_noticed() -> None:
    """Neither stored nor dead-lettered; a replayed letter no longer counts."""
    for letters in ([], [letter(SAID.identity, status="replayed")]):
        found = balance([SAID], [], letters)
        assert (found.lost, found.ok) == (1, False)
        assert "lost" in found.examples[0]


def test_a_doubled_reading_is_noticed() -> None:
    """Stored and dead-lettered as well."""
    assert balance([SAID], [SERVED], [letter(SAID.identity)]).twice == 1


def test_an_invented_reading_is_noticed() -> None:
    """A stored value that nobody sent."""
    found = balance([SAID], [SERVED, SERVED | {"value": 5.0}], [])
    assert (found.unexpected, found.lost) == (1, 0)


def test_a_message_refused_whole_stands_for_its_readings() -> None:
    """Its payload is opened, unless the message itself was on record, or is unreadable."""
    sound = json.dumps({"seq": 1, "readings": [READING]}).encode()
    assert balance([SAID], [], [letter("m", sound, whole=True)]).dead_lettered == 1
    broken = payload_identity("t", b"{")
    cut = Published(broken, "s1", "", "", whole=True)
    assert balance([cut], [], [letter(broken, b"{", whole=True)]).ok
    assert balance([], [], [letter("m", b"{", whole=True)]).unexpected == 1


def test_the_record_keeps_each_thing_once(tmp_path: Path) -> None:
    """Said twice is one line; read back it is the same; without a file it only counts."""
    path = tmp_path / "published.jsonl"
    with path.open("w") as out:
        record = PublishedRecord(out)
        record.add([SAID, SAID])
        record.add([SAID])
    assert len(record) == 1
    assert list(read_record(path)) == [SAID]
    silent = PublishedRecord(None)
    silent.add([SAID])
    assert len(silent) == 1


@pytest.mark.parametrize(
    "other",
    [
        READING | {"value": 4.5},
        READING | {"flag": "D"},
        READING | {"time": TIME.replace("T00", "T01")},
        [READING],
        "x",
        None,
    ],
)
def test_identities_differ_with_the_content(other: object) -> None:
    """Whatever differs in what was said differs in its name, between sensors too."""
    assert reading_identity("s1", other) != SAID.identity
    assert reading_identity("s2", READING) != SAID.identity
