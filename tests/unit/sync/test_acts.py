"""Act lines: bytes out, the same act in; commitments; and parsers that refuse, but never fail."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.acts import (
    ACT_DOMAIN,
    DELETE,
    MAX_FIELDS,
    MAX_NAME_CHARS,
    MAX_PART_BYTES,
    MAX_SEEN,
    PUT,
    ActError,
    ActParts,
    Header,
    all_fields,
    check_commitments,
    check_version,
    commitment,
    encode,
    encode_act,
    encode_fields,
    erased_names,
    erased_part,
    is_hash,
    parse_fields,
    parse_header,
    split_line,
)
from sync.dots import MAX_SEQUENCE, Dot
from tests.unit.sync.histories import HASHES, IDS, JSON, dot, journal

SALT = "AAAAAAAAAAAAAAAAAAAAAA"
BODY = encode_fields(SALT, {"result": "01"})
PERSONAL = encode_fields(SALT, {"contact": "张样例"})
HEADER = Header(
    journal=journal(1), seq=2, prev="0" * 64, kind="inspection", record=journal(7), op=PUT, seen=frozenset({dot(2)}),
    schema=1, wall_ms=1_750_000_000_000, mono_ms=12, boot=journal(8), officer=journal(9), body="", personal=None,
)  # fmt: skip
NUMBERS = st.integers(0, MAX_SEQUENCE)


@st.composite
def headers(draw: st.DrawFn) -> Header:
    """Any valid header; commitments are filled in by encoding."""
    seq = draw(st.integers(1, MAX_SEQUENCE))
    return Header(
        journal=draw(IDS),
        seq=seq,
        prev="" if seq == 1 else draw(HASHES),
        kind=draw(st.text(min_size=1, max_size=MAX_NAME_CHARS)),
        record=draw(IDS),
        op=draw(st.sampled_from([PUT, DELETE])),
        seen=draw(st.frozensets(st.builds(Dot, IDS, st.integers(1, MAX_SEQUENCE)), max_size=4)),
        schema=draw(st.integers(1, MAX_SEQUENCE)),
        wall_ms=draw(NUMBERS),
        mono_ms=draw(NUMBERS),
        boot=draw(IDS),
        officer=draw(IDS),
        body="",
        personal=None,
    )


def members(**changes: object) -> dict[str, Any]:
    """The decoded members of a valid header, some of them changed."""
    valid: dict[str, Any] = json.loads(encode_act(HEADER, BODY).header)
    return valid | changes


FIELDS = st.dictionaries(st.text(min_size=1, max_size=8), JSON, max_size=4)


@given(headers(), FIELDS, FIELDS)
def test_round_trip(header: Header, fields: dict[str, Any], personal: dict[str, Any]) -> None:
    """Bytes out and in give the same header and the same fields, and one line is one line."""
    if header.seen and any(one.journal == header.journal for one in header.seen):
        return
    body = encode_fields(SALT, fields)
    closed = encode_fields(SALT, personal) if personal else b""
    parts = encode_act(header, body, closed)
    line = parts.line()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert line.count(b"\t") == 2
    assert split_line(line) == split_line(line.removesuffix(b"\n")) == parts
    parsed = parse_header(json.loads(parts.header))
    assert parsed == replace(header, body=commitment(body), personal=commitment(closed) if closed else None)
    check_commitments(parsed, parts)
    assert json.loads(body) == {"salt": SALT, "fields": fields}


def test_the_name_of_an_act() -> None:
    """Journal and number."""
    assert HEADER.dot == dot(1, 2)


def test_the_hash_covers_the_header_alone() -> None:
    """With its domain in front, so that no other statement can be taken for an act."""
    parts = encode_act(HEADER, BODY, PERSONAL)
    assert parts.hash() == hashlib.sha256(ACT_DOMAIN + parts.header).hexdigest()
    assert replace(parts, personal=b"").hash() == parts.hash()


def test_a_changed_header_has_another_hash() -> None:
    """Every member counts: changing any of them changes the hash."""
    whole = encode_act(HEADER, BODY)
    for name in members():
        changed = replace(whole, header=encode(members(**{name: "another"})))
        assert changed.hash() != whole.hash()


def test_numbers_that_json_does_not_have_are_not_written() -> None:
    """A device must not send what every server refuses."""
    with pytest.raises(ValueError, match="JSON"):
        encode(float("nan"))


@pytest.mark.parametrize(
    ("line", "field", "limit"),
    [
        (b"", "line", None),
        (b"{}\t{}", "line", None),
        (b"{}\t{}\t\t", "line", None),
        (b"x" * (MAX_PART_BYTES + 1) + b"\t{}\t", "header", MAX_PART_BYTES),
        (b"{}\t" + b"x" * (MAX_PART_BYTES + 1) + b"\t", "body", MAX_PART_BYTES),
        (b"{}\t{}\t" + b"x" * (MAX_PART_BYTES + 1) + b"\n", "personal", MAX_PART_BYTES),
    ],
    ids=["empty", "two", "four", "header", "body", "personal"],
)
def test_lines_that_are_no_acts(line: bytes, field: str, limit: int | None) -> None:
    """Three parts, none too long; the part is named, with its limit."""
    with pytest.raises(ActError) as caught:
        split_line(line)
    assert (caught.value.field, caught.value.limit) == (field, limit)


def test_parts_of_the_greatest_length_are_taken() -> None:
    """The limit itself is inside."""
    part = b"x" * MAX_PART_BYTES
    assert split_line(b"\t".join((part, part, part)) + b"\n") == ActParts(part, part, part)


WRONG: dict[str, list[object]] = {
    "v": [0, 2, True, 1.0, "1", None],
    "journal": ["", "x", None, 1, journal(1).upper()],
    "seq": [0, -1, 1.0, True, "1", None, MAX_SEQUENCE + 1],
    "prev": ["", "0" * 63, "0" * 65, "G" * 64, "A" * 64, None, 0, "0" * 64 + "\n"],
    "kind": ["", "x" * (MAX_NAME_CHARS + 1), None, 1, ["task"]],
    "record": ["", None, {}],
    "op": ["", "PUT", "patch", None, 1, ["put"], {}],
    "seen": [None, "", {}, [1], ["x"], [[]], [str(dot(2)).upper()], [f"{journal(2)}:1"] * (MAX_SEEN + 1)],
    "schema": [0, True, 1.5, None],
    "wall_ms": [-1, True, 1.5, None, 1e3],
    "mono_ms": [-1, False, "0"],
    "boot": ["", None],
    "officer": ["", None],
    "body": ["", None, "0" * 63],
    "personal": ["", 0, "0" * 63, False],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_wrong_members_of_a_header(name: str, value: object) -> None:
    """The refusal names the member."""
    with pytest.raises(ActError) as caught:
        parse_header(members(**{name: value}))
    assert caught.value.field == name
    assert str(caught.value) == f"{name}: {caught.value.reason}"


@pytest.mark.parametrize("name", sorted(members()))
def test_a_header_without_a_member(name: str) -> None:
    """Every member is needed."""
    left = members()
    del left[name]
    with pytest.raises(ActError, match=f"^{name}: is missing$"):
        parse_header(left)


def test_a_header_with_a_member_too_many() -> None:
    """Unknown members are refused by name, and a long name is cut."""
    with pytest.raises(ActError, match="^colour: is not known$"):
        parse_header(members(colour="red"))
    with pytest.raises(ActError) as caught:
        parse_header(members(**{"x" * 9_000: 1}))
    assert caught.value.field == "x" * MAX_NAME_CHARS


@pytest.mark.parametrize("value", [None, [], "header", 1, True])
def test_a_header_that_is_no_object(value: object) -> None:
    """Any other JSON value is refused as a whole."""
    with pytest.raises(ActError, match="^header: is not an object$"):
        parse_header(value)


def test_the_limits_a_refusal_names() -> None:
    """The problem a device gets says what the limit is."""
    for name, value, limit in [
        ("seen", [f"{journal(2)}:1"] * (MAX_SEEN + 1), MAX_SEEN),
        ("seq", MAX_SEQUENCE + 1, MAX_SEQUENCE),
        ("kind", "x" * 100, MAX_NAME_CHARS),
    ]:
        with pytest.raises(ActError) as caught:
            parse_header(members(**{name: value}))
        assert caught.value.limit == limit


def test_the_first_act_has_no_predecessor() -> None:
    """The empty text stands for it, and only in the first act."""
    assert parse_header(members(seq=1, prev="", seen=[])).prev == ""
    with pytest.raises(ActError, match="^prev: is empty in the first act$"):
        parse_header(members(seq=1, seen=[]))


def test_contexts_from_the_future_are_refused() -> None:
    """An act that had seen itself or its successors would wipe out its own value."""
    for seq in (2, 3):
        with pytest.raises(ActError, match="^seen: names the act itself"):
            parse_header(members(seen=[str(dot(1, seq))]))
    assert parse_header(members(seen=[str(dot(1, 1))])).seen == {dot(1, 1)}


@pytest.mark.parametrize("value", [True, 1.0, "1", 2, None])
def test_versions_are_whole_numbers(value: object) -> None:
    """True equals 1 in Python, and is another value in JSON."""
    with pytest.raises(ActError, match="^v: must be 1$"):
        check_version(value, 1)


def test_hashes_have_one_spelling() -> None:
    """Lower case, 64 digits, ASCII."""
    assert is_hash("0a" * 32)
    assert not any(map(is_hash, ["0A" * 32, "0a" * 31, "٠" * 64, None, 0, ["0a" * 32]]))


def test_commitments_hold_the_parts() -> None:
    """Both parts are committed to, each by its own hash."""
    parts = encode_act(HEADER, BODY, PERSONAL)
    header = parse_header(json.loads(parts.header))
    assert header.body == hashlib.sha256(BODY).hexdigest()
    assert header.personal == hashlib.sha256(PERSONAL).hexdigest()
    check_commitments(header, parts)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"body": BODY + b" "}, "body"),
        ({"body": b""}, "body"),
        ({"personal": PERSONAL.replace(b"A", b"B", 1)}, "personal"),
        ({"personal": b""}, "personal"),
    ],
)
def test_a_changed_part_does_not_match(changed: dict[str, bytes], field: str) -> None:
    """One byte is enough; the part is named."""
    parts = encode_act(HEADER, BODY, PERSONAL)
    header = parse_header(json.loads(parts.header))
    with pytest.raises(ActError, match=f"^{field}: does not match"):
        check_commitments(header, ActParts(parts.header, **{"body": BODY, "personal": PERSONAL} | changed))


def test_a_personal_part_that_was_not_committed_to_is_refused() -> None:
    """Nobody can add personal data to somebody else's act."""
    parts = encode_act(HEADER, BODY)
    header = parse_header(json.loads(parts.header))
    for erasable in (False, True):
        with pytest.raises(ActError, match="^personal"):
            check_commitments(header, replace(parts, personal=PERSONAL), erasable=erasable)


