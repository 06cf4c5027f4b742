"""The network between handhelds and the platform: it loses, cuts, repeats and delays as the seed says."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Any

import httpx

from server.errors import PROBLEMS
from tests.simulation.in_process import CRASH_AFTER, CRASH_BEFORE, Platform, ServerCrash

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

BASE_URL = "http://platform.example"
PUSH = "/api/v1/sync/push"
MAX_IN_FLIGHT = 20
"""Delayed requests kept; past it the oldest is lost."""
LATENCY_S = 0.05
DAMAGED = 0.06
"""How often a push that can be harmed is damaged on the way: one bit of an act, below whatever would notice it."""


class Violation(AssertionError):
    """A promise of the platform was broken."""


class Fault(StrEnum):
    """What may happen to one request."""

    LOST_REQUEST = "request lost"
    LOST_REPLY = "reply lost"
    CUT_REPLY = "reply cut"
    CUT_REQUEST = "request cut"
    TWICE = "request twice"
    DELAYED = "request delayed"
    CRASH_BEFORE = "server crash before the commit"
    CRASH_AFTER = "server crash after the commit"


class Arriving(httpx.SyncByteStream):
    """A reply's bytes as they arrive. One that is cut ends with an error, or silently where it has no length."""

    def __init__(self, content: bytes, error: httpx.TransportError | None = None) -> None:
        """Serve `content`, then raise."""
        self._content, self._error = content, error

    def __iter__(self) -> Iterator[bytes]:
        """Yield what arrived."""
        yield self._content
        if self._error is not None:
            raise self._error


@dataclass(frozen=True)
class Reply:
    """An answer as the server gave it: its bytes as they are on the wire, compressed or not."""

    status: int
    headers: list[tuple[str, str]]
    content: bytes

    def arriving(self, error: httpx.TransportError | None = None) -> httpx.Response:
        """Return it as a client finds it."""
        return httpx.Response(self.status, headers=self.headers, stream=Arriving(self.content, error))


def call(app: WSGIApplication, request: httpx.Request) -> tuple[int, list[tuple[str, str]], bytes]:
    """Hand a request to the application; return status, headers and body."""
    environ: dict[str, Any] = {
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(request.content),
        "wsgi.errors": sys.stderr, "wsgi.multithread": False, "wsgi.multiprocess": False, "wsgi.run_once": False,
        "REQUEST_METHOD": request.method, "SCRIPT_NAME": "", "PATH_INFO": request.url.path,
        "QUERY_STRING": request.url.query.decode("ascii"), "SERVER_NAME": request.url.host, "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1",
    }  # fmt: skip
    for name, value in request.headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
    started: list[Any] = []

    def start_response(*given: Any) -> Callable[[bytes], object]:  # noqa: ANN401 - as WSGI has it
        started[:] = given
        return lambda _: None

    body = app(environ, start_response)
    try:
        content = b"".join(body)
    finally:
        getattr(body, "close", lambda: None)()
    return int(started[0].split(" ", 1)[0]), started[1], content


