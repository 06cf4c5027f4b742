"""Devices for the evidence tests."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from flask.testing import FlaskClient

from server.config import load_settings
from server.devices.models import Device
from server.evidence.service import declare
from server.officers.models import Officer
from server.records.service import start_epoch
from server.runtime import Runtime, build_runtime
from server.tables import METADATA
from server.web.auth import issue_token
from tests.integration.evidence.live_server import REQUEST_S, LiveServer
from tests.integration.evidence.sending import ACT, EVIDENCE, PHOTO, Declare, Headers, Tus, fields_of


@pytest.fixture
def device_headers(rt: Runtime) -> Callable[[str], Headers]:
    """Return the headers of a device by name; the device is made at its first use."""

    def headers(name: str = "d1") -> Headers:
        with rt.db.write() as session:
            if session.get(Device, name) is None:
                until = rt.now() + timedelta(days=365)
                session.add(
                    Officer(
                        id=f"o-{name}", name="张样例", certificate_number=f"C-{name}", certificate_valid_until=until,
                        region="420106", department="330",
                    )
                )  # fmt: skip
                session.flush()
                session.add(
                    Device(
                        id=name, name=name, public_key=name.encode(), officer=f"o-{name}", region="420106",
                        department="330", status="active", enrolled_at=rt.now(), pending_acts=0,
                    )
                )  # fmt: skip
        return {"Authorization": f"Bearer {issue_token(rt, 'device', name, 3600).text}"}

    return headers


@pytest.fixture
def tus(client: FlaskClient, device_headers: Callable[[str], Headers]) -> Tus:
    """The tus client of device d1."""
    return Tus(client, device_headers("d1"))


@pytest.fixture
def declared(rt: Runtime) -> Declare:
    """Declare evidence as fieldsync does, in a transaction of its own."""

    def run(data: bytes = PHOTO, record: str = EVIDENCE, device: str = "d1", act: str = ACT, **more: object) -> None:
        with rt.db.write() as session:
            declare(
                session, rt, record, fields_of(data, **more), device=device, act_hash=act, region="420106",
                department="330",
            )  # fmt: skip

    return run


@pytest.fixture
def home_rt(tmp_path: Path) -> Iterator[Runtime]:
    """A runtime with the real clock, over the same home as the server."""
    runtime = build_runtime(load_settings({"FIELDPROOF_HOME": str(tmp_path)}))
    METADATA.create_all(runtime.db.engine)
    until = runtime.now() + timedelta(days=365)
    with runtime.db.write() as session:
        start_epoch(session, runtime)
        session.add(
            Officer(
                id="o1", name="张样例", certificate_number="C1", certificate_valid_until=until, region="420106",
                department="330",
            )
        )  # fmt: skip
        session.flush()
        session.add(
            Device(
                id="d1", name="d1", public_key=b"d1", officer="o1", region="420106", department="330", status="active",
                enrolled_at=runtime.now(), pending_acts=0,
            )
        )  # fmt: skip
    yield runtime
    runtime.db.dispose()


@pytest.fixture
def live(tmp_path: Path, home_rt: Runtime) -> Iterator[LiveServer]:
    """The running server."""
    server = LiveServer(tmp_path)
    server.start()
    yield server
    server.kill()
    server.listener.close()


@pytest.fixture
def http(live: LiveServer, home_rt: Runtime) -> Iterator[httpx.Client]:
    """A client of the running server, as device d1."""
    headers = {
        "Authorization": f"Bearer {issue_token(home_rt, 'device', 'd1', 3600).text}",
        "Tus-Resumable": "1.0.0",
    }
    limits = httpx.Limits(max_keepalive_connections=0)  # a kept connection would belong to a server killed since
    with httpx.Client(
        base_url=f"http://127.0.0.1:{live.port}", headers=headers, timeout=REQUEST_S, limits=limits
    ) as client:
        yield client
