"""Bytes meet their declaration: in any order, from the right device, equal or not; then flags."""

import errno
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from server.evidence import recording, settlement
from server.evidence.commits import CommitGroup
from server.evidence.examination import inspect_step
from server.evidence.facts import MediaFacts
from server.evidence.media import MediaExaminer
from server.evidence.models import Blob, Upload
from server.evidence.parts import Parts
from server.evidence.placing import Placed
from server.evidence.service import Manifest, declare, manifest, withdraw
from server.evidence.settlement import reconcile_step, settle_upload
from server.evidence.store import DirectoryStore
from server.evidence.stores import open_store
from server.runtime import Runtime
from tests.conftest import FakeClock
from tests.integration.evidence.reading import actions, row
from tests.integration.evidence.sending import (
    ACT,
    EVIDENCE,
    INSPECTION,
    PHOTO,
    SHA256,
    URL,
    Declare,
    MakeHeaders,
    Tus,
    fields_of,
    json_of,
    problem_of,
)

OTHER = EVIDENCE[:-1] + "2"


@pytest.fixture
def leaves(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, bytes]]:
    """What was handed to the proof log."""
    found: list[tuple[str, str, bytes]] = []
    monkeypatch.setattr(recording, "enqueue", lambda _session, _rt, *leaf: found.append(leaf))
    return found


def blob_files(rt: Runtime) -> list[Path]:
    """All files in the store of originals."""
    return [path for path in (rt.settings.evidence_dir / "blobs").rglob("*") if path.is_file()]


def manifest_of(rt: Runtime) -> Manifest:
    """The manifest of the inspection."""
    with rt.db.read() as session:
        return manifest(session, INSPECTION)


def test_declaration_first(rt: Runtime, tus: Tus, declared: Declare, leaves: list[tuple[str, str, bytes]]) -> None:
    """The record is there, the bytes come and match: attached at once, durable, one leaf."""
    declared()
    assert manifest_of(rt) == Manifest(1, 0, missing=[EVIDENCE])
    tus.send(PHOTO)
    evidence = row(rt)
    assert (evidence.status, evidence.captured_at) == ("verified", datetime(2026, 3, 1, 2, tzinfo=UTC))
    assert manifest_of(rt).complete
    with open_store(rt.settings).open(SHA256) as stream:
        assert stream.read() == PHOTO
    assert actions(rt) == ["capture", "upload", "verify"]
    ((kind, ref, leaf),) = leaves
    assert (kind, ref) == ("evidence", EVIDENCE)
    assert json.loads(leaf)["sha256"] == evidence.sha256
    assert json.loads(leaf)["custody"] == evidence.custody_head
    assert list((rt.settings.evidence_dir / "uploads").iterdir()) == []


def test_bytes_first(rt: Runtime, tus: Tus, declared: Declare) -> None:
    """The bytes wait for their record; the declaration touches no file, the worker attaches."""
    tus.send(PHOTO)
    assert reconcile_step(rt) == 0
    assert blob_files(rt) == []
    declared()
    assert row(rt).status == "waiting"
    assert manifest_of(rt).missing == [EVIDENCE]
    assert reconcile_step(rt) == 1
    assert (row(rt).status, reconcile_step(rt)) == ("verified", 0)


@pytest.mark.parametrize("order", ["declared-first", "bytes-first"])
@pytest.mark.parametrize("wrong", ["sha256", "sm3", "size_bytes"])
def test_other_bytes_are_quarantined(
    rt: Runtime, tus: Tus, declared: Declare, leaves: list[Any], order: str, wrong: str
) -> None:
    """Bytes that differ in either hash or in length are kept apart and never attached."""
    lie = {"sha256": "0" * 64, "sm3": "0" * 64, "size_bytes": 1}[wrong]
    if order == "declared-first":
        declared(**{wrong: lie})
        location = tus.send(PHOTO)
    else:
        location = tus.send(PHOTO)
        declared(**{wrong: lie})
        assert reconcile_step(rt) == 1
    assert row(rt).status == "rejected"
    assert (manifest_of(rt).rejected, manifest_of(rt).complete) == ([EVIDENCE], False)
    kept = Parts(rt.settings.evidence_dir).quarantine_path(location.rpartition("/")[2])
    assert kept.read_bytes() == PHOTO
    assert (blob_files(rt), leaves, actions(rt)) == ([], [], ["capture", "upload", "reject"])


def test_rejected_upload_takes_no_more_bytes(rt: Runtime, tus: Tus, declared: Declare) -> None:
    """What was rejected has ended; repeating its last request does not bring it back."""
    declared()
    location = tus.send(b"wrong")
    assert problem_of(tus.patch(location, 5, b""))[:2] == (409, "conflict")


