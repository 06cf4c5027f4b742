"""Check a case bundle offline: python verify_bundle.py BUNDLE.zip KEY.pub [FORMER.pub ...]

Stands alone: Python 3.11 or newer and `cryptography`; nothing of the platform, no network. The key files hold keys of
the platform's proof log, one a line, received on another way than the bundle. Names what does not hold, exits with 1.

BUNDLE.zip.sig is signed by such a key over every byte of the ZIP. Inside, case.json names each file with its hash; each
act is hashed, chained and signed by its device; each piece of evidence is what an act declared; behaviors, journals and
evidence are leaves of the proof log under one signed tree head.
"""

import hashlib
import json
import sys
import zipfile
from base64 import b64decode, b64encode, urlsafe_b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAX_LIST_BYTES = 1 << 30
Row = dict[str, Any]


def sha256(data: bytes) -> str:
    """In hex."""
    return hashlib.sha256(data).hexdigest()


def signed_by(key: bytes, signature: bytes, message: bytes) -> bool:
    """Ed25519."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def signed_note(note: str, keys: list[str]) -> str | None:
    """The text of a note that one of the keys (name+id+key) has signed, the signature spelled in its one way."""
    text, _, lines = note.partition("\n\n")
    for name, key_id, key in (line.split("+", 2) for line in keys):
        for line in lines.splitlines(keepends=True):
            material = b64decode(line.rstrip("\n").split(" ")[2], validate=True)
            if material[:4].hex() == key_id and line == f"— {name} {b64encode(material).decode()}\n":
                return text if signed_by(b64decode(key)[1:], material[4:], text.encode() + b"\n") else None
    return None


def in_tree(leaf: bytes, index: int, size: int, path: list[str], root: bytes) -> bool:
    """RFC 9162, 2.1.3.2."""
    position, last, current = index, size - 1, hashlib.sha256(b"\x00" + leaf).digest()
    for sibling in map(bytes.fromhex, path):
        if last == 0:
            return False
        left = position & 1 or position == last
        current = hashlib.sha256(b"\x01" + (sibling + current if left else current + sibling)).digest()
        while left and not position & 1 and position:
            position, last = position >> 1, last >> 1
        position, last = position >> 1, last >> 1
    return last == 0 and current == root


def check_journals(runs: list[Row], acts: list[Row]) -> Iterator[str]:
    """Chains and signatures of devices, then each act's content against what its header commits to."""
    headers: dict[tuple[str, int], Row] = {}
    for run in runs:
        _, journal, _, _, last, head, *_ = run["statement"].split("\n")
        prev, hashes = None, dict[str, str]()
        for seq, header in enumerate(run["headers"], run["first"]):
            members = json.loads(header)
            if (members["journal"], members["seq"]) != (journal, seq) or prev not in (None, members["prev"]):
                yield f"act {journal}:{seq}: is not the next of its journal"
            prev = hashes[str(seq)] = sha256(b"fieldproof-act-v1\n" + header.encode())
            if seq <= int(last):  # what follows leads to the log and is not vouched for here
                headers[journal, seq] = members | {"hash": prev}
        signature = urlsafe_b64decode(run["signature"] + "==")
        if not signed_by(b64decode(run["public_key"]), signature, run["statement"].encode()):
            yield f"journal {journal}: the device's signature does not verify"
        if journal != run["journal"] or hashes.get(last) != head:
            yield f"journal {journal}: the signed head is not that of the acts"
    for act in acts:
        name = f"act {act['journal']}:{act['seq']}"
        found = json.loads(act["header"]) if act["office"] else headers.get((act["journal"], act["seq"]))
        if found is None:
            yield f"{name}: is in no signed journal"
            continue
        for part in ("body", "personal"):
            if act[part] is not None and sha256(act[part].encode()) != found[part]:
                yield f"{name}: its {part} is not what its header commits to"
        if act["receipt"] and json.loads(act["receipt"])["act"] != found.get("hash"):
            yield f"{name}: its receipt is for another act"


