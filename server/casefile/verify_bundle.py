"""Check a case bundle offline: python verify_bundle.py BUNDLE.zip KEY.pub

Stands alone: Python 3.11 or newer and the `cryptography` package; nothing of the platform, no network. KEY.pub is one
line, the key of the platform's proof log, received on another way than the bundle. Prints what does not hold, and exits
with 1 if anything does not.

BUNDLE.zip.sig beside the ZIP is signed by that key over every byte of the ZIP. Inside, each file is named with its
hash in case.json; each act is hashed, chained and signed by its device; each piece of evidence is what an act declared;
behaviors, journals and evidence are leaves of the proof log under one signed tree head.
"""

import base64
import hashlib
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAX_LIST_BYTES = 1 << 30


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


def signed_note(note: str, verifier: str) -> str | None:
    """Return the text of a signed note if the verifier key (name+id+key) has signed it, spelled in its one way."""
    name, key_id, key = verifier.split("+", 2)
    text, _, lines = note.partition("\n\n")
    for line in lines.splitlines(keepends=True):
        _, signer, encoded = line.rstrip("\n").split(" ")
        material = base64.b64decode(encoded, validate=True)
        spelled = f"— {signer} {base64.b64encode(material).decode()}\n"
        if signer == name and material[:4].hex() == key_id:
            good = line == spelled and signed_by(base64.b64decode(key)[1:], material[4:], text.encode() + b"\n")
            return text if good else None
    return None


def in_tree(leaf: bytes, index: int, size: int, path: list[str], root: bytes) -> bool:
    """RFC 9162, 2.1.3.2."""
    position, last, current = index, size - 1, hashlib.sha256(b"\x00" + leaf).digest()
    for sibling in map(bytes.fromhex, path):
        if last == 0:
            return False
        if position & 1 or position == last:
            current = hashlib.sha256(b"\x01" + sibling + current).digest()
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            current = hashlib.sha256(b"\x01" + current + sibling).digest()
        position, last = position >> 1, last >> 1
    return last == 0 and current == root


def check_signature(bundle: Path, note: str, verifier: str) -> Iterator[str]:
    """The detached signature over every byte of the ZIP."""
    with bundle.open("rb") as content:
        expected = [hashlib.file_digest(content, "sha256").hexdigest(), str(bundle.stat().st_size)]
    text = signed_note(note, verifier)
    if text is None:
        yield "signature: BUNDLE.sig is not signed by the given key"
    elif text.split("\n")[2:] != expected or note.count("\n") != 6:
        yield "signature: the ZIP is not the one that was signed"


def check_journals(runs: list[dict[str, Any]], acts: list[dict[str, Any]]) -> Iterator[str]:
    """Chains and signatures of devices, then each act's content against what its header commits to."""
    headers: dict[tuple[str, int], dict[str, Any]] = {}
    for run in runs:
        prev, hashes = None, dict[str, str]()
        for seq, header in enumerate(run["headers"], run["first"]):
            members, name = json.loads(header), f"{run['journal']}:{seq}"
            hashed = sha256(b"fieldproof-act-v1\n" + header.encode())
            if (members["journal"], members["seq"]) != (run["journal"], seq) or prev not in (None, members["prev"]):
                yield f"act {name}: is not the next of its journal"
            prev = hashed
            hashes[str(seq)] = hashed
            if seq <= int(run["statement"].split("\n")[4]):  # what follows leads to the log and is not vouched for here
                headers[run["journal"], seq] = members | {"hash": hashed}
        signature = base64.urlsafe_b64decode(run["signature"] + "==")
        if not signed_by(base64.b64decode(run["public_key"]), signature, run["statement"].encode()):
            yield f"journal {run['journal']}: the device's signature does not verify"
        last, head = run["statement"].split("\n")[4:6]
        if run["statement"].split("\n")[1] != run["journal"] or hashes.get(last) != head:
            yield f"journal {run['journal']}: the signed head is not that of the acts"
    for act in acts:
        name, journal = f"{act['journal']}:{act['seq']}", (act["journal"], act["seq"])
        header = json.loads(act["header"]) if act["office"] else headers.get(journal)
        if header is None:
            yield f"act {name}: is in no signed journal"
            continue
        for part in ("body", "personal"):
            if act[part] is not None and sha256(act[part].encode()) != header[part]:
                yield f"act {name}: its {part} is not what its header commits to"
        if act["receipt"] and json.loads(act["receipt"])["act"] != header.get("hash"):
            yield f"act {name}: its receipt is for another act"


