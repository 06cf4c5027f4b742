"""A fleet of handhelds over real sockets and through the fault proxy, phase by phase, as the demo runs it."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from werkzeug.serving import make_server

from device_sim.cli import device
from device_sim.fleet import Fleet
from device_sim.fleet_plan import PlanFault, read_plan
from device_sim.proxy import FaultProxy, Planner
from server.records.models import Act
from server.worker import run_once
from tests.conftest import FakeClock
from tests.integration.device_sim.conftest import Platform

DEVICES, INSPECTIONS = 4, 8


@pytest.fixture(scope="module")
def plan_entry() -> dict[str, Any]:
    """One device of a plan file."""
    return {"name": "n", "officer": "o", "login": "l", "password": "p"}


@contextmanager
def behind_faults(platform: Platform, rate: float) -> Iterator[tuple[str, FaultProxy]]:
    """Serve the platform on a real port with the fault proxy in front; gives the proxy's address."""
    server = make_server("127.0.0.1", 0, platform.app, threaded=True)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    proxy = FaultProxy(server.server_port, Planner("5", rate, longest_cut_bytes=60_000, longest_delay_s=0.01))
    loop = asyncio.new_event_loop()
    spoiling = threading.Thread(target=loop.run_forever)
    spoiling.start()
    front = asyncio.run_coroutine_threadsafe(proxy.start(), loop).result()
    try:
        yield f"http://127.0.0.1:{front.sockets[0].getsockname()[1]}", proxy
    finally:
        asyncio.run_coroutine_threadsafe(end(front, proxy), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        spoiling.join()
        loop.close()
        server.shutdown()
        serving.join()
        server.server_close()


async def end(front: asyncio.Server, proxy: FaultProxy) -> None:
    """Stop listening and end open connections."""
    front.close()
    await proxy.drain()


def write_plan(platform: Platform, path: Path, tasks: dict[str, str]) -> None:
    """The plan file for the platform's officers."""
    devices = [
        {"name": f"样例终端{n}", "officer": officer, **account}
        for n, (officer, account) in enumerate(zip(platform.officers, platform.accounts, strict=True))
    ]
    plan = {"devices": devices, "tasks": tasks, "pair_share": 0.5, "contradiction_share": 0.5}
    path.write_text(json.dumps(plan), encoding="utf-8")


def run_phase(phase: str, plan: Path, home: Path, url: str = "") -> dict[str, Any]:
    """Run a phase by its command; returns its last line."""
    arguments = ["fleet", "--phase", phase, "--plan", str(plan), "--home", str(home), "--devices", str(DEVICES)]
    result: Result = CliRunner().invoke(device, [*arguments, "--url", url, "--seed", "3"])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.output.splitlines()]
    assert all(line["phase"] == phase for line in lines)
    last: dict[str, Any] = lines[-1]
    assert last["final"]
    assert last["chain_breaks"] == 0
    assert last["errors"] == []
    return last


def dispatched(platform: Platform) -> dict[str, str]:
    """Tasks for mapped inspections and two for leads, each for two of the officers in turn."""
    chosen = platform.world.choose(INSPECTIONS, "3")
    tasks: dict[str, str] = {}
    for number, inspection in enumerate(chosen):
        officers = [platform.officers[number % DEVICES], platform.officers[(number + 1) % DEVICES]]
        (task,) = platform.dispatch([inspection], officers)
        if number < INSPECTIONS - 2:  # the others are verified as leads, by their checklist
            tasks[task] = inspection.key
    return tasks


@pytest.fixture(autouse=True)
def _present_time(clock: FakeClock) -> None:
    """The fleet's handhelds live by the system's clock; the platform does as well here."""
    clock.instant = datetime.now(UTC)


def test_all_phases_through_a_bad_link(platform: Platform, tmp_path: Path) -> None:
    """Enrolment, first sync, offline work, sync: everything written arrives once, whatever the proxy does."""
    plan, home = tmp_path / "plan.json", tmp_path / "fleet"
    write_plan(platform, plan, {})
    with behind_faults(platform, 0.4) as (url, proxy):
        enrolled = run_phase("enrol", plan, home, url)
        for one in enrolled["device_ids"]:
            platform.approve(one)
        write_plan(platform, plan, dispatched(platform))
        assert run_phase("pull", plan, home, url)["tasks"] == 2 * INSPECTIONS
        worked = run_phase("work", plan, home)
        assert worked["acts"]["written"] == worked["acts"]["pending"] > 100
        run_phase("sync", plan, home, url)
        run_once(platform.rt)
        finished = run_phase("finish", plan, home, url)
    assert finished["acts"]["written"] == finished["acts"]["pushed"] == worked["acts"]["written"]
    assert finished["evidence"]["captured"] == finished["evidence"]["uploaded"] > 0
    assert finished["acts"]["held"] == finished["acts"]["quarantined"] == 0
    assert finished["acts"]["conflict"] > 0
    with platform.rt.db.read() as session:
        stored = session.query(Act).filter(Act.device.is_not(None)).count()
    assert stored == finished["acts"]["written"]
    assert proxy.counts["connections"] > proxy.counts["none"]


