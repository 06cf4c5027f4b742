"""Strict JSON: agrees with Python's parser on everything the standard allows, and refuses what it lets through."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.errors import Problem
from server.web.body import MAX_DEPTH, check_depth, parse_any_json, parse_json

NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def refusal(data: bytes, *, max_depth: int = MAX_DEPTH) -> Problem:
    """The problem that some bytes meet with."""
    with pytest.raises(Problem) as caught:
        parse_json(data, max_depth=max_depth)
    assert caught.value.code == "malformed-json"
    assert caught.value.status == 400
    return caught.value


def nested(value: object) -> int:
    """How deep arrays and objects are nested in a value."""
    if isinstance(value, dict):
        return 1 + max(map(nested, value.values()), default=0)
    return 1 + max(map(nested, value), default=0) if isinstance(value, list) else 0


@given(JSON, st.booleans(), st.sampled_from([None, 1]))
def test_any_json_value_reads_as_json_reads_it(value: object, escaped: bool, indent: int | None) -> None:
    """Escaped or not, with white space or without."""
    data = json.dumps(value, ensure_ascii=escaped, indent=indent).encode()
    assert repr(parse_json(data, max_depth=100)) == repr(json.loads(data))


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode) | st.text('[]{}",:\\u0d8eEN1-+. ').map(str.encode))
@example(b"")
@example(b"\xef\xbb\xbf1")
@example(b'"\\ud800\\udc00"')
def test_any_bytes_are_read_as_json_reads_them_or_refused(data: bytes) -> None:
    """Nothing but a problem leaves the parser, and nothing is accepted that Python would not accept."""
    with suppress(Problem):
        value = parse_json(data)
        assert repr(value) == repr(json.loads(data.decode()))
        assert json.dumps(value, allow_nan=False)


@given(JSON, st.integers(0, 12))
def test_the_depth_is_that_of_arrays_and_objects(value: object, limit: int) -> None:
    """Brackets in texts do not count; the limit itself is allowed."""
    data = json.dumps(value).encode()
    if nested(value) > limit:
        assert refusal(data, max_depth=limit).limit == limit
    else:
        parse_json(data, max_depth=limit)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 100_000])
def test_deep_nesting_is_a_problem_and_no_recursion(opening: bytes, depth: int) -> None:
    """100,000 levels, closed or not, are refused with the limit."""
    closing = {b"[": b"]", b'{"a":': b"}", b'[{"a":': b"}]"}[opening]
    for data in (opening * depth, opening * depth + b"1" + closing * depth):
        assert refusal(data).limit == MAX_DEPTH


def test_the_greatest_depth_is_accepted() -> None:
    """The limit itself is inside."""
    assert nested(parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)) == MAX_DEPTH


def test_many_shallow_brackets_are_no_depth() -> None:
    """Length is not depth."""
    assert len(parse_json(b"[" + b",".join([b"[]"] * 10_000) + b"]")) == 10_000
    assert parse_json(json.dumps("[" * 500 + '\\"{').encode()) == "[" * 500 + '\\"{'


def test_depth_is_found_behind_texts_with_quotes() -> None:
    """An escaped quote does not end a text, so brackets after it are still inside."""
    check_depth(b'["\\"[[[[", "\\\\", []]', 2)
    with pytest.raises(Problem):
        check_depth(b'["\\\\",[[["]"]]]]', 3)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", '{"a": NaN}', "[1, -Infinity]"])
def test_constants_that_are_not_json(text: str) -> None:
    """Python reads them; the standard does not know them."""
    json.loads(text)
    assert "is not JSON" in refusal(text.encode()).detail


@pytest.mark.parametrize(
    "text", ["1e999", "-1e999", "[1E400]", "1" * 400, "-" + "9" * 310, "1" * 400 + ".5", '{"a": 1e309}']
)
def test_numbers_beyond_a_double(text: str) -> None:
    """Other readers would make infinity of them."""
    assert "beyond the range of a double" in refusal(text.encode()).detail


def test_numbers_with_too_many_digits() -> None:
    """What Python itself refuses is a problem as well, and quickly."""
    refusal(b"1" * 100_000)


@pytest.mark.parametrize(
    "text",
    [
        "1" * 308,
        "1" * 309,
        "1.7976931348623157e308",
        "-0.0",
        "1e-999",
        "-0",
        "1" * 300 + ".25",
    ],
)
def test_large_and_small_numbers_of_a_double(text: str) -> None:
    """The range itself is inside."""
    value = parse_json(text.encode())
    assert value == json.loads(text)
    assert math.isfinite(value)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"a": 1, "a": 1}', "a"),
        ('{"b": {"x": 1, "y": 2, "x": 3}}', "x"),
        ('[{"": 1, "": 2}]', ""),
        ('{"a": 1, "\\u0061": 2}', "a"),
        ('{"\\ud800": 1, "\\ud800": 2}', "\\ud800"),
    ],
)
def test_member_names_that_occur_twice(text: str, name: str) -> None:
    """Readers would disagree on which one counts; the name is given, printably."""
    problem = refusal(text.encode())
    assert problem.field == name
    json.dumps(problem.as_dict(), ensure_ascii=False).encode()


def test_a_long_name_that_occurs_twice_is_cut() -> None:
    """A problem stays small."""
    name = "x" * 10_000
    assert refusal(f'{{"{name}":1,"{name}":2}}'.encode()).field == "x" * 200


@pytest.mark.parametrize(
    "text", ['"\\ud800"', '["\\udfff x"]', '{"\\udc00": 1}', '{"a": {"b": ["\\ud83d"]}}', '"\\udc00\\ud800"']
)
def test_lone_surrogates(text: str) -> None:
    """They are no text and could not be stored or sent on."""
    json.loads(text)
    assert "surrogate" in refusal(text.encode()).detail


def test_surrogate_pairs_are_text() -> None:
    """Escaped or raw, the same character."""
    assert parse_json(b'"\\ud83d\\ude00"') == parse_json('"😀"'.encode()) == "😀"


@pytest.mark.parametrize(
    ("data", "place"), [(b'"\xed\xa0\x80"', 1), (b'"\xff"', 1), (b"{}\xc3", 2), (b'"ok\xc0\xaf"', 3)]
)
def test_bytes_that_are_not_utf_8(data: bytes, place: int) -> None:
    """Raw surrogates, overlong forms and cut characters: refused, with the place."""
    assert refusal(data).detail == f"not UTF-8 at byte {place}"


@pytest.mark.parametrize(
    "data", [b"", b" ", b"{", b"[1,]", b"{'a':1}", b'"\n"', b"01", b"1 2", b"\xef\xbb\xbf{}", b"nul"]
)
def test_text_that_is_no_json(data: bytes) -> None:
    """With the parser's own words."""
    assert refusal(data).detail


