"""The words for codes: every code that a page can show, in the reader's language.

The English text is the message id; both catalogues are complete. A code that is not listed is shown as it is stored.
"""

import json
from collections.abc import Mapping
from datetime import datetime

from flask_babel import get_locale, gettext
from flask_babel import lazy_gettext as _l

from schemas.codes import code_table
from server.clock import CHINA
from server.pages.outline import load_outline, prefecture_code

Words = Mapping[str, object]

STAGES: Words = {
    "readings": _l("Readings"),
    "leads": _l("Leads"),
    "tasks": _l("Tasks"),
    "inspections": _l("Inspections"),
    "evidence": _l("Evidence"),
    "behaviors": _l("Behaviors"),
    "proof": _l("Proof log"),
}
FIGURES: Words = {
    "stored": _l("stored"),
    "invalid": _l("invalid"),
    "dead_lettered": _l("dead letters"),
    "open": _l("open"),
    "total": _l("in all"),
    "done": _l("done"),
    "closed": _l("closed"),
    "today": _l("today"),
    "in_progress": _l("in progress"),
    "verified": _l("verified"),
    "waiting": _l("waiting"),
    "flagged": _l("flagged"),
    "rejected": _l("rejected"),
    "recorded": _l("recorded"),
    "leaves": _l("leaves"),
}
KINDS: Words = {
    "task": _l("Task"),
    "inspection": _l("Inspection"),
    "answer": _l("Checklist answer"),
    "evidence": _l("Evidence"),
    "rectification": _l("Rectification order"),
    "entity": _l("Regulated entity"),
}
FIELDS: Words = {
    "result": _l("Result"),
    "conclusion": _l("Conclusion"),
    "outcome": _l("Outcome"),
    "severity": _l("Severity"),
    "requirement": _l("Requirement"),
    "deadline": _l("Deadline"),
    "_deleted": _l("Deletion"),
}
TABLES: Mapping[str, str] = {"result": "inspection_result", "outcome": "checklist_outcome", "severity": "severity"}
"""Code table of each field whose values are codes."""
RESULT_TONES: Mapping[str, str] = {"01": "good", "02": "warn", "03": "warn", "04": "alarm", "05": "alarm"}
"""Colour of a result: nothing found, put right, passed on or refused; any other is neutral."""
MAX_VALUE_CHARS_SHOWN = 400
DEVICE_STATES: Words = {
    "pending": _l("awaiting approval"),
    "active": _l("approved"),
    "revoked": _l("revoked"),
}
DECISION_ERRORS: Mapping[tuple[str, str | None], object] = {
    ("invalid-field", "choice"): _l("Choose which value holds."),
    ("invalid-field", "reason"): _l("A reason is needed: at least two characters."),
    ("invalid-field", "value"): _l("Give the other value that holds."),
    ("conflict", "sides"): _l("The sides have changed since you looked. Please look again."),
    ("conflict", "decision"): _l("Somebody has written over the decision since; there is nothing left to undo."),
    ("illegal-transition", None): _l("This conflict has been settled already."),
}
"""What went wrong with a decision, by problem code and field."""
PROVINCE = "42"


def word(words: Words, code: str) -> str:
    """Return the reader's word for a code, or the code itself."""
    return str(words.get(code, code))


def stage_label(code: str) -> str:
    """Return the name of a stage."""
    return word(STAGES, code)


def figure_label(code: str) -> str:
    """Return what a figure counts."""
    return word(FIGURES, code)


def kind_label(code: str) -> str:
    """Return the name of a synced kind."""
    return word(KINDS, code)


def field_label(_kind: str, field: str) -> str:
    """Return the name of a field that can be in conflict."""
    return word(FIELDS, field)


def coded(table: str, code: str, at: datetime | None = None) -> str:
    """Return the reader's label of a code in a code table, as it was at an instant; or the code itself."""
    entry = code_table(table).of_time(code, at.astimezone(CHINA).date() if at else None)
    if entry is None:
        return code
    return entry.zh if is_chinese() else entry.en


def result_label(code: str, at: datetime | None = None) -> str:
    """Return the label of an inspection result, as it was at an instant."""
    return coded("inspection_result", code, at)


def result_tone(code: str) -> str:
    """Return the colour class of an inspection result."""
    return RESULT_TONES.get(code, "plain")


def value_label(_kind: str, field: str, value: object) -> str:
    """Return a field's value for people: the label of a code, or its text, cut where it would fill the page."""
    if value is None:
        return str(gettext("none"))
    if isinstance(value, str) and field in TABLES:
        return coded(TABLES[field], value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_VALUE_CHARS_SHOWN else f"{text[:MAX_VALUE_CHARS_SHOWN]}…"


def device_status_label(code: str) -> str:
    """Return the word for a device's state."""
    return word(DEVICE_STATES, code)


def is_chinese() -> bool:
    """Tell whether the page is being written in Chinese."""
    locale = get_locale()
    return locale is None or locale.language == "zh"


def decision_error(code: str, field: str | None) -> str:
    """Return what went wrong with a decision, or nothing if the problem is of another kind."""
    return str(DECISION_ERRORS.get((code, field), ""))


def prefecture_name(code: str) -> str:
    """Return a drawn unit's name: full in Chinese, short in English."""
    prefecture = load_outline().by_code().get(code)
    if prefecture is None:
        return code
    return prefecture.name if is_chinese() else prefecture.short_en


def prefecture_short(code: str) -> str:
    """Return a drawn unit's name as it stands on the map."""
    prefecture = load_outline().by_code().get(code)
    if prefecture is None:
        return code
    return prefecture.short_zh if is_chinese() else prefecture.short_en


def region_name(region: str) -> str:
    """Return the name of the province or prefecture that a division code or prefix belongs to."""
    if len(region) <= len(PROVINCE) or region.startswith(f"{PROVINCE}0000"):
        return str(gettext("Hubei Province") if region.startswith(PROVINCE) else gettext("All regions"))
    return prefecture_name(prefecture_code(region))
