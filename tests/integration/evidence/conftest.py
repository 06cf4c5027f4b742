"""Devices for the evidence tests."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from server.devices.models import Device
from server.evidence.service import declare
from server.officers.models import Officer
from server.runtime import Runtime
from server.web.auth import issue_token
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
