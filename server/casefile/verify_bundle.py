"""Check a case bundle offline: python verify_bundle.py BUNDLE.zip KEY.pub [FORMER.pub ...]

Needs Python 3.11 and `cryptography`; no platform, no network. Key files hold keys of the platform's proof log, one a
line, received on another way than the bundle. Names what does not hold, exits with 1. BUNDLE.zip.sig is signed by such
a key over every byte of the ZIP. In it, case.json names each file with its hash; acts are hashed, chained and signed by
their device; evidence is what an act declared; behaviors, journals and evidence are leaves under one signed tree head.
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
Claims = Iterator[tuple[bool, str]]  # whether something holds, and what there is to say if it does not


def sha256(text: str, domain: str = "") -> str:
    """In hex."""
    return hashlib.sha256((domain + text).encode()).hexdigest()


def signed_by(key: bytes, signature: bytes, message: str) -> bool:
    """Ed25519."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


def signed_note(note: str, keys: tuple[str, ...]) -> str | None:
    """The text of a note that one of the keys (name+id+key) has signed, the signature spelled in its one way."""
    text, _, lines = note.partition("\n\n")
    for name, key_id, key in (line.split("+", 2) for line in keys):
        for line in lines.splitlines(keepends=True):
            material = b64decode(line.rstrip("\n").split(" ")[2], validate=True)
            if material[:4].hex() == key_id and line == f"— {name} {b64encode(material).decode()}\n":
                return text if signed_by(b64decode(key)[1:], material[4:], f"{text}\n") else None
    return None


def root_over(leaf: bytes, index: int, size: int, path: list[str]) -> bytes:
    """The root of a tree of `size` leaves (RFC 9162, 2.1.1) from one of them and its neighbors, the nearest first."""
    if size == 1 or not path:
        return hashlib.sha256(b"\x00" + leaf).digest() if (index, size, path) == (0, 1, []) else b""
    left, neighbor = 1 << (size - 1).bit_length() - 1, bytes.fromhex(path[-1])
    if index < left:
        return hashlib.sha256(b"\x01" + root_over(leaf, index, left, path[:-1]) + neighbor).digest()
    return hashlib.sha256(b"\x01" + neighbor + root_over(leaf, index - left, size - left, path[:-1])).digest()


def check_journals(runs: list[Row], acts: list[Row]) -> Claims:
    """Chains and signatures of devices, then each act's content against what its header commits to."""
    headers: dict[tuple[str, int], Row] = {}
    for run in runs:
        _, journal, _, _, last, head, *_ = run["statement"].split("\n")
        prev, hashes = None, dict[str, str]()
        for seq, header in enumerate(run["headers"], run["first"]):
            said = json.loads(header)
            follows = (said["journal"], said["seq"]) == (journal, seq) and prev in (None, said["prev"])
            yield follows, f"act {journal}:{seq}: is not the next of its journal"
            prev = hashes[str(seq)] = sha256(header, "fieldproof-act-v1\n")
            if seq <= int(last):  # what follows leads to the log and is not vouched for here
                headers[journal, seq] = said | {"hash": prev}
        key, signature = b64decode(run["public_key"]), urlsafe_b64decode(run["signature"] + "==")
        yield signed_by(key, signature, run["statement"]), f"journal {journal}: the device's signature does not verify"
        is_head = (run["journal"], hashes.get(last)) == (journal, head)
        yield is_head, f"journal {journal}: the signed head is not that of the acts"
    for act in acts:
        name = f"act {act['journal']}:{act['seq']}"
        found = json.loads(act["header"]) if act["office"] else headers.get((act["journal"], act["seq"]))
        if found is None:
            yield False, f"{name}: is in no signed journal"
            continue
        for part in (part for part in ("body", "personal") if act[part] is not None):
            yield sha256(act[part]) == found[part], f"{name}: its {part} is not what its header commits to"
        if act["receipt"]:
            yield json.loads(act["receipt"])["act"] == found.get("hash"), f"{name}: its receipt is for another act"


