"""A light HTTP client: one kept connection, bodies sent as they are, and a crew of them on threads.

What a client costs is taken from the same processors that the server runs on, so it does nothing but send, receive and
take the time; what came back is looked at after the clock has stopped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Self
from urllib.parse import urlsplit

from device_sim.bench.frame import BenchFailed

TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class LightClient:
    """One connection to one server."""

    def __init__(self, url: str, headers: Mapping[str, str], timeout_s: float = TIMEOUT_S) -> None:
        """Prepare a client that sends `headers` with every request and waits so long for each answer."""
        address = urlsplit(url)
        self._connection = HTTPConnection(str(address.hostname), address.port, timeout=timeout_s)
        self._headers = dict(headers)

    def send(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """Send one request and read the answer whole; tried once more when the kept connection had been closed.

        Raises:
            BenchFailed: the server refused, or was not there.
        """
        try:
            answer = self._once(method, path, body, headers or {})
        except (HTTPException, ConnectionError):
            self._connection.close()
            answer = self._retry(method, path, body, headers or {})
        if answer.status >= 400:
            raise BenchFailed(f"{method} {path}: {answer.status} {answer.body[:300].decode('utf-8', 'replace')}")
        return answer

    def _once(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        self._connection.request(method, path, body or None, {**self._headers, **headers})
        response = self._connection.getresponse()
        return Answer(response.status, dict(response.headers.items()), response.read())

    def _retry(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        try:
            return self._once(method, path, body, headers)
        except (HTTPException, OSError) as error:
            raise BenchFailed(f"{method} {path}: {type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        """Hand itself out."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


@dataclass
class CrewResult:
    """What a crew did together."""

    seconds: float
    latencies_s: list[float] = field(default_factory=list)
    client_cpu_s: float = 0.0

    @property
    def client_cores(self) -> float:
        """How much of one processor the clients used."""
        return self.client_cpu_s / self.seconds if self.seconds > 0 else 0.0


Work = Callable[[], None]
"""One timed piece of work: usually one request."""


def run_crew(queues: Sequence[Sequence[Work]], seconds: float) -> CrewResult:
    """Run each queue in order on a thread of its own, all at once, until they are empty or the time is up.

    Args:
        queues: the work of each member; a piece that has begun is always finished.
        seconds: after so long nothing new is begun, but for each member's first piece.

    Raises:
        BenchFailed: a piece of work failed.
    """
    started = threading.Barrier(len(queues) + 1)
    deadline = [0.0]

    def member(queue: Sequence[Work]) -> list[float]:
        took: list[float] = []
        started.wait()
        for work in queue:
            before = time.perf_counter()
            if took and before >= deadline[0]:
                break
            work()
            took.append(time.perf_counter() - before)
        return took

    with ThreadPoolExecutor(len(queues)) as pool:
        running = [pool.submit(member, queue) for queue in queues]
        cpu_before = time.process_time()
        deadline[0] = time.perf_counter() + seconds
        before = time.perf_counter()
        started.wait()
        latencies = [one for future in running for one in future.result()]
        took = time.perf_counter() - before
    return CrewResult(took, latencies, time.process_time() - cpu_before)
