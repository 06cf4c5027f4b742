"""The photo soak: handhelds upload photos while the real server is killed with -9 again and again.

Half of the records are declared before their photos arrive and half afterwards; some photos go whole, some in pieces.
In the end every photo must be verified evidence, attached exactly once, byte for byte in the store, its chain whole.
"""

import base64
import hashlib
import queue
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from sqlalchemy import select

from server.config import load_settings
from server.devices.models import Device
from server.evidence import ledger
from server.evidence.hashing import digest_stream
from server.evidence.models import Blob, CustodyEntry, Evidence, Upload
from server.evidence.service import declare
from server.evidence.settlement import reconcile_step, sweep_step
from server.evidence.stores import open_store
from server.officers.models import Officer
from server.records.service import start_epoch
from server.runtime import build_runtime
from server.tables import METADATA
from server.web.auth import issue_token
from tests.soak.load import SoakFailed
from tests.soak.parent import Parent

HANDHELDS = 4
PHOTO_BYTES = 200_000
PIECE_BYTES = 70_000
REQUEST_S = 20.0
LONGEST_WAIT_S = 15.0
"""A life ends after this long even if its share of the photos has not arrived."""
LATEST_KILL_S = 0.03
"""A kill comes up to this long after the photo that it waits for, so that it hits any moment of the next one."""
PAUSE_S = 0.02
PATH = "/api/v1/evidence/uploads"
TUS = {"Tus-Resumable": "1.0.0"}
BODY = {"Content-Type": "application/offset+octet-stream"}


