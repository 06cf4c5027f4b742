"""The power loss run: record the real platform at work, then open what losing power at any instant would leave."""

import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flask.testing import FlaskClient

from server.config import load_settings
from server.records.service import start_epoch
from server.runtime import Runtime
from server.tables import METADATA
from tests.field_device import FieldDevice, World, make_world
from tests.power_loss.recording import RecordedDatabase, Recording
from tests.power_loss.replay import Image, faults, images
from tests.simulation.in_process import SimClock, application, fast_folder
from tests.simulation.run import WORKER_STEPS

PUSHES = 60
MOST_ACTS = 6


@dataclass
class Recorded:
    """A platform that worked for a while, and everything it wrote to its files."""

    base: dict[str, bytes]
    recording: Recording
    written: dict[tuple[str, int], bytes] = field(default_factory=dict)


@dataclass
class Result:
    """What came of one run."""

    synchronous: str
    images: int = 0
    unsynced: int = 0
    """Images with writes that were on their way."""
    promised: int = 0
    """Acknowledged acts looked for, over all images."""
    bad: int = 0
    """Images with something wrong."""
    first_fault: str = ""

    def plus(self, other: "Result") -> "Result":
        """Return the sum of two."""
        return Result(
            self.synchronous, self.images + other.images, self.unsynced + other.unsynced,
            self.promised + other.promised, self.bad + other.bad, self.first_fault or other.first_fault,
        )  # fmt: skip


def record(folder: Path, seed: int, synchronous: str) -> Recorded:
    """Let the platform take in pushes and do its background work on recorded files."""
    chance = random.Random(f"power loss {seed}")
    settings = load_settings({"FIELDPROOF_HOME": str(folder)})
    settings.keys_dir.mkdir(parents=True)
    recording = Recording()
    database = RecordedDatabase(settings.database_url, recording, synchronous)
    rt = Runtime(settings, database, SimClock(), chance.randbytes)
    METADATA.create_all(database.engine)
    with database.write() as session:
        start_epoch(session, rt)
    world = make_world(rt)
    devices = [FieldDevice(rt, officer, seed=index) for index, officer in enumerate(world.officers)]
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    base = {path.name: path.read_bytes() for path in folder.glob("*.db")}
    recording.steps.clear()
    app = application()
    app.extensions["fieldproof"] = rt
    found = Recorded(base, recording)
    _work(rt, world, devices, app.test_client(), chance, recording)
    for device in devices:
        for seq, parts in enumerate(device.acts, start=1):
            found.written[device.journal, seq] = parts.header + parts.body + parts.personal
    database.dispose()
    return found


def _work(
    rt: Runtime,
    world: World,
    devices: list[FieldDevice],
    client: FlaskClient,
    chance: random.Random,
    recorded: Recording,
) -> None:
    for number in range(PUSHES):
        device = chance.choice(devices)
        first = len(device.acts) + 1
        for _ in range(chance.randint(1, MOST_ACTS)):
            fields = {"entity": world.entity, "notes": f"记录 {number}", "contact": "样例联系人"}
            device.write("inspection", rt.new_id(), fields)
        reply = device.push(client, device.segment(first))
        if reply.status_code != 200:
            raise AssertionError(reply.text)
        recorded.acknowledge(reply.data)
        if chance.random() < 0.1:
            chance.choice(WORKER_STEPS).run(rt)


def lose_power(seed: int, wanted: int, synchronous: str = "FULL") -> Iterator[Result]:
    """Yield the result so far after each image."""
    folder = Path(tempfile.mkdtemp(prefix="fieldproof-power-loss-", dir=fast_folder()))
    result = Result(synchronous)
    try:
        recorded = record(folder / "home", seed, synchronous)
        (folder / "image").mkdir()
        for image in images(recorded.base, recorded.recording, wanted, random.Random(f"images {seed}")):
            _count(result, image, faults(image, folder / "image", recorded.written))
            yield result
    finally:
        shutil.rmtree(folder)


def _count(result: Result, image: Image, found: list[str]) -> None:
    result.images += 1
    result.unsynced += image.unsynced > 0
    result.promised += len(image.promised)
    if found:
        result.bad += 1
        result.first_fault = result.first_fault or f"after step {image.at}, {image.mode}: {found[0]}"
