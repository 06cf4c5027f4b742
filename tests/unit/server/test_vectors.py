"""The vectors of docs/protocol.md that a server makes: served lines, erased parts, custody, proof log."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from server.evidence.custody import Entry, check_chain
from server.evidence.receipts import DOMAIN
from server.prooflog.keys import verify_signature
from server.records.lines import decode_state, policies_of, view_of
from sync.acts import ActError, check_commitments, commitment, erased_names, is_erased, parse_header, split_line
from sync.checkpoints import open_checkpoint, parse_verifier_key, parse_witness_key
from sync.digest import digest_of, range_key, split_range
from sync.merkle import verify_consistency, verify_inclusion
from sync.policies import conflicts, is_deleted
from tests.make_vectors import FOLDER, MADE, text_of


def vectors(name: str) -> Any:  # noqa: ANN401 - JSON
    """Read a file of vectors."""
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


LINES, ERASED, CUSTODY, PROOFS = map(vectors, MADE)


def named(cases: list[dict[str, Any]]) -> list[Any]:
    """Cases as parameters, by name."""
    return [pytest.param(case, id=case["name"]) for case in cases]


@pytest.mark.parametrize("name", MADE)
def test_files_say_what_the_code_makes(name: str) -> None:
    """A difference is a change of the protocol; write them again with: .venv/bin/python -m tests.make_vectors."""
    assert (FOLDER / name).read_text(encoding="utf-8") == text_of(name)


@pytest.mark.parametrize("case", named(LINES["cases"]))
def test_served_lines(case: dict[str, Any]) -> None:
    """A reader that groups the values by field again comes to the same readings."""
    line, policies = case["line"].encode(), policies_of("inspection")
    members, state = json.loads(line), decode_state(line)
    assert view_of("inspection", state) == case["read"]
    assert (is_deleted(state), list(conflicts(state, policies))) == (case["deleted"], case["conflicts"])
    assert (members["deleted"], members["conflicts"]) == (case["deleted"], case["conflicts"])
    assert hashlib.sha256(line).hexdigest() == case["hash"]
    assert hashlib.sha256(f"inspection/{members['id']}".encode()).hexdigest() == case["range"]


def test_digests_of_lines() -> None:
    """All lines together, and range by range."""
    pairs = [(f"inspection/{json.loads(case['line'])['id']}", bytes.fromhex(case["hash"])) for case in LINES["cases"]]
    assert [range_key(name) for name, _ in pairs] == [case["range"] for case in LINES["cases"]]
    assert (len(pairs), digest_of(pairs).hex()) == (LINES["count"], LINES["digest"])
    ranges = {digit: {"count": part.count, "digest": part.hex()} for digit, part in split_range(pairs, "").items()}
    assert ranges == LINES["ranges"]


@pytest.mark.parametrize("case", named(ERASED["forms"]))
def test_erased_parts(case: dict[str, Any]) -> None:
    """Hash and commitments stay; without its part an act is whole only where erasure is lawful."""
    parts = split_line(case["line"].encode())
    header = parse_header(json.loads(parts.header))
    assert (parts.hash(), header.body, header.personal) == (
        ERASED["act"],
        ERASED["body_commitment"],
        ERASED["personal_commitment"],
    )
    check_commitments(header, parts, erasable=True)
    if case["erased"] is None:
        assert not is_erased(parts.personal)
        assert commitment(parts.personal) == header.personal
    else:
        assert is_erased(parts.personal)
        assert erased_names(parts.personal) == case["erased"]
        with pytest.raises(ActError, match="commitment"):
            check_commitments(header, parts)


def test_chain_of_custody() -> None:
    """Written out once more, from the words of the protocol alone."""
    entries = [Entry(entry["seq"], entry["body"].encode(), entry["hash"]) for entry in CUSTODY["entries"]]
    said = json.loads(CUSTODY["receipt"]["statement"])
    assert check_chain(said["evidence"], entries, count=said["custody_count"], head=said["custody_head"]) == []
    for entry in entries:
        assert hashlib.sha256(b"fieldproof-custody-v1\n" + entry.body).hexdigest() == entry.hash


def test_custody_receipt() -> None:
    """The signature covers the statement as it stands."""
    receipt = CUSTODY["receipt"]
    key = Ed25519PublicKey.from_public_bytes(parse_verifier_key(receipt["key"]).public_key)
    signature = base64.urlsafe_b64decode(receipt["signature"] + "==")
    key.verify(signature, b"fieldproof-custody-receipt-v1\n" + receipt["statement"].encode())
    assert DOMAIN == b"fieldproof-custody-receipt-v1\n"


def tree_hash(leaves: list[bytes]) -> bytes:
    """The root of a tree as RFC 6962, 2.1 defines it."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + tree_hash(leaves[:half]) + tree_hash(leaves[half:])).digest()


def test_roots() -> None:
    """Of every size, by the definition."""
    leaves = [text.encode() for text in PROOFS["leaves"]]
    assert [tree_hash(leaves[:size]).hex() for size in range(len(leaves) + 1)] == PROOFS["roots"]


def test_proofs() -> None:
    """Inclusion and consistency, and neither with another root."""
    roots = [bytes.fromhex(root) for root in PROOFS["roots"]]
    for case in PROOFS["inclusion"]:
        path = [bytes.fromhex(one) for one in case["path"]]
        leaf = hashlib.sha256(b"\0" + PROOFS["leaves"][case["index"]].encode()).digest()
        assert verify_inclusion(leaf, case["index"], case["size"], path, roots[case["size"]])
        assert not verify_inclusion(leaf, case["index"], case["size"], path, roots[case["size"] - 1])
    for case in PROOFS["consistency"]:
        path = [bytes.fromhex(one) for one in case["path"]]
        first, second = case["first"], case["second"]
        assert verify_consistency(first, second, roots[first], roots[second], path)
        assert not verify_consistency(first, second, roots[first - 1], roots[second], path)


def test_signed_head() -> None:
    """The checkpoint carries the log's signature and the witness's."""
    note = PROOFS["checkpoint"].encode()
    head = open_checkpoint(note, [parse_verifier_key(PROOFS["key"])], is_signed)
    assert (head.size, head.root.hex()) == (len(PROOFS["leaves"]), PROOFS["roots"][-1])
    body, _, tail = note.decode().partition("\n\n")
    witness = parse_witness_key(PROOFS["witness_key"])
    raw = base64.b64decode(tail.splitlines()[1].split(" ")[2])
    assert raw[:4] == witness.key_id()
    at_s = int.from_bytes(raw[4:12], "big")
    signed = f"cosignature/v1\ntime {at_s}\n{body}\n".encode()
    Ed25519PublicKey.from_public_bytes(witness.public_key).verify(raw[12:], signed)


def is_signed(key: bytes, signature: bytes, message: bytes) -> bool:
    """Ed25519."""
    return verify_signature(key, signature, message)