def check_evidence(listed: list[Row], acts: list[Row], hashes: dict[str, str], leaves: list[Row]) -> Claims:
    """Each file against the act that declared it, and its chain of custody, of which the proof log names an entry."""
    members = [json.loads(leaf["leaf"]) for leaf in leaves if leaf["kind"] == "evidence"]
    named = {one["evidence"]: one["custody"] for one in members}
    declared = {(act["record"], json.loads(act["body"])["fields"].get("sha256")) for act in acts if act["body"]}
    for one in listed:
        name, chain = f"evidence {one['id']}", [""]
        for number, entry in enumerate(one["custody"], 1):
            said = json.loads(entry)
            follows = (said["evidence"], said["seq"], said["prev"]) == (one["id"], number, chain[-1])
            yield follows, f"{name}: custody entry {number} does not follow the one before it"
            chain.append(sha256(entry, "fieldproof-custody-v1\n"))
        anchored, captured = named.get(one["id"], "") in chain, hashes.get(one["file"], one["sha256"]) == one["sha256"]
        yield chain[-1] == one["custody_head"], f"{name}: its chain of custody was changed or cut short"
        yield anchored, f"{name}: its chain of custody lacks the entry that the proof log names"
        yield captured, f"{name}: the file is not what was captured"
        yield (one["id"], one["sha256"]) in declared, f"{name}: no act declares it"


def check_log(log: Row, keys: tuple[str, ...], wanted: set[str], contents: dict[str, Row]) -> Claims:
    """The tree head's signature, each leaf's proof, and that everything of the case is a leaf."""
    yield signed_note(log["checkpoint"], keys) is not None, "proof log: the tree head is not signed by the given key"
    _, size, root, *_ = log["checkpoint"].split("\n")
    for leaf in log["leaves"]:
        proven = root_over(leaf["leaf"].encode(), leaf["index"], int(size), leaf["path"]) == b64decode(root)
        yield proven, f"proof log: {leaf['kind']} {leaf['ref']}: its proof does not verify"
        said, content = json.loads(leaf["leaf"]), contents.get(leaf["ref"], {})
        for part in (part for part in ("content", "personal") if content.get(part) is not None):
            fits = sha256(content[part]) == said.get(part)
            yield fits, f"behavior {leaf['ref']}: its {part} is not what its leaf commits to"
        wanted -= {leaf["ref"], *(value for value in said.values() if isinstance(value, str))}
    yield from ((False, f"proof log: {missing} is not in it") for missing in sorted(wanted))


def check_bundle(bundle: Path, keys: tuple[str, ...]) -> Claims:
    """The signature over the ZIP, its files against their list, then what they say."""
    note = Path(f"{bundle}.sig").read_text("utf-8")
    with bundle.open("rb") as content:
        expected = [hashlib.file_digest(content, "sha256").hexdigest(), str(bundle.stat().st_size)]
    text = signed_note(note, keys)
    yield text is not None, "signature: BUNDLE.sig is not signed by the given key"
    is_signed = text is None or (text.split("\n")[2:] == expected and note.count("\n") == 6)
    yield is_signed, "signature: the ZIP is not the one that was signed"
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
    case, log = json.loads(files["case.json"]), json.loads(files["proof-log.json"])
    for name in sorted((hashes.keys() | case["files"].keys()) - {"case.json"}):
        yield hashes.get(name) == case["files"].get(name), f"file {name}: is missing, was added, or was changed"
    lists = {name: [json.loads(line) for line in files[f"{name}.jsonl"].splitlines()] for name in case["lists"]}
    yield from check_journals(lists["journals"], lists["acts"])
    yield from check_evidence(lists["evidence"], lists["acts"], hashes, log["leaves"])
    contents = {f"{row['id']}:{row['version']}": row for row in lists["behaviors"]}
    wanted = {*contents, *(one["sha256"] for one in lists["evidence"] if one["status"] == "verified")}
    wanted |= {sha256(run["headers"][-1], "fieldproof-act-v1\n") for run in lists["journals"]}
    yield from check_log(log, keys, wanted, contents)


def findings(bundle: Path, *keys: str) -> Iterator[str]:
    """One sentence for each thing that does not hold, given the trusted keys (name+id+key)."""
    yield from (finding for holds, finding in check_bundle(bundle, keys) if not holds)


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
