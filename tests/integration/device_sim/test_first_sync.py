"""First syncs from a snapshot, and copies that went wrong: real handhelds against the application in this process."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from device_sim.handheld.client import Handheld
from device_sim.handheld.first_sync import FirstSync
from server.config import load_settings
from server.db.engine import Database
from server.fieldsync import snapshots
from server.records.lines import Placement
from server.records.models import SyncedRecord
from server.records.placing import Move, move_records
from server.records.service import OfficeChange, office_write_many, start_epoch
from server.runtime import Runtime
from server.tables import METADATA
from server.verifying import check_records, repair_records
from tests.conftest import FakeClock
from tests.integration.device_sim.conftest import MakeHandheld, Platform

ENTITIES = 1_200
PIECE_BYTES = 10_000


class Metered(httpx.BaseTransport):
    """Counts bytes of bodies by path, and cuts answers of one path after so many bytes for so many times."""

    def __init__(self, platform: Platform, cut_path: str = "", cut_bytes: int = 0, cuts: int = 0) -> None:
        """Stand in front of the platform."""
        self.inner = httpx.WSGITransport(platform.app)
        self.cut_path, self.cut_bytes, self.cuts = cut_path, cut_bytes, cuts
        self.bytes: Counter[str] = Counter()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Pass on one request, and what is let through of its answer."""
        self.bytes[request.url.path] += len(request.read())
        answer = self.inner.handle_request(request)
        content = b"".join(answer.iter_raw())
        cut = bool(self.cut_path) and request.url.path.endswith(self.cut_path) and self.cuts > 0
        self.cuts -= cut
        arrived = content[: self.cut_bytes] if cut else content
        self.bytes[request.url.path] += len(arrived)
        return httpx.Response(answer.status_code, headers=answer.headers, stream=_Pieces(arrived, cut=cut))


class _Pieces(httpx.SyncByteStream):
    def __init__(self, content: bytes, *, cut: bool) -> None:
        self.content, self.cut = content, cut

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self.content), PIECE_BYTES):
            yield self.content[start : start + PIECE_BYTES]
        if self.cut:
            raise httpx.ReadError("cut")


