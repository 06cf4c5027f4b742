"""The central system's connection: sign-in with its own credential, and patience with servers that are away."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from device_sim.handheld.link import Again, Backoff, Refused, Unreachable, decoded, lines_of, problem_of
from device_sim.handheld.outside import Outside

T = TypeVar("T")
MAX_PAGE_BYTES = 64 * 1024 * 1024
"""Longest page that is read."""
PATIENCE = Backoff(base_s=0.2, cap_s=5.0, attempts=120)
"""About five minutes on average; a server that is away longer is reported."""
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass
class CentralLink:
    """Requests in the name of the central system. `client` carries base URL and timeouts, and is the caller's."""

    client: httpx.Client
    login: str
    password: str
    outside: Outside = field(default_factory=Outside)
    backoff: Backoff = PATIENCE
    retries: int = 0
    _token: str = ""

    def page(self, cursor: str, limit: int) -> list[dict[str, Any]]:
        """Return one page of the feed with proofs: the head line, then the behaviors.

        Raises `Refused` with the server's answer, and `Unreachable` when it stays away.
        """
        query: dict[str, str | int] = {"cursor": cursor, "limit": limit, "proofs": "true"}
        return self._attempt(lambda: self._lines("/api/v1/central/behaviors", query))

    def digest(self, through: int) -> dict[str, Any]:
        """Return the server's count and digest up to a position; raises as `page`."""
        return self._attempt(lambda: self._object("/api/v1/central/digest", {"through": through}))

    def consistency(self, first: int, second: int) -> list[str]:
        """Return the proof that the log grew from one size to another; raises as `page`."""
        proof = self._attempt(lambda: self._object("/api/v1/proof-log/consistency", {"first": first, "second": second}))
        return [str(step) for step in proof["path"]]

    def first_leaf(self, size: int) -> tuple[dict[str, Any], list[str]]:
        """Return the log's first leaf, and the proof that it is in the tree of `size` leaves; raises as `page`."""
        leaf = self._attempt(lambda: self._object("/api/v1/proof-log/leaves/0", {}))
        proof = self._attempt(lambda: self._object("/api/v1/proof-log/inclusion", {"index": 0, "size": size}))
        return leaf, [str(step) for step in proof["path"]]

    def rotations(self) -> list[str]:
        """Return the notes by which the log's keys followed one another, oldest first; raises as `page`."""
        answer = self._attempt(lambda: self._object("/api/v1/proof-log/key", {}))
        return [str(note) for note in answer.get("rotations", [])]

    def cosign(self, note: bytes) -> None:
        """Hand in a checkpoint with the witness's line; raises as `page`."""
        self._attempt(lambda: self._send("/api/v1/proof-log/cosignatures", note))

    def _attempt(self, action: Callable[[], T]) -> T:
        for number in range(self.backoff.attempts):
            try:
                return action()
            except (Again, httpx.RequestError) as error:
                self.retries += 1
                wished = error.after_s if isinstance(error, Again) else 0.0
                self.outside.sleep(max(wished, self.backoff.wait_s(number, self.outside.jitter())))
        raise Unreachable(f"no answer in {self.backoff.attempts} attempts")

    def _lines(self, path: str, query: dict[str, str | int]) -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self._token or self._sign_in()}"}
        with self.client.stream("GET", path, params=query, headers=headers) as response:
            if response.status_code >= 300:
                response.read()
                self._judge(response)
            lines, size_bytes = [], 0
            for line in lines_of(response):
                size_bytes += len(line)
                if size_bytes > MAX_PAGE_BYTES:
                    raise Refused(response.status_code, {"code": "too-large", "detail": "the page is too long"})
                lines.append(decoded(line))
        if not lines:
            raise Again("the page is empty")
        return lines

    def _object(self, path: str, query: dict[str, int]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token or self._sign_in()}"}
        response = self.client.get(path, params=query, headers=headers)
        if response.status_code >= 300:
            self._judge(response)
        return decoded(response.content)

    def _send(self, path: str, content: bytes) -> None:
        headers = {"Authorization": f"Bearer {self._token or self._sign_in()}", "Content-Type": "text/plain"}
        response = self.client.post(path, content=content, headers=headers)
        if response.status_code >= 300:
            self._judge(response)

    def _judge(self, response: httpx.Response) -> None:
        if response.status_code == 401 and self._token:
            self._token = ""
            raise Again("the token was not accepted")
        if response.status_code in _AGAIN:
            wished = response.headers.get("Retry-After", "")
            raise Again(f"status {response.status_code}", float(wished) if wished.isdecimal() else 0.0)
        raise Refused(response.status_code, problem_of(response))

    def _sign_in(self) -> str:
        body = {"login": self.login, "password": self.password}
        response = self.client.post("/api/v1/sign-in", json=body)
        if response.status_code >= 300:
            self._judge(response)
        try:
            self._token = str(json.loads(response.content)["token"])
        except (ValueError, KeyError, TypeError) as error:
            raise Again("the answer to the sign-in is not readable") from error
        return self._token
