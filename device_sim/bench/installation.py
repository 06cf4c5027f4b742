"""A small installation of the platform for measuring: its programs on a temporary home, and enrolled devices."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device_sim.bench.frame import BenchFailed
from device_sim.demo.office import Office, OfficeFault
from device_sim.demo.programs import Program, ProgramFailed, Programs, answers, free_port, tail
from device_sim.handheld.link import base64url
from device_sim.sample.naming import synthetic_uscc
from sync.ids import RANDOM_BYTES, uuid7
from sync.statements import enrol_statement, sign_in_statement

HOST = "127.0.0.1"
READY_TIMEOUT_S = 600.0
"""Passwords are hashed slowly on purpose, and a busy machine makes minutes of it."""
REGION, TOWNSHIP = "420106", "420106001"
DEPARTMENT = "市场监督管理"
SEED_MS = 1_767_225_600_000
"""Ids carry the first instant of 2026."""


@dataclass(frozen=True)
class Device:
    """An enrolled and approved device, signed in."""

    id: str
    officer: str
    key: Ed25519PrivateKey
    token: str

    @property
    def headers(self) -> dict[str, str]:
        """Headers that carry its token."""
        return {"Authorization": f"Bearer {self.token}"}


def new_id() -> str:
    """Return a fresh id."""
    return uuid7(SEED_MS, os.urandom(RANDOM_BYTES))


@dataclass
class Installation:
    """A running platform: one entity, and an officer with an account for each device to come."""

    home: Path
    devices_wanted: int = 0
    sensors: Sequence[str] = ()
    channels: Sequence[str] = ()
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        # every place is named: a variable of the caller's shell must not lead to a database that is in use
        places = {
            "FIELDPROOF_PUBLIC_URL": self.url,
            "FIELDPROOF_DATABASE_URL": f"sqlite:///{self.database}",
            "FIELDPROOF_EVIDENCE_DIR": str(self.home / "evidence"),
            "FIELDPROOF_KEYS_DIR": str(self.home / "keys"),
            "FIELDPROOF_DEVICE_REQUESTS_PER_S": "0",  # a few devices stand for many
        }
        self.programs = Programs(self.home, places)
        self.entity = new_id()
        self.password = secrets.token_urlsafe(18)
        self.officers = [new_id() for _ in range(self.devices_wanted)]
        self.devices: list[Device] = []
        self.server: Program | None = None
        self._office: Office | None = None

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"http://{HOST}:{self.port}"

    @property
    def database(self) -> Path:
        """File of the platform's database."""
        return self.home / "fieldproof.db"

    @property
    def office(self) -> Office:
        """The operator, signed in."""
        if self._office is None:
            self._office = Office(self.url, "operator", self.password)
        return self._office

    @property
    def server_pid(self) -> int:
        """Process id of the server; its workers are its children."""
        if self.server is None:
            raise BenchFailed("the server is not running")
        return self.server.process.pid

    def token(self, login: str) -> str:
        """Sign an account in and return its token."""
        credentials = {"login": login, "password": self.password}
        response = httpx.post(f"{self.url}/api/v1/sign-in", json=credentials, timeout=READY_TIMEOUT_S, trust_env=False)
        return str(_answer(response)["token"])

    def set_up(self) -> None:
        """Make and fill the database."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        seed_file = self.home / "seed.json"
        descriptor = os.open(seed_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            json.dump(self.seed_content(), out, ensure_ascii=False)
        self._run("migrate", ["migrate"])
        self._run("seed", ["seed", str(seed_file)])
        seed_file.unlink()

    def _run(self, name: str, arguments: Sequence[str]) -> None:
        """Run a program to its end; what it prints stays in its log."""
        program = self.programs.start(name, arguments)
        code = program.wait(READY_TIMEOUT_S)
        self.programs.running.remove(program)
        if code:
            raise ProgramFailed(f"{name} ended with {code}:\n{tail(program.log)}")

    def serve(self) -> None:
        """Start the server and wait until it answers; then enrol, approve and sign in the devices."""
        self.server = self.programs.start("server", ["serve", "--port", str(self.port)])
        self.programs.wait_for("the server", answers(f"{self.url}/ready"), READY_TIMEOUT_S)
        if self.devices_wanted:
            self._enrol()

    def close(self) -> None:
        """End everything."""
        if self._office is not None:
            self._office.close()
        self.programs.stop_all()

    def seed_content(self) -> dict[str, list[dict[str, Any]]]:
        """Return what the seed file holds: officers and their accounts, the office's accounts, an entity, sensors."""
        officers = [self._officer(index, officer) for index, officer in enumerate(self.officers)]
        people = [self._account(role, role) for role in ("operator", "auditor", "central")]
        people += [
            self._account(f"officer-{index:03d}", "officer", officer=officer)
            for index, officer in enumerate(self.officers)
        ]
        sensors = [self._sensor(sensor) for sensor in self.sensors]
        return {"officers": officers, "entities": [self._entity()], "sensors": sensors, "accounts": people}

    def _officer(self, index: int, officer: str) -> dict[str, Any]:
        return {
            "id": officer, "name": f"测样例{index + 1}", "certificate_number": f"样例证-{index + 1:05d}",
            "certificate_valid_until": "2099-12-31T00:00:00+08:00", "region": REGION, "department": DEPARTMENT,
        }  # fmt: skip

    def _account(self, login: str, role: str, **more: str) -> dict[str, Any]:
        region, department = ("420000", "") if role != "officer" else (REGION, DEPARTMENT)
        return {
            "login": login, "password": self.password, "role": role, "name": f"样例{login}", "region": region,
            "department": department, **more,
        }  # fmt: skip

    def _entity(self) -> dict[str, Any]:
        return {
            "id": self.entity, "name": "样例食品店（虚构）", "nature": "2",
            "uscc": synthetic_uscc("bench", REGION), "registered_address": "样例路 1 号",
            "operating_address": "样例路 1 号", "region": TOWNSHIP,
            "position": {"lat": 30.55, "lon": 114.31, "datum": "WGS-84"},
        }  # fmt: skip

    def _sensor(self, sensor: str) -> dict[str, Any]:
        return {
            "id": sensor, "name": f"样例监测点 {sensor}", "entity_id": self.entity, "region": TOWNSHIP,
            "department": DEPARTMENT, "lat": 30.55, "lon": 114.31, "datum": "WGS-84",
            "channels": {channel: {} for channel in self.channels},
        }  # fmt: skip

    def _enrol(self) -> None:
        with httpx.Client(base_url=self.url, timeout=READY_TIMEOUT_S, trust_env=False) as client:
            asked = [self._ask(client, index, officer) for index, officer in enumerate(self.officers)]
            self.office.approve_devices()
            self.devices = [
                Device(device, officer, key, _token(client, device, key))
                for (device, key), officer in zip(asked, self.officers, strict=True)
            ]

    def _ask(self, client: httpx.Client, index: int, officer: str) -> tuple[str, Ed25519PrivateKey]:
        """Enrol one officer's device; returns its id and key."""
        credentials = {"login": f"officer-{index:03d}", "password": self.password}
        token = _answer(client.post("/api/v1/sign-in", json=credentials))["token"]
        key = Ed25519PrivateKey.generate()
        public_key = base64url(key.public_key().public_bytes_raw())
        proof = base64url(key.sign(enrol_statement(public_key, officer)))
        body = {"public_key": public_key, "proof": proof, "name": f"基准终端 {index + 1}"}
        headers = {"Authorization": f"Bearer {token}"}
        return str(_answer(client.post("/api/v1/devices", json=body, headers=headers))["device"]), key


def _token(client: httpx.Client, device: str, key: Ed25519PrivateKey) -> str:
    at_ms = time.time_ns() // 1_000_000
    nonce = secrets.token_urlsafe(18)
    signature = base64url(key.sign(sign_in_statement(device, at_ms, nonce)))
    body = {"device": device, "at_ms": at_ms, "nonce": nonce, "signature": signature}
    return str(_answer(client.post("/api/v1/sign-in/device", json=body))["token"])


def _answer(response: httpx.Response) -> Mapping[str, Any]:
    if response.status_code >= 400:
        raise BenchFailed(f"{response.request.method} {response.request.url.path}: {response.text[:300]}")
    answer: Mapping[str, Any] = response.json()
    return answer


@contextmanager
def running(installation: Installation) -> Iterator[Installation]:
    """Set an installation up, start its server, and end everything at the end of the block.

    Raises:
        BenchFailed: a program did not start, or the server refused something.
    """
    try:
        installation.set_up()
        installation.serve()
        yield installation
    except (ProgramFailed, OfficeFault, httpx.HTTPError) as error:
        raise BenchFailed(str(error)) from error
    finally:
        installation.close()
