"""Records what the handheld of this build sends and what the server answers: a file that every later build replays.

`python -m tests.recorded.recorder` writes tests/recorded/handheld-<version>.json. It is run once, at a release:
recorded files are never written again once the changelog names the version: they stand for handhelds in the field.
"""

import json
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device_sim.handheld.client import Handheld
from device_sim.handheld.outside import Outside
from device_sim.handheld.picture import Picture
from server.app import create_app
from server.config import load_settings
from server.db.engine import Database
from server.records.service import start_epoch
from server.runtime import Runtime
from server.tables import METADATA
from tests.conftest import FakeClock
from tests.project_tree import ROOT
from tests.recorded import world

FOLDER = Path(__file__).parent
STEP_S = 30.0
"""Seconds between two requests."""
KEPT_HEADERS = (
    "content-type",
    "tus-resumable",
    "upload-length",
    "upload-metadata",
    "upload-offset",
    "fieldproof-clock",
    "fieldproof-pending",
)
POSITION = {"lat": 30.55, "lon": 114.31, "datum": "WGS-84"}


class Recorder(httpx.BaseTransport):
    """Passes requests on to the application and writes down both sides."""

    def __init__(self, inner: httpx.BaseTransport, clock: FakeClock) -> None:
        """Record what goes over `inner`."""
        self.inner, self.clock, self.handheld = inner, clock, 0
        self.exchanges: list[dict[str, Any]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Pass one request on."""
        sent = request.read()
        response = self.inner.handle_request(request)
        received = response.read()
        self.exchanges.append(
            {
                "handheld": self.handheld,
                "after_s": (self.clock.now() - world.START).total_seconds(),
                "method": request.method,
                "path": request.url.raw_path.decode(),
                "headers": {name: request.headers[name] for name in KEPT_HEADERS if name in request.headers},
                "authorized": "authorization" in request.headers,
                "body": sent.decode(),
                "status": response.status_code,
                "location": urlsplit(response.headers.get("location", "")).path,
                "reply": received.decode(),
            }
        )
        self.clock.advance(STEP_S)
        headers = {
            name: value
            for name, value in response.headers.items()
            if name not in ("content-encoding", "content-length")
        }
        return httpx.Response(response.status_code, headers=headers, content=received)


@contextmanager
def platform(home: Path, clock: FakeClock) -> Iterator[Runtime]:
    """An empty platform in a folder."""
    settings = load_settings({"FIELDPROOF_HOME": str(home)})
    settings.keys_dir.mkdir(parents=True)
    for name in ("jwt", "cursor", "proof-log"):
        (settings.keys_dir / f"{name}.secret").write_text(random.Random(name).randbytes(32).hex())
    database = Database(settings.database_url)
    METADATA.create_all(database.engine)
    rt = Runtime(settings, database, clock, random.Random("platform").randbytes)
    with database.write() as session:
        start_epoch(session, world.GivenIds(settings, database, clock, rt.random_bytes, ids=(world.EPOCH,)))
    yield rt
    database.dispose()


def record(folder: Path) -> dict[str, Any]:
    """Let two handhelds work on one inspection, contradict each other and sync; returns the recording."""
    clock = FakeClock(world.START)
    with platform(folder / "home", clock) as rt:
        world.fill(rt)
        recorder = Recorder(httpx.WSGITransport(create_app(rt)), clock)
        client = httpx.Client(transport=recorder, base_url="http://platform.example")
        handhelds = [_handheld(folder, number, client, clock) for number in range(2)]
        devices = [_enrol(rt, recorder, number, handheld) for number, handheld in enumerate(handhelds)]
        first, second = handhelds
        for number, handheld in enumerate(handhelds):
            recorder.handheld = number
            handheld.pull()
        _work(first)
        form = second.open("inspection", world.INSPECTION)
        second.write(form, {"result": "06", "conclusion": "样例：不同意见", "notes": "第二执法人员"})
        for number in (0, 1, 0):
            recorder.handheld = number
            handhelds[number].sync()
        return {"about": ABOUT, "devices": devices, "exchanges": recorder.exchanges}


ABOUT = (
    "Traffic of a released handheld: requests as sent (tokens left out) and what came back. "
    "`after_s` is the server's time since 2026-03-02T01:00:00Z."
)


def _handheld(folder: Path, number: int, client: httpx.Client, clock: FakeClock) -> Handheld:
    rng = random.Random(f"handheld {number}")
    outside = Outside(
        wall_ms=lambda: round(clock.now().timestamp() * 1000) - 3_600_000,
        mono_ms=lambda: round((clock.now() - world.START).total_seconds() * 1000),
        random_bytes=rng.randbytes,
        jitter=lambda: 0.5,
        sleep=lambda _seconds: None,
    )
    return Handheld(folder / f"handheld-{number}", client, outside=outside, key=_key(number))


def _key(number: int) -> bytes:
    return bytes([number + 1]) * 32


def _enrol(rt: Runtime, recorder: Recorder, number: int, handheld: Handheld) -> dict[str, Any]:
    recorder.handheld = number
    answer = handheld.client.post(
        "/api/v1/sign-in", json={"login": world.LOGINS[number], "password": world.PASSWORD}
    )  # fmt: skip
    handheld.enrol(answer.json()["token"], world.OFFICERS[number], f"样例终端{number}")
    with rt.db.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE device SET status = 'active'")
    public = Ed25519PrivateKey.from_private_bytes(_key(number)).public_key().public_bytes_raw()
    return {"id": handheld.device, "public_key": public.hex(), "officer": world.OFFICERS[number]}


def _work(handheld: Handheld) -> None:
    """Acts of every kind that a handheld writes, personal fields, evidence, a set, a removal and a deletion."""
    inspection = world.INSPECTION
    handheld.write(handheld.open("task", world.TASK), {"status": "signed_for"})
    started = {"started_at": "2026-03-02T09:10:00+08:00", "position": POSITION, "result": "01"}
    handheld.write(handheld.open("inspection", inspection), started)
    handheld.write(handheld.open("inspection", inspection), {"conclusion": "样例：一致", "contact": "样例联系人"})
    picture = Picture(b"sample picture", "a.jpg", "image/jpeg", "2026-03-02T09:12:00+08:00", POSITION, "现场")
    evidence = handheld.capture(inspection, picture)
    answer, mistake = (handheld.outside.new_id() for _ in range(2))
    fields = {"inspection": inspection, "number": "1", "outcome": "fail", "severity": "major", "finding": "样例发现"}
    added = handheld.write(handheld.open("answer", answer), fields | {"evidence": {"add": [evidence]}})
    handheld.write(handheld.open("answer", answer), {"evidence": {"remove": [str(added)]}})
    handheld.write(handheld.open("answer", mistake), {"inspection": inspection, "number": "2", "outcome": "pass"})
    handheld.delete(handheld.open("answer", mistake))
    order = {
        "inspection": inspection, "entity": world.ENTITY, "answer": answer, "requirement": "限期改正",
        "deadline": "2026-03-17T09:10:00+08:00", "status": "ordered",
    }  # fmt: skip
    handheld.write(handheld.open("rectification", handheld.outside.new_id()), order)


def main() -> None:
    """Write the recording of this build."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER / f"handheld-{version('fieldproof')}.json"
    if path.exists() and f"## [{version('fieldproof')}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"):
        sys.exit(f"{path} exists: what was released does not change")
    folder = Path(tempfile.mkdtemp())
    try:
        recording = record(folder)
    finally:
        shutil.rmtree(folder)
    path.write_text(json.dumps(recording, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
