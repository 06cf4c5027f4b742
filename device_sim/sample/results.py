"""What kind of visit a source row is, and how it reads in the platform's code tables (`schemas/codes/tables`).

Source results are pass, conditional_pass, closed and not_applicable; whether violations were found, and whether all
were corrected on site, says more than the word, so both count. Unknown words fall back to the violations.
"""

from __future__ import annotations

import re

from device_sim.sample.inspections import RealInspection

NO_PROBLEM, CORRECTED_ON_SITE, CORRECTION_ORDERED, PASSED_ON, NO_ACTIVITY = "01", "02", "03", "04", "07"
"""Codes of the table `inspection_result`."""

DRAW_RESULTS = {
    "01": "01", "02": "05", "03": "05", "04": "07", "05": "06", "06": "04", "07": "08", "99": "99",
}  # fmt: skip
"""Code of the table `double_random_result` for each of `inspection_result`."""

DOUBLE_RANDOM, KEY_SUPERVISION, PATROL, COMPLAINT, LEAD = "01", "02", "03", "04", "05"
"""Codes of the table `inspection_category`."""
RECHECK, JOINT, OTHER = "06", "07", "99"
"""More of them."""

ROUTINE_FORM, SPECIAL_FORM = "01", "02"
"""Codes of the table `inspection_form`."""

ON_SITE = "01"
"""Code of the table `inspection_method`; all replayed visits are on site."""

_FAILED = frozenset({"closed", "fail", "conditional_pass"})
"""Source results that mean more than a correction."""

_VISIT_REASONS = frozenset({"routine", "followup", "follow-up", "complaint", "investigation"})
_VISIT_WORDS = re.compile(
    r"INSPECTION|ASSESSMENT|JOINT|INVESTIGAT|OUT OF BUSINESS|RECALL|SURVEY|CITATION", re.IGNORECASE
)
_OFFICE_WORDS = re.compile(r"TRAINING|HOLIDAY|OVERTIME|MEETING|DATA ENTRY|REVIEW|WRITING|PLANNING", re.IGNORECASE)


def is_visit(inspection: RealInspection) -> bool:
    """Whether a row is a visit to the premises; the source also files training hours, letters and reports.

    A row with violations is always one. Otherwise its reason decides; an unknown reason without violations is none.
    """
    reason = inspection.reason
    if inspection.violations or reason.lower() in _VISIT_REASONS:
        return True
    return bool(_VISIT_WORDS.search(reason)) and not _OFFICE_WORDS.search(reason)


def classify(inspection: RealInspection) -> tuple[str, str]:
    """The codes of form and category of a visit."""
    reason = inspection.reason.lower()
    if reason == "routine":
        return ROUTINE_FORM, PATROL
    if reason in ("followup", "follow-up"):
        return ROUTINE_FORM, RECHECK
    if reason == "complaint":
        return SPECIAL_FORM, COMPLAINT
    if reason == "investigation":
        return SPECIAL_FORM, KEY_SUPERVISION
    return SPECIAL_FORM, JOINT if "joint" in reason else OTHER


def result_for(inspection: RealInspection) -> str:
    """The code of the inspection result."""
    if re.search("out of business", inspection.reason, re.IGNORECASE):
        return NO_ACTIVITY
    failed = inspection.result in _FAILED
    if not inspection.violations:
        return CORRECTION_ORDERED if failed else NO_PROBLEM
    open_ones = [violation for violation in inspection.violations if violation.status != "corrected_on_site"]
    if not open_ones and not failed:
        return CORRECTED_ON_SITE
    urgent = any(violation.severity == "critical" for violation in open_ones)
    return PASSED_ON if failed or urgent else CORRECTION_ORDERED


def conclusion_for(inspection: RealInspection, result: str) -> str:
    """One sentence of conclusion, Chinese first, that also states what the source row said."""
    count = len(inspection.violations)
    said = {
        NO_PROBLEM: "检查未发现问题 / no problem found",
        CORRECTED_ON_SITE: f"发现{count}项问题，已当场改正 / {count} found, corrected on the spot",
        CORRECTION_ORDERED: f"发现{count}项问题，已责令改正 / {count} found, correction ordered",
        PASSED_ON: f"发现{count}项问题，移送处罚 / {count} found, passed on for a penalty",
        NO_ACTIVITY: "未发现开展相关经营活动 / not doing the business concerned",
    }
    return f"{said[result]}（源记录结果 / source result: {inspection.result or '—'}）"
