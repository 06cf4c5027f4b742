"""Prepared segments are what the protocol asks for."""

import json
import re

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device_sim.bench.installation import Device, new_id
from device_sim.bench.segments import JournalBuilder, inspection_fields, inspections
from device_sim.bench.shares import shares
from device_sim.handheld.link import base64url
from schemas.kinds import KINDS, personal_fields
from server.fieldsync.segment import read_segment
from server.web.body import parse_json
from sync.acts import check_commitments, parse_header
from sync.journal import SegmentHead


@pytest.fixture
def builder() -> JournalBuilder:
    """A fresh journal of a device with its own key."""
    return JournalBuilder(Device(new_id(), new_id(), Ed25519PrivateKey.generate(), "token"))


def test_segments_are_accepted_as_frames(builder: JournalBuilder) -> None:
    """The server reads each segment: chained, dense, signed, and cut as asked."""
    list(inspections(builder, new_id(), [new_id(), new_id()], 5))
    segments = builder.seal(2)
    assert [(one.first, one.last, one.acts) for one in segments] == [(1, 2, 2), (3, 4, 2), (5, 5, 1)]

    def verify(head: SegmentHead) -> None:
        expected = base64url(builder.device.key.sign(head.statement()))
        assert head.signature == expected

    for segment in segments:
        read = read_segment(segment.body, verify)
        headers = [parse_header(parse_json(act.parts.header)) for act in read.acts]
        assert [header.record for header in headers] == list(segment.records)
        for header, act in zip(headers, read.acts, strict=True):
            check_commitments(header, act.parts)


def test_sealing_twice_continues(builder: JournalBuilder) -> None:
    """A second seal holds only what was written since, chained to the first."""
    builder.write("inspection", new_id(), {"status": "open"})
    first = builder.seal(10)
    builder.write("inspection", new_id(), {"status": "open"})
    second = builder.seal(10)
    assert (first[0].last, second[0].first) == (1, 2)
    read = read_segment(second[0].body, lambda _head: None)
    assert read.acts[0].prev == builder.acts[0].hash()
    assert builder.seal(10) == []


def test_an_inspection_has_30_fields_and_about_940_bytes() -> None:
    """The record is as large as the benchmark says, known fields are valid, and some are personal."""
    fields = inspection_fields(new_id(), [new_id(), new_id()], 7)
    size_bytes = len(json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode())
    kind = KINDS["inspection"]
    known = {name: value for name, value in fields.items() if name in kind.schema().fields}
    assert len(fields) == 30
    assert 880 <= size_bytes <= 1_000
    assert not kind.schema().validate(known)
    assert fields.keys() & personal_fields(kind.schema)
    assert fields.keys() - known.keys()


def test_personal_fields_lie_in_their_own_part(builder: JournalBuilder) -> None:
    """What is personal stands in no body."""
    list(inspections(builder, new_id(), [new_id(), new_id()], 1))
    act = builder.acts[0]
    assert re.search(rb'"contact"', act.personal)
    assert not re.search(rb'"contact"', act.body)


@pytest.mark.parametrize(
    ("total", "expected"), [(8, [2, 2, 2, 2]), (10, [3, 3, 2, 2]), (1, [1, 1, 1, 1])], ids=["even", "rest", "few"]
)
def test_shares(total: int, expected: list[int]) -> None:
    """Work is divided evenly, and nobody goes without."""
    assert shares(total, 4) == expected
