"""Uploading evidence by tus 1.0 (https://tus.io/protocols/resumable-upload): what has arrived is not sent again."""

from __future__ import annotations

import base64
from dataclasses import replace
from urllib.parse import urlsplit

import httpx

from device_sim.handheld.link import Again, Link, Refused
from device_sim.handheld.store import EvidenceFile, HandheldStore

UPLOADS_PATH = "/api/v1/evidence/uploads"
CHUNK_BYTES = 256 * 1024
_TUS = {"Tus-Resumable": "1.0.0"}
_GONE = (404, 410)
_CUT = (400, 409, 423, 460)
"""Answers to a request that did not arrive as it was sent, or that another one has overtaken."""
BODY_TYPE = "application/offset+octet-stream"
MAX_CREATIONS = 5
"""Uploads begun anew for one file in one go before giving up."""


class Uploader:
    """Uploads captured files, one after the other, in chunks."""

    def __init__(self, store: HandheldStore, link: Link) -> None:
        self.store, self.link = store, link
        self.chunk_bytes = CHUNK_BYTES

    def upload(self) -> int:
        """Upload everything not uploaded yet; returns how many files were finished.

        One file that is refused or cannot be read does not keep the others waiting: it stays pending, and the first
        such fault is raised at the end. Raises `Refused`, `OSError`, and at once `Unreachable`.
        """
        finished, fault = 0, None
        for evidence in self.store.evidence(uploaded=False):
            try:
                self._upload_file(evidence)
                finished += 1
            except (Refused, OSError) as error:
                self.link.counts["uploads_failed"] += 1
                fault = fault or error
        if fault is not None:
            raise fault
        return finished

    def _upload_file(self, evidence: EvidenceFile) -> None:
        for _ in range(MAX_CREATIONS):
            untouched = not evidence.upload
            if untouched and 0 < evidence.size_bytes <= self.chunk_bytes:
                self._send_whole(evidence)
                return
            current = self._create(evidence) if untouched else evidence
            try:
                self._send_all(current, untouched=untouched)
            except Refused as error:
                if error.status not in _GONE:
                    raise
                evidence = replace(evidence, upload="", offset_bytes=0)  # the server has forgotten this upload
                self.store.keep_evidence(evidence)
                continue
            self._note_finished(current)
            return
        raise Refused(404, {"code": "not-found", "detail": "uploads vanish as soon as they are created"})

    def _send_whole(self, evidence: EvidenceFile) -> None:
        """Send a small file with the request that creates its upload; repeating it finds the same upload."""
        content = (self.store.evidence_folder / evidence.file_name).read_bytes()

        def attempt() -> EvidenceFile:
            self.link.counts["upload_bytes"] += len(content)
            headers = {**_creation(evidence), "Content-Type": BODY_TYPE}
            try:
                response = self.link.request("POST", UPLOADS_PATH, content=content, headers=headers)
            except Refused as error:
                if error.status in _CUT:
                    raise Again(str(error)) from error
                raise
            if self._offset(response) != len(content):
                raise Again("the server did not take the whole file")
            return replace(evidence, upload=_path_of(response))

        self._note_finished(self.link.attempt(attempt))

    def _note_finished(self, evidence: EvidenceFile) -> None:
        self.store.keep_evidence(replace(evidence, offset_bytes=evidence.size_bytes, uploaded=1))
        self.link.counts["evidence_uploaded"] += 1

    def _create(self, evidence: EvidenceFile) -> EvidenceFile:
        headers = _creation(evidence)
        response = self.link.attempt(lambda: self.link.request("POST", UPLOADS_PATH, headers=headers))
        created = replace(evidence, upload=_path_of(response))
        self.store.keep_evidence(created)
        return created

    def _send_all(self, evidence: EvidenceFile, *, untouched: bool) -> None:
        """Send all that is missing; after any fault it begins where the server says that it stands."""
        first = untouched

        def attempt() -> None:
            nonlocal first
            ask, first = not first, False
            offset = self._offset(self.link.request("HEAD", evidence.upload, headers=_TUS)) if ask else 0
            if offset:
                self.link.counts["uploads_resumed"] += 1
            self._send_from(evidence, offset)

        self.link.attempt(attempt)

    def _send_from(self, evidence: EvidenceFile, offset: int) -> None:
        with (self.store.evidence_folder / evidence.file_name).open("rb") as stream:
            while offset < evidence.size_bytes:
                stream.seek(offset)
                offset = self._send(evidence, offset, stream.read(self.chunk_bytes))
                self.store.keep_evidence(replace(evidence, offset_bytes=offset))

    def _send(self, evidence: EvidenceFile, offset: int, chunk: bytes) -> int:
        headers = {**_TUS, "Upload-Offset": str(offset), "Content-Type": BODY_TYPE}
        self.link.counts["upload_bytes"] += len(chunk)
        try:
            response = self.link.request("PATCH", evidence.upload, content=chunk, headers=headers)
        except Refused as error:
            if error.status in _CUT:
                # Another request of ours was counted meanwhile, or this one arrived in part: ask where it stands.
                raise Again(str(error)) from error
            raise
        return self._offset(response)

    @staticmethod
    def _offset(response: httpx.Response) -> int:
        text = response.headers.get("Upload-Offset", "")
        if not text.isdecimal():
            raise Again("the answer has no Upload-Offset")
        return int(text)


def _creation(evidence: EvidenceFile) -> dict[str, str]:
    """The headers that create the upload of a file."""
    metadata = {"evidence": evidence.id, "filename": evidence.file_name, "sha256": evidence.sha256}
    pairs = (f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in metadata.items())
    return {**_TUS, "Upload-Length": str(evidence.size_bytes), "Upload-Metadata": ",".join(pairs)}


def _path_of(response: httpx.Response) -> str:
    """The path of a created upload: the server may name itself by an address this device does not reach it by."""
    path: str = urlsplit(response.headers.get("Location", "")).path
    if not path:
        raise Refused(response.status_code, {"detail": "the upload was created without a Location"})
    return path
