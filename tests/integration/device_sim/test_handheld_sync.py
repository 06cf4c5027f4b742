"""The handheld against the real application: enrolment, work, sync, conflicts, forks, restores, kills."""

import random
import shutil
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from device_sim.camera import camera_for
from device_sim.handheld.client import Handheld
from device_sim.handheld.link import Refused
from device_sim.handheld.officer import Visit, tasks_of
from device_sim.handheld.visit import VisitPlan
from device_sim.sample.mapping import MappedAnswer, MappedInspection
from server.behaviors.models import Behavior
from server.fieldsync.models import Journal
from server.inspections.models import Inspection
from server.records.models import Act
from server.worker import run_once
from tests.conftest import FakeClock
from tests.integration.device_sim.conftest import MakeHandheld, Platform

ALONE = VisitPlan(paired=False, contradicts=(), photos=2)
PAIRED = VisitPlan(paired=True, contradicts=(), photos=1)
CONTRADICTING = VisitPlan(paired=True, contradicts=("result", "conclusion"), photos=1)
CAMERA = camera_for((), "1")


def visits(device: Handheld, work: dict[str, MappedInspection], plan: VisitPlan) -> list[Visit]:
    """This officer's visits."""
    return [Visit(device, task, work[task.id], plan, CAMERA) for task in tasks_of(device) if task.id in work]


def dispatched(platform: Platform, count: int, seed: str = "1") -> dict[str, MappedInspection]:
    """Give tasks for so many mapped inspections."""
    chosen = list(platform.world.choose(count, seed))
    return dict(zip(platform.dispatch(chosen), chosen, strict=True))


def closed(platform: Platform) -> int:
    """Let the worker do its steps, and count closed inspections."""
    run_once(platform.rt)
    with platform.rt.db.read() as session:
        return session.query(Inspection).filter(Inspection.status == "closed").count()


def blockers(platform: Platform) -> list[object]:
    """What keeps inspections from closing."""
    with platform.rt.db.read() as session:
        return [row.blockers for row in session.query(Inspection).filter(Inspection.status != "closed")]


def test_one_officer_carries_out_and_syncs_everything(platform: Platform, handheld: MakeHandheld) -> None:
    """All acts of visits done by one handheld are applied, all evidence arrives, and every inspection closes."""
    device = handheld()
    work = dispatched(platform, 5)
    device.pull()
    assert all(visit.carry_out() for visit in visits(device, work, ALONE))
    device.sync()
    assert set(device.store.act_counts()) == {"applied"}
    assert len(device.store.evidence(uploaded=True)) == len(device.store.evidence()) == 10
    assert device.verify() == []
    assert device.counts["retries"] == 0
    assert closed(platform) == 5, blockers(platform)
    with platform.rt.db.read() as session:
        assert session.query(Behavior).count() == 5


def test_real_violations_arrive_as_failed_answers(platform: Platform, handheld: MakeHandheld) -> None:
    """What the platform holds of a visit is what the real inspection says."""
    device = handheld()
    work = dispatched(platform, 6)
    device.pull()
    for visit in visits(device, work, ALONE):
        visit.carry_out()
    device.sync()
    reader = handheld(name="reader", officer=1)
    reader.pull()
    answers = [reader.open("answer", record) for record in reader.store.ids("answer")]
    found = sorted((one.value("outcome"), one.value("severity") or "", one.value("finding")) for one in answers)
    wanted = [one for inspection in work.values() for one in inspection.answers]
    assert found == sorted((one.outcome, one.severity or "", one.finding) for one in wanted)
    orders = [reader.open("rectification", record) for record in reader.store.ids("rectification")]
    urgent = [one for one in wanted if one.severity in ("critical", "major")]
    assert len(orders) == len(urgent) > 0


def test_a_followup_rechecks_the_orders_of_the_visit_before(platform: Platform, handheld: MakeHandheld) -> None:
    """Orders of an earlier visit to the same entity are marked as re-checked, with a report, and sync."""
    device = handheld()
    earlier, later, *_ = platform.world.choose(10, "1")
    one, other, *_ = platform.world.checklists[earlier.checklist].sub_items  # of the list: others are refused
    failure = MappedAnswer(one.number, "fail", "major", "sink")
    earlier = replace(earlier, answers=(failure, replace(failure, number=other.number, severity=None)))
    later = replace(later, entity=earlier.entity, answers=(), recheck_of=earlier.key)
    tasks = platform.dispatch([earlier, later])
    work = dict(zip(tasks, (earlier, later), strict=True))
    device.pull()
    for task in tasks:
        for visit in visits(device, {task: work[task]}, ALONE):
            visit.carry_out()
    device.sync()
    (order,) = (device.open("rectification", record) for record in device.store.ids("rectification"))
    assert order.value("status") == "rechecked"
    assert "复查时已改正" in order.value("report")[0]
    assert order.value("outcome") == "corrected"
    assert len(order.value("evidence")) == 1
    assert set(device.store.act_counts()) == {"applied"}


