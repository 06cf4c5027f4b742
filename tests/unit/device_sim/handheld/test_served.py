"""The served records on a handheld: what replaces what, what has left, and digests that follow."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_sim.handheld.served import LEAVES, ServedRecord, ServedRecords
from device_sim.handheld.store import FILE_NAME, HandheldStore
from sync.digest import SetDigest, digest_of, leaf_of, record_pair


@pytest.fixture
def store(tmp_path: Path) -> Iterator[HandheldStore]:
    """An empty store."""
    opened = HandheldStore(tmp_path / "handheld")
    yield opened
    opened.close()


@pytest.fixture
def records(store: HandheldStore) -> ServedRecords:
    """Its served records."""
    return store.records


def served(name: str, position: int, line: bytes | None = None) -> ServedRecord:
    """A served entity; an empty line says that it has left."""
    return ServedRecord("entity", name, position, f"{name} {position}".encode() if line is None else line)


def truth(records: ServedRecords) -> SetDigest:
    """The digest of the stored lines."""
    rows = records.db.execute("SELECT kind, id, line FROM records").fetchall()
    return digest_of(record_pair(*row) for row in rows)


def test_an_older_position_never_replaces_a_newer_one(records: ServedRecords) -> None:
    """Served records only move forward, unless the server's word is asked for anew."""
    assert records.keep([served("e", 5), served("e", 3)]) == 2
    assert records.get("entity", "e") == served("e", 5)
    records.keep([served("e", 3, b"")])
    assert records.get("entity", "e") == served("e", 5)
    records.keep([served("e", 3)], anew=True)
    assert records.get("entity", "e") == served("e", 3)
    assert records.digest() == truth(records)


def test_what_left_is_gone_until_it_comes_back(records: ServedRecords) -> None:
    """A leave removes the line and is remembered; a later line ends it."""
    records.keep([served("a", 1), served("b", 2), served("a", 4, b"")])
    assert (records.get("entity", "a"), records.departed_at("entity", "a"), records.count()) == (None, 4, 1)
    assert records.digest() == truth(records)
    records.keep([served("a", 6)])
    assert records.departed_at("entity", "a") == 0
    assert records.digest() == truth(records)


def test_digests_follow_every_change(records: ServedRecords) -> None:
    """Running digests are those of the lines, over many records and changes, and range by range."""
    records.load(("entity", str(number), number, b"first %d" % number) for number in range(500))
    records.keep(served(str(number), 1000 + number) for number in range(0, 500, 3))
    records.keep(served(str(number), 2000, b"") for number in range(0, 500, 7))
    assert records.digest() == truth(records)
    ranges = records.split("")
    assert sum(digest.count for digest in ranges.values()) == records.count()
    prefix = leaf_of("entity/1")
    assert dict(records.pairs(prefix)) == dict([record_pair("entity", "1", b"first 1")])
    deeper = records.split(prefix)
    assert [digest.count for digest in deeper.values()] == [1]


def test_only_reading_again_finds_what_the_storage_did(store: HandheldStore, records: ServedRecords) -> None:
    """A flipped byte leaves the running digest as it was; a scrub of its range finds it, and another range does not."""
    records.keep(served(str(number), number + 1) for number in range(40))
    before = records.digest()
    leaf = int(leaf_of("entity/7"), 16)
    with sqlite3.connect(store.folder / FILE_NAME) as other:
        other.execute("UPDATE records SET line = ? WHERE id = '7'", (b"7 9",))
    other.close()
    assert records.digest() == before
    elsewhere = (leaf + 1) % LEAVES
    assert records.scrub(elsewhere, elsewhere) == []
    assert records.scrub() == [leaf_of("entity/7")]
    assert records.digest() == truth(records) != before


def test_a_store_of_an_earlier_version_is_sorted_in(tmp_path: Path) -> None:
    """Records kept before there were digests get their ranges when the store is opened."""
    opened = HandheldStore(tmp_path / "old")
    opened.db.execute("DROP INDEX records_of_leaf")
    opened.db.execute("DROP TABLE records")
    opened.db.execute(
        """CREATE TABLE records (kind TEXT, id TEXT, position INTEGER, generation INTEGER, line BLOB,
        PRIMARY KEY (kind, id)) STRICT"""
    )
    opened.db.execute("INSERT INTO records VALUES ('entity', 'e', 3, 0, x'7b7d')")
    opened.close()
    again = HandheldStore(tmp_path / "old")
    assert again.records.digest() == digest_of([record_pair("entity", "e", b"{}")])
    again.records.keep([served("e", 4)])
    assert again.records.get("entity", "e") == served("e", 4)
    again.close()
