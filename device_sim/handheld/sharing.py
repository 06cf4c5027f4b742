"""Several officers on one handheld: each joins with their password, and then unlocks it with a PIN, offline too."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from device_sim.handheld.store import HandheldStore

OFFICER, OFFICERS = "officer", "officers"
"""Names of single values in the store: who has unlocked the device, and everyone who may."""
MAX_PIN_FAILURES = 5
"""Wrong PINs in a row after which only the password lets an officer in again."""
MIN_PIN_CHARS = 6
_SCRYPT = {"n": 2**12, "r": 8, "p": 1}


class Locked(Exception):
    """This PIN does not unlock the handheld for this officer."""


def officers_in(store: HandheldStore) -> dict[str, dict[str, Any]]:
    """Everyone who may work on this device, with their PINs as salted hashes."""
    found: dict[str, dict[str, Any]] = json.loads(store.get(OFFICERS) or "{}")
    return found


def let_in(store: HandheldStore, officer: str, pin: str, salt: bytes) -> None:
    """Remember an officer whose password the server has accepted, and unlock the device for them."""
    if pin and len(pin) < MIN_PIN_CHARS:
        raise Locked(f"a PIN has at least {MIN_PIN_CHARS} characters")
    officers = officers_in(store)
    officers[officer] = {"salt": salt.hex(), "pin": _hash(pin, salt) if pin else "", "failures": 0}
    with store.saving():
        store.put(OFFICERS, json.dumps(officers))
        store.put(OFFICER, officer)


def unlock(store: HandheldStore, officer: str, pin: str) -> None:
    """Let an officer go on working on the device. Raises `Locked`."""
    officers = officers_in(store)
    known = officers.get(officer)
    if known is None or not known["pin"] or known["failures"] >= MAX_PIN_FAILURES:
        raise Locked("sign in with the password")
    right = hmac.compare_digest(_hash(pin, bytes.fromhex(known["salt"])), known["pin"])
    known["failures"] = 0 if right else known["failures"] + 1
    with store.saving():
        store.put(OFFICERS, json.dumps(officers))
        if right:
            store.put(OFFICER, officer)
    if not right:
        raise Locked("wrong PIN")


def _hash(pin: str, salt: bytes) -> str:
    return hashlib.scrypt(pin.encode(), salt=salt, **_SCRYPT).hex()
