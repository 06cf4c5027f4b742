"""Criteria as data: which decisions are major, which scenes must be on record."""

from typing import Any

import pytest

from schemas.behavior import SCHEMAS
from schemas.codes import Code
from schemas.field_rules import FORMS
from server.behaviors.criteria import (
    Condition,
    criteria_met,
    major_criteria,
    publication_days,
    recordings_needed,
    required_recordings,
)


@pytest.mark.parametrize(
    ("kind", "content", "codes"),
    [
        ("penalty", {"fine_yuan": "9999.99", "counterpart_nature": "1"}, []),
        ("penalty", {"fine_yuan": 10000, "counterpart_nature": "1"}, ["fine-on-citizen"]),
        ("penalty", {"fine_yuan": "99999.99", "counterpart_nature": "2"}, []),
        ("penalty", {"fine_yuan": "100000.00", "counterpart_nature": "3"}, ["fine-on-organisation"]),
        ("penalty", {"kinds": ["01", "10"], "hearing": "1"}, ["licence-or-business", "hearing"]),
        ("penalty", {"criminal_referral": "1", "major_case": "1"}, ["criminal-referral", "major-case"]),
        ("penalty", {"fine_yuan": "viel", "counterpart_nature": "1"}, []),
        ("coercion", {"kind": "19"}, []),
        ("coercion", {"kind": "11"}, ["liberty"]),
        ("coercion", {"kind": "14"}, ["enforcement"]),
        ("other", {"hearing": "1"}, []),
    ],
)
def test_major_decisions(kind: str, content: dict[str, Any], codes: list[str]) -> None:
    """At the limit and below it; each criterion by itself."""
    assert [one.code for one in criteria_met(kind, content)] == codes


def test_scenes() -> None:
    """Which scenes depends on what was decided; only some forms can show one."""
    assert [one.scene for one in recordings_needed("penalty", {"no_penalty": "0", "hearing": "1"})] == [
        "facts",
        "hearing",
    ]
    assert recordings_needed("penalty", {"no_penalty": "1"}) == []
    assert [one.scene for one in recordings_needed("coercion", {"kind": "12"})] == ["notice", "sealing"]
    sealing = next(one for one in required_recordings() if one.scene == "sealing")
    assert sealing.shown_by("video/mp4")
    assert not sealing.shown_by("image/jpeg")


def _conditions() -> list[tuple[str, Condition]]:
    majors = [(one.kind, when) for one in major_criteria() for when in one.when]
    return majors + [(one.kind, when) for one in required_recordings() for when in one.when]


@pytest.mark.parametrize(("kind", "when"), _conditions())
def test_conditions_name_fields_and_codes_that_exist(kind: str, when: Condition) -> None:
    """A condition that can never hold would be a rule that is silently off."""
    found: Any = SCHEMAS[kind]().fields[when.field]
    found = getattr(found, "inner", found)
    if isinstance(found, Code):
        assert set(when.any_of) <= found.table.current.entries.keys()


def test_the_data_is_whole() -> None:
    """Codes are distinct, forms known, every kind has its deadline."""
    codes = [one.code for one in major_criteria()]
    assert len(set(codes)) == len(codes)
    assert {form for one in required_recordings() for form in one.forms} <= FORMS.keys()
    assert publication_days().keys() == SCHEMAS.keys()
