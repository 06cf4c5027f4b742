"""Sensors and what comes of them: readings, leads, tasks, and what the office makes of them in the end."""

from __future__ import annotations

import json
from functools import partial

from device_sim.demo.checks import require
from device_sim.demo.home import write_private
from device_sim.demo.leads import close, count_tasks, dispose
from device_sim.demo.run import READY_TIMEOUT_S, SETTLE_TIMEOUT_S, Run
from device_sim.sensors.check import balance
from device_sim.sensors.record import read_record

INGEST_TIMEOUT_S = 600.0
REPEAT_EVERY, NONSENSE_EVERY = 97, 61


def sense(run: Run) -> None:
    """Sensors publish real hours over MQTT; everything they said must be found again, once."""
    sensors = run.home / "sensors.json"
    entries = [
        {"sensor": sensor, "password": run.broker.users[sensor].password, "station": station}
        for station, sensor in run.world.sensors.items()
    ]
    write_private(sensors, json.dumps(entries))
    published = run.home / "published.jsonl"
    arguments = ["device", "sensors", "--sensors", str(sensors), "--port", str(run.broker.port)]
    arguments += ["--readings", str(run.options.readings), "--published", str(published)]
    arguments += ["--repeat-every", str(REPEAT_EVERY), "--nonsense-every", str(NONSENSE_EVERY)]
    if run.options.data:
        arguments += ["--data", str(run.options.data)]
    run.programs.run("sensors", arguments)
    sensors.unlink()
    said = list(read_record(published))
    run.settle(
        "readings", partial(_ingested, run), INGEST_TIMEOUT_S, enough=lambda seen: sum(seen.values()) >= len(said)
    )
    stored = (row for sensor in run.world.sensors.values() for row in run.office.stored_readings(sensor))
    letters = run.office.every("/api/v1/telemetry/dead-letters", "letters")
    result = balance(said, stored, letters)
    counters = run.office.get("/api/v1/telemetry/counters")["counters"]
    run.figures["readings"] = {
        "published": result.published,
        "stored": result.valid,
        "invalid": result.invalid,
        "dead_lettered": result.dead_lettered,
        "duplicate": int(counters.get("duplicate", counters.get("duplicates", 0))),
        "lost": result.lost,
    }
    require(result.ok, f"readings do not balance: {'; '.join(result.examples)}")
    run.report("sense", run.figures["readings"])


def _ingested(run: Run) -> dict[str, int]:
    totals = run.office.get("/api/v1/telemetry/counters")
    if totals["counters"].get("held_messages"):
        return {}  # messages wait for earlier ones: leads are not complete yet
    return {**totals["readings"], **totals["dead_letters"]}


def follow_leads(run: Run) -> None:
    """Each lead becomes one task for two officers."""
    leads = run.settle("leads", run.office.lead_states, READY_TIMEOUT_S, enough=lambda seen: not seen.get("generated"))
    run.figures["leads"] = sum(leads.values())
    run.report("leads", {"leads": run.figures["leads"], "tasks": count_tasks(run.office, sum(leads.values()))})


def settle_leads(run: Run) -> None:
    """The office disposes of what officers have verified; it becomes behaviors and counts for the rules; closed."""
    verified = dispose(run.office)
    fed_back = len(verified)
    run.settle("leads", run.office.lead_states, SETTLE_TIMEOUT_S, lambda seen: seen.get("fed_back", 0) >= fed_back)
    run.figures["settled_leads"] = close(run.office, verified)
    run.figures["behaviors"] = sum(run.office.figures()["behaviors"].values())
    expected = run.figures["inspections"]["closed"] + len(verified)
    require(run.figures["behaviors"] == expected, f"{expected} behaviors expected")
    run.report("leads", run.figures["settled_leads"])
