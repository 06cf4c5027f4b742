"""What the public sees of a behavior: a list of fields by name, and personal data masked in them. Pure."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from schemas.behavior import CITIZEN, days_of
from schemas.codes import code_table

PUBLIC_FIELDS: Mapping[str, str] = {
    "behavior_kind": "behavior_kind", "number": "", "inspection_number": "", "name": "", "item_code": "",
    "implementing_body": "", "counterpart_name": "", "counterpart_nature": "counterpart_nature",
    "certificate_number": "", "region": "", "form": "inspection_form", "category": "inspection_category",
    "method": "inspection_method", "result": "inspection_result", "double_random_result": "double_random_result",
    "inspected_at": "", "decision_number": "", "decided_at": "", "facts": "", "basis": "",
    "procedure": "penalty_procedure", "kinds": "penalty_kind", "fine_yuan": "", "outcome": "penalty_outcome",
    "execution": "execution", "kind": "coercion_kind", "measure": "", "measures": "",
    "closing_state": "closing_state", "started_at": "", "extended_until": "", "ended_at": "", "closed_at": "",
}  # fmt: skip
"""Fields that are published, each with its code table. Officers, contacts and addresses are not among them."""
IDENTITY = re.compile(r"(?<!\d)\d{17}[\dXx](?![\dXx])")
CARD = re.compile(r"(?<!\d)\d{16,19}(?!\d)")
MOBILE = re.compile(r"(?<!\d)1[3-9]\d{9}(?!\d)")
LANDLINE = re.compile(r"(?<!\d)0\d{2,3}-?\d{7,8}(?!\d)")
MAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(\.[\w-]{1,63}){1,4}")
HIDDEN = "****"


def public_fields(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what may be published of a behavior: codes with the labels of its day, texts without personal data.

    A citizen is named by surname only and without a number; identity, card and telephone numbers and mail addresses
    are masked in every text, and so is the citizen's name wherever it occurs.
    """
    citizen = content.get("counterpart_nature") == CITIZEN
    name = str(content.get("counterpart_name") or "") if citizen else ""
    day = next(iter(days_of(content)), None)
    shown: dict[str, Any] = {}
    for field, table in PUBLIC_FIELDS.items():
        value = content.get(field)
        if value is None or (citizen and field == "certificate_number"):
            continue
        shown[field] = value if field == "certificate_number" else _shown(value, table, name, day)
    if citizen and name:
        shown["counterpart_name"] = mask_name(name)
    return shown


def mask_name(name: str) -> str:
    """Return a person's name with all but its first character hidden."""
    return name[:1] + "*" * max(1, len(name) - 1)


def mask_text(text: str, name: str = "") -> str:
    """Return a text with everything that identifies a person masked; `name` is a person's whose name is hidden too."""
    if len(name) > 1:
        text = text.replace(name, mask_name(name))
    for pattern in (IDENTITY, CARD):
        text = pattern.sub(lambda found: found[0][:3] + HIDDEN * 2 + found[0][-2:], text)
    for pattern in (MOBILE, LANDLINE):
        text = pattern.sub(lambda found: found[0][:3] + HIDDEN, text)
    return MAIL.sub(lambda found: found[0][:1] + HIDDEN, text)


def _shown(value: Any, table: str, name: str, day: date | None) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, list):
        return [_shown(one, table, name, day) for one in value]
    if not isinstance(value, str):
        return value
    if table:
        entry = code_table(table).of_time(value, day)
        return {"code": value, "zh": entry.zh, "en": entry.en} if entry else mask_text(value, name)
    return mask_text(value, name)
