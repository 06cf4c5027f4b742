"""The central system pulls all the while, and must end with what the server holds; then everything is recomputed."""

from __future__ import annotations

import json

from device_sim.demo.checks import InvariantBroken, require
from device_sim.demo.home import write_private
from device_sim.demo.run import Run

CENTRAL_TIMEOUT_S = 600.0


def start_central(run: Run) -> None:
    """The central system begins to pull, and goes on while the pushes run."""
    password = run.home / "central.password"
    write_private(password, run.world.passwords["central"])
    arguments = ["central", "pull", "--url", run.url, "--login", "central", "--password-file", str(password)]
    arguments += ["--store", str(run.home / "central.db"), "--public-key", str(run.home / "keys/proof-log.pub")]
    arguments += ["--until-file", str(run.home / "pushes-done"), "--json", str(run.home / "central.json")]
    run.central = run.programs.start("central", arguments)


def finish_central(run: Run) -> None:
    """It pulls to the end, checks every proof, and must hold exactly what the server holds."""
    central = run.central
    if central is None:
        raise InvariantBroken("the central system was never started")
    (run.home / "pushes-done").touch()
    code = central.wait(CENTRAL_TIMEOUT_S)
    run.programs.running.remove(central)
    result = json.loads((run.home / "central.json").read_text())
    run.figures["central"] = {name: result[name] for name in ("pulled", "missed", "duplicated", "proofs_verified")}
    run.figures["digests"] = {"server": result["digest_server"], "central": result["digest_central"]}
    require(code == 0 and result["ok"], f"the central system is not satisfied: {result}")
    require(result["digest_server"] == result["digest_central"], "the central system holds something else")
    require(result["pulled"] == run.figures["behaviors"], "the central system has not pulled every behavior")
    require(result["proofs_verified"] == result["pulled"], "a behavior has no valid proof")
    run.report("central", run.figures["central"])


def verify(run: Run) -> None:
    """`fieldproof verify`: chains, signatures, records, custody and the proof log, all recomputed."""
    run.programs.run("verify", ["verify"])
    run.report("verify", {})
