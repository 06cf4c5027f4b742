"""The crash soak: the real server under load, killed with -9 at seeded instants, again and again.

After each kill everything acknowledged so far in that life is looked up in the database: the act as it was written and
its receipt byte for byte. The next life answers a repeated push with the same bytes. In the end the whole database must
verify, and every act that was ever acknowledged is looked up once more.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import IO, Self, cast

from sqlalchemy import select

from server.config import load_settings
from server.prooflog.keys import load_key
from server.records.models import Act
from server.records.service import start_epoch
from server.runtime import build_runtime
from server.tables import METADATA
from server.verifying import verify_everything
from server.worker import run_once
from tests.field_device import FieldDevice, make_world
from tests.soak.load import Pusher, SoakFailed

HANDHELDS = 2
LONGEST_LIFE_S = 0.6
"""From the first push on, which takes a tenth of a second; later ones take a few milliseconds."""
SILENT_LIVES = 2
"""After so many without an answer, as on a busy machine, a life is measured from its first answer."""
READY_S = 120.0
"""Seconds for a start, even on a machine that does much else: only a server that never comes is a fault."""
PAGE = 500
WORKER_EVERY = 100
"""Kills between two rounds of the background steps, so that proofs grow too."""


@dataclass
class Tally:
    """What happened so far."""

    kills: int = 0
    acts: int = 0
    """Acts acknowledged."""
    pushes: int = 0
    unanswered: int = 0
    """Pushes that a kill left without an answer."""
    arrived: int = 0
    """How many of those had been committed all the same."""


@dataclass
class Soak:
    """A server that is killed, and its load."""

    home: Path
    seed: int
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        """Fill a new database and load the server's code."""
        self.random = random.Random(f"soak {self.seed}")
        self.home.mkdir(parents=True, exist_ok=True)
        self.rt = build_runtime(load_settings({"FIELDPROOF_HOME": str(self.home)}))
        METADATA.create_all(self.rt.db.engine)
        with self.rt.db.write() as session:
            start_epoch(session, self.rt)
        self.rt.settings.keys_dir.mkdir(exist_ok=True)
        load_key(self.rt.settings)
        world = make_world(self.rt)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._answered = threading.Event()
        devices = [FieldDevice(self.rt, world.officers[index], seed=index) for index in range(HANDHELDS)]
        self.pushers = [
            Pusher(world, device, self.port, random.Random(index), self._answered)
            for index, device in enumerate(devices)
        ]
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.server_process", str(self.home), str(self.port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        self._server = 0
        self._silent = 0

    def __enter__(self) -> Self:
        """Hand itself out."""
        return self

    def __exit__(self, *_: object) -> None:
        """End every process."""
        if self._server:
            self._kill()
        cast("IO[str]", self._parent.stdin).close()
        self._parent.wait()
        cast("IO[str]", self._parent.stdout).close()
        self.rt.db.dispose()

    def run(self, kills: int) -> Iterator[Tally]:
        """Kill the server this many times; yields after each.

        Raises:
            SoakFailed: a promise was broken.
        """
        for number in range(1, kills + 1):
            self._live()
            self._look_up()
            if number % WORKER_EVERY == 0:
                run_once(self.rt)
            self.tally.kills = number
            yield self.tally
        self._final_look()

    def _ask(self, command: str) -> str:
        parent_in, parent_out = cast("IO[str]", self._parent.stdin), cast("IO[str]", self._parent.stdout)
        parent_in.write(f"{command}\n")
        parent_in.flush()
        return parent_out.readline().strip()

    def _live(self) -> None:
        """One life of the server: from its start to its end in the middle of work."""
        self._server = int(self._ask("start"))
        self._await_ready()
        self._answered.clear()
        barrier = threading.Barrier(HANDHELDS + 1)
        threads = [threading.Thread(target=pusher.run, args=(barrier,)) for pusher in self.pushers]
        for thread in threads:
            thread.start()
        barrier.wait()
        if self._silent >= SILENT_LIVES:
            self._answered.wait(READY_S)
        time.sleep(self.random.uniform(0, LONGEST_LIFE_S))
        self._kill()
        for thread in threads:
            thread.join()
        self._silent = 0 if self._answered.is_set() else self._silent + 1
        for pusher in self.pushers:
            if pusher.failure:
                raise SoakFailed(pusher.failure)

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=READY_S)
            try:
                connection.request("GET", "/ready")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                time.sleep(0.005)
            finally:
                connection.close()
        raise SoakFailed("the server did not come up again")

    def _kill(self) -> None:
        os.killpg(self._server, signal.SIGKILL)
        self._ask("wait")
        self._server = 0

    def _look_up(self) -> None:
        """Everything acknowledged in the life that just ended is there."""
        for pusher in self.pushers:
            self._compare(pusher, pusher.fresh)
            pusher.fresh.clear()
            if pusher.unanswered is not None:
                self.tally.unanswered += 1
                self.tally.arrived += self._stored(pusher, [pusher.unanswered[0]]) != {}
        self.tally.acts = sum(len(pusher.receipts) for pusher in self.pushers)
        self.tally.pushes = sum(pusher.pushes for pusher in self.pushers)

    def _stored(self, pusher: Pusher, numbers: list[int]) -> dict[int, Act]:
        with self.rt.db.read() as session:
            query = select(Act).where(Act.journal == pusher.device.journal, Act.seq.in_(numbers))
            stored = {act.seq: act for act in session.scalars(query)}
            session.expunge_all()  # what was read stays readable after the session
        return stored

    def _compare(self, pusher: Pusher, receipts: dict[int, bytes]) -> None:
        numbers = sorted(receipts)
        for start in range(0, len(numbers), PAGE):
            page = numbers[start : start + PAGE]
            stored = self._stored(pusher, page)
            for seq in page:
                act, parts = stored.get(seq), pusher.device.acts[seq - 1]
                if act is None:
                    raise SoakFailed(f"acknowledged act {pusher.device.journal}:{seq} is gone")
                same = (act.header, act.body, act.personal) == (parts.header, parts.body, parts.personal)
                if not same or act.receipt != receipts[seq]:
                    raise SoakFailed(f"acknowledged act {pusher.device.journal}:{seq} is not as it was acknowledged")

    def _final_look(self) -> None:
        for pusher in self.pushers:
            self._compare(pusher, pusher.receipts)
        run_once(self.rt)
        findings = [f"{check.name}: {check.findings[:3]}" for check in verify_everything(self.rt) if check.findings]
        if findings:
            raise SoakFailed("; ".join(findings))
