"""Makes the records around a sample province's items and entities: law, complaints, credit, key firms. Pure.

Whom a record is about follows from the entity alone, so that a larger province holds the smaller one's records.
"""

import random
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from schemas.divisions import PROVINCE
from server.province.content import SECTORS

Row = Mapping[str, Any]
FIRST_DAY = date(2025, 1, 6)
DAYS = 360
DEPARTMENTS = {content.sector: content.department for content in SECTORS}
BASES = {content.sector: f"《{content.laws[0].title}》" for content in SECTORS}
COMPLAINT_SHARE, CREDIT_SHARE, KEY_SHARE = 0.005, 0.01, 0.002
"""Of so many entities there is a complaint, a credit record, an entry among the key firms."""
CREDIT = {
    "abnormal": "未按规定公示年度报告",
    "penalty": "受到行政处罚",
    "commendation": "守信激励对象",
    "licence": "取得行政许可",
}


def knowledge() -> Iterator[dict[str, Any]]:
    """Return the laws of each sector; only their names, since texts are not quoted."""
    for content in SECTORS:
        for law in content.laws:
            yield {
                "number": law.number, "kind": "law", "title": law.title, "sector": content.sector,
                "region": PROVINCE, "department": "", "effective_from": date.fromisoformat(law.since),
                "content": "样例条目，不含法律原文",
            }  # fmt: skip


def about(entities: Iterable[Row]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return (register, record) of what is known about some entities."""
    for entity in entities:
        rng = random.Random(f"records:{entity['uscc']}")
        day = FIRST_DAY + timedelta(days=int(rng.random() * DAYS))
        tail, place = entity["uscc"][-10:-1], {"region": entity["region"]}
        if rng.random() < COMPLAINT_SHARE:
            yield "complaints", place | _complaint(rng, entity, f"样例投诉-{tail}", day)
        if rng.random() < CREDIT_SHARE:
            kind = rng.choice(sorted(CREDIT))
            yield (
                "credit-records",
                place | {
                    "number": f"样例信用-{tail}", "entity": entity["uscc"], "kind": kind, "title": CREDIT[kind],
                    "authority": f"样例{DEPARTMENTS[entity['sector']]}局", "basis": BASES[entity["sector"]],
                    "decided_on": day, "department": "",
                },
            )  # fmt: skip
        if rng.random() < KEY_SHARE:
            yield (
                "key-subjects",
                place | {
                    "number": f"样例重点-{tail}", "entity": entity["uscc"], "kind": "key_firm", "name": entity["name"],
                    "sector": entity["sector"], "grounds": "风险较高，重点关注 / watched for its risk",
                    "listed_on": day, "department": "",
                },
            )  # fmt: skip


def _complaint(rng: random.Random, entity: Row, number: str, day: date) -> dict[str, Any]:
    at = datetime(day.year, day.month, day.day, 1 + int(rng.random() * 9), tzinfo=UTC)
    return {
        "number": number, "kind": rng.choice(("complaint", "report")), "channel": "12345",
        "subject": "反映经营问题 / about how it trades", "respondent": entity["name"], "entity": entity["uscc"],
        "sector": entity["sector"], "department": DEPARTMENTS[entity["sector"]], "received_at": at,
        "complainant": "投诉样例", "phone": "13800000000", "state": rng.choice(("received", "closed")),
    }  # fmt: skip