def test_a_pair_merges_without_conflict(platform: Platform, handheld: MakeHandheld) -> None:
    """Both officers work the same inspections offline; different fields merge and all of it closes."""
    first, second = handheld(0), handheld(1)
    work = dispatched(platform, 4)
    for device in (first, second):
        device.pull()
        assert sum(visit.carry_out() for visit in visits(device, work, PAIRED)) == 4
    for device in (first, second, first):
        device.sync()
    counts = [device.store.act_counts() for device in (first, second)]
    assert all(set(one) <= {"applied", "merged"} for one in counts)
    assert counts[1]["merged"] > 0
    assert closed(platform) == 4, blockers(platform)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_contradiction_stays_whole_until_a_person_decides(
    platform: Platform, handheld: MakeHandheld, order: tuple[int, int]
) -> None:
    """Both values survive on both handhelds; after the decision both officers sign anew and the inspection closes.

    The acts' statuses are the same whichever handheld syncs first.
    """
    devices = [handheld(0), handheld(1)]
    work = dispatched(platform, 1)
    for device in devices:
        device.pull()
        for visit in visits(device, work, CONTRADICTING):
            visit.carry_out()
    for index in (*order, *order):
        devices[index].sync()
    assert [device.store.act_counts()["conflict"] for device in devices] == [1, 1]
    record = devices[0].store.ids("inspection")[0]
    for device in devices:
        assert {name for name, one in device.open("inspection", record).readings.items() if one.conflict} == {
            "result", "conclusion",
        }  # fmt: skip
        assert not any(visit.sign_again() for visit in visits(device, work, CONTRADICTING))
    assert closed(platform) == 0
    decide_all(platform)
    for device in devices:
        device.pull()
        assert all(visit.sign_again() for visit in visits(device, work, CONTRADICTING))
        assert not any(visit.sign_again() for visit in visits(device, work, CONTRADICTING))
        device.sync()
    assert closed(platform) == 1, blockers(platform)


def decide_all(platform: Platform) -> None:
    """Decide every conflict for its first side, as the operator."""
    client = platform.client()
    for conflict in client.get("/api/v1/conflicts", headers=platform.operator).json()["conflicts"]:
        address = f"/api/v1/conflicts/{conflict['id']}"
        sides = [side["dot"] for side in client.get(address, headers=platform.operator).json()["sides"]]
        decision = {"sides": sides, "choice": sides[0], "reason": "样例：以主办人员意见为准 / the lead officer's view"}
        answer = client.post(f"{address}/resolve", json=decision, headers=platform.operator)
        assert answer.status_code == 200, answer.text


