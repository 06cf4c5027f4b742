"""What the overview page shows, as plain values, already cut to the caller's scope."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Part:
    """A figure beside the main one of a stage."""

    key: str
    value: int
    tone: str = "plain"
    """plain, good, warn or alarm; the last two only colour a figure that is not zero."""


@dataclass(frozen=True)
class Count:
    """One stage on the way from a reading to a proof: its main figure and a few beside it."""

    key: str
    unit: str
    """Key of the word that says what the main figure counts (stored, open, today …)."""
    value: int
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class MapPoint:
    """Some entities or leads at one spot, in drawing units."""

    x: int
    y: int
    count: int
    label: str = ""


@dataclass(frozen=True)
class PrefectureRow:
    """One prefecture's figures, so that the map can also be read as a table."""

    code: str
    entities: int
    leads: int


@dataclass(frozen=True)
class MapView:
    """Everything the map draws over the outline."""

    entities: tuple[MapPoint, ...]
    leads: tuple[MapPoint, ...]
    prefectures: tuple[PrefectureRow, ...]
    entity_count: int
    lead_count: int


@dataclass(frozen=True)
class BehaviorRow:
    """One supervision behavior in the list of the latest."""

    id: str
    number: str
    entity: str
    region: str
    result: str
    """Result code of the behavior's code table."""
    category: str
    """inspection, penalty, coercion or other."""
    happened_at: datetime
    officers: tuple[str, ...]
    leaf: int | None
    """Index in the proof log, None while the sequencer has not appended it."""


@dataclass(frozen=True)
class LeadRow:
    """One open lead in the list of the latest."""

    id: str
    entity: str
    rule_zh: str
    rule_en: str
    opened_at: datetime


@dataclass(frozen=True)
class ConflictRow:
    """One open conflict in a list."""

    id: str
    kind: str
    field: str
    title: str
    """Name of the entity, or the record id where there is none."""
    values: tuple[Any, ...]
    """The live values, as stored; of a decided conflict, what was decided."""
    opened_at: datetime


@dataclass(frozen=True)
class DeviceRow:
    """One handheld with its last sync."""

    id: str
    name: str
    officer: str
    status: str
    """pending, active or revoked."""
    last_sync_at: datetime | None
    online: bool
    pending: int
    """Acts it had still to push, as it said at its last sync."""


@dataclass(frozen=True)
class TreeHead:
    """The newest signed head of the proof log."""

    size: int
    root: str
    """Root hash, hex."""
    signed_at: datetime
    key_id: str
    """Id of the key that signed it, as checkpoints name it."""
    pending: int
    """Leaves waiting to be appended."""


@dataclass(frozen=True)
class Overview:
    """The whole page."""

    at: datetime
    region: str
    """Division prefix of the caller's scope."""
    department: str
    counts: tuple[Count, ...]
    map: MapView
    leads: tuple[LeadRow, ...]
    conflict_count: int
    conflicts: tuple[ConflictRow, ...]
    behaviors: tuple[BehaviorRow, ...]
    device_count: int
    online_count: int
    devices: tuple[DeviceRow, ...]
    tree_head: TreeHead | None
