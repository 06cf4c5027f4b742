"""What a sensor keeps until the platform has told it that it is stored; in a file, so that a power cut loses nothing.

The sensor's power, not that of the machine which simulates it: nothing is synced to the disk, since syncing for a fleet
would be all that the machine does.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from device_sim.sensors.replay import Outgoing, Published

KEPT_LIMIT = 2_000
"""Most messages kept: a sensor measures no more until there is room."""
TABLE = "CREATE TABLE IF NOT EXISTS kept (seq INTEGER PRIMARY KEY, topic TEXT, payload BLOB, said TEXT)"


class Outbox:
    """Messages by number; those of an earlier life are there again."""

    def __init__(self, path: Path | None) -> None:
        """Open the file; None keeps in memory only."""
        self._database = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute(TABLE)
        rows = self._database.execute("SELECT seq, topic, payload, said FROM kept ORDER BY seq")
        self._kept = {
            seq: Outgoing(topic, payload, tuple(Published(**item) for item in json.loads(said)), seq=seq)
            for seq, topic, payload, said in rows
        }

    def __len__(self) -> int:
        """How many messages are kept."""
        return len(self._kept)

    @property
    def full(self) -> bool:
        """Whether there is no room."""
        return len(self._kept) >= KEPT_LIMIT

    def add(self, message: Outgoing) -> None:
        """Keep a message; it is in the file when this returns."""
        said = json.dumps([vars(item) for item in message.said])
        row = (message.seq, message.topic, message.payload, said)
        self._database.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?)", row)
        self._kept[message.seq] = message

    def settle(self, receipt: Mapping[str, Any]) -> tuple[list[Outgoing], list[Outgoing]]:
        """Take a receipt in; return the messages that are stored, kept no more, and those that it says are missing."""
        missing = {
            seq for first, last in receipt["missing"] for seq in self._kept if first <= seq <= last
        }  # a range may be long, what is kept is not
        stored = [seq for seq in self._kept if seq <= receipt["seq"] and seq not in missing]
        if stored:
            self._database.execute("BEGIN")
            self._database.executemany("DELETE FROM kept WHERE seq = ?", [(seq,) for seq in stored])
            self._database.execute("COMMIT")
        return [self._kept.pop(seq) for seq in stored], [self._kept[seq] for seq in sorted(missing)]

    def oldest(self, count: int) -> list[Outgoing]:
        """Return the messages that have been kept for longest."""
        return [self._kept[seq] for seq in sorted(self._kept)[:count]]

    def close(self) -> None:
        """Close the file."""
        self._database.close()
