"""Makes those test vectors that are easier made than written: served lines, erased parts, custody and the proof log.

`python -m tests.make_vectors` writes them to tests/vectors. They are part of the protocol: once released, a file gains
cases and changes none. tests/unit/server/test_vectors.py reads them with the code, and without it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.evidence.custody import Entry, make_entry
from server.evidence.receipts import DOMAIN
from server.records.lines import Placement, encode_line, policies_of, view_of
from sync.acts import Header, encode, encode_act, encode_fields, erased_part
from sync.checkpoints import Checkpoint, VerifierKey, WitnessKey, cosign_checkpoint, sign_checkpoint
from sync.digest import digest_of, range_key, record_pair, split_range
from sync.dots import Dot
from sync.merge import merge
from sync.merkle import EMPTY_ROOT, Frontier, consistency_proof, inclusion_proof, leaf_hash
from sync.policies import conflicts, is_deleted
from sync.registers import Change, RecordState
from tests.project_tree import ROOT

FOLDER = ROOT / "tests" / "vectors"
SEED, WITNESS_SEED = bytes(range(32)), bytes(range(32, 64))
LEAVES = 7
ID = "0198d9c0-4c00-7000-8000-0000000000"
A, B = f"{ID}0a", f"{ID}0b"
RECORD, ENTITY, DEVICE, OFFICER, BOOT = (f"{ID}{number}" for number in (11, 12, 13, 14, 15))
PLACE = Placement("420106", "市场监管", (OFFICER,), None)


def base64url(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def change(journal: str, seq: int, seen: list[Dot], at_ms: int, fields: dict[str, Any] | None) -> Change:
    """An act; without fields a deletion."""
    return Change(Dot(journal, seq), frozenset(seen), at_ms, fields or {}, fields is None)


FIRST = change(A, 1, [], 1000, {"entity": ENTITY, "result": "01", "scene": '后门\t上锁 "引号" \\ / 😀', "notes": "甲"})
LINES: list[tuple[str, list[Change]]] = [
    ("values stand by the act that wrote them", [FIRST, change(B, 1, [FIRST.dot], 2000, {"scene": "门已打开"})]),
    ("a contradiction", [FIRST, change(B, 1, [], 900, {"result": "06", "scene": "无人"})]),
    (
        "an act without live values is left out",
        [change(A, 2, [], 5, {"scene": "a"}), change(A, 10, [Dot(A, 2)], 4, {"scene": "b"})],
    ),
    (
        "acts in order of their numbers, not of their spelling",
        [change(A, 10, [], 5, {"notes": "x"}), change(A, 9, [], 6, {"notes": "y"})],
    ),
    (
        "a list by what was added",
        [change(A, 1, [], 1, {"steps": {"add": [{"rank": "V", "value": "询问"}, {"rank": "B", "value": "亮证"}]}})],
    ),
    ("a deletion", [FIRST, change(B, 1, [FIRST.dot], 2000, None)]),
    (
        "a deletion beside an edit",
        [FIRST, change(B, 1, [FIRST.dot], 2000, None), change(A, 2, [FIRST.dot], 2100, {"scene": "x"})],
    ),
    ("an erased field keeps its dot and reads as null", [change(A, 1, [], 1000, {"result": "01", "statement": None})]),
]


def lines() -> dict[str, Any]:
    """Served lines of inspections, and the digest and ranges of all of them together."""
    cases, pairs = [], []
    policies = policies_of("inspection")
    for number, (name, acts) in enumerate(LINES, 1):
        state = RecordState()
        for act in acts:
            state = merge(state, act, policies).state.pruned()
        record, open_fields = f"{RECORD[:-2]}{number:02}", conflicts(state, policies)
        line = encode_line("inspection", record, number, PLACE, state, open_fields)
        pairs.append(record_pair("inspection", record, line))
        cases.append(
            {
                "name": name,
                "line": line.decode(),
                "hash": pairs[-1][1].hex(),
                "range": range_key(pairs[-1][0]),
                "read": view_of("inspection", state),
                "deleted": is_deleted(state),
                "conflicts": list(open_fields),
            }
        )
    ranges = {digit: {"count": one.count, "digest": one.hex()} for digit, one in split_range(pairs, "").items()}
    return {
        "about": "Record lines of the feed, as bytes of UTF-8 without the line feed. `hash` is SHA-256 of them, "
        "`range` the SHA-256 of `kind/id` in hex. `read` is what the fields say by their policies. `count` and "
        "`digest` are of all these lines together, `ranges` those of the ranges of one digit.",
        "cases": cases,
        "count": len(pairs),
        "digest": digest_of(pairs).hex(),
        "ranges": ranges,
    }


def erased() -> dict[str, Any]:
    """An act before and after its personal part was destroyed."""
    body = encode_fields(base64url(bytes(range(16))), {"scene": "后门上锁"})
    personal = encode_fields(base64url(bytes(range(240, 256))), {"statement": "样例陈述", "contact": "张样例"})
    header = Header(
        journal=A,
        seq=1,
        prev="",
        kind="inspection",
        record=RECORD,
        op="put",
        seen=frozenset(),
        schema=1,
        wall_ms=1,
        mono_ms=1,
        boot=BOOT,
        officer=OFFICER,
        body="",
        personal=None,
    )
    whole = encode_act(header, body, personal)
    names = erased_part(["statement", "contact"])
    return {
        "about": "One act whole, and in the two forms in which it may be sent once its record was lawfully erased. "
        "Header, hash and commitments are the same in all three; each form's `fields` are what it then sets.",
        "act": whole.hash(),
        "body_commitment": hashlib.sha256(body).hexdigest(),
        "personal_commitment": hashlib.sha256(personal).hexdigest(),
        "forms": [
            {"name": "whole", "line": whole.line().decode(), "erased": None},
            {
                "name": "names left",
                "line": (whole.header + b"\t" + body + b"\t" + names + b"\n").decode(),
                "erased": ["contact", "statement"],
            },
            {"name": "nothing left", "line": (whole.header + b"\t" + body + b"\t\n").decode(), "erased": []},
        ],
    }


def custody() -> dict[str, Any]:
    """A chain of custody and the signed receipt of the evidence."""
    evidence, entries = f"{ID}21", list[Entry]()
    for action, detail in (("capture", {"sha256": "00" * 32}), ("upload", {"size_bytes": 3}), ("verify", {})):
        prev = entries[-1].hash if entries else ""
        at = datetime(2026, 3, 2, 1, 0, len(entries), tzinfo=UTC)
        entries.append(
            make_entry(
                evidence=evidence, seq=len(entries) + 1, prev=prev, action=action, actor="server", at=at, detail=detail
            )
        )
    key = Ed25519PrivateKey.from_private_bytes(SEED)
    members = {
        "v": 1,
        "evidence": evidence,
        "device": DEVICE,
        "act": "11" * 32,
        "sha256": "00" * 32,
        "sm3": "22" * 32,
        "size_bytes": 3,
        "verified_at": "2026-03-02T01:00:02+00:00",
        "custody_count": 3,
        "custody_head": entries[-1].hash,
    }
    statement = json.dumps(members, separators=(",", ":"), sort_keys=True)
    verifier = VerifierKey(f"fieldproof/{A}", key.public_key().public_bytes_raw())
    return {
        "about": "A chain of custody: `hash` is SHA-256 over fieldproof-custody-v1, line feed, body. And a custody "
        "receipt: Ed25519 with the key whose seed is the bytes 00 01 … 1f, over fieldproof-custody-receipt-v1, line "
        "feed, statement. `key` is the verifier key as in C2SP signed-note.",
        "entries": [{"seq": entry.seq, "body": entry.body.decode(), "hash": entry.hash} for entry in entries],
        "receipt": {
            "statement": statement,
            "signature": base64url(key.sign(DOMAIN + statement.encode())),
            "key": verifier.encode(),
        },
    }


def proof_log() -> dict[str, Any]:
    """Trees of up to seven leaves with their proofs, and a signed and countersigned head."""
    texts = [encode({"journal": A, "seq": number, "head": f"{number:064x}"}) for number in range(1, LEAVES + 1)]
    nodes: dict[tuple[int, int], bytes] = {}
    frontier, roots = Frontier(), [EMPTY_ROOT]
    for text in texts:
        nodes |= {(node.level, node.index): node.hash for node in frontier.append(leaf_hash(text))}
        roots.append(frontier.root())

    def stored(level: int, index: int) -> bytes:
        return nodes[level, index]

    key, witness = Ed25519PrivateKey.from_private_bytes(SEED), Ed25519PrivateKey.from_private_bytes(WITNESS_SEED)
    head = Checkpoint(f"fieldproof/{A}", LEAVES, roots[LEAVES], 1772413200000)
    log_key = VerifierKey(head.origin, key.public_key().public_bytes_raw())
    witness_key = WitnessKey("witness.example", witness.public_key().public_bytes_raw())
    cosignature = cosign_checkpoint(head.body(), witness_key, 1772413201, witness.sign)
    return {
        "about": "`roots[n]` is the root of the first n leaves. A signed head as checkpoint, with a witness's line. "
        "The log's key has the seed bytes 00 01 … 1f, the witness's 20 21 … 3f.",
        "leaves": [text.decode() for text in texts],
        "roots": [root.hex() for root in roots],
        "inclusion": [
            {"index": index, "size": size, "path": [one.hex() for one in inclusion_proof(index, size, stored)]}
            for index, size in ((0, 1), (0, 7), (3, 4), (4, 7), (6, 7))
        ],
        "consistency": [
            {"first": first, "second": second, "path": [one.hex() for one in consistency_proof(first, second, stored)]}
            for first, second in ((1, 2), (3, 7), (4, 7), (6, 7), (7, 7))
        ],
        "key": log_key.encode(),
        "witness_key": witness_key.encode(),
        "checkpoint": (sign_checkpoint(head, log_key, key.sign) + cosignature.line()).decode(),
    }


MADE = {"lines.json": lines, "erased.json": erased, "custody.json": custody, "proof_log.json": proof_log}


def text_of(name: str) -> str:
    """What a file says."""
    return json.dumps(MADE[name](), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for file_name in MADE:
        (FOLDER / file_name).write_text(text_of(file_name), encoding="utf-8")
