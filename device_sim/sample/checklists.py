"""Checklists made from the violations' texts: every distinct text becomes one sub-item.

The source changed its form in 2014/2015: older rows have bare text (cut at 50 characters), newer ones number it
("06. Adequate hand washing …") or give it a letter code ("C7 Polystyrene"). Each form is one checklist, so that an old
inspection is held against the list of its time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from device_sim.sample.inspections import RealInspection
from device_sim.sample.naming import synthetic_uscc
from schemas.kinds.reference import MAX_SUB_ITEMS

PLAIN, NUMBERED, STATION = "plain", "numbered", "station"

NUMBERED_SINCE = date(2015, 1, 1)
"""An inspection without violations belongs to the form that was in use on its day."""

_NUMBER = re.compile(r"^(\d{1,4}[a-z]?)\.\s*(.+)$", re.IGNORECASE)
_LETTER_CODE = re.compile(r"^([A-Z]\d{1,3})\s+(.+)$")

_SECTORS: tuple[tuple[str, str], ...] = (
    (r"rodent|insect|vermin", "病媒生物防制"),
    (r"temperatur|cooling|cooking|reheat|thaw|time as a public", "温度与时间控制"),
    (r"knowledge|certificat|food handler|person in charge", "人员资质与职责"),
    (
        r"hand ?wash|hands|glove|eating, tasting|eating tasting|hair|discharge|communicable|cleanliness",
        "人员卫生与健康",
    ),
    (r"approved source|shell|oyster|good condition|label|condemnation|freshly|transfat", "食品来源与标识"),
    (r"separated|food storage|self ?service|fruits|toxic|contact surface|adulterat|protected", "食品防护"),
    (r"equipment|utensil|ware ?wash|thermomet|wiping|linen|vending|refrig", "设备与器具"),
    (
        r"floor|wall|ventilat|light|plumb|water|sewage|toilet|garbage|refuse|sleeping|premises|construction",
        "场所与设施",
    ),
    (r"permit|sign|placard|plan review|ownership|identification|advisory|variance|menu|report", "许可与公示"),
    (r"cease|referral|hearing|impound|sample|re-open|document", "执法措施"),
)
OTHER_SECTOR = "其他"

MARKET_SUPERVISION, ECOLOGY = "市场监督管理", "生态环境"
DEPARTMENT_OF = {PLAIN: MARKET_SUPERVISION, NUMBERED: MARKET_SUPERVISION, STATION: ECOLOGY}
"""The department that each checklist's item belongs to."""
SECTOR_OF = {PLAIN: "market", NUMBERED: "market", STATION: "ecology"}
"""The sector of each checklist's item: codes of the table `sector`."""

BASIS = "样例依据（虚构，仅供演示） / sample basis, fictitious"

IMPLEMENTING_BODY = "湖北省样例市场监督管理局（虚构）"
IMPLEMENTING_BODY_CODE = synthetic_uscc("market-supervision", "420000", registration="11")


CATCH_ALL_NUMBER = "Z99"
"""Sub-item that takes the rarest texts when there are more than a checklist may hold."""


@dataclass(frozen=True, slots=True)
class SubItem:
    """One line of a checklist: its number within the list, the text as published, and a Chinese sector label."""

    number: str
    text: str
    sector: str


@dataclass(frozen=True)
class MappedChecklist:
    """A checklist with its supervision item: key, 14-digit item code, checklist code, titles and sub-items."""

    key: str
    item_code: str
    item_name: str
    code: str
    title: str
    valid_from: date
    sub_items: tuple[SubItem, ...]

    @cached_property
    def numbers(self) -> dict[str, str]:
        """Sub-item text -> number."""
        return {sub_item.text: sub_item.number for sub_item in self.sub_items}

    def number_of(self, text: str) -> str:
        """The sub-item number of a violation's text; `CATCH_ALL_NUMBER` when the list had no room for it."""
        return self.numbers.get(text, CATCH_ALL_NUMBER)

    def item_fields(self) -> dict[str, object]:
        """The supervision item as fields of the kind `item`."""
        department, sector = DEPARTMENT_OF[self.key], SECTOR_OF[self.key]
        return {
            "code": self.item_code, "name": self.item_name, "basis": BASIS, "department": department, "sector": sector,
        }  # fmt: skip

    def checklist_fields(self) -> dict[str, object]:
        """Version 1 of the checklist as fields of the kind `checklist`; `item` is the item's 14-digit code."""
        lines = [
            {"number": line.number, "text": line.text, "method": f"现场检查 · {line.sector}"} for line in self.sub_items
        ]
        return {"code": self.code, "version": 1, "name": self.title, "item": self.item_code, "sub_items": lines}


