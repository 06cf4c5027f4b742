"""The rules of the field on the handheld: enforced without a network, from the reference data of the last sync.

The server has the last word: what reaches it although a rule forbids it is kept there, and marked with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from device_sim.handheld.door import visit_faults
from device_sim.handheld.forms import Form
from device_sim.handheld.outside import Outside
from device_sim.handheld.store import HandheldStore
from schemas.field_rules import NOT_ASKED, Answered, Fault, answer_faults, draw_faults, list_faults, team_faults

STARTING, SIGNING, SUBMITTING = "started_at", "signatures", "status"


class RuleRefused(Exception):
    """The rules of the field do not allow it; `faults` says which, in words for the officer."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(fault.message for fault in faults))


class Device(Protocol):
    """What the rules need of a handheld."""

    outside: Outside
    store: HandheldStore

    @property
    def officer(self) -> str:
        """The officer who has unlocked it."""

    def open(self, kind: str, record: str) -> Form:
        """Open a record."""


class FieldRules:
    """What an officer may do with one handheld, as far as it knows."""

    def __init__(self, handheld: Device) -> None:
        self.handheld = handheld

    def check(self, form: Form, fields: Mapping[str, Any]) -> None:
        """Refuse a change of an inspection or an answer that a rule forbids. Raises `RuleRefused`."""
        if form.kind == "answer":
            self._refuse(self._of_answer(form, fields))
        elif form.kind == "inspection":
            found: list[Fault] = []
            if STARTING in fields:
                found += self._of_list(form, fields) + self._of_team(form, fields)
                found += visit_faults(self.handheld.store, form, fields)
            if SIGNING in fields:
                signers = [one["officer"] for one in fields[SIGNING].get("add", ())]
                found += [fault for fault in self._of_team(form, fields) if fault.subject in ("", *signers)]
            if fields.get(SUBMITTING) == "submitted":
                found += self._of_list(form, fields) + self._of_team(form, fields) + self._of_answers(form)
                found += self._of_draw(form, fields)
            self._refuse(found)

    def marks(self, inspection: str) -> list[str]:
        """What is to be seen beside an inspection: `superseded` when a newer version of its checklist is published."""
        checklist = self._known("checklist", self._value("inspection", inspection, "checklist"))
        return ["superseded"] if checklist.get("status") == "superseded" else []

    def asked(self, inspection: str, number: str) -> bool:
        """Whether a line of the checklist is asked, given what was answered so far."""
        return not any(fault.reason == NOT_ASKED for fault in self._of_number(inspection, Answered(number, None)))

    def needs_evidence(self, inspection: str, number: str) -> bool:
        """Whether a line must be shown by evidence once it was looked at."""
        return any(line["number"] == number and line.get("evidence") for line in self._lines(inspection))

    # What each part of a visit needs.

    def _of_list(self, form: Form, fields: Mapping[str, Any]) -> list[Fault]:
        item, checklist = (self._known(kind, fields.get(kind) or form.value(kind)) for kind in ("item", "checklist"))
        return list_faults(item, checklist)

    def _of_team(self, form: Form, fields: Mapping[str, Any]) -> list[Fault]:
        officers = list(fields.get("officers") or form.value("officers") or (self.handheld.officer,))
        known = {officer: self._known("officer", officer) for officer in {*officers, self.handheld.officer}}
        sector = str(self._known("item", fields.get("item") or form.value("item")).get("sector") or "")
        now = datetime.fromtimestamp(self.handheld.outside.wall_ms() / 1000, UTC)
        moments = {now}
        if claimed := fields.get("started_at") or form.value("started_at"):
            moments.add(min(now, datetime.fromisoformat(claimed)))
        return list(dict.fromkeys(fault for at in moments for fault in team_faults(officers, known, at, sector)))

    def _of_draw(self, form: Form, fields: Mapping[str, Any]) -> list[Fault]:
        origin = self._known("task", form.value("task")).get("origin")
        return draw_faults(origin, fields.get("double_random_result") or form.value("double_random_result"))

    def _of_answer(self, form: Form, fields: Mapping[str, Any]) -> list[Fault]:
        inspection = fields.get("inspection") or form.value("inspection")
        number = fields.get("number") or form.value("number")
        if "outcome" not in fields or not inspection or not number:
            return []
        return self._of_number(str(inspection), Answered(str(number), str(fields["outcome"])), but=form.record)

    def _of_number(self, inspection: str, answer: Answered, but: str = "") -> list[Fault]:
        lines = self._lines(inspection)
        others: list[Answered] = []
        if any(line["number"] == answer.number and line.get("asked_when") for line in lines):
            found = self._answers(inspection)
            others = [one for record, one in found.items() if record != but and one.number != answer.number]
        faults = answer_faults(lines, [*others, answer], whole=False)
        return [fault for fault in faults if fault.subject == answer.number]

    def _of_answers(self, form: Form) -> list[Fault]:
        """What submitting adds to the rules that each answer met: the conditional questions, the required evidence."""
        lines = self._lines(form.record)
        if not any(line.get("asked_when") or line.get("evidence") for line in lines):
            return []
        return list(answer_faults(lines, self._answers(form.record).values(), whole=True))

    def _answers(self, inspection: str) -> dict[str, Answered]:
        found = {}
        for record in self.handheld.store.ids("answer"):
            form = self.handheld.open("answer", record)
            if form.value("inspection") == inspection and not form.deleted and form.value("number"):
                shown = [self.handheld.open("evidence", one) for one in form.value("evidence") or ()]
                types = tuple(str(one.value("media_type")) for one in shown if not one.deleted)
                found[record] = Answered(str(form.value("number")), form.value("outcome"), types)
        return found

    def _lines(self, inspection: str) -> list[dict[str, Any]]:
        return self._known("checklist", self._value("inspection", inspection, "checklist")).get("sub_items") or []

    def _value(self, kind: str, record: str, name: str) -> Any:  # noqa: ANN401 - any JSON value
        return self.handheld.open(kind, record).value(name)

    def _known(self, kind: str, record: Any) -> dict[str, Any]:  # noqa: ANN401 - an id or nothing
        if not record:
            return {}
        form = self.handheld.open(kind, str(record))
        return {} if form.deleted else {name: reading.value for name, reading in form.readings.items()}

    @staticmethod
    def _refuse(faults: Sequence[Fault]) -> None:
        if faults:
            raise RuleRefused(list(dict.fromkeys(faults)))
