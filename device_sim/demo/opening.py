"""The platform is started, and every officer gets a handheld."""

from __future__ import annotations

from device_sim.demo.checks import require
from device_sim.demo.programs import answers
from device_sim.demo.run import READY_TIMEOUT_S, Run
from device_sim.demo.world import write_seed


def set_up(run: Run) -> None:
    """Make the database, enter directory, officers, entities and sensors, and start the programs."""
    seed_file = run.home / "seed.json"
    write_seed(run.world, seed_file)
    run.programs.run("migrate", ["migrate"])
    run.programs.run("seed", ["seed", str(seed_file)])
    seed_file.unlink()
    run.broker.start()
    ingest = run.broker.users["ingest"]
    run.programs.environment = {
        **run.programs.environment,
        "FIELDPROOF_MQTT_PORT": str(run.broker.port),
        "FIELDPROOF_MQTT_PASSWORD": ingest.password,
    }
    run.programs.start("server", ["serve", "--port", str(run.port)])
    run.programs.start("worker", ["worker"])
    run.programs.start("ingest", ["ingest"])
    run.programs.wait_for("the server", answers(f"{run.url}/ready"), READY_TIMEOUT_S)
    run.report("set-up", {"entities": len(run.world.entity_ids), "officers": len(run.world.officers)})


def enrol(run: Run) -> None:
    """Every officer enrols a handheld; the operator approves them."""
    run.plan = {
        "devices": [
            {"name": f"手持终端 {index + 1:03d}", "officer": one.id, "login": one.login, "password": one.password}
            for index, one in enumerate(run.world.officers)
        ],
        "tasks": {},
    }
    run.fleet("enrol", run.url)
    approved = run.office.approve_devices()
    require(approved == run.options.devices, f"{run.options.devices} enrolled, {approved} waited for approval")
    run.report("enrol", {"devices": approved})
