"""The limits on a visit, on the handheld without a network: a filed plan, the code at the door, the yearly cap."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from device_sim.handheld.forms import Form, open_form, served_state
from device_sim.handheld.store import HandheldStore
from schemas.field_rules import Fault
from schemas.visit_rules import Verify, cap_faults, door_faults, filing_faults, is_capped

DOOR_KEY = "door_key"
"""Name of the platform's key in the store."""
ASKED = ("task", "entity", "visit_reason", "door_code", "scan_exemption", "started_at")
CHINA = timezone(timedelta(hours=8))


Scanner = Callable[[str], str]
"""Scans the code that an entity, by its id, shows at its door; empty: it shows none."""
NO_CODE_SHOWN = "03"
"""Code of the table `scan_exemption`."""


def no_code(_entity: str) -> str:
    """Scan where no firm has a code."""
    return ""


def enter(scan: Scanner, entity: str, at: datetime) -> dict[str, Any]:
    """Return what an officer enters at the door: the code that was scanned, or the coded reason why none was."""
    code = scan(entity)
    return {"door_code": code, "door_scanned_at": at.isoformat()} if code else {"scan_exemption": NO_CODE_SHOWN}


def door_verifier(store: HandheldStore) -> Verify | None:
    """Return what checks the platform's signature on codes; None before the first sign-in."""
    text = store.get(DOOR_KEY)
    if not text:
        return None
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(f"{text}=="))

    def verify(statement: bytes, signature: str) -> bool:
        try:
            public.verify(base64.urlsafe_b64decode(f"{signature}=="), statement)
        except (InvalidSignature, ValueError):
            return False
        return True

    return verify


def keep_door_key(store: HandheldStore, key: str) -> None:
    """Keep the platform's key by which codes are checked; a server that names none changes nothing."""
    if key and key != store.get(DOOR_KEY):
        store.put(DOOR_KEY, key)


def visit_faults(store: HandheldStore, form: Form, fields: Mapping[str, Any]) -> list[Fault]:
    """Return why a visit may not begin, as far as this handheld knows; the server has the last word.

    Filed is the visit of a task, or a planned visit, that the server has served: it had it before. Only visits that
    this handheld holds are counted.
    """
    said = {name: fields.get(name) or form.value(name) for name in ASKED}
    task = str(said["task"] or "")
    filed = _is_given_out(store, task, form.record) or _is_filed(store, form.record)
    reason = said["visit_reason"] or (open_form(store, "task", task).value("visit_reason") if task else None)
    found = filing_faults(reason, filed=filed)
    found += door_faults(said["door_code"], said["scan_exemption"], said["entity"], door_verifier(store))
    if is_capped(reason) and not task:  # of a task, the server has seen to it
        found += cap_faults(reason, _visits(store, form.record, said["entity"], said["started_at"]))
    return found


def _is_given_out(store: HandheldStore, task: str, inspection: str) -> bool:
    """Whether the server has served a task, and this is its visit: one task is no plan for a second visit."""
    served = bool(task) and store.records.get("task", task) is not None
    return served and open_form(store, "task", task).value("inspection") == inspection


def _is_filed(store: HandheldStore, inspection: str) -> bool:
    served = store.records.get("inspection", inspection)
    return served is not None and bool(served_state(served.line).live("visit_until"))


def _visits(store: HandheldStore, but: str, entity: str | None, started_at: str | None) -> int:
    """The other visits to an entity in the same year, in China, that count towards the cap."""
    year = datetime.fromisoformat(str(started_at)).astimezone(CHINA).year if started_at else 0
    count = 0
    for record in store.ids("inspection"):
        other = open_form(store, "inspection", record)
        made = other.value("inspected_at") or other.value("started_at")
        if record == but or other.deleted or other.value("entity") != entity or not made:
            continue
        same_year = datetime.fromisoformat(made).astimezone(CHINA).year == year
        count += same_year and is_capped(other.value("visit_reason"))
    return count