@dataclass
class PhotoSoak:
    """A server that is killed, and handhelds that upload to it."""

    home: Path
    seed: int
    photos: int
    kills: int = 0
    attempts: int = 0
    """Uploads that a kill broke off, or that had to wait."""
    _acknowledged: list[str] = field(default_factory=list)
    _faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Fill a new database, make the photos, and load the server's code."""
        self.random = random.Random(f"photo soak {self.seed}")
        self.home.mkdir(parents=True, exist_ok=True)
        self.rt = build_runtime(load_settings({"FIELDPROOF_HOME": str(self.home)}))
        METADATA.create_all(self.rt.db.engine)
        until = self.rt.now() + timedelta(days=365)
        with self.rt.db.write() as session:
            start_epoch(session, self.rt)
            for name in map(str, range(HANDHELDS)):
                session.add(
                    Officer(
                        id=f"o{name}", name="张样例", certificate_number=name, certificate_valid_until=until,
                        region="420106", department="330",
                    )
                )  # fmt: skip
                session.flush()
                session.add(
                    Device(
                        id=f"d{name}", name=name, public_key=name.encode(), officer=f"o{name}", region="420106",
                        department="330", status="active", enrolled_at=self.rt.now(), pending_acts=0,
                    )
                )  # fmt: skip
        self.work: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.records = [self.rt.new_id() for _ in range(self.photos)]
        for record in self.records:
            self.work.put(record)
        self._declare(self.records[::2])
        self.server = Parent(self.home)

    def __enter__(self) -> Self:
        """Hand itself out."""
        return self

    def __exit__(self, *_: object) -> None:
        """End every process."""
        self.server.close()
        self.rt.db.dispose()

    def content(self, record: str) -> bytes:
        """The photo of a record, made anew each time from its id."""
        return random.Random(record).randbytes(PHOTO_BYTES)

    def device_of(self, record: str) -> str:
        """The handheld that took a photo."""
        return f"d{self.records.index(record) % HANDHELDS}"

    def _declare(self, records: list[str]) -> None:
        for record in records:
            data = self.content(record)
            fields = {
                "inspection": self.records[0], "sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data),
                "media_type": "image/jpeg", "file_name": "photo.jpg",
            }  # fmt: skip
            with self.rt.db.write() as session:
                device = self.device_of(record)
                declare(session, self.rt, record, fields, device=device, act_hash="ac" * 32, region="420106")

    def run(self, kills: int) -> Iterator[int]:
        """Upload everything while killing the server this many times; yields the number of kills after each.

        Raises:
            SoakFailed: a photo is missing, attached twice, or not what was taken.
        """
        handhelds = [threading.Thread(target=self._handheld, daemon=True) for _ in range(HANDHELDS)]
        self.server.start()
        for handheld in handhelds:
            handheld.start()
        for self.kills in range(1, kills + 1):
            self._wait_for(self.photos * self.kills // (kills + 1))
            time.sleep(self.random.uniform(0, LATEST_KILL_S))
            self.server.kill(signal.SIGKILL)
            self.server.start()
            yield self.kills
        for handheld in handhelds:
            handheld.join()
        self.server.kill(signal.SIGTERM)
        self._declare(self.records)
        while reconcile_step(self.rt):
            pass
        self._look()

    def _wait_for(self, photos: int) -> None:
        deadline = time.monotonic() + LONGEST_WAIT_S
        while len(self._acknowledged) < photos and time.monotonic() < deadline:
            time.sleep(0.001)

    def _handheld(self) -> None:
        while True:
            try:
                record = self.work.get_nowait()
            except queue.Empty:
                return
            try:
                self._upload(record)
            except SoakFailed as fault:
                self._faults.append(str(fault))

    def _upload(self, record: str) -> None:
        data, location = self.content(record), ""
        whole = self.records.index(record) % 3 > 0
        token = issue_token(self.rt, "device", self.device_of(record), 86_400).text
        headers = {"Authorization": f"Bearer {token}", **TUS}
        while True:
            try:
                location = location or self._create(headers, record, data, whole=whole)
                if whole or self._send(headers, location, data):
                    self._acknowledged.append(record)
                    return
            except (OSError, HTTPException):
                self.attempts += 1
                time.sleep(PAUSE_S)

    def _create(self, headers: dict[str, str], record: str, data: bytes, *, whole: bool) -> str:
        metadata = f"evidence {base64.b64encode(record.encode()).decode()}"
        created = {**headers, "Upload-Length": str(len(data)), "Upload-Metadata": metadata}
        status, answer = self._ask("POST", PATH, {**created, **BODY} if whole else created, data if whole else b"")
        if status != 201 or (whole and answer.get("Upload-Offset") != str(len(data))):
            raise SoakFailed(f"{record}: creation answered {status}")
        return urlsplit(answer["Location"]).path

    def _send(self, headers: dict[str, str], location: str, data: bytes) -> bool:
        status, answer = self._ask("HEAD", location, headers)
        if status != 200:
            raise SoakFailed(f"{location}: HEAD answered {status}")
        offset = int(answer["Upload-Offset"])
        while offset < len(data):
            piece = data[offset : offset + PIECE_BYTES]
            status, answer = self._ask("PATCH", location, {**headers, **BODY, "Upload-Offset": str(offset)}, piece)
            if status == 409:
                return False
            if status != 204:
                raise SoakFailed(f"{location}: PATCH answered {status}")
            offset = int(answer["Upload-Offset"])
        return True

    def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, dict[str, str]]:
        """Send one request on a connection of its own; a server that is busy is asked again."""
        while True:
            connection = HTTPConnection("127.0.0.1", self.server.port, timeout=REQUEST_S)
            try:
                connection.request(method, path, body or None, headers)
                response = connection.getresponse()
                response.read()
            finally:
                connection.close()
            if response.status not in (429, 503):
                return response.status, dict(response.headers.items())
            time.sleep(PAUSE_S)

    def _look(self) -> None:
        """Check every promise.

        Raises:
            SoakFailed: with the first that is broken.
        """
        if self._faults:
            raise SoakFailed(self._faults[0])
        store = open_store(self.rt.settings)
        with self.rt.db.read() as session:
            rows = {row.id: row for row in session.scalars(select(Evidence))}
            entries = Counter(
                (evidence, action)
                for evidence, body in session.execute(select(CustodyEntry.evidence, CustodyEntry.body))
                for action in ("upload", "verify")
                if f'"action":"{action}"'.encode() in body
            )
            for record in self.records:
                evidence = rows.get(record)
                if evidence is None or evidence.status != "verified":
                    raise SoakFailed(f"{record} is {evidence.status if evidence else 'not there'}")
                if entries[record, "verify"] != 1:
                    raise SoakFailed(f"{record} was attached {entries[record, 'verify']} times")
                if ledger.check(session, evidence):
                    raise SoakFailed(f"{record}: its chain of custody does not hold")
                with store.open(str(evidence.sha256)) as stream:
                    if digest_stream(stream).sha256 != hashlib.sha256(self.content(record)).hexdigest():
                        raise SoakFailed(f"{record}: the store has other bytes")
            blobs = len(session.scalars(select(Blob.sha256)).all())
            if blobs != self.photos:
                raise SoakFailed(f"{blobs} contents are stored for {self.photos} photos")
        sweep_step(self.rt)
        left = [path for path in (self.rt.settings.evidence_dir / "uploads").iterdir() if self._orphan(path)]
        if left:
            raise SoakFailed(f"{len(left)} files of uploads are left over")

    def _orphan(self, path: Path) -> bool:
        with self.rt.db.read() as session:
            return session.get(Upload, path.stem) is None
