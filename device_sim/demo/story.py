"""The story, step by step: sensors, leads, tasks, days offline, bad links, conflicts, behaviors, the central system.

Each step returns what went in and what came out. An invariant that does not hold ends the run at once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device_sim.broker import Broker, ingest_user, sensor_user
from device_sim.demo.checks import count_acts, count_evidence, evidence_settled, require
from device_sim.demo.home import write_private
from device_sim.demo.leads import close, count_tasks, dispose
from device_sim.demo.office import REASON, Office
from device_sim.demo.programs import Program, Programs, answers, free_port
from device_sim.demo.world import DemoWorld, planned_orders, write_seed
from device_sim.sensors.check import balance
from device_sim.sensors.record import read_record

READY_TIMEOUT_S = 60.0
INGEST_TIMEOUT_S = 600.0
SETTLE_TIMEOUT_S = 900.0
CENTRAL_TIMEOUT_S = 600.0
QUIET_S = 3.0
"""Figures that have not changed for so long are settled."""
SHOWN_SHARE = 20
"""One inspection in so many may be left in conflict, to be seen on the pages; never more than one in ten."""
REPEAT_EVERY, NONSENSE_EVERY = 97, 61

Report = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    seed: str
    devices: int
    inspections: int
    readings: int
    data: Path | None
    fault_rate: float


@dataclass
class Story:
    """One run of the demonstration."""

    world: DemoWorld
    options: Options
    home: Path
    report: Report
    port: int = field(default_factory=free_port)
    figures: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        users = [ingest_user(), *(sensor_user(sensor) for sensor in self.world.sensors.values())]
        self.broker = Broker(self.home / "broker", users)
        # Deadlines of real visits have passed long ago: re-checks are given out by the operator, not all at once.
        # Replayed visits are years old: their deadlines have passed, and several years' visits come in one.
        old_visits = {"FIELDPROOF_RECHECK_AHEAD_DAYS": "by-hand", "FIELDPROOF_VISIT_LIMITS": "off"}
        environment = {"FIELDPROOF_PUBLIC_URL": self.url, **old_visits}
        self.programs = Programs(self.home, environment)
        self._office: Office | None = None

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def office(self) -> Office:
        """The operator, signed in."""
        if self._office is None:
            self._office = Office(self.url, "operator", self.world.passwords["operator"])
        return self._office

    @contextmanager
    def cast(self) -> Iterator[None]:
        """Everything that runs; ends all of it at the end of the block."""
        try:
            yield
        finally:
            if self._office is not None:
                self._office.close()
            self.programs.stop_all()
            self.broker.stop()

    # 1. The platform.

    def set_up(self) -> None:
        """Make the database, enter directory, officers, entities and sensors, and start the programs."""
        seed_file = self.home / "seed.json"
        write_seed(self.world, seed_file)
        self.programs.run("migrate", ["migrate"])
        self.programs.run("seed", ["seed", str(seed_file)])
        seed_file.unlink()
        self.broker.start()
        ingest = self.broker.users["ingest"]
        self.programs.environment = {
            **self.programs.environment,
            "FIELDPROOF_MQTT_PORT": str(self.broker.port),
            "FIELDPROOF_MQTT_PASSWORD": ingest.password,
        }
        self.programs.start("server", ["serve", "--port", str(self.port)])
        self.programs.start("worker", ["worker"])
        self.programs.start("ingest", ["ingest"])
        self.programs.wait_for("the server", answers(f"{self.url}/ready"), READY_TIMEOUT_S)
        self.report("set-up", {"entities": len(self.world.entity_ids), "officers": len(self.world.officers)})

    # 2. Handhelds.

    def enrol(self) -> None:
        """Every officer enrols a handheld; the operator approves them."""
        self.plan = {
            "devices": [
                {"name": f"手持终端 {index + 1:03d}", "officer": one.id, "login": one.login, "password": one.password}
                for index, one in enumerate(self.world.officers)
            ],
            "tasks": {},
        }
        self.fleet("enrol", self.url)
        approved = self.office.approve_devices()
        require(approved == self.options.devices, f"{self.options.devices} enrolled, {approved} waited for approval")
        self.report("enrol", {"devices": approved})

    def fleet(self, phase: str, url: str) -> dict[str, Any]:
        """Run one phase of the fleet and return its totals."""
        plan = self.home / "fleet-plan.json"
        write_private(plan, json.dumps(self.plan))
        arguments = ["device", "fleet", "--phase", phase, "--plan", str(plan), "--home", str(self.home / "fleet")]
        arguments += ["--url", url, "--devices", str(self.options.devices), "--seed", self.options.seed]
        if self.options.data:
            arguments += ["--data", str(self.options.data)]
        last: dict[str, Any] = {}
        for line in self.programs.stream(f"fleet-{phase}", arguments):
            if line.startswith("{"):
                last = json.loads(line)
                self.report(phase, last)
        plan.unlink()
        return last

    # 3. Sensors and leads.

    def sense(self) -> None:
        """Sensors publish real hours over MQTT; everything they said must be found again, once."""
        sensors = self.home / "sensors.json"
        entries = [
            {"sensor": sensor, "password": self.broker.users[sensor].password, "station": station}
            for station, sensor in self.world.sensors.items()
        ]
        write_private(sensors, json.dumps(entries))
        published = self.home / "published.jsonl"
        arguments = ["device", "sensors", "--sensors", str(sensors), "--port", str(self.broker.port)]
        arguments += ["--readings", str(self.options.readings), "--published", str(published)]
        arguments += ["--repeat-every", str(REPEAT_EVERY), "--nonsense-every", str(NONSENSE_EVERY)]
        if self.options.data:
            arguments += ["--data", str(self.options.data)]
        self.programs.run("sensors", arguments)
        sensors.unlink()
        said = list(read_record(published))
        self._settle("readings", self._ingested, INGEST_TIMEOUT_S, enough=lambda seen: sum(seen.values()) >= len(said))
        stored = (row for sensor in self.world.sensors.values() for row in self.office.stored_readings(sensor))
        letters = self.office.every("/api/v1/telemetry/dead-letters", "letters")
        result = balance(said, stored, letters)
        counters = self.office.get("/api/v1/telemetry/counters")["counters"]
        self.figures["readings"] = {
            "published": result.published,
            "stored": result.valid,
            "invalid": result.invalid,
            "dead_lettered": result.dead_lettered,
            "duplicate": int(counters.get("duplicate", counters.get("duplicates", 0))),
            "lost": result.lost,
        }
        require(result.ok, f"readings do not balance: {'; '.join(result.examples)}")
        self.report("sense", self.figures["readings"])

    def _ingested(self) -> dict[str, int]:
        totals = self.office.get("/api/v1/telemetry/counters")
        if totals["counters"].get("held_messages"):
            return {}  # messages wait for earlier ones: leads are not complete yet
        return {**totals["readings"], **totals["dead_letters"]}

    def follow_leads(self) -> None:
        """Each lead becomes one task for two officers."""
        leads = self._settle(
            "leads", self.office.lead_states, READY_TIMEOUT_S, enough=lambda seen: not seen.get("generated")
        )
        self.figures["leads"] = sum(leads.values())
        self.report("leads", {"leads": self.figures["leads"], "tasks": count_tasks(self.office, sum(leads.values()))})

    # 4. Tasks and field work.

    def dispatch(self) -> None:
        """The operator dispatches the planned inspections."""
        orders = planned_orders(self.world)
        tasks = self.office.dispatch([order for _, order in orders])
        self.plan["tasks"] = {task: key for task, (key, _) in zip(tasks, orders, strict=True)}
        self.figures["tasks"] = sum(self.office.figures()["tasks"].values())
        self.report("dispatch", {"tasks": self.figures["tasks"]})

    def work_offline(self) -> None:
        """Handhelds pull their scope, lose the network, and carry out all their tasks."""
        self.fleet("pull", self.url)
        totals = self.fleet("work", "")
        self.report("work", totals)

    def sync_over_bad_links(self) -> None:
        """Everything is pushed and uploaded through a proxy that drops, cuts, duplicates and delays connections."""
        totals = self._through_proxy("sync")
        figures = self._settle(
            "evidence", lambda: self.office.figures()["evidence"], SETTLE_TIMEOUT_S, evidence_settled
        )
        require(totals["chain_breaks"] == 0, "a handheld's journal does not hold")
        self.report("sync", {"acts": totals["acts"]["written"], "evidence": sum(figures.values())})

    def _through_proxy(self, phase: str) -> dict[str, Any]:
        port = free_port()
        stats = self.home / f"proxy-{phase}.json"
        arguments = ["device", "proxy", "--upstream-port", str(self.port), "--port", str(port)]
        arguments += ["--seed", self.options.seed, "--fault-rate", str(self.options.fault_rate), "--stats", str(stats)]
        proxy = self.programs.start("proxy", arguments)
        self.programs.wait_for("the fault proxy", answers(f"http://127.0.0.1:{port}/health"), READY_TIMEOUT_S)
        totals = self.fleet(phase, f"http://127.0.0.1:{port}")
        self.programs.stop(proxy)
        faults = self.figures.setdefault("faults", {})
        for name, count in json.loads(stats.read_text()).items():
            if isinstance(count, int):
                faults[name] = faults.get(name, 0) + count
        self.figures["fleet"] = totals
        return totals

    def decide_conflicts(self) -> None:
        """A person decides most conflicts, with a reason; a few stay open to be seen."""
        open_ones = self.office.open_conflicts()
        inspections = sorted({row["record"] for row in open_ones})
        total = len(self.world.inspections) + self.figures["leads"]
        left = set(inspections[: min(total // SHOWN_SHARE, len(inspections) // 2)])
        decided = 0
        for row in open_ones:
            if row["record"] not in left:
                self.office.decide(row["id"], REASON)
                decided += 1
        still_open = len(self.office.open_conflicts())
        self.figures["conflicts"] = {"opened": len(open_ones), "decided": decided, "open": still_open}
        require(
            still_open == len(open_ones) - decided, f"{len(open_ones)} conflicts, {decided} decided, {still_open} open"
        )
        self.figures["inspections"] = {"total": total, "left_in_conflict": len(left)}
        self.report("conflicts", self.figures["conflicts"])

    def finish(self) -> None:
        """Officers sign again what was decided, submit, and sync; complete inspections close into behaviors."""
        totals = self._through_proxy("finish")
        counts = self.figures["inspections"]
        expected = counts["total"] - counts["left_in_conflict"]
        seen = self._settle(
            "inspections",
            lambda: self.office.figures()["inspections"],
            SETTLE_TIMEOUT_S,
            lambda now: now.get("closed", 0) >= expected,
        )
        self.figures["behaviors"] = sum(self.office.figures()["behaviors"].values())
        counts["closed"] = seen.get("closed", 0)
        require(counts["closed"] == self.figures["behaviors"] == expected, f"expected {expected} closed, got {seen}")
        self.figures["acts"] = count_acts(self.office, totals)
        self.figures["evidence"] = count_evidence(
            self.office, totals["evidence"]["captured"], extracts=self.figures["leads"]
        )
        require(totals["extracts"] >= self.figures["leads"], "readings of a lead are on no handheld")
        self.report("finish", {"behaviors": self.figures["behaviors"], **self.figures["acts"]})

    def settle_leads(self) -> None:
        """The office disposes of what officers have verified; it becomes behaviors and counts for the rules; closed."""
        verified = dispose(self.office)
        fed_back = len(verified)
        self._settle(
            "leads", self.office.lead_states, SETTLE_TIMEOUT_S, lambda seen: seen.get("fed_back", 0) >= fed_back
        )
        self.figures["settled_leads"] = close(self.office, verified)
        self.figures["behaviors"] = sum(self.office.figures()["behaviors"].values())
        expected = self.figures["inspections"]["closed"] + len(verified)
        require(self.figures["behaviors"] == expected, f"{expected} behaviors expected")
        self.report("leads", self.figures["settled_leads"])

    # 5. The central system.

    def start_central(self) -> Program:
        """The central system begins to pull, and goes on while the pushes run."""
        password = self.home / "central.password"
        write_private(password, self.world.passwords["central"])
        arguments = ["central", "pull", "--url", self.url, "--login", "central", "--password-file", str(password)]
        arguments += ["--store", str(self.home / "central.db"), "--public-key", str(self.home / "keys/proof-log.pub")]
        arguments += ["--until-file", str(self.home / "pushes-done"), "--json", str(self.home / "central.json")]
        return self.programs.start("central", arguments)

    def finish_central(self, central: Program) -> None:
        """It pulls to the end, checks every proof, and must hold exactly what the server holds."""
        (self.home / "pushes-done").touch()
        code = central.wait(CENTRAL_TIMEOUT_S)
        self.programs.running.remove(central)
        result = json.loads((self.home / "central.json").read_text())
        self.figures["central"] = {name: result[name] for name in ("pulled", "missed", "duplicated", "proofs_verified")}
        self.figures["digests"] = {"server": result["digest_server"], "central": result["digest_central"]}
        require(code == 0 and result["ok"], f"the central system is not satisfied: {result}")
        require(result["digest_server"] == result["digest_central"], "the central system holds something else")
        require(result["pulled"] == self.figures["behaviors"], "the central system has not pulled every behavior")
        require(result["proofs_verified"] == result["pulled"], "a behavior has no valid proof")
        self.report("central", self.figures["central"])

    # 6. The end.

    def verify(self) -> None:
        """`fieldproof verify`: chains, signatures, records, custody and the proof log, all recomputed."""
        self.programs.run("verify", ["verify"])
        self.report("verify", {})

    def sign_in_address(self) -> str:
        """Return a fresh one-time sign-in address for the operator."""
        return self.programs.run("link", ["operator", "link", "operator"]).strip().splitlines()[-1]

    def _settle(
        self,
        what: str,
        look: Callable[[], dict[str, int]],
        timeout_s: float,
        enough: Callable[[dict[str, int]], bool],
    ) -> dict[str, int]:
        """Wait until figures are enough and then stand still, or stand still for long; returns them."""
        deadline = time.monotonic() + timeout_s
        seen, since = look(), time.monotonic()
        while time.monotonic() < deadline:
            self.programs.check()
            if enough(seen) and time.monotonic() - since >= QUIET_S / 3:
                return seen
            if time.monotonic() - since >= 10 * QUIET_S:
                return seen
            time.sleep(QUIET_S / 15)
            now = look()
            if now != seen:
                seen, since = now, time.monotonic()
                self.report(what, seen)
        return seen
