"""The handheld's key pair, and changing it: saved before it is sent, so that neither side is ever left without one."""

from __future__ import annotations

import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device_sim.handheld.link import Link, Refused, base64url
from device_sim.handheld.store import HandheldStore
from sync.statements import JournalHead, key_statement

KEY, NEXT_KEY, FORMER_KEYS = "key", "next_key", "former_keys"
"""Names of single values in the store: the seed in use, a change that was begun, and those that were made."""
FORMER_KEYS_KEPT = 8
"""Changes that can be made again for a server that was restored to a time before them."""


def key_in(store: HandheldStore) -> Ed25519PrivateKey:
    """The key in use."""
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(store.get(KEY)))


def public_text(key: Ed25519PrivateKey) -> str:
    """The raw public key in base64url."""
    return base64url(key.public_key().public_bytes_raw())


def begin_change(store: HandheldStore, device: str, seed: bytes) -> None:
    """Save a change of the key, statement and signatures included; one that was begun before goes on."""
    if store.get(NEXT_KEY):
        return
    old, new = key_in(store), Ed25519PrivateKey.from_private_bytes(seed)
    pending = [journal for journal in store.journals() if store.unconfirmed_acts(journal, 1)]
    heads = [JournalHead(journal, *store.head(journal)) for journal in pending]
    statement = key_statement(device, public_text(old), public_text(new), heads)
    body = {
        "public_key": public_text(new),
        "heads": [{"journal": head.journal, "seq": head.seq, "hash": head.hash} for head in heads],
        "signature": base64url(old.sign(statement)),
        "proof": base64url(new.sign(statement)),
    }
    store.put(NEXT_KEY, json.dumps({"seed": seed.hex(), "body": body}))


def finish_change(store: HandheldStore, link: Link, device: str) -> bool:
    """Send a change that was begun, and go on with the new key; False when none was begun.

    Raises `Unreachable`, and `Refused` if no key is accepted: the change then stays begun. `Refused` for any other
    reason (the device may only hand in, say) drops it: it was not made, and the old key goes on.
    """
    begun = store.get(NEXT_KEY)
    if not begun:
        return False
    change: dict[str, Any] = json.loads(begun)
    new = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(change["seed"]))
    try:
        _send(link, device, change["body"])
    except Refused as refusal:
        if refusal.status != 401:
            store.put(NEXT_KEY, "")
            raise
        old, link.sign = link.sign, new.sign  # the reply was lost, and the old key is none any more
        try:
            link.attempt(link.sign_in)
        except Refused:
            link.sign = old
            raise
    made = {"seed": store.get(KEY), "body": change["body"]}
    with store.saving():
        store.put(FORMER_KEYS, json.dumps([*_former(store), made][-FORMER_KEYS_KEPT:]))
        store.put(KEY, change["seed"])
        store.put(NEXT_KEY, "")
    link.sign = new.sign
    return True


def repeat_changes(store: HandheldStore, link: Link, device: str, refusal: Refused) -> bool:
    """Make changes of the key again that a restored server has forgotten, if that may be why something was refused.

    Their statements are signed by both keys already. False when the reason is another, or the server knows none of the
    former keys. Raises `Refused` and `Unreachable`.
    """
    made = _former(store) if refusal.status == 401 or refusal.code == "bad-signature" else []
    try:
        for number in reversed(range(len(made))):
            link.sign = _key(made[number]).sign
            try:
                link.attempt(link.sign_in)
            except Refused as unknown:
                if unknown.status != 401:
                    raise
                continue
            _repeat(store, link, device, made, number)
            return True
    finally:
        link.sign = key_in(store).sign
    return False


def _repeat(store: HandheldStore, link: Link, device: str, made: list[dict[str, Any]], first: int) -> None:
    """Send changes again from one on. A device that may not change its key any more goes back to the former one."""
    for number, change in enumerate(made[first:], start=first):
        link.sign = _key(change).sign
        try:
            _send(link, device, change["body"])
        except Refused:
            with store.saving():
                store.put(KEY, change["seed"])
                store.put(FORMER_KEYS, json.dumps(made[:number]))
                for journal in store.journals():
                    store.drop_segment(journal)  # one that was begun may be signed by a key that is none any more
            return


def _key(change: dict[str, Any]) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(change["seed"]))


def _former(store: HandheldStore) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = json.loads(store.get(FORMER_KEYS) or "[]")
    return made


def _send(link: Link, device: str, body: dict[str, Any]) -> None:
    link.attempt(lambda: link.request("POST", f"/api/v1/devices/{device}/key", json=body))