def test_right_bytes_after_wrong_ones(rt: Runtime, tus: Tus, declared: Declare) -> None:
    """A rejected upload is not the end: the right bytes still verify, and both stay in the chain."""
    declared()
    tus.send(b"x" * len(PHOTO))
    assert row(rt).status == "rejected"
    tus.send(PHOTO)
    assert row(rt).status == "verified"
    assert actions(rt) == ["capture", "upload", "reject", "upload", "verify"]


def test_wrong_bytes_after_right_ones(rt: Runtime, tus: Tus, declared: Declare) -> None:
    """Verified evidence stays verified, whatever is sent later."""
    declared()
    tus.send(PHOTO)
    tus.send(b"something else")
    assert row(rt).status == "verified"
    assert blob_files(rt) == [DirectoryStore(rt.settings.evidence_dir / "blobs").path(SHA256)]


def test_bytes_of_another_device_do_not_count(
    rt: Runtime, client: FlaskClient, device_headers: MakeHeaders, declared: Declare
) -> None:
    """A foreign device can neither complete nor spoil a record."""
    declared()
    foreign = Tus(client, device_headers("d2"))
    foreign.send(PHOTO)
    foreign.send(b"spoiled")
    assert reconcile_step(rt) == 0
    assert (row(rt).status, actions(rt), blob_files(rt)) == ("declared", ["capture"], [])


def test_known_hash_gives_access_to_nothing(rt: Runtime, tus: Tus, declared: Declare) -> None:
    """Another device that declares a hash it learned somewhere has to send the bytes."""
    declared()
    tus.send(PHOTO)
    declared(record=OTHER, device="d2")
    assert row(rt, OTHER).status == "declared"


def test_same_device_does_not_send_twice(rt: Runtime, tus: Tus, declared: Declare, leaves: list[Any]) -> None:
    """Bytes this device has sent and that verified are attached to its next record without a transfer."""
    declared()
    tus.send(PHOTO)
    declared(record=OTHER)
    assert row(rt, OTHER).status == "verified"
    assert [leaf[1] for leaf in leaves] == [EVIDENCE, OTHER]
    assert len(blob_files(rt)) == 1


def test_records_declared_before_the_bytes_share_them(rt: Runtime, tus: Tus, declared: Declare) -> None:
    """One transfer serves all records of the device that wait for these bytes, and no other device's."""
    declared()
    declared(record=OTHER)
    declared(record=EVIDENCE[:-1] + "3", device="d2")
    tus.send(PHOTO)
    assert [row(rt, record).status for record in (EVIDENCE, OTHER, EVIDENCE[:-1] + "3")] == [
        "verified", "verified", "declared",
    ]  # fmt: skip


def test_second_device_shares_the_blob(
    rt: Runtime, tus: Tus, client: FlaskClient, device_headers: MakeHeaders, declared: Declare
) -> None:
    """The same bytes from two devices are one blob and two records."""
    declared()
    declared(record=OTHER, device="d2")
    tus.send(PHOTO)
    Tus(client, device_headers("d2")).send(PHOTO, OTHER)
    assert (row(rt).status, row(rt, OTHER).status, len(blob_files(rt))) == ("verified", "verified", 1)
    with rt.db.read() as session:
        assert len(session.scalars(select(Blob)).all()) == 1


def test_empty_file_verifies(rt: Runtime, tus: Tus, declared: Declare) -> None:
    """Zero bytes are bytes: they verify, and are flagged as no picture."""
    declared(b"")
    assert tus.create(0).status_code == 201
    assert row(rt).status == "verified"
    assert inspect_step(rt) == 1
    assert [flag["code"] for flag in row(rt).flags] == ["not-a-picture", "type-differs"]
    assert manifest_of(rt) == Manifest(1, 1, flagged=[EVIDENCE])


def test_second_act_changes_the_caption_only(rt: Runtime, declared: Declare) -> None:
    """What was fixed at capture stays; a different later value is flagged."""
    declared()
    with rt.db.write() as session:
        later = {"caption": "门口", "sha256": "0" * 64}
        declare(session, rt, EVIDENCE, later, device="d2", act_hash="bb" * 32)
    evidence = row(rt)
    assert (evidence.caption, evidence.sha256, evidence.act_hash) == ("门口", fields_of(PHOTO)["sha256"], ACT)
    assert evidence.flags == [{"code": "redeclared", "fields": ["sha256"], "act": "bb" * 32}]
    assert (evidence.region, evidence.department, actions(rt)) == ("420106", "330", ["capture"])


