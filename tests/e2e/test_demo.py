"""The demonstration as a user runs it: real programs, bad links, figures that the database confirms."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from server.behaviors.models import Behavior
from server.config import load_settings
from server.evidence.models import Evidence
from server.leads.models import Lead
from server.records.models import Act
from server.runtime import build_runtime
from server.telemetry.models import StoredReading

FIELDPROOF = Path(sys.executable).with_name("fieldproof")
ARGUMENTS = ("--once", "--devices", "4", "--inspections", "12", "--readings", "3000")
TIMEOUT_S = 300


def _demo(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FIELDPROOF_HOME": str(home)}
    command = [str(FIELDPROOF), "demo", *arguments, "--json", str(home.parent / "out.json")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def _figures(home: Path) -> dict[str, Any]:
    decoded = json.loads((home.parent / "out.json").read_text("utf-8"))
    assert isinstance(decoded, dict)
    return decoded


@pytest.mark.slow
def test_demo_loses_nothing(tmp_path: Path) -> None:
    """The story ends well, its JSON has the agreed members, and the database says the same."""
    home = tmp_path / "home"
    ended = _demo(home, *ARGUMENTS, "--seed", "11")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures = _figures(home)
    assert figures["ok"] is True
    readings, acts, evidence = figures["readings"], figures["acts"], figures["evidence"]
    assert readings.keys() == {"published", "stored", "invalid", "dead_lettered", "duplicate", "lost"}
    assert readings["published"] == readings["stored"] + readings["invalid"] + readings["dead_lettered"] >= 3000
    assert acts["written"] == sum(acts[name] for name in ("applied", "merged", "conflict", "held", "quarantined"))
    assert (readings["lost"], acts["lost"], evidence["lost"], evidence["rejected"]) == (0, 0, 0, 0)
    assert figures["central"]["missed"] == figures["central"]["duplicated"] == 0
    assert figures["central"]["pulled"] == figures["central"]["proofs_verified"] == figures["behaviors"]
    assert figures["digests"]["server"] == figures["digests"]["central"]
    assert figures["tasks"] == figures["leads"] + 12
    assert figures["behaviors"] == figures["inspections"]["closed"] + sum(figures["settled_leads"].values())
    assert figures["settled_leads"]["confirmed"] > 0
    draw, rules, checklist, doors = (figures[name] for name in ("draw", "rules", "checklist", "doors"))
    assert 0 < draw["drawn"] == draw["published"] < draw["roster"] - draw["excluded"]
    assert draw["excluded"] > 0, "firms that have had their visits of the year"
    assert figures["inspections"]["total"] == figures["leads"] + 12 + draw["drawn"]
    assert rules == {"tried": rules["tried"], "refused": rules["tried"], "kept_unclosed": 1}
    assert rules["tried"] == 2 * 6 + 2 * 5, "six rules; the ecology officers know of no expired colleague"
    assert checklist["held"] == 4 <= checklist["marked"]
    assert 12 + draw["drawn"] == doors["scanned"] < doors["visits"]
    assert doors["marked"] == 12 - figures["inspections"]["left_in_conflict"], "only what is replayed from past years"
    assert figures["faults"]["connections"] > 0
    _recount(home, figures)


def _recount(home: Path, figures: dict[str, Any]) -> None:
    rt = build_runtime(load_settings({"FIELDPROOF_HOME": str(home)}))
    with rt.db.read() as session:
        count = select(func.count())
        statuses = session.execute(
            select(Act.status, func.count()).where(Act.device.is_not(None)).group_by(Act.status)
        ).all()
        acts = {status: int(total) for status, total in statuses}
        assert acts == {name: figures["acts"][name] for name in acts}
        assert session.scalar(count.select_from(Behavior)) == figures["behaviors"]
        assert session.scalar(count.select_from(Lead)) == figures["leads"]
        assert session.scalar(count.select_from(Evidence)) == figures["evidence"]["captured"] + figures["leads"]
        valid = count.select_from(StoredReading).where(StoredReading.valid.is_(True))
        assert session.scalar(valid) == figures["readings"]["stored"]
    rt.db.dispose()


def test_demo_refuses_a_foreign_home(tmp_path: Path) -> None:
    """A folder with data that no demonstration made is left alone, with one line why."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "fieldproof.db").write_bytes(b"somebody's")
    ended = _demo(home, "--once")
    assert ended.returncode == 1
    assert "holds data of its own" in ended.stderr
    assert (home / "fieldproof.db").read_bytes() == b"somebody's"


def test_demo_says_when_data_is_missing(tmp_path: Path) -> None:
    """A --data folder that does not exist is named in one line."""
    ended = _demo(tmp_path / "home", "--once", "--data", str(tmp_path / "nowhere"))
    assert ended.returncode == 1
    assert "nowhere" in ended.stderr
