"""The story, chapter by chapter: sensors, leads, days offline, a draw, bad links, conflicts, behaviors, central system.

Each chapter returns nothing: what went in and what came out stands in the run's figures. An invariant that does not
hold ends the run at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from device_sim.demo import drawing, opening, pulling, sensing, visits
from device_sim.demo.run import Run


@dataclass(frozen=True)
class Chapter:
    """A chapter and its title in both languages."""

    play: Callable[[Run], None]
    zh: str
    en: str


STORY = (
    Chapter(opening.set_up, "启动平台", "Start the platform: database, server, broker, worker, ingester"),
    Chapter(opening.enrol, "终端注册", "Enrol handhelds; the operator approves"),
    Chapter(sensing.sense, "传感器上报", "Sensors replay real air quality over MQTT"),
    Chapter(sensing.follow_leads, "线索与任务", "Sustained exceedances become leads, leads become tasks"),
    Chapter(visits.dispatch, "下达检查任务", "Dispatch planned inspections; firms show codes at their doors"),
    Chapter(visits.work_offline, "离线检查", "Officers work offline: checklists, photos, signatures"),
    Chapter(drawing.revise_and_draw, "修订清单、双随机抽取", "Meanwhile a checklist is revised, and firms are drawn"),
    Chapter(visits.sync_over_bad_links, "弱网同步", "Sync through a proxy that drops, cuts, duplicates and delays"),
    Chapter(
        drawing.visit_drawn, "抽查与现场规则", "Drawn visits by the revised list; the forbidden is refused offline"
    ),
    Chapter(visits.decide_conflicts, "人工裁决冲突", "A person decides contradictions, with reasons"),
    Chapter(visits.finish, "复签、提交、归档", "Sign again, submit, close into behaviors"),
    Chapter(drawing.publish_results, "公示抽查结果", "Publish the results of the draw"),
    Chapter(
        sensing.settle_leads, "线索处置与反馈", "Verified leads are disposed of, fed back to their rules, and closed"
    ),
    Chapter(pulling.finish_central, "国家平台汇聚", "The central system pulls, proofs and digests checked"),
    Chapter(pulling.verify, "全库核验", "Recompute chains, signatures, records, custody, proofs"),
)
"""The chapters in order."""