def test_an_erased_personal_part_is_accepted_where_it_may_be_erased() -> None:
    """Stored acts may have lost it lawfully; a changed one is still found."""
    parts = encode_act(HEADER, BODY, PERSONAL)
    header = parse_header(json.loads(parts.header))
    check_commitments(header, replace(parts, personal=b""), erasable=True)
    with pytest.raises(ActError, match="^personal"):
        check_commitments(header, replace(parts, personal=PERSONAL + b" "), erasable=True)
    with pytest.raises(ActError, match="^body"):
        check_commitments(header, replace(parts, body=b"", personal=b""), erasable=True)


def test_fields_of_a_part() -> None:
    """A part is a salt and its fields."""
    assert parse_fields("body", {"salt": SALT, "fields": {"result": [1]}}) == {"result": [1]}
    assert parse_fields("body", {"salt": "-_" * 11, "fields": {}}) == {}


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (None, "body"),
        ([], "body"),
        ({"salt": SALT}, "body"),
        ({"salt": SALT, "fields": {}, "more": 1}, "body"),
        ({"salt": SALT[:-1], "fields": {}}, "body.salt"),
        ({"salt": SALT + "A", "fields": {}}, "body.salt"),
        ({"salt": SALT[:-1] + "=", "fields": {}}, "body.salt"),
        ({"salt": SALT[:-1] + "\n", "fields": {}}, "body.salt"),
        ({"salt": None, "fields": {}}, "body.salt"),
        ({"salt": SALT, "fields": []}, "body.fields"),
        ({"salt": SALT, "fields": None}, "body.fields"),
        ({"salt": SALT, "fields": {"": 1}}, "body.fields"),
        ({"salt": SALT, "fields": {"_deleted": 1}}, "body.fields"),
        ({"salt": SALT, "fields": {"x" * (MAX_NAME_CHARS + 1): 1}}, "body.fields"),
        ({"salt": SALT, "fields": {str(n): n for n in range(MAX_FIELDS + 1)}}, "body.fields"),
    ],
)
def test_parts_of_another_shape(value: object, field: str) -> None:
    """Pseudo-fields cannot be written, and there is a limit to everything."""
    with pytest.raises(ActError) as caught:
        parse_fields("body", value)
    assert caught.value.field == field


