"""An officer at work with a handheld: carries out an inspection made from a real record, without any network.

Each step of a visit is saved together with a mark that it is done. A handheld that is killed in between continues with
the first step that is not marked; nothing is written twice.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from device_sim.handheld.client import Handheld
from device_sim.handheld.door import Scanner, enter, no_code
from device_sim.handheld.forms import Form
from device_sim.handheld.picture import Picture
from device_sim.handheld.visit import Role, VisitPlan, other_code
from device_sim.sample.mapping import MappedAnswer, MappedInspection
from device_sim.sample.results import CORRECTION_ORDERED, DRAW_RESULTS, NO_PROBLEM, ON_SITE
from schemas.field_rules import CHECKED
from schemas.kinds.field_work import UNSIGNED_FIELDS
from sync.dots import parse_dot
from sync.signing import covered, is_stale, signed_digest

RECTIFICATION_DAYS = 15
"""Deadline of an order, counted from the visit."""
ORDERED_SEVERITIES = ("critical", "major")
MAX_ANSWERS = 150
"""Sub-items answered in one visit; the longest real inspection has 32 violations."""

ANSWER_PHOTOS, RECHECK_PHOTOS = 100, 200
"""Numbers from which photos of single answers and of re-checked orders are counted."""

Camera = Callable[["Shot"], Picture]
"""Takes a photo on the spot."""


@dataclass(frozen=True, slots=True)
class Shot:
    """What a camera is pointed at: the key of the visit and the number of the photo, when, where, and a caption."""

    key: str
    number: int
    taken_at: datetime
    position: Mapping[str, Any]
    caption: str


@dataclass(frozen=True, slots=True)
class Task:
    """A task as the handheld knows it."""

    id: str
    title: str
    inspection: str
    entity: str
    checklist: str
    officers: tuple[str, ...]
    status: str
    recheck_of: str = ""
    """The inspection whose orders are to be re-checked."""
    origin: str = ""
    lead: str = ""
    """The lead to be verified."""
    extract: str = ""
    """The evidence with the readings that the lead rests on."""

    def role_of(self, officer: str) -> Role:
        """The first officer named leads."""
        return Role.LEAD if self.officers[:1] == (officer,) else Role.SECOND


def tasks_of(handheld: Handheld) -> list[Task]:
    """This officer's tasks, in order of id."""
    found: list[Task] = []
    for task_id in handheld.store.ids("task"):
        form = handheld.open("task", task_id)
        officers = tuple(form.value("officers") or ())
        inspection = form.value("inspection")
        if handheld.officer in officers and inspection:
            found.append(
                Task(
                    id=task_id,
                    title=str(form.value("title") or ""),
                    inspection=inspection,
                    entity=str(form.value("entity") or ""),
                    checklist=str(form.value("checklist") or ""),
                    officers=officers,
                    status=str(form.value("status") or "assigned"),
                    recheck_of=str(form.value("recheck_of") or ""),
                    origin=str(form.value("origin") or ""),
                    lead=str(form.value("lead") or ""),
                    extract=str(form.value("extract") or ""),
                )
            )
    return found