def test_declaration_in_two_acts(rt: Runtime, tus: Tus) -> None:
    """A record without a hash waits for the act that has one; that act and its device count."""
    tus.send(PHOTO)
    with rt.db.write() as session:
        declare(session, rt, EVIDENCE, {"caption": "x"}, device="d9", act_hash="bb" * 32, region="420106")
    assert (row(rt).status, reconcile_step(rt)) == ("declared", 0)
    with rt.db.write() as session:
        declare(session, rt, EVIDENCE, fields_of(PHOTO), device="d1", act_hash=ACT, region="420106")
    assert reconcile_step(rt) == 1
    evidence = row(rt)
    assert (evidence.status, evidence.act_hash, evidence.device) == ("verified", ACT, "d1")


def test_impossible_instant_is_left_out(rt: Runtime, declared: Declare) -> None:
    """An instant before the first one that fits a clock does not stop the act."""
    declared(captured_at="0001-01-01T00:00:00+14:00")
    assert row(rt).captured_at is None


def test_withdrawn_record_leaves_the_manifest(rt: Runtime, declared: Declare) -> None:
    """A deleted record blocks nothing any more, and stays with its chain."""
    declared()
    for _ in range(2):
        with rt.db.write() as session:
            withdraw(session, rt, EVIDENCE, device="d1", act_hash="dd" * 32)
    assert manifest_of(rt) == Manifest(0, 0, withdrawn=[EVIDENCE])
    assert actions(rt) == ["capture", "withdraw"]


# crashes and broken disks


class Crash(Exception):
    """The program ends here."""


@pytest.mark.parametrize("honest", [True, False], ids=["attach", "quarantine"])
def test_crash_between_file_and_rows(
    rt: Runtime, tus: Tus, declared: Declare, leaves: list[Any], monkeypatch: pytest.MonkeyPatch, honest: bool
) -> None:
    """When the file has moved and the rows have not, the next step finishes, once."""
    declared(**({} if honest else {"sha256": "0" * 64}))

    def crash(session: Session, rt: Runtime, placed: Sequence[Placed]) -> list[str]:
        if honest or placed[0].state == "quarantined":
            raise Crash
        return recording.record(session, rt, placed)

    with monkeypatch.context() as broken:
        broken.setattr(settlement, "RECORDING", CommitGroup(crash))
        with pytest.raises(Crash):
            _settle(rt, tus)
    assert row(rt).status == ("declared" if honest else "waiting")
    assert reconcile_step(rt) == 1
    assert row(rt).status == ("verified" if honest else "rejected")
    assert actions(rt) == ["capture", "upload", "verify" if honest else "reject"]
    assert len(leaves) == honest


def _settle(rt: Runtime, tus: Tus) -> None:
    """Upload without the request's own settling, then settle."""
    with pytest.MonkeyPatch.context() as quiet:
        quiet.setattr("server.evidence.tus_api.settle_upload", lambda *_args: "received")
        location = tus.send_apart(PHOTO)
    settle_upload(rt, location.rpartition("/")[2])