def metered(platform: Platform, **cut: object) -> tuple[httpx.Client, Metered]:
    """A client with a meter."""
    meter = Metered(platform, **cut)  # type: ignore[arg-type]  # passed on as they are
    return httpx.Client(transport=meter, base_url="http://platform.example"), meter


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with enough entities for a snapshot, in the place of the empty one: made once for all these tests."""
    home = tmp_path_factory.mktemp("crowded")
    rt = Runtime(
        load_settings({"FIELDPROOF_HOME": str(home)}),
        Database(f"sqlite:///{home / 'fieldproof.db'}"),
        FakeClock(),
        random.Random(8).randbytes,
    )
    METADATA.create_all(rt.db.engine)
    with rt.db.write() as session:
        start_epoch(session, rt)
        changes = [
            OfficeChange("entity", rt.new_id(), {"name": f"样例单位 {n}"}, "test", Placement("420106", ""))
            for n in range(ENTITIES)
        ]
        office_write_many(session, rt, changes)
    with rt.db.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    rt.db.dispose()
    return home / "fieldproof.db"


def findings(rt: Runtime) -> list[str]:
    """What is wrong with the merged records."""
    with rt.db.read() as session:
        return check_records(session).findings


def check_whole(platform: Platform, device: Handheld) -> None:
    """The handheld has exactly what is shared, and what is assigned to its officer."""
    device.pull()
    with platform.rt.db.read() as session:
        rows = session.query(SyncedRecord.kind, SyncedRecord.id, SyncedRecord.line).filter(~SyncedRecord.assigned)
        expected = {(kind, record): line for kind, record, line in rows}
    stored = device.store.db.execute("SELECT kind, id, line FROM records WHERE kind NOT IN ('task', 'inspection')")
    assert {(kind, record): line for kind, record, line in stored.fetchall()} == expected
    assert device.store.records.scrub() == []


def test_a_new_handheld_loads_the_snapshot_and_then_the_feed(platform: Platform, handheld: MakeHandheld) -> None:
    """The shared records come as a file, tasks by the feed; nothing comes twice."""
    platform.dispatch(list(platform.world.choose(3, "1")))
    client, meter = metered(platform)
    device = handheld(client=client)
    assert device.pull() > ENTITIES
    assert (device.counts["snapshots"], device.counts["streams"]) == (1, 1)
    assert len(device.store.ids("task")) == len(device.store.ids("inspection")) == 3
    assert meter.bytes["/api/v1/sync/pull"] < 10_000
    assert not list(device.store.folder.glob("snapshot*"))
    check_whole(platform, device)


def test_a_cut_snapshot_continues_where_it_was_cut(platform: Platform, handheld: MakeHandheld) -> None:
    """Each cut costs what was on its way, also when the server would make a newer file by now."""
    client, meter = metered(platform, cut_path="/snapshot", cut_bytes=15_000, cuts=3)
    device = handheld(client=client)
    device.pull()
    (kept,) = (platform.rt.settings.home / "snapshots").glob("*.gz")
    size_bytes = kept.stat().st_size
    assert size_bytes > 4 * 15_000
    assert meter.bytes["/api/v1/sync/snapshot"] == size_bytes
    assert (device.counts["snapshots"], device.counts["snapshot_resumes"]) == (1, 3)
    check_whole(platform, device)


def test_a_handheld_that_died_while_loading_goes_on(
    platform: Platform, handheld: MakeHandheld, clock: FakeClock
) -> None:
    """What was received is on the disk; the file that was begun is served as long as it is kept."""
    client, meter = metered(platform, cut_path="/snapshot", cut_bytes=2_000, cuts=1_000)
    device = handheld(name="dying", client=client)
    with pytest.raises(Exception, match="no answer"):
        device.pull()
    (begun,) = (platform.rt.settings.home / "snapshots").glob("*.gz")
    size_bytes, received = begun.stat().st_size, device.store.folder.joinpath("snapshot.db.gz").stat().st_size
    device.close()
    clock.advance(snapshots.MAX_AGE_S + 1)
    meter.cuts = 0
    again = handheld(name="dying", client=client)
    again.pull()
    assert again.counts["snapshot_bytes"] == size_bytes - received
    assert meter.bytes["/api/v1/sync/snapshot"] == size_bytes
    check_whole(platform, again)


def test_a_handheld_that_died_before_loading_needs_nothing_more(platform: Platform, handheld: MakeHandheld) -> None:
    """The whole file is there: the server says so, and it is loaded; a damaged one is fetched again."""
    client, meter = metered(platform)
    device = handheld(client=client)
    first = FirstSync(device.store, device.link)
    assert first._fetch()
    first.unpacked.unlink()
    size_bytes = first.packed.stat().st_size
    device.pull()
    assert meter.bytes["/api/v1/sync/snapshot"] < size_bytes + 1_000
    check_whole(platform, device)
    damaged = handheld(name="damaged", officer=1, client=client)
    first = FirstSync(damaged.store, damaged.link)
    assert first._fetch()
    content = first.packed.read_bytes()
    first.packed.write_bytes(content[:2_000] + bytes(100) + content[2_100:])
    damaged.pull()
    assert damaged.counts["snapshots"] == 1
    check_whole(platform, damaged)


def test_a_snapshot_is_made_once_and_again_when_it_is_old(
    platform: Platform, handheld: MakeHandheld, clock: FakeClock
) -> None:
    """All officers of a region and department share one file; a day later there is a new one."""
    folder = platform.rt.settings.home / "snapshots"
    for officer in range(2):
        handheld(officer).pull()
    first = list(folder.glob("*.gz"))
    assert len(first) == 1
    late = handheld(2)
    clock.advance(snapshots.MAX_AGE_S + 1)
    late.pull()
    assert len(list(folder.glob("*.gz"))) == 2
    assert not list(folder.glob("*.part")) + list(folder.glob("*.packing"))


def test_few_records_come_by_the_feed_alone(
    platform: Platform, handheld: MakeHandheld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer shared records than it takes there is no file."""
    monkeypatch.setattr(snapshots, "MIN_RECORDS", 10 * ENTITIES)
    device = handheld()
    device.pull()
    assert (device.counts["snapshots"], device.counts["streams"]) == (0, 1)
    check_whole(platform, device)


def test_a_flipped_field_on_the_handheld_is_found_and_repaired(platform: Platform, handheld: MakeHandheld) -> None:
    """One stored field is changed behind the handheld's back: located by ranges, and only its line travels."""
    client, meter = metered(platform)
    device = handheld(client=client)
    device.pull()
    entity = device.store.ids("entity")[1_000]
    kept = device.store.records.get("entity", entity)
    assert kept is not None
    spoiled = kept.line.replace("样例".encode(), "假样".encode())
    assert spoiled != kept.line
    with device.saving():
        device.store.db.execute("UPDATE records SET line = ? WHERE kind = 'entity' AND id = ?", (spoiled, entity))
    total_bytes = device.store.db.execute("SELECT sum(length(line)) FROM records").fetchone()[0]
    meter.bytes.clear()
    for _ in range(16):  # each sync reads a sixteenth of the lines again
        device.pull()
    assert device.counts["reconciled"] == 1
    assert device.store.records.get("entity", entity) == kept
    moved = {path: count for path, count in meter.bytes.items() if path.endswith(("/digest", "/lines"))}
    first = meter.bytes["/api/v1/sync/lines"]
    assert first < 2 * len(kept.line) + 500
    assert sum(moved.values()) < total_bytes / 20
    check_whole(platform, device)


