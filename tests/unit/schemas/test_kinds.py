"""The synced kinds: every field has its policy and its limit, and odd values are refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError, fields

from schemas.kinds import KINDS, Kind, Writer, personal_fields, policy_table
from schemas.kinds.base import DOT, ID, MAX_SEQUENCE, MAX_SET_ELEMENTS, SetChange, Whole
from schemas.kinds.field_work import INSPECTION_STATES, RECTIFICATION_STATES, TASK_STATES
from sync.dots import MAX_SEQUENCE as SYNC_MAX_SEQUENCE
from sync.dots import parse_dot
from sync.ids import is_id, uuid7
from sync.policies import NAMED_REMOVAL, Rule

J = "018f22e2-79b0-7cc3-98c4-dc0c0c07398f"
K = "018f22e2-79b0-7cc3-98c4-dc0c0c073990"
POSITION = {"lat": 30.5, "lon": 114, "datum": "WGS-84"}
FULL_LINE = {
    "number": "3", "text": "留样不足", "penalty_basis": "样例条例", "outcomes": ["pass", "fail"],
    "asked_when": {"number": "2", "outcome": "fail"}, "evidence": ["photo", "document"],
}  # fmt: skip
SIGNATURE = {"officer": J, "role": "lead", "dots": [f"{J}:1"], "digest": "a" * 64}
FIELDS = [(kind.name, name) for kind in KINDS.values() for name in kind.schema().fields]
PERSONAL = {"inspection": {"statement", "party_opinion", "contact"}}
ORDERS = {"task": TASK_STATES, "inspection": INSPECTION_STATES, "rectification": RECTIFICATION_STATES}

GOOD: dict[str, dict[str, Any]] = {
    "task": {
        "title": "复核二氧化硫超标线索", "origin": "lead", "lead": J, "plan": "2026-03", "entity": J, "item": J,
        "checklist": J, "checklist_version": 1, "officers": [J, K], "inspection": J,
        "due_at": "2026-03-02T08:00:00+08:00", "explanation": "连续三小时超标", "status": "signed_for",
        "recheck_of": K, "extract": K, "visit_reason": "02",
    },
    "inspection": {
        "task": J, "plan": "2026-03", "entity": J, "item": J, "checklist": J, "checklist_version": 2,
        "officers": [J, K], "form": "01", "category": "食品", "method": "现场", "started_at": "2026-03-02T08:00:00Z",
        "ended_at": "2024-02-29T23:59:59.999999-03:30", "inspected_at": "2026-03-02T08:00:00.5+08:00",
        "position": POSITION | {"accuracy_m": 4}, "scene": "多行\n文字\t😀", "statement": "", "party_opinion": "无异议",
        "contact": "张样例", "result": "06", "conclusion": "责令改正", "signatures": {"add": [SIGNATURE]},
        "notes": "后门锁着", "steps": {"add": [{"rank": "V", "value": "到达现场"}]}, "status": "closed",
        "recheck_of": K, "lead_outcome": "partly", "visit_reason": "05", "visit_from": "2026-03-02T08:00:00Z",
        "visit_until": "2026-03-03T08:00:00Z", "door_code": "FP1.x", "door_scanned_at": "2026-03-02T08:00:00Z",
        "scan_exemption": "01", "double_random_result": "05",
    },
    "answer": {
        "inspection": J, "number": "3.1", "outcome": "fail", "severity": None, "finding": "未戴手套",
        "evidence": {"add": [J, K], "remove": [f"{J}:9007199254740991"]},
    },
    "evidence": {
        "inspection": J, "sha256": "0" * 64, "sm3": "f" * 64, "size_bytes": 0, "media_type": "image/jpeg",
        "captured_at": "2026-03-02T08:00:00+08:00", "position": {"lat": -90, "lon": 180.0, "datum": "CGCS2000"},
        "file_name": "IMG_0001.jpg", "caption": "配电箱",
    },
    "rectification": {
        "inspection": J, "entity": J, "answer": J, "requirement": "限期改正", "deadline": "2026-03-20T00:00:00+08:00",
        "report": "已改正", "evidence": {"add": [J]}, "recheck": K, "outcome": "not_corrected",
        "disposal": "penalty", "status": "rechecked",
    },
    "entity": {
        "name": "样例食品厂", "nature": "2", "uscc": "9" * 18, "registered_address": "",
        "operating_address": "样例路1号", "region": "420106", "position": POSITION, "status": "active",
    },
    "item": {
        "code": "0" * 14, "name": "食品生产监督检查", "basis": "", "department": "市场监管",
        "item_type": "inspection", "level": "county", "sector": "drugs", "version": 2, "status": "withdrawn",
    },
    "checklist": {
        "code": "9" * 18 + "1A", "version": 1, "name": "清单", "item": "0" * 14,
        "sub_items": [
            {"number": "1", "text": "健康证"}, {"number": "2", "text": "留样", "method": "看", "basis": ""}, FULL_LINE,
        ],
        "status": "superseded",
    },
    "officer": {
        "name": "李样例", "certificate_number": "SAMPLE-1", "certificate_valid_until": "2099-12-31T00:00:00+08:00",
        "certificate_valid_from": "2020-01-01T00:00:00Z", "scope": ["drugs"],
        "department": "市场监管", "region": "420106001",
    },
}  # fmt: skip
"""A value for every field of every kind, at or near the edges of what is allowed."""


def errors(kind: str, values: dict[str, Any]) -> dict[str, Any]:
    """What the schema says of some fields, as an act carries them: any of them may be absent."""
    found: dict[str, Any] = KINDS[kind].schema(partial=True).validate(values)
    return found


def leaves(field: fields.Field[Any]) -> Iterator[fields.Field[Any]]:
    """A field and everything inside it."""
    yield field
    match field:
        case fields.List():
            yield from leaves(field.inner)
        case SetChange():
            yield from leaves(field.element)
        case Whole():
            for inner in field.schema.fields.values():
                yield from leaves(inner)


def test_every_field_has_a_good_value_here() -> None:
    """The samples of this test are complete, and accepted as they are."""
    assert {(kind, name) for kind, values in GOOD.items() for name in values} == set(FIELDS)
    assert {kind: errors(kind, values) for kind, values in GOOD.items()} == {kind: {} for kind in GOOD}


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_every_field_declares_a_known_policy(kind: str, name: str) -> None:
    """Policy, order and personal stand beside the field; a set is a set change and nothing else is."""
    field = KINDS[kind].schema().fields[name]
    assert field.metadata.keys() == {"policy", "personal", "order"}
    rule = Rule(field.metadata["policy"])
    assert bool(field.metadata["order"]) == (rule is Rule.MONOTONE)
    assert isinstance(field, SetChange) == (rule in NAMED_REMOVAL)
    assert isinstance(field.metadata["personal"], bool)
    assert not field.required


@pytest.mark.parametrize(("kind", "states"), ORDERS.items())
def test_monotone_states_are_ordered_and_complete(kind: str, states: tuple[str, ...]) -> None:
    """The order names each state that the field accepts, once."""
    rule, order = policy_table(KINDS[kind].schema)["status"]
    assert (rule, order) == ("monotone", states)
    assert len(set(order)) == len(order) > 1
    assert all(errors(kind, {"status": state}) == {} for state in order)


def test_only_legal_content_is_manual() -> None:
    """What nobody but a person may decide, in full: a change here is a legal question."""
    manual = {(kind.name, name) for kind in KINDS.values() for name, (rule, _) in policy_table(kind.schema).items()
              if rule == "manual"}  # fmt: skip
    assert manual == {
        ("inspection", "double_random_result"), ("inspection", "result"),
        ("inspection", "conclusion"), ("inspection", "lead_outcome"),
        ("answer", "outcome"), ("answer", "severity"),
        ("rectification", "requirement"), ("rectification", "deadline"), ("rectification", "outcome"),
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_personal_fields_are_where_they_are_meant(kind: Kind) -> None:
    """Only what a person said, and how to reach them."""
    assert personal_fields(kind.schema) == PERSONAL.get(kind.name, set())


def test_who_writes_what() -> None:
    """Reference data comes from the office; evidence only ever from a device."""
    assert {name: kind.writer for name, kind in KINDS.items() if kind.writer is not Writer.BOTH} == {
        "evidence": Writer.DEVICE, "entity": Writer.OFFICE, "item": Writer.OFFICE, "checklist": Writer.OFFICE,
        "officer": Writer.OFFICE,
    }  # fmt: skip
    assert all(name == kind.name and kind.version == 1 for name, kind in KINDS.items())


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_every_text_list_and_set_has_a_limit(kind: str, name: str) -> None:
    """Nothing grows without bound, inside lists and nested objects as well."""
    for field in leaves(KINDS[kind].schema().fields[name]):
        if isinstance(field, fields.String):
            for endless in ("x" * 100_000, "1" * 100_000, "a" * 100_000):
                with pytest.raises(ValidationError):
                    field.deserialize(endless)
        elif isinstance(field, fields.List):
            sample = GOOD[kind].get(name)
            element = sample[0] if isinstance(sample, list) else f"{J}:1"
            with pytest.raises(ValidationError):
                field.deserialize([element] * 10_000)
        elif isinstance(field, SetChange):
            with pytest.raises(ValidationError, match=str(MAX_SET_ELEMENTS)):
                field.deserialize({"remove": [f"{J}:1"] * (MAX_SET_ELEMENTS + 1)})
            with pytest.raises(ValidationError, match=str(MAX_SET_ELEMENTS)):
                field.deserialize({"add": [J] * (MAX_SET_ELEMENTS + 1)})


@pytest.mark.parametrize(("kind", "name"), FIELDS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, False, [[]], {"x": 1}, "\0", "\ud800", -1e308])
def test_odd_values_are_refused_by_every_field(kind: str, name: str, value: object) -> None:
    """What no field means: not-a-number, true for 1, empty lists in lists, characters no database keeps."""
    assert name in errors(kind, {name: value})


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_null_means_nothing_but_a_severity_that_does_not_apply(kind: str, name: str) -> None:
    """A field is absent or has a value."""
    assert (errors(kind, {name: None}) == {}) == (name == "severity")


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_fields_are_refused(kind: str) -> None:
    """By their name; a newer version has to be declared."""
    assert errors(kind, {"colour": "red"}) == {"colour": ["Unknown field."]}


INSTANTS = [
    "2026-02-31T00:00:00Z", "2025-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z",
    "2026-02-28T24:00:00Z", "2026-02-28T23:60:00Z", "2026-02-28T23:59:60Z", "2026-02-28T00:00:00+25:00",
    "2026-02-28T00:00:00+15:00", "2026-02-28T00:00:00+08:60", "2026-02-28T00:00:00+0800", "2026-02-28T00:00:00",
    "2026-02-28 00:00:00Z", "2026-02-28T00:00:00z", "2026-02-28t00:00:00Z", "2026-02-28T00:00Z", "2026-02-28",
    "2026-W09-6T00:00:00Z", "20260228T000000Z", "2026-02-28T00:00:00.Z", "2026-02-28T00:00:00.1234567Z",
    "2026-02-28T00:00:00,5Z", "2026-02-28T00:00:00Z\n", " 2026-02-28T00:00:00Z", "٢٠٢٦-02-28T00:00:00Z",
    "2026-02-28T00:00:00.٣Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "",
]  # fmt: skip


@pytest.mark.parametrize("text", INSTANTS)
def test_instants_that_are_none(text: str) -> None:
    """A real day, a real offset, one spelling, and years in which every database can convert it."""
    assert errors("inspection", {"started_at": text})


@given(st.datetimes(timezones=st.timezones()), st.sampled_from(["seconds", "milliseconds", "microseconds"]))
def test_instants_of_any_zone_are_kept_as_sent(instant: Any, precision: str) -> None:  # noqa: ANN401 - mypy sees datetime only inside
    """What Python writes of an aware instant with whole-minute offset is accepted and not re-spelled."""
    text = instant.isoformat(timespec=precision)
    offset = instant.utcoffset()
    plain = 1900 <= instant.year < 2200 and offset.total_seconds() % 60 == 0 and abs(offset.total_seconds()) < 15 * 3600
    loaded = not errors("inspection", {"started_at": text})
    assert loaded == plain
    if loaded:
        assert KINDS["inspection"].schema(partial=True).load({"started_at": text}) == {"started_at": text}


@pytest.mark.parametrize(
    "position",
    [
        {"lat": 30.5, "lon": 114},
        {"lat": 30.5, "datum": "WGS-84"},
        POSITION | {"datum": "GCJ-02"},
        POSITION | {"datum": None},
        POSITION | {"lat": "30.5"},
        POSITION | {"lat": "3_0"},
        POSITION | {"lat": True},
        POSITION | {"lat": None},
        POSITION | {"lat": 90.1},
        POSITION | {"lon": -180.5},
        POSITION | {"lat": float("nan")},
        POSITION | {"lon": float("inf")},
        POSITION | {"lon": 10**400},
        POSITION | {"accuracy_m": -1},
        POSITION | {"height": 3},
        [30.5, 114],
        "30.5,114",
    ],
)
def test_positions_that_are_none(position: object) -> None:
    """Two numbers in range with a known datum; also when a kind is loaded in part."""
    assert "position" in errors("inspection", {"position": position})
    assert "position" in errors("evidence", {"position": position})


@pytest.mark.parametrize("value", ["1", 1.0, 1.5, True, 0, 10_001, None, [1]])
def test_versions_that_are_none(value: object) -> None:
    """A whole number as JSON has it."""
    assert errors("task", {"checklist_version": value})
    assert errors("checklist", {"version": value})


@pytest.mark.parametrize("officers", [[], [J], [J, J], [J, "x"], J, [J, None], {"0": J, "1": K}])
def test_fewer_than_two_officers(officers: object) -> None:
    """An inspection has at least two different officers."""
    assert errors("task", {"officers": officers})
    assert errors("inspection", {"officers": officers})


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("inspection", {"form": "03"}),
        ("inspection", {"form": 1}),
        ("inspection", {"result": ""}),
        ("inspection", {"status": "OPEN"}),
        ("inspection", {"task": J.upper()}),
        ("inspection", {"task": J.replace("7cc3", "4cc3")}),
        ("inspection", {"task": J + "\n"}),
        ("answer", {"outcome": "合格"}),
        ("answer", {"severity": "none"}),
        ("answer", {"number": ""}),
        ("evidence", {"sha256": "A" * 64}),
        ("evidence", {"sm3": "0" * 63}),
        ("evidence", {"size_bytes": -1}),
        ("evidence", {"size_bytes": 200 * 1024 * 1024 + 1}),
        ("evidence", {"size_bytes": 1e3}),
        ("evidence", {"media_type": ""}),
        ("item", {"code": "١" * 14}),
        ("item", {"code": "0" * 13}),
        ("item", {"code": "0" * 14 + "\n"}),
        ("entity", {"region": "42٠١٠٠"}),
        ("entity", {"region": "110101"}),
        ("entity", {"region": "4201"}),
        ("entity", {"nature": 2}),
        ("checklist", {"sub_items": []}),
        ("checklist", {"sub_items": [{"number": "1"}]}),
        ("checklist", {"sub_items": [{"number": "1", "text": "x", "weight": 1}]}),
        ("checklist", {"sub_items": ["1"]}),
    ],
)
def test_values_that_look_nearly_right(kind: str, values: dict[str, Any]) -> None:
    """Codes, ids, hashes and numbers have one spelling."""
    assert errors(kind, values).keys() == values.keys()


@pytest.mark.parametrize(
    "change",
    [
        [],
        "p",
        None,
        {"add": J},
        {"add": [None]},
        {"add": ["x"]},
        {"add": [J], "drop": []},
        {"remove": J},
        {"remove": {}},
        {"remove": [J]},
        {"remove": ["-" * 36 + ":1"]},
        {"remove": [f"{J}:0"]},
        {"remove": [f"{J}:{MAX_SEQUENCE + 1}"]},
        {"remove": [f"{J}:1٣"]},
        {"remove": [None]},
    ],
)
def test_set_changes_that_are_none(change: object) -> None:
    """Merging such a change would fail, so the schema refuses it first."""
    assert errors("answer", {"evidence": change})


@pytest.mark.parametrize(
    "signature",
    [
        {},
        SIGNATURE | {"role": "witness"},
        SIGNATURE | {"dots": []},
        SIGNATURE | {"dots": [J]},
        SIGNATURE | {"digest": "a"},
        SIGNATURE | {"name": "张样例"},
        {name: value for name, value in SIGNATURE.items() if name != "officer"},
    ],
)
def test_signatures_that_are_none(signature: object) -> None:
    """Who, in which role, over which dots and which digest: all of it."""
    assert errors("inspection", {"signatures": {"add": [signature]}})


DOTS = st.builds(
    lambda unix_ms, random, seq: f"{uuid7(unix_ms, random)}:{seq}",
    st.integers(0, (1 << 48) - 1),
    st.binary(min_size=10, max_size=10),
    st.integers(-1, MAX_SEQUENCE + 2) | st.sampled_from(["01", "1.0", "+1", "", "１", "1 "]),
)


@given(DOTS | st.text(max_size=45) | st.from_regex(r"\A[0-9a-f-]{36}:[1-9][0-9]{0,15}\Z"))
def test_schema_and_merge_agree_on_what_a_dot_is(text: str) -> None:
    """The two layers may not import each other, so a test holds them together."""
    try:
        parse_dot(text)
        good = True
    except ValueError:
        good = False
    try:
        DOT.deserialize(text)
        accepted = True
    except ValidationError:
        accepted = False
    assert accepted == good
    assert MAX_SEQUENCE == SYNC_MAX_SEQUENCE


@given(st.text(max_size=40) | st.uuids().map(str) | st.just(J))
def test_schema_and_merge_agree_on_what_an_id_is(text: str) -> None:
    """One spelling of ids everywhere."""
    try:
        ID(text)
        accepted = True
    except ValidationError:
        accepted = False
    assert accepted == is_id(text)
