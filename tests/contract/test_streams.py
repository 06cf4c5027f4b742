"""Streams and snapshots on both databases: what they carry, how they break off, and that they fit together."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from sqlite_utils import Database
from werkzeug.datastructures import Accept

from server.devices.models import Device
from server.fieldsync import feed, snapshots
from server.fieldsync.compression import compressed, negotiated
from server.fieldsync.feed import open_place, stream
from server.records.feed import FeedScope, visible
from server.records.lines import Placement
from server.records.models import SyncedRecord
from server.records.service import OfficeChange, office_write_many
from server.runtime import Runtime
from server.web.principal import Principal
from tests.field_device import FieldDevice, World, make_world

RECORDS = 250


@pytest.fixture
def world(rt: Runtime) -> World:
    """A seeded platform with some hundred entities."""
    made = make_world(rt)
    add_entities(rt, RECORDS)
    return made


def add_entities(rt: Runtime, count: int) -> None:
    """Let the office write so many entities."""
    with rt.db.write() as session:
        place = Placement("420106", "")
        changes = [OfficeChange("entity", rt.new_id(), {"name": f"样例 {n}"}, "test", place) for n in range(count)]
        office_write_many(session, rt, changes)


@pytest.fixture
def caller(rt: Runtime, world: World) -> Principal:
    """A device of the first officer."""
    device = FieldDevice(rt, world.officers[0])
    return Principal(device.id, "device", "420106", "market", (world.officers[0],), device.id)


def read(pieces: Iterator[bytes]) -> list[dict[str, object]]:
    """The lines of a stream."""
    return [json.loads(line) for line in b"".join(pieces).splitlines()]


def held(rt: Runtime, caller: Principal) -> set[tuple[str, str]]:
    """What the device's scope has."""
    scope = FeedScope(caller.region, caller.department, caller.officers)
    with rt.db.read() as session:
        return {(row.kind, row.id) for row in session.query(SyncedRecord).filter(visible(scope))}


def begin(rt: Runtime, caller: Principal, cursor: str = "") -> Iterator[bytes]:
    """Open a stream."""
    with rt.db.read() as session:
        place = open_place(session, rt, caller, cursor)
    return stream(rt, caller, place)


def test_a_stream_can_go_on_from_each_of_its_cursors(rt: Runtime, caller: Principal) -> None:
    """Whatever cursor was the last to arrive, what follows it and what came before are the whole."""
    whole = read(begin(rt, caller))
    assert whole[0]["reconcile"] is False
    assert (whole[-1]["more"], len(whole) > 2 * feed.LINES_PER_MARK) == (False, True)
    marks = [number for number, line in enumerate(whole) if "cursor" in line and "kind" not in line]
    assert len(marks) > 2
    for number in marks:
        before = [(line["kind"], line["id"]) for line in whole[:number] if "kind" in line]
        rest = [
            (line["kind"], line["id"])
            for line in read(begin(rt, caller, str(whole[number]["cursor"])))
            if "kind" in line
        ]
        assert set(before) | set(rest) == held(rt, caller)
        assert len(before) + len(rest) == len(held(rt, caller))


