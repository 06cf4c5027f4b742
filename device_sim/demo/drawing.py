"""While handhelds are away the office revises a checklist and draws firms at random; the next sync brings them both."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

from device_sim.demo.checks import evidence_settled, require
from device_sim.demo.office import Office
from device_sim.demo.run import SETTLE_TIMEOUT_S, Run
from device_sim.sample.checklists import BASIS, NUMBERED
from schemas.field_rules import EXPIRED

CHINA = timezone(timedelta(hours=8))
VISIT_DAYS = 14
RULES = {
    "strata": [{"name": "全部 all", "risks": list("ABCD"), "credits": list("ABCD"), "per_mille": 50, "minimum": 4}],
    "visits_cap": 2,
}
REVISED_LINES = (
    {
        "number": "2026-1", "text": "经营场所显著位置公示许可证 / licence displayed where it is seen",
        "method": "现场检查 / on site", "basis": BASIS, "evidence": ["photo"],
    },
    {
        "number": "2026-2", "text": "未公示的，是否当场改正 / if not displayed, put right at once",
        "method": "现场检查 / on site", "basis": BASIS, "asked_when": {"number": "2026-1", "outcome": "fail"},
    },
)  # fmt: skip
"""What version 2 of the checklist asks in addition: a photo is required, and one question depends on another."""


def revise_and_draw(run: Run) -> None:
    """One operator drafts and draws, another one reviews and approves; the draw's file is verified on its own."""
    operator, approver = run.office, run.person("approver")
    run.plan["revised"] = _revise(operator, approver, run.world.mapped.checklists[NUMBERED].code)
    run.batch = _draw(operator, approver, run.world.mapped.checklists[NUMBERED].item_code)
    path = run.home / "draw.txt"
    path.write_bytes(operator.download(f"/api/v1/draw-batches/{run.batch}/file"))
    said = run.programs.run("draw-verify", ["draw", "verify", str(path)])
    operator.post(f"/api/v1/draw-batches/{run.batch}/actions", {"action": "dispatch"})
    run.settle("visits", lambda: _states(run), SETTLE_TIMEOUT_S, lambda seen: not seen.get("waiting"))
    visits = drawn_visits(run)
    faults = [visit["fault"] for visit in visits if not visit["task"]]
    require(not faults, f"drawn visits could not be given out: {faults}")
    run.plan["drawn"] = {visit["task"]: f"draw:{visit['place']}" for visit in visits}
    counts = dict(line.split(": ", 1) for line in said.splitlines() if ": " in line)
    run.figures["draw"] = {"roster": int(counts["entities"]), "drawn": len(visits), "excluded": int(counts["excluded"])}
    run.report("draw", run.figures["draw"])


def _revise(operator: Office, approver: Office, code: str) -> str:
    """Publish version 2 of a checklist; returns the id under which handhelds know it."""
    path = f"/api/v1/directory/checklists/{code}"
    now = operator.get(path)
    lines = [{"basis": BASIS, **line} for line in now["content"]["sub_items"]]
    content = now["content"] | {"sub_items": [*REVISED_LINES, *lines]}
    draft = {"base": now["version"], "content": content, "reason": "增加许可证公示检查 / licence to be displayed"}
    version = operator.post(f"{path}/versions", draft)["version"]
    approver.post(f"{path}/versions/{version}", {"action": "review", "reason": "审核通过 / reviewed"})
    published = operator.post(f"{path}/versions/{version}", {"action": "publish", "reason": "发布 / published"})
    return str(published["record"])


