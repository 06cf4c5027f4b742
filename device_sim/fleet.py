"""A fleet of simulated handhelds: one thread each, one phase a process, everything that lasts in their folders.

Phases: `enrol` (keys and enrolment requests), `pull` (first sync), `work` (offline), `sync` (push, upload, pull),
`probe` (offline: what the rules forbid is tried, and what the last sync brought is counted), `finish` (sync, sign anew
what a decision has changed, sync). The plan file (`fleet_plan`) says who the officers are and what stands behind which
task.

Tasks that the plan does not name came from leads: they are verified on site, by their checklist. What a handheld
decides comes from the seed; ids, keys and salts come from the system: the same seed gives the same counts, not the same
bytes.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import httpx

from device_sim.camera import camera_for
from device_sim.fleet_plan import FleetPlan, PlanFault
from device_sim.handheld.client import Handheld
from device_sim.handheld.forbidden import attempts, is_refused, write_anyway
from device_sim.handheld.link import Backoff, Refused, problem_of
from device_sim.handheld.officer import Camera, Task, Visit, tasks_of
from device_sim.handheld.outside import Outside
from device_sim.handheld.rules import RuleRefused
from device_sim.handheld.visit import plan_visit
from device_sim.sample.made_visits import drawn_visit, recheck_visit, verification_visit
from device_sim.sample.mapping import MappedInspection, MappedWorld, map_world
from device_sim.sample.sources import DataSet, open_data

MAX_DEVICES = 1_000
PROGRESS_INTERVAL_S = 1.0
REQUEST_TIMEOUT_S = 30.0
ENROL_ATTEMPTS = 20
BACKOFF = Backoff(base_s=0.05, cap_s=3.0, attempts=120)
"""Quicker than a real handheld's: the demo's links are bad but short."""


@dataclass
class Fleet:
    """The handhelds below `home`, and the server at `url` (empty for phases without a network)."""

    home: Path
    url: str
    plan: FleetPlan
    seed: str
    devices: int
    data_folder: Path | None = None
    make_client: Callable[[], httpx.Client] | None = None
    written_anyway: str = ""
    """The inspection that was written against the rules in the phase `probe`."""
    _counts: list[Counter[str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        if not 0 < self.devices <= min(MAX_DEVICES, len(self.plan.devices)):
            raise PlanFault(f"the plan has {len(self.plan.devices)} devices, {self.devices} are asked for")

    @cached_property
    def data(self) -> DataSet:
        """The data set, read at first use."""
        return open_data(self.data_folder)

    @cached_property
    def world(self) -> MappedWorld:
        """The mapped data set, at first use."""
        return map_world(self.data.businesses, self.data.stations, self.data.divisions)

    @cached_property
    def camera(self) -> Camera:
        """The fleet's cameras."""
        return camera_for(self.data.photos, self.seed)

    def run(self, phase: str, report: Callable[[dict[str, Any]], None]) -> bool:
        """Run one phase on all handhelds; `report` gets progress and, last, the totals. False if a handheld failed."""
        if phase in ("work", "finish"):
            _ = self.world, self.camera  # read once, before the threads start
        started_s = time.monotonic()
        work = _PHASES[phase]
        _ = self._gate  # made before the threads start
        errors: list[str] = []
        with ThreadPoolExecutor(self.devices, thread_name_prefix="handheld") as pool:
            running: set[Future[None]] = {pool.submit(self._one, index, work) for index in range(self.devices)}
            while running:
                done, running = wait(running, timeout=PROGRESS_INTERVAL_S)
                errors += [f"{type(fault).__name__}: {fault}" for one in done if (fault := one.exception()) is not None]
                report({"phase": phase, "devices_done": self.devices - len(running), **self._totals()})
        totals = {"phase": phase, "final": True, "seconds": round(time.monotonic() - started_s, 2)}
        report(totals | {"devices": self.devices, "errors": errors[:10], **self._totals(), **self.stored_totals()})
        return not errors

    def _one(self, index: int, work: Callable[[Fleet, Handheld, int], None]) -> None:
        """One handheld in its own thread, store and connection."""
        with self._client() as client:
            rng = random.Random(f"{self.seed}:{index}")
            handheld = Handheld(self._folder(index), client, outside=Outside(jitter=rng.random), backoff=BACKOFF)
            with self._lock:
                self._counts.append(handheld.counts)
            try:
                work(self, handheld, index)
            except BaseException:
                self._gate.abort()
                raise
            finally:
                handheld.close()

    def _client(self) -> httpx.Client:
        if self.make_client is not None:
            return self.make_client()
        # Each request has a connection of its own: links in the field do not last, and every one may be spoiled.
        limits = httpx.Limits(max_keepalive_connections=0)
        url = self.url or "http://127.0.0.1:9"
        return httpx.Client(base_url=url, timeout=REQUEST_TIMEOUT_S, trust_env=False, limits=limits)

    def _folder(self, index: int) -> Path:
        return self.home / f"handheld-{index:03d}"

    def _totals(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        with self._lock:
            for counts in self._counts:
                total.update(dict(counts))  # a copy: the handheld's thread goes on counting
        return {name: total[name] for name in sorted(total)}

    def stored_totals(self) -> dict[str, Any]:
        """What all handhelds have in their stores: acts by status, evidence, journal heads, chains that do not hold."""
        acts: Counter[str] = Counter()
        evidence: Counter[str] = Counter()
        extracts = 0
        journals: dict[str, dict[str, Any]] = {}
        device_ids, breaks = [], 0
        for index in range(self.devices):
            handheld = Handheld(self._folder(index), self._offline)
            try:
                acts.update(handheld.store.act_counts())
                evidence["captured"] += len(handheld.store.evidence())
                evidence["uploaded"] += len(handheld.store.evidence(uploaded=True))
                extracts += len(list(handheld.store.evidence_folder.glob("extract-*.json")))
                breaks += len(handheld.verify())
                for journal in handheld.store.journals():
                    seq, head = handheld.store.head(journal)
                    journals[journal] = {"seq": seq, "hash": head}
                device_ids.append(handheld.device)
            finally:
                handheld.close()
        pending = acts.pop("", 0)
        written = acts.total() + pending
        by_status = {name: acts[name] for name in ("applied", "merged", "conflict", "held", "quarantined")}
        return {
            "device_ids": device_ids,
            "acts": {"written": written, "pushed": written - pending, "pending": pending, **by_status},
            "evidence": {"captured": evidence["captured"], "uploaded": evidence["uploaded"]},
            "extracts": extracts,
            "chain_breaks": breaks,
            "journals": journals,
            "written_anyway": self.written_anyway,
        }

    @cached_property
    def _gate(self) -> threading.Barrier:
        """Where all handhelds of a phase meet; a handheld that fails breaks it for all."""
        return threading.Barrier(self.devices)

    @cached_property
    def _offline(self) -> httpx.Client:
        return httpx.Client()

    # Phases.

    def enrol(self, handheld: Handheld, index: int) -> None:
        """Ask for enrolment with the officer's account; an operator must approve."""
        entry = self.plan.devices[index]
        for attempt in range(ENROL_ATTEMPTS):
            try:
                body = {"login": entry.login, "password": entry.password}
                response = handheld.client.post("/api/v1/sign-in", json=body)
                if response.status_code != 200:
                    raise Refused(response.status_code, problem_of(response))
                handheld.enrol(str(response.json()["token"]), entry.officer, entry.name)
            except (httpx.RequestError, ValueError):
                handheld.counts["retries"] += 1
                handheld.outside.sleep(BACKOFF.wait_s(attempt, handheld.outside.jitter()))
            else:
                handheld.counts["enrolled"] += 1
                return
        raise TimeoutError(f"enrolment did not come through in {ENROL_ATTEMPTS} attempts")

    def pull(self, handheld: Handheld, _index: int) -> None:
        """First sync: the scope, tasks included."""
        handheld.counts["records_pulled"] += handheld.pull()
        handheld.counts["tasks"] += len(tasks_of(handheld))

    def work(self, handheld: Handheld, _index: int) -> None:
        """Carry out all tasks, offline."""
        for visit in self._visits(handheld):
            try:
                handheld.counts["visits"] += visit.carry_out()
            except RuleRefused as refusal:
                handheld.counts["refused_by_rules"] += 1
                print(f"{visit.task.title}: {refusal}", file=sys.stderr)

    def sync(self, handheld: Handheld, _index: int) -> None:
        """Push, upload, pull."""
        handheld.sync()

    def finish(self, handheld: Handheld, _index: int) -> None:
        """Take in what the office decided, sign anew what changed by it, and sync once more.

        The handhelds wait for one another in between: who saw whose signature must not depend on timing.
        """
        handheld.sync()
        self._gate.wait()
        for visit in self._visits(handheld):
            handheld.counts["signed_again"] += visit.sign_again()
        self._gate.wait()
        handheld.sync()

    def probe(self, handheld: Handheld, index: int) -> None:
        """Try what the rules forbid; count the revised checklist, and the visits that are marked because of it.

        The last handheld has an app without the rules: it writes a forbidden visit.
        """
        tasks = tasks_of(handheld)
        if self.plan.revised:
            handheld.counts["revised_held"] += (
                handheld.open("checklist", self.plan.revised).value("version") is not None
            )
            handheld.counts["marked_visits"] += sum(1 for task in tasks if handheld.rules.marks(task.inspection))
        handheld.counts["drawn_tasks"] += sum(1 for task in tasks if task.origin == "draw")
        for task in tasks[:1]:
            for rule, fields in attempts(handheld, task, self.plan.doors):
                handheld.counts["forbidden_tried"] += 1
                handheld.counts["forbidden_refused"] += is_refused(handheld, rule, fields)
            if index == self.devices - 1:
                self.written_anyway = write_anyway(handheld, task)

    def _visits(self, handheld: Handheld) -> list[Visit]:
        found = []
        for task in tasks_of(handheld):
            key = self.plan.tasks.get(task.id) or self.plan.drawn.get(task.id) or task.title
            plan = plan_visit(self.seed, key, self.plan.pair_share, self.plan.contradiction_share)
            inspection = self._inspection(handheld, task, key)
            if task.recheck_of:
                inspection = recheck_visit(task.recheck_of, inspection)
            found.append(Visit(handheld, task, inspection, plan, self.camera, scan=partial(self._scan, handheld)))
        # By the real history, not by task ids: those are random within a millisecond, and a re-check follows its visit.
        return sorted(found, key=lambda visit: (visit.inspection.key, visit.task.id))

    def _inspection(self, handheld: Handheld, task: Task, key: str) -> MappedInspection:
        """What is found on a task: as it was really, or made up for a drawn visit or the verification of a lead."""
        if task.id in self.plan.tasks:
            return self.world.inspections[key]
        lines = handheld.open("checklist", task.checklist).value("sub_items") or []
        sub_items = [(line["number"], line["text"]) for line in lines]
        now = datetime.fromtimestamp(handheld.outside.wall_ms() / 1000, UTC)
        if task.id in self.plan.drawn:
            return drawn_visit(key, task.checklist, sub_items, now)
        return verification_visit(key, sub_items, now)

    def _scan(self, handheld: Handheld, entity: str) -> str:
        code = self.plan.doors.get(entity, "")
        handheld.counts["doors_scanned"] += bool(code)
        return code


_PHASES: dict[str, Callable[[Fleet, Handheld, int], None]] = {
    "enrol": Fleet.enrol,
    "pull": Fleet.pull,
    "work": Fleet.work,
    "sync": Fleet.sync,
    "probe": Fleet.probe,
    "finish": Fleet.finish,
}
PHASES = tuple(_PHASES)
