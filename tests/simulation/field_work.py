"""What officers do in the simulation: real forms on real handhelds, sensible and senseless acts alike."""

import hashlib
import json
import random
from dataclasses import replace
from typing import Any

import httpx

from device_sim.handheld.forms import Form
from device_sim.handheld.link import Again, Refused, base64url
from device_sim.handheld.picture import Picture
from device_sim.handheld.push import PUSH_PATH
from schemas.kinds.field_work import UNSIGNED_FIELDS
from sync.acts import DELETE, PUT
from sync.dots import parse_dot
from sync.journal import SEGMENT_TYPE, SegmentHead
from sync.signing import covered, is_stale, signed_digest
from tests.simulation.devices import SimDevice
from tests.simulation.in_process import Template

MAX_FORMS = 4
POSITION = {"lat": 30.5, "lon": 114.3, "datum": "WGS-84"}
COMPLETE: dict[str, tuple[Any, ...]] = {
    "inspected_at": ("2026-03-01T10:00:00+08:00",),
    "form": ("01", "02"),
    "category": ("03",),
    "method": ("01",),
    "result": ("01", "01", "03"),
    "conclusion": ("未发现问题", "未发现问题", "责令改正"),
}
KINDS = ("task", "inspection", "inspection", "inspection", "answer", "answer", "rectification", "evidence")