ODD = st.sampled_from(
    [
        b'{"a":1,"a":2}', b'{"a":1, "b":2}', b"1E5", b"1e999", b"-0", b"-0.0", b"1.0", b"NaN", b'"\\ud800"', b"[1,]",
        b'"\xed\xa0\x80"', b'"\\u0041"', b"[" * 33 + b"]" * 33, b"[" * 5_000 + b"]" * 5_000, b"9" * 308, b"9" * 309,
        b"[1," + b"9" * 400 + b"]", b'"' + b"9" * 700 + b'"', b"1" + b"0" * 308, b"-" + b"9" * 5_000, b"5e-324",
        b"\xef\xbb\xbf1", b"", b"1 ", b'"\x01"', b"1e-400", b"1234567890123456789012345678901234567890", b"1e16",
        b"0.1000000000000000055511151231257827",
    ]
)  # fmt: skip
BYTES = ODD | st.binary(max_size=20) | JSON.map(lambda value: json.dumps(value).encode())


def outcome(parse: Callable[[bytes], object], data: bytes) -> object:
    """What a parser makes of some bytes: the value with its types, or the problem."""
    try:
        return repr(parse(data))
    except Problem as problem:
        return problem.as_dict()


@given(BYTES)
def test_the_short_cut_changes_nothing(data: bytes) -> None:
    """Whatever the bytes, the short cut reads the very value that the strict parser reads, or leaves it the refusal."""
    assert outcome(parse_json, data) == outcome(parse_any_json, data)


@given(JSON)
def test_compact_bytes_are_read_alike(value: object) -> None:
    """What a compact encoder writes is read the same by both ways, types included."""
    with suppress(UnicodeEncodeError):  # a lone surrogate cannot be written
        data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        assert outcome(parse_json, data) == outcome(parse_any_json, data)
