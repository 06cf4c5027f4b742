"""A captured picture: the file that is kept of it, and the fields that declare it as evidence."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes

from device_sim.handheld.store import EvidenceFile

MAX_SUFFIX_CHARS = 10


@dataclass(frozen=True, slots=True)
class Picture:
    """A captured file before it is evidence: its bytes, name and type, when and where it was taken."""

    content: bytes
    file_name: str
    media_type: str
    captured_at: str
    position: Mapping[str, Any]
    caption: str


def file_of(evidence: str, picture: Picture) -> EvidenceFile:
    """The file that is kept of a picture, hashed at once."""
    file_name = f"{evidence}{Path(picture.file_name).suffix.lower()[:MAX_SUFFIX_CHARS]}"
    sha256 = hashlib.sha256(picture.content).hexdigest()
    return EvidenceFile(evidence, file_name, sha256, len(picture.content), picture.media_type)


def declaration(inspection: str, file: EvidenceFile, picture: Picture) -> dict[str, Any]:
    """The fields by which a picture becomes evidence of an inspection."""
    digest_sm3 = hashes.Hash(hashes.SM3())
    digest_sm3.update(picture.content)
    return {
        "inspection": inspection, "sha256": file.sha256, "sm3": digest_sm3.finalize().hex(),
        "size_bytes": file.size_bytes, "media_type": file.media_type, "captured_at": picture.captured_at,
        "position": dict(picture.position), "file_name": picture.file_name, "caption": picture.caption,
    }  # fmt: skip
