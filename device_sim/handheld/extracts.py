"""Sensor readings that leads rest on: fetched after a pull, so that officers have them where there is no network.

The evidence record with their hashes comes by sync; the bytes are fetched once and kept only if they have those hashes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from device_sim.handheld.durable import write_durably
from device_sim.handheld.forms import open_form
from device_sim.handheld.link import Link, Refused
from device_sim.handheld.store import HandheldStore


class Extracts:
    """The telemetry extracts of this device's tasks."""

    def __init__(self, store: HandheldStore, link: Link) -> None:
        self.store, self.link = store, link

    def fetch(self) -> int:
        """Fetch those that are not here yet; returns how many came. One that is refused is asked for at the next sync.

        Raises `Unreachable`.
        """
        fetched = 0
        for evidence in self._wanted():
            try:
                fetched += self._fetch(evidence)
            except Refused:
                self.link.counts["extracts_refused"] += 1
        return fetched

    def _wanted(self) -> list[str]:
        sql = "SELECT id FROM records WHERE kind = 'task' AND instr(line, '\"extract\"') ORDER BY id"
        tasks = [row[0] for row in self.store.db.execute(sql).fetchall()]
        named = [open_form(self.store, "task", task).value("extract") for task in tasks]
        return [one for one in named if isinstance(one, str) and not extract_path(self.store, one).exists()]

    def _fetch(self, evidence: str) -> bool:
        path = f"/api/v1/evidence/{evidence}/content"
        content = self.link.attempt(lambda: self.link.request("GET", path)).content
        if hashlib.sha256(content).hexdigest() != open_form(self.store, "evidence", evidence).value("sha256"):
            self.link.counts["extracts_spoiled"] += 1
            return False
        write_durably(extract_path(self.store, evidence), content)
        return True


def extract_path(store: HandheldStore, evidence: str) -> Path:
    """Where an extract is kept; it goes with all other evidence when the handheld is wiped."""
    return store.evidence_folder / f"extract-{evidence}.json"


def read_extract(store: HandheldStore, evidence: str) -> dict[str, Any] | None:
    """An extract as it was fetched; None where it has not come yet."""
    path = extract_path(store, evidence)
    found: dict[str, Any] | None = json.loads(path.read_bytes()) if path.exists() else None
    return found