def test_missing_and_surplus_records_are_put_right(platform: Platform, handheld: MakeHandheld) -> None:
    """Rows that vanished come back, rows that the server does not have go."""
    device = handheld()
    device.pull()
    gone = device.store.ids("entity")[10:13]
    with device.saving():
        for entity in gone:
            device.store.db.execute("DELETE FROM records WHERE id = ?", (entity,))
        device.store.db.execute(
            "INSERT INTO records (kind, id, position, line, leaf) VALUES ('entity', 'x', 1, x'7b7d', '000')"
        )
        device.store.records.scrub()
    device.pull()
    assert device.counts["reconciled"] == 4
    check_whole(platform, device)


@pytest.mark.parametrize("digests_first", [True, False])
def test_a_flipped_field_on_the_server_is_repaired_from_its_acts(
    platform: Platform, handheld: MakeHandheld, *, digests_first: bool
) -> None:
    """A damaged line is found by a handheld that has the right one, and rebuilt from the acts alone."""
    rt, device = platform.rt, handheld()
    if digests_first:
        device.pull()
    entity = next(iter(platform.entity_ids.values()))
    with rt.db.write() as session:
        row = session.get_one(SyncedRecord, ("entity", entity))
        right = row.line
        spoiled = right.replace(b'"name"', b'"nome"')
        session.execute(update(SyncedRecord).where(SyncedRecord.id == entity).values(line=spoiled))
    assert len(findings(rt)) == 1
    if digests_first:
        for path in (rt.settings.home / "digests").glob("*"):
            path.unlink()
        device.pull()
    else:
        assert repair_records(rt) == 1
        device.pull()
    with rt.db.read() as session:
        line = session.get_one(SyncedRecord, ("entity", entity)).line
    before, after = json.loads(right), json.loads(line)
    assert after["position"] > before["position"]
    assert after == before | {"position": after["position"]}
    assert findings(rt) == []
    assert repair_records(rt) == 0
    check_whole(platform, device)


def test_a_handheld_that_stayed_away_too_long_gets_a_delta(platform: Platform, handheld: MakeHandheld) -> None:
    """Its cursor expired: it gets what changed, and finds out by digests what left, in a small part of the bytes."""
    rt = platform.rt
    client, meter = metered(platform)
    device = handheld(client=client)
    device.pull()
    entities = device.store.ids("entity")
    with rt.db.write() as session:
        move_records(session, rt, [Move("entity", one, Placement("440106", "")) for one in entities[:3]])
        office_write_many(session, rt, [OfficeChange("entity", entities[5], {"name": "改名"}, "test")])
    with rt.db.write() as session:  # what compaction does after ninety days
        session.connection().exec_driver_sql("DELETE FROM record_leave")
        session.connection().exec_driver_sql("UPDATE server_state SET leaves_expired_to = position")
    meter.bytes.clear()
    device.pull()
    assert set(entities) - set(device.store.ids("entity")) == set(entities[:3])
    assert device.open("entity", entities[5]).value("name") == "改名"
    whole_bytes = device.store.db.execute("SELECT sum(length(line)) FROM records").fetchone()[0]
    assert sum(meter.bytes.values()) < whole_bytes / 10
    assert device.counts["pull_restarts"] == 0


def test_a_restored_server_costs_a_delta(platform: Platform, handheld: MakeHandheld, tmp_path: Path) -> None:
    """A new epoch makes cursors stale; digests show what the handheld has beyond the backup."""
    rt = platform.rt
    client, meter = metered(platform)
    device = handheld(client=client)
    device.pull()
    with rt.db.write() as session:
        session.connection().exec_driver_sql("UPDATE server_state SET epoch = ?", (rt.new_id(),))
        office_write_many(session, rt, [OfficeChange("entity", device.store.ids("entity")[0], {"name": "x"}, "test")])
    meter.bytes.clear()
    device.pull()
    assert (device.counts["pull_restarts"], device.counts["reconciled"]) == (1, 1)
    assert sum(meter.bytes.values()) < 50_000
    check_whole(platform, device)
