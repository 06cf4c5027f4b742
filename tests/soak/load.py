"""The load: handhelds that push acts, push them again, and remember every receipt they were given."""

import json
import random
import threading
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException

from server.web.auth import issue_token
from sync.journal import SEGMENT_TYPE
from tests.field_device import FieldDevice, World

TOKEN_S = 10 * 86_400
MOST_ACTS = 12
AGAIN = 0.2
"""How often an acknowledged segment is pushed once more."""
TIMEOUT_S = 20.0


class SoakFailed(AssertionError):
    """A promise was broken: something acknowledged is gone or changed, or the server answered with a fault."""


@dataclass
class Pusher:
    """One handheld; `receipts` is everything that was acknowledged to it."""

    world: World
    device: FieldDevice
    port: int
    random: random.Random
    answered: threading.Event
    """Set by every answer."""
    receipts: dict[int, bytes] = field(default_factory=dict)
    fresh: dict[int, bytes] = field(default_factory=dict)
    """Receipts since the last look into the database."""
    segments: list[tuple[int, bytes]] = field(default_factory=list)
    unanswered: tuple[int, bytes] | None = None
    records: list[tuple[str, str]] = field(default_factory=list)
    failure: str = ""
    pushes: int = 0

    def __post_init__(self) -> None:
        """Sign in for good."""
        token = issue_token(self.device.rt, "device", self.device.id, TOKEN_S).text
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": SEGMENT_TYPE}

    def run(self, started: threading.Barrier) -> None:
        """Push until the server is gone."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        started.wait()
        try:
            while True:
                self._push(connection, *self._next())
        except (HTTPException, OSError):
            return  # killed: what was not answered is pushed again after the next start
        except SoakFailed as failure:
            self.failure = str(failure)
        finally:
            connection.close()

    def _next(self) -> tuple[int, bytes]:
        if self.unanswered is not None:
            return self.unanswered
        if self.segments and self.random.random() < AGAIN:
            return self.random.choice(self.segments[-50:])
        first = len(self.device.acts) + 1
        for _ in range(self.random.randint(1, MOST_ACTS)):
            self._write()
        self.unanswered = (first, self.device.segment(first))
        return self.unanswered

    def _write(self) -> None:
        text = {"notes": f"记录 {self.random.randrange(10**6)}", "contact": "样例联系人"}
        if self.records and self.random.random() < 0.4:
            at = self.random.randrange(len(self.records))
            record, seen = self.records[at]
            self.device.write("inspection", record, text | {"scene": "乙"}, [seen])
        else:
            at, record = len(self.records), self.device.rt.new_id()
            self.device.write("inspection", record, text | {"entity": self.world.entity, "result": "01"})
            self.records.append((record, ""))
        self.records[at] = (record, f"{self.device.journal}:{len(self.device.acts)}")

    def _push(self, connection: HTTPConnection, first: int, body: bytes) -> None:
        connection.request("POST", "/api/v1/sync/push", body, self._headers)
        reply = connection.getresponse()
        content = reply.read()
        if reply.status != 200:
            raise SoakFailed(f"a push was answered with {reply.status}: {content[:300].decode(errors='replace')}")
        self.pushes += 1
        self.answered.set()
        for seq, line in enumerate(content.removesuffix(b"\n").split(b"\n")[1:], start=first):
            self._remember(seq, line)
        if (first, body) == self.unanswered:
            self.segments.append(self.unanswered)
            self.unanswered = None

    def _remember(self, seq: int, line: bytes) -> None:
        receipt = json.loads(line)
        if (receipt["seq"], receipt["act"]) != (seq, self.device.acts[seq - 1].hash()):
            raise SoakFailed(f"a receipt names another act than was pushed as {seq}: {line!r}")
        if self.receipts.setdefault(seq, line) != line:
            raise SoakFailed(f"the receipt of {seq} changed from {self.receipts[seq]!r} to {line!r}")
        self.fresh[seq] = line
