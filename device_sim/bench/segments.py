"""Signed segments, built before any clock starts: inspections as officers fill them in, about 940 bytes in 30 fields.

They declare a newer schema version, as a handheld of the next release would, so that fields this server does not know
yet travel along; three fields are personal and lie in their own part.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from device_sim.bench.installation import Device, new_id
from device_sim.handheld.link import base64url
from schemas.kinds import KINDS, personal_fields
from sync.acts import ActParts, Header, encode_act, encode_fields
from sync.dots import Dot
from sync.ids import RANDOM_BYTES, uuid7
from sync.journal import SegmentHead

NEWER_VERSION = 2
"""Schema version of the acts: one above what the kinds declare today."""
SALT_BYTES = 16


@dataclass(frozen=True)
class Segment:
    """One request body, and which acts it carries."""

    journal: str
    first: int
    last: int
    body: bytes
    records: tuple[str, ...]
    """The record that each act is on."""

    @property
    def acts(self) -> int:
        """How many acts it carries."""
        return self.last - self.first + 1


@dataclass
class JournalBuilder:
    """Writes one device's journal in memory."""

    device: Device
    journal: str = field(default_factory=new_id)
    boot: str = field(default_factory=new_id)
    acts: list[ActParts] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    sealed: int = 0
    """Acts that are part of a segment already."""

    def write(self, kind: str, record: str, fields: Mapping[str, Any], seen: frozenset[Dot] = frozenset()) -> Dot:
        """Append an act and return its dot."""
        personal = personal_fields(KINDS[kind].schema)
        ordinary = {name: value for name, value in fields.items() if name not in personal}
        closed = {name: value for name, value in fields.items() if name in personal}
        header = Header(
            journal=self.journal, seq=len(self.acts) + 1, prev=self.acts[-1].hash() if self.acts else "", kind=kind,
            record=record, op="put", seen=seen, schema=NEWER_VERSION, wall_ms=_wall_ms(), mono_ms=_mono_ms(),
            boot=self.boot, officer=self.device.officer, body="", personal=None,
        )  # fmt: skip
        body = encode_fields(_salt(), ordinary)
        self.acts.append(encode_act(header, body, encode_fields(_salt(), closed) if closed else b""))
        self.records.append(record)
        return Dot(self.journal, len(self.acts))

    def seal(self, acts_per_segment: int) -> list[Segment]:
        """Sign what was written since the last time, in segments of this many acts; the last one may be shorter."""
        segments = []
        for start in range(self.sealed, len(self.acts), acts_per_segment):
            end = min(start + acts_per_segment, len(self.acts))
            segments.append(self._segment(start, end))
        self.sealed = len(self.acts)
        return segments

    def _segment(self, start: int, end: int) -> Segment:
        head = SegmentHead(
            journal=self.journal, first=start + 1, last=end, head=self.acts[end - 1].hash(), boot=self.boot,
            wall_ms=_wall_ms(), mono_ms=_mono_ms(),
        )  # fmt: skip
        signed = replace(head, signature=base64url(self.device.key.sign(head.statement())))
        body = signed.line() + b"".join(act.line() for act in self.acts[start:end])
        return Segment(self.journal, start + 1, end, body, tuple(self.records[start:end]))


def inspections(builder: JournalBuilder, entity: str, officers: Sequence[str], count: int) -> Iterator[tuple[str, Dot]]:
    """Write new inspections of 30 fields; yields (record, dot) of each."""
    for number in range(count):
        record = uuid7(_wall_ms(), os.urandom(RANDOM_BYTES))  # as handhelds do: ids of one day lie close together
        yield record, builder.write("inspection", record, inspection_fields(entity, officers, number))


def inspection_fields(entity: str, officers: Sequence[str], number: int) -> dict[str, Any]:
    """Return the 30 fields of one inspection, about 940 bytes as compact JSON in UTF-8."""
    started = f"2026-03-{1 + number % 28:02d}T{number % 24:02d}:15:00+08:00"
    return {
        "plan": f"2026-PLAN-{number:05d}", "entity": entity, "officers": list(officers), "form": "01",
        "category": "日常检查", "method": "现场检查", "checklist_version": 1, "started_at": started,
        "ended_at": started, "inspected_at": started,
        "position": {"lat": 30.55, "lon": 114.31, "datum": "WGS-84", "accuracy_m": 4.5},
        "scene": f"样例现场 {number}：后厨整洁，索证索票齐全，冷藏设备运行正常，标签完整",
        "result": "1", "conclusion": "未发现问题", "notes": "通风正常",
        "status": "open", "statement": "样例陈述：属实", "party_opinion": "无异议", "contact": "000-00000000",
        "weather": "晴", "temperature_c": 21.5, "floor": "B1", "rooms": 3, "staff_present": 4,
        "license_shown": True, "signage": "完整", "storage_c": 3.5, "arrival": "步行", "risk_band": "B",
        "sector": "餐饮",
    }  # fmt: skip


def _salt() -> str:
    return base64.urlsafe_b64encode(os.urandom(SALT_BYTES)).decode().rstrip("=")


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _mono_ms() -> int:
    return time.monotonic_ns() // 1_000_000