def test_both_parts_together() -> None:
    """What the act sets is what either part sets."""
    assert all_fields(PUT, {"result": "01"}, {"contact": "x"}) == {"result": "01", "contact": "x"}
    assert all_fields(PUT, {}, {"contact": "x"}) == {"contact": "x"}
    assert all_fields(DELETE, {}, {}) == {}


@pytest.mark.parametrize(
    ("op", "body", "personal", "field"),
    [
        (PUT, {}, {}, "body.fields"),
        (DELETE, {"result": "01"}, {}, "body.fields"),
        (DELETE, {}, {"contact": "x"}, "body.fields"),
        (PUT, {"contact": "x"}, {"contact": "y"}, "personal.fields"),
        (PUT, {str(n): n for n in range(MAX_FIELDS)}, {"contact": "x"}, "personal.fields"),
    ],
)
def test_parts_that_do_not_go_together(op: str, body: dict[str, Any], personal: dict[str, Any], field: str) -> None:
    """A put that sets nothing, a deletion that sets something, a field in both parts, too many in all."""
    with pytest.raises(ActError) as caught:
        all_fields(op, body, personal)
    assert caught.value.field == field


@st.composite
def nearly_headers(draw: st.DrawFn) -> object:
    """A valid header with some members replaced by any JSON value, left out, or put in."""
    value = members()
    for name in draw(st.lists(st.sampled_from(sorted(value)), max_size=3, unique=True)):
        if draw(st.booleans()):
            value[name] = draw(JSON | st.lists(st.text(), max_size=3))
        else:
            del value[name]
    return value | draw(st.dictionaries(st.text(max_size=5), JSON, max_size=1))


