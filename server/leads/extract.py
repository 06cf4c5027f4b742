"""The telemetry extract of a lead: the readings it rests on, as one file that is sealed as evidence of its inspection.

The worker takes them out as they are stored when the lead is new: valid and invalid ones alike, each with its flag and
reason, with the rule and the periods in which nothing counted. The file is canonical JSON, so that the same readings
give the same bytes; what comes later changes the lead, and never the extract.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.kinds.base import MAX_LABEL_CHARS
from server.audit.service import SYSTEM
from server.evidence.deposit import Deposit, deposit, store_bytes
from server.evidence.hashing import Digest
from server.leads.lifecycle import GENERATED
from server.leads.models import Lead
from server.records.lines import Placement
from server.records.models import Act
from server.records.service import OfficeChange, office_write_many
from server.runtime import Runtime
from server.telemetry.models import RuleVersion, Sensor, SensorPeriod
from server.telemetry.rules import EXPRESSION
from server.telemetry.service import list_readings

BATCH = 50
"""Leads whose readings are taken out in one step of the worker."""
BEFORE = timedelta(hours=6)
"""How long before the episode the extract begins, for comparison."""
READINGS_LIMIT = 20_000
"""Most readings in an extract; more are left out, from the end, and the extract says so."""
MEDIA_TYPE = "application/json"
RULE_FIELDS = (
    "code", "version", "factor", "unit", "threshold", "clear_level", "window_hours", "min_valid_hours",
    "max_silence_hours", "measure", "category", "settings", "title_zh", "title_en", "basis",
)  # fmt: skip


def extract_step(rt: Runtime) -> int:
    """Worker step: take out the readings of leads that are new. Returns how many were.

    The bytes are stored before the lead speaks of them; a crash in between leaves bytes that nothing speaks of, and the
    next run stores the same ones again.
    """
    waiting = (Lead.status == GENERATED, Lead.withdrawn_at.is_(None), Lead.extract_sha256.is_(None))
    with rt.db.read() as session:
        leads = session.scalars(select(Lead).where(*waiting).order_by(Lead.id).limit(BATCH)).all()
        made = {lead.id: content_of(session, lead) for lead in leads}
    digests = {lead_id: store_bytes(rt, content) for lead_id, content in made.items()}
    if not digests:
        return 0
    with rt.db.write() as session:
        query = select(Lead).where(Lead.id.in_(list(digests)), *waiting).with_for_update()
        for lead in session.scalars(query):
            digest = digests[lead.id]
            lead.extract_sha256, lead.extract_sm3 = digest.sha256, digest.sm3
            lead.extract_size_bytes = digest.size_bytes
    return len(digests)


def content_of(session: Session, lead: Lead) -> bytes:
    """Return the extract of a lead as the readings are now."""
    rule = session.execute(
        select(RuleVersion).where(RuleVersion.code == lead.rule_code, RuleVersion.version == lead.rule_version)
    ).scalar_one_or_none()
    since, until = lead.started_at - BEFORE, max(lead.confirmed_at, lead.last_at) + timedelta(hours=1)
    sensors = _sensors(session, lead, rule)
    readings: list[dict[str, Any]] = []
    whole = True
    for sensor in sensors:
        factor = None if rule is not None and rule.measure == EXPRESSION else lead.factor
        room = READINGS_LIMIT - len(readings)
        rows = list_readings(session, sensor.id, since=since, until=until, factor=factor, limit=room + 1)
        whole = whole and len(rows) <= room
        readings += [_plain(asdict(row) | {"corrected_at": row.corrected_at}) for row in rows[:room]]
    extract = {
        "v": 1,
        "lead": lead.id,
        "episode": lead.episode_key,
        "entity": lead.entity_id,
        "rule": None if rule is None else {name: getattr(rule, name) for name in RULE_FIELDS},
        "judged": lead.extract,
        "from": since,
        "until": until,
        "sensors": [_sensor(session, sensor, since, until) for sensor in sensors],
        "readings": readings,
        "complete": whole,
    }
    return canonical(extract)


def canonical(extract: Mapping[str, Any]) -> bytes:
    """Return an extract as bytes: compact JSON, members sorted, instants in UTC."""
    text = json.dumps(_plain(extract), ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
    return text.encode()


def _sensors(session: Session, lead: Lead, rule: RuleVersion | None) -> Sequence[Sensor]:
    """The sensor of the lead; with an expression all sensors of the site, for it may look at any of them."""
    query = select(Sensor).where(Sensor.id == lead.sensor_id)
    if rule is not None and rule.measure == EXPRESSION:
        query = select(Sensor).where(Sensor.entity_id == lead.entity_id)
    return session.scalars(query.order_by(Sensor.id)).all()


def _sensor(session: Session, sensor: Sensor, since: datetime, until: datetime) -> dict[str, Any]:
    periods = select(SensorPeriod).where(
        SensorPeriod.sensor_id == sensor.id,
        SensorPeriod.starts_at < until,
        SensorPeriod.ends_at.is_(None) | (SensorPeriod.ends_at > since),
    )
    return {
        "id": sensor.id,
        "name": sensor.name,
        "position": {"lat": sensor.lat, "lon": sensor.lon, "datum": sensor.datum},
        "channels": sensor.channels,
        "periods": [
            {"kind": one.kind, "from": one.starts_at, "until": one.ends_at}
            for one in session.scalars(periods.order_by(SensorPeriod.starts_at, SensorPeriod.id))
        ],
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value, with instants in it
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def hand_over(session: Session, rt: Runtime, lead: Lead, record: str, inspection: str, place: Placement) -> None:
    """Seal a lead's extract as evidence of its inspection, and give it to the officers' handhelds with the task.

    Args:
        session: the write session that makes the task.
        rt: the runtime.
        lead: the lead, locked, with its readings taken out.
        record: id of the evidence record to be made; the task names it.
        inspection: the inspection that was opened for the task.
        place: where the inspection belongs, and who it is assigned to.
    """
    digest = Digest(str(lead.extract_sha256), str(lead.extract_sm3), int(lead.extract_size_bytes or 0))
    captured_at, name = rt.now(), f"lead-{lead.id}.json"
    caption = f"线索监测数据摘录：{lead.title_zh} · Telemetry extract of the lead: {lead.title_en}"[:MAX_LABEL_CHARS]
    fields = {
        "inspection": inspection, "sha256": digest.sha256, "sm3": digest.sm3, "size_bytes": digest.size_bytes,
        "media_type": MEDIA_TYPE, "captured_at": captured_at.isoformat(), "file_name": name, "caption": caption,
    }  # fmt: skip
    placed = Placement(place.region, place.department, place.assignees, inspection)
    change = OfficeChange("evidence", record, fields, SYSTEM, placed)
    (dot,) = office_write_many(session, rt, [change], captured=True)
    origin = {"source": "telemetry", "lead": lead.id, "sensor": lead.sensor_id, "rule": lead.rule_code}
    made = Deposit(
        record, inspection, place.region, place.department, session.get_one(Act, (dot.journal, dot.seq)).hash, digest,
        MEDIA_TYPE, name, caption, captured_at, origin,
    )  # fmt: skip
    deposit(session, rt, made)
    lead.extract_id = record
