"""Code tables: every shipped file is sound, versions answer for their days, fields refuse what is in no table."""

from __future__ import annotations

from datetime import date

import pytest
from marshmallow import Schema, ValidationError, fields

from schemas import codes
from schemas.codes import Code, UnknownTable, code_table, of_their_days, parse_table, table_names


def entry(code: str, zh: str = "中", en: str = "en") -> dict[str, str]:
    """One entry of a table document."""
    return {"code": code, "zh": zh, "en": en}


def document(*versions: dict[str, object]) -> dict[str, object]:
    """A table document with the given versions."""
    return {"name": "sample", "zh": "样例", "en": "Sample", "source": "test", "versions": list(versions)}


TWO_VERSIONS = document(
    {"version": 1, "from": "2020-01-01", "entries": [entry("a", "旧", "old"), entry("b")]},
    {"version": 2, "from": "2026-07-01", "entries": [entry("a", "新", "new")]},
)


@pytest.mark.parametrize("name", table_names())
def test_every_shipped_table_is_sound(name: str) -> None:
    """Each file parses, carries its own name, and has labels in both languages and a stated source."""
    table = code_table(name)
    assert table.name == name
    assert table.zh
    assert table.en
    assert table.source
    for version in table.versions:
        assert all(found.zh and found.en for found in version.entries.values())


def test_the_national_values_are_there() -> None:
    """The values that are fixed nationally have their codes."""
    assert code_table("inspection_form").label("01") == "日常检查 / Routine"
    assert list(code_table("counterpart_nature").current.entries) == ["1", "2", "3"]
    assert code_table("certificate_type").find("001") is not None
    assert len(code_table("double_random_result").current.entries) >= 12
    assert list(code_table("checklist_outcome").current.entries) == ["pass", "fail", "not_checked", "not_applicable"]


def test_an_unknown_table_is_refused() -> None:
    """A name from outside never becomes a path."""
    for name in ("nothing", "../codes", "", "__init__"):
        with pytest.raises(UnknownTable):
            code_table(name)


def test_a_record_keeps_the_label_of_its_day() -> None:
    """The version in force on the day answers; before the first day the first version does."""
    table = parse_table(TWO_VERSIONS)
    assert table.label("a", date(2026, 6, 30)) == "旧 / old"
    assert table.label("a", date(2026, 7, 1)) == table.label("a") == "新 / new"
    assert table.in_force(date(1999, 1, 1)).version == 1
    assert table.find("b") is None
    assert table.label("b") == "b"


def test_labels_that_are_equal_are_shown_once() -> None:
    """WGS-84 is WGS-84 in both languages."""
    assert code_table("datum").label("WGS-84") == "WGS-84"


@pytest.mark.parametrize(
    "versions",
    [
        [],
        [{"version": 2, "from": "2020-01-01", "entries": [entry("a")]}],
        [{"version": 1, "from": "2020-01-01", "entries": []}],
        [{"version": 1, "from": "2020-01-01", "entries": [entry("a"), entry("a")]}],
        [{"version": 1, "from": "2020-01-01", "entries": [entry("x" * 33)]}],
        [
            {"version": 1, "from": "2020-01-01", "entries": [entry("a")]},
            {"version": 2, "from": "2020-01-01", "entries": [entry("a")]},
        ],
    ],
    ids=["no-version", "number", "empty", "repeated", "long", "same-day"],
)
def test_an_unsound_table_is_refused(versions: list[dict[str, object]]) -> None:
    """A table with no, repeated, overlong or disordered content does not load."""
    with pytest.raises(ValueError, match="code table"):
        parse_table(document(*versions))


def test_a_field_refuses_what_is_not_in_its_table() -> None:
    """The schema names the field and the table."""
    schema = Schema.from_dict({"form": Code("inspection_form", required=True)})()
    assert schema.load({"form": "01"}) == {"form": "01"}
    for value in ("03", "", 1, None):
        with pytest.raises(ValidationError) as caught:
            schema.load({"form": value})
        assert "form" in caught.value.messages_dict


def test_a_record_may_say_again_what_was_true_on_its_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """A code that has left its table is refused for a new record, and taken from one of its day, in lists as well."""
    monkeypatch.setattr(codes, "code_table", lambda _: parse_table(TWO_VERSIONS))
    schema = Schema.from_dict({"one": Code("sample"), "many": fields.List(Code("sample"))})
    said = {"one": "b", "many": ["a", "b"]}
    assert schema().validate(said).keys() == {"one", "many"}
    assert schema().validate({"one": "a"}) == {}
    assert of_their_days(schema(), [date(2026, 6, 30)]).validate(said) == {}
    assert of_their_days(schema(), [date(2026, 7, 1), date(2020, 1, 1)]).validate(said) == {}
    assert of_their_days(schema(), [date(2026, 7, 1)]).validate(said).keys() == {"one", "many"}
    assert of_their_days(schema(), [date(2026, 6, 30)]).validate({"one": "c"}).keys() == {"one"}
    assert schema().validate(said).keys() == {"one", "many"}
