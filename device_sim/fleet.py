"""A fleet of simulated handhelds: one thread each, one phase a process, everything that lasts in their folders.

Phases: `enrol` (keys and enrolment requests), `pull` (first sync), `work` (offline), `sync` (push, upload, pull),
`finish` (sync, sign anew what a decision has changed, sync). The plan file says who the officers
are and which real inspection stands behind which task:

    {"devices": [{"name", "officer", "login", "password"}, ...],
     "tasks": {task id: inspection key}, "pair_share": 0.4, "contradiction_share": 0.15}

Tasks that the plan does not name came from leads: they are verified on site, by their checklist. What a handheld
decides comes from the seed; ids, keys and salts come from the system: the same seed gives the same counts, not the same
bytes.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from device_sim.camera import camera_for
from device_sim.handheld.client import Handheld
from device_sim.handheld.link import Backoff, Refused, problem_of
from device_sim.handheld.officer import Camera, Task, Visit, tasks_of
from device_sim.handheld.outside import Outside
from device_sim.handheld.rules import RuleRefused
from device_sim.handheld.visit import CONTRADICTION_SHARE, PAIR_SHARE, plan_visit
from device_sim.sample.mapping import MappedInspection, MappedWorld, map_world, recheck_visit, verification_visit
from device_sim.sample.sources import DataSet, open_data

MAX_DEVICES = 1_000
PROGRESS_INTERVAL_S = 1.0
REQUEST_TIMEOUT_S = 30.0
ENROL_ATTEMPTS = 20
BACKOFF = Backoff(base_s=0.05, cap_s=3.0, attempts=120)
"""Quicker than a real handheld's: the demo's links are bad but short."""


class PlanFault(Exception):
    """The plan file is not readable or does not fit the fleet."""


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """One handheld of the plan: its name, its officer's id, and that officer's account."""

    name: str
    officer: str
    login: str
    password: str


@dataclass(frozen=True)
class FleetPlan:
    """The plan file, checked."""

    devices: tuple[DeviceEntry, ...]
    tasks: dict[str, str] = field(default_factory=dict)
    pair_share: float = PAIR_SHARE
    contradiction_share: float = CONTRADICTION_SHARE


def read_plan(path: Path) -> FleetPlan:
    """Read the plan file. Raises `PlanFault` naming what is wrong."""
    try:
        members = json.loads(path.read_text(encoding="utf-8"))
        return FleetPlan(
            devices=tuple(DeviceEntry(**entry) for entry in members["devices"]),
            tasks={str(task): str(key) for task, key in members.get("tasks", {}).items()},
            pair_share=float(members.get("pair_share", PAIR_SHARE)),
            contradiction_share=float(members.get("contradiction_share", CONTRADICTION_SHARE)),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PlanFault(f"{path}: {type(error).__name__}: {error}") from error


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

    def _visits(self, handheld: Handheld) -> list[Visit]:
        found = []
        for task in tasks_of(handheld):
            real = self.plan.tasks.get(task.id)
            key = real or task.title
            plan = plan_visit(self.seed, key, self.plan.pair_share, self.plan.contradiction_share)
            inspection = self.world.inspections[real] if real else self._verification(handheld, task)
            if task.recheck_of:
                inspection = recheck_visit(task.recheck_of, inspection)
            found.append(Visit(handheld, task, inspection, plan, self.camera))
        # By the real history, not by task ids: those are random within a millisecond, and a re-check follows its visit.
        return sorted(found, key=lambda visit: (visit.inspection.key, visit.task.id))

    def _verification(self, handheld: Handheld, task: Task) -> MappedInspection:
        sub_items = handheld.open("checklist", task.checklist).value("sub_items") or []
        now = datetime.fromtimestamp(handheld.outside.wall_ms() / 1000, UTC)
        return verification_visit(task.title, [(line["number"], line["text"]) for line in sub_items], now)


_PHASES: dict[str, Callable[[Fleet, Handheld, int], None]] = {
    "enrol": Fleet.enrol,
    "pull": Fleet.pull,
    "work": Fleet.work,
    "sync": Fleet.sync,
    "finish": Fleet.finish,
}
PHASES = tuple(_PHASES)
