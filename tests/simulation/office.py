"""What the office does in the simulation: dispatching, reassigning, deciding, undoing, ruling, revoking."""

import json
import random
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx

from tests.simulation import promises
from tests.simulation.devices import SimDevice
from tests.simulation.in_process import Platform
from tests.simulation.network import Network, Violation

REASON = "现场照片可以证实"
MOST_DECISIONS = 100


@dataclass
class Office:
    """Two operators at their desks; what they saw some time ago, they may decide much later."""

    platform: Platform
    network: Network
    random: random.Random
    log: list[str]
    views: list[dict[str, Any]] = field(default_factory=list)
    """Conflicts as an operator saw them some time ago."""

    def __post_init__(self) -> None:
        """Sign in."""
        self.client = self.network.client("office")
        template = self.platform.template
        self.people = [self.platform.bearer(account) for account in (template.operator, template.second_operator)]

    def close(self) -> None:
        """Go home."""
        self.client.close()

    def ask(self, method: str, path: str, *, person: int = 0, **request: Any) -> httpx.Response | None:  # noqa: ANN401 - httpx's options
        """One request of an operator; None when the network had its way."""
        self.log.append(f"office: {method} {path}")
        try:
            answer = self.client.request(method, path, headers=self.people[person], **request)
            answer.read()
        except httpx.RequestError:
            return None
        self.log.append(f"  {answer.status_code}")
        return answer

    def rows(self, path: str, name: str) -> list[dict[str, Any]]:
        """The rows of a list, as far as it came through."""
        answer = self.ask("GET", path)
        found = members(answer).get(name, []) if answer is not None and answer.status_code == 200 else []
        return found if isinstance(found, list) else []

    def must(self, answer: httpx.Response | None, *fine: int) -> int:
        """What the office asks for is right, or made stale by others; anything else is a fault."""
        # a repeated or delayed request may find its work done, one cut short is no JSON
        allowed = {*fine, 409, 400, 422} if self.network.faulty else {*fine}
        what = f"{answer.request.method if answer else ''} answered {answer and answer.text}"
        promises.require(answer is None or answer.status_code in allowed, what)
        return answer.status_code if answer is not None else 0

    def dispatch(self, officers: list[str]) -> None:
        """Give a task to two officers."""
        template = self.platform.template
        order = {
            "entity": self.random.choice(template.entities), "checklist": template.checklist, "title": "样例任务",
            "officers": officers, "due_at": (self.platform.clock.now() + timedelta(days=5)).isoformat(),
            "plan": "样例计划", "visit_reason": "02",
        }  # fmt: skip
        answer = self.ask("POST", "/api/v1/tasks", json={"orders": [order]})
        promises.require(answer is None or answer.status_code == 201, f"dispatch: {answer and answer.text}")

    def reassign(self) -> None:
        """Give a task to other officers, or to one of the former and a new one."""
        tasks = self.rows("/api/v1/tasks", "tasks")
        if tasks:
            body = {"officers": self.random.sample(self.platform.template.officers, 2), "reason": REASON}
            path = f"/api/v1/tasks/{self.random.choice(tasks)['id']}/reassign"
            self.must(self.ask("POST", path, json=body), 200, 409)

    def decide(self) -> None:
        """Look at a conflict, or decide one that was looked at before."""
        if self.views and self.random.random() < 0.5:
            self._resolve(self.views.pop(self.random.randrange(len(self.views))))
            return
        found = self.rows("/api/v1/conflicts", "conflicts")
        if found:
            shown = self.ask("GET", f"/api/v1/conflicts/{self.random.choice(found)['id']}")
            if shown is not None and shown.status_code == 200 and members(shown):
                self.views.append(members(shown))

    def _resolve(self, view: dict[str, Any]) -> None:
        row, sides = view["conflict"], [side["dot"] for side in view["sides"]]
        body: dict[str, Any] = {"sides": sides, "reason": REASON}
        if row["field"] == "_deleted" or self.random.random() < 0.8:
            body["choice"] = self.random.choice(sides)
        else:
            body["value"] = self.random.choice([side["value"] for side in view["sides"]])
        person = self.random.randrange(2)
        gone = (404,) if self.platform.restores else ()
        self.must(self.ask("POST", f"/api/v1/conflicts/{row['id']}/resolve", person=person, json=body), 200, *gone)

    def undo(self) -> None:
        """Undo a decision: the sides stand again."""
        found = self.rows("/api/v1/conflicts?status=decided", "conflicts")
        if found:
            path = f"/api/v1/conflicts/{self.random.choice(found)['id']}/revert"
            self.must(self.ask("POST", path, person=1, json={"reason": REASON}), 200, 409)

    def rule(self) -> None:
        """Dismiss a quarantined act, or say in its place what it should have said."""
        found = self.rows("/api/v1/acts", "acts")
        if not found:
            return
        act = self.random.choice(found)
        if self.random.random() < 0.5:
            self.must(self.ask("POST", f"/api/v1/acts/{act['dot']}/dismiss", json={"reason": REASON}), 200, 409, 404)
            return
        body = {"reason": REASON, "fields": {"notes": "更正"} if act["kind"] == "inspection" else None}
        self.must(self.ask("POST", f"/api/v1/acts/{act['dot']}/mend", json=body), 200, 409, 404, 422)

    def revoke(self, device: SimDevice) -> None:
        """End a device."""
        answer = self.ask("POST", f"/api/v1/devices/{device.handheld.device}/revoke")
        device.revoked = answer is not None and answer.status_code == 200

    def approve(self, device: SimDevice) -> None:
        """Let a device that was enrolled begin."""
        if device.revoked:
            return
        answer = self.ask("POST", f"/api/v1/devices/{device.handheld.device}/approve")
        device.approved = answer is not None and answer.status_code in (200, 409)

    def decide_everything(self) -> None:
        """Decide whatever is open; then nothing is."""
        for _ in range(MOST_DECISIONS):
            found = self.rows("/api/v1/conflicts", "conflicts")
            if not found:
                return
            shown = self.ask("GET", f"/api/v1/conflicts/{found[0]['id']}")
            promises.require(shown is not None and shown.status_code == 200, f"no view of {found[0]}")
            if shown is not None:
                self._resolve(members(shown))
        raise Violation("conflicts come back however often they are decided")


def members(answer: httpx.Response) -> dict[str, Any]:
    """Return the members of a JSON object; none for a reply that was cut."""
    try:
        found = json.loads(answer.content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
