"""The rules of the field on the handheld without a network, and the server's last word on what arrives anyway."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from device_sim.handheld.client import Handheld
from device_sim.handheld.officer import tasks_of
from device_sim.handheld.rules import RuleRefused
from server.directory.models import Checklist, DirectoryVersion, SupervisionItem
from server.directory.service import add_checklist, end_checklist, publish_item
from server.directory.versions import take_action
from server.inspections.closing import blockers
from server.officers.models import Officer
from server.officers.service import publish_officers
from server.records.lines import decode_state, view_of
from server.records.models import SyncedRecord
from tests.conftest import FakeClock
from tests.integration.device_sim.conftest import MakeHandheld, Platform

RULED: list[dict[str, Any]] = [
    {"number": "1", "text": "持证"},
    {"number": "2", "text": "原因", "asked_when": {"number": "1", "outcome": "fail"}, "outcomes": ["pass", "fail"]},
    {"number": "3", "text": "现场", "evidence": ["photo"]},
]
"""A checklist with a conditional question and required evidence."""


@pytest.fixture
def device(platform: Platform, handheld: MakeHandheld) -> Handheld:
    """The first officer's handheld with one task, synced; from here on it has no network."""
    platform.dispatch(list(platform.world.choose(1, "1")))
    made = handheld()
    made.pull()
    return made


def the_task(device: Handheld) -> str:
    """The inspection of its task."""
    return tasks_of(device)[-1].inspection


def start(device: Handheld, clock: FakeClock) -> dict[str, str]:
    """What an officer enters on arrival."""
    now = clock.now().isoformat()
    return {"started_at": now, "inspected_at": now, "form": "01", "category": "03", "scan_exemption": "04"}


def refusal(device: Handheld, kind: str, record: str, fields: dict[str, Any]) -> list[tuple[str, str]]:
    """The rules that forbid an entry, by what breaks them; nothing is written."""
    before = sum(device.store.act_counts().values())
    with pytest.raises(RuleRefused) as caught:
        device.record(device.open(kind, record), fields)
    assert sum(device.store.act_counts().values()) == before
    return [(fault.reason, fault.subject) for fault in caught.value.faults]


def found_on_the_server(platform: Platform, inspection: str) -> set[str]:
    """What keeps an inspection from closing there."""
    with platform.rt.db.read() as session:
        record = session.get_one(SyncedRecord, ("inspection", inspection))
        state = decode_state(record.line)
        found = blockers(session, platform.rt.now(), record, state, view_of("inspection", state))
        return {one["reason"] for one in found}


def test_an_expired_officer_neither_starts_nor_signs(platform: Platform, device: Handheld, clock: FakeClock) -> None:
    """The certificate has run out since the task was given: refused offline; what arrives anyway is kept and marked."""
    clock.advance(60)
    with platform.rt.db.write() as session:
        officer = session.get_one(Officer, platform.officers[0])
        officer.certificate_valid_until, officer.revision = clock.now() - timedelta(seconds=1), 2
        publish_officers(session, platform.rt, [officer], author="test")
    inspection = the_task(device)
    device.pull()
    assert refusal(device, "inspection", inspection, start(device, clock)) == [
        ("certificate-expired", platform.officers[0])
    ]
    signature = {"officer": platform.officers[0], "role": "lead", "dots": [], "digest": "0" * 64}
    assert refusal(device, "inspection", inspection, {"signatures": {"add": [signature]}}) == [
        ("certificate-expired", platform.officers[0])
    ]
    device.write(device.open("inspection", inspection), start(device, clock))  # by an app without the rules
    device.sync()
    assert set(device.store.act_counts()) == {"applied"}, "a record of the field is never lost"
    assert "certificate-expired" in found_on_the_server(platform, inspection)


def test_a_single_officer_does_not_start(platform: Platform, device: Handheld, clock: FakeClock) -> None:
    """A visit that one officer opens alone is refused on the spot."""
    alone = {"officers": [platform.officers[0]], **start(device, clock)}
    assert ("officers-too-few", "") in refusal(device, "inspection", the_task(device), alone)


