"""The rules of a visit, one set for the handheld without a network and for the server with the last word. Pure.

Who may act (certificates, two officers), what may be checked (the published list), and how a checklist is answered
(conditional questions, results on offer, required evidence). Each rule returns faults; what becomes of them is not
decided here.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

MIN_OFFICERS = 2
"""At least two certified officers carry out an inspection."""
NOT_YET_VALID, EXPIRED, OUT_OF_SCOPE = "certificate-not-yet-valid", "certificate-expired", "certificate-out-of-scope"
TOO_FEW = "officers-too-few"
NOT_PUBLISHED, WITHDRAWN = "not-in-published-list", "withdrawn-from-list"
NO_SUCH_LINE, NOT_OFFERED, NOT_ASKED, UNANSWERED, NO_EVIDENCE = (
    "not-in-checklist", "outcome-not-offered", "question-not-asked", "question-unanswered", "evidence-required",
)  # fmt: skip
NO_DRAW_RESULT = "double-random-result-missing"
CHECKED = ("pass", "fail")
"""Results of lines that were really looked at."""
FORMS: Mapping[str, tuple[str, ...]] = {
    "photo": ("image/",),
    "video": ("video/",),
    "audio": ("audio/",),
    "document": ("application/pdf", "text/"),
}
"""Forms of evidence, by the beginnings of their media types."""
MESSAGES: Mapping[str, tuple[str, str]] = {
    NOT_YET_VALID: ("执法证尚未生效", "the certificate is not valid yet"),
    EXPIRED: ("执法证已过期", "the certificate has expired"),
    OUT_OF_SCOPE: ("执法证不含该领域", "the certificate does not cover the sector"),
    TOO_FEW: ("执法人员少于两名", "two officers are needed"),
    NOT_PUBLISHED: ("不在公布的清单内", "is not in the published list"),
    WITHDRAWN: ("已从清单撤回", "was withdrawn from the list"),
    NO_SUCH_LINE: ("清单中没有该检查项", "the checklist has no such line"),
    NOT_OFFERED: ("不是该检查项的结果选项", "is not a result of this line"),
    NOT_ASKED: ("不满足提问条件", "is not asked here"),
    UNANSWERED: ("应答未答", "must be answered"),
    NO_EVIDENCE: ("缺少所需证据", "lacks its required evidence"),
    "visit-not-filed": ("入企检查计划未备案", "no plan of this visit was filed before it"),
    "door-not-scanned": ("未扫企业入企码，也未选择免扫情形", "the firm's code was not scanned, and no reason says why"),
    "door-code-wrong": ("入企码不是该对象的有效码", "the code is not one of this firm's"),
    "over-frequency-cap": ("超出年度检查频次上限", "the firm has had its visits of the year"),
    NO_DRAW_RESULT: ("双随机抽查须填写抽查结果", "a drawn visit needs a result of the double-random table"),
}

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Fault:
    """A rule that is broken: which one, and by what (an officer's id, a line's number, a field)."""

    reason: str
    field: str
    subject: str = ""

    @property
    def message(self) -> str:
        """Chinese first, English second."""
        zh, en = MESSAGES[self.reason]
        about = f"{self.subject} " if self.subject else ""
        return f"{about}{zh} / {about}{en}"

    def as_dict(self) -> dict[str, str]:
        """As it is stored with an inspection."""
        found = {"reason": self.reason, "field": self.field}
        return found | {"subject": self.subject} if self.subject else found


@dataclass(frozen=True)
class Answered:
    """What an inspection says of one line: the result, none while it is in conflict, and the forms of its evidence."""

    number: str
    outcome: str | None
    media_types: tuple[str, ...] = ()


def certificate_fault(
    valid_from: datetime | None, valid_until: datetime, scope: Collection[str], at: datetime, sector: str
) -> str | None:
    """Return why a certificate does not cover an instant and a sector (empty: any), or None."""
    if valid_from is not None and at < valid_from:
        return NOT_YET_VALID
    if at > valid_until:
        return EXPIRED
    return OUT_OF_SCOPE if sector and scope and sector not in scope else None


def officer_fault(officer: Mapping[str, Any], at: datetime, sector: str) -> str | None:
    """Return why the officer of a synced record may not act at an instant, or None."""
    begins = officer.get("certificate_valid_from")
    return certificate_fault(
        datetime.fromisoformat(begins) if begins else None,
        datetime.fromisoformat(officer["certificate_valid_until"]),
        officer.get("scope") or (),
        at,
        sector,
    )


def team_faults(
    officers: Sequence[str], known: Mapping[str, Mapping[str, Any]], at: datetime, sector: str
) -> list[Fault]:
    """Return what keeps a team from acting at an instant: too few, or certificates that do not cover it.

    An officer without a record in `known` is left to those who have one.
    """
    found = [Fault(TOO_FEW, "officers")] if len(set(officers)) < MIN_OFFICERS else []
    for officer in officers:
        record = known.get(officer)
        if record and record.get("certificate_valid_until") and (reason := officer_fault(record, at, sector)):
            found.append(Fault(reason, "officers", officer))
    return found


def list_faults(item: Mapping[str, Any] | None, checklist: Mapping[str, Any] | None) -> list[Fault]:
    """Return why something may not be checked at all; a version that was superseded since may still be used."""
    found = []
    for field, record in (("item", item), ("checklist", checklist)):
        if not record:
            found.append(Fault(NOT_PUBLISHED, field))
        elif record.get("status") == "withdrawn":
            found.append(Fault(WITHDRAWN, field))
    return found


def draw_faults(origin: str | None, result: str | None) -> list[Fault]:
    """Return what a visit lacks as a drawn one: a task of the origin `draw` ends with a double-random result."""
    return [Fault(NO_DRAW_RESULT, "double_random_result")] if origin == "draw" and not result else []


def is_asked(line: Line, outcomes: Mapping[str, str | None]) -> bool:
    """Whether a line is asked, given the results so far by number."""
    condition = line.get("asked_when")
    return condition is None or outcomes.get(condition["number"]) == condition["outcome"]


def answer_faults(lines: Iterable[Line], answers: Iterable[Answered], *, whole: bool) -> Iterator[Fault]:
    """Yield what is wrong with the answers to a checklist.

    Args:
        lines: the checklist's lines, in order.
        answers: what was answered; a line answered twice is looked at twice.
        whole: whether the visit is over: then each conditional question that is asked must have its answer, and each
            line that was looked at its required evidence. A line without a condition may stay unanswered: it was not
            checked.
    """
    known = {line["number"]: line for line in lines}
    given: dict[str, list[Answered]] = {}
    for answer in answers:
        given.setdefault(answer.number, []).append(answer)
    outcomes = {number: found[0].outcome for number, found in given.items()}
    for number, found in given.items():
        line = known.get(number)
        if line is None:
            yield Fault(NO_SUCH_LINE, "number", number)
            continue
        for answer in found:
            yield from _line_faults(line, answer, outcomes, whole=whole)
    for number, line in known.items():
        if whole and line.get("asked_when") and number not in given and is_asked(line, outcomes):
            yield Fault(UNANSWERED, "outcome", number)


def _line_faults(line: Line, answer: Answered, outcomes: Mapping[str, str | None], *, whole: bool) -> Iterator[Fault]:
    number = str(line["number"])
    if not is_asked(line, outcomes):
        yield Fault(NOT_ASKED, "number", number)
    if answer.outcome is not None and answer.outcome not in line.get("outcomes", (answer.outcome,)):
        yield Fault(NOT_OFFERED, "outcome", number)
    if not whole or answer.outcome not in CHECKED:
        return
    for form in line.get("evidence", ()):
        if not any(media_type.startswith(FORMS[form]) for media_type in answer.media_types):
            yield Fault(NO_EVIDENCE, "evidence", number)
            return