class FieldWork:
    """The hands of all officers."""

    def __init__(self, template: Template, chance: random.Random) -> None:
        """Use the template's ids and one source of chance."""
        self.template, self.random = template, chance
        self.captured: dict[str, bytes] = {}
        """Every captured picture, by its SHA-256."""

    def act(self, device: SimDevice) -> str:
        """Do something on a device; returns what it was."""
        draw = self.random.random()
        if device.forms and draw < 0.25:
            old = device.forms.pop(self.random.randrange(len(device.forms)))
            return "old form: " + self.edit(device, old)
        if draw < 0.35:
            return self.make(device)
        if draw < 0.39:
            return self.blunder(device)
        form = self._some_form(device)
        if form is None:
            return self.make(device)
        if draw < 0.5 and len(device.forms) < MAX_FORMS:
            device.forms.append(form)
            return f"leaves {form.kind} open"
        return self.edit(device, form)

    def _some_form(self, device: SimDevice) -> Form | None:
        kind = self.random.choice(KINDS)
        ids = device.handheld.store.ids(kind)
        if not ids:
            return None
        # Mostly the oldest ones: what several officers work on at once is what has to merge.
        return device.handheld.open(kind, self.random.choice(ids if self.random.random() < 0.3 else ids[:2]))

    def edit(self, device: SimDevice, form: Form) -> str:
        """Change something in an open form."""
        if self.random.random() < 0.04 and form.kind != "task":
            dot = device.handheld.delete(form)
            return f"deletes {form.kind} as {dot}"
        fields = getattr(self, f"_{form.kind}_fields")(device, form)
        dot = device.handheld.write(form, fields)
        return f"writes {form.kind} {sorted(fields)} as {dot}"

    def _task_fields(self, _device: SimDevice, _form: Form) -> dict[str, Any]:
        return {"status": self.random.choice(("signed_for", "in_progress", "done"))}

    def _inspection_fields(self, device: SimDevice, form: Form) -> dict[str, Any]:
        draw = self.random.random()
        if draw < 0.25:
            return self.missing_fields(form)
        if draw < 0.45:
            return {"signatures": self.signature(device, form)} if covered(form.state, UNSIGNED_FIELDS) else {}
        if draw < 0.55:
            return {"status": "submitted"} if form.value("status") in (None, "open") else {}
        choices: dict[str, tuple[Any, ...]] = COMPLETE | {
            "scene": ("甲", "乙", "丙"), "notes": ("一", "二"), "statement": ("样例陈述", "情况属实"),
            "contact": ("样例联系人",), "position": (POSITION,),
        }  # fmt: skip
        names = self.random.sample(
            [*sorted(choices), "result", "conclusion", "statement", "contact"], self.random.randint(1, 3)
        )
        return {name: self.random.choice(choices[name]) for name in names}

    def missing_fields(self, form: Form) -> dict[str, Any]:
        """Everything that closing needs and the form does not say yet."""
        return {
            name: self.random.choice(values)
            for name, values in COMPLETE.items()
            if form.value(name) is None and not (name in form.readings and form.readings[name].conflict)
        }

    def signature(self, device: SimDevice, form: Form) -> dict[str, Any]:
        """A set change that signs what the form says, in place of one's own stale signatures."""
        pairs = covered(form.state, UNSIGNED_FIELDS)
        officer = device.handheld.officer
        stale = [
            str(entry.dot)
            for entry in form.state.live("signatures")
            for one in entry.value
            if one["officer"] == officer
            and is_stale(form.state, [parse_dot(dot) for dot in one["dots"]], one["digest"], UNSIGNED_FIELDS)
        ]
        dots = sorted({str(dot) for _, dot in pairs})
        signed = {"officer": officer, "role": "lead", "dots": dots, "digest": signed_digest(pairs)}
        return {"add": [signed], "remove": sorted(set(stale))}

    def _answer_fields(self, device: SimDevice, _form: Form) -> dict[str, Any]:
        found: dict[str, Any] = {"outcome": self.random.choice(("pass", "fail"))}
        pictures = device.handheld.store.ids("evidence")
        if pictures and self.random.random() < 0.3:
            found["evidence"] = {"add": [self.random.choice(pictures)]}
        if self.random.random() < 0.4:
            found["finding"] = self.random.choice(("甲", "乙", ""))
        return found

    def _rectification_fields(self, _device: SimDevice, _form: Form) -> dict[str, Any]:
        choices = {
            "requirement": ("限期改正", "立即改正"), "report": ("已改", "未改"),
            "status": ("ordered", "reported", "rechecked"),
        }  # fmt: skip
        name = self.random.choice(sorted(choices))
        return {name: self.random.choice(choices[name])}

    def _evidence_fields(self, _device: SimDevice, _form: Form) -> dict[str, Any]:
        return {"caption": self.random.choice(("正面", "侧面"))}

    def make(self, device: SimDevice) -> str:
        """Make a new record in the field."""
        handheld = device.handheld
        inspections = handheld.store.ids("inspection")
        kind = self.random.choice(("answer", "evidence", "evidence", "rectification", "inspection"))
        if kind == "inspection" or not inspections:
            opened: dict[str, Any] = {
                "entity": self.random.choice(self.template.entities), "checklist": self.template.checklist,
                "checklist_version": 1, "item": self.template.item, "status": "open",
                "officers": self.random.sample(self.template.officers, 2),
            }  # fmt: skip
            record = handheld.outside.new_id()
            return f"opens inspection {handheld.write(handheld.open('inspection', record), opened)}"
        inspection = self.random.choice(inspections)
        if kind == "evidence":
            return self.capture(device, inspection)
        record = handheld.outside.new_id()
        fields: dict[str, Any] = {"inspection": inspection} | (
            {"number": str(self.random.randint(1, 3)), "outcome": "fail", "severity": "minor"}
            if kind == "answer"
            else {"requirement": "限期改正", "status": "ordered"}
        )
        return f"makes {kind} {handheld.write(handheld.open(kind, record), fields)}"

    def capture(self, device: SimDevice, inspection: str) -> str:
        """Take a picture; now and then its file is damaged on the device afterwards."""
        content = self.random.randbytes(self.random.choice((1, 200, 3_000)))
        picture = Picture(content, "a.bin", "application/octet-stream", "2026-03-01T10:00:00+08:00", POSITION, "正面")
        self.captured[hashlib.sha256(content).hexdigest()] = content
        evidence = device.handheld.capture(inspection, picture)
        if self.random.random() < 0.1:
            path = device.handheld.store.evidence_folder / f"{evidence}.bin"
            path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
            device.damaged.add(evidence)
            return f"captures {evidence}, damaged"
        return f"captures {evidence} {hashlib.sha256(content).hexdigest()[:8]}"

    def push_ahead(self, device: SimDevice) -> str:
        """Push the newer half of what is unconfirmed before the older: a client is free to, and the rest is held."""
        handheld = device.handheld
        store, writer = handheld.store, handheld.writer
        journal = writer.current()
        acts = store.unconfirmed_acts(journal, 50)
        ahead = acts[len(acts) // 2 :]
        if len(acts) < 2:
            return "nothing to push ahead"
        head = SegmentHead(
            journal=journal, first=ahead[0].dot.seq, last=ahead[-1].dot.seq, head=ahead[-1].hash, boot=writer.boot,
            wall_ms=writer.outside.wall_ms(), mono_ms=writer.outside.mono_ms(), parent=store.parent_of(journal),
        )  # fmt: skip
        signed = replace(head, signature=base64url(handheld.link.sign(head.statement())))
        body = signed.line() + b"".join(act.parts.line() for act in ahead)
        try:
            answer = handheld.link.request("POST", PUSH_PATH, content=body, headers={"Content-Type": SEGMENT_TYPE})
        except (Again, httpx.RequestError) as error:
            return f"pushing {head.first} to {head.last} ahead failed: {error}"
        except Refused as error:
            if str(error.problem.get("field")).startswith("parent."):
                return f"pushing {head.first} to {head.last} ahead: its parent is not there"
            if error.code != "journal-fork":
                raise
            return f"pushing {head.first} to {head.last} ahead: fork"
        return f"pushed {head.first} to {head.last} ahead: {answer.status_code}"

    def blunder(self, device: SimDevice) -> str:
        """Write what a handheld with a fault would write: past its own checks, into the journal."""
        writer, ids = device.handheld.writer, device.handheld.store.ids("inspection")
        inspection = self.random.choice(ids) if ids else device.handheld.outside.new_id()
        kind, record, op, fields = self.random.choice(
            (
                ("inspection", inspection, PUT, {"result": 5}),
                ("inspection", inspection, PUT, {"unheard_of": "x"}),
                ("answer", device.handheld.outside.new_id(), PUT, {"inspection": device.handheld.outside.new_id()}),
                ("answer", device.handheld.outside.new_id(), DELETE, {}),
                ("evidence", device.handheld.outside.new_id(), PUT, {"caption": "无主"}),
            )
        )
        form = device.handheld.open(kind, record)
        with device.handheld.saving():
            dot = writer._append(kind, record, op, form.seen, fields)
        return f"blunders {json.dumps(fields)} as {dot}"