def test_out_of_scope_and_outside_the_list(platform: Platform, device: Handheld, clock: FakeClock) -> None:
    """A sector that the certificate does not cover; an item that was withdrawn; a list nobody has published."""
    inspection, unknown = the_task(device), platform.rt.new_id()
    assert refusal(device, "inspection", inspection, start(device, clock) | {"checklist": unknown, "item": unknown})[
        :2
    ] == [("not-in-published-list", ""), ("not-in-published-list", "")]
    with platform.rt.db.write() as session:
        officer = session.get_one(Officer, platform.officers[0])
        officer.scope, officer.revision = ["ecology"], 2
        publish_officers(session, platform.rt, [officer], author="test")
        for item in session.execute(select(SupervisionItem)).scalars():
            item.sector = "market"
            publish_item(session, platform.rt, item, author="test")
    device.pull()
    assert refusal(device, "inspection", inspection, start(device, clock)) == [
        ("certificate-out-of-scope", platform.officers[0])
    ]
    clock.advance(60)
    with platform.rt.db.write() as session:
        versions = session.execute(select(DirectoryVersion).order_by(DirectoryVersion.register)).scalars().all()
        for version in versions:  # checklists first
            take_action(session, platform.rt, version, "withdraw", author="test", reason="样例")
    device.pull()
    assert ("withdrawn-from-list", "") in refusal(device, "inspection", inspection, start(device, clock))
    clock.advance(60)
    device.write(device.open("inspection", inspection), start(device, clock))
    device.sync()
    assert {"withdrawn-from-list", "certificate-out-of-scope"} <= found_on_the_server(platform, inspection)


def publish(platform: Platform, lines: list[dict[str, Any]]) -> None:
    """A new version of every checklist."""
    with platform.rt.db.write() as session:
        for former in session.execute(select(Checklist).where(Checklist.status == "published")).scalars().all():
            fresh = Checklist(
                id=platform.rt.new_id(), code=former.code, version=former.version + 1, name=former.name,
                item=former.item, sub_items=lines,
            )  # fmt: skip
            add_checklist(session, platform.rt, fresh, author="test")
            key = next(key for key, checklist in platform.checklists.items() if checklist == former.id)
            platform.checklists[key] = fresh.id


def test_a_changed_checklist_arrives_with_the_next_sync(platform: Platform, device: Handheld, clock: FakeClock) -> None:
    """A visit that begins on the older version goes on and is marked; the next task has the new one and its rules."""
    older = the_task(device)
    assert device.rules.marks(older) == []
    publish(platform, RULED)
    platform.dispatch(list(platform.world.choose(1, "1")))
    device.pull()
    assert device.rules.marks(older) == ["superseded"]
    assert device.record(device.open("inspection", older), start(device, clock)) is not None, "it stays valid"
    newer = next(task for task in tasks_of(device) if task.inspection != older)
    assert device.open("checklist", newer.checklist).value("sub_items") == RULED
    assert device.rules.marks(newer.inspection) == []
    device.sync()
    assert not {"withdrawn-from-list", "unknown-checklist"} & found_on_the_server(platform, older)


def test_conditions_results_and_evidence(platform: Platform, device: Handheld, clock: FakeClock) -> None:
    """Asked only when its condition holds, answered by what is on offer, shown by what is required."""
    publish(platform, RULED)
    platform.dispatch(list(platform.world.choose(1, "1")))
    former = the_task(device)
    device.pull()
    inspection = next(task.inspection for task in tasks_of(device) if task.inspection != former)
    one, two, three = (device.outside.new_id() for _ in range(3))

    def answer(number: str, outcome: str) -> dict[str, Any]:
        return {"inspection": inspection, "number": number, "outcome": outcome}

    assert not device.rules.asked(inspection, "2")
    assert refusal(device, "answer", two, answer("2", "pass")) == [("question-not-asked", "2")]
    assert refusal(device, "answer", two, answer("9", "pass")) == [("not-in-checklist", "9")]
    device.record(device.open("answer", one), answer("1", "fail"))
    assert device.rules.asked(inspection, "2")
    assert refusal(device, "answer", two, answer("2", "not_checked")) == [("outcome-not-offered", "2")]
    device.record(device.open("answer", three), answer("3", "pass"))
    submitted = {"status": "submitted"}
    assert refusal(device, "inspection", inspection, submitted) == [
        ("evidence-required", "3"), ("question-unanswered", "2"),
    ]  # fmt: skip
    device.write(device.open("inspection", inspection), submitted)
    device.sync()
    assert {"evidence-required", "question-unanswered"} <= found_on_the_server(platform, inspection)
    device.record(device.open("answer", two), answer("2", "pass"))
    photo = device.outside.new_id()
    fields = {"inspection": inspection, "sha256": "0" * 64, "media_type": "image/jpeg", "size_bytes": 1}
    device.write(device.open("evidence", photo), fields)
    device.record(device.open("answer", three), {"evidence": {"add": [photo]}})
    device.rules.check(device.open("inspection", inspection), submitted)
    device.push()
    assert not {"evidence-required", "question-unanswered"} & found_on_the_server(platform, inspection)


def test_ending_a_checklist_is_told(platform: Platform, device: Handheld) -> None:
    """A version that is withdrawn is known as such after the next sync."""
    with platform.rt.db.write() as session:
        for checklist in session.execute(select(Checklist)).scalars():
            end_checklist(session, platform.rt, checklist, "withdrawn", author="test")
    device.pull()
    assert ("withdrawn-from-list", "") in refusal(device, "inspection", the_task(device), {"status": "submitted"})
