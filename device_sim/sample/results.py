"""What kind of visit a source row is, and how its result reads in the platform's code table.

Source results are pass, conditional_pass, closed and not_applicable; whether violations were found, and whether all
were corrected on site, says more than the word, so both count. Unknown words fall back to the violations.
"""

from __future__ import annotations

import re

from device_sim.sample.inspections import RealInspection

NO_PROBLEM = "none"
CORRECTED = "corrected"
PENDING = "pending"
NO_ACTIVITY = "no-activity"

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
    """The national form (01 routine, 02 special) and the category of a visit."""
    reason = inspection.reason.lower()
    if reason == "routine":
        return "01", "日常检查"
    if reason in ("followup", "follow-up"):
        return "01", "复查"
    if reason in ("complaint", "investigation"):
        return "02", "投诉举报核查" if reason == "complaint" else "专项调查"
    return "02", "联合检查" if "joint" in reason else "其他检查"


def result_for(inspection: RealInspection) -> str:
    """The code of the inspection result."""
    if re.search("out of business", inspection.reason, re.IGNORECASE):
        return NO_ACTIVITY
    if not inspection.violations:
        return PENDING if inspection.result in ("closed", "fail", "conditional_pass") else NO_PROBLEM
    if inspection.result in ("closed", "fail", "conditional_pass"):
        return PENDING
    urgent = any(
        violation.severity == "critical" and violation.status != "corrected_on_site"
        for violation in inspection.violations
    )
    return PENDING if urgent else CORRECTED


def conclusion_for(inspection: RealInspection, result: str) -> str:
    """One sentence of conclusion, Chinese first, that states what the source row said."""
    count = len(inspection.violations)
    said = {
        NO_PROBLEM: "检查未发现问题 / no problem found",
        CORRECTED: f"发现{count}项问题，已责令改正 / {count} found, correction ordered",
        PENDING: f"发现{count}项问题，待后续处理 / {count} found, further action follows",
        NO_ACTIVITY: "未发现开展本次抽查涉及的经营活动 / no business activity found",
    }
    return f"{said[result]}（源记录结果 / source result: {inspection.result or '—'}）"
