"""A lead with its readings, officers and handhelds, for the tests of its course."""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from flask.testing import FlaskClient

from schemas.kinds.field_work import UNSIGNED_FIELDS
from server.inspections.closing import close_ready
from server.inspections.lead_tasks import dispatch_open_leads
from server.leads.extract import extract_step
from server.leads.models import Lead, LeadStep
from server.leads.service import LeadDraft, open_lead
from server.records.lines import decode_state
from server.records.models import SyncedRecord
from server.runtime import Runtime
from server.telemetry.service import SensorDraft, register_sensor
from sync.signing import covered, signed_digest
from tests.conftest import FakeClock
from tests.field_device import FieldDevice, World, live_dots

SENSOR, REGION, DEPARTMENT = "air-01", "420106001", "market"


@dataclass
class LeadPlay:
    """One platform on which leads run their course."""

    rt: Runtime
    world: World
    clock: FakeClock
    devices: list[FieldDevice] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Register a sensor at the entity."""
        draft = SensorDraft(
            SENSOR, "样例监测点", self.world.entity, REGION, DEPARTMENT, 30.5, 114.3, {"SO2": {}}
        )  # fmt: skip
        with self.rt.db.write() as session:
            register_sensor(session, self.rt, draft)

    def open(self, key: str = "episode-1", **changes: Any) -> str:  # noqa: ANN401 - members of a draft
        """Open a lead and return its id."""
        now: datetime = self.rt.now()
        values: dict[str, Any] = {
            "episode_key": key, "sensor_id": SENSOR, "entity_id": self.world.entity, "region": REGION,
            "department": DEPARTMENT, "rule_code": "air-so2-hourly", "rule_version": 1, "factor": "SO2",
            "unit": "ug/m3", "threshold": 500.0, "title_zh": "超标", "title_en": "above", "explanation_zh": "三小时",
            "explanation_en": "three hours", "extract": [], "started_at": now - timedelta(hours=3),
            "confirmed_at": now - timedelta(hours=1), "last_at": now - timedelta(hours=1), "ended_at": None,
            "peak": 600.0,
        }  # fmt: skip
        with self.rt.db.write() as session:
            lead = open_lead(session, self.rt, LeadDraft(**values | changes))
        assert lead is not None
        return lead

    def push(self) -> int:
        """Run the worker's steps that bring leads to officers."""
        extract_step(self.rt)
        with self.rt.db.write() as session:
            return dispatch_open_leads(session, self.rt)

    def lead(self, lead: str) -> Lead:
        """Return a lead as it is."""
        with self.rt.db.read() as session:
            found = session.get_one(Lead, lead)
            session.expunge(found)
            return found

    def steps(self, lead: str) -> list[tuple[str, str]]:
        """Return (action, actor) of a lead's history."""
        with self.rt.db.read() as session:
            rows = session.query(LeadStep).where(LeadStep.lead_id == lead).order_by(LeadStep.number)
            return [(row.action, row.actor) for row in rows]

    def view(self, kind: str, record: str) -> dict[str, Any]:
        """Return a record as it is served."""
        with self.rt.db.read() as session:
            found: dict[str, Any] = json.loads(session.get_one(SyncedRecord, (kind, record)).line)
            return found

    def fields(self, kind: str, record: str) -> dict[str, Any]:
        """Return the fields of a record, the newest value of each."""
        return {name: value for act in self.view(kind, record)["acts"] for name, value in act["fields"].items()}

    def device(self, officer: int = 0) -> FieldDevice:
        """Return the handheld of an officer of the world."""
        while len(self.devices) <= officer:
            number = len(self.devices)
            self.devices.append(FieldDevice(self.rt, self.world.officers[number], number + 11))
        return self.devices[officer]

    def write(
        self, client: FlaskClient, kind: str, record: str, fields: dict[str, Any], officer: int = 0
    ) -> None:  # fmt: skip
        """Change a record on a handheld and push it."""
        device = self.device(officer)
        device.write(kind, record, fields, live_dots(self.view(kind, record)))
        assert device.verdicts(client, device.segment(len(device.acts))) in (["applied"], ["merged"])

    def visit(self, client: FlaskClient, lead: str, **found: str) -> str:
        """Let the officers verify a lead on the spot and hand the inspection in; returns the inspection."""
        task = str(self.lead(lead).task_id)
        inspection = str(self.fields("task", task)["inspection"])
        self.write(client, "task", task, {"status": "signed_for"})
        self.clock.advance(600)
        self.write(client, "task", task, {"status": "in_progress"})
        self.clock.advance(600)
        complete = {
            "inspected_at": self.rt.now().isoformat(), "form": "02", "category": "05", "method": "01",
            "conclusion": "样例结论",
        }  # fmt: skip
        self.write(client, "inspection", inspection, complete | found)
        with self.rt.db.read() as session:
            state = decode_state(session.get_one(SyncedRecord, ("inspection", inspection)).line)
        pairs = covered(state, UNSIGNED_FIELDS)
        dots, digest = sorted({str(dot) for _, dot in pairs}), signed_digest(pairs)
        for officer in (0, 1):
            signature = {"officer": self.world.officers[officer], "role": "lead", "dots": dots, "digest": digest}
            self.write(client, "inspection", inspection, {"signatures": {"add": [signature]}}, officer)
        self.write(client, "inspection", inspection, {"status": "submitted"})
        self.clock.advance(10)
        with self.rt.db.write() as session:
            assert close_ready(session, self.rt) == 1
        return inspection
