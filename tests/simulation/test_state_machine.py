"""Hypothesis chooses what handhelds, office and server do, and shrinks what breaks a promise to the fewest steps.

The parts are the simulation's: real handhelds and the real platform, compared with what a plain model says of the same
acts. The seeds explore long runs; here each failing run becomes as short as it can be.
"""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.simulation import promises
from tests.simulation.in_process import fast_folder
from tests.simulation.run import Simulation

EXAMPLES = 6
STEPS = 20
SEED = 1
WHICH = st.integers(0, 3)


class Handhelds(RuleBasedStateMachine):
    """Several handhelds and a server; the network behaves, and whoever acts, and when, is Hypothesis's choice."""

    def __init__(self) -> None:
        """Start with what every seed starts with."""
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="fieldproof-machine-", dir=fast_folder()))
        self.run = Simulation(self.folder, SEED, [])
        self.run.faulty(on=False)

    @rule(which=WHICH)
    def officer_acts(self, which: int) -> None:
        """An officer writes something."""
        device = self.run.devices[which % len(self.run.devices)]
        self.run._use(device, "officer", lambda: self.run.work.act(device))

    @rule(which=WHICH, what=st.sampled_from(["push", "pull", "upload", "refresh_statuses", "sync"]))
    def handheld_talks(self, which: int, what: str) -> None:
        """A handheld does a part of syncing, or all of it."""
        device = self.run.devices[which % len(self.run.devices)]
        self.run._use(device, what, getattr(device.handheld, what))

    @rule(which=WHICH)
    def pushes_ahead(self, which: int) -> None:
        """A handheld pushes its newer acts before its older ones."""
        device = self.run.devices[which % len(self.run.devices)]
        self.run._use(device, "pushes ahead", lambda: self.run.work.push_ahead(device))

    @rule(which=WHICH)
    def device_copied(self, which: int) -> None:
        """A handheld is copied, to be restored later."""
        self.run.devices[which % len(self.run.devices)].back_up()

    @rule(which=WHICH)
    def device_restored(self, which: int) -> None:
        """A handheld's older copy comes back."""
        self.run.devices[which % len(self.run.devices)].restore()

    @rule(what=st.sampled_from(["decide", "undo", "rule", "reassign"]))
    def office_acts(self, what: str) -> None:
        """The office decides, undoes, rules or reassigns."""
        getattr(self.run.office, what)()

    @rule()
    def worker_works(self) -> None:
        """The background steps run."""
        self.run._worker(whole=True)

    @rule()
    def server_copied(self) -> None:
        """The server is backed up."""
        self.run._server_backed_up()

    @rule()
    def server_restored(self) -> None:
        """The server's backup comes back."""
        self.run._server_restored()

    @invariant()
    def promises_hold(self) -> None:
        """At every moment the database says what its acts amount to, and has all that was acknowledged."""
        promises.check_database(self.run.platform.rt, self.run.network.receipts)

    def teardown(self) -> None:
        """Once everything has arrived, all handhelds show what the server has."""
        try:
            self.run.settle()
        finally:
            self.run.close()
            shutil.rmtree(self.folder)


@pytest.mark.slow
def test_handhelds_and_server_agree_with_the_model() -> None:
    """Whatever they do in whatever order, every promise holds after each step and at the end."""
    run_state_machine_as_test(
        Handhelds,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