class BadLink(httpx.BaseTransport):
    """A link that loses requests before they arrive, and answers after they were made."""

    def __init__(self, inner: httpx.BaseTransport, seed: int, rate: float) -> None:
        self.inner, self.rng, self.rate = inner, random.Random(seed), rate

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Pass a request on, or lose it, or send it twice, or lose its answer."""
        request.read()
        fault = self.rng.choice(("lost", "twice", "unanswered")) if self.rng.random() < self.rate else ""
        if fault == "lost":
            raise httpx.ConnectError("lost", request=request)
        response = self.inner.handle_request(request)
        if fault == "twice":
            again = httpx.Request(request.method, request.url, headers=request.headers, content=request.content)
            self.inner.handle_request(again).read()
        if fault == "unanswered":
            response.read()
            raise httpx.ReadError("unanswered", request=request)
        return response


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_is_lost_or_doubled_on_a_bad_link(platform: Platform, handheld: MakeHandheld, seed: int) -> None:
    """Whatever the link loses or doubles, each act and each picture arrives exactly once."""
    transport = BadLink(httpx.WSGITransport(platform.app), seed, 0.5)
    client = httpx.Client(transport=transport, base_url="http://platform.example")
    handheld().close()
    device = handheld(client=client)
    work = dispatched(platform, 4)
    device.pull()
    for visit in visits(device, work, ALONE):
        visit.carry_out()
    device.sync()
    with platform.rt.db.read() as session:
        stored = session.query(Act.journal, Act.seq, Act.hash).filter(Act.device == device.device).all()
    journal = device.store.journals()[0]
    assert sorted(stored) == [(*act.dot, act.hash) for act in device.store.acts(journal)]
    assert closed(platform) == 4, blockers(platform)
    assert device.counts["retries"] > 0


class Killed(BaseException):
    """The process ends here."""


def kill_after(device: Handheld, saves: int) -> None:
    """Let the process die instead of marking the next step done, after so many steps."""
    real, left = device.store.put, saves

    def put(name: str, value: str) -> None:
        nonlocal left
        left -= ":done:" in name
        if left < 0:
            raise Killed
        real(name, value)

    device.store.put = put  # type: ignore[method-assign]


@pytest.mark.parametrize("saves", range(10))
def test_a_killed_handheld_goes_on_where_it_was(
    platform: Platform, handheld: MakeHandheld, tmp_path: Path, saves: int
) -> None:
    """Killed at any step, the visit is finished by the next run, with nothing lost and nothing written twice."""
    work = dispatched(platform, 1)
    device = handheld()
    device.pull()
    shutil.copytree(tmp_path / "handheld-0", tmp_path / "unhurt")
    kill_after(device, saves)
    with pytest.raises(Killed):
        visits(device, work, ALONE)[0].carry_out()
    device.close()
    device = handheld()
    visits(device, work, ALONE)[0].carry_out()
    unhurt = handheld(name="unhurt")
    visits(unhurt, work, ALONE)[0].carry_out()
    assert device.store.act_counts() == unhurt.store.act_counts()
    assert len(device.store.evidence()) == 2
    assert device.verify() == []


def test_a_restored_handheld_forks_and_loses_nothing(
    platform: Platform, handheld: MakeHandheld, tmp_path: Path
) -> None:
    """A handheld put back from a backup goes on in a new journal; the acts of both lives arrive."""
    device = handheld()
    work = dispatched(platform, 3)
    device.pull()
    jobs = visits(device, work, ALONE)
    jobs[0].carry_out()
    device.sync()
    device.close()
    shutil.copytree(tmp_path / "handheld-0", tmp_path / "backup")
    device = handheld()
    visits(device, work, ALONE)[1].carry_out()
    device.sync()
    lost_life = device.store.head(device.store.journals()[0])[0]
    device.close()
    shutil.rmtree(tmp_path / "handheld-0")
    shutil.copytree(tmp_path / "backup", tmp_path / "handheld-0")
    device = handheld()
    restored_at = device.store.head(device.store.journals()[0])[0]
    visits(device, work, ALONE)[2].carry_out()
    written = sum(device.store.act_counts().values()) - restored_at
    device.sync()
    assert device.counts["forks"] == 1
    parent = device.store.parent_of(device.store.journals()[1])
    assert parent is not None
    assert parent.seq == restored_at
    with platform.rt.db.read() as session:
        assert session.query(Act).filter(Act.device == device.device).count() == lost_life + written
        assert session.query(Journal).filter(Journal.device == device.device).count() == 2
    assert closed(platform) == 3, blockers(platform)


def test_a_wrong_clock_does_not_keep_a_handheld_out(
    platform: Platform, handheld: MakeHandheld, clock: FakeClock
) -> None:
    """A handheld whose clock stands in 2035 syncs; its acts keep their raw time."""
    device = handheld()
    ahead_ms = round(clock.now().timestamp() * 1000) + 9 * 365 * 86_400_000
    object.__setattr__(device.outside, "wall_ms", lambda: ahead_ms)
    work = dispatched(platform, 1)
    device.pull()
    visits(device, work, ALONE)[0].carry_out()
    device.sync()
    assert device.counts["clock_corrections"] == 1
    assert closed(platform) == 1, blockers(platform)


def test_an_expired_token_is_renewed(platform: Platform, handheld: MakeHandheld, clock: FakeClock) -> None:
    """Days later the next request signs in again by itself."""
    device = handheld()
    device.pull()
    clock.advance(3 * 86_400)
    device.pull()
    assert device.counts["sign_ins"] == 2


def test_enrolment_may_be_repeated_and_wrong_ones_are_refused(platform: Platform, handheld: MakeHandheld) -> None:
    """The same key gives the same device; a proof for another officer does not verify."""
    device = handheld(enrol=False)
    token = platform.client().post("/api/v1/sign-in", json=platform.accounts[0]).json()["token"]
    first = device.enrol(token, platform.officers[0], "样例终端")
    assert device.enrol(token, platform.officers[0], "样例终端") == first
    with pytest.raises(Refused, match="bad-signature"):
        device.enrol(token, platform.officers[1], "样例终端")
