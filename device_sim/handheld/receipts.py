"""Custody receipts on the handheld: its own copy goes only when the server has signed for the bytes, and not at once.

The key that signs is the one that was first seen (or was set when the handheld was handed out); another one later is
refused. A copy stays for some time after its receipt, longer than the oldest backup that a server may be restored from.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from device_sim.handheld.link import Again, Link, decoded
from device_sim.handheld.store import EvidenceFile, HandheldStore
from sync.checkpoints import CheckpointError, parse_verifier_key
from sync.key_rotation import follow

DOMAIN = b"fieldproof-custody-receipt-v1\n"
SERVER_KEY = "server_key"
"""Setting: the verifier keys whose receipts count, one a line: the first, and those that followed it."""
RECEIPTS_PATH = "/api/v1/evidence/receipts"
ASKED_AT_ONCE = 50
"""Receipts asked for in one request: a cut costs no more than these, and the server answers up to 100."""
KEEP_MS = 30 * 86_400_000
"""How long a copy stays after its receipt."""
TABLE = "custody_receipts"
_COLUMNS: dict[str, type] = {"id": str, "statement": str, "signature": str, "key": str, "at_ms": int, "deleted": int}


class UntrustedReceipt(Exception):
    """The server sent a receipt that does not say what it should, or not under the key that counts."""


class Receipts:
    """Asks for receipts, keeps them, and deletes copies that they allow to delete."""

    def __init__(self, store: HandheldStore, link: Link) -> None:
        self.store, self.link = store, link
        self._table = store.db.table(TABLE)
        self._table.create(_COLUMNS, pk="id", if_not_exists=True)

    def collect(self, now_ms: int) -> int:
        """Ask for the receipt of every uploaded file that has none; returns how many came.

        Raises `UntrustedReceipt` at the first that does not verify, and what the link raises.
        """
        known = {row["id"] for row in self._table.rows}
        wanted = [evidence for evidence in self.store.evidence(uploaded=True) if evidence.id not in known]
        starts = range(0, len(wanted), ASKED_AT_ONCE)
        return sum(self._ask(wanted[start : start + ASKED_AT_ONCE], now_ms) for start in starts)

    def start_over(self) -> None:
        """Forget the receipts of copies that are still here: a restored server may have lost what it signed for."""
        self._table.delete_where("deleted = 0")

    def delete_copies(self, now_ms: int, keep_ms: int = KEEP_MS) -> int:
        """Delete the copies whose receipts are older than `keep_ms`; returns how many went."""
        files = {evidence.id: evidence for evidence in self.store.evidence(uploaded=True)}
        deleted = 0
        for row in list(self._table.rows_where("deleted = 0 AND at_ms <= ?", [now_ms - keep_ms])):
            evidence = files.get(str(row["id"]))
            if evidence is None:
                continue
            self._check(row, evidence)
            (self.store.evidence_folder / evidence.file_name).unlink(missing_ok=True)
            self._table.update(row["id"], {"deleted": 1})
            deleted += 1
        return deleted

    def _ask(self, wanted: Sequence[EvidenceFile], now_ms: int) -> int:
        ids = [evidence.id for evidence in wanted]

        def request() -> list[dict[str, Any]]:
            answer = decoded(self.link.request("POST", RECEIPTS_PATH, json={"evidence": ids}).content)
            found: list[dict[str, Any]] = answer.get("receipts") or []
            if [one.get("evidence") for one in found] != ids:
                raise Again("the receipts are not for these files")
            return found

        answers = self.link.attempt(request)
        return sum(self._take(evidence, answer, now_ms) for evidence, answer in zip(wanted, answers, strict=True))

    def _take(self, evidence: EvidenceFile, answer: Mapping[str, Any], now_ms: int) -> bool:
        """Keep the receipt that an answer brings; tells whether it did."""
        if answer.get("status") == "unknown":  # a restored server has forgotten the upload: it has to be sent again
            self.store.keep_evidence(replace(evidence, upload="", offset_bytes=0, uploaded=0))
            return False
        if answer.get("status") == "erased":  # by lawful order: this copy goes too
            (self.store.evidence_folder / evidence.file_name).unlink(missing_ok=True)
            return False
        receipt = answer.get("receipt")
        if not isinstance(receipt, dict):
            return False
        row = {name: receipt.get(name, "") for name in ("statement", "signature", "key")} | {"id": evidence.id}
        self._follow(str(row["key"]), receipt.get("rotations", []))
        self._check(row, evidence)
        self._table.insert({**row, "at_ms": now_ms, "deleted": 0})
        return True

    def _follow(self, given: str, notes: list[str]) -> None:
        """Trust a key that the trusted one has named as its successor, beside it: older receipts still count."""
        trusted = self.store.get(SERVER_KEY).splitlines()
        if not trusted or any(_same_key(one, given) for one in trusted):
            return
        try:
            found = follow(parse_verifier_key(trusted[-1]), notes, is_signed)
        except (CheckpointError, ValueError) as error:
            raise UntrustedReceipt(f"the key cannot be followed: {error}") from error
        self.store.put(SERVER_KEY, "\n".join([*trusted, *(key.encode() for key in found)]))

    def _check(self, row: dict[str, Any], evidence: EvidenceFile) -> None:
        """Verify signature, key, and that the statement is about these very bytes."""
        trusted = self.store.get(SERVER_KEY)
        if trusted and not any(_same_key(one, str(row["key"])) for one in trusted.splitlines()):
            raise UntrustedReceipt(f"{evidence.id}: signed by another key than the one that counts")
        try:
            key = Ed25519PublicKey.from_public_bytes(parse_verifier_key(str(row["key"])).public_key)
            signature = base64.urlsafe_b64decode(str(row["signature"]) + "=" * (-len(str(row["signature"])) % 4))
            key.verify(signature, DOMAIN + str(row["statement"]).encode())
            said = json.loads(row["statement"])
        except (InvalidSignature, ValueError, binascii.Error) as error:
            raise UntrustedReceipt(f"{evidence.id}: the receipt does not verify") from error
        wanted = {"evidence": evidence.id, "sha256": evidence.sha256, "size_bytes": evidence.size_bytes}
        if {name: said.get(name) for name in wanted} != wanted:
            raise UntrustedReceipt(f"{evidence.id}: the receipt is about something else")
        if not trusted:
            self.store.put(SERVER_KEY, str(row["key"]))


def is_signed(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether an Ed25519 signature is right."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _same_key(trusted: str, given: str) -> bool:
    """Whether two verifier lines hold one public key: a log's successor has it under another name."""
    try:
        return parse_verifier_key(trusted).public_key == parse_verifier_key(given).public_key
    except ValueError:
        return False
