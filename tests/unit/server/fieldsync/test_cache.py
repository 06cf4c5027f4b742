"""The files that can be made again: which go, and that locks stay."""

import os
from pathlib import Path

from server.fieldsync.cache import locked, tidy


def test_the_least_recently_used_go_and_their_locks_stay(tmp_path: Path) -> None:
    """A lock that somebody may hold is never removed: two would hold it, each on another file of that name."""
    for number in range(3):
        path = tmp_path / f"{number}.db"
        with locked(path):
            path.write_bytes(b"12345")
        path.with_name(f"{number}.db-journal").touch()
        os.utime(path, ns=(number, number))
    assert tidy(tmp_path, "*.db", 2, 100) == 1
    assert {path.name for path in tmp_path.iterdir()} == {
        "0.lock", "1.db", "1.db-journal", "1.lock", "2.db", "2.db-journal", "2.lock",
    }  # fmt: skip
    assert tidy(tmp_path, "*.db", 2, 5) == 1
    assert not (tmp_path / "1.db").exists()