def _draw(operator: Office, approver: Office, item_code: str) -> str:
    """Plan, announce and draw; returns the batch."""
    today = datetime.now(CHINA).date()
    draft = {
        "number": f"样抽〔{today.year}〕1号", "title": "食品经营双随机抽查（样例）/ double-random, sample",
        "year": today.year, "region": "420000", "item_code": item_code, "rules": RULES,
    }  # fmt: skip
    plan = operator.post("/api/v1/draw-plans", draft)["id"]
    approver.post(f"/api/v1/draw-plans/{plan}/actions", {"action": "approve"})
    last = min(today + timedelta(days=VISIT_DAYS), date(today.year, 12, 31))
    days = {"visits_from": today.isoformat(), "visits_until": last.isoformat()}
    order = days | {"draw_not_before": datetime.now(UTC).isoformat()}
    batch = str(operator.post(f"/api/v1/draw-plans/{plan}/batches", order)["id"])
    operator.post(f"/api/v1/draw-batches/{batch}/actions", {"action": "draw"})
    return batch


def visit_drawn(run: Run) -> None:
    """Handhelds have both by now: drawn visits are made by the revised list, and what is forbidden is tried in vain."""
    probed = run.fleet("probe", "")
    devices, drawn = run.options.devices, run.figures["draw"]["drawn"]
    require(probed["revised_held"] == devices, f"{probed['revised_held']} of {devices} have the revised checklist")
    # Every visit is of two officers.
    require(probed["drawn_tasks"] == 2 * drawn, f"{drawn} visits drawn, the handhelds have {probed['drawn_tasks']}")
    tried, refused = probed["forbidden_tried"], probed["forbidden_refused"]
    require(tried == refused > 0, f"{tried} forbidden entries tried, {refused} refused")
    run.figures["checklist"] = {"devices": devices, "held": probed["revised_held"], "marked": probed["marked_visits"]}
    run.figures["rules"] = {"tried": tried, "refused": refused, "written_anyway": probed["written_anyway"]}
    worked = run.fleet("work", "")
    run.figures["doors"]["scanned"] += worked["doors_scanned"]
    run.through_proxy("sync")
    run.settle("evidence", lambda: run.office.figures()["evidence"], SETTLE_TIMEOUT_S, evidence_settled)
    run.report("drawn", {"tried": tried, "refused": refused, "drawn": drawn})


def publish_results(run: Run) -> None:
    """Every drawn visit has its result and anybody can read it; what was written against the rules did not close."""
    states = run.settle("visits", lambda: _states(run), SETTLE_TIMEOUT_S, lambda seen: set(seen) <= {"settled"})
    require(set(states) <= {"settled"}, f"drawn visits without a result: {states}")
    run.office.post(f"/api/v1/draw-batches/{run.batch}/actions", {"action": "publish"})
    results = run.office.get(f"/api/v1/public/draws/{run.batch}/results")["results"]
    run.figures["draw"]["published"] = len(results)
    require(len(results) == run.figures["draw"]["drawn"], "a result of the draw is not public")
    _judge(run)
    run.report("published", run.figures["draw"])


def _judge(run: Run) -> None:
    """What the server made of the limits: visits it marked, and the one that an app without the rules had written."""
    inspections = {row["id"]: row for row in run.office.every("/api/v1/inspections", "inspections")}
    against = inspections[run.figures["rules"].pop("written_anyway")]
    reasons = {blocker["reason"] for blocker in against["blockers"]}
    require(against["behavior"] is None and EXPIRED in reasons, f"a forbidden visit has only met with {reasons}")
    run.figures["rules"]["kept_unclosed"] = 1
    drawn = [row for row in inspections.values() if row["task"] in run.plan["drawn"]]
    require(not any(row["marks"] for row in drawn), "a drawn visit, filed and scanned in, is marked")
    closed = [row for row in inspections.values() if row["behavior"]]
    run.figures["doors"] |= {"visits": len(closed), "marked": sum(1 for row in closed if row["marks"])}


def drawn_visits(run: Run) -> list[dict[str, Any]]:
    """The visits of the batch, in the order of the draw."""
    return list(run.office.get(f"/api/v1/draw-batches/{run.batch}/visits", limit=500)["visits"])


def _states(run: Run) -> dict[str, int]:
    found: dict[str, int] = {}
    for visit in drawn_visits(run):
        found[visit["state"]] = found.get(visit["state"], 0) + 1
    return found
