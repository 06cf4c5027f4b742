"""What the sensors published, kept in a file of JSON lines so that a checker can compare it with the database."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from device_sim.sensors.replay import Published


class PublishedRecord:
    """Appends what the broker has accepted, each distinct thing once."""

    def __init__(self, out: TextIO | None) -> None:
        """Write to `out`; None only counts."""
        self._out = out
        self._seen: set[str] = set()

    def add(self, said: Iterable[Published]) -> None:
        """Note what one acknowledged message said."""
        for item in said:
            if item.identity in self._seen:
                continue
            self._seen.add(item.identity)
            if self._out is not None:
                self._out.write(json.dumps(asdict(item), ensure_ascii=False) + "\n")

    def __len__(self) -> int:
        """How many distinct things were said."""
        return len(self._seen)


def read_record(path: Path) -> Iterator[Published]:
    """Return what a record file holds."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield Published(**json.loads(line))
