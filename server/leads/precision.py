"""How often the leads of a rule turn out to be right: what officers found, counted for each version of each rule."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, case, func, select
from sqlalchemy.orm import Session

from server.leads.lifecycle import CONFIRMED, OUTCOMES, PARTLY, REFUTED
from server.leads.models import Lead
from server.telemetry.models import RuleVersion
from server.web.principal import Principal
from server.web.scope import in_scope

LIMIT = 1_000
"""Most versions in one answer."""


@dataclass(frozen=True)
class RulePrecision:
    """What became of the leads of one version of a rule."""

    code: str
    version: int
    title_zh: str
    title_en: str
    leads: int
    """All that were raised."""
    withdrawn: int
    """Of these, those that the data do not support any more; they count for nothing else."""
    confirmed: int
    partly: int
    refuted: int

    @property
    def verified(self) -> int:
        """How many officers have settled."""
        return self.confirmed + self.partly + self.refuted

    @property
    def precision(self) -> float | None:
        """Which part of the settled ones was right, wholly or partly; None before the first is settled."""
        return (self.confirmed + self.partly) / self.verified if self.verified else None


def rule_precision(session: Session, caller: Principal, *, code: str = "") -> Sequence[RulePrecision]:
    """Count the leads of the caller's scope by version of rule, in order of code and version."""
    stands = Lead.withdrawn_at.is_(None)
    counts = [
        func.sum(case((and_(stands, Lead.outcome == outcome), 1), else_=0)).label(outcome) for outcome in OUTCOMES
    ]
    query = (
        select(
            Lead.rule_code,
            Lead.rule_version,
            func.max(RuleVersion.title_zh).label("title_zh"),
            func.max(RuleVersion.title_en).label("title_en"),
            func.count().label("leads"),
            func.sum(case((stands, 0), else_=1)).label("withdrawn"),
            *counts,
        )
        .outerjoin(RuleVersion, and_(RuleVersion.code == Lead.rule_code, RuleVersion.version == Lead.rule_version))
        .where(in_scope(caller, Lead.region, Lead.department))
        .group_by(Lead.rule_code, Lead.rule_version)
        .order_by(Lead.rule_code, Lead.rule_version)
        .limit(LIMIT)
    )
    if code:
        query = query.where(Lead.rule_code == code)
    return [
        RulePrecision(
            row["rule_code"], row["rule_version"], row["title_zh"] or "", row["title_en"] or "", int(row["leads"]),
            int(row["withdrawn"]), int(row[CONFIRMED]), int(row[PARTLY]), int(row[REFUTED]),
        )
        for row in session.execute(query).mappings()
    ]  # fmt: skip