def test_a_stream_has_an_end_that_says_so(rt: Runtime, caller: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past its largest number of lines it ends with `more`, and the next one goes on there."""
    monkeypatch.setattr(feed, "STREAM_LINES", 40)
    monkeypatch.setattr(feed, "MAX_STREAM_LINES", 100)
    found: list[object] = []
    cursor, streams, more = "", 0, True
    while more:
        lines = read(begin(rt, caller, cursor))
        found += [line["id"] for line in lines if "kind" in line]
        cursor, more, streams = str(lines[-1]["cursor"]), bool(lines[-1]["more"]), streams + 1
    assert streams == 3
    assert len(found) == len(set(found)) == len(held(rt, caller))


@pytest.mark.parametrize("change", ["revoked", "moved"])
def test_a_stream_breaks_off_when_the_device_loses_its_rights(
    rt: Runtime, caller: Principal, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Revocation, or another scope, counts for what has not been read yet; no last cursor is sent."""
    monkeypatch.setattr(feed, "STREAM_LINES", 100)
    pieces = begin(rt, caller)
    arrived = [next(pieces), next(pieces)]
    with rt.db.write() as session:
        device = session.get_one(Device, caller.subject)
        if change == "revoked":
            device.status = "revoked"
        else:
            device.region = "420107"
    arrived += list(pieces)
    lines = [json.loads(line) for line in b"".join(arrived).splitlines()]
    assert sum("kind" in line for line in lines) == 100
    assert "cursor" not in lines[-1]


def test_a_snapshot_and_the_feed_are_the_whole(
    rt: Runtime, caller: Principal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The file has the shared records; from its cursor the feed brings the assigned ones, and what changed since."""
    monkeypatch.setattr(snapshots, "MIN_RECORDS", RECORDS)
    made = snapshots.snapshot_for(rt, caller)
    assert made is not None
    assert snapshots.snapshot_for(rt, caller) == made
    unpacked = tmp_path / "snapshot.db"
    unpacked.write_bytes(gzip.decompress(made.path.read_bytes()))
    database = Database(unpacked)
    about = dict(database.execute("SELECT name, value FROM about").fetchall())
    rows = set(database.execute("SELECT kind, id FROM records").fetchall())
    database.close()
    add_entities(rt, 3)
    lines = read(begin(rt, caller, about["cursor"]))
    assert len(rows) == int(about["count"]) >= RECORDS
    came = [(line["kind"], line["id"]) for line in lines if "kind" in line]
    assert set(came) | rows == held(rt, caller)
    assert {kind for kind, _ in came} == {"entity", "task", "inspection"}
    assert len(came) == 5
    monkeypatch.setattr(snapshots, "MAX_BEHIND", 2)
    newer = snapshots.snapshot_for(rt, caller)
    assert newer is not None
    assert newer.position > made.position
    assert snapshots.snapshot_for(rt, caller, made.tag) == made


def test_kept_files_are_bounded(rt: Runtime, caller: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least recently used file goes when there are too many."""
    monkeypatch.setattr(snapshots, "MIN_RECORDS", 1)
    monkeypatch.setattr(snapshots, "MAX_FILES", 2)
    for region in ("420106", "4201", "42"):
        snapshots.snapshot_for(rt, Principal("x", "device", region, "market", ()))
    assert len(list((rt.settings.home / "snapshots").glob("*.gz"))) == 2


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", "identity"), ("gzip", "gzip"), ("gzip, zstd", "zstd"), ("br;q=1.0, gzip;q=0.5", "gzip"),
        ("zstd;q=0.1, gzip", "gzip"), ("zstd;q=0, gzip;q=0", "identity"), ("*", "zstd"),
    ],
)  # fmt: skip
def test_codings_are_negotiated(accepted: str, coding: str) -> None:
    """The reader's preference counts, then ours; what it rules out is not used."""
    parts = [part.strip().partition(";q=") for part in accepted.split(",") if part]
    assert negotiated(Accept([(name, float(quality or 1)) for name, _, quality in parts])) == coding


def decoder(coding: str) -> Callable[[bytes], bytes]:
    """Decode a stream piece by piece."""
    if coding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress
    return zlib.decompressobj(zlib.MAX_WBITS + 16).decompress if coding == "gzip" else bytes


@pytest.mark.parametrize("coding", ["identity", "gzip", "zstd"])
def test_each_piece_can_be_read_when_it_has_arrived(coding: str) -> None:
    """A compressed stream that is cut gives everything that was sent before."""
    pieces = [b"first line\n" * 50, b"second\n", b"third\n" * 1_000]
    decode = decoder(coding)
    arrived = list(compressed(iter(pieces), coding))
    read_so_far = b""
    for number, piece in enumerate(pieces):
        read_so_far += decode(arrived[number])
        assert read_so_far == b"".join(pieces[: number + 1]), piece