def check_evidence(listed: list[Row], acts: list[Row], hashes: dict[str, str], leaves: list[Row]) -> Iterator[str]:
    """Each file against the act that declared it, and its chain of custody, of which the proof log names an entry."""
    members = [json.loads(leaf["leaf"]) for leaf in leaves if leaf["kind"] == "evidence"]
    named = {one["evidence"]: one["custody"] for one in members}
    declared = {(act["record"], json.loads(act["body"])["fields"].get("sha256")) for act in acts if act["body"]}
    for one in listed:
        name, chain = f"evidence {one['id']}", [""]
        for number, entry in enumerate(one["custody"], 1):
            said = json.loads(entry)
            if (said["evidence"], said["seq"], said["prev"]) != (one["id"], number, chain[-1]):
                yield f"{name}: custody entry {number} does not follow the one before it"
            chain.append(sha256(b"fieldproof-custody-v1\n" + entry.encode()))
        if chain[-1] != one["custody_head"]:
            yield f"{name}: its chain of custody was changed or cut short"
        if named.get(one["id"], "") not in chain:
            yield f"{name}: its chain of custody lacks the entry that the proof log names"
        if hashes.get(one["file"], one["sha256"]) != one["sha256"]:
            yield f"{name}: the file is not what was captured"
        if (one["id"], one["sha256"]) not in declared:
            yield f"{name}: no act declares it"


def check_log(log: Row, keys: list[str], wanted: set[str], contents: dict[str, Row]) -> Iterator[str]:
    """The tree head's signature, each leaf's proof, and that everything of the case is a leaf."""
    text = signed_note(log["checkpoint"], keys)
    if text is None:
        yield "proof log: the tree head is not signed by the given key"
        return
    _, size, root, _ = text.split("\n")
    for leaf in log["leaves"]:
        if not in_tree(leaf["leaf"].encode(), leaf["index"], int(size), leaf["path"], b64decode(root)):
            yield f"proof log: {leaf['kind']} {leaf['ref']}: its proof does not verify"
        members = json.loads(leaf["leaf"])
        for part in ("content", "personal"):
            text = contents.get(leaf["ref"], {}).get(part)
            if text is not None and sha256(text.encode()) != members.get(part):
                yield f"behavior {leaf['ref']}: its {part} is not what its leaf commits to"
        wanted -= {leaf["ref"], *(value for value in members.values() if isinstance(value, str))}
    yield from (f"proof log: {missing} is not in it" for missing in sorted(wanted))


def findings(bundle: Path, *keys: str) -> Iterator[str]:
    """Yield one sentence for each thing that does not hold, given the trusted keys (name+id+key)."""
    note = Path(f"{bundle}.sig").read_text("utf-8")
    with bundle.open("rb") as content:
        expected = [hashlib.file_digest(content, "sha256").hexdigest(), str(bundle.stat().st_size)]
    text = signed_note(note, [*keys])
    if text is None:
        yield "signature: BUNDLE.sig is not signed by the given key"
    elif text.split("\n")[2:] != expected or note.count("\n") != 6:
        yield "signature: the ZIP is not the one that was signed"
    files, hashes = dict[str, bytes](), dict[str, str]()
    with zipfile.ZipFile(bundle) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith((".json", ".jsonl")):  # the rest is hashed in pieces, and never held
                if entry.file_size > MAX_LIST_BYTES:
                    raise ValueError(f"{entry.filename} is too large")
                files[entry.filename] = archive.read(entry)
            with archive.open(entry) as member:
                # typeshed wants `getbuffer` or `readable` declared; a member of a ZIP has what is called.
                hashes[entry.filename] = hashlib.file_digest(member, "sha256").hexdigest()  # type: ignore[arg-type]
    case = json.loads(files["case.json"])
    del hashes["case.json"]
    for name in sorted(hashes.keys() | case["files"].keys()):
        if hashes.get(name) != case["files"].get(name):
            yield f"file {name}: is missing, was added, or was changed"
    lines = {name: [json.loads(line) for line in files[f"{name}.jsonl"].splitlines()] for name in case["lists"]}
    yield from check_journals(lines["journals"], lines["acts"])
    log = json.loads(files["proof-log.json"])
    yield from check_evidence(lines["evidence"], lines["acts"], hashes, log["leaves"])
    contents = {f"{row['id']}:{row['version']}": row for row in lines["behaviors"]}
    wanted = {*contents, *(one["sha256"] for one in lines["evidence"] if one["status"] == "verified")}
    wanted |= {sha256(b"fieldproof-act-v1\n" + run["headers"][-1].encode()) for run in lines["journals"]}
    yield from check_log(log, [*keys], wanted, contents)


def main(bundle: str, *key_files: str) -> int:
    """Check and say; returns the exit code."""
    found = []
    try:
        keys = [line for file in key_files for line in Path(file).read_text("utf-8").split()]
        for finding in findings(Path(bundle), *keys):
            found.append(finding)  # noqa: PERF402 - what was found before something unreadable counts
    except (OSError, ValueError, LookupError, TypeError, zipfile.BadZipFile, RuntimeError) as error:
        found.append(f"not readable: {type(error).__name__}: {error}")
    print("\n".join(found) or "sound: every hash, chain, signature and proof holds")  # noqa: T201 - it is a script
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