_TITLES = {
    PLAIN: ("42033100101001", "食品经营监督检查（2013版）", date(2013, 1, 1)),
    NUMBERED: ("42033100101002", "食品经营监督检查（2015版）", NUMBERED_SINCE),
    STATION: ("42033100201001", "非现场监管线索现场核查", date(2013, 1, 1)),
}

STATION_SUB_ITEMS = (
    SubItem("1", "在线监测设备运行正常 / monitoring equipment in working order", "监测设备"),
    SubItem("2", "现场读数与平台数据一致 / reading on site agrees with the platform", "监测设备"),
    SubItem("3", "污染治理设施正常运行 / abatement equipment running", "治理设施"),
    SubItem("4", "排放口标识规范 / outlet properly marked", "排放口"),
    SubItem("5", "运行台账完整 / operating log complete", "台账"),
    SubItem("6", "未发现数据造假迹象 / no sign of tampered data", "数据质量"),
)
"""What officers verify on site when telemetry raised a lead; written for this project, not from a source."""


def sector_of(text: str) -> str:
    """The Chinese sector label of an item text: the first group of keywords that matches."""
    lowered = text.lower()
    return next((label for pattern, label in _SECTORS if re.search(pattern, lowered)), OTHER_SECTOR)


def form_of_text(item: str) -> str:
    """Which form an item text has: NUMBERED (a number or letter code in front) or PLAIN."""
    return NUMBERED if _NUMBER.match(item) or _LETTER_CODE.match(item) else PLAIN


def form_of(inspection: RealInspection) -> str:
    """The checklist an inspection is held against: the form of its texts (NUMBERED if mixed), else by its day."""
    if inspection.violations:
        forms = {form_of_text(violation.item) for violation in inspection.violations}
        return NUMBERED if NUMBERED in forms else PLAIN
    return NUMBERED if inspection.day >= NUMBERED_SINCE else PLAIN


def _order(text: str) -> tuple[int, int, str]:
    numbered = _NUMBER.match(text)
    if numbered:
        return 0, int(re.sub(r"\D", "", numbered.group(1))), text
    return (1 if _LETTER_CODE.match(text) else 2), 0, text


def number_sub_items(texts: Iterable[str]) -> tuple[SubItem, ...]:
    """Sub-items for distinct texts: the published number where there is one, made unique with -2, -3 …; else N001 …"""
    found: list[SubItem] = []
    used: set[str] = set()
    plain = 0
    for text in sorted(set(texts), key=_order):
        published = _NUMBER.match(text) or _LETTER_CODE.match(text)
        if published:
            base = published.group(1).upper()
            number, copy = base, 1
            while number in used:
                copy += 1
                number = f"{base}-{copy}"
        else:
            plain += 1
            number = f"N{plain:03d}"
        used.add(number)
        found.append(SubItem(number, text, sector_of(text)))
    return tuple(found)


def _checklist(key: str, sub_items: tuple[SubItem, ...]) -> MappedChecklist:
    item_code, title, valid_from = _TITLES[key]
    digit = {PLAIN: 1, NUMBERED: 2, STATION: 3}[key]
    return MappedChecklist(
        key, item_code, title, f"{IMPLEMENTING_BODY_CODE}{digit}001", f"{title}检查实施清单", valid_from, sub_items
    )


def _sub_items(counts: Counter[str]) -> tuple[SubItem, ...]:
    """Sub-items for the counted texts: all of them, or the most frequent ones and a catch-all."""
    if not counts:
        return (SubItem(CATCH_ALL_NUMBER, "其他 / other findings", OTHER_SECTOR),)
    if len(counts) <= MAX_SUB_ITEMS:
        return number_sub_items(counts)
    kept = [text for text, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[: MAX_SUB_ITEMS - 1]]
    return (*number_sub_items(kept), SubItem(CATCH_ALL_NUMBER, "其他 / other findings", OTHER_SECTOR))


def checklists_from(inspections: Iterable[RealInspection]) -> dict[str, MappedChecklist]:
    """The checklists that these inspections need, by key; the station checklist is always among them."""
    counts: dict[str, Counter[str]] = {PLAIN: Counter(), NUMBERED: Counter()}
    for inspection in inspections:
        counts[form_of(inspection)].update(violation.item for violation in inspection.violations)
    lists = {key: _checklist(key, _sub_items(found)) for key, found in counts.items()}
    return lists | {STATION: _checklist(STATION, STATION_SUB_ITEMS)}
