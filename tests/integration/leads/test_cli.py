"""The commands `fieldproof leads …`: what is due, and how often rules were right."""

import pytest
from click.testing import CliRunner

from server.cli import main
from server.leads import course
from server.leads.lifecycle import CONFIRMED
from server.runtime import Runtime
from tests.conftest import FakeClock
from tests.field_device import make_world
from tests.integration.leads.lead_play import LeadPlay


@pytest.fixture
def run(rt: Runtime, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> LeadPlay:
    """A platform whose database the commands use; wide enough a terminal for its tables."""
    monkeypatch.setenv("FIELDPROOF_HOME", str(rt.settings.home))
    monkeypatch.setenv("COLUMNS", "200")
    return LeadPlay(rt, make_world(rt), clock)


def test_leads_are_listed_with_their_deadlines(run: LeadPlay) -> None:
    """Only those of the state that is asked for."""
    lead = run.open()
    listed = CliRunner().invoke(main, ["leads", "list", "--status", "generated"])
    assert listed.exit_code == 0, listed.output
    assert lead in listed.output.replace("\n", "")
    assert lead not in CliRunner().invoke(main, ["leads", "list", "--status", "closed"]).output


def test_precision_is_told_by_version(rt: Runtime, run: LeadPlay) -> None:
    """A dash before anything is settled, a share afterwards."""
    lead = run.open()
    assert "—" in CliRunner().invoke(main, ["leads", "precision"]).output
    run.push()
    with rt.db.write() as session:
        course.conclude(session, rt, lead, CONFIRMED, actor="officer", at=rt.now())
    told = CliRunner().invoke(main, ["leads", "precision", "--rule", "air-so2-hourly"])
    assert (told.exit_code, "100%" in told.output) == (0, True), told.output
