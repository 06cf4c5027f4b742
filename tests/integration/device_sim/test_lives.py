"""Handhelds over the lives of a server: erasure reaches their journals, and a restored backup loses nothing."""

import shutil
from pathlib import Path

import pytest

from device_sim.handheld.client import Handheld
from device_sim.handheld.link import Refused
from server.devices.keys import encode_key
from server.devices.models import Device
from server.errors import Problem
from server.fieldsync.erasure import decide_order, erase, order_erasure
from server.records.models import Act, SyncedRecord
from server.restoring import back_up, begin_new_life, put_back
from server.runtime import Runtime
from server.verifying import verify_everything
from server.web.principal import Principal
from tests.integration.device_sim.conftest import MakeHandheld, Platform
from tests.integration.device_sim.test_handheld_devices import post
from tests.integration.device_sim.test_handheld_sync import ALONE, PAIRED, blockers, closed, dispatched, visits

STATEMENT = "样例当事人陈述".encode()


def faults(rt: Runtime) -> list[str]:
    """Everything that verification finds."""
    return [finding for check in verify_everything(rt) for finding in check.findings]


def erase_all(rt: Runtime) -> list[str]:
    """Order and execute the erasure of every inspection; returns their ids."""
    one, other = Principal("asking", "operator", "42", ""), Principal("approving", "operator", "42", "")
    with rt.db.write() as session:
        ids = [row.id for row in session.query(SyncedRecord).filter(SyncedRecord.kind == "inspection")]
        order = order_erasure(session, rt, one, [("inspection", found) for found in ids], "样例法条", "样例理由")
        decide_order(session, rt, other, order.id, approve=True)
    assert erase(rt) == 1
    return ids


def own_bytes(device: Handheld) -> bytes:
    """All bytes of a handheld's files but its evidence."""
    return b"".join(path.read_bytes() for path in device.store.folder.glob("handheld.db*"))


def test_erasure_reaches_the_handhelds_own_journals(platform: Platform, handheld: MakeHandheld) -> None:
    """What was erased is gone from the files of the handheld that wrote it; its chain holds, and it goes on working."""
    device = handheld()
    work = dispatched(platform, 2)
    device.pull()
    jobs = visits(device, work, ALONE)
    jobs[0].carry_out()
    device.sync()
    jobs[1].carry_out()
    assert STATEMENT in own_bytes(device)
    erase_all(platform.rt)
    device.sync()
    assert device.counts["erased_acts"] >= 2
    assert STATEMENT not in own_bytes(device)
    assert device.verify() == []
    device.sync()
    assert device.store.pending_count() == 0
    assert set(device.store.act_counts()) <= {"applied", "merged"}
    assert closed(platform) == 2, blockers(platform)
    assert faults(platform.rt) == []


def test_a_restored_server_gets_everything_back(platform: Platform, handheld: MakeHandheld, tmp_path: Path) -> None:
    """After a backup is put back, handhelds push again what it lacks; erasures stay erased and nothing is lost."""
    rt = platform.rt
    first, second = handheld(0), handheld(1)
    work = dispatched(platform, 3)
    for device in (first, second):
        device.pull()
    visits(first, work, ALONE)[0].carry_out()
    first.sync()
    backup = tmp_path / "backup.db"
    assert back_up(rt, backup)["position"]
    with pytest.raises(Problem, match="exists"):
        back_up(rt, backup)
    for device in (first, second):
        for visit in visits(device, work, PAIRED)[1:]:
            visit.carry_out()
    erase_all(rt)
    first.sync()
    second.sync()
    first.sync()
    with rt.db.read() as session:
        before = {(act.journal, act.seq): act.hash for act in session.query(Act) if act.device}
    put_back(rt, backup)
    life = begin_new_life(rt)
    assert life.erasures_replayed == 1
    with rt.db.read() as session:
        assert session.query(Act).filter(Act.device.is_not(None)).count() < len(before)
    for _ in range(2):
        first.sync()
        second.sync()
    assert first.counts["epochs_changed"] == second.counts["epochs_changed"] == 1
    with rt.db.read() as session:
        acts = [act for act in session.query(Act) if act.device]
        after = {(act.journal, act.seq): act.hash for act in acts}
        assert not any(act.personal for act in acts if act.kind == "inspection")
    assert after == before
    assert closed(platform) == 3, blockers(platform)
    assert faults(rt) == []


def test_a_restored_server_that_lost_the_parent_of_a_journal_gets_both(
    platform: Platform, handheld: MakeHandheld, tmp_path: Path
) -> None:
    """A restored handheld goes on in a new journal; a server that forgot the first one gets it again, too."""
    rt = platform.rt
    device = handheld()
    work = dispatched(platform, 3)
    device.pull()
    back_up(rt, tmp_path / "backup.db")
    jobs = visits(device, work, ALONE)
    jobs[0].carry_out()
    device.sync()
    copy = tmp_path / "copy"
    shutil.copytree(device.store.folder, copy)
    jobs[1].carry_out()
    device.sync()
    device.close()
    restored = handheld(name=copy.name)
    jobs = visits(restored, work, ALONE)
    jobs[2].carry_out()
    restored.sync()
    journal = restored.store.journals()[-1]
    assert restored.store.parent_of(journal) is not None
    put_back(rt, tmp_path / "backup.db")
    begin_new_life(rt)
    jobs[1].carry_out()
    for _ in range(2):
        restored.sync()
    with rt.db.read() as session:
        kept = {(act.journal, act.seq): act.hash for act in session.query(Act) if act.device}
    rows = restored.store.db.execute("SELECT journal, seq, hash FROM acts WHERE abandoned = 0").fetchall()
    own = {(row[0], row[1]): row[2] for row in rows}
    assert {dot: kept.get(dot) for dot in own} == own
    assert restored.store.pending_count() == 0
    assert faults(rt) == []


