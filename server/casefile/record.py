"""The inspection record on paper (现场检查笔录): what it says, gathered from the case, and its typesetting.

Times are China's here, at the edge. What is in conflict is printed as undecided with all its sides, never as one.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import typst
from sqlalchemy.orm import Session

from schemas.codes import code_table
from server.casefile.collecting import Case, Row
from server.directory.models import Checklist, SupervisionItem
from server.entities.models import Entity
from server.evidence.facts import LOCAL_ZONE
from server.inspections.pinning import item_as_it_was
from server.officers.models import Officer
from server.officers.service import get_officers
from server.records.lines import decode_state, policies_of, view_of
from sync.policies import conflicts
from sync.registers import RecordState

MAX_PICTURES = 60
"""Most photos shown; the list of evidence names all of them."""
ROLES = {"lead": "主办", "second": "协办", "party": "当事人"}
STATUSES = {
    "verified": "已核验", "declared": "未收到", "waiting": "待核验", "rejected": "不符，未采用", "erased": "依法删除",
}  # fmt: skip
MEDIA = {"image": "照片", "audio": "录音", "video": "录像", "application/pdf": "PDF 文档", "text/csv": "数据摘录"}
UNDECIDED = "存在争议，尚未裁决"
ZONE = LOCAL_ZONE


@dataclass(frozen=True)
class Record:
    """What is printed: texts for the template, and the photos by name."""

    texts: Mapping[str, Any]
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """Small JPEGs drawn by the platform, by evidence id; never the originals, which were not made by us."""


def record_of(session: Session, case: Case, pictures: Mapping[str, bytes] | None = None) -> Record:
    """Gather the inspection record of a case.

    Args:
        session: the session the case was collected in.
        case: the case.
        pictures: small JPEGs by evidence id.
    """
    lines = {(row["kind"], row["id"]): row["line"].encode() for row in case.records}
    state = decode_state(lines["inspection", case.inspection])
    fields = view_of("inspection", state)
    day = _day(fields.get("inspected_at"))
    officers = get_officers(session, fields.get("officers") or [])
    entity = session.get(Entity, fields["entity"]) if fields.get("entity") else None
    item = session.get(SupervisionItem, fields["item"]) if fields.get("item") else None
    then = item_as_it_was(session, item, fields) if item else {}
    checklist = session.get(Checklist, fields["checklist"]) if fields.get("checklist") else None
    answers = [decode_state(line) for (kind, _), line in lines.items() if kind == "answer"]
    orders = [decode_state(line) for (kind, _), line in lines.items() if kind == "rectification"]
    shown = {row["id"]: f"证据 {n}　{row['caption'] or ''}".rstrip("　") for n, row in enumerate(case.evidence, 1)}
    shown = {one: caption for one, caption in shown.items() if one in (pictures or {})}
    texts = {
        "number": next((row["number"] for row in case.behaviors if row["kind"] == "inspection"), ""),
        "inspection": case.inspection,
        "closed": bool(case.behaviors),
        "entity": [entity.name, entity.uscc, entity.operating_address] if entity else ["", "", ""],
        "item": [then["name"], item.code, then["basis"]] if item else ["", "", ""],
        "checklist": f"{checklist.name}（第 {checklist.version} 版）" if checklist else "",
        "officers": [[one.name, one.certificate_number] for one in _in_order(fields.get("officers"), officers)],
        "time": _span(fields),
        "form": _label("inspection_form", fields.get("form"), day),
        "method": _label("inspection_method", fields.get("method"), day),
        "place": _place(fields.get("position")),
        "scene": fields.get("scene") or "",
        "answers": sorted(_answer(one, checklist, day) for one in answers),
        "statement": _personal(case, fields, "statement"),
        "opinion": _personal(case, fields, "party_opinion"),
        "result": _legal(state, "inspection", "result", _label("inspection_result", fields.get("result"), day)),
        "conclusion": _legal(state, "inspection", "conclusion", fields.get("conclusion") or ""),
        "orders": [_order(one) for one in orders],
        "notes": [str(note) for note in fields.get("notes") or []],
        "evidence": [_evidence(number, row) for number, row in enumerate(case.evidence, 1)],
        "pictures": [[one, caption] for one, caption in shown.items()],
        "signatures": _signatures(case, fields, officers),
        "party_signed": any(one["role"] == "party" for one in fields.get("signatures") or []),
        "digest": hashlib.sha256(lines["inspection", case.inspection]).hexdigest(),
    }
    return Record(texts, {one: (pictures or {})[one] for one in shown})


def typeset(record: Record, made_at: datetime) -> bytes:
    """Return the record as PDF. The same record at the same time gives the same bytes."""
    texts = {**record.texts, "made_at": _time(made_at)}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "main.typ").write_bytes((files("server.casefile") / "record.typ").read_bytes())
        (root / "record.json").write_text(json.dumps(texts, ensure_ascii=False), "utf-8")
        (root / "pictures").mkdir()
        for name, data in record.pictures.items():
            (root / "pictures" / f"{name}.jpg").write_bytes(data)
        return typst.compile(
            root / "main.typ",
            root=root,
            font_paths=[Path(str(files("manimgx_fonts_cjk")))],
            ignore_system_fonts=True,
            format="pdf",
            timestamp=made_at.replace(microsecond=0),
        )


def _in_order(ids: Sequence[str] | None, officers: Mapping[str, Officer]) -> list[Officer]:
    return [officers[one] for one in ids or [] if one in officers]


def _label(table: str, code: str | None, day: date | None) -> str:
    """The label of a code as it was on the day of the visit."""
    entry = code_table(table).of_time(code, day) if code else None
    return entry.zh if entry else code or ""


def _time(at: datetime) -> str:
    local = at.astimezone(ZONE)
    return f"{local.year}年{local.month}月{local.day}日 {local:%H:%M}"  # official texts write no leading zeros


def _instant(text: str | None) -> str:
    return _time(datetime.fromisoformat(text)) if text else ""


def _day(text: str | None) -> date | None:
    return datetime.fromisoformat(text).astimezone(ZONE).date() if text else None


def _span(fields: Mapping[str, Any]) -> str:
    begun = _instant(fields.get("started_at") or fields.get("inspected_at"))
    ended = _instant(fields.get("ended_at"))
    return f"{begun} 至 {ended}" if ended else begun


def _place(position: Mapping[str, Any] | None) -> str:
    return f"{position['lat']:.5f}°，{position['lon']:.5f}°（{position['datum']}）" if position else ""


def _legal(state: RecordState, kind: str, name: str, text: str) -> str:
    """A field that people alone decide: its value, or all sides while it is undecided."""
    if name not in conflicts(state, policies_of(kind)):
        return text
    sides = [str(entry.value) for entry in state.live(name)]
    return f"{UNDECIDED}：" + "；".join(f"“{side}”" for side in sides)


def _personal(case: Case, fields: Mapping[str, Any], name: str) -> str:
    """A personal field: its value, or that it was lawfully erased."""
    erased = any(
        row["personal"] is None and json.loads(row["header"])["personal"] and row["record"] == case.inspection
        for row in case.acts
    )
    return fields.get(name) or ("（依法删除）" if erased else "")


def _answer(state: RecordState, checklist: Checklist | None, day: date | None) -> list[str]:
    fields = view_of("answer", state)
    texts = {row["number"]: row["text"] for row in checklist.sub_items} if checklist else {}
    number = fields.get("number") or ""
    outcome = _legal(state, "answer", "outcome", _label("checklist_outcome", fields.get("outcome"), day))
    severity = _legal(state, "answer", "severity", _label("severity", fields.get("severity"), day))
    return [number, texts.get(number, ""), outcome, severity, fields.get("finding") or ""]


def _order(state: RecordState) -> list[str]:
    fields = view_of("rectification", state)
    requirement = _legal(state, "rectification", "requirement", fields.get("requirement") or "")
    return [requirement, _legal(state, "rectification", "deadline", _instant(fields.get("deadline")))]


def _evidence(number: int, row: Row) -> list[str]:
    verified = STATUSES.get(row["status"], row["status"])
    flags = "；有疑点待核" if row["flags"] else ""
    media = row["media_type"] or ""
    return [
        str(number),
        MEDIA.get(media, MEDIA.get(media.partition("/")[0], "文件")),
        _instant(row["captured_at"]),
        row["sha256"] or "",
        f"{verified}{flags}",
        row["caption"] or "",
    ]


def _signatures(case: Case, fields: Mapping[str, Any], officers: Mapping[str, Officer]) -> list[list[str]]:
    """Who signed, in which role, when (corrected time), on which device, over which digest."""
    found = []
    for signature in fields.get("signatures") or []:
        act = next((row for row in case.acts if signature["digest"] in (row["body"] or "")), None)
        officer = officers.get(signature["officer"])
        at = _time(datetime.fromtimestamp(act["at_ms"] / 1000, UTC)) if act else ""
        device = (act["device"] or "") if act else ""
        name = officer.name if officer else signature["officer"]
        found.append([ROLES.get(signature["role"], signature["role"]), name, at, device, signature["digest"]])
    return sorted(found, key=lambda row: list(ROLES.values()).index(row[0]) if row[0] in ROLES.values() else len(ROLES))
