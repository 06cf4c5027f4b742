"""Scopes on both databases: what leaves, what enters, and that digests always stand for what was served."""

import json
from dataclasses import dataclass, field

import pytest

from server.errors import Problem
from server.fieldsync import digests
from server.fieldsync.digests import digest_tree
from server.fieldsync.feed import FEED, Place, cursor_key, open_place, pull
from server.records.compaction import LEAVES_KEPT_DAYS, expire_leaves
from server.records.feed import FeedScope
from server.records.held import Key
from server.records.lines import Placement
from server.records.placing import Move, move_records
from server.records.service import OfficeChange, office_write_many
from server.runtime import Runtime
from server.web.principal import Principal
from sync.cursors import Cursor, encode_cursor
from sync.digest import digest_of, record_pair, total
from tests.conftest import FakeClock

HERE, THERE = "420106", "420107"


@dataclass
class Reader:
    """A device's copy of its scope, and where it stands; `caller` may change at any time."""

    rt: Runtime
    caller: Principal
    cursor: str = ""
    lines: dict[Key, bytes] = field(default_factory=dict)
    left: list[Key] = field(default_factory=list)

    def pull(self, limit: int = 3) -> None:
        """Pull everything new, in small pages."""
        while True:
            with self.rt.db.read() as session:
                head, *page = pull(session, self.rt, self.caller, self.cursor, limit)
            for line in page:
                members = json.loads(line)
                key = (members["kind"], members["id"])
                if "left" in members:
                    self.lines.pop(key, None)
                    self.left.append(key)
                else:
                    self.lines[key] = line
            self.cursor = json.loads(head)["cursor"]
            if not json.loads(head)["more"]:
                return

    def agrees(self) -> bool:
        """Whether the server's digest of the scope is the digest of what was served."""
        with digest_tree(self.rt, FeedScope(self.caller.region, self.caller.department, self.caller.officers)) as tree:
            return total(tree.leaves) == digest_of(record_pair(*key, line) for key, line in self.lines.items())


def reader(rt: Runtime, region: str, *officers: str) -> Reader:
    """A device of some officers in a region."""
    return Reader(rt, Principal("device", "device", region, "market", officers))


def write(rt: Runtime, region: str, *officers: str, kind: str = "entity", record: str = "") -> Key:
    """Write a record of the office."""
    key = (kind, record or rt.new_id())
    name = "name" if kind == "entity" else "title"
    with rt.db.write() as session:
        place = Placement(region, "market" if officers else "", tuple(sorted(officers)))
        office_write_many(session, rt, [OfficeChange(*key, {name: f"样例 {region}"}, "test", place)])
    return key


def move(rt: Runtime, key: Key, region: str, *officers: str) -> None:
    """Place a record anew."""
    with rt.db.write() as session:
        move_records(session, rt, [Move(*key, Placement(region, "market" if officers else "", officers))])


def test_reassigned_records_leave_and_enter(rt: Runtime) -> None:
    """The former officer gets the id, the new one the record, the one who stays the record; digests follow."""
    first, second, third = (reader(rt, HERE, name) for name in ("o1", "o2", "o3"))
    keys = [write(rt, HERE, "o1", "o2", kind="task") for _ in range(5)]
    everyone = (first, second, third)
    for one in everyone:
        one.pull()
        assert one.agrees()
    move(rt, keys[0], HERE, "o2", "o3")
    for one in everyone:
        one.pull()
        assert one.agrees()
    assert (set(first.lines), first.left) == (set(keys[1:]), [keys[0]])
    assert set(second.lines) == set(keys)
    assert second.left == []
    assert set(third.lines) == {keys[0]}


def test_a_record_that_came_back_has_not_left(rt: Runtime) -> None:
    """Moves there and back while a reader was away leave it with the record, and with no note of a leave."""
    one = reader(rt, HERE, "o1")
    key = write(rt, HERE, "o1", kind="task")
    one.pull()
    move(rt, key, HERE, "o2")
    move(rt, key, HERE, "o1")
    one.pull()
    assert (set(one.lines), one.left) == ({key}, [])
    assert one.agrees()


def test_shared_records_move_between_regions(rt: Runtime) -> None:
    """An entity that moves away leaves every reader of its old region, and only those."""
    here, there, province = reader(rt, HERE, "o1"), reader(rt, THERE, "o2"), reader(rt, "42", "o3")
    key = write(rt, HERE)
    other = write(rt, THERE)
    for one in (here, there, province):
        one.pull()
    move(rt, key, THERE)
    for one in (here, there, province):
        one.pull()
        assert one.agrees()
    assert (set(here.lines), here.left) == (set(), [key])
    assert (set(there.lines), there.left) == ({key, other}, [])
    assert (set(province.lines), province.left) == ({key, other}, [])


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_a_device_that_changes_its_scope_gets_the_difference(rt: Runtime, limit: int) -> None:
    """Entering rows and leaving ids, nothing that it has already; also while records go on moving."""
    one = reader(rt, HERE, "o1")
    mine = [write(rt, HERE, "o1", kind="task") for _ in range(3)]
    others = [write(rt, HERE, "o2", kind="task") for _ in range(3)]
    shared = write(rt, HERE)
    elsewhere = [write(rt, THERE), write(rt, THERE, "o2", kind="task")]
    one.pull(limit)
    assert set(one.lines) == {*mine, shared}
    one.caller = Principal("device", "device", HERE, "market", ("o2",))
    before = dict(one.lines)
    one.pull(limit)
    assert (set(one.lines), sorted(one.left)) == ({*others, shared}, sorted(mine))
    assert one.lines[shared] is before[shared]  # what both scopes see is not sent again
    assert one.agrees()
    one.left.clear()
    one.caller = Principal("device", "device", THERE, "market", ("o2",))
    late = write(rt, THERE)
    move(rt, mine[0], THERE, "o2")
    one.pull(limit)
    assert set(one.lines) == {*elsewhere, late, mine[0]}
    assert one.agrees()