class Visit:
    """One officer's part in carrying out one task."""

    def __init__(
        self,
        handheld: Handheld,
        task: Task,
        inspection: MappedInspection,
        plan: VisitPlan,
        camera: Camera,
        scan: Scanner = no_code,
    ) -> None:
        self.scan = scan
        self.handheld, self.task, self.inspection, self.plan, self.camera = handheld, task, inspection, plan, camera
        self.role = task.role_of(handheld.officer)
        self._mark = f"visit:{task.inspection}:{handheld.officer}"

    def carry_out(self) -> bool:
        """Do all steps that are not done yet; False when this officer's handheld has no part in the visit.

        Raises `RuleRefused` at the first step that the rules of the field forbid: what came before it stays.
        """
        if not self.plan.works(self.role):
            return False
        steps: list[Callable[[], None]] = [self.sign_for]
        if self.plan.does(self.role, Role.LEAD):
            steps.append(self.arrive)
        if self.plan.does(self.role, Role.SECOND):
            steps += [self.take_photos, self.describe]
        if self.plan.does(self.role, Role.LEAD):
            steps += [self.answer, self.order_rectification, self.recheck, self.conclude]
        elif self.plan.contradicts:
            steps.append(self.contradict)
        steps.append(self.sign)
        if self.plan.does(self.role, Role.LEAD):
            steps.append(self.submit)
        for step in steps:
            self._once(step)
        return True

    def sign_again(self) -> bool:
        """After a sync: sign anew what somebody has changed since, such as a decided conflict; whether that was needed.

        Nothing is signed while a conflict waits for its decision, nor after closing.
        """
        form = self._form()
        undecided = any(reading.conflict for reading in form.readings.values())
        if form.value("status") != "submitted" or undecided:
            return False
        signers = {officer for _, officer in self._signers()}
        stale = [
            (str(entry.dot), element["officer"])
            for entry in form.state.live("signatures")
            for element in entry.value
            if element["officer"] in signers and _is_stale(form, element)
        ]
        if not stale:
            return False
        change = {"add": self._signatures(form), "remove": sorted({dot for dot, _ in stale})}
        self.handheld.record(form, {"signatures": change})
        return True

    # Steps. Each one writes its acts inside one save.

    def sign_for(self) -> None:
        """Take the task on."""
        self.handheld.write(self.handheld.open("task", self.task.id), {"status": "signed_for"})

    def arrive(self) -> None:
        """Begin: when, where, and which kind of visit."""
        started = self.inspection.started_at
        fields = enter(self.scan, self.task.entity, started) | {
            "started_at": started.isoformat(), "inspected_at": started.isoformat(), "form": self.inspection.form,
            "category": self.inspection.category, "method": ON_SITE, "position": self._position(),
        }  # fmt: skip
        self._write(fields)
        self.handheld.write(self.handheld.open("task", self.task.id), {"status": "in_progress"})

    def take_photos(self) -> None:
        """Capture evidence on the spot, hashed at once."""
        evidence = [self._photo(number) for number in range(self.plan.photos)]
        self.handheld.store.put(f"{self._mark}:photos", json.dumps(evidence))

    def describe(self) -> None:
        """The scene, and what the party said: personal data stays in its own part of the act."""
        failures = len(self.inspection.failures)
        self._write(
            {
                "scene": f"现场检查记录：发现{failures}项不符合。 / Scene: {failures} items failed.",
                "statement": "样例当事人陈述：情况属实。 / The party (fictitious) confirms the findings.",
                "party_opinion": "样例当事人：无异议。 / The party (fictitious) does not object.",
                "contact": "样例联系人 000-00000000",
                "notes": f"第二执法人员记录 {self.inspection.key} / noted by the second officer",
            }
        )

    def answer(self) -> None:
        """The checklist: each real violation is a failed sub-item with its severity."""
        photos = json.loads(self.handheld.store.get(f"{self._mark}:photos") or "[]")
        for answer in self.inspection.answers[:MAX_ANSWERS]:
            if not self.handheld.rules.asked(self.task.inspection, answer.number):
                continue
            fields: dict[str, Any] = {
                "inspection": self.task.inspection, "number": answer.number, "outcome": answer.outcome,
                "severity": answer.severity, "finding": answer.finding,
            }  # fmt: skip
            if answer.outcome in CHECKED and self.handheld.rules.needs_evidence(self.task.inspection, answer.number):
                fields["evidence"] = {"add": [self._photo(ANSWER_PHOTOS + len(photos))]}
            elif photos and answer.outcome == "fail":
                fields["evidence"] = {"add": [photos.pop(0)]}
            self._new("answer", f"{self._mark}:answer:{answer.number}", fields)

    def order_rectification(self) -> None:
        """An order with a deadline for each critical or major failure."""
        deadline = self.inspection.started_at + timedelta(days=RECTIFICATION_DAYS)
        for answer in self._ordered():
            fields = {
                "inspection": self.task.inspection, "entity": self.task.entity,
                "answer": self.handheld.store.get(f"{self._mark}:answer:{answer.number}"),
                "requirement": f"限期改正：{answer.finding} / to be put right",
                "deadline": deadline.isoformat(), "status": "ordered",
            }  # fmt: skip
            self._new("rectification", f"{self._mark}:order:{answer.number}", fields)

    def recheck(self) -> None:
        """See to the orders that this visit re-checks: what is found, with a photo that shows it."""
        outcome = "not_corrected" if self.inspection.failures else "corrected"
        said = "复查时仍有问题 / still not put right" if self.inspection.failures else "复查时已改正 / put right"
        for number, form in enumerate(self._orders()):
            found = {
                "status": "rechecked", "outcome": outcome, "recheck": self.task.inspection, "report": said,
                "evidence": {"add": [self._photo(RECHECK_PHOTOS + number)]},
            }  # fmt: skip
            self.handheld.record(form, found)

    def _orders(self) -> list[Form]:
        """The open orders of the inspection that the task names; on other follow-ups those of earlier visits."""
        if not self.task.recheck_of and self.inspection.recheck_of is None:
            return []
        orders = [self.handheld.open("rectification", one) for one in self.handheld.store.ids("rectification")]
        opened = [one for one in orders if one.value("status") in ("ordered", "reported")]
        if self.task.recheck_of:
            return [one for one in opened if one.value("inspection") == self.task.recheck_of]
        mine = [one for one in opened if one.value("entity") == self.task.entity]
        return [one for one in mine if one.value("inspection") != self.task.inspection]

    def conclude(self) -> None:
        """Result and conclusion: legal content, one act; of a lead also what was found of it.

        A drawn visit has a result of its own table as well.
        """
        found = {
            "result": self.inspection.result,
            "conclusion": self.inspection.conclusion,
            "ended_at": self.inspection.ended_at.isoformat(),
        }
        if self.task.lead:
            found["lead_outcome"] = self._lead_outcome()
        if self.task.origin == "draw":
            found["double_random_result"] = DRAW_RESULTS[self.inspection.result]
        self._write(found)

    def _lead_outcome(self) -> str:
        """What this visit makes of the lead: every violation confirms it, minor ones only in part."""
        failures = self.inspection.failures
        if not failures:
            return "refuted"
        return "confirmed" if any(one.severity in ORDERED_SEVERITIES for one in failures) else "partly"

    def contradict(self) -> None:
        """The second officer sees it otherwise: both values must survive until a person decides."""
        other = {
            "result": other_code((NO_PROBLEM, CORRECTION_ORDERED), self.inspection.result),
            "conclusion": f"第二执法人员意见不同 / the second officer disagrees: {self.inspection.key}",
        }
        self._write({name: other[name] for name in self.plan.contradicts})

    def sign(self) -> None:
        """Sign what this handheld shows now; on a visit with one handheld both officers sign on it."""
        self._write({"signatures": {"add": self._signatures(self._form())}})

    def submit(self) -> None:
        """Hand the record in and close the task."""
        self._write({"status": "submitted"})
        self.handheld.write(self.handheld.open("task", self.task.id), {"status": "done"})

    # What the steps share.

    def _once(self, step: Callable[[], None]) -> None:
        """Do a step and mark it done, in one save; nothing when it is done already."""
        if self._is_done(step.__name__):
            return
        with self.handheld.saving():
            step()
            self.handheld.store.put(f"{self._mark}:done:{step.__name__}", "1")

    def _is_done(self, step: str) -> bool:
        return bool(self.handheld.store.get(f"{self._mark}:done:{step}"))

    def _form(self) -> Form:
        return self.handheld.open("inspection", self.task.inspection)

    def _signers(self) -> list[tuple[Role, str]]:
        signers = [(self.role, self.handheld.officer)]
        if not self.plan.paired:
            signers += [(Role.SECOND, officer) for officer in self.task.officers[1:2]]
        return signers

    def _signatures(self, form: Form) -> list[dict[str, Any]]:
        pairs = covered(form.state, UNSIGNED_FIELDS)
        dots, digest = sorted({str(dot) for _, dot in pairs}), signed_digest(pairs)
        return [
            {"officer": officer, "role": role.value, "dots": dots, "digest": digest}
            for role, officer in self._signers()
        ]

    def _write(self, fields: Mapping[str, Any]) -> None:
        self.handheld.record(self._form(), fields)

    def _new(self, kind: str, remembered_as: str, fields: Mapping[str, Any]) -> None:
        record = self.handheld.outside.new_id()
        self.handheld.record(self.handheld.open(kind, record), fields)
        self.handheld.store.put(remembered_as, record)

    def _ordered(self) -> list[MappedAnswer]:
        answered = self.inspection.answers[:MAX_ANSWERS]
        failed = [one for one in answered if one.outcome == "fail" and one.severity in ORDERED_SEVERITIES]
        return [one for one in failed if self.handheld.store.get(f"{self._mark}:answer:{one.number}")]  # and was asked

    def _position(self) -> dict[str, Any]:
        position = self.handheld.open("entity", self.task.entity).value("position")
        return dict(position) if position else {"lat": 30.5, "lon": 114.3, "datum": "WGS-84"}

    def _photo(self, number: int) -> str:
        taken_at = self.inspection.started_at + timedelta(minutes=5 + 4 * number)
        position = self._position()
        rng = random.Random(f"step:{self.inspection.key}:{number}")
        # A few metres from the door: 0.0001 degree of latitude is 11 m.
        position["lat"] = round(position["lat"] + rng.uniform(-1, 1) * 1e-4, 6)
        position["lon"] = round(position["lon"] + rng.uniform(-1, 1) * 1e-4, 6)
        shot = Shot(self.inspection.key, number, taken_at.astimezone(UTC), position, f"现场照片 {number + 1}")
        return self.handheld.capture(self.task.inspection, self.camera(shot))


def _is_stale(form: Form, signature: Mapping[str, Any]) -> bool:
    dots = [parse_dot(dot) for dot in signature["dots"]]
    return is_stale(form.state, dots, signature["digest"], UNSIGNED_FIELDS)
