"""One run of the demonstration: its programs, its people, and what the chapters share. HTTP and MQTT only."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device_sim.broker import Broker, ingest_user, sensor_user
from device_sim.demo.home import write_private
from device_sim.demo.office import Office
from device_sim.demo.programs import Program, Programs, answers, free_port
from device_sim.demo.world import DemoWorld

READY_TIMEOUT_S = 60.0
SETTLE_TIMEOUT_S = 900.0
QUIET_S = 3.0
"""Figures that have not changed for so long are settled."""

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
class Run:
    """One run."""

    world: DemoWorld
    options: Options
    home: Path
    report: Report
    port: int = field(default_factory=free_port)
    figures: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    """The plan file of the fleet."""
    central: Program | None = None
    """The central system while it pulls."""
    batch: str = ""
    """The batch of double-random inspection."""

    def __post_init__(self) -> None:
        users = [ingest_user(), *(sensor_user(sensor) for sensor in self.world.sensors.values())]
        self.broker = Broker(self.home / "broker", users)
        # Deadlines of real visits have passed long ago: re-checks are given out by the operator, not all at once.
        environment = {"FIELDPROOF_PUBLIC_URL": self.url, "FIELDPROOF_RECHECK_AHEAD_DAYS": "by-hand"}
        self.programs = Programs(self.home, environment)
        self._people: dict[str, Office] = {}

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def office(self) -> Office:
        """The operator, signed in."""
        return self.person("operator")

    def person(self, login: str) -> Office:
        """Somebody in the office, signed in."""
        if login not in self._people:
            self._people[login] = Office(self.url, login, self.world.passwords[login])
        return self._people[login]

    @contextmanager
    def cast(self) -> Iterator[None]:
        """Everything that runs; ends all of it at the end of the block."""
        try:
            yield
        finally:
            for one in self._people.values():
                one.close()
            self.programs.stop_all()
            self.broker.stop()

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

    def through_proxy(self, phase: str) -> dict[str, Any]:
        """Run one phase of the fleet through a proxy that drops, cuts, duplicates and delays; returns its totals."""
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

    def settle(
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

    def sign_in_address(self) -> str:
        """Return a fresh one-time sign-in address for the operator."""
        return self.programs.run("link", ["operator", "link", "operator"]).strip().splitlines()[-1]