def test_a_record_that_changed_before_its_reader_lost_it_leaves(rt: Runtime) -> None:
    """It stands beyond the reader's old position, under a scope that the reader no longer has."""
    one = reader(rt, HERE, "o1")
    key = write(rt, HERE)
    one.pull()
    write(rt, HERE, record=key[1])
    one.caller = Principal("device", "device", THERE, "market", ("o1",))
    one.pull(1)
    assert (set(one.lines), one.left) == (set(), [key])


def test_scopes_that_change_twice_ask_for_a_comparison(rt: Runtime) -> None:
    """A reader that holds pieces of two scopes is told to compare digests when a third comes."""
    one = reader(rt, HERE, "o1")
    for _ in range(4):
        write(rt, HERE)
        write(rt, THERE)
    one.pull()
    moved = Principal("device", "device", THERE, "market", ("o1",))
    with rt.db.read() as session:
        head = json.loads(pull(session, rt, moved, one.cursor, 1)[0])
        assert (head["more"], head["reconcile"]) == (True, False)
        again = Principal("device", "device", "420111", "market", ("o1",))
        assert open_place(session, rt, again, head["cursor"]).expired


def test_a_cursor_of_another_device_is_refused(rt: Runtime) -> None:
    """Only those of snapshots are anybody's."""
    scope = FeedScope(HERE, "market", ())
    write(rt, HERE)
    with rt.db.read() as session:
        epoch = open_place(session, rt, reader(rt, HERE).caller, "").epoch
        shared = Place(epoch, "", scope).cursor(cursor_key(rt), 1, whole=True)
        assert open_place(session, rt, reader(rt, HERE, "o1").caller, shared).position == 0
        foreign = Place(epoch, "another", scope).cursor(cursor_key(rt), 1, whole=True)
        with pytest.raises(Exception, match="another device"):
            open_place(session, rt, reader(rt, HERE, "o1").caller, foreign)


def test_an_expired_cursor_goes_on_with_the_changes_alone(rt: Runtime, clock: FakeClock) -> None:
    """After the horizon leaves are gone; the feed goes on where the reader stands, and says that it must compare."""
    away, near = reader(rt, HERE, "o1"), reader(rt, HERE, "o1")
    keys = [write(rt, HERE, "o1", kind="task") for _ in range(4)]
    away.pull()
    move(rt, keys[0], HERE, "o2")
    clock.advance(LEAVES_KEPT_DAYS * 86_400 - 1)
    near.pull()
    assert expire_leaves(rt) == 0
    with rt.db.read() as session:
        assert not open_place(session, rt, away.caller, away.cursor).expired
    clock.advance(2)
    move(rt, keys[1], HERE, "o2")
    fresh = write(rt, HERE, "o1", kind="task")
    assert expire_leaves(rt) == 1
    assert expire_leaves(rt) == 0
    with rt.db.read() as session:
        expired, unexpired = (open_place(session, rt, one.caller, one.cursor) for one in (away, near))
    assert (expired.expired, unexpired.expired) == (True, False)
    before = dict(away.lines)
    for one in (away, near):
        one.pull()
    assert {key for key, line in away.lines.items() if before.get(key) is not line} == {fresh}
    assert (set(near.lines), near.agrees()) == ({*keys[2:], fresh}, True)
    assert (set(away.lines), away.agrees()) == ({keys[0], *keys[2:], fresh}, False)  # what comparing digests is for


def test_a_damaged_index_is_made_anew(rt: Runtime) -> None:
    """Indexes are caches: one that cannot be read is thrown away, and asked for again it is right."""
    one = reader(rt, HERE, "o1")
    write(rt, HERE)
    one.pull()
    assert one.agrees()
    (path,) = (path for path in (rt.settings.home / "digests").glob("*.db") if b"entity/" in path.read_bytes())
    path.write_bytes(b"SQLite format 3\0" + bytes(4_000))
    with pytest.raises(Problem, match="anew"):
        one.agrees()
    assert one.agrees()


def test_indexes_are_bounded(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least recently used ones go."""
    monkeypatch.setattr(digests, "MAX_INDEX_FILES", 2)
    write(rt, HERE)
    for officer in ("o1", "o2", "o3", "o4"):
        one = reader(rt, HERE, officer)
        one.pull()
        assert one.agrees()
    assert len(list((rt.settings.home / "digests").glob("*.db"))) == 2


def test_a_cursor_of_an_earlier_version_is_stale(rt: Runtime) -> None:
    """It was sealed with the same key, and told no scope that could be compared."""
    one = reader(rt, HERE, "o1")
    with rt.db.read() as session:
        epoch = open_place(session, rt, one.caller, "").epoch
        old = encode_cursor(cursor_key(rt), Cursor(FEED, epoch, 0, "device/42/market/o1"))
        with pytest.raises(Problem) as refused:
            open_place(session, rt, one.caller, old)
    assert refused.value.code == "stale-cursor"
