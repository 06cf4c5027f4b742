"""Erasing a handheld by order of the office: what was written is handed in first, what could not be is named.

What is left while the server has not heard of it is one file: the signed word that the device is erased, and its key.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device_sim.handheld.link import Link, Refused, base64url
from device_sim.handheld.store import FILE_NAME, HandheldStore
from sync.statements import wiped_statement

LAST_WORD = "wiped.json"


def leave_last_word(store: HandheldStore, key: bytes, device: str, ordered_at_ms: int) -> None:
    """Sign what is lost, and save it with all that is needed to say it; from here on there is no way back."""
    acts, files = store.pending_count(), len(store.evidence(uploaded=False))
    statement = wiped_statement(device, ordered_at_ms, acts, files)
    signature = base64url(Ed25519PrivateKey.from_private_bytes(key).sign(statement))
    body = {"acts_lost": acts, "files_lost": files, "signature": signature}
    word = {"device": device, "key": key.hex(), "body": body}
    partial = store.folder / f"{LAST_WORD}.part"
    with partial.open("w", encoding="utf-8") as stream:
        json.dump(word, stream)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(store.folder / LAST_WORD)
    _sync_folder(store.folder)


def last_word(folder: Path) -> dict[str, Any] | None:
    """What a device that is being erased has still to say; None for others."""
    path = folder / LAST_WORD
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    return found


def erase(folder: Path) -> None:
    """Remove everything but the last word. May be repeated after a crash."""
    for path in folder.glob(f"{FILE_NAME}*"):
        path.unlink(missing_ok=True)
    shutil.rmtree(folder / "evidence", ignore_errors=True)
    for path in folder.iterdir():
        if path.is_file() and path.name != LAST_WORD:
            path.unlink(missing_ok=True)
    _sync_folder(folder)


def say_last_word(folder: Path, link: Link, word: dict[str, Any], *, anew: bool = False) -> None:
    """Tell the server, and forget the key. Raises `Refused` and `Unreachable`; then it is to be said again.

    A server that was restored may have forgotten the order, and never takes it: `anew`, the device was enrolled again
    since, and goes on without.
    """
    path = f"/api/v1/devices/{word['device']}/wiped"
    try:
        link.attempt(lambda: link.request("POST", path, json=word["body"]))
    except Refused as refusal:
        if "wiped_at_ms" not in refusal.problem and not anew:
            raise
    (folder / LAST_WORD).unlink()
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