@pytest.mark.parametrize("signed_in", [True, False])
def test_changes_of_key_that_a_restored_server_has_forgotten_are_made_again(
    platform: Platform, handheld: MakeHandheld, tmp_path: Path, *, signed_in: bool
) -> None:
    """Two changes after the backup: the handheld signs in by the key of then, repeats both, and everything arrives."""
    rt, device = platform.rt, handheld()
    work = dispatched(platform, 1)
    device.sync()
    backup = tmp_path / "backup.db"
    back_up(rt, backup)
    device.change_key()
    visits(device, work, ALONE)[0].carry_out()
    device.sync()
    device.change_key()
    key = device.public_key
    with rt.db.read() as session:
        before = {(act.journal, act.seq): act.hash for act in session.query(Act) if act.device}
    put_back(rt, backup)
    begin_new_life(rt)
    if not signed_in:
        device.link._token = ""
    for _ in range(2):
        device.sync()
    with rt.db.read() as session:
        assert {(act.journal, act.seq): act.hash for act in session.query(Act) if act.device} == before
        row = session.get_one(Device, device.device)
        assert (row.key_number, encode_key(row.public_key)) == (3, key)
    assert device.counts["keys_repeated"] == 1
    assert faults(rt) == []


def test_a_forgotten_change_of_key_does_not_keep_a_handheld_from_handing_in(
    platform: Platform, handheld: MakeHandheld, tmp_path: Path
) -> None:
    """Revoked after the restore, it may not change its key any more: it hands in under the one the server knows."""
    rt, device = platform.rt, handheld()
    work = dispatched(platform, 1)
    device.sync()
    back_up(rt, tmp_path / "backup.db")
    former = device.public_key
    device.change_key()
    visits(device, work, ALONE)[0].carry_out()
    put_back(rt, tmp_path / "backup.db")
    begin_new_life(rt)
    post(platform, f"/devices/{device.device}/revoke")
    for _ in range(2):
        device.sync()
    assert device.public_key == former
    assert (device.store.pending_count(), set(device.store.act_counts())) == (0, {"quarantined"})
    assert faults(rt) == []


def test_a_key_that_the_server_never_knew_is_refused(platform: Platform, handheld: MakeHandheld) -> None:
    """A change that was made is tried, and no former key is accepted for another device's."""
    device = handheld()
    device.change_key()
    with platform.rt.db.write() as session:
        session.get_one(Device, device.device).public_key = bytes(32)
    device.link._token = ""
    with pytest.raises(Refused, match="unauthenticated"):
        device.sync()
    assert device.counts["keys_repeated"] == 0


def test_restore_refuses_what_is_no_backup(platform: Platform, tmp_path: Path) -> None:
    """A file that is not a database of the platform is refused, and the present one stays."""
    other = tmp_path / "other.db"
    other.write_bytes(b"nothing")
    with pytest.raises(Problem, match="no backup"):
        put_back(platform.rt, other)
    assert faults(platform.rt) == []


def test_a_short_proof_log_is_closed(platform: Platform, handheld: MakeHandheld, tmp_path: Path) -> None:
    """A head that covers more than the restored log closes it; the successor begins with that head and verifies."""
    rt = platform.rt
    device = handheld()
    work = dispatched(platform, 2)
    device.pull()
    jobs = visits(device, work, ALONE)
    jobs[0].carry_out()
    device.sync()
    closed(platform)
    backup = tmp_path / "backup.db"
    back_up(rt, backup)
    jobs[1].carry_out()
    device.sync()
    closed(platform)
    key = (rt.settings.keys_dir / "proof-log.pub").read_text()
    note = (rt.settings.home / "proof-log.head").read_bytes()
    with pytest.raises(Problem):
        begin_new_life(rt, "no head at all")
    put_back(rt, backup)
    life = begin_new_life(rt)
    assert life.log_closed
    assert (rt.settings.keys_dir / "proof-log.pub").read_text() != key
    device.sync()
    device.sync()  # evidence that the restored server has forgotten is sent again
    assert closed(platform) == 2, blockers(platform)
    answer = platform.client().get("/api/v1/proof-log/leaves/0", headers=platform.operator).json()
    assert (answer["kind"], answer["leaf"].encode()) == ("closed-log", note)
    assert faults(rt) == []
    shutil.copyfile(rt.settings.home / "proof-log.head", tmp_path / "head")
    assert not begin_new_life(rt, (tmp_path / "head").read_text()).log_closed
