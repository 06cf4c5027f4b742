"""The handheld's database: what is saved stays, and acts are never rewritten."""

import sqlite3
from pathlib import Path

import pytest

from device_sim.handheld.client import Handheld
from device_sim.handheld.store import FILE_NAME, EvidenceFile, HandheldStore, PendingSegment
from sync.journal import Fork
from tests.unit.device_sim.handheld.conftest import INSPECTION, an_id


@pytest.fixture
def store(tmp_path: Path) -> HandheldStore:
    """An empty store."""
    return HandheldStore(tmp_path / "store")


def test_the_database_is_durable(store: HandheldStore) -> None:
    """Write-ahead log and full synchronisation are on; the folder belongs to its owner alone."""
    assert store.db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert store.db.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert store.folder.stat().st_mode & 0o077 == 0


def test_acts_cannot_be_rewritten_or_removed(handheld: Handheld) -> None:
    """The database itself refuses changes of an act's bytes."""
    handheld.write(handheld.open("inspection", INSPECTION), {"scene": "first"})
    for statement in ("UPDATE acts SET header = x'00'", "UPDATE acts SET seq = 9", "DELETE FROM acts"):
        with pytest.raises(Exception, match="acts are never"):
            handheld.store.db.execute(statement)


def test_a_failed_save_leaves_nothing(store: HandheldStore) -> None:
    """What stands inside one save is kept together or not at all, nested saves included."""

    def fail() -> None:
        with store.saving():
            store.put("a", "1")
            with store.saving():
                store.put("b", "2")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (store.get("a"), store.get("b")) == ("", "")


def test_what_was_saved_is_there_after_reopening(tmp_path: Path) -> None:
    """Settings, journals, segments and evidence survive."""
    first = HandheldStore(tmp_path / "x")
    first.put("name", "value")
    first.add_journal(an_id(1))
    first.add_journal(an_id(2), Fork(an_id(1), 3, "f" * 64))
    first.keep_segment(PendingSegment(an_id(2), 1, 2, b"head"))
    first.keep_evidence(EvidenceFile("e", "e.jpg", "0" * 64, 5, "image/jpeg"))
    first.close()
    again = HandheldStore(tmp_path / "x")
    assert again.get("name") == "value"
    assert again.journals() == [an_id(1), an_id(2)]
    assert again.parent_of(an_id(1)) is None
    assert again.parent_of(an_id(2)) == Fork(an_id(1), 3, "f" * 64)
    assert again.pending_segment(an_id(2)) == PendingSegment(an_id(2), 1, 2, b"head")
    assert again.evidence(uploaded=False)[0].id == "e"
    again.drop_segment(an_id(2))
    assert again.pending_segment(an_id(2)) is None
    again.close()


def test_the_file_can_be_read_by_other_tools(handheld: Handheld) -> None:
    """The store is an ordinary SQLite file."""
    handheld.write(handheld.open("inspection", INSPECTION), {"scene": "first"})
    with sqlite3.connect(handheld.store.folder / FILE_NAME) as other:
        assert other.execute("SELECT count(*) FROM acts").fetchone() == (1,)
    other.close()
