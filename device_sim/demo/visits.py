"""Visits: given out, carried out offline, synced over bad links, decided where they contradict, and closed."""

from __future__ import annotations

from device_sim.demo.checks import count_acts, count_evidence, evidence_settled, require
from device_sim.demo.drawing import drawn_visits
from device_sim.demo.office import REASON
from device_sim.demo.pulling import start_central
from device_sim.demo.run import SETTLE_TIMEOUT_S, Run
from device_sim.demo.world import planned_orders

SHOWN_SHARE = 20
"""One inspection in so many may be left in conflict, to be seen on the pages; never more than one in ten."""


def dispatch(run: Run) -> None:
    """The operator dispatches the planned inspections; the firms get the codes that they show at their doors."""
    run.plan["doors"] = {
        entity: run.office.post(f"/api/v1/entities/{entity}/door-code")["text"]
        for key, entity in run.world.entity_ids.items()
        if key in run.world.firms
    }
    orders = planned_orders(run.world)
    tasks = run.office.dispatch([order for _, order in orders])
    run.plan["tasks"] = {task: key for task, (key, _) in zip(tasks, orders, strict=True)}
    run.figures["tasks"] = sum(run.office.figures()["tasks"].values())
    run.report("dispatch", {"tasks": run.figures["tasks"]})


def work_offline(run: Run) -> None:
    """Handhelds pull their scope, lose the network, and carry out all their tasks."""
    run.fleet("pull", run.url)
    totals = run.fleet("work", "")
    run.figures["doors"] = {"scanned": totals["doors_scanned"]}
    run.report("work", totals)


def sync_over_bad_links(run: Run) -> None:
    """Everything goes through a proxy that drops, cuts, duplicates and delays; the central system pulls meanwhile."""
    start_central(run)
    totals = run.through_proxy("sync")
    figures = run.settle("evidence", lambda: run.office.figures()["evidence"], SETTLE_TIMEOUT_S, evidence_settled)
    require(totals["chain_breaks"] == 0, "a handheld's journal does not hold")
    run.report("sync", {"acts": totals["acts"]["written"], "evidence": sum(figures.values())})


def decide_conflicts(run: Run) -> None:
    """A person decides most conflicts, with a reason; a few stay open to be seen."""
    open_ones = run.office.open_conflicts()
    drawn = {visit["inspection"] for visit in drawn_visits(run)}
    inspections = sorted({row["record"] for row in open_ones} - drawn)  # drawn visits get their results
    total = len(run.world.inspections) + run.figures["leads"] + len(drawn)
    left = set(inspections[: min(total // SHOWN_SHARE, len(inspections) // 2)])
    decided = 0
    for row in open_ones:
        if row["record"] not in left:
            run.office.decide(row["id"], REASON)
            decided += 1
    still_open = len(run.office.open_conflicts())
    run.figures["conflicts"] = {"opened": len(open_ones), "decided": decided, "open": still_open}
    require(still_open == len(open_ones) - decided, f"{len(open_ones)} conflicts, {decided} decided, {still_open} open")
    run.figures["inspections"] = {"total": total, "left_in_conflict": len(left)}
    run.report("conflicts", run.figures["conflicts"])


def finish(run: Run) -> None:
    """Officers sign again what was decided, submit, and sync; complete inspections close into behaviors."""
    totals = run.through_proxy("finish")
    counts = run.figures["inspections"]
    expected = counts["total"] - counts["left_in_conflict"]
    seen = run.settle(
        "inspections",
        lambda: run.office.figures()["inspections"],
        SETTLE_TIMEOUT_S,
        lambda now: now.get("closed", 0) >= expected,
    )
    run.figures["behaviors"] = sum(run.office.figures()["behaviors"].values())
    counts["closed"] = seen.get("closed", 0)
    require(counts["closed"] == run.figures["behaviors"] == expected, f"expected {expected} closed, got {seen}")
    run.figures["acts"] = count_acts(run.office, totals)
    run.figures["evidence"] = count_evidence(run.office, totals["evidence"]["captured"], extracts=run.figures["leads"])
    require(totals["extracts"] >= run.figures["leads"], "readings of a lead are on no handheld")
    run.report("finish", {"behaviors": run.figures["behaviors"], **run.figures["acts"]})
