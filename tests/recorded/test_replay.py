"""Handhelds that were released stay in the field: what each of them sends is answered by this build as it was then."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from server.records.models import Act
from server.runtime import Runtime
from tests.conftest import FakeClock
from tests.recorded import world
from tests.recorded.recorder import FOLDER, platform, record

RECORDINGS = sorted(FOLDER.glob("handheld-*.json"))
OWN_TO_A_RUN = {
    "token", "expires_at_ms", "cursor", "position", "after", "enrolled_at", "title", "detail", "custody_head",
    "signature", "statement",
}  # fmt: skip
"""Members that no handheld may compare, or that count what else a build writes."""


@pytest.fixture
def rt(tmp_path: Path, clock: FakeClock) -> Iterator[Runtime]:
    """The platform of the recordings."""
    with platform(tmp_path / "home", clock) as made:
        world.fill(made)
        yield made


class Replay:
    """Sends a recording again, with today's tokens, cursors and upload addresses in place of those of then."""

    def __init__(self, app: Flask, clock: FakeClock) -> None:
        """Replay to an application."""
        self.client, self.clock = app.test_client(), clock
        self.tokens: dict[int, str] = {}
        self.today: dict[str, str] = {}
        """What stands today for what was recorded."""

    def send(self, exchange: dict[str, Any]) -> TestResponse:
        """Send one recorded request at its time."""
        self.clock.instant = world.START
        self.clock.advance(exchange["after_s"])
        path = exchange["path"]
        for then, now in self.today.items():
            path = path.replace(then, now)
        headers = dict(exchange["headers"])
        if exchange["authorized"]:
            headers["Authorization"] = f"Bearer {self.tokens[exchange['handheld']]}"
        reply = self.client.open(path, method=exchange["method"], headers=headers, data=exchange["body"].encode())
        self._learn(exchange, reply)
        return reply

    def _learn(self, exchange: dict[str, Any], reply: TestResponse) -> None:
        if exchange["location"]:
            self.today[exchange["location"]] = urlsplit(reply.headers["Location"]).path
        then, now = decoded(exchange["reply"]), decoded(reply.text)
        if then and now and "token" in now[0]:
            self.tokens[exchange["handheld"]] = now[0]["token"]
        for old, new in zip(then, now, strict=False):
            if "cursor" in old and "cursor" in new:
                self.today[old["cursor"]] = new["cursor"]
        if then and now and "head_seq" in then[0] and "after" in then[0] and then[0]["after"]:
            self.today[f"after={then[0]['after']}"] = f"after={now[0]['after']}"


def decoded(text: str) -> list[dict[str, Any]]:
    """The lines of a reply."""
    return [json.loads(line) for line in text.split("\n") if line]


def differences(then: Any, now: Any, where: str = "") -> list[str]:  # noqa: ANN401 - any JSON value
    """What of a recorded value is not there today; new members are no difference."""
    if isinstance(then, dict) and isinstance(now, dict):
        return [
            fault
            for name, value in then.items()
            if name not in OWN_TO_A_RUN
            for fault in (
                differences(value, now[name], f"{where}.{name}") if name in now else [f"{where}.{name} is gone"]
            )
        ]
    if isinstance(then, list) and isinstance(now, list):
        if len(then) != len(now):
            return [f"{where}: {len(now)} instead of {len(then)}"]
        pairs = enumerate(zip(then, now, strict=True))
        return [fault for index, (one, other) in pairs for fault in differences(one, other, f"{where}[{index}]")]
    return [] if then == now else [f"{where}: {now!r} instead of {then!r}"]


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_released_handhelds_are_served(path: Path, app: Flask, rt: Runtime, clock: FakeClock) -> None:
    """Status, receipts, records and statuses are what they were at the release."""
    recording = json.loads(path.read_text(encoding="utf-8"))
    for number, device in enumerate(recording["devices"]):
        world.put_device(rt, device["id"], f"样例终端{number}", bytes.fromhex(device["public_key"]), device["officer"])
    replay = Replay(app, clock)
    for number, exchange in enumerate(recording["exchanges"]):
        reply = replay.send(exchange)
        name = f"{number}: {exchange['method']} {exchange['path'][:60]}"
        assert reply.status_code == exchange["status"], f"{name}: {reply.text[:300]}"
        then = decoded(exchange["reply"])
        if exchange["path"] == "/api/v1/devices":
            then[0].pop("status")  # enrolled before the replay begins, and approved
        assert differences(then, decoded(reply.text)) == [], name
    with rt.db.read() as session:
        assert session.query(Act).filter(Act.device.is_not(None)).count() > 5


def test_each_release_is_recorded() -> None:
    """There is at least the first release, and nothing was lost since."""
    assert [path.name for path in RECORDINGS][:1] == ["handheld-0.1.0.json"]


def test_a_difference_is_seen() -> None:
    """Something changed, gone or fewer is a difference; something new is not."""
    assert differences({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2, "new": 3}]}) == []
    assert differences({"a": 1}, {}) == [".a is gone"]
    assert differences([{"a": 1}], [{"a": 2}]) == ["[0].a: 2 instead of 1"]
    assert differences([1], []) == [": 0 instead of 1"]


def test_this_build_can_be_recorded(tmp_path: Path) -> None:
    """The next release is recorded by the same program: every kind a handheld writes is in it, and no request fails."""
    recording = record(tmp_path)
    told = "".join(exchange["body"] for exchange in recording["exchanges"])
    for kind in ("task", "inspection", "answer", "evidence", "rectification"):
        assert f'"kind":"{kind}"' in told
    assert {exchange["status"] for exchange in recording["exchanges"]} <= {200, 201, 204, 401}
