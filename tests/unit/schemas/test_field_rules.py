"""The rules of a visit, by themselves: at their edges, and for any checklist and answers."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.field_rules import MESSAGES, Answered, Fault, answer_faults, is_asked, list_faults, team_faults
from schemas.kinds.field_work import OUTCOMES

NOW = datetime(2026, 3, 2, tzinfo=UTC)
VALID: dict[str, Any] = {"certificate_valid_until": (NOW + timedelta(days=1)).isoformat()}
LINES: list[dict[str, Any]] = [
    {"number": "1", "text": "持证"},
    {"number": "2", "text": "原因", "asked_when": {"number": "1", "outcome": "fail"}, "outcomes": ["pass", "fail"]},
    {"number": "3", "text": "现场", "evidence": ["photo", "document"]},
]


def reasons(answers: list[Answered], *, whole: bool = True) -> list[tuple[str, str]]:
    """What is wrong with some answers, by line."""
    return [(fault.subject, fault.reason) for fault in answer_faults(LINES, answers, whole=whole)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"certificate_valid_until": NOW.isoformat()}, None),
        ({"certificate_valid_until": (NOW - timedelta(seconds=1)).isoformat()}, "certificate-expired"),
        ({"certificate_valid_from": (NOW + timedelta(seconds=1)).isoformat()}, "certificate-not-yet-valid"),
        ({"scope": ["ecology"]}, "certificate-out-of-scope"),
        ({"scope": ["ecology", "market"]}, None),
        ({"scope": []}, None),
    ],
)
def test_certificates(change: dict[str, Any], reason: str | None) -> None:
    """The edges of validity count as valid; an empty scope covers all."""
    found = team_faults(["a", "b"], {"a": VALID, "b": VALID | change}, NOW, "market")
    assert [(fault.reason, fault.subject) for fault in found] == ([(reason, "b")] if reason else [])


def test_two_officers() -> None:
    """One, or one named twice, is too few; one the device does not know is left to the server."""
    assert [fault.reason for fault in team_faults(["a"], {"a": VALID}, NOW, "")] == ["officers-too-few"]
    assert [fault.reason for fault in team_faults(["a", "a"], {"a": VALID}, NOW, "")] == ["officers-too-few"]
    assert team_faults(["a", "b"], {"a": VALID}, NOW, "") == []


def test_only_what_is_published() -> None:
    """Unknown and withdrawn may not be checked; a superseded version may."""
    assert list_faults({"status": "published"}, {"status": "superseded"}) == []
    assert list_faults(None, {"status": "withdrawn"}) == [
        Fault("not-in-published-list", "item"), Fault("withdrawn-from-list", "checklist"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ([], []),
        ([Answered("1", "pass")], []),
        ([Answered("1", "fail")], [("2", "question-unanswered")]),
        ([Answered("1", "fail"), Answered("2", "pass")], []),
        ([Answered("1", "pass"), Answered("2", "pass")], [("2", "question-not-asked")]),
        ([Answered("1", "fail"), Answered("2", "not_checked")], [("2", "outcome-not-offered")]),
        ([Answered("9", "pass")], [("9", "not-in-checklist")]),
        ([Answered("3", "pass")], [("3", "evidence-required")]),
        ([Answered("3", "pass", ("image/jpeg",))], [("3", "evidence-required")]),
        ([Answered("3", "pass", ("image/jpeg", "application/pdf"))], []),
        ([Answered("3", "not_checked")], []),
        ([Answered("3", None)], []),
    ],
)
def test_answers(answers: list[Answered], found: list[tuple[str, str]]) -> None:
    """Conditions, results on offer, evidence in each form that is required."""
    assert reasons(answers) == found


def test_evidence_and_open_questions_can_wait_until_the_end() -> None:
    """While a visit goes on, what is still to come is no fault."""
    assert reasons([Answered("1", "fail"), Answered("3", "fail")], whole=False) == []


@given(st.dictionaries(st.sampled_from("123"), st.sampled_from(OUTCOMES)), st.booleans())
def test_what_follows_the_rules_has_no_fault(wanted: dict[str, str], photographed: bool) -> None:
    """Whoever answers only what is asked and offered, and shows what must be shown, is never refused."""
    types = ("image/png", "text/plain") if photographed else ()
    outcomes: dict[str, str | None] = {}
    answers = []
    for line in LINES:
        number = line["number"]
        needed = is_asked(line, outcomes) and bool(line.get("asked_when"))
        outcome = wanted.get(number, "pass" if needed else None)
        if outcome is None or not is_asked(line, outcomes) or outcome not in line.get("outcomes", OUTCOMES):
            outcome = "pass" if needed else None
        if outcome is None or (line.get("evidence") and not types and outcome in ("pass", "fail")):
            continue
        outcomes[number] = outcome
        answers.append(Answered(number, outcome, types))
    assert reasons(answers) == []


def test_every_reason_has_its_words() -> None:
    """An officer reads why, in both languages."""
    assert all(" / " in Fault(reason, "x", "1").message for reason in MESSAGES)
    assert Fault("officers-too-few", "officers").as_dict() == {"reason": "officers-too-few", "field": "officers"}
