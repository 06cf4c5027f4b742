"""What must hold, and the counts that show it: nothing lost, nothing twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from device_sim.demo.office import Office

STATUSES = ("applied", "merged", "conflict", "held", "quarantined")
"""What an act can have become."""


class InvariantBroken(Exception):
    """Something that must always hold did not; the message says what."""


def require(condition: bool, what: str) -> None:
    """Raise `InvariantBroken` unless a condition holds."""
    if not condition:
        raise InvariantBroken(what)


def count_acts(office: Office, totals: Mapping[str, Any]) -> dict[str, int]:
    """Count the handhelds' acts by status, and compare every journal with the server's.

    Args:
        office: the operator.
        totals: what the fleet has in its stores.

    Raises:
        InvariantBroken: an act is missing, or a journal differs.
    """
    statuses = office.figures()["acts"]
    written = totals["acts"]["written"]
    lost = _missing_acts(office, totals["journals"])
    require(lost == 0 and sum(statuses.values()) == written, f"{written} acts written, the server has {statuses}")
    return {"written": written, **{name: statuses.get(name, 0) for name in STATUSES}, "lost": lost}


def _missing_acts(office: Office, journals: Mapping[str, Mapping[str, Any]]) -> int:
    """Compare every handheld's journal head with the server's: equal heads prove equal chains."""
    server = {row["journal"]: row for row in office.every("/api/v1/analytics/journals", "journals")}
    missing = 0
    for journal, head in journals.items():
        known = server.get(journal, {"head_seq": 0, "head": ""})
        missing += int(head["seq"]) - int(known["head_seq"])
        require(known["head_seq"] != head["seq"] or known["head"] == head["hash"], f"journal {journal} differs")
    return missing


def count_evidence(office: Office, captured: int, extracts: int) -> dict[str, int]:
    """Count the evidence by what became of it: what handhelds captured, and the platform's extracts for leads.

    Raises:
        InvariantBroken: some of it is neither verified nor rejected.
    """
    statuses = office.figures()["evidence"]
    counted = {"verified": statuses.get("verified", 0), "rejected": statuses.get("rejected", 0)}
    lost = captured + extracts - sum(counted.values())
    require(lost == 0, f"{captured} pieces of evidence captured, {extracts} extracts, the server has {statuses}")
    return {"captured": captured, "extracts": extracts, **counted, "lost": lost}


def evidence_settled(statuses: Mapping[str, int]) -> bool:
    """Tell whether all evidence is verified or rejected."""
    return all(status in ("verified", "rejected") for status, count in statuses.items() if count)
