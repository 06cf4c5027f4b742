"""Headers recognised at once: the general parser would have read the same, and ordinary ones are recognised."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import Problem
from server.fieldsync.headers import usual_header
from server.web.body import parse_json
from sync.acts import ActError, Header, encode, encode_act, encode_fields, parse_header
from sync.dots import Dot
from tests.unit.sync.histories import dot, journal

BODY = encode_fields("A" * 22, {"result": "1"})
PERSONAL = encode_fields("A" * 22, {"contact": "张样例"})
ORDINARY = Header(
    journal=journal(1), seq=7, prev="0" * 64, kind="inspection", record=journal(2), op="put",
    seen=frozenset({dot(1, 3), dot(4, 1)}), schema=1, wall_ms=1_750_000_000_000, mono_ms=0, boot=journal(3),
    officer=journal(4), body="", personal=None,
)  # fmt: skip
MEMBERS: dict[str, Any] = json.loads(encode_act(ORDINARY, BODY, PERSONAL).header)
VALUES = st.sampled_from(
    [
        None, True, 0, 1, 7, -1, 1.0, 10**15, 2**53, "", "put", "del", "é", "a b", "a\n", "A", journal(1), journal(9),
        journal(1).upper(), "0" * 64, "0" * 64 + "\n", "g" * 64, [], ["x"], [str(dot(1, 6))], [str(dot(1, 7))],
        [str(dot(1, 8)), 1], [f"{dot(2, 1)}\n"], [f'{dot(2, 1)}","{dot(3, 1)}'], [str(dot(2, 1))] * 2,
        [f"{journal(5)}:{number}" for number in range(1, 514)],
    ]
)  # fmt: skip


def general(part: bytes) -> Header | None:
    """What the strict parser and the protocol's own check make of the bytes."""
    try:
        return parse_header(parse_json(part))
    except (Problem, ActError):
        return None


@pytest.mark.parametrize("change", [{}, {"seen": []}, {"personal": None}, {"op": "delete"}, {"seq": 1, "prev": ""}])
def test_ordinary_headers_are_recognised(change: dict[str, Any]) -> None:
    """What handhelds write takes the short way; if not, it would only be slow, and nothing else would tell."""
    part = encode({**MEMBERS, "seen": [str(Dot(journal(9), 2))]} | change)
    assert usual_header(part) == general(part) is not None


@given(st.dictionaries(st.sampled_from(sorted(MEMBERS)), VALUES, max_size=3))
def test_values_never_say_more_than_the_general_parser(changes: dict[str, Any]) -> None:
    """Whatever stands in the members: recognised means read alike."""
    part = encode(MEMBERS | changes)
    found = usual_header(part)
    assert found is None or found == general(part)


@given(st.data())
def test_bytes_never_say_more_than_the_general_parser(data: st.DataObject) -> None:
    """Whatever becomes of the bytes: recognised means read alike."""
    part = bytearray(encode(MEMBERS))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(part)))
        part[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.binary(max_size=2) | st.sampled_from([b" ", b"0", b'"', b",", b"\\u0061", b'"v":1,', b"\xc3\xa9"])
        )
    found = usual_header(bytes(part))
    assert found is None or found == general(bytes(part))