def test_broken_store_keeps_bytes_waiting(
    rt: Runtime, tus: Tus, declared: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that refuses leaves everything as it was; the worker attaches when it works again."""
    declared()

    def refuse(*_args: object) -> bool:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as broken:
        broken.setattr(DirectoryStore, "put", refuse)
        tus.send(PHOTO)
        assert (row(rt).status, reconcile_step(rt)) == ("declared", 0)
        receipt = tus.client.get(f"{URL}/{EVIDENCE}/receipt", headers=tus.headers)
        assert json_of(receipt)["status"] == "waiting"
    assert reconcile_step(rt) == 1
    assert row(rt).status == "verified"


@pytest.mark.parametrize("damage", ["gone", "shorter"])
def test_lost_file_is_asked_for_again(
    rt: Runtime, tus: Tus, declared: Declare, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """Bytes a disk lost are not evidence: the upload ends, and the device can send them again."""
    declared()
    with monkeypatch.context() as quiet:
        quiet.setattr("server.evidence.tus_api.settle_upload", lambda *_args: "received")
        location = tus.send_apart(PHOTO)
    part = rt.settings.evidence_dir / "uploads" / f"{location.rpartition('/')[2]}.part"
    if damage == "gone":
        part.unlink()
    else:
        part.write_bytes(b"short")
    reconcile_step(rt)
    assert row(rt).status == "declared"
    assert tus.client.head(location, headers=tus.headers).status_code == 404
    assert tus.send(PHOTO) != location
    assert row(rt).status == "verified"


def test_waiting_bytes_that_vanish_are_asked_for_again(rt: Runtime, tus: Tus, declared: Declare) -> None:
    """Bytes that were hashed and then lost do not stop the worker for ever."""
    location = tus.send(PHOTO)
    (rt.settings.evidence_dir / "uploads" / f"{location.rpartition('/')[2]}.part").unlink()
    declared()
    reconcile_step(rt)
    assert (row(rt).status, reconcile_step(rt)) == ("declared", 0)


def test_settling_ended_uploads_does_nothing(rt: Runtime, tus: Tus, declared: Declare) -> None:
    """Settling is safe to repeat and safe for uploads that are gone."""
    declared()
    location = tus.send(PHOTO)
    assert settle_upload(rt, location.rpartition("/")[2]) == "stored"
    assert settle_upload(rt, "0190a0b0-0000-7000-8000-00000000ffff") == "lost"
    assert actions(rt) == ["capture", "upload", "verify"]


def test_cleanup_spares_what_is_declared(rt: Runtime, tus: Tus, declared: Declare, clock: FakeClock) -> None:
    """However old, bytes of a declared record stay; undeclared ones go."""
    declared()
    kept = tus.create(len(PHOTO), body=PHOTO[:10]).headers["Location"]
    tus.send(b"nobody declares this", OTHER)
    clock.advance(400 * 86_400)
    assert settlement.sweep_step(rt) == 1
    with rt.db.read() as session:
        assert list(session.scalars(select(Upload.id))) == [kept.rpartition("/")[2]]


# examination


def flags_after(rt: Runtime, tus: Tus, data: bytes) -> list[str]:
    """Send declared bytes, examine them, and return the codes of the flags."""
    tus.send(data)
    assert inspect_step(rt) == 1
    assert inspect_step(rt) == 0
    assert row(rt).status == "verified"
    assert manifest_of(rt).complete
    return [flag["code"] for flag in row(rt).flags]


def test_agreeing_photo_has_no_flags(rt: Runtime, tus: Tus, declared: Declare) -> None:
    """A photo taken when and where the record says."""
    declared()
    assert flags_after(rt, tus, PHOTO) == []


def test_discrepancies_are_flagged(rt: Runtime, tus: Tus, declared: Declare) -> None:
    """Another time and place show with their figures, and block nothing."""
    declared(captured_at="2026-03-01T12:00:00+08:00", position={"lat": 30.0, "lon": 114.3055, "datum": "WGS-84"})
    assert flags_after(rt, tus, PHOTO) == ["time-differs", "position-differs"]
    assert row(rt).flags[0]["minutes"] == 120
    assert row(rt).flags[1]["metres"] == pytest.approx(65_916, abs=100)


@pytest.mark.parametrize(
    ("data", "codes"),
    [
        (PHOTO[:400], ["undecodable"]),
        (b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF\n", ["not-a-picture", "type-differs"]),
    ],
    ids=["truncated", "pdf"],
)
def test_damaged_originals_are_kept_and_flagged(
    rt: Runtime, tus: Tus, declared: Declare, data: bytes, codes: list[str]
) -> None:
    """What was captured is evidence even if it is damaged or no picture."""
    declared(data)
    assert flags_after(rt, tus, data) == codes


def test_one_content_is_decoded_once(rt: Runtime, tus: Tus, declared: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that share bytes share the examination, each compared with its own claims."""
    declared()
    declared(record=OTHER, captured_at="2026-03-02T10:00:00+08:00")
    tus.send(PHOTO)
    seen: list[Path] = []
    real = MediaExaminer.examine

    def spy(self: MediaExaminer, path: Path) -> MediaFacts:
        seen.append(path)
        return real(self, path)

    monkeypatch.setattr(MediaExaminer, "examine", spy)
    assert inspect_step(rt) == 2
    assert len(seen) == 1
    assert (row(rt).flags, [flag["code"] for flag in row(rt, OTHER).flags]) == ([], ["time-differs"])
    declared(record=EVIDENCE[:-1] + "3")
    assert inspect_step(rt) == 1
    assert len(seen) == 1


def test_unreadable_blob_is_examined_later(
    rt: Runtime, tus: Tus, declared: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that does not answer is no finding."""
    declared()
    tus.send(PHOTO)
    with monkeypatch.context() as broken:
        broken.setattr(DirectoryStore, "path", lambda _self, _name: Path("/nonexistent"))
        assert inspect_step(rt) == 0
    assert inspect_step(rt) == 1