@given(JSON | nearly_headers())
def test_parsing_any_header_raises_nothing_but_act_error(value: object) -> None:
    """Bad input is a refusal, never a crash."""
    with suppress(ActError):
        header = parse_header(value)
        assert header.dot not in header.seen


@given(st.text(max_size=5), JSON | st.fixed_dictionaries({"salt": JSON | st.just(SALT), "fields": JSON}))
def test_parsing_any_part_raises_nothing_but_act_error(name: str, value: object) -> None:
    """Bad input is a refusal, never a crash."""
    with suppress(ActError):
        assert all(isinstance(field, str) for field in parse_fields(name, value))


@given(st.binary(max_size=200))
def test_splitting_any_bytes_raises_nothing_but_act_error(line: bytes) -> None:
    """Bad input is a refusal, never a crash."""
    with suppress(ActError):
        assert split_line(line).line() == line.removesuffix(b"\n") + b"\n"


def test_a_line_feed_inside_ends_no_line_of_ours() -> None:
    """Encoded text never holds a raw tab or line feed: JSON escapes them."""
    assert encode_fields(SALT, {"notes": "one\ttwo\nthree"}).count(b"\n") == 0
    assert b"\t" not in encode_fields(SALT, {"notes": "one\ttwo\nthree"})


def test_an_erased_part_keeps_the_names() -> None:
    """The names of the destroyed fields can be read back, sorted; an empty part names none."""
    assert erased_names(erased_part(["statement", "contact"])) == ["contact", "statement"]
    assert erased_names(b"") == []


@pytest.mark.parametrize(
    "part",
    [
        b"not json",
        b"[]",
        b'{"erased":"statement"}',
        b'{"erased":[],"salt":""}',
        b'{"erased":[1]}',
        b'{"erased":[""]}',
        b'{"erased":["_deleted"]}',
        encode({"erased": ["x" * (MAX_NAME_CHARS + 1)]}),
        encode({"erased": [f"field_{number}" for number in range(MAX_FIELDS + 1)]}),
    ],
)
def test_what_names_no_erased_fields_is_refused(part: bytes) -> None:
    """Garbage, other members, wrong types, names that no field has, and too many of them."""
    with pytest.raises(ActError) as refused:
        erased_names(part)
    assert refused.value.field == "personal"
