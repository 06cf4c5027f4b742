"""The handheld against the real application: enrolment, pull, work, push, evidence, statuses."""

from device_sim.camera import camera_for
from device_sim.handheld.officer import Visit, tasks_of
from device_sim.handheld.visit import VisitPlan
from tests.integration.device_sim.conftest import MakeHandheld, Platform

ALONE = VisitPlan(paired=False, contradicts=(), photos=2)
PAIRED = VisitPlan(paired=True, contradicts=(), photos=1)
CONTRADICTING = VisitPlan(paired=True, contradicts=("result", "conclusion"), photos=1)


def test_one_officer_carries_out_and_syncs_everything(platform: Platform, handheld: MakeHandheld) -> None:
    """All acts of visits done by one handheld are applied, and all evidence arrives."""
    device = handheld()
    chosen = list(platform.world.choose(5, "1"))
    tasks = platform.dispatch(chosen)
    device.pull()
    inspections = dict(zip(tasks, chosen, strict=True))
    camera = camera_for((), "1")
    for task in tasks_of(device):
        assert Visit(device, task, inspections[task.id], ALONE, camera).carry_out()
    device.sync()
    counts = device.store.act_counts()
    assert set(counts) == {"applied"}, [line for j in device.store.journals() for line in device.store.receipts(j)][-3:]
    assert len(device.store.evidence(uploaded=True)) == len(device.store.evidence()) == 10
    assert device.verify() == []
    assert device.counts["retries"] == 0
