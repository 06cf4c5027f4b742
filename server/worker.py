"""The worker: small steps that each do what is ready and say how much, run round and round by one loop.

A step opens its own transactions. Several workers may run; each step's queries lock what they take.
"""

import logging
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from server.behaviors.publication import watch_deadlines
from server.evidence.derivatives import derive_step
from server.evidence.examination import inspect_step
from server.evidence.retention import destroy_step, retention_step
from server.evidence.settlement import reconcile_step, sweep_step
from server.fieldsync.erasure import erase
from server.fieldsync.overdue import surface_overdue
from server.inspections.closing import close_ready
from server.inspections.lead_notices import tell_officers
from server.inspections.lead_tasks import dispatch_open_leads
from server.inspections.rechecking import dispatch_rechecks, settle_rechecks
from server.inspections.rectifying import surface_overdue_orders
from server.leads.course import escalate_overdue
from server.leads.extract import extract_step
from server.leads.feedback import feed_back_step
from server.leads.service import take_changes
from server.plans.visits import dispatch_drawn, settle_drawn, watch_results
from server.prooflog.service import sequence_step
from server.prooflog.succession import keep_head
from server.prooflog.timestamps import HeadStamper
from server.records.compaction import expire_leaves
from server.runtime import Runtime
from server.telemetry.aggregation import aggregate_step
from server.telemetry.hour_judge import HourJudge
from server.telemetry.partitions import partition_step
from server.telemetry.retention import retention_step as telemetry_retention_step

log = logging.getLogger(__name__)
IDLE_S = 0.2
"""Pause after a round in which no step found anything to do."""
FAILURE_PAUSE_S = 2.0
"""Pause after a round in which the database or the disk refused."""

Step = Callable[[Runtime], int]


@dataclass(frozen=True)
class NamedStep:
    """A step and what it is called in the log."""

    name: str
    run: Step


def in_transaction(step: Callable[[Session, Runtime], int]) -> Step:
    """Return a step that runs inside one write transaction."""

    def run(rt: Runtime) -> int:
        with rt.db.write() as session:
            return step(session, rt)

    return run


STEPS = (
    NamedStep("take-out-readings-of-leads", extract_step),
    NamedStep("dispatch-leads", in_transaction(dispatch_open_leads)),
    NamedStep("make-partitions", partition_step),
    NamedStep("aggregate-readings", aggregate_step),
    NamedStep("judge-hours", HourJudge(take_changes)),
    NamedStep("clear-old-telemetry", telemetry_retention_step),
    NamedStep("reconcile-evidence", reconcile_step),
    NamedStep("examine-evidence", inspect_step),
    NamedStep("draw-derivatives", derive_step),
    NamedStep("seal-and-retain-evidence", in_transaction(retention_step)),
    NamedStep("destroy-erased-evidence", destroy_step),
    NamedStep("surface-overdue-acts", in_transaction(surface_overdue)),
    NamedStep("erase", erase),
    NamedStep("close-inspections", in_transaction(close_ready)),
    NamedStep("tell-officers-of-leads", in_transaction(tell_officers)),
    NamedStep("feed-back-leads", in_transaction(feed_back_step)),
    NamedStep("escalate-leads", in_transaction(escalate_overdue)),
    NamedStep("surface-overdue-orders", in_transaction(surface_overdue_orders)),
    NamedStep("dispatch-rechecks", in_transaction(dispatch_rechecks)),
    NamedStep("settle-rechecks", in_transaction(settle_rechecks)),
    NamedStep("dispatch-drawn-visits", in_transaction(dispatch_drawn)),
    NamedStep("settle-drawn-visits", in_transaction(settle_drawn)),
    NamedStep("watch-results-of-draws", in_transaction(watch_results)),
    NamedStep("watch-publication-deadlines", in_transaction(watch_deadlines)),
    NamedStep("sequence-proof-log", in_transaction(sequence_step)),
    NamedStep("keep-head", keep_head),
    NamedStep("stamp-heads", HeadStamper()),
    NamedStep("sweep-uploads", sweep_step),
    NamedStep("expire-leaves", expire_leaves),
)
"""What the worker does, in order; the first round of a fresh process finishes what a killed one left."""


def run_once(rt: Runtime) -> dict[str, int]:
    """Run every step once; returns how much each did. A refusing database or disk stops the round."""
    return {step.name: step.run(rt) for step in STEPS}


def run_forever(rt: Runtime) -> None:
    """Run the steps until SIGTERM or SIGINT; finishes the running step first."""
    stop = threading.Event()

    def _stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    log.info("worker: ready")
    while not stop.is_set():
        try:
            done = run_once(rt)
        except (DBAPIError, OSError) as error:
            log.warning("the round stopped and will be tried again: %s", error)
            stop.wait(FAILURE_PAUSE_S)
            continue
        for name, count in done.items():
            if count:
                log.info("%s: %d", name, count)
        if not any(done.values()):
            stop.wait(IDLE_S)