@pytest.mark.parametrize("after_acts", [5, 60])
def test_a_fleet_killed_at_work_goes_on(platform: Platform, tmp_path: Path, after_acts: int) -> None:
    """Killed in the middle of the work: the next run continues, and ends with the same counts as an unhurt fleet."""
    plan = tmp_path / "plan.json"
    write_plan(platform, plan, {})
    with behind_faults(platform, 0.0) as (url, _proxy):
        for one in run_phase("enrol", plan, tmp_path / "fleet", url)["device_ids"]:
            platform.approve(one)
        write_plan(platform, plan, dispatched(platform))
        run_phase("pull", plan, tmp_path / "fleet", url)
    shutil.copytree(tmp_path / "fleet", tmp_path / "unhurt")
    unhurt = run_phase("work", plan, tmp_path / "unhurt")
    kill_at_work(plan, tmp_path / "fleet", after_acts)
    again = run_phase("work", plan, tmp_path / "fleet")
    assert again["acts"] == unhurt["acts"]
    assert again["evidence"] == unhurt["evidence"]


def kill_at_work(plan: Path, home: Path, after_acts: int) -> None:
    """Start the work phase as a program and kill it once it has written so many acts."""
    command = f"""
import os, signal
from device_sim.handheld.store import HandheldStore
real, count = HandheldStore.add_act, 0
def add_act(*arguments):
    global count
    count += 1
    if count > {after_acts}:
        os.kill(os.getpid(), signal.SIGKILL)
    real(*arguments)
HandheldStore.add_act = add_act
from device_sim.cli import device
device()
"""
    arguments = [
        "fleet",
        "--phase",
        "work",
        "--plan",
        str(plan),
        "--home",
        str(home),
        "--devices",
        str(DEVICES),
        "--seed",
        "3",
    ]
    ended = subprocess.run([sys.executable, "-c", command, *arguments], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


@pytest.mark.parametrize("content", ["", "{", "[]", '{"devices": [{"name": 1}]}', '{"devices": [], "tasks": 5}'])
def test_plans_that_are_none_are_named(tmp_path: Path, content: str) -> None:
    """A bad plan file ends the command with one line that names it."""
    path = tmp_path / "plan.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(PlanFault, match="plan.json"):
        read_plan(path)
    result = CliRunner().invoke(device, ["fleet", "--phase", "pull", "--plan", str(path), "--home", str(tmp_path)])
    assert result.exit_code == 2
    assert "plan.json" in result.output


def test_a_plan_with_too_few_devices_is_refused(tmp_path: Path, plan_entry: dict[str, Any]) -> None:
    """No more handhelds run than the plan knows."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"devices": [plan_entry]}), encoding="utf-8")
    with pytest.raises(PlanFault, match="1 devices, 2 are asked for"):
        Fleet(tmp_path, "", read_plan(path), "1", 2)


def test_a_handheld_that_fails_is_reported(tmp_path: Path, plan_entry: dict[str, Any]) -> None:
    """A fleet that was never enrolled cannot pull: the command says so and ends with 1."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"devices": [plan_entry]}), encoding="utf-8")
    arguments = ["fleet", "--phase", "pull", "--plan", str(path), "--home", str(tmp_path / "f"), "--devices", "1"]
    result = CliRunner().invoke(device, arguments)
    assert result.exit_code == 1
    assert "NotEnrolled" in json.loads(result.output.splitlines()[-1])["errors"][0]


def test_a_wrong_password_ends_the_enrolment(platform: Platform, tmp_path: Path) -> None:
    """The server's refusal is reported, and nothing is tried for ever."""
    plan = tmp_path / "plan.json"
    entry = {"name": "n", "officer": platform.officers[0], "login": "nobody", "password": "wrong pass phrase"}
    plan.write_text(json.dumps({"devices": [entry]}), encoding="utf-8")
    lines: list[dict[str, Any]] = []
    fleet = Fleet(tmp_path / "f", "", read_plan(plan), "1", 1, make_client=platform.client)
    assert not fleet.run("enrol", lines.append)
    assert "401" in lines[-1]["errors"][0]


def test_a_missing_data_folder_is_named(tmp_path: Path, plan_entry: dict[str, Any]) -> None:
    """--data with no folder ends with one line."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"devices": [plan_entry]}), encoding="utf-8")
    arguments = ["fleet", "--phase", "work", "--plan", str(path), "--home", str(tmp_path / "f"), "--devices", "1"]
    result = CliRunner().invoke(device, [*arguments, "--data", str(tmp_path / "nowhere")])
    assert result.exit_code == 2
    assert "nowhere" in result.output