class Caller(httpx.Client):
    """A client without what this network has no use for: connections, redirects, cookies, timeouts."""

    def __init__(self, wire: httpx.BaseTransport) -> None:
        """Send over one wire."""
        super().__init__(transport=wire, base_url=BASE_URL, trust_env=False)
        self._wire, self._usual = wire, dict(self.headers)

    @contextmanager
    def stream(self, method: str, url: httpx.URL | str, **request: Any) -> Iterator[httpx.Response]:  # noqa: ANN401 - httpx's options
        """One request, its answer not read yet."""
        headers = self._usual | dict(request.get("headers") or {})
        said = {name: request.get(name) for name in ("params", "content", "json")}
        sent = httpx.Request(method, f"{BASE_URL}{url}", headers=headers, **said)
        answer = self._wire.handle_request(sent)
        answer.request = sent
        yield answer

    def request(self, method: str, url: httpx.URL | str, **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx's options
        """One request, its answer read whole."""
        with self.stream(method, url, **request) as answer:
            answer.read()
        return answer


def damaged(content: bytes, chance: Random) -> tuple[bytes, str]:
    """Flip a bit in some part of some act of a pushed body; returns the body and the part's name."""
    lines = content.split(b"\n")
    place = chance.randrange(1, len(lines) - 1)
    parts = lines[place].split(b"\t")
    name, number = chance.choice([(name, i) for i, name in enumerate(("header", "body", "personal")) if parts[i]])
    spoiled = bytearray(parts[number])
    spoiled[chance.randrange(len(spoiled))] ^= 1 << chance.randrange(8)
    parts[number] = bytes(spoiled)
    lines[place] = b"\t".join(parts)
    return b"\n".join(lines), name


@dataclass
class Network:
    """All connections to one platform."""

    platform: Platform
    random: Random
    note: Callable[[str], None]
    between: Callable[[str], None]
    """Called before a request of a device is delivered: others may act now, and the device may die."""
    damage: Random
    """Chance of its own: runs in which nothing is damaged are as they would be without."""
    faulty: bool = True
    fault_rate: float = 0.15
    in_flight: list[httpx.Request] = field(default_factory=list)
    receipts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    """Every receipt that ever left the server, by dot."""
    requests: int = 0
    unreadable: set[str] = field(default_factory=set)
    """Devices of which a request may be refused, since its frame was damaged."""

    def client(self, name: str) -> httpx.Client:
        """A client whose requests take this network."""
        return Caller(_Wire(self, name))

    def deliver(self, request: httpx.Request) -> Reply:
        """Bring a request to the server and take what it answers; a dying server is started again."""
        self.requests += 1
        self.platform.clock.advance(LATENCY_S)
        try:
            status, headers, content = call(self.platform.app, request)
        except ServerCrash as crash:
            self.note(f"server dies {crash}")
            self.platform.restart()
            raise httpx.ReadError("the server died") from crash
        self._check(request, status, content)
        return Reply(status, headers, content)

    def deliver_late(self) -> None:
        """Deliver one of the delayed requests; nobody waits for its answer any more."""
        if not self.in_flight:
            return
        request = self.in_flight.pop(self.random.randrange(len(self.in_flight)))
        self.note(f"late {request.method} {request.url.path}")
        try:
            self.deliver(request)
        except httpx.TransportError:
            return

    def _check(self, request: httpx.Request, status: int, content: bytes) -> None:
        where = f"{request.method} {request.url.path}"
        if status >= 500:
            raise Violation(f"{where} answered {status}: {content[:300].decode(errors='replace')}")
        if status >= 400 and request.method != "HEAD":
            code = json.loads(content).get("code")
            if code not in PROBLEMS:
                raise Violation(f"{where} answered {status} without a known problem: {content[:300]!r}")
        if status == 200 and request.url.path == PUSH:
            for line in content.removesuffix(b"\n").split(b"\n")[1:]:
                members = json.loads(line)
                dot = (members["journal"], members["seq"])
                if self.receipts.setdefault(dot, line) != line:
                    raise Violation(f"receipt of {dot[0]}:{dot[1]} changed: {self.receipts[dot]!r} -> {line!r}")


class _Wire(httpx.BaseTransport):
    def __init__(self, network: Network, name: str) -> None:
        self.network, self.name = network, name

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        network = self.network
        request.read()
        network.between(self.name)
        request = self._harmed(request)
        if not network.faulty or network.random.random() >= network.fault_rate:
            return network.deliver(request).arriving()
        fault = network.random.choice(list(Fault))
        network.note(f"  {self.name}: {fault}: {request.method} {request.url.path}")
        return self._suffer(request, fault)

    def _harmed(self, request: httpx.Request) -> httpx.Request:
        network = self.network
        push = network.faulty and request.url.path == PUSH and request.content.endswith(b"\n")
        if not push or network.damage.random() >= DAMAGED:
            return request
        content, part = damaged(request.content, network.damage)
        network.note(f"  {self.name}: {part} damaged")
        if part == "header" or _marks(content) != _marks(request.content):
            network.unreadable.add(self.name)
        headers = [(name, value) for name, value in request.headers.items() if name != "content-length"]
        return httpx.Request(request.method, request.url, headers=headers, content=content)

    def _suffer(self, request: httpx.Request, fault: Fault) -> httpx.Response:
        network = self.network
        match fault:
            case Fault.LOST_REQUEST:
                raise httpx.ConnectError("lost")
            case Fault.DELAYED:
                network.in_flight = [*network.in_flight, request][-MAX_IN_FLIGHT:]
                raise httpx.ReadTimeout("still under way")
            case Fault.TWICE:
                first = network.deliver(request)
                second = network.deliver(request)
                return network.random.choice((first, second)).arriving()
            case Fault.CUT_REQUEST:
                size_bytes = len(request.content)
                cut = request.content[: network.random.randrange(size_bytes)] if size_bytes else b""
                network.deliver(httpx.Request(request.method, request.url, headers=request.headers, content=cut))
                raise httpx.WriteError("cut")
            case Fault.CRASH_BEFORE | Fault.CRASH_AFTER:
                side = CRASH_BEFORE if fault is Fault.CRASH_BEFORE else CRASH_AFTER
                network.platform.crash_in = (network.random.randint(1, 2), side)
                try:
                    return network.deliver(request).arriving()
                finally:
                    network.platform.crash_in = None
        response = network.deliver(request)
        if fault is Fault.LOST_REPLY:
            raise httpx.ReadError("reply lost")
        return self._cut(response)

    def _cut(self, reply: Reply) -> httpx.Response:
        if not reply.content:
            raise httpx.ReadError("reply cut")
        cut = reply.content[: self.network.random.randrange(len(reply.content))]
        silent = dict(reply.headers).get("Content-Type", "").startswith("application/x-ndjson")
        silent = silent and bool(cut) and not cut.endswith(b"\n") and self.network.random.random() < 0.5
        headers = [(name, value) for name, value in reply.headers if name.lower() != "content-length"]
        error = None if silent else httpx.RemoteProtocolError("incomplete body")
        return Reply(reply.status, headers, cut).arriving(error)


def _marks(content: bytes) -> int:
    return content.count(b"\n") + content.count(b"\t")
