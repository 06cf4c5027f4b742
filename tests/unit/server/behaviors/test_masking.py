"""What the public sees: listed fields only, codes with labels, nobody's identity."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.behavior import SCHEMAS
from schemas.codes import parse_table
from server.behaviors import masking
from server.behaviors.masking import PUBLIC_FIELDS, mask_name, mask_text, public_fields

FIRM = {
    "behavior_kind": "penalty", "number": "N-1", "counterpart_nature": "2", "counterpart_name": "样例食品店",
    "certificate_number": "91420100MA4K0001XX", "result": "03", "kinds": ["01", "03"], "fine_yuan": "5000",
    "facts": "经营者身份证 420106199001011234，电话 13800000000，邮箱 li.sample@example.org", "salt": "x",
    "officers": [{"name": "张样例", "certificate_number": "HB-1"}], "registered_address": "样例路 1 号",
    "reported_by": "张样例",
}  # fmt: skip
CITIZEN = FIRM | {"counterpart_nature": "1", "counterpart_name": "王样例", "facts": "王样例承认，王样例签字"}


def test_only_listed_fields_are_shown() -> None:
    """Officers, addresses and salts are not published; codes carry both labels."""
    shown = public_fields(FIRM)
    assert shown.keys() <= PUBLIC_FIELDS.keys()
    assert not {"officers", "registered_address", "reported_by", "salt"} & shown.keys()
    assert shown["result"] == {"code": "03", "zh": "发现问题已责令改正", "en": "Problem found, correction ordered"}
    assert [one["zh"] for one in shown["kinds"]] == ["警告", "罚款"]
    assert shown["certificate_number"] == "91420100MA4K0001XX"
    assert shown["counterpart_name"] == "样例食品店"


def test_codes_have_the_labels_of_their_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision of before a table changed is published with the label that it had then."""
    versions = [
        {"version": 1, "from": "2020-01-01", "entries": [{"code": "03", "zh": "旧", "en": "old"}]},
        {"version": 2, "from": "2026-07-01", "entries": [{"code": "03", "zh": "新", "en": "new"}]},
    ]
    table = parse_table({"name": "sample", "zh": "样例", "en": "Sample", "source": "test", "versions": versions})
    monkeypatch.setattr(masking, "code_table", lambda _: table)
    for inspected, decided, label in (
        ("2026-06-30T23:00:00+08:00", None, "旧"),
        ("2026-06-30T17:00:00Z", None, "新"),
        ("2026-06-30T09:00:00Z", "2026-07-02T09:00:00Z", "新"),
    ):
        content = {"result": "03", "inspected_at": inspected} | ({"decided_at": decided} if decided else {})
        assert public_fields(content)["result"]["zh"] == label


def test_a_citizen_is_not_named() -> None:
    """Surname only, no number, and the name is hidden in the texts too."""
    shown = public_fields(CITIZEN)
    assert shown["counterpart_name"] == "王**"
    assert "certificate_number" not in shown
    assert shown["facts"] == "王**承认，王**签字"


def test_texts_lose_numbers_and_addresses() -> None:
    """Identity, telephone and mail are masked; what is left still reads."""
    facts = public_fields(FIRM)["facts"]
    assert facts == "经营者身份证 420********34，电话 138****，邮箱 l****"


@given(
    st.from_regex(r"[1-9]\d{16}[\dX]|1[3-9]\d{9}|0\d{2,3}-\d{8}", fullmatch=True),
    st.sampled_from(["", "电话", "：", " "]),
)
def test_no_number_of_a_person_survives(number: str, before: str) -> None:
    """Whatever stands around it, no identity, mobile or landline number can be read from a masked text."""
    masked = mask_text(f"{before}{number}。")
    assert number not in masked
    assert not re.search(r"\d{8}", masked)


@pytest.mark.parametrize(("name", "shown"), [("王样例", "王**"), ("欧", "欧*"), ("", "*")])
def test_names(name: str, shown: str) -> None:
    """One character stays."""
    assert mask_name(name) == shown


def test_every_public_field_is_a_national_one() -> None:
    """The list names fields that exist."""
    known = {name for schema in SCHEMAS.values() for name in schema().fields}
    assert PUBLIC_FIELDS.keys() <= known
