"""The national fields: which are required, what they accept, and the rules between them."""

from __future__ import annotations

from typing import Any

import pytest
from marshmallow import ValidationError

from schemas.behavior import SCHEMAS, behavior_schema
from schemas.identifiers import make_uscc

USCC = make_uscc("91", "420100", "MA4K0001")

INSPECTION: dict[str, Any] = {
    "record_id": "r-1",
    "item_code": "01234567890123",
    "checklist_code": f"{USCC}1001",
    "name": "示例事项",
    "number": "420106-20260302-1",
    "implementing_body": "示例部门",
    "implementing_body_code": USCC,
    "object": "示例食品店",
    "counterpart_name": "示例食品店",
    "counterpart_nature": "2",
    "certificate_type": "001",
    "certificate_number": USCC,
    "region": "420106",
    "form": "01",
    "category": "03",
    "result": "01",
    "inspected_at": "2026-03-02T09:00:00+08:00",
    "officers": [
        {"name": "张样例", "certificate_number": "样例-1"},
        {"name": "李样例", "certificate_number": "样例-2"},
    ],
    "reported_at": "2026-03-02T10:00:00+08:00",
    "reported_by": "张样例",
}
PENALTY = INSPECTION | {
    "inspection_number": "420106-20260302-1",
    "case_source": "01",
    "facts": "示例事实",
    "basis": "示例依据",
    "procedure": "2",
    "hearing": "0",
    "filed_at": "2026-03-03T09:00:00+08:00",
    "criminal_referral": "0",
    "decision_number": "示例罚〔2026〕1号",
    "decided_at": "2026-03-10T09:00:00+08:00",
    "kinds": ["01", "03"],
    "fine_yuan": "1000.00",
    "outcome": "1",
    "reconsideration": "0",
    "litigation": "0",
    "no_penalty": "0",
    "closed_at": "2026-03-20T09:00:00+08:00",
}
COERCION = INSPECTION | {
    "inspection_number": "420106-20260302-1",
    "facts": "示例事实",
    "basis": "示例依据",
    "decision_number": "示例强〔2026〕1号",
    "kind": "13",
    "started_at": "2026-03-03T09:00:00+08:00",
    "ended_at": "2026-03-04T09:00:00+08:00",
}
OTHER = INSPECTION | {"inspection_number": "420106-20260302-1", "closing_state": "1"}
GOOD = {"inspection": INSPECTION, "penalty": PENALTY, "coercion": COERCION, "other": OTHER}


def refused_fields(kind: str, content: dict[str, Any]) -> set[str]:
    """Names of the fields that the schema refuses."""
    with pytest.raises(ValidationError) as caught:
        behavior_schema(kind).load(content)
    return set(caught.value.messages_dict)


@pytest.mark.parametrize("kind", GOOD)
def test_a_complete_behavior_of_each_kind_is_accepted(kind: str) -> None:
    """Every kind of the code table has its schema and a good example."""
    assert behavior_schema(kind).load(GOOD[kind])


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind, schema in SCHEMAS.items() for name, field in schema().fields.items() if field.required],
)
def test_every_required_field_is_asked_for(kind: str, name: str) -> None:
    """Leaving a required field out is refused, naming it."""
    content = {key: value for key, value in GOOD[kind].items() if key != name}
    assert refused_fields(kind, content) == {name}


COMMON_FIELDS = """
record_id! plan_id item_code! checklist_code! name! number! implementing_body implementing_body_code entrusted_body
entrusted_body_code object! counterpart_name! counterpart_nature! certificate_type! certificate_number!
registered_address operating_address region! form! category! method result! inspected_at! officers! reported_at
reported_by
"""
NATIONAL_FIELDS = {
    "inspection": COMMON_FIELDS,
    "penalty": COMMON_FIELDS + """case_source! inspection_number! facts! basis! procedure! hearing! filed_at
        criminal_referral! major_case legal_review legal_review_at legal_review_opinion collective_discussion
        decision_number! decided_at! kinds! fine_yuan outcome! reconsideration! litigation! execution paid_yuan
        no_penalty! closed_at""",
    "coercion": COMMON_FIELDS + """inspection_number! facts! basis! decision_number! kind! measure execution outcome
        started_at extended_until ended_at""",
    "other": COMMON_FIELDS + "inspection_number! source measures closing_state started_at ended_at",
}  # fmt: skip
"""The national lists, field by field; an exclamation mark: required."""


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_national_fields(kind: str) -> None:
    """Each field of the national list is there, those that it requires are required, and hardly any is ours."""
    listed = {name.rstrip("!"): name.endswith("!") for name in NATIONAL_FIELDS[kind].split()}
    found = SCHEMAS[kind]().fields
    ours = {"behavior_kind", "double_random_result"} | {
        "visit_reason", "visit_filed_at", "door_scanned_at", "scan_exemption",
    }  # fmt: skip
    assert found.keys() - listed.keys() == ours
    assert listed.keys() <= found.keys()
    assert {name for name, required in listed.items() if required} <= {
        name for name, field in found.items() if field.required
    }


