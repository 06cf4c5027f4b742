"""Writing a case bundle: one ZIP, and beside it a signature over every byte of it.

    case.json            what this is, the hash of every other file
    records.jsonl        merged records as they are served
    acts.jsonl           every act on them: what was written, by whom, when, on which device, and what became of it
    journals.jsonl       headers of devices' journals up to heads that the devices have signed
    evidence.jsonl       declared evidence with its chain of custody
    behaviors.jsonl      supervision behaviors, all versions
    proof-log.json       signed tree head, inclusion proofs, witnesses, time stamp
    record.pdf           the inspection record (现场检查笔录)
    evidence/ID.EXT      the bytes as they were captured

The signature is a signed note, as checkpoints are, by the key of the proof log; its first line keeps it from being
taken for a checkpoint. `server/casefile/verify_bundle.py` checks all of it and needs nothing of the platform.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy.orm import Session

from server.casefile.collecting import Case, Row, bundled_evidence, collect
from server.casefile.record import MAX_PICTURES, record_of, typeset
from server.evidence import ledger
from server.evidence.derivatives import THUMBNAIL, find_derivative
from server.evidence.models import VERIFIED
from server.evidence.stores import open_store
from server.prooflog.keys import SigningKey, load_key
from server.runtime import Runtime
from sync.checkpoints import Signature

FORMAT = "fieldproof-case-v1"
CHUNK_BYTES = 1 << 20
LISTS = ("records", "acts", "journals", "evidence", "behaviors")
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Files in the ZIP carry no time of their own: the same case gives the same bytes."""

Progress = Callable[[str], None]


def export_case(rt: Runtime, inspection: str, path: Path, *, actor: str, tell: Progress = lambda _: None) -> Row:
    """Write the bundle of an inspection to `path` and its signature to `path` + `.sig`.

    Handing evidence out is an entry in its chain of custody, made first, so that the bundle shows it too.
    The files appear whole or not at all.

    Returns:
        What was written: `{"case", "files", "size_bytes", "sha256"}`.

    Raises:
        Problem: as :func:`server.casefile.collecting.collect`.
        OSError: the bundle cannot be written, or evidence not read.
    """
    with rt.db.write() as session:
        for row in bundled_evidence(session, inspection):
            if row.status == VERIFIED and (locked := ledger.lock_evidence(session, row.id)) is not None:
                ledger.append(session, rt, locked, "export", actor=actor, detail={"case": inspection})
    with rt.db.read() as session:
        case = collect(session, inspection)
        record = record_of(session, case, _pictures(session, rt, case))
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with fresh.open("xb") as out:
            count = _write(rt, case, typeset(record, rt.now()), out, tell)
            out.flush()
            os.fsync(out.fileno())
        size_bytes, digest = fresh.stat().st_size, _hash_of(fresh)
        note = signed_note(load_key(rt.settings), inspection, digest, size_bytes)
        Path(f"{path}.sig").write_bytes(note)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return {"case": inspection, "files": count, "size_bytes": size_bytes, "sha256": digest}


def _pictures(session: Session, rt: Runtime, case: Case) -> dict[str, bytes]:
    """Read the thumbnails that the worker has drawn, as many as the record shows."""
    store = open_store(rt.settings)
    found: dict[str, bytes] = {}
    for row in case.evidence:
        drawn = find_derivative(session, row["id"], THUMBNAIL)
        if drawn is not None and row["file"] is not None and len(found) < MAX_PICTURES:
            with store.open(drawn.sha256) as content:
                found[row["id"]] = content.read()
    return found


def signed_note(key: SigningKey, inspection: str, digest: str, size_bytes: int) -> bytes:
    """Return the detached signature: what is signed in plain text, and the signature line."""
    body = f"{FORMAT}\n{inspection}\n{digest}\n{size_bytes}\n".encode()
    verifier = key.verifier
    return body + b"\n" + Signature(verifier.name, verifier.key_id(), key.sign(body)).line()


def _write(rt: Runtime, case: Case, record: bytes, out: BinaryIO, tell: Progress) -> int:
    """Write all files; returns how many."""
    hashes: dict[str, str] = {}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in LISTS:
            rows: list[Row] = getattr(case, name)
            _add(archive, hashes, f"{name}.jsonl", (_json(row) + b"\n" for row in rows))
        _add(archive, hashes, "proof-log.json", [_json(case.proof_log)])
        _add(archive, hashes, "record.pdf", [record])
        store = open_store(rt.settings)
        for row in case.evidence:
            if row["file"] is None:
                continue
            with store.open(row["sha256"]) as content:
                _add(archive, hashes, row["file"], iter(lambda: content.read(CHUNK_BYTES), b""), compress=False)
            tell(row["file"])
        index = {
            "format": FORMAT,
            "case": case.inspection,
            "region": case.region,
            "department": case.department,
            "made_at": _text(rt.now()),
            "lists": list(LISTS),
            "files": hashes,
        }
        _add(archive, {}, "case.json", [json.dumps(index, ensure_ascii=False, indent=1).encode()])
    return len(hashes) + 1


def _add(
    archive: zipfile.ZipFile, hashes: dict[str, str], name: str, chunks: Iterable[bytes], *, compress: bool = True
) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    hasher = hashlib.sha256()
    with archive.open(entry, "w", force_zip64=True) as out:
        for chunk in chunks:
            hasher.update(chunk)
            out.write(chunk)
    hashes[name] = hasher.hexdigest()


def _hash_of(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _json(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()


def _text(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")
