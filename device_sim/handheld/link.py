"""The handheld's connection to the server: signed sign-in, renewed tokens, retries with spread-out waiting.

Every request a handheld makes may be repeated without harm, so every failure that is not the server's considered
answer is simply tried again.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from device_sim.handheld.clocks import ExchangeKeeper
from device_sim.handheld.outside import Outside
from device_sim.handheld.standing import Standing, standing_of
from sync.statements import sign_in_statement

T = TypeVar("T")

NONCE_BYTES = 18
MAX_PROBLEM_BYTES = 64 * 1024
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that say nothing about the request itself."""


class Again(Exception):
    """The attempt failed in a way that another one may cure; `after_s` is the server's wish, if it has one."""

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Refused(Exception):
    """The server understood and said no: HTTP status and the problem object."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {problem.get('code', '')}: {problem.get('detail', '')}")
        self.status = status
        self.problem = problem

    @property
    def code(self) -> str:
        """The problem's code; empty when the answer was no problem object."""
        return str(self.problem.get("code", ""))


class Unreachable(Exception):
    """All attempts failed; nothing is lost, the next sync continues."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waiting before the n-th retry: up to `base_s` doubled n times but at most `cap_s`, at random ("full jitter")."""

    base_s: float = 0.2
    cap_s: float = 30.0
    attempts: int = 40

    def wait_s(self, attempt: int, draw: float) -> float:
        """Seconds to wait after failed attempt number `attempt` (from 0); `draw` is in [0, 1)."""
        return min(self.cap_s, self.base_s * 2.0 ** min(attempt, 30)) * draw


Signer = Callable[[bytes], bytes]
"""Signs bytes with the device's Ed25519 key; returns the 64-byte signature."""


def base64url(data: bytes) -> str:
    """Base64url without padding, as the protocol writes keys and signatures."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def problem_of(response: httpx.Response) -> dict[str, Any]:
    """The problem object of an answer that was read, or an empty one."""
    try:
        problem = json.loads(response.content[:MAX_PROBLEM_BYTES])
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


@dataclass
class Link:
    """Requests in the name of one device. `client` carries base URL, timeouts and transport, and is the caller's."""

    client: httpx.Client
    outside: Outside
    device: str
    sign: Signer
    backoff: Backoff = field(default_factory=Backoff)
    counts: Counter[str] = field(default_factory=Counter)
    exchanges: ExchangeKeeper | None = None
    announce: Callable[[], dict[str, Any]] = dict
    """What goes along with a sign-in, unsigned."""
    standing: Standing = field(default_factory=Standing)
    """What the last sign-in said."""
    _token: str = ""
    _clock_offset_ms: int = 0

    def attempt(self, action: Callable[[], T]) -> T:
        """Run `action` until it succeeds, is refused, or the attempts are used up.

        Raises `Refused` with the server's answer and `Unreachable` when no attempt came through.
        """
        for number in range(self.backoff.attempts):
            try:
                return action()
            except (Again, httpx.RequestError) as error:
                self.counts["retries"] += 1
                wished = error.after_s if isinstance(error, Again) else 0.0
                self.outside.sleep(max(wished, self.backoff.wait_s(number, self.outside.jitter())))
        raise Unreachable(f"no answer in {self.backoff.attempts} attempts")

    @contextmanager
    def streamed(self, method: str, path: str, **request: Any) -> Iterator[httpx.Response]:  # noqa: ANN401 - httpx's
        """One authorised request whose successful answer is streamed. Belongs inside `attempt`.

        Raises `Again` for answers worth another attempt (an expired token is renewed first) and `Refused` for others.
        """
        headers = {**request.pop("headers", {}), "Authorization": f"Bearer {self._token or self.sign_in()}"}
        with self.client.stream(method, path, headers=headers, **request) as response:
            if response.status_code >= 300:
                response.read()
                if response.status_code == 401:
                    self._token = ""
                    self.counts["tokens_refused"] += 1
                    raise Again("the token was not accepted")
                self._judge(response)
            yield response

    def request(self, method: str, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx's options
        """As `streamed`, with the answer read whole."""
        with self.streamed(method, path, **request) as response:
            response.read()
        return response

    def ready(self) -> None:
        """Sign in, if that has not been done yet. Belongs inside `attempt`."""
        if not self._token:
            self.sign_in()

    def _judge(self, response: httpx.Response) -> None:
        if response.status_code in _AGAIN:
            wished = response.headers.get("Retry-After", "")
            raise Again(f"status {response.status_code}", float(wished) if wished.isdecimal() else 0.0)
        raise Refused(response.status_code, problem_of(response))

    def sign_in(self) -> str:
        """Get a fresh token. When the server says that the clock is off, its time is used from then on."""
        at_ms = max(0, self.outside.wall_ms() + self._clock_offset_ms)
        nonce = base64url(self.outside.random_bytes(NONCE_BYTES))
        signature = base64url(self.sign(sign_in_statement(self.device, at_ms, nonce)))
        body = {"device": self.device, "at_ms": at_ms, "nonce": nonce, "signature": signature, **self.announce()}
        sent_mono_ms = self.outside.mono_ms()
        response = self.client.post("/api/v1/sign-in/device", json=body)
        received_mono_ms = self.outside.mono_ms()
        if response.status_code == 401:
            server_ms = problem_of(response).get("server_ms")
            if isinstance(server_ms, int) and not isinstance(server_ms, bool):
                self._clock_offset_ms = server_ms - self.outside.wall_ms()
                self.counts["clock_corrections"] += 1
                raise Again("the device's clock is off")
        if response.status_code >= 300:
            self._judge(response)
        self.counts["sign_ins"] += 1
        try:
            reply = response.json()
            self._token, self.standing = str(reply["token"]), standing_of(reply)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Again("the answer to the sign-in is not readable") from error
        server_ms = reply.get("server_ms")
        if self.exchanges is not None and type(server_ms) is int:
            self.exchanges.note(sent_mono_ms, server_ms, received_mono_ms)
        return self._token


def lines_of(response: httpx.Response) -> Iterator[bytes]:
    """The lines of a streamed answer, split at line feeds only, in bounded memory.

    httpx's own `iter_lines` also splits at U+2028 and friends, which may stand inside a JSON string. Raises `Again`
    when the last line has no line feed: the answer was cut.
    """
    rest = b""
    for chunk in response.iter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        raise Again("the answer was cut inside a line")


def decoded(line: bytes) -> dict[str, Any]:
    """One answered line as an object. Raises `Again` when it is none: something spoiled it on the way."""
    try:
        members = json.loads(line)
    except ValueError as error:
        raise Again("a line of the answer is not JSON") from error
    if not isinstance(members, dict):
        raise Again("a line of the answer is not an object")
    return members
