"""Lawful erasure on the handheld: destroying the personal parts of its own acts, and telling the server that it did."""

from __future__ import annotations

from collections.abc import Sequence

from device_sim.handheld.link import Link
from device_sim.handheld.store import HandheldStore

ERASURES_PATH = "/api/v1/sync/erasures"
MAX_RECORDS = 200
"""Records in one answer to the server."""

Key = tuple[str, str]
"""(kind, record id)."""


def erase(store: HandheldStore, link: Link, keys: Sequence[Key]) -> int:
    """Destroy the personal parts of all own acts on some records, durably, then say so; returns how many acts it were.

    Headers and commitments stay, so the journals still hold. A device that is cut off before it could say so hears of
    it again with the next pull. Raises `Refused` and `Unreachable`.
    """
    with store.saving():
        count = sum(store.erase_personal(kind, record) for kind, record in keys)
    store.overwrite()
    link.counts["erased_acts"] += count
    for start in range(0, len(keys), MAX_RECORDS):
        body = {"records": [{"kind": kind, "id": record} for kind, record in keys[start : start + MAX_RECORDS]]}
        link.attempt(lambda body=body: link.request("POST", ERASURES_PATH, json=body))  # type: ignore[misc]  # bound now
    return count