def check_evidence(listed: list[dict[str, Any]], acts: list[dict[str, Any]], hashes: dict[str, str]) -> Iterator[str]:
    """Each file against the act that declared it and against its chain of custody."""
    declared = {(act["record"], json.loads(act["body"])["fields"].get("sha256")) for act in acts if act["body"]}
    for one in listed:
        prev = ""
        for number, entry in enumerate(one["custody"], 1):
            members = json.loads(entry)
            if (members["evidence"], members["seq"], members["prev"]) != (one["id"], number, prev):
                yield f"evidence {one['id']}: custody entry {number} does not follow the one before it"
            prev = sha256(b"fieldproof-custody-v1\n" + entry.encode())
        if prev != one["custody_head"]:
            yield f"evidence {one['id']}: its chain of custody was changed or cut short"
        if hashes.get(one["file"], one["sha256"]) != one["sha256"]:
            yield f"evidence {one['id']}: the file is not what was captured"
        if (one["id"], one["sha256"]) not in declared:
            yield f"evidence {one['id']}: no act declares it"


def check_log(log: dict[str, Any], verifier: str, wanted: set[str], contents: dict[str, Any]) -> Iterator[str]:
    """The tree head's signature, each leaf's proof, and that everything of the case is a leaf."""
    text = signed_note(log["checkpoint"], verifier)
    if text is None:
        yield "proof log: the tree head is not signed by the given key"
        return
    _, size, root, _ = text.split("\n")
    for leaf in log["leaves"]:
        name = f"{leaf['kind']} {leaf['ref']}"
        if not in_tree(leaf["leaf"].encode(), leaf["index"], int(size), leaf["path"], base64.b64decode(root)):
            yield f"proof log: {name}: its proof does not verify"
        members = json.loads(leaf["leaf"])
        for part in ("content", "personal"):
            text = contents.get(leaf["ref"], {}).get(part)
            if text is not None and sha256(text.encode()) != members.get(part):
                yield f"behavior {leaf['ref']}: its {part} is not what its leaf commits to"
        hashes = {value for value in members.values() if isinstance(value, str)}
        wanted -= hashes
        wanted.discard(leaf["ref"])
    for missing in sorted(wanted):
        yield f"proof log: {missing} is not in it"


def findings(bundle: Path, verifier: str) -> Iterator[str]:
    """Yield one sentence for each thing that does not hold, given the trusted key (name+id+key)."""
    yield from check_signature(bundle, Path(f"{bundle}.sig").read_text("utf-8"), verifier)
    files, hashes = dict[str, bytes](), dict[str, str]()
    with zipfile.ZipFile(bundle) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith((".json", ".jsonl")):  # the rest is hashed in pieces, and never held
                if entry.file_size > MAX_LIST_BYTES:
                    raise ValueError(f"{entry.filename} is too large")
                files[entry.filename] = archive.read(entry)
            with archive.open(entry) as content:
                hashes[entry.filename] = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
    case = json.loads(files["case.json"])
    del hashes["case.json"]
    for name in sorted(hashes.keys() | case["files"].keys()):
        if hashes.get(name) != case["files"].get(name):
            yield f"file {name}: is missing, was added, or was changed"
    lines = {name: [json.loads(line) for line in files[f"{name}.jsonl"].splitlines()] for name in case["lists"]}
    yield from check_journals(lines["journals"], lines["acts"])
    yield from check_evidence(lines["evidence"], lines["acts"], hashes)
    contents = {f"{row['id']}:{row['version']}": row for row in lines["behaviors"]}
    wanted = {*contents, *(one["sha256"] for one in lines["evidence"] if one["status"] == "verified")}
    wanted |= {sha256(b"fieldproof-act-v1\n" + run["headers"][-1].encode()) for run in lines["journals"]}
    yield from check_log(json.loads(files["proof-log.json"]), verifier, wanted, contents)


def main(bundle: str, key_file: str) -> int:
    """Check and say; returns the exit code."""
    found = []
    try:
        for finding in findings(Path(bundle), Path(key_file).read_text("utf-8").strip()):
            found.append(finding)  # noqa: PERF402 - what was found before something unreadable counts
    except (OSError, ValueError, LookupError, TypeError, zipfile.BadZipFile, RuntimeError) as error:
        found.append(f"not readable: {type(error).__name__}: {error}")
    print("\n".join(found) or "sound: every hash, chain, signature and proof holds")  # noqa: T201 - it is a script
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
