"""Compiled checks never accept what a schema refuses, and recognise ordinary content without asking it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, validates

from device_sim.bench.segments import inspection_fields
from schemas.compiled import compile_schema
from schemas.kinds import KINDS
from schemas.kinds.base import Instant, Text

ID = "0198d9c0-4c00-7000-8000-000000000011"
DOT = f"{ID}:7"
SCHEMAS = {
    (name, strict): kind.schema(partial=True, unknown=RAISE if strict else EXCLUDE)
    for name, kind in KINDS.items()
    for strict in (True, False)
}
CHECKS = {key: compile_schema(schema, partial=True) for key, schema in SCHEMAS.items()}

INSTANTS = st.builds(
    "{:04d}-{:02d}-{:02d}T{:02d}:{:02d}:{:02d}{}{}".format,
    st.integers(1890, 2210), st.integers(0, 13), st.integers(0, 32), st.integers(0, 25), st.integers(0, 60),
    st.integers(0, 61), st.sampled_from(["", ".5", ".123456", ".1234567", "."]),
    st.sampled_from(["Z", "z", "", "+08:00", "-00:00", "+14:59", "+15:00", "+25:00", "+08:60", "+0800", "+08:00\n"]),
)  # fmt: skip
TEXTS = st.sampled_from(
    [
        "", "1", "01", "03", "open", "pass", "assigned", "WGS-84", "GCJ-02", "lead", ID, ID.upper(), f"{ID}\n", DOT,
        f"{ID}:0", f"{ID}:07", f"{ID}:{(1 << 53) - 1}", f"{ID}:{1 << 53}", f"{ID}:٧", "0" * 64, "0" * 64 + "\n",
        "420106", "91420100000000000X", "a\x00b", "\ud800", "一" * 200, "一" * 201, "x" * 4_000, "x" * 4_001,
    ]
)  # fmt: skip
NUMBERS = st.sampled_from(
    [0, 1, -1, 1.0, 1.5, 30.55, 90, 90.0, 90.1, -180.0, 1e308, 10**400, 10_000, 10_001, True, False, float("inf")]
)
LEAVES = st.none() | TEXTS | NUMBERS | INSTANTS | st.text(max_size=5)
POSITIONS = st.fixed_dictionaries(
    {"lat": NUMBERS, "lon": NUMBERS, "datum": TEXTS}, optional={"accuracy_m": NUMBERS, "more": LEAVES}
)
SIGNATURES = st.fixed_dictionaries(
    {"officer": TEXTS, "role": TEXTS, "dots": st.lists(TEXTS, max_size=3)}, optional={"digest": TEXTS}
)
CHANGES = st.fixed_dictionaries(
    {}, optional={"add": st.lists(LEAVES | SIGNATURES, max_size=3), "remove": st.lists(TEXTS, max_size=3), "x": LEAVES}
)
VALUES = LEAVES | st.lists(LEAVES, max_size=9) | POSITIONS | CHANGES | st.lists(POSITIONS, max_size=2)


def accepts(schema: Schema, value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether the contract accepts a value."""
    try:
        schema.load(value)
    except ValidationError:
        return False
    return True


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, bool, dict[str, Any]]:
    """A kind, whether unknown fields are refused, and a change of one to three fields."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    names = st.sampled_from([*KINDS[kind].schema().fields, "unheard_of"])
    return kind, draw(st.booleans()), draw(st.dictionaries(names, VALUES, min_size=1, max_size=3))


@settings(max_examples=2_000, deadline=None)
@given(changes())
@example(("inspection", True, {"started_at": "2026-02-31T10:00:00Z"}))
@example(("inspection", True, {"started_at": "2026-02-28T10:00:00+25:00"}))
@example(("inspection", True, {"position": {"lat": 10**400, "lon": 1.0, "datum": "WGS-84"}}))
@example(("inspection", True, {"officers": [ID, ID]}))
def test_nothing_is_accepted_that_the_schema_refuses(change: tuple[str, bool, dict[str, Any]]) -> None:
    """What the compiled check calls good the schema accepts, whatever the value."""
    kind, strict, content = change
    if CHECKS[kind, strict](content):
        assert accepts(SCHEMAS[kind, strict], content)


GOOD: dict[str, Any] = {
    "text": "样例",
    "instant": "2026-03-02T09:00:00.25+08:00",
    "position": {"lat": 30.55, "lon": 114.31, "datum": "WGS-84", "accuracy_m": 4.5},
}


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("inspection", inspection_fields(ID, [ID, ID.replace("11", "12")], 3)),
        ("task", {"title": "样例", "due_at": GOOD["instant"], "status": "signed_for", "checklist_version": 2}),
        ("answer", {"inspection": ID, "outcome": "fail", "severity": None, "evidence": {"add": [ID], "remove": [DOT]}}),
        (
            "evidence",
            {"sha256": "0" * 64, "size_bytes": 5, "position": GOOD["position"], "captured_at": GOOD["instant"]},
        ),
        ("rectification", {"deadline": GOOD["instant"], "report": "样例", "status": "reported"}),
        ("checklist", {"version": 1, "sub_items": [{"number": "1", "text": "样例"}]}),
        (
            "inspection",
            {"signatures": {"add": [{"officer": ID, "role": "lead", "dots": [DOT], "digest": "0" * 64}], "remove": []}},
        ),
    ],
)
def test_ordinary_content_needs_no_schema(kind: str, content: dict[str, Any]) -> None:
    """The check knows every class of field in use: nothing ordinary takes the slow way."""
    newer = not content.keys() <= KINDS[kind].schema().fields.keys()
    content = json.loads(json.dumps(content))
    assert CHECKS[kind, not newer](content)
    assert accepts(SCHEMAS[kind, not newer], content)


class _Shouting(Text):
    """A field that means something else than the class it derives from."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str:  # noqa: ANN401 - marshmallow's
        raise ValidationError("no")


class _Odd(Schema):
    """A schema with everything that a compiled check must leave alone."""

    shouting = _Shouting()
    renamed = Text(data_key="other")
    listed = fields.List(_Shouting())
    moved = Text(pre_load=[str.upper])
    when = Instant()


class _Hooked(Schema):
    """A schema with a check of its own."""

    text = Text()

    @validates("text")
    def refuse(self, value: str, **_: object) -> None:
        """Refuse everything."""
        raise ValidationError(f"no {value}")


@pytest.mark.parametrize(
    "content", [{"shouting": "a"}, {"other": "a"}, {"renamed": "a"}, {"listed": ["a"]}, {"moved": "a"}]
)
def test_what_is_not_known_is_left_to_the_schema(content: dict[str, Any]) -> None:
    """Subclasses, renamed members and hooks of a field are never taken for what they look like."""
    assert not compile_schema(_Odd(), partial=True)(content)
    assert compile_schema(_Odd(), partial=True)({"when": GOOD["instant"]})


def test_a_schema_with_hooks_is_left_alone() -> None:
    """A schema's own checks cannot be compiled."""
    assert not compile_schema(_Hooked(), partial=True)({"text": "a"})


def test_required_members_count_where_all_must_be_there() -> None:
    """A nested object must be whole; a change of some fields need not."""
    position = KINDS["inspection"].schema().fields["position"].schema  # type: ignore[attr-defined]
    assert not compile_schema(position, partial=False)({"lat": 1.0, "lon": 2.0})
    assert compile_schema(position, partial=True)({"lat": 1.0, "lon": 2.0})
