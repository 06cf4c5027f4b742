"""The people in the office: an operator who approves, dispatches and decides, and an auditor who counts. HTTP only."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

TIMEOUT_S = 60.0
PAGE = 500
DISPATCH_CHUNK = 100
BUSY_ATTEMPTS = 20
BUSY_PAUSE_S = 0.5
REASON = (
    "对照现场照片与清单后采信主办执法人员结论 / checked against photos and checklist; the lead officer's finding stands"
)
"""Why a conflict is decided as it is."""


class OfficeFault(Exception):
    """The server answered the office with something unexpected."""


class Office:
    """One signed-in account."""

    def __init__(self, url: str, login: str, password: str) -> None:
        """Sign in."""
        self._client = httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False)
        self._credentials = {"login": login, "password": password}
        self._sign_in()

    def _sign_in(self) -> None:
        token = self._decode(self._client.post("/api/v1/sign-in", json=self._credentials))["token"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str, **query: Any) -> dict[str, Any]:  # noqa: ANN401 - query members of any type
        """GET a JSON object. Raises `OfficeFault`."""
        return self._call("GET", path, params=query)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """POST a JSON object. Raises `OfficeFault`."""
        return self._call("POST", path, json=body or {})

    def download(self, path: str) -> bytes:
        """GET a file. Raises `OfficeFault`."""
        response = self._client.get(path)
        if response.status_code != 200:
            raise OfficeFault(f"GET {path}: {response.text[:400]}")
        return response.content

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - passed on to httpx
        response = self._client.request(method, path, **arguments)
        for _ in range(BUSY_ATTEMPTS):
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(BUSY_PAUSE_S)
            response = self._client.request(method, path, **arguments)
        return self._decode(response)

    @staticmethod
    def _decode(response: httpx.Response) -> dict[str, Any]:
        if response.status_code >= 400:
            raise OfficeFault(f"{response.request.method} {response.request.url.path}: {response.text[:400]}")
        decoded = response.json()
        if not isinstance(decoded, dict):
            raise OfficeFault(f"{response.request.url.path}: not an object")
        return decoded

    def every(self, path: str, name: str, **query: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - query members
        """Yield all rows of a list that pages by the last row's id."""
        after = ""
        while True:
            rows = self.get(path, after=after, limit=PAGE, **query)[name]
            yield from rows
            if len(rows) < PAGE:
                return
            last = rows[-1]
            after = last.get("id") or last.get("device") or last.get("journal") or last.get("lead") or ""

    def approve_devices(self) -> int:
        """Approve every device that waits; returns how many."""
        waiting = [row for row in self.every("/api/v1/devices", "devices") if row["status"] == "pending"]
        for row in waiting:
            self.post(f"/api/v1/devices/{row['device']}/approve")
        return len(waiting)

    def dispatch(self, orders: Sequence[Mapping[str, Any]]) -> list[str]:
        """Dispatch planned visits and return their task ids, in order."""
        tasks: list[str] = []
        for start in range(0, len(orders), DISPATCH_CHUNK):
            chunk = list(orders[start : start + DISPATCH_CHUNK])
            tasks += self.post("/api/v1/tasks", {"orders": chunk})["tasks"]
        return tasks

    def step_lead(self, lead: str, action: str, **more: str) -> dict[str, Any]:
        """Take a step with a lead at the desk; returns the lead."""
        return self.post(f"/api/v1/leads/{lead}/steps", {"action": action, **more})

    def figures(self) -> dict[str, dict[str, int]]:
        """Return rows by status, table by table."""
        return self.get("/api/v1/analytics/figures")

    def lead_states(self) -> dict[str, int]:
        """Return how many leads are in each state."""
        return self.figures()["leads"]

    def open_conflicts(self) -> list[dict[str, Any]]:
        """Return all open conflicts."""
        return list(self.every("/api/v1/conflicts", "conflicts", status="open"))

    def decide(self, conflict: str, reason: str) -> dict[str, Any]:
        """Decide a conflict as a person would: look at both sides, take the lead officer's, give a reason."""
        shown = self.get(f"/api/v1/conflicts/{conflict}")
        sides = sorted(shown["sides"], key=lambda side: (side["author"] != self._lead(shown), side["dot"]))
        body = {"sides": [side["dot"] for side in sides], "choice": sides[0]["dot"], "reason": reason}
        return self.post(f"/api/v1/conflicts/{conflict}/resolve", body)

    @staticmethod
    def _lead(shown: Mapping[str, Any]) -> str:
        officers = shown["record"].get("officers") or [""]
        return str(officers[0])

    def stored_readings(self, sensor: str) -> Iterator[dict[str, Any]]:
        """Yield all stored readings of a sensor, valid or not."""
        after = ""
        while True:
            page = self.get(f"/api/v1/telemetry/sensors/{sensor}/readings", after=after, limit=PAGE)
            yield from ({**row, "sensor": sensor} for row in page["readings"])
            if not page["next"]:
                return
            after = page["next"]