OFFICER = INSPECTION["officers"][0]


@pytest.mark.parametrize(
    ("kind", "change", "named"),
    [
        ("inspection", {"item_code": "123"}, "item_code"),
        ("inspection", {"checklist_code": f"{USCC}9001"}, "checklist_code"),
        ("inspection", {"implementing_body_code": "9" * 18}, "implementing_body_code"),
        ("inspection", {"region": "990000"}, "region"),
        ("inspection", {"form": "03"}, "form"),
        ("inspection", {"counterpart_nature": "4"}, "counterpart_nature"),
        ("inspection", {"certificate_number": "1" * 18}, "certificate_number"),
        ("inspection", {"certificate_type": "111", "certificate_number": USCC}, "certificate_number"),
        ("inspection", {"officers": [OFFICER]}, "officers"),
        ("inspection", {"officers": [OFFICER, OFFICER | {"name": "李样例"}]}, "officers"),
        ("inspection", {"reported_at": "2026-03-02T00:59:59Z"}, "reported_at"),
        ("inspection", {"inspected_at": "2026-03-02 09:00"}, "inspected_at"),
        ("inspection", {"inspected_at": "2026-02-30T09:00:00Z"}, "inspected_at"),
        ("inspection", {"number": "x" * 65}, "number"),
        ("inspection", {"nonsense": 1}, "nonsense"),
        ("inspection", {"double_random_result": "98"}, "double_random_result"),
        ("penalty", {"closed_at": "2026-03-01T09:00:00+08:00"}, "closed_at"),
        ("penalty", {"major_case": "1"}, "legal_review_opinion"),
        ("penalty", {"major_case": "1", "legal_review_opinion": "3"}, "legal_review_opinion"),
        ("penalty", {"kinds": []}, "kinds"),
        ("penalty", {"kinds": ["77"]}, "kinds"),
        ("penalty", {"fine_yuan": "-1"}, "fine_yuan"),
        ("penalty", {"fine_yuan": "NaN"}, "fine_yuan"),
        ("coercion", {"ended_at": "2026-03-01T09:00:00+08:00"}, "ended_at"),
        ("coercion", {"extended_until": "2026-03-01T09:00:00+08:00"}, "extended_until"),
        ("other", {"closing_state": "7"}, "closing_state"),
        ("other", {"started_at": "2026-03-03T09:00:00Z", "ended_at": "2026-03-02T09:00:00Z"}, "ended_at"),
    ],
)
def test_a_wrong_field_is_refused_by_name(kind: str, change: dict[str, Any], named: str) -> None:
    """Codes, numbers, times and the rules between fields are checked, and the field is named."""
    assert refused_fields(kind, GOOD[kind] | change) == {named}


def test_times_are_compared_as_instants() -> None:
    """Reported at the same moment, written in another offset, is not before the inspection."""
    assert behavior_schema("inspection").load(INSPECTION | {"reported_at": "2026-03-02T01:00:00Z"})


def test_a_major_case_with_an_approved_review_is_accepted() -> None:
    """The review by another person lets a major decision issue."""
    assert behavior_schema("penalty").load(PENALTY | {"major_case": "1", "legal_review_opinion": "1"})


def test_a_citizen_is_known_by_the_identity_card() -> None:
    """A resident number with a right check character is accepted (the example belongs to nobody)."""
    change = {"counterpart_nature": "1", "certificate_type": "111", "certificate_number": "11010519491231002X"}
    assert behavior_schema("inspection").load(INSPECTION | change)
